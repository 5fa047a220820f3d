//! The runtime against real components: what good ones do, and what has a name when bad ones
//! do harm.

pub(super) mod guest;
mod hostile;
mod learned;
mod pipelines;
mod uploads;
mod wasi;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Compiler, Inspected, LiveEvent, PluginSettings, Rejection, Runtime};
use crate::model::{
    ApplicationId, Event, EventId, FailureKind, Kept, OnError, Pipeline, PipelineId, PipelineRun,
    ResolvedStep, StepVerdict, Timestamp,
};

/// A runtime with a cache of its own.
pub(super) struct Lab {
    pub(super) runtime: Arc<Runtime>,
    dir: tempfile::TempDir,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PluginSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = PluginSettings::new(dir.path(), [7; 32], Compiler::InProcess);
        settings.threads = 2;
        settings.learn_bytes = 1 << 20;
        // Fuel is what tests are about; on a busy machine the clock must not come first.
        settings.lean.wall = Duration::from_secs(30);
        settings.engine.wall = Duration::from_secs(30);
        change(&mut settings);
        Self { runtime: Runtime::start(settings).unwrap(), dir }
    }

    pub(super) async fn upload(&self, upload: &[u8]) -> Result<Inspected, Rejection> {
        self.runtime.inspect(Bytes::copy_from_slice(upload)).await
    }

    /// What a single step with this plugin makes of an event.
    async fn run(&self, plugin: &[u8]) -> PipelineRun {
        let step = step(&self.upload(plugin).await.unwrap(), "{}", OnError::Retry);
        let event = event(r#"{"total":19.90}"#);
        (*self.runtime.run(&event, &pipeline(1, [step])).await).clone()
    }

    /// The failure of a single step with this plugin.
    async fn failure(&self, plugin: &[u8]) -> (FailureKind, String) {
        let run = self.run(plugin).await;
        match &run.steps[0].verdict {
            StepVerdict::Fault { kind, message, .. } => (*kind, message.clone()),
            other => panic!("it did not fail: {other:?}"),
        }
    }
}

fn step(plugin: &Inspected, config: &str, on_error: OnError) -> ResolvedStep {
    ResolvedStep {
        name: plugin.manifest.name.clone(),
        version: plugin.manifest.version.clone(),
        sha256: plugin.sha256,
        config: config.into(),
        on_error,
        kept: Kept::default(),
    }
}

fn pipeline(id: i64, steps: impl IntoIterator<Item = ResolvedStep>) -> Arc<Pipeline> {
    Arc::new(Pipeline { id: PipelineId(id), steps: steps.into_iter().collect(), contract: None })
}

pub(super) fn event(payload: &str) -> Arc<LiveEvent> {
    let now = Timestamp::UNIX_EPOCH;
    LiveEvent::new(Arc::new(Event {
        id: EventId::new(now),
        application: ApplicationId::new(now),
        application_name: "default".into(),
        event_type: "order.created".parse().unwrap(),
        schema_version: 1,
        subject: None,
        occurred_at: now,
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        channels: Vec::new(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }))
}
