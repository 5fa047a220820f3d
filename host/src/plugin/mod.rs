//! Runs plugins: WebAssembly components as pure functions of an event and a config.
//!
//! Owns the engine, the compiled-code cache, inspection of uploads, limits and the sharing
//! of results. Never touches the network, the database or a clock beyond measuring a run.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::{Event, Manifest, Pipeline, PipelineRun, PluginKind, Sha256};

/// Everything that runs plugins.
#[derive(Debug)]
pub struct Runtime {}

/// An event in flight, with what its plugin runs share: its parsed payload and their results.
#[derive(Debug)]
pub struct LiveEvent {
    /// The event.
    pub event: Arc<Event>,
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
    /// A stable word, the last part of the problem's type: `not-wasm`, `too-large`,
    /// `forbidden-import`, `unknown-world`, `too-complex`, `bad-manifest`, `uncompilable`, …
    pub code: &'static str,
    /// What was found, what was expected, what to do.
    pub detail: String,
}

#[expect(unused_variables, reason = "signatures first")]
impl LiveEvent {
    /// Wraps an event for its plugin runs.
    pub fn new(event: Arc<Event>) -> Arc<Self> {
        todo!()
    }
}

#[expect(unused_variables, reason = "signatures first")]
impl Runtime {
    /// Looks at an upload: checks it, compiles it in a child process, asks it to describe
    /// itself. What passes is loaded and in the cache.
    pub async fn inspect(&self, upload: Bytes) -> Result<Inspected, Rejection> {
        todo!()
    }
    /// Whether `run` can run it.
    pub fn is_loaded(&self, sha256: &Sha256) -> bool {
        todo!()
    }
    /// Makes an uploaded component runnable, from the cache if it is there.
    pub async fn load(&self, sha256: Sha256, component: Bytes) -> Result<(), Rejection> {
        todo!()
    }
    /// Makes it runnable if the cache has it; answers whether it does.
    pub async fn load_cached(&self, sha256: Sha256) -> bool {
        todo!()
    }
    /// Runs a pipeline over an event; a step's component that is not loaded is a fault,
    /// `unavailable`. Results are shared with earlier runs over the same `LiveEvent`.
    pub async fn run(&self, event: &Arc<LiveEvent>, pipeline: &Arc<Pipeline>) -> Arc<PipelineRun> {
        todo!()
    }
}
