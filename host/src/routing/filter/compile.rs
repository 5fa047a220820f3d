//! Reads a filter from its JSON text and says what is wrong with it, and where.
//!
//! Numbers are read from their text, so none is rounded.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Bound, Comparison, Field, Filter, Kind, Node, Scalar, Test};
use crate::{model::time, routing::Decimal};

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// JSON pointer into the filter.
    pub at: String,
    /// What is wrong, and what was perhaps meant.
    pub message: String,
}

const KEYWORDS: [&str; 12] =
    ["exact", "prefix", "suffix", "in", "lt", "lte", "gt", "gte", "exists", "all", "any", "not"];

type Result<T, E = FilterError> = std::result::Result<T, E>;

fn wrong<T>(at: &str, message: impl Into<String>) -> Result<T> {
    Err(FilterError { at: at.to_owned(), message: message.into() })
}

impl Filter {
    /// Most bytes of a filter's text.
    pub const MAX_BYTES: usize = 64 << 10;
    /// Most nodes and tests.
    pub const MAX_NODES: usize = 256;
    /// Most values in all its lists.
    pub const MAX_VALUES: usize = 4_096;
    /// How deep nodes may stand in one another.
    pub const MAX_DEPTH: usize = 16;
    /// Most bytes of a key.
    pub const MAX_KEY: usize = 512;

    /// Reads and checks a filter.
    pub fn compile(text: &str) -> Result<Self> {
        if text.len() > Self::MAX_BYTES {
            let size = text.len();
            return wrong("", format!("is {size} bytes; at most {} are allowed", Self::MAX_BYTES));
        }
        let raw: &RawValue = serde_json::from_str(text)
            .or_else(|error| wrong("", format!("is not JSON: {error}")))?;
        let mut compiler = Compiler::default();
        let root = compiler.node(raw.get(), String::new(), 1)?;
        Ok(Self { fields: compiler.fields, root })
    }
}

#[derive(Default)]
struct Compiler {
    fields: Vec<Arc<Field>>,
    nodes: usize,
    values: usize,
}

impl Compiler {
    fn count(&mut self, at: &str) -> Result<()> {
        self.nodes += 1;
        if self.nodes > Filter::MAX_NODES {
            return wrong(
                at,
                format!("is one more than the {} parts a filter may have", Filter::MAX_NODES),
            );
        }
        Ok(())
    }

    fn node(&mut self, text: &str, at: String, depth: usize) -> Result<Node> {
        self.count(&at)?;
        if depth > Filter::MAX_DEPTH {
            return wrong(&at, format!("is nested more than {} deep", Filter::MAX_DEPTH));
        }
        // A list of filters is what CloudEvents calls `filters`: all of them.
        if text.starts_with('[') {
            let kind = Kind::All(self.list(text, &at, depth)?);
            return Ok(Node { at, kind });
        }
        let members = object(
            text,
            &at,
            "a filter is an object such as {\"exact\": {\"/status\": \"paid\"}}, or a list of filters",
        )?;
        let [(keyword, argument)] = &members[..] else {
            let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
            let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return wrong(
                &at,
                format!(
                    "has {} keywords ({found}); it takes exactly one: put several filters in `all` or `any`",
                    members.len()
                ),
            );
        };
        let inner = format!("{at}/{}", token(keyword));
        let argument = argument.get();
        let kind = match &**keyword {
            "all" => Kind::All(self.list(argument, &inner, depth)?),
            "any" => Kind::Any(self.list(argument, &inner, depth)?),
            "not" => Kind::Not(Box::new(self.node(argument, inner, depth + 1)?)),
            known if KEYWORDS.contains(&known) => return self.tests(known, argument, inner),
            unknown => {
                let near = KEYWORDS
                    .iter()
                    .map(|known| (strsim::normalized_damerau_levenshtein(unknown, known), known))
                    .max_by(|a, b| a.0.total_cmp(&b.0))
                    .filter(|(likeness, _)| *likeness >= 0.4);
                let hint = near.map_or_else(
                    || format!("there are {}", KEYWORDS.join(", ")),
                    |(_, near)| format!("did you mean `{near}`?"),
                );
                return wrong(&inner, format!("is no keyword of a filter; {hint}"));
            }
        };
        Ok(Node { at: inner_of(at, keyword), kind })
    }

    fn list(&mut self, text: &str, at: &str, depth: usize) -> Result<Vec<Node>> {
        let items: Vec<&RawValue> =
            serde_json::from_str(text).or_else(|_| wrong(at, "takes a list of filters"))?;
        if items.is_empty() {
            return wrong(at, "is empty; it takes at least one filter");
        }
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| self.node(item.get(), format!("{at}/{index}"), depth + 1))
            .collect()
    }

    /// The tests of one keyword, all of which must hold.
    fn tests(&mut self, keyword: &str, text: &str, at: String) -> Result<Node> {
        let example = format!(
            "`{keyword}` takes an object of places and what is asked of the values there, such as {{\"/total\": …}}"
        );
        let members = object(text, &at, &example)?;
        if members.is_empty() {
            return wrong(&at, "is empty; it takes at least one place and value");
        }
        let mut nodes = Vec::with_capacity(members.len());
        for (key, value) in &members {
            let place = format!("{at}/{}", token(key));
            self.count(&place)?;
            let field = self.field(key, &place)?;
            let test = self.test(keyword, value.get(), &place)?;
            nodes.push(Node { at: place, kind: Kind::Test { field, key: key.to_string(), test } });
        }
        match nodes.pop() {
            Some(only) if nodes.is_empty() => Ok(only),
            last => {
                nodes.extend(last);
                Ok(Node { at, kind: Kind::All(nodes) })
            }
        }
    }

    fn field(&mut self, key: &str, at: &str) -> Result<u32> {
        if key.len() > Filter::MAX_KEY {
            return wrong(at, format!("has more than {} bytes", Filter::MAX_KEY));
        }
        let field = Field::parse(key).or_else(|why| {
            let names = Field::ATTRIBUTES.map(|(name, _)| name);
            let near = names
                .into_iter()
                .map(|name| (strsim::normalized_damerau_levenshtein(key, name), name));
            let near =
                near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= 0.6);
            let hint = match near {
                _ if key.starts_with('/') => String::new(),
                Some((_, name)) => format!("; did you mean `{name}`?"),
                None => format!(
                    "; the attributes are {}, and /{key} would be in the payload",
                    names.join(", ")
                ),
            };
            wrong(at, format!("{why}{hint}"))
        })?;
        let known = self.fields.iter().position(|known| **known == field);
        Ok(known.unwrap_or_else(|| {
            self.fields.push(Arc::new(field));
            self.fields.len() - 1
        }) as u32)
    }

    fn test(&mut self, keyword: &str, text: &str, at: &str) -> Result<Test> {
        Ok(match keyword {
            "exact" => Test::Exact(scalar(text, at)?),
            "in" => Test::In(self.values(text, at)?),
            "prefix" => Test::Prefix(affix(text, at)?),
            "suffix" => Test::Suffix(affix(text, at)?),
            "exists" => match text {
                "true" => Test::Exists(true),
                "false" => Test::Exists(false),
                _ => return wrong(at, "must be true or false"),
            },
            "lt" => Test::Compare(Comparison::Less, bound(text, at)?),
            "lte" => Test::Compare(Comparison::LessOrEqual, bound(text, at)?),
            "gt" => Test::Compare(Comparison::Greater, bound(text, at)?),
            // Nothing else is left of `KEYWORDS` that has tests.
            _ => Test::Compare(Comparison::GreaterOrEqual, bound(text, at)?),
        })
    }

    fn values(&mut self, text: &str, at: &str) -> Result<HashSet<Scalar>> {
        let items: Vec<&RawValue> =
            serde_json::from_str(text).or_else(|_| wrong(at, "takes a list of values"))?;
        self.values += items.len();
        if items.is_empty() {
            return wrong(at, "is empty; it takes at least one value");
        }
        if self.values > Filter::MAX_VALUES {
            return wrong(
                at,
                format!(
                    "brings more than the {} values a filter's lists may have",
                    Filter::MAX_VALUES
                ),
            );
        }
        let items = items.iter().enumerate();
        items.map(|(index, item)| scalar(item.get(), &format!("{at}/{index}"))).collect()
    }
}

fn inner_of(at: String, keyword: &str) -> String {
    at + "/" + &token(keyword)
}

fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn scalar(text: &str, at: &str) -> Result<Scalar> {
    Ok(match text.as_bytes().first() {
        Some(b'n') => Scalar::Null,
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'"') => Scalar::Text(string(text, at)?.into()),
        Some(b'{' | b'[') | None => {
            return wrong(
                at,
                "must be a string, a number, true, false or null: objects and lists are not compared as a whole",
            );
        }
        Some(_) => Scalar::Number(number(text, at)?),
    })
}

fn number(text: &str, at: &str) -> Result<Decimal> {
    // No event has such a one, and libraries fail on what shows it.
    if !text.parse().is_ok_and(f64::is_finite) {
        return wrong(at, "is a number beyond those that events may have: at most 1.8e308");
    }
    match Decimal::parse(text) {
        Some(number) => Ok(number),
        None => wrong(at, "is a number that cannot be read"),
    }
}

fn string(text: &str, at: &str) -> Result<String> {
    serde_json::from_str(text)
        .or_else(|error| wrong(at, format!("is a string that cannot be read: {error}")))
}

fn affix(text: &str, at: &str) -> Result<Box<str>> {
    match scalar(text, at)? {
        Scalar::Text(text) if !text.is_empty() => Ok(text),
        _ => wrong(at, "must be a string that is not empty"),
    }
}

fn bound(text: &str, at: &str) -> Result<Bound> {
    match scalar(text, at)? {
        Scalar::Number(number) => Ok(Bound::Number(number)),
        Scalar::Text(text) => Ok(match time::instant(&text) {
            Some(time) => Bound::Time(time),
            None => Bound::Text(text),
        }),
        Scalar::Null | Scalar::Bool(_) => wrong(at, "must be a number or a string"),
    }
}

/// An object's members in their order, unparsed. None may be there twice.
fn object<'a>(
    text: &'a str,
    at: &str,
    expected: &str,
) -> Result<Vec<(Cow<'a, str>, &'a RawValue)>> {
    if !text.starts_with('{') {
        return wrong(at, expected);
    }
    let Members(members) = serde_json::from_str(text)
        .or_else(|error| wrong(at, format!("cannot be read: {error}")))?;
    let mut names = HashSet::new();
    for (name, _) in &members {
        if !names.insert(&**name) {
            return wrong(&format!("{at}/{}", token(name)), "is there twice");
        }
    }
    Ok(members)
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

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
                while let Some(member) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, String) {
        let error = Filter::compile(text).unwrap_err();
        (error.at, error.message)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, at, says) in [
            ("{", "", "not JSON"),
            ("7", "", "a filter is an object"),
            ("{}", "", "exactly one"),
            (r#"{"exact":{"/a":1},"prefix":{"/b":"x"}}"#, "", "exactly one"),
            (r#"{"exakt":{"/a":1}}"#, "/exakt", "did you mean `exact`"),
            (r#"{"all":[{"exact":{"/a":1}},{"gtt":{"/b":1}}]}"#, "/all/1/gtt", "did you mean `gt"),
            (r#"{"any":[]}"#, "/any", "at least one"),
            (r#"{"exact":{}}"#, "/exact", "at least one"),
            (r#"{"exact":{"/a":{}}}"#, "/exact/~1a", "as a whole"),
            (r#"{"exact":{"subjekt":"x"}}"#, "/exact/subjekt", "did you mean `subject`"),
            (r#"{"exact":{"status":"x"}}"#, "/exact/status", "/status would be in the payload"),
            (r#"{"exact":{"/a":1,"/a":2}}"#, "/exact/~1a", "twice"),
            (r#"{"prefix":{"/a":""}}"#, "/prefix/~1a", "not empty"),
            (r#"{"lt":{"/a":true}}"#, "/lt/~1a", "a number or a string"),
            (r#"{"exists":{"/a":1}}"#, "/exists/~1a", "true or false"),
            (r#"{"in":{"/a":"x"}}"#, "/in/~1a", "a list of values"),
            (r#"{"in":{"/a":["x",[]]}}"#, "/in/~1a/1", "as a whole"),
            (r#"{"not":[]}"#, "/not", "at least one"),
        ] {
            let (place, message) = refused(text);
            assert_eq!(place, at, "{text}: {message}");
            assert!(message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let leaf = r#"{"exact":{"/a":1}}"#;
        let nested =
            |depth: usize| format!("{}{leaf}{}", r#"{"not":"#.repeat(depth), "}".repeat(depth));
        assert!(Filter::compile(&nested(15)).is_ok());
        assert!(refused(&nested(16)).1.contains("16 deep"));
        let wide = |count: usize| format!(r#"{{"any":[{}]}}"#, vec![leaf; count].join(","));
        assert!(Filter::compile(&wide(127)).is_ok());
        assert!(refused(&wide(128)).1.contains("256 parts"));
        let values =
            |count: usize| format!(r#"{{"in":{{"/a":[{}]}}}}"#, vec!["1"; count].join(","));
        assert!(Filter::compile(&values(4096)).is_ok());
        assert!(refused(&values(4097)).1.contains("4096 values"));
        assert!(
            refused(&format!(r#"{{"exact":{{"/a":"{}"}}}}"#, "x".repeat(65_536)))
                .1
                .contains("bytes")
        );
    }
}
