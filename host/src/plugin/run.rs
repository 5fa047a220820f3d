//! One run of one plugin: a fresh store and instance, limits set before anything of the
//! guest's runs, and a name for everything that can go wrong.
//!
//! Owns the loaded plugins' types. Never decides what a failure leads to; that is
//! [`super::pipeline`]'s.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use wasmtime::{
    PoolConcurrencyLimitError, Store, Trap, WasmBacktrace,
    component::{Component, ComponentExportIndex, InstancePre, Linker, Resource},
};

use super::{
    engine::Ticker,
    host::{EventHandle, FilterPre, Guest, Seen, TransformPre, add_to_linker, cut, types},
    load::{self, TrustedCode},
    settings::{Class, Limits},
    wasi,
};
use crate::{
    clock::Stopwatch,
    model::{FailureKind, Log, PluginKind, Timings},
};

/// Longest words of a plugin (reasons, fault messages) that are kept.
pub(super) const MAX_WORDS: usize = 2 << 10;
/// Most function names of a backtrace that are kept, and the longest of them.
const MAX_FRAMES: usize = 8;
const MAX_NAME: usize = 96;

/// The engine of a class, ready to instantiate.
pub(super) struct ClassEngine {
    pub(super) engine: wasmtime::Engine,
    linker: Linker<Guest>,
    limits: Limits,
}

/// A plugin that can run.
pub(super) struct Plugin {
    pub(super) class: Class,
    pub(super) kind: PluginKind,
    limits: Limits,
    pre: InstancePre<Guest>,
    main: ComponentExportIndex,
    describe: ComponentExportIndex,
}

/// What a guest answered.
pub(super) enum Answer {
    Verdict(types::Verdict),
    Outcome(types::Outcome),
}

/// A run, whatever it came to.
pub(super) struct Run<T> {
    pub(super) result: Result<T, (FailureKind, String)>,
    pub(super) fuel: u64,
    pub(super) duration_us: u64,
    pub(super) memory_bytes: u64,
    pub(super) reads: Vec<String>,
    pub(super) read_all: bool,
    pub(super) log: Vec<Log>,
}

impl ClassEngine {
    pub(super) fn new(engine: wasmtime::Engine, limits: Limits) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker)?;
        Ok(Self { engine, linker, limits })
    }

    /// Loads compiled code: checks that it is a filter or a transform, type by type.
    pub(super) fn load(&self, code: &TrustedCode, class: Class) -> wasmtime::Result<Plugin> {
        let component = load::component(&self.engine, code)?;
        let pre = wasi::linker(&self.linker, &component)?.instantiate_pre(&component)?;
        let (kind, export) = if component.get_export_index(None, "filter").is_some() {
            FilterPre::new(pre.clone())?;
            (PluginKind::Filter, "filter")
        } else {
            TransformPre::new(pre.clone())?;
            (PluginKind::Transform, "transform")
        };
        let index = |component: &Component, name: &str| {
            let index = component.get_export_index(None, name);
            index.ok_or_else(|| wasmtime::format_err!("there is no export `{name}`"))
        };
        Ok(Plugin {
            class,
            kind,
            limits: self.limits,
            main: index(&component, export)?,
            describe: index(&component, "describe")?,
            pre,
        })
    }
}

impl Plugin {
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Asks the plugin about an event.
    pub(super) fn ask(&self, ticker: &Ticker, seen: &Arc<Seen>, config: &str) -> Run<Answer> {
        let input = seen.document.bytes().len() + config.len();
        self.guarded(ticker, Some(Arc::clone(seen)), input, |store, instance| {
            let event = Resource::<EventHandle>::new_borrow(0);
            match self.kind {
                PluginKind::Filter => {
                    let main = instance.get_typed_func::<
                        (Resource<EventHandle>, &str),
                        (Result<types::Verdict, types::Fault>,),
                    >(&mut *store, self.main)?;
                    let (answer,) = main.call(store, (event, config))?;
                    Ok(answer.map(Answer::Verdict))
                }
                PluginKind::Transform => {
                    let main = instance.get_typed_func::<
                        (Resource<EventHandle>, &str),
                        (Result<types::Outcome, types::Fault>,),
                    >(&mut *store, self.main)?;
                    let (answer,) = main.call(store, (event, config))?;
                    Ok(answer.map(Answer::Outcome))
                }
            }
        })
    }

    /// Asks the plugin what it is.
    pub(super) fn describe(&self, ticker: &Ticker) -> Run<types::Manifest> {
        self.guarded(ticker, None, 0, |store, instance| {
            let describe =
                instance.get_typed_func::<(), (types::Manifest,)>(&mut *store, self.describe)?;
            Ok(Ok(describe.call(store, ())?.0))
        })
    }

    /// Runs `call` in a fresh instance. A panic of the host, which nothing a guest does should
    /// bring about, ends this run only.
    fn guarded<T>(
        &self,
        ticker: &Ticker,
        seen: Option<Arc<Seen>>,
        input: usize,
        call: impl FnOnce(
            &mut Store<Guest>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<Result<T, types::Fault>>,
    ) -> Run<T> {
        let start = Stopwatch::start();
        let run = catch_unwind(AssertUnwindSafe(|| self.run(ticker, seen, input, call)));
        let mut run = run.unwrap_or_else(|_| Run {
            result: Err((FailureKind::Trap, "the host could not go on with this run".into())),
            fuel: 0,
            duration_us: 0,
            memory_bytes: 0,
            reads: vec![],
            read_all: true,
            log: vec![],
        });
        run.duration_us = Timings::micros(start.elapsed());
        run
    }

    fn run<T>(
        &self,
        ticker: &Ticker,
        seen: Option<Arc<Seen>>,
        input: usize,
        call: impl FnOnce(
            &mut Store<Guest>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<Result<T, types::Fault>>,
    ) -> Run<T> {
        let limits = &self.limits;
        let fuel = limits.fuel_for(input);
        let mut store = Store::new(self.pre.engine(), Guest::new(seen, limits));
        // All of it before instantiation: start functions run then.
        store.limiter(|guest| &mut guest.meter);
        store.set_epoch_deadline(Ticker::deadline(limits.wall));
        store.set_hostcall_fuel(limits.output_bytes.saturating_mul(2));
        let _ticking = ticker.running();
        let result = store
            .set_fuel(fuel)
            .and_then(|()| self.pre.instantiate(&mut store))
            .and_then(|instance| call(&mut store, instance));
        let left = store.get_fuel().unwrap_or(0);
        let mut guest = store.into_data();
        guest.finish_output();
        let result = match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(words_of(fault)),
            Err(error) => Err(self.name(&error, guest.meter.refused, fuel)),
        };
        Run {
            result,
            fuel: fuel - left.min(fuel),
            duration_us: 0,
            memory_bytes: guest.meter.memory as u64,
            reads: guest.reads,
            read_all: guest.read_all,
            log: guest.notes,
        }
    }

    /// Names what ended a run.
    fn name(&self, error: &wasmtime::Error, refused: bool, fuel: u64) -> (FailureKind, String) {
        let limits = &self.limits;
        let (kind, words) = match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => {
                (FailureKind::OutOfFuel, format!("all {fuel} units of fuel are used up"))
            }
            Some(Trap::Interrupt) => (
                FailureKind::Timeout,
                format!("not over after {} ms of wall clock", limits.wall.as_millis()),
            ),
            Some(Trap::StackOverflow) => {
                (FailureKind::StackOverflow, "the call stack is exhausted".into())
            }
            // A guest whose memory may not grow gives up by a trap of its own.
            _ if refused => (
                FailureKind::OutOfMemory,
                format!(
                    "it wanted more than {} MiB of memory or {} table elements",
                    limits.memory_bytes >> 20,
                    limits.table_elements
                ),
            ),
            Some(trap) => (FailureKind::Trap, trap.to_string()),
            // Not the guest's doing: there are as many places as threads, so it should not be.
            None if error.is::<PoolConcurrencyLimitError>() => {
                (FailureKind::Unavailable, "there is no room to run it".into())
            }
            None => {
                let cause = format!("{:#}", error.root_cause());
                // The type of this error is wasmtime's own; its words are all there is.
                if cause.contains("fuel allocated for hostcalls") {
                    let limit = limits.output_bytes;
                    (FailureKind::OutputTooLarge, format!("it handed over more than {limit} bytes"))
                } else {
                    (FailureKind::Trap, cause)
                }
            }
        };
        let mut words = words;
        cut(&mut words, MAX_WORDS / 2);
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            for (i, name) in names(backtrace).enumerate() {
                words.push_str(if i == 0 { "; in " } else { " < " });
                words.push_str(&name);
            }
        }
        (kind, words)
    }
}

/// The guest's functions, innermost first.
fn names(backtrace: &WasmBacktrace) -> impl Iterator<Item = String> {
    backtrace.frames().iter().take(MAX_FRAMES).map(|frame| {
        let Some(name) = frame.func_name() else {
            return format!("function {}", frame.func_index());
        };
        let mut name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        cut(&mut name, MAX_NAME);
        name
    })
}

fn words_of(fault: types::Fault) -> (FailureKind, String) {
    let (kind, mut words) = match fault {
        types::Fault::InvalidEvent(words) => (FailureKind::InvalidEvent, words),
        types::Fault::InvalidConfig(words) => (FailureKind::InvalidConfig, words),
        types::Fault::Failed(words) => (FailureKind::Failed, words),
    };
    cut(&mut words, MAX_WORDS);
    (kind, words)
}
