//! Runs plugins: WebAssembly components as pure functions of an event and a config.
//!
//! Owns the engine, the compiled-code cache, inspection of uploads, limits and the sharing
//! of results. Never touches the network, the database or a clock beyond measuring a run.

mod cache;
mod compile;
mod document;
mod engine;
mod host;
mod inspect;
mod load;
mod measure;
mod message;
mod pipeline;
mod run;
mod runtime;
mod settings;
mod stats;
mod wasi;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

pub use compile::{COMPILE_ARGUMENT, child_main as compile_child_main};
pub use runtime::Runtime;
pub use settings::{Class, CompileLimits, Compiler, Limits, PluginSettings};
pub use stats::Stats;

use crate::model::{Event, Manifest, Pipeline, PipelineRun, PluginKind, Sha256};

/// An event in flight, with what its plugin runs share: its parsed payload and their results.
#[derive(Debug)]
pub struct LiveEvent {
    /// The event.
    pub event: Arc<Event>,
    /// The event as the first step of every pipeline sees it.
    seen: Arc<host::Seen>,
    /// What the steps run so far came to.
    root: pipeline::Node,
    /// What whole pipelines came to. Few: a list is quicker than a map.
    runs: Mutex<Vec<(Arc<Pipeline>, RunCell)>>,
}

/// A pipeline's result, once it is there; while it is made, others wait for it.
type RunCell = Arc<OnceCell<Arc<PipelineRun>>>;

impl LiveEvent {
    /// Wraps an event for its plugin runs.
    pub fn new(event: Arc<Event>) -> Arc<Self> {
        let document = document::Document::new(event.payload.clone());
        Arc::new(Self {
            seen: Arc::new(host::Seen { event: Arc::clone(&event), document }),
            event,
            root: pipeline::Node::root(),
            runs: Mutex::default(),
        })
    }

    /// Where the result of a pipeline is or will be.
    fn run_cell(&self, pipeline: &Arc<Pipeline>) -> RunCell {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        // The id alone is not enough: pipelines that are only tried out have none of their own.
        let same = |known: &Arc<Pipeline>| {
            Arc::ptr_eq(known, pipeline) || (known.id == pipeline.id && known == pipeline)
        };
        if let Some((_, cell)) = runs.iter().find(|(known, _)| same(known)) {
            return Arc::clone(cell);
        }
        let cell = RunCell::default();
        runs.push((Arc::clone(pipeline), Arc::clone(&cell)));
        cell
    }
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
    /// `uncompilable`, `bad-manifest`; and, not the upload's fault, `compiler-unavailable`,
    /// `corrupt`.
    pub code: &'static str,
    /// What was found, what was expected, what to do.
    pub detail: String,
}
