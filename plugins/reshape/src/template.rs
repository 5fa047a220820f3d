//! The template, as a tree.
//!
//! Owns reading it from the configuration and refusing what makes no sense. Members keep
//! their order.

use crate::reference::Reference;
use hookmill_sdk::prelude::*;
use hookmill_sdk::serde::de::{self, MapAccess, SeqAccess, Visitor};
use hookmill_sdk::serde::{Deserialize, Deserializer};
use hookmill_sdk::serde_json::{Number, value::RawValue};
use std::fmt;

/// One value of the template.
#[derive(Debug)]
pub(crate) enum Node {
    /// Copied as it is: JSON text.
    Literal(String),
    /// A string, in pieces.
    Text(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    /// `{"$": …}`.
    Value {
        reference: Reference,
        missing: Missing,
    },
}

/// A piece of a string.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Plain(String),
    /// `{{reference}}` or `{{reference|default}}`.
    Insert {
        reference: Reference,
        default: Option<String>,
    },
}

/// What to do if nothing is there.
#[derive(Debug)]
pub(crate) enum Missing {
    Fault,
    /// Leave the member or the element out.
    Omit,
    /// JSON text to use instead.
    Default(String),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Literal("null".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Literal(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Literal(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Literal(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value);
        Ok(Node::Literal(number.map_or_else(|| "null".to_owned(), |number| number.to_string())))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        pieces(value).map(Node::Text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(key) = members.next_key::<String>()? {
            // Their first key says what special objects are; JSON gives it no other place.
            match key.as_str() {
                "$" if object.is_empty() => return value(members),
                "$literal" if object.is_empty() => return literal(members),
                "$" | "$literal" => {
                    return Err(de::Error::custom(format!(
                        "`{key}` has to be its object's first key"
                    )));
                }
                _ => object.push((key, members.next_value()?)),
            }
        }
        Ok(Node::Object(object))
    }
}

/// The rest of `{"$": "/pointer", "default": …, "optional": true}`.
fn value<'de, A: MapAccess<'de>>(mut members: A) -> Result<Node, A::Error> {
    let reference = match members.next_value::<Value>()? {
        Value::String(text) => Reference::parse(&text).map_err(de::Error::custom)?,
        _ => {
            return Err(de::Error::custom(
                "`$` takes a string: a JSON pointer or a fact such as `event.id`",
            ));
        }
    };
    let mut missing = Missing::Fault;
    while let Some(key) = members.next_key::<String>()? {
        missing = match (key.as_str(), missing) {
            ("default", Missing::Fault) => Missing::Default(raw(&mut members)?),
            ("optional", Missing::Fault) if members.next_value()? => Missing::Omit,
            ("optional", Missing::Fault) => Missing::Fault,
            ("default" | "optional", _) => {
                return Err(de::Error::custom("`default` and `optional` exclude each other"));
            }
            (other, _) => {
                return Err(de::Error::custom(format!(
                    "`{other}` can't stand beside `$`: expected `default` or `optional`"
                )));
            }
        };
    }
    Ok(Node::Value { reference, missing })
}

/// The rest of `{"$literal": …}`.
fn literal<'de, A: MapAccess<'de>>(mut members: A) -> Result<Node, A::Error> {
    let text = raw(&mut members)?;
    match members.next_key::<String>()? {
        None => Ok(Node::Literal(text)),
        Some(key) => Err(de::Error::custom(format!("`{key}` can't stand beside `$literal`"))),
    }
}

/// A value's JSON text.
fn raw<'de, A: MapAccess<'de>>(members: &mut A) -> Result<String, A::Error> {
    members.next_value::<Box<RawValue>>().map(|value| value.get().to_owned())
}

/// A string's pieces: `{{reference}}`, `{{reference|default}}`, and what is between.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("{{") {
        let Some((inside, after)) = after.split_once("}}") else {
            return Err(format!("`{{{{` is never closed in {text:?}"));
        };
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain.to_owned()));
        }
        let (reference, default) = match inside.split_once('|') {
            Some((reference, default)) => (reference, Some(default.to_owned())),
            None => (inside, None),
        };
        pieces.push(Piece::Insert { reference: Reference::parse(reference.trim())?, default });
        rest = after;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Plain(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};
    use crate::reference::Reference;

    #[test]
    fn strings_are_taken_apart() {
        let insert = |pointer: &str, default: Option<&str>| Piece::Insert {
            reference: Reference::Payload(pointer.to_owned()),
            default: default.map(str::to_owned),
        };
        let plain = |text: &str| Piece::Plain(text.to_owned());
        assert_eq!(pieces(""), Ok(vec![plain("")]));
        assert_eq!(pieces("a}}b"), Ok(vec![plain("a}}b")]));
        assert_eq!(
            pieces("a{{ /b }}{{/c|}} d"),
            Ok(vec![plain("a"), insert("/b", None), insert("/c", Some("")), plain(" d")])
        );
        assert!(pieces("{{/a").is_err());
    }
}
