//! An event as a filter sees it: its attributes, its channels and the values in its payload.
//!
//! Each place that a filter names is looked up at most once for each event. Never parses a payload:
//! it is given as it was parsed at the door. Only a number that does not fit a machine's is read
//! again, from the text.

use std::{borrow::Cow, cell::OnceCell, fmt, sync::Arc};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, value::RawValue};

use super::Decimal;
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

    pub(super) fn see<'a>(&self, facts: &Facts<'a>) -> Seen<'a> {
        let text = |text: Option<&'a str>| text.map_or(Seen::Missing, |t| Seen::Text(t.into()));
        match self {
            Self::Type => text(Some(facts.event_type.as_str())),
            Self::Id => text(facts.id),
            Self::Subject => text(facts.subject),
            Self::OccurredAt => Seen::Text(facts.occurred_at.to_string().into()),
            Self::SchemaVersion => number(&facts.schema_version.to_string()),
            Self::Payload(tokens) => {
                facts.payload.map_or(Seen::Missing, |root| see_in(root, tokens, facts.text))
            }
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

fn see_in<'a>(root: &'a Value, tokens: &[Box<str>], text: &[u8]) -> Seen<'a> {
    let found = tokens.iter().try_fold(root, |value, token| match value {
        Value::Object(members) => members.get(&**token),
        Value::Array(items) => items.get(index(token)?),
        _ => None,
    });
    let Some(found) = found else { return Seen::Missing };
    // What is parsed is rounded to a double then; what was written is not.
    let exact = if found.is_f64() { written(text, tokens) } else { None };
    exact.map_or_else(|| Seen::of(found), |exact| number(&exact))
}

/// What the text of a number says.
pub(super) fn number(text: &str) -> Seen<'static> {
    Decimal::parse(text).map_or(Seen::Missing, Seen::Number)
}

/// The text of the value at a place.
fn written(text: &[u8], tokens: &[Box<str>]) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Walk(tokens).deserialize(&mut deserializer).ok().flatten()
}

/// Walks a JSON text to one place in it, past everything else.
struct Walk<'t>(&'t [Box<str>]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            let found: &RawValue = serde::Deserialize::deserialize(deserializer)?;
            return Ok(Some(found.get().to_owned()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    // Nothing is within these; a later value of the same name may be another.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            // The last of several with one name counts, as it does for the parsed value.
            if *name == *self.0[0] {
                found = map.next_value_seed(Walk(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted = index(&self.0[0]);
        let (mut at, mut found) = (0, None);
        loop {
            if Some(at) == wanted {
                match items.next_element_seed(Walk(&self.0[1..]))? {
                    Some(value) => found = value,
                    None => return Ok(None),
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }
}

/// What was seen of one event so far. Fields are named by their number in a list.
#[derive(Debug)]
pub struct Memo<'a> {
    facts: &'a Facts<'a>,
    fields: &'a [Arc<Field>],
    seen: Vec<OnceCell<Seen<'a>>>,
}

impl<'a> Memo<'a> {
    /// Nothing is seen yet.
    pub(super) fn new(facts: &'a Facts<'a>, fields: &'a [Arc<Field>]) -> Self {
        Self { facts, fields, seen: vec![OnceCell::new(); fields.len()] }
    }

    /// What the event says at a place.
    pub(super) fn see(&self, field: u32) -> &Seen<'a> {
        let number = field as usize;
        self.seen[number].get_or_init(|| self.fields[number].see(self.facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        format!("{:?}", Field::parse(key).unwrap().see(&facts))
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
    fn what_names_no_place_is_refused() {
        for bad in ["a/b", "$.a", "/a~", "/a~2", "data"] {
            assert!(Field::parse(bad).is_err(), "{bad}");
        }
    }
}
