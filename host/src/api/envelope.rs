//! An event as its producer writes it: the JSON form, and the payload alone with a query.
//!
//! Owns what stands in either and how mistakes in it are named. The body is read once, and a JSON
//! payload is a slice of it, byte for byte what the producer wrote.

use std::sync::Arc;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    explain,
    extract::check_text,
    problem::{Code, FieldError, Problem},
};
use crate::{
    ingest::Publish,
    model::{MAX_EVENT_CHANNELS, Timestamp, check_channels, media},
    telemetry::trace,
};

/// Longest id, key and subject, in bytes.
pub const MAX_TEXT: usize = 255;

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
    /// The event whose payload is the whole body.
    pub fn publish(
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
}
