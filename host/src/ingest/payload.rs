//! What a payload must be to be accepted: of a kind its type takes, and where it is JSON,
//! JSON that everybody reads alike.
//!
//! Owns that parse, the only one of a payload on its way in. Never changes a payload.

use std::fmt;

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{Publish, Rejected};
use crate::{
    catalog::EventTypeEntry,
    model::{SchemaMode, Violation, media},
};

/// What a payload is, if it is JSON, and what the type's schema has against one that can be
/// accepted otherwise.
pub(super) fn examine(
    entry: &EventTypeEntry,
    version: u32,
    event: &Publish,
) -> Result<(Option<Value>, Vec<Violation>), Rejected> {
    let content_type = event.content_type.as_deref().unwrap_or(media::JSON);
    let taken = &entry.event_type.content_types;
    if !media::takes(taken, content_type) {
        return Err(Rejected::ContentType {
            event_type: entry.event_type.name.clone(),
            content_type: content_type.to_owned(),
            taken: taken.clone(),
        });
    }
    // Parsed even when there is no schema: what is stored is JSON of bounded depth.
    let Some(payload) = read_payload(event)? else { return Ok((None, Vec::new())) };
    let violations = match version.checked_sub(1).map(|index| index as usize) {
        Some(index) if entry.event_type.mode != SchemaMode::Off => {
            match entry.validators.get(index) {
                Some(validator) if !validator.accepts(&payload) => validator.violations(&payload),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    Ok((Some(payload), violations))
}

/// What a payload is, if it is JSON, whatever its type says of it.
pub fn read_payload(event: &Publish) -> Result<Option<Value>, Rejected> {
    if event.payload.is_empty() {
        return Err(empty());
    }
    if let Some(given) = event.content_type.as_deref() {
        if !media::is_json(given) {
            return Ok(None);
        }
        if !media::is_utf8(given) {
            let why = "its content type names another charset than UTF-8, in which JSON is written";
            return Err(Rejected::Malformed(why.to_owned()));
        }
    }
    plain(&event.payload).map(Some)
}

/// What is wrong with a JSON text. The parser has two names for half of a surrogate pair, and
/// neither says it.
pub fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for theirs in ["lone leading surrogate in hex escape", "unexpected end of hex escape"] {
        if let Some(place) = text.strip_prefix(theirs) {
            return format!("half of a surrogate pair{place}");
        }
    }
    text
}

/// A JSON payload that no schema is asked about.
pub(super) fn plain(text: &[u8]) -> Result<Value, Rejected> {
    if text.is_empty() {
        return Err(empty());
    }
    parse(text).map_err(|error| Rejected::Malformed(json_fault(&error)))
}

fn empty() -> Rejected {
    Rejected::Malformed("it is empty".to_owned())
}

/// Parses a JSON text. Of two members with one name some parsers take the first and some the
/// last: what was checked would not be what is read, so it is refused.
fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice::<Strict>(text).map(|Strict(value)| value)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seed.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Seed;

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            match all.entry(name) {
                serde_json::map::Entry::Vacant(place) => {
                    place.insert(value);
                }
                serde_json::map::Entry::Occupied(place) => {
                    let name: String = place.key().chars().take(64).collect();
                    return Err(de::Error::custom(format_args!(
                        "the name {name:?} stands twice in an object"
                    )));
                }
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads() {
        for text in [
            "null",
            " [1, -2, 3.5, -0, 1e300, 12345678901234567890123, true, \"\\u00e9\\ud83d\\ude00\"] ",
            r#"{"a":{"b":[{}]},"":0,"c":"x"}"#,
        ] {
            let wanted: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), wanted, "{text}");
        }
        for bad in ["", "[1,]", "1e400", "\"\\ud800\"", "\u{feff}1", "{\"a\":1}x", "NaN", "'a'"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn half_of_a_surrogate_pair_is_called_that() {
        for half in ["\"\\ud800\"", "\"\\ud800x\"", "\"\\udc00\"", "\"\\ud800\\u0041\""] {
            let why = json_fault(&parse(half.as_bytes()).unwrap_err());
            assert!(why.starts_with("half of a surrogate pair at line 1"), "{half}: {why}");
        }
        assert!(json_fault(&parse(b"\"\\u12").unwrap_err()).starts_with("EOF"));
    }

    #[test]
    fn a_name_stands_once_in_an_object_however_it_is_spelt() {
        for bad in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"\u0061":3}}]"#] {
            let error = parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("the name \"a\" stands twice"), "{error}");
        }
        assert!(parse(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused_as_serde_json_does(text in "[\\[\\]{}\",:0-9eE+.a\\\\u-]{0,24}") {
            let (ours, theirs) = (parse(text.as_bytes()), serde_json::from_str::<Value>(&text));
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Err(_), Err(_)) => {}
                (Err(error), Ok(_)) => prop_assert!(error.to_string().contains("stands twice")),
                (Ok(_), Err(error)) => prop_assert!(false, "{}", error),
            }
        }
    }
}
