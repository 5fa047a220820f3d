//! Conditions on an event's fields.
//!
//! Owns their syntax, their checks and deciding them. Fields are read one by one as
//! needed: what decides nothing isn't read.

use crate::{pattern, value};
use hookmill_sdk::prelude::*;
use hookmill_sdk::serde::{Deserialize, Deserializer};
use hookmill_sdk::serde_json::value::RawValue;
use std::cmp::Ordering;

/// A JSON value kept as text.
type Raw = Box<RawValue>;

/// A condition: either `all`, `any` or `not` of others, or tests of the field `at` a
/// JSON pointer, all of which have to hold.
#[derive(Config, Default)]
#[serde(default)]
pub(crate) struct Condition {
    /// Holds if all of these hold; an empty list does.
    all: Option<Vec<Condition>>,
    /// Holds if one of these holds; an empty list does not.
    any: Option<Vec<Condition>>,
    /// Holds if this does not.
    not: Option<Box<Condition>>,
    /// The field to test: a JSON pointer.
    at: Option<String>,
    /// It is this value.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Value")]
    equals: Option<Raw>,
    /// It is not this value; it may be missing.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Value")]
    not_equals: Option<Raw>,
    /// It is one of these values.
    #[serde(rename = "in")]
    #[schemars(with = "Option<Vec<Value>>")]
    one_of: Option<Vec<Raw>>,
    /// It is there (`null` is), or it isn't.
    exists: Option<bool>,
    /// It is greater than this number, or later than this string in the alphabet.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Limit>")]
    greater: Option<Raw>,
    /// It is this or greater.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Limit>")]
    greater_or_equal: Option<Raw>,
    /// It is less than this number, or earlier than this string in the alphabet.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Limit>")]
    less: Option<Raw>,
    /// It is this or less.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Limit>")]
    less_or_equal: Option<Raw>,
    /// It is a string of this form: `*` any characters, `?` one, `[a-z]` one of a set.
    matches: Option<String>,
    /// It is a string that starts so.
    starts_with: Option<String>,
    /// It is a string with this text in it, or an array with this value in it.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Value")]
    contains: Option<Raw>,
}

/// What `greater` and its kin compare with. Only its schema is used.
#[derive(Config)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands in a schema for a value that is kept as text")]
enum Limit {
    /// Compared by size.
    Number(f64),
    /// Compared letter by letter, as is right for dates in RFC 3339.
    Text(String),
}

/// Keeps a `null` that was written apart from nothing at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    Raw::deserialize(deserializer).map(Some)
}

impl Condition {
    /// What the schema can't say, said with its place.
    pub(crate) fn check(&self, place: &str) -> Result<()> {
        let wrong = |problem: &str| Err(Error::invalid_config(format!("{place}{problem}")));
        let groups =
            [self.all.is_some(), self.any.is_some(), self.not.is_some(), self.at.is_some()];
        let tested = self.has_test();
        match groups.iter().filter(|given| **given).count() {
            0 if tested => return wrong(" has a test but no `at`"),
            0 => return wrong(" is empty: expected `all`, `any`, `not`, or `at` with a test"),
            1 if self.at.is_some() && !tested => {
                return wrong(" has `at` but no test, such as `equals`");
            }
            1 if self.at.is_none() && tested => return wrong(" has a test but no `at`"),
            1 => {}
            _ => return wrong(" mixes `all`, `any`, `not` and `at`: each needs its own braces"),
        }
        if self.at.as_deref().is_some_and(|at| !hookmill_sdk::pointer::is_valid(at)) {
            return wrong("/at is not a JSON pointer: it must begin with `/`");
        }
        for (name, limit) in [
            ("greater", &self.greater),
            ("greater_or_equal", &self.greater_or_equal),
            ("less", &self.less),
            ("less_or_equal", &self.less_or_equal),
        ] {
            if let Some(limit) = limit
                && limit.get().starts_with(['{', '[', 't', 'f', 'n'])
            {
                let found = value::named(limit.get());
                return wrong(&format!("/{name} is {found}, expected a number or a string"));
            }
        }
        if let Some(problem) = self.matches.as_deref().and_then(pattern::problem) {
            return wrong(&format!("/matches: {problem}"));
        }
        for (name, group) in [("all", &self.all), ("any", &self.any)] {
            for (index, condition) in group.iter().flatten().enumerate() {
                // The place is only spelt out once something is wrong.
                condition.check("").map_err(|error| inside(place, name, Some(index), &error))?;
            }
        }
        match &self.not {
            Some(condition) => {
                condition.check("").map_err(|error| inside(place, "not", None, &error))
            }
            None => Ok(()),
        }
    }

    fn has_test(&self) -> bool {
        self.equals.is_some()
            || self.not_equals.is_some()
            || self.one_of.is_some()
            || self.exists.is_some()
            || self.greater.is_some()
            || self.greater_or_equal.is_some()
            || self.less.is_some()
            || self.less_or_equal.is_some()
            || self.matches.is_some()
            || self.starts_with.is_some()
            || self.contains.is_some()
    }

    /// `None` if the condition holds, or else what decided that it does not.
    pub(crate) fn unmet(&self, event: &Event) -> Result<Option<&str>> {
        if let Some(at) = &self.at {
            let text = event.text(at)?;
            let holds = self.holds(at, text.as_deref())?;
            return Ok(if holds {
                None
            } else {
                Some(if at.is_empty() { "the payload" } else { at })
            });
        }
        if let Some(all) = &self.all {
            for condition in all {
                if let Some(decided) = condition.unmet(event)? {
                    return Ok(Some(decided));
                }
            }
            return Ok(None);
        }
        if let Some(any) = &self.any {
            let mut last = None;
            for condition in any {
                last = condition.unmet(event)?;
                if last.is_none() {
                    return Ok(None);
                }
            }
            // Of several, none in particular decided.
            return Ok(Some(if any.len() == 1 {
                last.unwrap_or("the event")
            } else {
                "the event"
            }));
        }
        match &self.not {
            Some(condition) if condition.unmet(event)?.is_none() => {
                Ok(Some(condition.at.as_deref().unwrap_or("the event")))
            }
            _ => Ok(None),
        }
    }

    /// Whether every test of the field holds.
    fn holds(&self, at: &str, text: Option<&str>) -> Result<bool> {
        if self.exists.is_some_and(|exists| exists != text.is_some()) {
            return Ok(false);
        }
        let Some(text) = text else {
            // Of what is missing, only `exists: false` and `not_equals` can be true.
            let others = Condition::tests_a_value(self);
            return Ok(!others);
        };
        if let Some(expected) = &self.equals
            && !value::equal(text, expected.get())?
        {
            return Ok(false);
        }
        if let Some(unwanted) = &self.not_equals
            && value::equal(text, unwanted.get())?
        {
            return Ok(false);
        }
        if let Some(list) = &self.one_of
            && !any_equal(list, text)?
        {
            return Ok(false);
        }
        for (limit, wanted, or_equal) in [
            (&self.greater, Ordering::Greater, false),
            (&self.greater_or_equal, Ordering::Greater, true),
            (&self.less, Ordering::Less, false),
            (&self.less_or_equal, Ordering::Less, true),
        ] {
            let Some(limit) = limit else { continue };
            // `null` is a way to say that there is none.
            if text == "null" {
                return Ok(false);
            }
            let order = value::compare(at, text, limit.get())?;
            if order != Some(wanted) && !(or_equal && order == Some(Ordering::Equal)) {
                return Ok(false);
            }
        }
        self.holds_as_text(at, text)
    }

    fn holds_as_text(&self, at: &str, text: &str) -> Result<bool> {
        if let Some(contained) = &self.contains
            && !contains(at, text, contained.get())?
        {
            return Ok(false);
        }
        if self.matches.is_none() && self.starts_with.is_none() {
            return Ok(true);
        }
        if text == "null" {
            return Ok(false);
        }
        if !text.starts_with('"') {
            return Err(value::unexpected(at, text, "a string"));
        }
        let string = value::string(text)?;
        Ok(self.starts_with.as_deref().is_none_or(|start| string.starts_with(start))
            && self.matches.as_deref().is_none_or(|pattern| pattern::matches(pattern, &string)))
    }

    /// Whether there is a test that a missing field fails.
    fn tests_a_value(&self) -> bool {
        self.equals.is_some()
            || self.one_of.is_some()
            || self.greater.is_some()
            || self.greater_or_equal.is_some()
            || self.less.is_some()
            || self.less_or_equal.is_some()
            || self.matches.is_some()
            || self.starts_with.is_some()
            || self.contains.is_some()
    }
}

fn any_equal(list: &[Raw], text: &str) -> Result<bool> {
    for value in list {
        if value::equal(text, value.get())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains(at: &str, text: &str, contained: &str) -> Result<bool> {
    match text.bytes().next() {
        Some(b'[') => {
            let elements: Vec<&RawValue> = hookmill_sdk::serde_json::from_str(text)?;
            for element in elements {
                if value::equal(element.get(), contained)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Some(b'"') if contained.starts_with('"') => {
            Ok(value::string(text)?.contains(&*value::string(contained)?))
        }
        Some(b'n') => Ok(false),
        _ => Err(value::unexpected(at, text, "an array or a string")),
    }
}

#[cold]
fn inside(place: &str, name: &str, index: Option<usize>, error: &Error) -> Error {
    let index = index.map(|index| format!("/{index}")).unwrap_or_default();
    Error::invalid_config(format!("{place}/{name}{index}{}", error.message()))
}
