//! Runs plugins: WebAssembly components as pure functions of an event and a config.
//!
//! Owns the engine, the compiled-code cache, inspection of uploads, limits and the sharing
//! of results. Never touches the network, the database or a clock beyond measuring a run.

mod cache;
mod compile;
mod contract;
mod document;
mod engine;
mod few;
mod host;
mod inspect;
mod learn;
mod load;
mod measure;
mod message;
mod names;
mod pipeline;
mod profile;
mod run;
mod runtime;
mod settings;
mod stats;
mod wasi;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use bytes::Bytes;
use tokio::sync::OnceCell;

pub use compile::{COMPILE_ARGUMENT, child_main as compile_child_main};
pub use measure::Anatomy;
pub use profile::{Effort, Measured, Profile};
pub use runtime::Runtime;
pub use settings::{Class, CompileLimits, Compiler, Limits, PluginSettings};
pub use stats::Stats;

use crate::model::{
    Event, Manifest, Pipeline, PipelineId, PipelineRun, PluginKind, ResolvedStep, Sha256,
    StepReport,
};

/// Who is told of every run for a delivery.
pub trait Observer: Send + Sync {
    /// A step ran, or its verdict was known.
    fn ran(&self, event: &Event, step: &ResolvedStep, report: &StepReport);
    /// What a step made broke the subscription's output schema, though it did not before: the
    /// run was told already.
    fn broke_contract(&self, event: &Event, step: &ResolvedStep, report: &StepReport);
}

/// An event in flight, with what its plugin runs share: its parsed payload and their results.
#[derive(Debug)]
pub struct LiveEvent {
    /// The event.
    pub event: Arc<Event>,
    /// The event as the first step of every pipeline sees it.
    seen: Arc<host::Seen>,
    /// Whether its runs are for deliveries, and so told to the observer.
    observed: bool,
    /// What the steps run so far came to.
    root: pipeline::Node,
    /// What whole pipelines came to.
    runs: Mutex<few::Few<Arc<Pipeline>, RunCell>>,
    /// Whether there is any: of most events everything is known, and nobody waits for the lock.
    has_runs: AtomicBool,
}

/// A pipeline's result, once it is there; while it is made, others wait for it.
type RunCell = Arc<OnceCell<Arc<PipelineRun>>>;

impl LiveEvent {
    /// Wraps an event for plugin runs that are only tried.
    pub fn new(event: Arc<Event>) -> Arc<Self> {
        Self::wrap(event, false)
    }

    /// Wraps an event for plugin runs that decide about deliveries.
    pub fn to_deliver(event: Arc<Event>) -> Arc<Self> {
        Self::wrap(event, true)
    }

    fn wrap(event: Arc<Event>, observed: bool) -> Arc<Self> {
        let document = if event.is_json() {
            document::Document::new(event.payload.clone())
        } else {
            document::Document::opaque(event.payload.clone())
        };
        Arc::new(Self {
            seen: Arc::new(host::Seen { event: Arc::clone(&event), document }),
            event,
            observed,
            root: pipeline::Node::root(),
            runs: Mutex::default(),
            has_runs: AtomicBool::new(false),
        })
    }

    /// Who is told of its runs.
    fn observer<'a>(&self, core: &'a runtime::Core) -> Option<&'a Arc<dyn Observer>> {
        if self.observed { core.observer.get() } else { None }
    }

    /// Where the result of a pipeline is or will be, if it was asked for.
    fn known_cell(&self, pipeline: &Arc<Pipeline>) -> Option<RunCell> {
        if !self.has_runs.load(Acquire) {
            return None;
        }
        find(&self.runs.lock().unwrap_or_else(PoisonError::into_inner), pipeline).cloned()
    }

    /// Where the result of a pipeline is or will be.
    fn run_cell(&self, pipeline: &Arc<Pipeline>) -> RunCell {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = find(&runs, pipeline) {
            return Arc::clone(cell);
        }
        self.has_runs.store(true, Release);
        let cell = RunCell::default();
        runs.add(Arc::clone(pipeline), Arc::clone(&cell), |pipeline| mark(pipeline));
        cell
    }
}

fn find<'a>(
    runs: &'a few::Few<Arc<Pipeline>, RunCell>,
    pipeline: &Arc<Pipeline>,
) -> Option<&'a RunCell> {
    // The id alone is not enough: pipelines that are only tried out have none of their own.
    let same = |known: &Arc<Pipeline>| {
        Arc::ptr_eq(known, pipeline) || (known.id == pipeline.id && known == pipeline)
    };
    runs.get(|| mark(pipeline), same)
}

/// What tells most pipelines apart.
fn mark(pipeline: &Pipeline) -> (PipelineId, Option<(Sha256, Arc<str>)>) {
    let last = pipeline.steps.last();
    (pipeline.id, last.map(|step| (step.sha256, Arc::clone(&step.config))))
}

/// An upload that may become a plugin version.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The component, made from the core module if the upload was one.
    pub component: Bytes,
    /// Of the component.
    pub sha256: Sha256,
    /// What it decides.
    pub kind: PluginKind,
    /// The version of `hookmill:plugin` it imports.
    pub interface: String,
    /// What it says about itself.
    pub manifest: Manifest,
}

/// Why an upload cannot be a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    /// A stable word, the last part of the problem's type: `not-wasm`, `precompiled`,
    /// `too-large`, `too-complex`, `forbidden-import`, `unknown-interface`, `unknown-world`,
    /// `uncompilable`, `bad-manifest`; and, not the upload's fault, `compile-timeout`,
    /// `compiler-unavailable`, `corrupt`.
    pub code: &'static str,
    /// What was found, what was expected, what to do.
    pub detail: String,
}
