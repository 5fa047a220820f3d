//! An event as a filter sees it: its attributes, its channels and the values in its payload.
//!
//! The places that a filter names are looked up together, in one walk (`places`). Never parses a
//! payload: it is given as it was parsed at the door.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{Decimal, places::Places};
use crate::model::{Event, EventTypeName, StoredEvent, Timestamp};

/// What a rule may look at.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The event's type.
    pub event_type: &'a EventTypeName,
    /// The schema version it is accepted under.
    pub schema_version: u32,
    /// The producer's own id for it.
    pub id: Option<&'a str>,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What it was published on.
    pub channels: &'a [String],
    /// The payload, if it is JSON.
    pub payload: Option<&'a Value>,
    /// The text that `payload` was parsed from.
    pub text: &'a [u8],
}

impl<'a> Facts<'a> {
    /// Those of an event that is stored. `payload` is what its payload parses as.
    pub fn of(stored: &'a StoredEvent, payload: Option<&'a Value>) -> Self {
        let event: &Event = &stored.event;
        Self {
            event_type: &event.event_type,
            schema_version: event.schema_version,
            id: stored.producer_id.as_deref(),
            subject: event.subject.as_deref(),
            occurred_at: event.occurred_at,
            channels: &event.channels,
            payload,
            text: &event.payload,
        }
    }
}

/// What an event says at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// Nothing is there.
    Missing,
    Null,
    Bool(bool),
    Number(Decimal),
    Text(Cow<'a, str>),
    /// An object or an array.
    Other,
}

impl<'a> Seen<'a> {
    /// A value, as it was parsed.
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::String(value) => Self::Text(value.as_str().into()),
            Value::Number(value) => number(&value.to_string()),
            Value::Array(_) | Value::Object(_) => Self::Other,
        }
    }
}

/// A place in an event that filters can name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    Type,
    Id,
    Subject,
    OccurredAt,
    SchemaVersion,
    /// In the payload, by the tokens of a JSON pointer.
    Payload(Box<[Box<str>]>),
}

impl Field {
    /// The attributes, by the names filters call them.
    pub(super) const ATTRIBUTES: [(&'static str, Self); 5] = [
        ("type", Self::Type),
        ("id", Self::Id),
        ("subject", Self::Subject),
        ("occurred_at", Self::OccurredAt),
        ("schema_version", Self::SchemaVersion),
    ];

    /// What a key of a filter names: a JSON pointer, or an attribute.
    pub(super) fn parse(key: &str) -> Result<Self, String> {
        let attribute = Self::ATTRIBUTES.into_iter().find(|(name, _)| *name == key);
        if let Some((_, field)) = attribute {
            return Ok(field);
        }
        let Some(path) = key.strip_prefix('/') else {
            if key.is_empty() {
                return Ok(Self::Payload(Box::default()));
            }
            return Err(
                "names no attribute of an event; a place in the payload begins with `/`".into()
            );
        };
        path.split('/').map(unescaped).collect::<Option<_>>().map(Self::Payload).ok_or_else(|| {
            "is no JSON pointer: `~` is written `~0`, and `/` within a name `~1`".into()
        })
    }

    /// What an event says there, if it is an attribute. Payloads are walked for many places at
    /// once: `places` does that.
    pub(super) fn attribute<'a>(&self, facts: &Facts<'a>) -> Seen<'a> {
        let text = |text: Option<&'a str>| text.map_or(Seen::Missing, |t| Seen::Text(t.into()));
        match self {
            Self::Type => text(Some(facts.event_type.as_str())),
            Self::Id => text(facts.id),
            Self::Subject => text(facts.subject),
            Self::OccurredAt => Seen::Text(facts.occurred_at.to_string().into()),
            Self::SchemaVersion => number(&facts.schema_version.to_string()),
            Self::Payload(_) => Seen::Missing,
        }
    }
}

fn unescaped(token: &str) -> Option<Box<str>> {
    let mut parts = token.split('~');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escape, rest) = (part.get(..1)?, part.get(1..)?);
        whole.push(match escape {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        whole.push_str(rest);
    }
    Some(whole.into())
}

/// An index into an array, as RFC 6901 writes one.
pub(super) fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { token.parse().ok() } else { None }
}

/// What the text of a number says.
pub(super) fn number(text: &str) -> Seen<'static> {
    Decimal::parse(text).map_or(Seen::Missing, Seen::Number)
}

/// What one event says at the places that a filter names, by their number in its list.
#[derive(Debug)]
pub struct Memo<'a>(Vec<Seen<'a>>);

impl<'a> Memo<'a> {
    /// Looks at all of them, in one walk: each by itself would cost a filter of many places as
    /// many readings of a long payload.
    pub(super) fn new(facts: &Facts<'a>, fields: &[Arc<Field>]) -> Self {
        let mut places = Places::default();
        let numbers: Vec<u32> = fields.iter().map(|field| places.take(field)).collect();
        let mut seen: HashMap<u32, Seen<'a>> = places.seen(facts, |_| true).into_iter().collect();
        let found = |number| seen.remove(&number).unwrap_or(Seen::Missing);
        Self(numbers.into_iter().map(found).collect())
    }

    /// What the event says at a place.
    pub(super) fn see(&self, field: u32) -> &Seen<'a> {
        &self.0[field as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Filter, Routes, Rule, places::READS},
        *,
    };

    fn at(text: &str, key: &str) -> String {
        let payload: Value = serde_json::from_str(text).unwrap();
        let facts = Facts {
            event_type: &"order.paid".parse().unwrap(),
            schema_version: 3,
            id: None,
            subject: Some("orders/7"),
            occurred_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            channels: &[],
            payload: Some(&payload),
            text: text.as_bytes(),
        };
        let fields = [Arc::new(Field::parse(key).unwrap())];
        format!("{:?}", Memo::new(&facts, &fields).see(0))
    }

    #[test]
    fn places_are_found_as_pointers_say() {
        let text = r#"{"a":{"b":[1,"x",{"c":null}]},"~":{"/":true},"":{"":2},"01":[5]}"#;
        for (key, expected) in [
            ("/a/b/1", "Text(\"x\")"),
            ("/a/b/2/c", "Null"),
            ("/a/b/3", "Missing"),
            ("/a/b/01", "Missing"),
            ("/a/b/-", "Missing"),
            ("/a/b", "Other"),
            ("", "Other"),
            ("/~0/~1", "Bool(true)"),
            ("subject", "Text(\"orders/7\")"),
            ("id", "Missing"),
            ("type", "Text(\"order.paid\")"),
            ("occurred_at", "Text(\"2026-01-02T03:04:05Z\")"),
        ] {
            assert_eq!(at(text, key), expected, "{key}");
        }
        assert!(at(text, "//").contains("\"2\"") && at(text, "/01/0").contains("\"5\""));
    }

    #[test]
    fn numbers_keep_every_digit() {
        let long = "123456789012345678901234567890.5";
        let text = format!(r#"{{"a":[0.5,{{"b":1.5,"b":{long}}}],"c":1.5}}"#);
        let expected = format!("{:?}", number(long));
        assert_eq!(at(&text, "/a/1/b"), expected);
        assert_ne!(at(&text, "/c"), expected);
    }

    #[test]
    fn however_many_places_a_filter_names_the_text_is_read_once() {
        let text = format!("[{}]", vec!["1.5"; 500].join(","));
        let payload: Value = serde_json::from_str(&text).unwrap();
        let facts = Facts {
            event_type: &"order.paid".parse().unwrap(),
            schema_version: 0,
            id: None,
            subject: None,
            occurred_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            channels: &[],
            payload: Some(&payload),
            text: text.as_bytes(),
        };
        let places: Vec<String> =
            (0..120).map(|at| format!(r#"{{"exact":{{"/{at}":9.25}}}}"#)).collect();
        let filter = format!(r#"{{"any":[{}]}}"#, places.join(","));
        let filter = Arc::new(Filter::compile(&filter).unwrap());
        let before = READS.get();
        assert!(!filter.passes(&facts));
        assert_eq!(READS.get(), before + 1);
        assert!(!filter.explain(&facts).passes);
        assert_eq!(READS.get(), before + 2);
        // Nor for many filters.
        let mut routes = Routes::default();
        for listener in 0..5 {
            let rule = Rule { channels: Vec::new(), filter: Some(Arc::clone(&filter)) };
            routes.insert(&["order.*".parse().unwrap()], &rule, listener);
        }
        assert!(routes.find(&facts).is_empty());
        assert_eq!(READS.get(), before + 3);
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for bad in ["a/b", "$.a", "/a~", "/a~2", "data"] {
            assert!(Field::parse(bad).is_err(), "{bad}");
        }
    }
}
