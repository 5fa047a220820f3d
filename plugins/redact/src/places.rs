//! Where the values to hide are.
//!
//! Owns expanding `*` and comparing pointers. Reads only what a rule names: the fields
//! themselves, or the container before the first `*`.

use crate::Rule;
use hookmill_sdk::pointer;
use hookmill_sdk::prelude::*;
use hookmill_sdk::serde::de::{self, MapAccess, SeqAccess, Visitor};
use hookmill_sdk::serde::{Deserialize, Deserializer};
use hookmill_sdk::serde_json::{self, value::RawValue};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

/// One value to hide.
pub(crate) struct Place<'a> {
    /// Where it is, without `*`.
    pub(crate) pointer: String,
    /// Its JSON text.
    pub(crate) text: String,
    /// Why it is here.
    pub(crate) rule: &'a Rule,
}

/// The values that are there, in the order of the rules and of the document.
pub(crate) fn find<'a>(event: &Event, rules: &'a [Rule]) -> Result<Vec<Place<'a>>> {
    // One question for everything: the field, or the container before its first `*`.
    let roots: Vec<&str> = rules.iter().map(|rule| split(&rule.at).0).collect();
    let texts = event.texts(&roots)?;
    let mut places = Vec::with_capacity(rules.len());
    for (rule, text) in rules.iter().zip(texts) {
        let Some(text) = text else { continue };
        match split(&rule.at) {
            (root, None) => places.push(Place { pointer: root.to_owned(), text, rule }),
            (root, Some(rest)) => expand(root, &text, rest, rule, &mut places)?,
        }
    }
    Ok(places)
}

/// A pointer at its first `*`: what is before it, and from it on if there is one.
fn split(at: &str) -> (&str, Option<&str>) {
    let mut start = 0;
    while let Some(slash) = at[start..].find('/').map(|slash| start + slash) {
        let rest = &at[slash + 1..];
        if rest == "*" || rest.starts_with("*/") {
            return (&at[..slash], Some(rest));
        }
        start = slash + 1;
    }
    (at, None)
}

/// Follows `rest`, tokens without their leading slash, into a JSON text.
fn expand<'a>(
    at: &str,
    text: &str,
    rest: &str,
    rule: &'a Rule,
    places: &mut Vec<Place<'a>>,
) -> Result<()> {
    let (token, rest) = match rest.split_once('/') {
        Some((token, rest)) => (token, Some(rest)),
        None => (rest, None),
    };
    if !text.starts_with(['{', '[']) {
        return Ok(());
    }
    let Children(children) = serde_json::from_str(text)?;
    // Compared before a pointer is made: most children of most elements are not meant.
    let wanted = (token != "*").then(|| token.replace("~1", "/").replace("~0", "~"));
    for (index, (key, child)) in children.into_iter().enumerate() {
        if let Some(wanted) = &wanted
            && !key.as_ref().map_or_else(|| is_index(wanted, index), |key| key == wanted)
        {
            continue;
        }
        let mut here = at.to_owned();
        match &key {
            Some(key) => pointer::push(&mut here, key),
            None => pointer::push_index(&mut here, index),
        }
        match rest {
            Some(rest) => expand(&here, child.get(), rest, rule, places)?,
            None => places.push(Place { pointer: here, text: child.get().to_owned(), rule }),
        }
    }
    Ok(())
}

/// Whether a token is this index: it has one spelling.
fn is_index(token: &str, index: usize) -> bool {
    token.parse() == Ok(index) && (token == "0" || !token.starts_with(['0', '+']))
}

/// The children of an object or an array, unparsed.
struct Children<'a>(Vec<(Option<String>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Children<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Children<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut children = Vec::new();
                while let Some((key, child)) = members.next_entry::<String, &RawValue>()? {
                    children.push((Some(key), child));
                }
                Ok(Children(children))
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut elements: A,
            ) -> Result<Self::Value, A::Error> {
                let mut children = Vec::new();
                while let Some(child) = elements.next_element::<&RawValue>()? {
                    children.push((None, child));
                }
                Ok(Children(children))
            }
        }
        de::Deserializer::deserialize_any(deserializer, Walk)
    }
}

/// Whether one of the pointers is this one, or of something it is inside. Asks for each of
/// its beginnings, of which there are few, not for each pointer, of which there may be one
/// for every element.
pub(crate) fn covered(pointers: &BTreeSet<&str>, inner: &str) -> bool {
    if pointers.is_empty() {
        return false;
    }
    let outer = inner.match_indices('/').map(|(slash, _)| &inner[..slash]);
    outer.chain([inner]).any(|pointer| pointers.contains(pointer))
}

/// The order of the document as far as it matters: elements of an array by index, a
/// container before what is inside.
pub(crate) fn order(left: &str, right: &str) -> Ordering {
    let mut left = left.split('/');
    let mut right = right.split('/');
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) => {
                return match (left.parse::<usize>(), right.parse::<usize>()) {
                    (Ok(left), Ok(right)) => left.cmp(&right),
                    _ => left.cmp(right),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{covered, is_index, order, split};
    use std::cmp::Ordering;
    use std::collections::BTreeSet;

    #[test]
    fn an_index_has_one_spelling() {
        assert!(is_index("0", 0) && is_index("10", 10));
        for other in ["00", "010", "+10", "-0", "", "x", "1"] {
            assert!(!is_index(other, 0) && !is_index(other, 10), "{other}");
        }
    }

    #[test]
    fn pointers_are_split_at_a_whole_star_token() {
        assert_eq!(split("/a/b"), ("/a/b", None));
        assert_eq!(split("/a/*/b"), ("/a", Some("*/b")));
        assert_eq!(split("/*"), ("", Some("*")));
        assert_eq!(split("/a*/*b/*/c/*"), ("/a*/*b", Some("*/c/*")));
    }

    #[test]
    fn covering_is_by_whole_tokens() {
        for (outer, inner, expected) in [
            ("/a", "/a/b", true),
            ("/a", "/a", true),
            ("", "/a", true),
            ("/a", "/ab", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(covered(&BTreeSet::from([outer]), inner), expected, "{outer} {inner}");
        }
        assert!(!covered(&BTreeSet::new(), "/a"));
    }

    #[test]
    fn indexes_are_ordered_as_numbers() {
        assert_eq!(order("/a/9", "/a/10"), Ordering::Less);
        assert_eq!(order("/a/10/b", "/a/10"), Ordering::Greater);
        assert_eq!(order("/a", "/a"), Ordering::Equal);
    }
}
