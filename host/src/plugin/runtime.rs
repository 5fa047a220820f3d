//! The runtime as the rest of the server sees it: load plugins, inspect uploads, run pipelines.
//!
//! Owns what is loaded and brings the other parts together. Never blocks a thread of the async
//! runtime.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Class, Inspected, LiveEvent, Observer, PluginSettings, Rejection, RunCell, Stats,
    cache::Cache,
    compile,
    contract::Contracts,
    engine::{self, Ticker},
    inspect::{self, Examined},
    learn::Learned,
    load::TrustedCode,
    pipeline,
    run::{ClassEngine, Plugin},
    settings::Limits,
    stats::Counters,
    workers::Workers,
};
use crate::{
    clock::Stopwatch,
    model::{
        FailureKind, Manifest, OnError, Outcome, Pipeline, PipelineRun, Sha256, StepReport,
        StepVerdict,
    },
};

/// Everything that runs plugins.
pub struct Runtime {
    pub(super) core: Arc<Core>,
    pub(super) cache: Arc<Cache>,
    pub(super) workers: Workers,
    /// One compilation at a time: two large ones together could exhaust a small machine.
    compiling: tokio::sync::Mutex<()>,
}

/// What the runner threads need. They outlive no `Runtime`, but a job may outlive its asker.
pub(super) struct Core {
    settings: PluginSettings,
    lean: ClassEngine,
    /// Made when the first plugin needs it: most servers have none such.
    engine: OnceLock<ClassEngine>,
    plugins: RwLock<HashMap<Sha256, Arc<Plugin>>>,
    pub(super) ticker: Ticker,
    pub(super) learned: Learned,
    pub(super) stats: Counters,
    pub(super) contracts: Contracts,
    pub(super) observer: OnceLock<Arc<dyn Observer>>,
    pub(super) json: Arc<str>,
    pub(super) no_headers: Arc<Vec<(String, String)>>,
}

impl Core {
    pub(super) fn plugin(&self, sha256: &Sha256) -> Option<Arc<Plugin>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned()
    }

    fn class_engine(&self, class: Class) -> wasmtime::Result<&ClassEngine> {
        if class == Class::Lean {
            return Ok(&self.lean);
        }
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let limits = &self.settings.engine;
        let PluginSettings { threads, backtrace_frames, .. } = self.settings;
        let engine = engine::running(limits, threads, backtrace_frames)?;
        let new = ClassEngine::new(engine, *limits)?;
        let ticked = new.engine.clone();
        // Two at once make two; one is dropped before anything runs in it.
        if self.engine.set(new).is_ok() {
            self.ticker.add(ticked);
        }
        self.engine.get().ok_or_else(|| wasmtime::format_err!("the engine is not there"))
    }

    fn load(&self, code: &TrustedCode, class: Class) -> wasmtime::Result<Plugin> {
        self.class_engine(class)?.load(code, class)
    }

    fn insert(&self, sha256: Sha256, plugin: Plugin) {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        plugins.entry(sha256).or_insert_with(|| Arc::new(plugin));
    }
}

impl Runtime {
    /// Starts the threads and opens the cache.
    pub fn start(settings: PluginSettings) -> Result<Arc<Self>, String> {
        let failed = |what: &str, error: &dyn fmt::Display| format!("{what}: {error:#}");
        let engine = engine::running(&settings.lean, settings.threads, settings.backtrace_frames)
            .map_err(|e| failed("the WebAssembly engine cannot be set up", &e))?;
        let cache = Cache::open(&settings.cache_dir, settings.key, &engine).map_err(|e| {
            let dir = settings.cache_dir.display();
            failed(&format!("the plugin cache {dir} cannot be opened"), &e)
        })?;
        let ticker = Ticker::start().map_err(|e| failed("the plugin clock cannot start", &e))?;
        ticker.add(engine.clone());
        let lean = ClassEngine::new(engine, settings.lean)
            .map_err(|e| failed("the plugin interface cannot be set up", &e))?;
        let workers = Workers::start(settings.threads, settings.queue)
            .map_err(|e| failed("the plugin threads cannot start", &e))?;
        let core = Core {
            lean,
            engine: OnceLock::new(),
            plugins: RwLock::default(),
            ticker,
            learned: Learned::new(settings.learn_bytes),
            stats: Counters::default(),
            contracts: Contracts::default(),
            observer: OnceLock::new(),
            json: "application/json".into(),
            no_headers: Arc::default(),
            settings,
        };
        Ok(Arc::new(Self {
            core: Arc::new(core),
            cache: Arc::new(cache),
            workers,
            compiling: tokio::sync::Mutex::default(),
        }))
    }

    /// Looks at an upload: checks it, compiles it in a child process, asks it to describe
    /// itself. What passes is loaded and in the cache.
    pub async fn inspect(&self, upload: Bytes) -> Result<Inspected, Rejection> {
        let (examined, sha256) = self.examine(upload).await?;
        let plugin = match self.core.plugin(&sha256) {
            Some(plugin) => plugin,
            None => Arc::new(self.compiled(sha256, &examined).await?),
        };
        let manifest = self.describe(&plugin).await.inspect_err(|_| {
            // What nobody can use is not kept, unless another upload made it known meanwhile.
            if !self.is_loaded(&sha256) {
                self.unload(&sha256);
            }
        })?;
        let mut plugins = self.core.plugins.write().unwrap_or_else(PoisonError::into_inner);
        plugins.entry(sha256).or_insert(plugin);
        drop(plugins);
        let Examined { component, kind, interface, .. } = examined;
        Ok(Inspected { component, sha256, kind, interface, manifest })
    }

    /// Tells `observer` of every run for a delivery from now on. Once; a second is ignored.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        if self.core.observer.set(observer).is_err() {
            tracing::error!("the plugin runtime has an observer already");
        }
    }

    /// What a plugin says about itself, checked.
    async fn describe(&self, plugin: &Arc<Plugin>) -> Result<Manifest, Rejection> {
        let (core, asked) = (Arc::clone(&self.core), Arc::clone(plugin));
        let run = self.workers.run(move || asked.describe(&core.ticker)).await;
        let detail = match run.map(|run| (run.result, run.backtrace)) {
            Some((Ok(manifest), _)) => return inspect::manifest(manifest),
            Some((Err((kind, words)), frames)) => {
                let place = frames.first().map(|name| format!("; in {name}")).unwrap_or_default();
                format!("its `describe` failed: {}: {words}{place}", kind.as_str())
            }
            None => "its `describe` could not be called".into(),
        };
        Err(Rejection { code: "bad-manifest", detail })
    }

    /// Forgets compiled code that is of none of these components: of uploads that were under
    /// way when the server ended, or that were refused.
    pub fn keep_only(&self, known: &HashSet<Sha256>) {
        self.cache.retain(|sha256| known.contains(sha256));
    }

    /// Threads that run plugins.
    pub fn threads(&self) -> usize {
        self.core.settings.threads.max(1)
    }

    /// Whether `run` can run it.
    pub fn is_loaded(&self, sha256: &Sha256) -> bool {
        self.core.plugin(sha256).is_some()
    }

    /// The class of a loaded plugin, and so its limits.
    pub fn class(&self, sha256: &Sha256) -> Option<Class> {
        self.core.plugin(sha256).map(|plugin| plugin.class)
    }

    /// The limits of a class.
    pub fn limits(&self, class: Class) -> Limits {
        *self.core.settings.limits(class)
    }

    /// Makes an uploaded component runnable, from the cache if it is there.
    pub async fn load(&self, sha256: Sha256, component: Bytes) -> Result<(), Rejection> {
        if self.load_cached(sha256).await {
            return Ok(());
        }
        let (examined, found) = self.examine(component).await?;
        if found != sha256 {
            return Err(Rejection {
                code: "corrupt",
                detail: format!("the component stored as {sha256} is {found}"),
            });
        }
        let plugin = self.compiled(sha256, &examined).await?;
        self.core.insert(sha256, plugin);
        Ok(())
    }

    /// Makes it runnable if the cache has it; answers whether it does.
    pub async fn load_cached(&self, sha256: Sha256) -> bool {
        if self.is_loaded(&sha256) {
            return true;
        }
        match self.cached(sha256, vec![Class::Lean, Class::Engine]).await {
            Some(plugin) => {
                self.core.insert(sha256, plugin);
                true
            }
            None => false,
        }
    }

    /// Forgets a plugin that no pipeline names any more, and its compiled code. Runs under
    /// way end as they would have.
    pub fn unload(&self, sha256: &Sha256) {
        self.core.plugins.write().unwrap_or_else(PoisonError::into_inner).remove(sha256);
        self.core.learned.forget(sha256);
        self.cache.remove(sha256, Class::Lean);
        self.cache.remove(sha256, Class::Engine);
    }

    /// Runs a pipeline over an event, or answers what is known of it; a step's component that is not loaded is a fault,
    /// `unavailable`. Results are shared with earlier runs over the same `LiveEvent`.
    pub async fn run(&self, event: &Arc<LiveEvent>, pipeline: &Arc<Pipeline>) -> Arc<PipelineRun> {
        // What somebody else runs just now is waited for, not looked up.
        let cell: RunCell = match event.known_cell(pipeline) {
            Some(cell) => cell,
            None => match pipeline::learned(&self.core, event, pipeline) {
                Some(run) => return run,
                None => event.run_cell(pipeline),
            },
        };
        if let Some(run) = cell.get() {
            self.core.stats.shared();
            return Arc::clone(run);
        }
        let run = cell.get_or_try_init(|| async {
            let run = Arc::new(self.dispatch(event, pipeline).await);
            // What would end differently another time is told, but not remembered.
            if run.is_repeatable() { Ok(run) } else { Err(run) }
        });
        match run.await {
            Ok(run) => Arc::clone(run),
            Err(run) => run,
        }
    }

    /// Makes so many instances of a loaded plugin, one after the other, each dropped before
    /// the next: the part of a run that is the same for every event. Answers how long all took;
    /// none if it is not loaded or cannot be instantiated. For measurements.
    pub async fn instantiate(&self, sha256: &Sha256, times: u32) -> Option<Duration> {
        let (core, plugin) = (Arc::clone(&self.core), self.core.plugin(sha256)?);
        let instantiate = move || {
            let start = Stopwatch::start();
            let all = (0..times).all(|_| plugin.instantiate(&core.ticker).result.is_ok());
            all.then(|| start.elapsed())
        };
        self.workers.run(instantiate).await.flatten()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Stats {
        let loaded = self.core.plugins.read().unwrap_or_else(PoisonError::into_inner).len();
        self.core.stats.read(loaded, self.core.learned.size())
    }

    async fn dispatch(&self, event: &Arc<LiveEvent>, pipeline: &Arc<Pipeline>) -> PipelineRun {
        let (core, event, ran) = (Arc::clone(&self.core), Arc::clone(event), Arc::clone(pipeline));
        match self.workers.run(move || pipeline::run(&core, &event, &ran)).await {
            Some(run) => run,
            None => lost(pipeline),
        }
    }

    async fn examine(&self, upload: Bytes) -> Result<(Examined, Sha256), Rejection> {
        let core = Arc::clone(&self.core);
        let examine = move || {
            let examined = inspect::examine(&core.settings, &upload)?;
            let sha256 = Sha256::of(&examined.component);
            Ok((examined, sha256))
        };
        tokio::task::spawn_blocking(examine).await.unwrap_or_else(|_| {
            let detail = "the upload could not be read as WebAssembly".into();
            Err(Rejection { code: "not-wasm", detail })
        })
    }

    /// From the cache, or compiled now and put there.
    async fn compiled(&self, sha256: Sha256, examined: &Examined) -> Result<Plugin, Rejection> {
        let class = examined.class;
        if let Some(plugin) = self.cached(sha256, vec![class]).await {
            return Ok(plugin);
        }
        let _turn = self.compiling.lock().await;
        // Whoever had the turn before may have compiled the same.
        if let Some(plugin) = self.cached(sha256, vec![class]).await {
            return Ok(plugin);
        }
        let settings = &self.core.settings;
        let code =
            compile::compile(&settings.compiler, settings.compile, &examined.component).await?;
        self.core.stats.compiled();
        let (core, cache) = (Arc::clone(&self.core), Arc::clone(&self.cache));
        let load = move || {
            let plugin = core.load(&code, class).map_err(|error| Rejection {
                code: "unknown-world",
                detail: format!("it does not fit the interface it was built against: {error:#}"),
            })?;
            if let Err(error) = cache.put(&sha256, class, &code) {
                // It runs all the same; the next start has to compile it again.
                tracing::warn!(%sha256, %error, "a compiled component could not be kept");
            }
            Ok(plugin)
        };
        tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| {
            let detail = "the compiled component could not be loaded".into();
            Err(Rejection { code: "uncompilable", detail })
        })
    }

    async fn cached(&self, sha256: Sha256, classes: Vec<Class>) -> Option<Plugin> {
        let (core, cache) = (Arc::clone(&self.core), Arc::clone(&self.cache));
        let load = move || {
            classes.into_iter().find_map(|class| {
                let code = cache.get(&sha256, class)?;
                match core.load(&code, class) {
                    Ok(plugin) => {
                        core.stats.cache_hit();
                        Some(plugin)
                    }
                    Err(error) => {
                        tracing::warn!(%sha256, error = format!("{error:#}"), "a cached component cannot be loaded; it is compiled again");
                        cache.remove(&sha256, class);
                        None
                    }
                }
            })
        };
        tokio::task::spawn_blocking(load).await.ok().flatten()
    }
}

/// The run of a pipeline whose thread did not come back with a result.
fn lost(pipeline: &Pipeline) -> PipelineRun {
    let message = "the run was lost inside the server";
    let Some(step) = pipeline.steps.first() else {
        let outcome = Outcome::Fail { on_error: OnError::Retry, reason: message.into() };
        return PipelineRun { outcome, steps: vec![] };
    };
    let kind = FailureKind::Unavailable;
    let reason = format!("{}@{}: {}: {message}", step.name, step.version, kind.as_str());
    let report = StepReport {
        plugin: step.name.clone(),
        version: step.version.clone(),
        verdict: StepVerdict::Fault { kind, message: message.into(), backtrace: vec![] },
        fuel: 0,
        duration_us: 0,
        memory_bytes: 0,
        shared: false,
        learned: false,
        read_all: false,
        reads: vec![],
        log: vec![],
    };
    PipelineRun { outcome: Outcome::Fail { on_error: OnError::Retry, reason }, steps: vec![report] }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("settings", &self.core.settings)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
