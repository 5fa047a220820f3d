//! The places that rules name, and what an event says at them.
//!
//! Places in payloads stand in a tree of their pointers' tokens. Payload and tree are walked
//! together, once: what that costs is bounded by the smaller of the two, however many places
//! rules name. Where numbers are that a machine's do not hold exactly, the text is read once
//! more, for all of them together.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, value::RawValue};

use super::{
    facts::{Facts, Field, Seen, index, number},
    numbered::Numbered,
};

/// Places, each once, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    fields: Numbered<Field>,
    tree: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    number: Option<u32>,
    inner: HashMap<Box<str>, Self>,
}

impl Node {
    fn set(&mut self, tokens: &[Box<str>], number: Option<u32>) {
        match tokens.split_first() {
            None => self.number = number,
            Some((first, rest)) => {
                let inner = self.inner.entry(first.clone()).or_default();
                inner.set(rest, number);
                if inner.number.is_none() && inner.inner.is_empty() {
                    self.inner.remove(first);
                }
            }
        }
    }

    fn walk<'a>(&self, value: &'a Value, found: &mut Vec<(u32, &'a Value)>) {
        found.extend(self.number.map(|number| (number, value)));
        if self.inner.is_empty() {
            return;
        }
        match value {
            Value::Object(members) if members.len() < self.inner.len() => {
                for (name, member) in members {
                    if let Some(inner) = self.inner.get(name.as_str()) {
                        inner.walk(member, found);
                    }
                }
            }
            Value::Object(members) => {
                for (token, inner) in &self.inner {
                    if let Some(member) = members.get(&**token) {
                        inner.walk(member, found);
                    }
                }
            }
            Value::Array(items) if items.len() < self.inner.len() => {
                for (at, item) in items.iter().enumerate() {
                    if let Some(inner) = self.inner.get(at.to_string().as_str()) {
                        inner.walk(item, found);
                    }
                }
            }
            Value::Array(items) => {
                for (token, inner) in &self.inner {
                    if let Some(item) = index(token).and_then(|at| items.get(at)) {
                        inner.walk(item, found);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Places {
    /// The number of a place, for one more user.
    pub(super) fn take(&mut self, field: &Arc<Field>) -> u32 {
        let (number, is_new) = self.fields.take(field);
        if is_new && let Field::Payload(tokens) = &**field {
            self.tree.set(tokens, Some(number));
        }
        number
    }

    /// One user of a place less.
    pub(super) fn give_back(&mut self, number: u32) {
        let gone = self.fields.give_back(number);
        if let Some(Field::Payload(tokens)) = gone.as_deref() {
            self.tree.set(tokens, None);
        }
    }

    /// What an event says at those places that are wanted and where it says anything.
    pub(super) fn seen<'a>(
        &self,
        facts: &Facts<'a>,
        wanted: impl Fn(u32) -> bool,
    ) -> Vec<(u32, Seen<'a>)> {
        let attributes = Field::ATTRIBUTES.into_iter().filter_map(|(_, field)| {
            let number = self.fields.number(&field).filter(|number| wanted(*number))?;
            Some((number, field.attribute(facts)))
        });
        let mut seen: Vec<(u32, Seen<'a>)> = attributes.collect();
        let mut values = Vec::new();
        if let Some(payload) = facts.payload {
            self.tree.walk(payload, &mut values);
        }
        values.retain(|(number, _)| wanted(*number));
        let rounded = values.iter().filter(|(_, value)| value.is_f64());
        let mut written =
            Written { wanted: rounded.map(|(number, _)| *number).collect(), found: HashMap::new() };
        written.read(&self.tree, facts.text);
        seen.extend(values.into_iter().map(|(place, value)| {
            let exact = written.found.remove(&place);
            (place, exact.map_or_else(|| Seen::of(value), |exact| number(&exact)))
        }));
        seen.retain(|(_, seen)| *seen != Seen::Missing);
        seen
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.tree.inner.is_empty() && self.tree.number.is_none()
    }
}

/// Numbers as they are written.
struct Written {
    wanted: HashSet<u32>,
    found: HashMap<u32, String>,
}

impl Written {
    fn read(&mut self, tree: &Node, text: &[u8]) {
        if !self.wanted.is_empty() {
            #[cfg(test)]
            READS.set(READS.get() + 1);
            let mut deserializer = serde_json::Deserializer::from_slice(text);
            // It was parsed before, so it can be again; else numbers stay as they were parsed.
            let _read = Walk { node: tree, written: self }.deserialize(&mut deserializer);
        }
    }
}

// How often a text was read, for tests.
#[cfg(test)]
std::thread_local! {
    pub(super) static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Walks a JSON text and the tree, past everything that is not in both. What is there twice is
/// read twice: the last counts, as it does for the parsed value.
struct Walk<'t> {
    node: &'t Node,
    written: &'t mut Written,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let wanted = self.node.number.filter(|number| self.written.wanted.contains(number));
        if let Some(number) = wanted {
            let raw: &RawValue = serde::Deserialize::deserialize(deserializer)?;
            self.written.found.insert(number, raw.get().to_owned());
            return Ok(());
        }
        if self.node.inner.is_empty() {
            let _past: IgnoredAny = serde::Deserialize::deserialize(deserializer)?;
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    // Nothing is within these.
    fn visit_unit<E>(self) -> Result<(), E> {
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

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match self.node.inner.get(&*name) {
                Some(node) => map.next_value_seed(Walk { node, written: &mut *self.written })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for at in 0_usize.. {
            let more = match self.node.inner.get(at.to_string().as_str()) {
                Some(node) => {
                    items.next_element_seed(Walk { node, written: &mut *self.written })?.is_some()
                }
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::facts::Memo, *};

    fn field(key: &str) -> Arc<Field> {
        Arc::new(Field::parse(key).unwrap())
    }

    fn seen(keys: &[&str], text: &str) -> Vec<(String, String)> {
        let mut places = Places::default();
        let numbers: HashMap<u32, &str> =
            keys.iter().map(|key| (places.take(&field(key)), *key)).collect();
        let payload: Value = serde_json::from_str(text).unwrap();
        let facts = Facts {
            event_type: &"order.paid".parse().unwrap(),
            schema_version: 3,
            id: None,
            subject: None,
            occurred_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            channels: &[],
            payload: Some(&payload),
            text: text.as_bytes(),
        };
        let seen = places.seen(&facts, |_| true);
        let mut all: Vec<(String, String)> = seen
            .into_iter()
            .map(|(number, seen)| {
                let key = numbers[&number];
                let alone = [field(key)];
                let memo = Memo::new(&facts, &alone);
                assert_eq!(seen, *memo.see(0), "{key}: walked alone, it is the same");
                (key.to_owned(), format!("{seen:?}"))
            })
            .collect();
        all.sort();
        for number in numbers.into_keys() {
            places.give_back(number);
        }
        assert!(places.is_empty());
        all
    }

    #[test]
    fn one_walk_sees_what_each_place_by_itself_does() {
        let text = r#"{"a":{"b":[1.5,"x",{"c":null}]},"~":{"/":true},"":{"":2},"01":[5]}"#;
        let keys = [
            "",
            "/a",
            "/a/b",
            "/a/b/0",
            "/a/b/1",
            "/a/b/2/c",
            "/a/b/3",
            "/a/b/01",
            "/~0/~1",
            "//",
            "/01/0",
            "/x",
            "/a/x/y",
            "type",
            "id",
            "schema_version",
        ];
        let found: Vec<String> = seen(&keys, text).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            found,
            [
                "",
                "//",
                "/01/0",
                "/a",
                "/a/b",
                "/a/b/0",
                "/a/b/1",
                "/a/b/2/c",
                "/~0/~1",
                "schema_version",
                "type"
            ]
        );
        // One place among many values, and many places where there are few.
        assert_eq!(seen(&["/a/b/1"], text)[0].1, "Text(\"x\")");
        let many: Vec<String> = (0..50).map(|at| format!("/a/{at}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(seen(&many, r#"{"a":[7,8]}"#).len(), 2);
        assert_eq!(seen(&many, r#"{"a":{"3":7}}"#).len(), 1);
    }

    #[test]
    fn numbers_keep_every_digit_and_the_last_of_a_name_counts() {
        let long = "123456789012345678901234567890.5";
        let text = format!(
            r#"{{"a":{{"b":{long},"c":0.5}},"a":{{"b":{long},"b":{long}1}},"d":[0.25,{{"b":1.5,"b":{long}}}]}}"#
        );
        let all = seen(&["/a/b", "/a/c", "/d/0", "/d/1/b"], &text);
        let keys: Vec<&str> = all.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["/a/b", "/d/0", "/d/1/b"]);
        assert_ne!(all[0].1, all[2].1);
    }
}
