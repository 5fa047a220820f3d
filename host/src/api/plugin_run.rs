//! `POST /v1/plugins/{name}/run`: a plugin tried on an event. Nothing is stored, nothing is
//! sent.

use std::sync::Arc;

use axum::{extract::State, response::Json};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Actor, Manage},
    docs::{Missing, Unloadable, Unusable},
    extract::{JsonBody, PathParts, QueryParams},
    message::MessageOut,
    plugins::{OwnerQuery, version_of},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::{
    model::{
        Event, EventId, EventTypeName, Kept, OnError, Outcome, Pipeline, PipelineId, PipelineRun,
        PluginVersion, ResolvedStep, StepReport, Timestamp,
    },
    plugin::LiveEvent,
    schema::Validator,
};

/// What to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "config": {"at_least": 100},
    "event": {"type": "order.created", "payload": {"id": 7, "total": 19.9}}
}))]
pub struct RunIn {
    /// The version to run; the live one if not given.
    version: Option<String>,
    /// The plugin's configuration.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// An event made up for this run. Either this or `event_id`.
    event: Option<RunEvent>,
    /// An event that was accepted before.
    event_id: Option<EventId>,
}

/// An event made up for a run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunEvent {
    /// Its type; it need not exist.
    #[serde(rename = "type")]
    #[schema(example = "order.created")]
    event_type: String,
    /// What happened: any JSON.
    #[schema(value_type = serde_json::Value)]
    payload: Box<RawValue>,
    /// What it is about.
    subject: Option<String>,
    /// When it happened, if not now.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// The schema version the plugin is told; 0 if not given.
    #[serde(default)]
    schema_version: u32,
}

/// What a run came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunOut {
    /// What would become of a delivery.
    outcome: RunOutcome,
    /// Why it was dropped or failed.
    reason: Option<String>,
    /// What the plugin did, and what it cost.
    steps: Vec<StepReport>,
    /// What would be sent.
    sent: Option<MessageOut>,
}

/// What would become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// It would be sent.
    Send,
    /// It would be filtered.
    Drop,
    /// The plugin failed, so it would be as the step's `on_error` says.
    Fail,
}

impl From<&PipelineRun> for RunOut {
    fn from(run: &PipelineRun) -> Self {
        let (outcome, reason, sent) = match &run.outcome {
            Outcome::Send(message) => (RunOutcome::Send, None, Some(MessageOut::new(message))),
            Outcome::Drop { reason } => (RunOutcome::Drop, Some(reason.clone()), None),
            Outcome::Fail { reason, .. } => (RunOutcome::Fail, Some(reason.clone()), None),
        };
        Self { outcome, reason, steps: run.steps.clone(), sent }
    }
}

/// Try a plugin
///
/// Runs it on an event in the server's own engine, under the limits of a real delivery, and
/// shows what it did and what it cost. Nothing is stored and nothing is sent.
#[utoipa::path(
    post,
    path = "/v1/plugins/{name}/run",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    request_body = RunIn,
    responses((status = 200, body = RunOut), Missing, Unusable, Unloadable)
)]
pub async fn run_plugin(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    JsonBody(given): JsonBody<RunIn>,
) -> Result<Json<RunOut>, Problem> {
    let plugin = version_of(&api, &acting, &name, given.version.as_deref(), query.shared)?;
    let config = given.config.unwrap_or_else(|| Value::Object(Map::new()));
    check_config(&plugin, &config)?;
    let event = match (given.event, given.event_id) {
        (Some(event), None) => made_up(event, &acting, api.clock.now())?,
        (None, Some(id)) => {
            api.store
                .event(acting.application.id, id)
                .await
                .map_err(|error| refusal::store(error, &Subject::new("event", id)))?
                .event
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(Problem::new(Code::InvalidField, "A run needs one event")
                .detail("Give either `event` or `event_id`.")
                .errors([FieldError::new("/event", "either this or /event_id")]));
        }
    };
    load(&api, &plugin).await?;
    let run = api.runtime.run(&LiveEvent::new(Arc::new(event)), &pipeline(&plugin, &config)).await;
    Ok(Json((&*run).into()))
}

fn check_config(plugin: &PluginVersion, config: &Value) -> Result<(), Problem> {
    let name = format!("{}@{}", plugin.name, plugin.version);
    // It was compiled when the plugin was uploaded, so this is not the request's fault.
    let validator = Validator::compile(&plugin.manifest.config_schema)
        .map_err(|cause| Problem::internal("compiling a plugin's config schema", &cause))?;
    let violations = validator.violations(config);
    if violations.is_empty() {
        return Ok(());
    }
    let title = format!("The config does not satisfy the schema of {name}");
    Err(Problem::new(Code::InvalidConfig, title)
        .errors(violations.into_iter().map(|v| FieldError::violation("/config", v))))
}

fn made_up(given: RunEvent, acting: &Actor, now: Timestamp) -> Result<Event, Problem> {
    let event_type: EventTypeName = given.event_type.parse().map_err(|why: &str| {
        Problem::new(Code::InvalidField, "The event's type cannot be one")
            .errors([FieldError::new("/event/type", why)])
    })?;
    let payload = Bytes::from(String::from(Box::<str>::from(given.payload)));
    // As ingest would: a payload that nests too deeply is valid JSON, but no event's.
    if let Err(why) = serde_json::from_slice::<Value>(&payload) {
        return Err(Problem::new(Code::MalformedPayload, "The payload is not acceptable JSON")
            .errors([FieldError::new("/event/payload", why.to_string())]));
    }
    Ok(Event {
        id: EventId::new(now),
        application: acting.application.id,
        application_name: acting.application.name.as_str().into(),
        event_type,
        schema_version: given.schema_version,
        subject: given.subject,
        occurred_at: given.occurred_at.map_or(now, crate::model::time::kept),
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        channels: Vec::new(),
        payload,
    })
}

/// Only versions that are live or pinned are loaded at start; any may be tried.
async fn load(api: &Api, plugin: &PluginVersion) -> Result<(), Problem> {
    if api.runtime.is_loaded(&plugin.sha256) || api.runtime.load_cached(plugin.sha256).await {
        return Ok(());
    }
    let subject = Subject::new("component", plugin.sha256);
    let component = api
        .store
        .component(&plugin.sha256)
        .await
        .map_err(|error| refusal::store(error, &subject))?;
    api.runtime.load(plugin.sha256, component).await.map_err(|cause| {
        tracing::error!(%cause, sha256 = %plugin.sha256, "a stored plugin cannot be loaded");
        Problem::new(Code::PluginUnavailable, "The plugin could not be loaded").detail(cause.detail)
    })
}

/// A pipeline of one step that no delivery has. Its failure ends it, so that it is shown.
fn pipeline(plugin: &PluginVersion, config: &Value) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        id: PipelineId(-1),
        steps: vec![ResolvedStep {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            sha256: plugin.sha256,
            config: config.to_string().into(),
            on_error: OnError::Dead,
            kept: Kept::default(),
        }],
        contract: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Application, ApplicationId};

    fn acting() -> Actor {
        let application = Application {
            id: ApplicationId::new(Timestamp::UNIX_EPOCH),
            name: "default".into(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        Actor { application: Arc::new(application), by: "key".into(), is_admin: false, until: None }
    }

    fn event(text: &str) -> Result<Event, Problem> {
        made_up(serde_json::from_str(text).unwrap(), &acting(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_made_up_event_keeps_its_payload_as_written() {
        let event = event(r#"{"type":"a.b","payload":{ "n":1.00 }}"#).unwrap();
        assert_eq!(event.payload, r#"{ "n":1.00 }"#);
        assert_eq!(&*event.application_name, "default");
    }

    #[test]
    fn a_made_up_event_is_held_to_an_events_rules() {
        let bad_type = event(r#"{"type":"a b","payload":1}"#).unwrap_err();
        assert_eq!(bad_type.body().errors[0].at, "/event/type");
        let deep = format!(r#"{{"type":"a","payload":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert_eq!(event(&deep).unwrap_err().code(), Code::MalformedPayload);
    }
}
