//! `POST /v1/events`: where events come in. The hot path: the body
//! is read once, and a payload is a slice of it, byte for byte what the producer wrote.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use axum::{
    RequestExt,
    body::Bytes,
    extract::{Request, State},
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Json, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use metrics::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{self, Acting},
    batch::{self, BatchOut},
    cloudevents,
    docs::{Busy, Conflicting, UnknownType, Violating},
    explain,
    extract::{self, QueryParams, check_text},
    limits,
    problem::{Code, FieldError, Problem},
    refusal,
    schema_evolution::warnings,
};
use crate::{
    ingest::{Publish, Published},
    model::{Application, EventId, MAX_EVENT_CHANNELS, Timestamp, check_channels, media},
    telemetry::trace::{self, Kind},
};

/// The header that makes a request safe to repeat.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that says an answer was given before.
const REPLAYED: &str = "idempotency-replayed";
/// Longest id, key and subject, in bytes.
pub const MAX_TEXT: usize = 255;

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
    #[serde(borrow, default, deserialize_with = "present")]
    #[schema(value_type = serde_json::Value)]
    payload: Option<&'a RawValue>,
    /// In its place, a payload that is text: delivered in UTF-8.
    payload_text: Option<String>,
    /// In its place, a payload of any bytes, in base64.
    #[schema(content_encoding = "base64")]
    payload_base64: Option<String>,
    /// What the payload is, if not `application/json`, `text/plain; charset=utf-8` or
    /// `application/octet-stream`, by the field it is in. Its event type must take it.
    #[schema(max_length = 255, example = "application/json")]
    content_type: Option<String>,
    /// The producer's own id, also an idempotency key: the same event under the same id is
    /// accepted once. At most 255 printable characters.
    #[schema(max_length = 255)]
    id: Option<String>,
    /// What it is about. At most 255 printable characters.
    #[schema(max_length = 255)]
    subject: Option<String>,
    /// When it happened, if not now.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// The schema version it satisfies, if not the newest.
    #[schema(minimum = 1)]
    schema_version: Option<u32>,
    /// What it is published on: subscriptions to one of these get it, and those to no channel.
    #[serde(default)]
    #[schema(max_items = 10, example = json!(["eu"]))]
    channels: Vec<String>,
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

/// `null` is a payload like any other.
fn present<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(source).map(Some)
}

/// What ingest takes, a JSON payload a slice of `body`.
pub fn publish_of(body: &Bytes, key: Option<String>) -> Result<Publish, Problem> {
    let envelope: Envelope<'_> = explain::json(body)?;
    if let Some((at, why)) = check_channels(&envelope.channels, MAX_EVENT_CHANNELS) {
        return Err(Problem::new(Code::InvalidField, "/channels cannot be used")
            .errors([FieldError::new(format!("/channels{at}"), why)]));
    }
    let (payload, content_type) = envelope.content(body)?;
    Publish {
        event_type: envelope.event_type,
        payload,
        content_type,
        context: None,
        id: envelope.id,
        idempotency_key: key,
        subject: envelope.subject,
        occurred_at: envelope.occurred_at,
        schema_version: envelope.schema_version,
        channels: envelope.channels,
        trace: trace::current(),
    }
    .checked(|field| format!("/{field}"), Code::InvalidField)
}

impl Publish {
    /// The event, if its texts are short and printable.
    fn checked(self, place: impl Fn(&str) -> String, code: Code) -> Result<Self, Problem> {
        for (field, text) in [("id", &self.id), ("subject", &self.subject)] {
            let Some(text) = text else { continue };
            check_text("", text, MAX_TEXT).map_err(|error| {
                let at = place(field);
                Problem::new(code, format!("{at} cannot be used"))
                    .errors([FieldError { at, ..error }])
            })?;
        }
        Ok(self)
    }
}

impl Envelope<'_> {
    /// The payload and what it is.
    fn content(&self, body: &Bytes) -> Result<(Bytes, Option<Arc<str>>), Problem> {
        let refused = |at: &str, why: &str| {
            Problem::new(Code::InvalidField, format!("{at} cannot be used"))
                .errors([FieldError::new(at, why)])
        };
        let (payload, default) = match (self.payload, &self.payload_text, &self.payload_base64) {
            (Some(json), None, None) => (body.slice_ref(json.get().as_bytes()), None),
            (None, Some(text), None) => {
                (Bytes::copy_from_slice(text.as_bytes()), Some("text/plain; charset=utf-8"))
            }
            (None, None, Some(text)) => {
                let bytes = STANDARD.decode(text);
                let bytes = bytes.map_err(|_| refused("/payload_base64", "is not base64"))?;
                (bytes.into(), Some("application/octet-stream"))
            }
            (None, None, None) => {
                return Err(Problem::new(Code::MissingField, "The field payload is missing")
                    .detail("What is not JSON goes in payload_text or payload_base64.")
                    .errors([FieldError::new("/payload", "missing field")]));
            }
            _ => return Err(refused("/payload", "stands beside another payload")),
        };
        let Some(given) = self.content_type.as_deref() else {
            return Ok((payload, default.map(Arc::from)));
        };
        if !media::is_media_type(given) {
            return Err(refused("/content_type", "is not a media type such as text/xml"));
        }
        if self.payload.is_some() && !media::is_json(given) {
            let why = "is not JSON: put the payload into payload_text or payload_base64";
            return Err(refused("/content_type", why));
        }
        Ok((payload, payload_type(given)))
    }
}

/// A content type as it is kept: plain JSON is not mentioned.
pub fn payload_type(given: &str) -> Option<Arc<str>> {
    (!given.trim().eq_ignore_ascii_case(media::JSON)).then(|| Arc::from(given.trim()))
}

/// What is said of an event whose payload is the whole body.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RawQuery {
    /// The event type's name. With it, the body is the payload alone, of whatever type.
    #[serde(rename = "type")]
    #[param(required = false, example = "invoice.sent")]
    event_type: String,
    /// As in the JSON form.
    id: Option<String>,
    /// As in the JSON form.
    subject: Option<String>,
    /// As in the JSON form.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// As in the JSON form.
    #[param(minimum = 1)]
    schema_version: Option<u32>,
}

impl RawQuery {
    fn publish(
        self,
        headers: &HeaderMap,
        payload: Bytes,
        key: Option<String>,
    ) -> Result<Publish, Problem> {
        let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let Some(given) = given.filter(|given| media::is_media_type(given)) else {
            return Err(Problem::new(
                Code::WrongContentType,
                "The body's Content-Type is missing or not a media type",
            )
            .detail("The body is the payload: say what it is, for example text/xml."));
        };
        Publish {
            event_type: self.event_type,
            payload,
            content_type: payload_type(given),
            context: None,
            id: self.id,
            idempotency_key: key,
            subject: self.subject,
            occurred_at: self.occurred_at,
            schema_version: self.schema_version,
            channels: Vec::new(),
            trace: trace::current(),
        }
        .checked(|field| format!("?{field}"), Code::InvalidQuery)
    }
}

/// The forms in which an event comes.
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

/// The request's idempotency key, if it has one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let refused = |why: &str| {
        Problem::new(Code::InvalidHeader, "The Idempotency-Key cannot be used").detail(why)
    };
    let key = value.to_str().ok().filter(|key| key.bytes().all(|b| (b' '..=b'~').contains(&b)));
    let key = key.ok_or_else(|| refused("It has other characters than visible ASCII."))?;
    let key = unquoted(key).ok_or_else(|| {
        refused("It begins with a quotation mark, and is no string as RFC 9651 writes one.")
    })?;
    if key.is_empty() || key.len() > MAX_TEXT {
        return Err(refused("It must have 1 to 255 characters."));
    }
    if headers.get_all(IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(refused("It is there more than once."));
    }
    Ok(Some(key.into_owned()))
}

/// A key as it is meant: a string of RFC 9651 without its quotation marks, as the IETF's draft
/// of the header has it, or a bare word as most clients send it. None for a string that has no
/// end or something after it.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = text.strip_prefix('"') else { return Some(text.into()) };
    let mut key = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(key.into()),
            '\\' => key.push(letters.next().filter(|letter| matches!(letter, '"' | '\\'))?),
            letter => key.push(letter),
        }
    }
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
///
/// Takes a CloudEvent in structured or binary mode as well, and with `?type=` a payload of any
/// type as the body. A batch of CloudEvents is answered with 200, as `/v1/events/batch` does.
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
    let published = accept(&api, &parts.extensions, &acting.application, event).await?;
    let repeated = published.repeated;
    let warnings = warnings(published.lifecycle);
    let answer = (StatusCode::ACCEPTED, Json(PublishedOut::from(published)));
    Ok(if repeated {
        (warnings, [(REPLAYED, "true")], answer).into_response()
    } else {
        (warnings, answer).into_response()
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
        assert_eq!(with(b"\"abc\"").unwrap().as_deref(), Some("abc"));
        assert_eq!(with(br#""a\"b\\c""#).unwrap().as_deref(), Some(r#"a"b\c"#));
        for bad in [&b"\""[..], b"\"\"", b"\"a\"b", b"\"a\\x\"", b"\"a\\\"", b"a\tb"] {
            assert_eq!(with(bad).unwrap_err().code(), Code::InvalidHeader, "{bad:?}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        for bad in [&b""[..], b"\xff", &[b'x'; 256]] {
            assert_eq!(with(bad).unwrap_err().code(), Code::InvalidHeader);
        }
    }
}
