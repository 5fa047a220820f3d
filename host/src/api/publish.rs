//! `POST /v1/events` and `/v1/events/batch`: where events come in. The hot path: the body
//! is read once, and a payload is a slice of it, byte for byte what the producer wrote.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Json, Response},
};
use futures_util::future::join_all;
use metrics::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    auth::Acting,
    docs::{Busy, Conflicting, Violating},
    explain,
    extract::{check_text, json_bytes},
    problem::{Code, Problem, ProblemBody},
    refusal,
};
use crate::{
    ingest::{Publish, Published},
    model::{Application, EventId, Timestamp},
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

/// Several events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchIn, example = json!({
    "events": [{"type": "order.created", "payload": {"id": 7}}]
}))]
pub struct Batch<'a> {
    /// Up to 500 events.
    #[serde(borrow)]
    #[schema(value_type = Vec<Envelope<'_>>, max_items = 500)]
    events: Vec<&'a RawValue>,
}

/// What became of each event of a batch, in their order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchOut {
    /// How many were accepted.
    pub accepted: usize,
    /// How many were refused.
    pub refused: usize,
    /// One for each event.
    pub data: Vec<BatchItem>,
}

/// What became of one event of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchItem {
    /// The status it would have been answered with alone.
    pub status: u16,
    /// The accepted event.
    #[serde(flatten)]
    pub event: Option<PublishedOut>,
    /// Whether it was accepted before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemBody>,
}

impl From<Result<Published, Problem>> for BatchItem {
    fn from(result: Result<Published, Problem>) -> Self {
        match result {
            Ok(published) => Self {
                status: StatusCode::ACCEPTED.as_u16(),
                replayed: published.repeated,
                event: Some(published.into()),
                problem: None,
            },
            Err(problem) => Self {
                status: problem.status().as_u16(),
                event: None,
                replayed: false,
                problem: Some(problem.into_body()),
            },
        }
    }
}

/// What ingest takes, its payload a slice of `body`.
fn publish_of(body: &Bytes, text: &[u8], key: Option<String>) -> Result<Publish, Problem> {
    let envelope: Envelope<'_> = explain::json(text)?;
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
    })
}

/// The request's idempotency key, if it has one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
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

async fn accept(
    api: &Api,
    application: &Application,
    event: Publish,
) -> Result<Published, Problem> {
    let start = api.clock.instant();
    let published = api.ingest.publish(application, event).await.map_err(refusal::publish)?;
    ACCEPT_SECONDS.record(start.elapsed());
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
        ("Hookmill-Application" = Option<String>, Header, description = "Name or id of the application to act for; `default` if not given")
    ),
    request_body(content = Envelope<'_>, content_type = "application/json"),
    responses(
        (status = 202, body = PublishedOut, description = "It is on disk and will be delivered",
            headers(("idempotency-replayed" = Option<bool>, description = "`true` if it was accepted before"))),
        Conflicting, Violating, Busy
    )
)]
pub async fn publish_event(
    acting: Acting,
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let body = json_bytes(request, api.limits.max_body).await?;
    let event = publish_of(&body, &body, key)?;
    let published = accept(&api, &acting.application, event).await?;
    let repeated = published.repeated;
    let answer = (StatusCode::ACCEPTED, Json(PublishedOut::from(published)));
    Ok(if repeated {
        ([(REPLAYED, "true")], answer).into_response()
    } else {
        answer.into_response()
    })
}

/// Publish several events
///
/// Takes `{"events": […]}` or the list alone. Each event is accepted or refused by itself:
/// the answer is 200 and says what became of each, in their order. An `Idempotency-Key`
/// holds for each event by its place, so a repeated batch delivers nothing twice.
#[utoipa::path(
    post,
    path = "/v1/events/batch",
    tag = "Events",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat"),
        ("Hookmill-Application" = Option<String>, Header, description = "Name or id of the application to act for; `default` if not given")
    ),
    request_body(content = Batch<'_>, content_type = "application/json"),
    responses((status = 200, body = BatchOut, description = "What became of each"))
)]
pub async fn publish_batch(
    acting: Acting,
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<BatchOut>, Problem> {
    let key = idempotency_key(request.headers())?;
    let body = json_bytes(request, api.limits.max_batch_body).await?;
    let items = batch_items(&body, api.limits.max_batch)?;
    // All at once, so that they share transactions.
    let data: Vec<BatchItem> = join_all(items.into_iter().enumerate().map(|(index, item)| {
        let event = batch_event(&body, item, index, key.as_deref(), api.limits.max_body);
        let (api, application) = (&api, &acting.application);
        async move {
            let result = match event {
                Ok(event) => accept(api, application, event).await,
                Err(problem) => Err(problem),
            };
            BatchItem::from(result)
        }
    }))
    .await;
    let accepted = data.iter().filter(|item| item.event.is_some()).count();
    Ok(Json(BatchOut { accepted, refused: data.len() - accepted, data }))
}

/// The batch's events, unparsed.
fn batch_items(body: &[u8], most: usize) -> Result<Vec<&RawValue>, Problem> {
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let items =
        if is_list { explain::json(body)? } else { explain::json::<Batch<'_>>(body)?.events };
    if items.len() > most {
        return Err(Problem::new(
            Code::BatchTooLarge,
            format!("The batch has {} events; {most} are allowed", items.len()),
        )
        .member("limit", most));
    }
    Ok(items)
}

fn batch_event(
    body: &Bytes,
    item: &RawValue,
    index: usize,
    key: Option<&str>,
    limit: usize,
) -> Result<Publish, Problem> {
    let text = item.get().as_bytes();
    if text.len() > limit {
        return Err(Problem::new(
            Code::BodyTooLarge,
            format!("The event is larger than {limit} bytes"),
        )
        .member("limit_bytes", limit));
    }
    publish_of(body, text, key.map(|key| format!("{key}#{index}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Publish, Problem> {
        let body = Bytes::from_static(text.as_bytes());
        publish_of(&body, &body, None)
    }

    #[test]
    fn the_payload_is_a_slice_of_the_body_byte_for_byte() {
        let body = Bytes::from_static(
            b"{\"type\":\"a.b\", \"payload\" :  { \"z\":1.00,\"a\":\"\\u00e9\", \"n\":12345678901234567890123 } }",
        );
        let event = publish_of(&body, &body, None).unwrap();
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
        assert_eq!(publish_of(&body, &body, None).unwrap_err().code(), Code::MalformedJson);
    }

    #[test]
    fn a_batch_is_a_list_or_an_object_with_one() {
        let list = br#" [{"type":"a","payload":1},7]"#;
        let object = br#"{"events":[{"type":"a","payload":1},7]}"#;
        for body in [&list[..], &object[..]] {
            assert_eq!(batch_items(body, 2).unwrap().len(), 2);
            assert_eq!(batch_items(body, 1).unwrap_err().code(), Code::BatchTooLarge);
        }
        assert_eq!(batch_items(b"{\"event\":[]}", 2).unwrap_err().code(), Code::UnknownField);
        assert!(batch_items(b"[]", 2).unwrap().is_empty());
    }

    #[test]
    fn what_became_of_an_event_of_a_batch_is_shown_as_if_it_had_come_alone() {
        let published = Published {
            receipt: crate::store::Receipt {
                id: EventId::new(Timestamp::UNIX_EPOCH),
                schema_version: 1,
                deliveries: 2,
            },
            event_type: "a.b".parse().unwrap(),
            repeated: false,
        };
        let id = published.receipt.id.to_string();
        let shown = |item: BatchItem| serde_json::to_value(item).unwrap();
        assert_eq!(
            shown(Ok(published).into()),
            serde_json::json!(
                {"status": 202, "id": id, "type": "a.b", "schema_version": 1, "deliveries": 2}
            )
        );
        let refused = shown(Err(Problem::new(Code::UnknownEventType, "There is none")).into());
        assert_eq!((&refused["status"], &refused["problem"]["status"]), (&400.into(), &400.into()));
        assert!(refused.get("id").is_none());
    }

    #[test]
    fn each_event_of_a_batch_stands_alone() {
        let body = Bytes::from_static(br#"[{"type":"a","payload":{"x":1}},7]"#);
        let items = batch_items(&body, 9).unwrap();
        let first = batch_event(&body, items[0], 0, Some("k"), 100).unwrap();
        assert_eq!(first.payload, r#"{"x":1}"#);
        assert_eq!(first.idempotency_key.as_deref(), Some("k#0"));
        let second = batch_event(&body, items[1], 1, None, 100).unwrap_err();
        assert_eq!(second.code(), Code::InvalidField);
        let large = batch_event(&body, items[0], 0, None, 5).unwrap_err();
        assert_eq!(large.code(), Code::BodyTooLarge);
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
