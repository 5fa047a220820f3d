//! What stands at JSON pointers in a text: all of them found in one reading of it.
//!
//! Owns what a pointer leads to. Never keeps more of a text than what was asked for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The strings and numbers that were found, by their pointers.
pub(super) type Found<'p> = HashMap<&'p str, String>;

/// Looks for the string or number at each of the pointers. A text of another kind than an object
/// has nothing in it; one that is no JSON is an error.
pub(super) fn look_up<'p>(
    text: &[u8],
    pointers: impl IntoIterator<Item = &'p str>,
) -> serde_json::Result<Found<'p>> {
    let mut root = Node::default();
    for pointer in pointers {
        let mut node = &mut root;
        for token in pointer.split('/').skip(1) {
            node = node.inner.entry(unescaped(token)).or_default();
        }
        if pointer.starts_with('/') {
            node.wanted = Some(pointer);
        }
    }
    let mut found = Found::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    Look { node: &root, found: &mut found }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn text_of(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'-' | b'0'..=b'9' => Some(text.to_owned()),
        _ => None,
    }
}

/// A place that pointers lead to or through.
#[derive(Default)]
struct Node<'p> {
    /// The pointer that ends here.
    wanted: Option<&'p str>,
    inner: BTreeMap<String, Node<'p>>,
}

impl<'p> Node<'p> {
    /// Of two members with one name the last counts: what the first had is forgotten.
    fn forget(&self, found: &mut Found<'p>) {
        if let Some(pointer) = self.wanted {
            found.remove(pointer);
        }
        self.inner.values().for_each(|node| node.forget(found));
    }
}

/// Reads the value at a node.
struct Look<'a, 'p> {
    node: &'a Node<'p>,
    found: &'a mut Found<'p>,
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let Some(pointer) = self.node.wanted else { return value.deserialize_any(self) };
        let raw = <&RawValue>::deserialize(value)?;
        if let Some(text) = text_of(raw) {
            self.found.insert(pointer, text);
        } else if !self.node.inner.is_empty() {
            // Only what one pointer ends at and another goes through is read twice.
            let mut inner = serde_json::Deserializer::from_str(raw.get());
            inner.deserialize_any(self).map_err(D::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Look<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Name<'_>>()? {
            match self.node.inner.get(&*name.0) {
                Some(node) => {
                    node.forget(self.found);
                    members.next_value_seed(Look { node, found: &mut *self.found })?;
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A member's name, copied only if it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::clock::Clock;

    fn at(text: &str, pointer: &str) -> Option<String> {
        look_up(text.as_bytes(), [pointer]).unwrap().remove(pointer)
    }

    #[test]
    fn pointers_find_texts_and_numbers() {
        let text =
            r#"{"a":{"b/c":"x","d~":7.0,"e":{}},"f":["y"],"g":"\u00e9","\u0068":-0,"i":1e9}"#;
        for (pointer, expected) in
            [("/a/b~1c", "x"), ("/a/d~0", "7.0"), ("/g", "é"), ("/h", "-0"), ("/i", "1e9")]
        {
            assert_eq!(at(text, pointer).as_deref(), Some(expected), "{pointer}");
        }
        for none in ["", "/", "/a", "/a/e", "/f/0", "/x/y", "/g/h", "/i/j"] {
            assert_eq!(at(text, none), None, "{none}");
        }
    }

    #[test]
    fn one_may_end_where_another_goes_on() {
        let all = ["/a", "/a/b", "/a/b/c", "/d"];
        let found = look_up(br#"{"a":{"b":{"c":"x"}},"d":1}"#, all).unwrap();
        assert_eq!(found, Found::from([("/a/b/c", "x".into()), ("/d", "1".into())]));
        let found = look_up(br#"{"d":null,"a":{"b":2}}"#, all).unwrap();
        assert_eq!(found, Found::from([("/a/b", "2".into())]));
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        assert_eq!(at(r#"{"a":{"b":1},"a":{"b":2}}"#, "/a/b").as_deref(), Some("2"));
        assert_eq!(at(r#"{"a":{"b":1},"a":3}"#, "/a/b"), None);
    }

    #[test]
    fn what_is_no_json_is_told_from_json_without_members() {
        assert_eq!(at("[1,{\"a\":2}]", "/a"), None);
        for bad in ["", "{", "{\"a\":1}}", "\u{feff}{}", "{\"b\":tru}", "{\"b\":[1,]}"] {
            assert!(look_up(bad.as_bytes(), ["/a"]).is_err(), "{bad}");
        }
    }

    // Once for each pointer and token it took a thousand readings.
    #[test]
    fn deep_pointers_into_a_large_text_cost_one_reading() {
        let (open, close) = (r#"{"a":"#.repeat(100), "}".repeat(100));
        let mut inner = String::from(r#"{"e":"x","z":[0"#);
        (0..50_000).for_each(|n| write!(inner, ",{n}").unwrap());
        let text = format!("{open}{inner}]}}{close}");
        let pointers: Vec<_> = (b'b'..=b'k')
            .map(|last| format!("{}/{}", "/a".repeat(100), char::from(last)))
            .collect();
        let clock = Clock::system();
        let start = clock.instant();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let once = start.elapsed();
        let found = look_up(text.as_bytes(), pointers.iter().map(String::as_str)).unwrap();
        let took = start.elapsed() - once;
        assert_eq!(found, Found::from([(pointers[3].as_str(), "x".into())]));
        assert!(whole.is_object() && took < once * 50, "{took:?} against {once:?}");
    }
}
