//! An event in memory, answering what the server would answer.
//!
//! Owns the look-up of pointers in a JSON text, which is returned exactly as written.
//! Never changes the text.

use crate::{Event, pointer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// What an [`Event`] reads from, natively.
#[derive(Clone, Debug)]
pub struct Source {
    id: String,
    event_type: String,
    schema_version: u32,
    application: String,
    occurred_at: String,
    subject: Option<String>,
    payload: String,
}

impl Source {
    pub(crate) fn id(&self) -> String {
        self.id.clone()
    }

    pub(crate) fn event_type(&self) -> String {
        self.event_type.clone()
    }

    pub(crate) fn schema_version(&self) -> u32 {
        self.schema_version
    }

    pub(crate) fn application(&self) -> String {
        self.application.clone()
    }

    pub(crate) fn occurred_at(&self) -> String {
        self.occurred_at.clone()
    }

    pub(crate) fn subject(&self) -> Option<String> {
        self.subject.clone()
    }

    pub(crate) fn get(&self, pointer: &str) -> Option<String> {
        if !pointer::is_valid(pointer) {
            return None;
        }
        let mut text = self.payload.trim();
        for token in pointer::tokens(pointer) {
            text = child(text, &token)?;
        }
        Some(text.to_owned())
    }

    pub(crate) fn get_many(&self, pointers: &[&str]) -> Vec<Option<String>> {
        pointers.iter().map(|pointer| self.get(pointer)).collect()
    }

    pub(crate) fn raw(&self) -> String {
        self.payload.clone()
    }
}

/// The text of one member or element.
fn child<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    match text.as_bytes().first()? {
        b'{' => {
            let members: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            members.get(token).map(|value| value.get())
        }
        b'[' => {
            // RFC 6901: digits without leading zeros.
            if token.starts_with('0') && token.len() > 1
                || !token.bytes().all(|byte| byte.is_ascii_digit())
            {
                return None;
            }
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            elements.get(token.parse::<usize>().ok()?).map(|value| value.get())
        }
        _ => None,
    }
}

/// Begins an event with this payload.
pub fn event(payload: impl Into<Value>) -> EventBuilder {
    event_text(payload.into().to_string())
}

/// Begins an event with this payload, kept exactly as written.
///
/// # Panics
///
/// If the text is not JSON: the server never hands over such an event.
pub fn event_text(payload: impl Into<String>) -> EventBuilder {
    let payload = payload.into();
    if let Err(error) = serde_json::from_str::<&RawValue>(&payload) {
        panic!("the test event's payload is not JSON: {error}");
    }
    EventBuilder {
        source: Source {
            id: "evt_00000000000000000000000001".to_owned(),
            event_type: "test.event".to_owned(),
            schema_version: 0,
            application: "default".to_owned(),
            occurred_at: "2026-01-02T03:04:05Z".to_owned(),
            subject: None,
            payload,
        },
    }
}

/// An event being built: every fact has a default a test can replace.
#[derive(Clone, Debug)]
pub struct EventBuilder {
    source: Source,
}

impl EventBuilder {
    /// The event's id; `evt_00000000000000000000000001` otherwise.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.source.id = id.into();
        self
    }

    /// The event type's name; `test.event` otherwise.
    #[must_use]
    pub fn event_type(mut self, name: impl Into<String>) -> Self {
        self.source.event_type = name.into();
        self
    }

    /// The schema's version; 0 (no schema) otherwise.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.source.schema_version = version;
        self
    }

    /// The application's name; `default` otherwise.
    #[must_use]
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.source.application = name.into();
        self
    }

    /// When it happened, RFC 3339 in UTC; `2026-01-02T03:04:05Z` otherwise.
    #[must_use]
    pub fn occurred_at(mut self, time: impl Into<String>) -> Self {
        self.source.occurred_at = time.into();
        self
    }

    /// What it is about; nothing otherwise.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.source.subject = Some(subject.into());
        self
    }

    /// The event.
    pub fn build(self) -> Event {
        Event::new(self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::event_text;

    #[test]
    fn answers_the_text_as_it_was_written() {
        let event = event_text(r#" {"a": {"b/c": [1.50, {"d" : null}]}, "": 7} "#).build();
        for (pointer, text) in [
            ("/a/b~1c/0", Some("1.50")),
            ("/a/b~1c/1", Some(r#"{"d" : null}"#)),
            ("/a/b~1c/1/d", Some("null")),
            ("/", Some("7")),
            ("/a/b~1c/00", None),
            ("/a/b~1c/-", None),
            ("/a/b~1c/2", None),
            ("/a/b~1c/0/x", None),
        ] {
            assert_eq!(event.text(pointer), Ok(text.map(str::to_owned)), "{pointer}");
        }
        assert_eq!(event.text(""), Ok(Some(event.raw().trim().to_owned())));
    }
}
