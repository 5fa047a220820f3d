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
    component::{
        Component, ComponentExportIndex, InstancePre, Linker, Resource, types::ComponentItem,
    },
};

use super::{
    engine::Ticker,
    host::{EventHandle, FilterPre, Guest, Seen, TransformPre, add_to_linker, cut, types},
    learn::Trace,
    load::{self, TrustedCode},
    names,
    settings::{Class, Limits},
    wasi,
};
use crate::{
    clock::Stopwatch,
    model::{FailureKind, Log, PluginKind, Timings},
};

/// Longest words of a plugin (reasons, fault messages) that are kept.
pub(super) const MAX_WORDS: usize = 2 << 10;
/// What the SDK's note of a panic begins with.
const PANIC: &str = "panicked at ";

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
    /// Whether all it can see of an event is what [`super::learn`] has a question for.
    pub(super) is_learnable: bool,
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
    /// The guest's functions where it was stopped, innermost first.
    pub(super) backtrace: Vec<String>,
    pub(super) fuel: u64,
    pub(super) duration_us: u64,
    pub(super) memory_bytes: u64,
    pub(super) reads: Vec<String>,
    pub(super) read_all: bool,
    pub(super) trace: Trace,
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
        // Anything else an instance could import may tell it of an event what no question
        // stands for, such as a clock set by it.
        let is_learnable = kind == PluginKind::Filter
            && component.component_type().imports(&self.engine).all(|(name, import)| {
                // Types by themselves tell nothing.
                let is_type =
                    matches!(import.ty, ComponentItem::Type(_) | ComponentItem::Resource(_));
                is_type || name.starts_with("hookmill:plugin/")
            });
        Ok(Plugin {
            class,
            kind,
            limits: self.limits,
            is_learnable,
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
        self.ask_within(ticker, seen, config, self.fuel_for(seen, config))
    }

    /// The fuel of a run.
    pub(super) fn fuel_for(&self, seen: &Seen, config: &str) -> u64 {
        self.limits.fuel_for(seen.document.bytes().len() + config.len())
    }

    /// Asks the plugin about an event, with a budget that is not its class's.
    pub(super) fn ask_within(
        &self,
        ticker: &Ticker,
        seen: &Arc<Seen>,
        config: &str,
        fuel: u64,
    ) -> Run<Answer> {
        self.guarded(ticker, Some(Arc::clone(seen)), fuel, |store, instance| {
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
        self.guarded(ticker, None, self.limits.fuel_for(0), |store, instance| {
            let describe =
                instance.get_typed_func::<(), (types::Manifest,)>(&mut *store, self.describe)?;
            Ok(Ok(describe.call(store, ())?.0))
        })
    }

    /// Makes an instance as for a run, and drops it.
    pub(super) fn instantiate(&self, ticker: &Ticker) -> Run<()> {
        self.guarded(ticker, None, self.limits.fuel_for(0), |_, _| Ok(Ok(())))
    }

    /// Runs `call` in a fresh instance. A panic of the host, which nothing a guest does should
    /// bring about, ends this run only.
    fn guarded<T>(
        &self,
        ticker: &Ticker,
        seen: Option<Arc<Seen>>,
        fuel: u64,
        call: impl FnOnce(
            &mut Store<Guest>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<Result<T, types::Fault>>,
    ) -> Run<T> {
        let start = Stopwatch::start();
        let run = catch_unwind(AssertUnwindSafe(|| self.run(ticker, seen, fuel, call)));
        let mut run = run.unwrap_or_else(|_| Run {
            result: Err((FailureKind::Trap, "the host could not go on with this run".into())),
            backtrace: vec![],
            fuel: 0,
            duration_us: 0,
            memory_bytes: 0,
            reads: vec![],
            read_all: true,
            trace: Trace::default(),
            log: vec![],
        });
        run.duration_us = Timings::micros(start.elapsed());
        run
    }

    fn run<T>(
        &self,
        ticker: &Ticker,
        seen: Option<Arc<Seen>>,
        fuel: u64,
        call: impl FnOnce(
            &mut Store<Guest>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<Result<T, types::Fault>>,
    ) -> Run<T> {
        let limits = &self.limits;
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
        let mut backtrace = vec![];
        let result = match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(words_of(fault)),
            Err(error) => {
                let panic = panic_words(&error, &guest.notes);
                if let Some(frames) = error.downcast_ref::<WasmBacktrace>() {
                    backtrace = names::of(frames, is_unreachable(&error));
                }
                Err(self.name(&error, guest.meter.refused, fuel, panic))
            }
        };
        Run {
            result,
            backtrace,
            fuel: fuel - left.min(fuel),
            duration_us: 0,
            memory_bytes: guest.meter.memory as u64,
            reads: guest.reads,
            read_all: guest.read_all,
            trace: guest.trace,
            log: guest.notes,
        }
    }

    /// Names what ended a run.
    fn name(
        &self,
        error: &wasmtime::Error,
        refused: bool,
        fuel: u64,
        panic: Option<String>,
    ) -> (FailureKind, String) {
        let limits = &self.limits;
        let (kind, mut words) = match error.downcast_ref::<Trap>() {
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
            Some(trap) => (FailureKind::Trap, panic.unwrap_or_else(|| trap.to_string())),
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
        cut(&mut words, MAX_WORDS);
        (kind, words)
    }
}

fn is_unreachable(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref::<Trap>(), Some(Trap::UnreachableCodeReached))
}

/// What the guest said of its panic, in one line: the trap that ends it says nothing. The SDK
/// notes it last of all.
fn panic_words(error: &wasmtime::Error, notes: &[Log]) -> Option<String> {
    let note = notes.last().filter(|note| is_unreachable(error) && note.level == "error")?;
    if !note.message.starts_with(PANIC) {
        return None;
    }
    let lines: Vec<&str> = note.message.lines().map(str::trim).collect();
    Some(lines.join(" "))
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
