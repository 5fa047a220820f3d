//! `/v1/events`: what was accepted, and what became of it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Json, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Acting, Actor, Read},
    docs::{Expired, Missing},
    extract::{PathId, QueryParams},
    message::shown,
    page::{PageOut, Paging},
    problem::Problem,
    refusal::{self, Subject},
};
use crate::{
    model::{
        CloudContext, EventId, EventTypeName, ListedEvent, Pattern, StoredEvent, Timestamp,
        Violation, media,
    },
    store::EventFilter,
};

/// Which events to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Of such a type: a name or a pattern, such as `order.*`.
    #[param(value_type = Option<String>, example = "order.*")]
    event_type: Option<Pattern>,
    /// Accepted at or after.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Accepted before.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Only those accepted although they violate their schema.
    #[serde(default)]
    violating: bool,
    /// Only those that were not delivered to all they matched: with a delivery that is
    /// `pending`, `delivering`, `held` or `dead`.
    #[serde(default)]
    undelivered: bool,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An accepted event, without its payload.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventSummary {
    /// The event's id.
    id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "order.created")]
    event_type: EventTypeName,
    /// The schema version it was accepted under; 0 if the type had none.
    schema_version: u32,
    /// The producer's own id for it.
    producer_id: Option<String>,
    /// What it is about.
    subject: Option<String>,
    /// What it was published on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// What its payload is.
    #[schema(example = "application/json")]
    content_type: String,
    /// Bytes of its payload.
    payload_bytes: usize,
    /// How many subscriptions it went to.
    deliveries: u32,
    /// Where it violates its schema, if it was accepted nonetheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
}

impl From<ListedEvent> for EventSummary {
    fn from(event: ListedEvent) -> Self {
        Self {
            id: event.id,
            event_type: event.event_type,
            schema_version: event.schema_version,
            producer_id: event.producer_id,
            subject: event.subject,
            channels: event.channels,
            occurred_at: event.occurred_at,
            accepted_at: event.accepted_at,
            content_type: event.content_type.as_deref().unwrap_or(media::JSON).to_owned(),
            payload_bytes: event.payload_bytes,
            deliveries: event.deliveries,
            violations: event.violations,
        }
    }
}

/// An accepted event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventOut {
    #[serde(flatten)]
    summary: EventSummary,
    /// How many of its deliveries are in each state.
    #[schema(example = json!({"succeeded": 2, "pending": 1}))]
    delivery_states: BTreeMap<&'static str, u64>,
    /// Whether it was delivered to all it matched: none of its deliveries is `pending`,
    /// `delivering`, `held` or `dead`.
    fully_delivered: bool,
    /// What happened: the JSON itself, or a text as a string. Null if it is no longer kept.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// What happened, in base64, where it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// What it says of itself as a CloudEvent, if it came as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    cloudevent: Option<Arc<CloudContext>>,
    /// Whether the payload is no longer kept, so that nothing can be sent again.
    payload_expired: bool,
}

/// A page of events.
pub async fn page_of_events(
    api: &Api,
    acting: &Actor,
    filter: &EventFilter,
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<PageOut<EventSummary>, Problem> {
    let paging = Paging::<EventId>::new("evt", limit, cursor)?;
    let page = api
        .store
        .list_events(acting.application.id, filter, paging.after, paging.limit)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("event", "list")))?;
    let events = page.items.into_iter().map(EventSummary::from).collect();
    Ok(paging.page(events, page.more, |event| event.id))
}

/// List events
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "Events",
    params(EventQuery),
    responses((status = 200, body = PageOut<EventSummary>))
)]
pub async fn list_events(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<EventQuery>,
) -> Result<Json<PageOut<EventSummary>>, Problem> {
    let filter = EventFilter {
        event_type: query.event_type,
        violating: query.violating,
        since: query.since,
        until: query.until,
    };
    if query.undelivered {
        let paging = Paging::<EventId>::new("evt", query.limit, query.cursor.as_deref())?;
        let page = api
            .store
            .undelivered(acting.application.id, &filter, paging.after, paging.limit)
            .await
            .map_err(|error| refusal::store(error, &Subject::new("event", "list")))?;
        let events: Vec<_> = page.items.into_iter().map(EventSummary::from).collect();
        return Ok(Json(paging.page(events, page.more, |event| event.id)));
    }
    page_of_events(&api, &acting, &filter, query.limit, query.cursor.as_deref()).await.map(Json)
}

async fn find(api: &Api, acting: &Actor, id: EventId) -> Result<StoredEvent, Problem> {
    api.store
        .event(acting.application.id, id)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("event", id)))
}

/// Get an event
///
/// With its payload, and how many of its deliveries are in each state.
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    tag = "Events",
    params(("id" = EventId, Path, description = "The event")),
    responses((status = 200, body = EventOut), Missing)
)]
pub async fn get_event(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<EventId>,
) -> Result<Json<EventOut>, Problem> {
    let stored = find(&api, &acting, id).await?;
    let states = api
        .store
        .summary(acting.application.id, id)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("event", id)))?;
    let event = &stored.event;
    let (payload, payload_base64) =
        if event.is_expired() { (None, None) } else { shown(&event.payload, event.is_json()) };
    Ok(Json(EventOut {
        payload,
        payload_base64,
        cloudevent: stored.event.context.clone(),
        fully_delivered: states.iter().all(|(state, _)| state.is_settled()),
        payload_expired: stored.event.is_expired(),
        delivery_states: states.into_iter().map(|(state, n)| (state.as_str(), n)).collect(),
        summary: ListedEvent::from(stored).into(),
    }))
}

/// Get an event's payload
///
/// Byte for byte what its producer sent.
#[utoipa::path(
    get,
    path = "/v1/events/{id}/payload",
    tag = "Events",
    params(("id" = EventId, Path, description = "The event")),
    responses(
        (status = 200, body = serde_json::Value, content_type = "application/json",
            description = "The payload, under its own content type"),
        Missing,
        Expired
    )
)]
pub async fn get_event_payload(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<EventId>,
) -> Result<Response, Problem> {
    let stored = find(&api, &acting, id).await?;
    if stored.event.is_expired() {
        return Err(refusal::payload_expired(&Subject::new("event", id)));
    }
    // What a content type may be was looked at when it was accepted.
    let content_type = HeaderValue::from_str(stored.event.content_type())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = [(header::CONTENT_TYPE, content_type), (header::X_CONTENT_TYPE_OPTIONS, nosniff)];
    Ok((headers, stored.event.payload).into_response())
}
