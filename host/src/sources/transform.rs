//! A source's own pipeline: what a request is made into before it is an event.
//!
//! Owns how long that may take, and what a failure comes to. Never sends what plugins add to a
//! request: an event has a payload only.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    NotTaken, Sources,
    reading::Reading,
    refusal::{Reason, Refusal},
};
use crate::{
    model::{
        Application, ApplicationId, Event, EventId, EventTypeName, Outcome, PluginVersion, Source,
        media,
    },
    plugin::LiveEvent,
};

/// Most steps of a source.
pub const MAX_STEPS: usize = 4;
/// How long all of them may take: third parties wait three seconds for an answer, some of them.
const MOST: Duration = Duration::from_millis(2_500);

impl Sources {
    /// What a source's steps make of a payload; none if they drop it.
    pub(super) async fn transform(
        &self,
        source: &Source,
        application: &Application,
        reading: &Reading,
        payload: Bytes,
    ) -> Result<Option<Bytes>, NotTaken> {
        if source.settings.pipeline.is_empty() {
            return Ok(Some(payload));
        }
        let unusable = |reason, why: String| NotTaken::Unusable(Refusal::new(reason, why));
        let failed = |why: String| unusable(Reason::TransformFailed, why);
        // As the ingest would: plugins are given JSON of bounded depth.
        let text = payload.clone();
        let parse = move || serde_json::from_slice::<Value>(&text).map(drop);
        let parsed = self.gate.at_desk(payload.len(), parse).await.map_err(NotTaken::Rejected)?;
        parsed.map_err(|error| {
            unusable(Reason::Malformed, format!("the body is not JSON: {error}"))
        })?;
        let event_type: EventTypeName = reading
            .event_type
            .parse()
            .map_err(|why: &str| unusable(Reason::NoEventType, why.into()))?;
        let now = self.clock.now();
        let event = Event {
            id: EventId::new(now),
            application: application.id,
            application_name: application.name.as_str().into(),
            event_type,
            schema_version: 0,
            subject: reading.subject.clone(),
            occurred_at: now,
            accepted_at: now,
            trace: None,
            content_type: None,
            context: None,
            channels: Vec::new(),
            payload,
        };
        let pipeline = self
            .catalog
            .ready_steps(application.id, &source.settings.pipeline, false)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let live = LiveEvent::new(Arc::new(event));
        let run = timeout(MOST, self.runtime.run(&live, &pipeline)).await.map_err(|_| {
            failed(format!("the source's plugins took longer than {} ms", MOST.as_millis()))
        })?;
        match &run.outcome {
            Outcome::Send(message) if media::is_json(&message.content_type) => {
                Ok(Some(message.body.clone()))
            }
            Outcome::Send(message) => {
                let kind = &message.content_type;
                Err(failed(format!("the source's plugins made {kind} of it; JSON is needed")))
            }
            Outcome::Drop { .. } => Ok(None),
            Outcome::Fail { reason, .. } => Err(failed(reason.clone())),
        }
    }

    /// Loads what the sources run. What cannot be loaded fails their requests, not the start.
    pub(super) async fn load_plugins(&self) {
        let all: Vec<_> = self.read().values().cloned().collect();
        for source in all.iter().filter(|source| !source.settings.pipeline.is_empty()) {
            let steps = &source.settings.pipeline;
            if let Err(error) = self.catalog.ready_steps(source.application, steps, false).await {
                tracing::error!(source = %source.id, %error, "cannot load a source's plugins");
            }
        }
    }

    /// A source that runs a plugin of this owner: any version, or this one.
    pub fn user_of(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: Option<&str>,
    ) -> Option<Arc<Source>> {
        let is = |found: &PluginVersion| {
            found.application == owner
                && found.name == name
                && version.is_none_or(|wanted| found.version == wanted)
        };
        let runs = |source: &&Arc<Source>| {
            let mut steps = source.settings.pipeline.iter();
            steps.any(|step| {
                self.catalog.plugin(source.application, &step.plugin).is_some_and(|v| is(&v))
            })
        };
        self.read().values().find(runs).cloned()
    }
}
