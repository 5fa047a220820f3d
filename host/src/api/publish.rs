//! `POST /v1/events`: where events come in, in whatever form. The hot path.

use std::sync::{Arc, LazyLock};

use axum::{
    RequestExt,
    extract::{Request, State},
    http::{Extensions, HeaderValue, StatusCode, header},
    response::{IntoResponse, Json, Response},
};
use metrics::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{self, Acting},
    batch::{self, BatchOut},
    cloudevents,
    docs::{Busy, Conflicting, UnknownType, Violating},
    envelope::{Envelope, RawQuery, publish_of},
    extract::{self, QueryParams},
    idempotency::{REPLAYED, idempotency_key},
    limits,
    problem::Problem,
    refusal,
    schema_evolution::warnings,
};
use crate::{
    ingest::{Publish, Published, Turn},
    model::{EventId, media},
    telemetry::trace::{self, Kind},
};

/// How long producers wait. Registered once: the recorder is installed before the server
/// listens.
static ACCEPT_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| metrics::histogram!("hookmill_accept_seconds"));

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedOut {
    /// The event's id.
    pub id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "order.created")]
    pub event_type: String,
    /// The schema version it was accepted under; 0 if the type has none.
    pub schema_version: u32,
    /// How many subscriptions it goes to.
    pub deliveries: u32,
}

impl From<Published> for PublishedOut {
    fn from(published: Published) -> Self {
        Self {
            id: published.receipt.id,
            event_type: published.event_type.to_string(),
            schema_version: published.receipt.schema_version,
            deliveries: published.receipt.deliveries,
        }
    }
}

/// The forms in which an event comes; [`super::forms`] describes them.
enum Form {
    /// JSON that says all of it.
    Envelope,
    /// The payload alone; the query says the rest.
    Raw(RawQuery),
    /// A CloudEvent with its data in it.
    Structured,
    /// A CloudEvent's data; headers say the rest.
    Binary,
    /// Several CloudEvents.
    Batch,
}

impl Form {
    const TYPES: [&str; 3] = [media::JSON, cloudevents::STRUCTURED, cloudevents::BATCH];

    async fn of(request: &mut Request) -> Result<Self, Problem> {
        let headers = request.headers();
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let in_headers =
            || headers.keys().any(|name| name.as_str().starts_with(cloudevents::PREFIX));
        // Nearly all are of this form, and are found to be without a copy.
        if kind == Some(media::JSON.as_bytes()) && request.uri().query().is_none() && !in_headers()
        {
            return Ok(Self::Envelope);
        }
        let essence = extract::media_type(headers).unwrap_or_default();
        match essence.as_str() {
            cloudevents::STRUCTURED => Ok(Self::Structured),
            cloudevents::BATCH => Ok(Self::Batch),
            _ if in_headers() => Ok(Self::Binary),
            _ if request.uri().query().is_some_and(|query| !query.is_empty()) => request
                .extract_parts::<QueryParams<RawQuery>>()
                .await
                .map(|QueryParams(q)| Self::Raw(q)),
            media::JSON => Ok(Self::Envelope),
            _ => Err(extract::wrong_type(headers, &Self::TYPES).detail(
                "Send application/json with the event; application/cloudevents+json or ce- headers \
                 for a CloudEvent; or a payload of any type with ?type= and the event type's name.",
            )),
        }
    }
}

/// Hands an event to the ingest, and measures how long that takes.
pub async fn accept(
    api: &Api,
    extensions: &Extensions,
    acting: &Acting<auth::Publish>,
    mut event: Publish,
    turn: &mut Turn,
) -> Result<Published, Problem> {
    let application = &acting.application;
    let what = (event.event_type.as_str(), event.payload.len());
    limits::event(api, extensions, (application, &acting.by), what)?;
    let start = api.clock.instant();
    let mut span = trace::span("publish", Kind::Producer, event.trace.take());
    event.trace = span.context();
    let published = api.ingest.publish(application, event, turn).await.map_err(|rejected| {
        let problem = refusal::publish(rejected);
        span.failed(problem.code().slug());
        problem
    })?;
    ACCEPT_SECONDS.record(start.elapsed());
    let id = published.receipt.id;
    span.set("hookmill.event.id", || id.to_string());
    span.set("hookmill.event.type", || published.event_type.to_string());
    tracing::debug!(event_id = %id, deliveries = published.receipt.deliveries, "accepted");
    Ok(published)
}

/// Publish an event
///
/// Answers once the event and its deliveries are on disk: what is answered with 202 is
/// delivered, whatever happens to the server. A repeated `id` or `Idempotency-Key` with the
/// same event is answered as the first time, with the header `idempotency-replayed: true`,
/// and delivered once; keys are remembered for 24 hours.
///
/// What the body is follows from its `Content-Type` and what stands beside it: the JSON form; a
/// CloudEvent in structured mode; with headers that begin with `ce-` a CloudEvent's data, with
/// `?type=` the payload itself, either of any type. A batch of CloudEvents is answered with 200,
/// as `/v1/events/batch` does.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "Events",
    params(
        RawQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat"),
        ("traceparent" = Option<String>, Header, description = "The trace that deliveries are a part of (W3C Trace Context)"),
        ("tracestate" = Option<String>, Header, description = "Passed on with it")
    ),
    request_body(content = Envelope<'_>, content_type = "application/json"),
    responses(
        (status = 202, body = PublishedOut, description = "It is on disk and will be delivered",
            headers(("idempotency-replayed" = Option<bool>, description = "`true` if it was accepted before"))),
        (status = 200, body = BatchOut, description = "What became of each of a batch of CloudEvents"),
        UnknownType, Conflicting, Violating, Busy
    )
)]
pub async fn publish_event(
    acting: Acting<auth::Publish>,
    State(api): State<Arc<Api>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let form = Form::of(&mut request).await?;
    if matches!(form, Form::Batch) {
        return batch::take(&api, &acting, request, key).await.map(IntoResponse::into_response);
    }
    limits::events(&api, request.extensions(), &acting.application, &acting.by, 1)?;
    let (parts, body) = extract::any_bytes(request, api.limits.load().max_body).await?;
    let event = match form {
        Form::Raw(query) => query.publish(&parts.headers, body, key)?,
        Form::Structured => cloudevents::structured(&body, key)?,
        Form::Binary => cloudevents::binary(&parts.headers, body, key)?,
        Form::Envelope | Form::Batch => publish_of(&body, key)?,
    };
    let turn = &mut Turn::alone(api.clock.now());
    let published = accept(&api, &parts.extensions, &acting, event, turn).await?;
    let repeated = published.repeated;
    let warnings = warnings(published.lifecycle);
    let answer = (StatusCode::ACCEPTED, Json(PublishedOut::from(published)));
    Ok(if repeated {
        (warnings, [(REPLAYED, "true")], answer).into_response()
    } else {
        (warnings, answer).into_response()
    })
}
