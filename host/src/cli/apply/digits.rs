//! Filters to the last digit, which a [`Value`] does not hold: they are compared as what they
//! are written, so a number that was rounded on its way would be another filter.
//!
//! Owns how such a number stands in a [`Value`], and how one gets in and out, of JSON and YAML.
//! Never rounds: what YAML cannot tell exactly is refused.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
    ser,
};
use serde_json::{Map, Number, Value, json, value::RawValue};
use serde_saphyr::Spanned;

use crate::{
    cli::{client::Client, output::Failure},
    routing::Decimal,
};

/// The only member of an object that stands for a number, which is its text. No filter has one
/// of this name: it is no keyword, and no place.
const WRITTEN: &str = "\u{0}number";

/// As deep as other JSON is read.
const MAX_DEPTH: usize = 128;

/// A number by its JSON text.
fn number(text: &str) -> Value {
    match serde_json::from_str::<Number>(text) {
        Ok(held) if Decimal::parse(&held.to_string()) == Decimal::parse(text) => held.into(),
        _ => json!({ WRITTEN: text }),
    }
}

/// The text of a number that stands as an object.
pub(super) fn written(value: &Value) -> Option<&str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    let text = fields.get(WRITTEN)?.as_str()?;
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    (is_json && Decimal::parse(text).is_some()).then_some(text)
}

/// What a number is, whichever way it stands.
pub(super) fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Decimal::parse(&number.to_string()),
        other => Decimal::parse(written(other)?),
    }
}

/// The subscriptions of a client's application, their filters exactly.
pub(super) async fn subscriptions(client: &Client, most: usize) -> Result<Vec<Value>, Failure> {
    let list: Vec<Box<RawValue>> = client.list_of(&["subscriptions"], &[], most).await?;
    let list = list.iter().map(|shown| exact(shown, 0));
    list.collect::<Result<_, _>>().map_err(|error| {
        Failure::failed(format!(
            "the server's answer has a subscription that cannot be read: {error}"
        ))
    })
}

/// JSON with every digit of its numbers.
fn exact(raw: &RawValue, depth: usize) -> serde_json::Result<Value> {
    if depth > MAX_DEPTH {
        return Err(de::Error::custom("it is too deep"));
    }
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text)?;
            let members = members.into_iter().map(|(name, raw)| Ok((name, exact(raw, depth + 1)?)));
            Value::Object(members.collect::<serde_json::Result<_>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let items = items.into_iter().map(|raw| exact(raw, depth + 1));
            Value::Array(items.collect::<serde_json::Result<_>>()?)
        }
        Some(b'-' | b'0'..=b'9') => number(text),
        _ => serde_json::from_str(text)?,
    })
}

/// An object's members in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A value as JSON, with every digit; `{:#}` for people.
pub(super) struct Exact<'a>(pub(super) &'a Value);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = written(self.0) {
            let raw: &RawValue = serde_json::from_str(text).map_err(ser::Error::custom)?;
            return raw.serialize(serializer);
        }
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Exact)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, Exact(value))))
            }
            other => other.serialize(serializer),
        }
    }
}

impl fmt::Display for Exact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() {
            serde_json::to_string_pretty(self)
        } else {
            serde_json::to_string(self)
        };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

/// A value as YAML, with every digit.
pub(super) fn yaml(value: &Value) -> Result<String, serde_saphyr::ser::Error> {
    // The writer knows no such numbers: a word that is nowhere else stands for each.
    let all = value.to_string();
    let mut word = "digits".to_owned();
    while all.contains(&word) {
        word.push('x');
    }
    let (mut value, mut numbers) = (value.clone(), Vec::new());
    take_out(&mut value, &word, &mut numbers);
    let text = serde_saphyr::to_string(&value)?;
    let mut pieces = text.split(&word);
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for (number, piece) in numbers.iter().zip(pieces) {
        whole += number;
        whole += piece;
    }
    Ok(whole)
}

fn take_out(value: &mut Value, word: &str, numbers: &mut Vec<String>) {
    if let Some(text) = written(value) {
        numbers.push(text.to_owned());
        *value = word.into();
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| take_out(item, word, numbers)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| take_out(value, word, numbers));
        }
        _ => {}
    }
}

/// What a file has, with the places of the numbers that YAML's reader rounds.
#[derive(Debug)]
pub(super) enum Node {
    Plain(Value),
    Float(f64),
    List(Vec<Spanned<Self>>),
    Object(Vec<(String, Spanned<Self>)>),
}

impl Node {
    /// It as a value, by the text of the file; else the line of a number that cannot be told.
    pub(super) fn value(node: &Spanned<Self>, file: &str) -> Result<Value, u64> {
        Ok(match &node.value {
            Self::Plain(value) => value.clone(),
            Self::Float(rounded) => {
                let span = node.defined.span();
                let text = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
                    let start = usize::try_from(start).ok()?;
                    file.get(start..start.checked_add(usize::try_from(length).ok()?)?)
                });
                let number = text.and_then(|text| float(text.trim(), *rounded));
                number.ok_or_else(|| node.defined.line())?
            }
            Self::List(items) => {
                items.iter().map(|item| Self::value(item, file)).collect::<Result<_, _>>()?
            }
            Self::Object(fields) => {
                let mut exact = Map::new();
                for (name, value) in fields {
                    exact.insert(name.clone(), Self::value(value, file)?);
                }
                exact.into()
            }
        })
    }
}

/// A number by its text in YAML, and by what YAML's reader made of it; none if that is not all
/// of it.
fn float(text: &str, rounded: f64) -> Option<Value> {
    if serde_json::from_str::<&RawValue>(text).is_ok() {
        return (text.parse() == Ok(rounded)).then(|| number(text));
    }
    // `+1.5`, `.5`, `5.`
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let zero = if digits.starts_with('.') { "0" } else { "" };
    let spelt = Decimal::parse(&format!("{sign}{zero}{digits}"))?;
    Some(json!(rounded)).filter(|held| decimal(held) == Some(spelt))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Plain(Value::Null))
            }

            fn visit_bool<E: de::Error>(self, given: bool) -> Result<Node, E> {
                Ok(Node::Plain(given.into()))
            }

            fn visit_i64<E: de::Error>(self, given: i64) -> Result<Node, E> {
                Ok(Node::Plain(given.into()))
            }

            fn visit_u64<E: de::Error>(self, given: u64) -> Result<Node, E> {
                Ok(Node::Plain(given.into()))
            }

            fn visit_f64<E: de::Error>(self, rounded: f64) -> Result<Node, E> {
                Ok(Node::Float(rounded))
            }

            fn visit_str<E: de::Error>(self, given: &str) -> Result<Node, E> {
                Ok(Node::Plain(given.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Node::Object(fields))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::compare::is_same, *};

    const LONG: [&str; 6] = [
        "12345678901234567890123",
        "-12345678901234567890.5",
        "0.1000000000000000055511151231257827",
        "12345678901234567890123e-400",
        "9007199254740993.0",
        "12345678901234567890e5",
    ];

    fn shown(filter: &str) -> Value {
        let text = format!(r#"{{"name": "a", "filter": {filter}, "policy": {{}}}}"#);
        let mut value = exact(&RawValue::from_string(text).unwrap(), 0).unwrap();
        value["filter"].take()
    }

    fn read(yaml: &str) -> Result<Value, u64> {
        Node::value(&serde_saphyr::from_str(yaml).unwrap(), yaml)
    }

    #[test]
    fn every_digit_comes_through_json_and_yaml() {
        for number in LONG {
            let json = format!(
                r#"{{"any":[{{"gt":{{"/a":{number}}}}},{{"in":{{"/b":[{number},1.5]}}}}]}}"#
            );
            let filter = shown(&json);
            assert_eq!(Exact(&filter).to_string(), json);
            assert!(format!("{:#}", Exact(&filter)).contains(&format!(" {number}")));
            let yaml = yaml(&filter).unwrap();
            assert!(yaml.contains(&format!(" {number}\n")), "{yaml}");
            assert_eq!(read(&yaml), Ok(filter.clone()), "{yaml}");
            // A file may be JSON, and have any letters before the number.
            let file = format!("\u{e4}\u{1f600}: {{}}\nfilter: &a {json}\nagain: *a\n");
            let whole = read(&file).unwrap();
            assert_eq!((&whole["filter"], &whole["again"]), (&filter, &filter), "{file}");
        }
        assert_eq!(shown("null"), Value::Null);
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(exact(&RawValue::from_string(deep).unwrap(), 0).is_err());
    }

    #[test]
    fn numbers_are_the_same_by_what_they_are_to_the_last_digit() {
        for (one, other, is) in [
            ("12345678901234567890123", "12345678901234567890123.0", true),
            ("12345678901234567890123", "12345678901234567890124", false),
            ("9007199254740993", "9007199254740993.0", true),
            ("9007199254740993", "9007199254740992.0", false),
        ] {
            let filter = |number: &str| shown(&format!(r#"{{"in": {{"/a": [{number}]}}}}"#));
            assert_eq!(is_same(&filter(one), &filter(other)), is, "{one} {other}");
        }
    }

    #[test]
    fn what_a_value_holds_is_a_plain_number() {
        for number in ["1", "-1.50", "1e3", "0.1", "18446744073709551615", "-0", "1.7e308"] {
            assert!(shown(number).is_number(), "{number}");
            assert!(read(number).unwrap().is_number(), "{number}");
        }
        for (yaml, value) in
            [("+1.5", json!(1.5)), (".5", json!(0.5)), ("-.5", json!(-0.5)), ("0x10", json!(16))]
        {
            assert_eq!(read(yaml), Ok(value), "{yaml}");
        }
        assert_eq!(read("[\"1.5\", true, ~, {a: b}]"), Ok(json!(["1.5", true, null, {"a": "b"}])));
    }

    #[test]
    fn what_yaml_cannot_tell_is_refused_with_its_line() {
        assert_eq!(read("a: 1\nb: [.12345678901234567890123]\n"), Err(2));
        assert_eq!(read("a: 1\nb:\n  c: +12345678901234567890123\n"), Err(3));
    }

    #[test]
    fn nothing_else_is_taken_for_a_number() {
        for text in ["", "{}", "\"a\"", "01", "1x"] {
            let value = json!({ WRITTEN: text });
            assert_eq!(written(&value), None);
            assert_eq!(Exact(&value).to_string(), value.to_string());
        }
        let value = json!({"digits": ["digitsx", number(LONG[0])]});
        let text = yaml(&value).unwrap();
        assert_eq!(read(&text), Ok(value), "{text}");
    }
}
