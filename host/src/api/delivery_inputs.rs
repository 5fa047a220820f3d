//! `GET /v1/deliveries/{id}/inputs`: everything a delivery's plugins were given, exactly, and
//! what was recorded of their run, so that it can be repeated elsewhere.
//!
//! Never runs anything: whoever asks has an engine of their own.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Json};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Read},
    docs::{Expired, Missing},
    extract::PathId,
    plugin_run::RunOutcome,
    problem::Problem,
    refusal::{self, Subject},
};
use crate::model::{
    DeliveryId, Event, EventId, EventTypeName, Message, OnError, Outcome, Pipeline, PipelineRun,
    PluginKind, PluginVersion, Sha256, StepReport, SubscriptionId, Timestamp,
};

/// What a delivery's plugins were given, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct InputsOut {
    /// The delivery.
    delivery_id: DeliveryId,
    /// Who it is for.
    subscription_id: SubscriptionId,
    /// The event as plugins see it.
    event: EventInputs,
    /// The steps in the order they run; empty if the subscription has no plugins.
    pipeline: Vec<StepInputs>,
    /// The JSON Schema that what is sent must satisfy, as JSON text.
    output_schema: Option<String>,
    /// What was recorded of the run; null if none has been yet.
    run: Option<RecordedRun>,
}

/// An event as plugins see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventInputs {
    /// Its id.
    id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "order.created")]
    event_type: EventTypeName,
    /// The schema version it was accepted under; 0 if the type had none.
    schema_version: u32,
    /// Name of its application.
    #[schema(value_type = String, example = "default")]
    application: Arc<str>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// What it is about.
    subject: Option<String>,
    /// What the payload is, if not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    content_type: Option<Arc<str>>,
    /// The payload's text, as the producer wrote it; empty if it is no text.
    #[schema(example = "{\"id\": 7, \"total\": 19.90}")]
    payload: String,
    /// The payload in base64, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// A step with everything fixed.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepInputs {
    /// The plugin's name.
    plugin: String,
    /// Its version.
    version: String,
    /// SHA-256 of its component, hexadecimal.
    #[schema(value_type = String)]
    sha256: Sha256,
    /// What it decides; null if the version was deleted.
    kind: Option<PluginKind>,
    /// The config's JSON text, as the plugin is given it.
    #[schema(example = "{\"at_least\":100}")]
    config: String,
    /// What its failure does to the delivery.
    on_error: OnError,
}

/// A run as it was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordedRun {
    /// What it came to.
    outcome: RunOutcome,
    /// Why it was dropped or failed.
    reason: Option<String>,
    /// What it sends.
    message: Option<RecordedMessage>,
    /// What each step did, as far as it got.
    steps: Vec<StepReport>,
}

/// What a run sends, exactly.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordedMessage {
    /// The body's media type.
    content_type: String,
    /// Headers that plugins added.
    headers: BTreeMap<String, String>,
    /// The body, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body in base64, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Get a delivery's inputs
///
/// Exactly what its plugins were given, byte for byte, and what was recorded of their run:
/// enough to repeat it elsewhere. `hookmill plugin replay` does so.
#[utoipa::path(
    get,
    path = "/v1/deliveries/{id}/inputs",
    tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery")),
    responses((status = 200, body = InputsOut), Missing, Expired)
)]
pub async fn get_delivery_inputs(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<DeliveryId>,
) -> Result<Json<InputsOut>, Problem> {
    let application = acting.application.id;
    let subject = Subject::new("delivery", id);
    let failed = |error| refusal::store(error, &subject);
    let delivery = api.store.delivery(application, id).await.map_err(failed)?;
    let event = api.store.event(application, delivery.event_id).await.map_err(failed)?.event;
    if event.is_expired() {
        return Err(refusal::payload_expired(&subject));
    }
    let (pipeline, output_schema, run) = match delivery.pipeline {
        None => (Vec::new(), None, None),
        Some(pipeline) => {
            let pipeline = api.store.pipeline(pipeline).await.map_err(failed)?;
            let known = api.catalog.plugins(application);
            let contract = pipeline.contract.as_deref().map(str::to_owned);
            let run = api.store.run(application, id).await.map_err(failed)?;
            (steps(pipeline, &known), contract, run)
        }
    };
    Ok(Json(InputsOut {
        delivery_id: id,
        subscription_id: delivery.subscription_id,
        event: EventInputs::of(event),
        pipeline,
        output_schema,
        run: run.map(RecordedRun::of),
    }))
}

impl EventInputs {
    fn of(event: Event) -> Self {
        let (payload, payload_base64) = match String::from_utf8(event.payload.into()) {
            Ok(text) => (text, None),
            Err(bytes) => (String::new(), Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self {
            id: event.id,
            event_type: event.event_type,
            schema_version: event.schema_version,
            application: event.application_name,
            occurred_at: event.occurred_at,
            subject: event.subject,
            content_type: event.content_type,
            payload,
            payload_base64,
        }
    }
}

fn steps(pipeline: Pipeline, known: &[Arc<PluginVersion>]) -> Vec<StepInputs> {
    let step = |step: crate::model::ResolvedStep| StepInputs {
        kind: known.iter().find(|version| version.sha256 == step.sha256).map(|found| found.kind),
        plugin: step.name,
        version: step.version,
        sha256: step.sha256,
        config: step.config.to_string(),
        on_error: step.on_error,
    };
    pipeline.steps.into_iter().map(step).collect()
}

impl RecordedRun {
    fn of(run: PipelineRun) -> Self {
        let (outcome, reason, message) = match run.outcome {
            Outcome::Send(message) => (RunOutcome::Send, None, Some(RecordedMessage::of(message))),
            Outcome::Drop { reason } => (RunOutcome::Drop, Some(reason), None),
            Outcome::Fail { reason, .. } => (RunOutcome::Fail, Some(reason), None),
        };
        Self { outcome, reason, message, steps: run.steps }
    }
}

impl RecordedMessage {
    fn of(message: Message) -> Self {
        let (body, body_base64) = match str::from_utf8(&message.body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&message.body))),
        };
        Self {
            content_type: message.content_type,
            headers: message.headers.into_iter().collect(),
            body,
            body_base64,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_exact_whatever_they_are() {
        let shown = |content_type: &str, body: &'static [u8]| {
            let message = Message {
                content_type: content_type.into(),
                headers: vec![("x-a".into(), "1".into())],
                body: Bytes::from_static(body),
            };
            serde_json::to_value(RecordedMessage::of(message)).unwrap()
        };
        let json = shown("application/json", b"{ \"a\":1.00}");
        assert_eq!(json["body"], "{ \"a\":1.00}");
        assert_eq!(json["headers"], json!({"x-a": "1"}));
        let binary = shown("application/json", &[0xff, 0]);
        assert_eq!(binary["body_base64"], "/wA=");
        assert!(binary.get("body").is_none());
    }

    #[test]
    fn a_recorded_run_says_what_it_came_to() {
        let of = |outcome| RecordedRun::of(PipelineRun { outcome, steps: vec![] });
        let failed = of(Outcome::Fail { on_error: OnError::Dead, reason: "trap".into() });
        assert_eq!((failed.outcome, failed.reason.as_deref()), (RunOutcome::Fail, Some("trap")));
        let dropped = of(Outcome::Drop { reason: "small".into() });
        assert_eq!((dropped.outcome, dropped.message.is_none()), (RunOutcome::Drop, true));
    }
}
