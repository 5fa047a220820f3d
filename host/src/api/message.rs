//! A message, as shown: what was, will be or would be sent.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use crate::model::{Event, Message, media};

/// What is sent to an endpoint, without what the server adds itself (`webhook-*`).
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageOut {
    /// The body's media type.
    #[schema(example = "application/json")]
    pub content_type: String,
    /// Headers that plugins added.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body.
    pub size: usize,
    /// The body: the JSON itself where it is JSON, else its text as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub body: Option<Box<RawValue>>,
    /// The body in base64, where it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl MessageOut {
    /// A message as a plugin made it.
    pub fn new(message: &Message) -> Self {
        let (body, body_base64) = shown(&message.body, media::is_json(&message.content_type));
        Self {
            content_type: message.content_type.clone(),
            headers: message.headers.iter().cloned().collect(),
            size: message.body.len(),
            body,
            body_base64,
        }
    }

    /// An event's payload as it is, which is what a subscription without plugins gets.
    pub fn payload(event: &Event) -> Self {
        let (body, body_base64) = shown(&event.payload, event.is_json());
        Self {
            content_type: event.content_type().into(),
            headers: BTreeMap::new(),
            size: event.payload.len(),
            body,
            body_base64,
        }
    }
}

/// Bytes as an answer shows them: JSON as it is, other text as a string, the rest in base64.
pub fn shown(bytes: &Bytes, json: bool) -> (Option<Box<RawValue>>, Option<String>) {
    let text = str::from_utf8(bytes).ok();
    let body = text.and_then(|text| {
        let raw = if json { raw_json(text) } else { None };
        raw.or_else(|| to_raw_value(text).ok())
    });
    let base64 = if body.is_none() { Some(STANDARD.encode(bytes)) } else { None };
    (body, base64)
}

/// A JSON text that can stand in an answer exactly as it was written.
pub fn raw_json(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(content_type: &str, body: &'static [u8]) -> String {
        let message = Message {
            content_type: content_type.into(),
            headers: vec![("x-team".into(), "a".into())],
            body: Bytes::from_static(body),
        };
        serde_json::to_string(&MessageOut::new(&message)).unwrap()
    }

    #[test]
    fn json_is_shown_as_it_was_written() {
        let shown = show("application/cloudevents+json; charset=utf-8", b"{\"b\":1.0, \"a\":1e2}");
        assert!(shown.ends_with(r#""body":{"b":1.0, "a":1e2}}"#), "{shown}");
    }

    #[test]
    fn other_text_is_a_string_and_the_rest_is_base64() {
        assert!(show("text/plain", b"7").ends_with(r#""body":"7"}"#));
        assert!(show("application/json", b"{oops").ends_with(r#""body":"{oops"}"#));
        assert!(show("application/x", &[0xff, 0]).ends_with(r#""body_base64":"/wA="}"#));
    }
}
