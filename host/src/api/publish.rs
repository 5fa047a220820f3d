//! `POST /v1/events`: where events come in. The hot path: the body
//! is read once, and a payload is a slice of it, byte for byte what the producer wrote.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{Extensions, HeaderMap, StatusCode},
    response::{IntoResponse, Json, Response},
};
use metrics::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    auth::Acting,
    docs::{Busy, Conflicting, UnknownType, Violating},
    explain,
    extract::{check_text, json_bytes},
    limits,
    problem::{Code, Problem},
    refusal,
};
use crate::{
    ingest::{Publish, Published},
    model::{Application, EventId, Timestamp},
    telemetry::trace::{self, Kind},
};

/// The header that makes a request safe to repeat.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that says an answer was given before.
const REPLAYED: &str = "idempotency-replayed";
/// Longest id, key and subject, in bytes.
const MAX_TEXT: usize = 255;

/// How long producers wait. Registered once: the recorder is installed before the server
/// listens.
static ACCEPT_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| metrics::histogram!("hookmill_accept_seconds"));

/// An event, as its producer sends it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventIn, example = json!({
    "type": "order.created",
    "payload": {"id": 7, "total": "19.90", "currency": "EUR"},
    "id": "order-7",
    "subject": "orders/7"
}))]
pub struct Envelope<'a> {
    /// The event type's name.
    #[serde(rename = "type")]
    event_type: String,
    /// What happened: any JSON. Delivered byte for byte, unless a plugin changes it.
    #[serde(borrow)]
    #[schema(value_type = serde_json::Value)]
    payload: &'a RawValue,
    /// The producer's own id, also an idempotency key: the same event under the same id is
    /// accepted once. At most 255 printable characters.
    #[schema(max_length = 255)]
    id: Option<String>,
    /// What it is about. At most 255 printable characters.
    #[schema(max_length = 255)]
    subject: Option<String>,
    /// When it happened, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// The schema version it satisfies, if not the newest.
    #[schema(minimum = 1)]
    schema_version: Option<u32>,
}

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

/// What ingest takes, its payload a slice of `body`.
pub fn publish_of(body: &Bytes, key: Option<String>) -> Result<Publish, Problem> {
    let envelope: Envelope<'_> = explain::json(body)?;
    let texts = [("/id", &envelope.id), ("/subject", &envelope.subject)];
    for (at, text) in texts {
        if let Some(text) = text {
            check_text(at, text, MAX_TEXT).map_err(|error| {
                Problem::new(Code::InvalidField, format!("{at} cannot be used")).errors([error])
            })?;
        }
    }
    Ok(Publish {
        event_type: envelope.event_type,
        payload: body.slice_ref(envelope.payload.get().as_bytes()),
        id: envelope.id,
        idempotency_key: key,
        subject: envelope.subject,
        occurred_at: envelope.occurred_at,
        schema_version: envelope.schema_version,
        trace: trace::current(),
    })
}

/// The request's idempotency key, if it has one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let refused = |why: &str| {
        Problem::new(Code::InvalidHeader, "The Idempotency-Key cannot be used").detail(why)
    };
    let key = value.to_str().map_err(|_| refused("It has other characters than visible ASCII."))?;
    if key.is_empty() || key.len() > MAX_TEXT {
        return Err(refused("It must have 1 to 255 characters."));
    }
    if headers.get_all(IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(refused("It is there more than once."));
    }
    Ok(Some(key.to_owned()))
}

pub async fn accept(
    api: &Api,
    extensions: &Extensions,
    application: &Application,
    mut event: Publish,
) -> Result<Published, Problem> {
    limits::event(api, extensions, application, (&event.event_type, &event.payload))?;
    let start = api.clock.instant();
    let mut span = trace::span("publish", Kind::Producer, event.trace.take());
    event.trace = span.context();
    let published = api.ingest.publish(application, event).await.map_err(|rejected| {
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
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "Events",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat"),
        ("traceparent" = Option<String>, Header, description = "The trace that deliveries are a part of (W3C Trace Context)"),
        ("tracestate" = Option<String>, Header, description = "Passed on with it")
    ),
    request_body(content = Envelope<'_>, content_type = "application/json"),
    responses(
        (status = 202, body = PublishedOut, description = "It is on disk and will be delivered",
            headers(("idempotency-replayed" = Option<bool>, description = "`true` if it was accepted before"))),
        UnknownType, Conflicting, Violating, Busy
    )
)]
pub async fn publish_event(
    acting: Acting,
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let extensions = request.extensions().clone();
    limits::events(&api, &extensions, &acting.application, &acting.by, 1)?;
    let body = json_bytes(request, api.limits.max_body).await?;
    let event = publish_of(&body, key)?;
    let published = accept(&api, &extensions, &acting.application, event).await?;
    let repeated = published.repeated;
    let answer = (StatusCode::ACCEPTED, Json(PublishedOut::from(published)));
    Ok(if repeated {
        ([(REPLAYED, "true")], answer).into_response()
    } else {
        answer.into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Publish, Problem> {
        let body = Bytes::from_static(text.as_bytes());
        publish_of(&body, None)
    }

    #[test]
    fn the_payload_is_a_slice_of_the_body_byte_for_byte() {
        let body = Bytes::from_static(
            b"{\"type\":\"a.b\", \"payload\" :  { \"z\":1.00,\"a\":\"\\u00e9\", \"n\":12345678901234567890123 } }",
        );
        let event = publish_of(&body, None).unwrap();
        assert_eq!(
            event.payload,
            "{ \"z\":1.00,\"a\":\"\\u00e9\", \"n\":12345678901234567890123 }"
        );
        assert!(body.as_ptr_range().contains(&event.payload.as_ptr()), "it was copied");
    }

    #[test]
    fn every_kind_of_json_is_a_payload() {
        for (text, payload) in [
            (r#"{"type":"a","payload":null}"#, "null"),
            (r#"{"type":"a","payload":[1, 2]}"#, "[1, 2]"),
            (r#"{"payload":"x","type":"a"}"#, "\"x\""),
        ] {
            assert_eq!(read(text).unwrap().payload, payload);
        }
    }

    #[test]
    fn the_envelope_is_taken_as_a_whole() {
        let event = read(
            r#"{"type":"a","payload":1,"id":"o-7","subject":"s","occurred_at":"2026-11-23T10:00:00Z","schema_version":2}"#,
        )
        .unwrap();
        assert_eq!(event.id.as_deref(), Some("o-7"));
        assert_eq!(event.schema_version, Some(2));
        assert_eq!(event.occurred_at.unwrap().to_string(), "2026-11-23T10:00:00Z");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, code, at) in [
            (r#"{"payload":1}"#, Code::MissingField, "/type"),
            (r#"{"type":"a"}"#, Code::MissingField, "/payload"),
            (r#"{"type":"a","paylod":1}"#, Code::UnknownField, "/paylod"),
            (r#"{"type":7,"payload":1}"#, Code::InvalidField, "/type"),
            (r#"{"type":"a","payload":1,"id":""}"#, Code::InvalidField, "/id"),
            (r#"{"type":"a","payload":1,"id":"\u0000"}"#, Code::InvalidField, "/id"),
            (r#"{"type":"a","payload":1,"occurred_at":"x"}"#, Code::InvalidField, "/occurred_at"),
            (
                r#"{"type":"a","payload":1,"schema_version":-1}"#,
                Code::InvalidField,
                "/schema_version",
            ),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!(
                (problem.code(), problem.body().errors[0].at.as_str()),
                (code, at),
                "{text}"
            );
        }
        for text in [r#"{"type":"a","payload":{]}"#, r#"{"type":"a","payload":"#, "", "nul"] {
            assert_eq!(read(text).unwrap_err().code(), Code::MalformedJson, "{text}");
        }
        let duplicate = read(r#"{"type":"a","payload":1,"payload":2}"#).unwrap_err();
        assert_eq!(duplicate.code(), Code::InvalidField);
    }

    #[test]
    fn a_body_that_is_not_utf8_is_malformed() {
        let body = Bytes::from_static(b"{\"type\":\"a\",\"payload\":\"\xff\"}");
        assert_eq!(publish_of(&body, None).unwrap_err().code(), Code::MalformedJson);
    }

    #[test]
    fn idempotency_keys_are_short_and_visible() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, axum::http::HeaderValue::from_bytes(value).unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(with(b"abc").unwrap().as_deref(), Some("abc"));
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        for bad in [&b""[..], b"\xff", &[b'x'; 256]] {
            assert_eq!(with(bad).unwrap_err().code(), Code::InvalidHeader);
        }
    }
}
