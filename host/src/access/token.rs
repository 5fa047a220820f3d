//! A token's header and claims as JSON, read without any doubt about what they say.
//!
//! Of a name that is there twice, two readers may take different values: such a token says
//! nothing. Never checks a signature.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// What a token says.
pub(super) struct Token {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

/// Reads the two parts of a token that are JSON. None if they are not, or are anything but
/// objects, or have a name twice in any object.
pub(super) fn read(text: &str) -> Option<Token> {
    let mut parts = text.split('.');
    let mut object = || {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        match serde_json::from_slice(&bytes).ok()? {
            Unique(Value::Object(object)) => Some(object),
            _ => None,
        }
    };
    let (header, claims) = (object()?, object()?);
    (parts.next().is_some() && parts.next().is_none()).then_some(Token { header, claims })
}

/// A value in which no object has a name twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, _>()? {
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(header: &str, claims: &str) -> bool {
        let [header, claims] = [header, claims].map(|text| URL_SAFE_NO_PAD.encode(text));
        read(&format!("{header}.{claims}.c2ln")).is_some()
    }

    #[test]
    fn only_objects_without_a_name_twice_are_read() {
        assert!(is_read("{}", r#"{"a":1,"b":{"a":[{"a":null},{"a":1.5}]}}"#));
        for bad in [
            "",
            "7",
            "[]",
            "null",
            "{}{}",
            "{\"a\":1,}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[{"a":1,"a":2}]}"#,
        ] {
            assert!(!is_read(bad, "{}"), "{bad}");
            assert!(!is_read("{}", bad), "{bad}");
        }
        let part = URL_SAFE_NO_PAD.encode("{}");
        for text in ["", ".", "..", &part, &format!("{part}.{part}"), &format!("{part}.{part}.a.b")]
        {
            assert!(read(text).is_none(), "{text}");
        }
        assert!(read(&format!("{part}=.{part}.a")).is_none(), "padding is not of a token");
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(4_000), "]".repeat(4_000));
        assert!(!is_read("{}", &deep));
    }
}
