//! Compiles JSON Schemas once and runs them over payloads and configs.
//!
//! Owns drafts (4, 6, 7, 2019-09, 2020-12), formats, bounds on patterns and size, and what a
//! violation looks like. Never fetches anything: a remote `$ref` is an error.

mod compat;
mod patterns;
mod references;
mod workshop;

use std::fmt;

use jsonschema::{PatternOptions, ValidationError, error::ValidationErrorKind};
use serde_json::Value;

pub use self::{
    compat::{Direction, Finding, compare},
    workshop::{Stop, Undone, Workshop},
};
use crate::model::Violation;

/// A compiled schema.
#[derive(Debug)]
pub struct Validator {
    schema: jsonschema::Validator,
    /// The most that is demanded of one value.
    demands: u64,
}

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// JSON pointer into the schema.
    pub at: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A pattern may back-track this often before it counts as not matching: the default of the
/// engine, pinned.
const BACKTRACKS: usize = 1_000_000;
/// What a pattern may keep in memory to match faster: at least this, or as much as it may take
/// itself.
const PATTERN_CACHE: usize = 64 << 10;
/// Longest message of a violation, in bytes: some quote the value.
const MESSAGE_BYTES: usize = 300;
/// Longest place in a payload or a schema that is told, in bytes: names in it may have megabytes.
const PLACE_BYTES: usize = 500;
/// What the violations of one payload come to, in bytes; the first is always told.
const VIOLATIONS_BYTES: usize = 8 << 10;
/// An error takes this much, and as much again for so many bytes of its place.
const ERROR_BYTES: usize = 200;

impl Validator {
    /// Most violations reported of one payload.
    pub const MAX_VIOLATIONS: usize = 20;
    /// Largest schema, in bytes of JSON text.
    pub const MAX_SCHEMA_BYTES: usize = 4 << 20;
    /// Deepest chain of `$ref`s that lead to one another without entering the instance.
    const MAX_REF_CHAIN: usize = 64;
    /// Most schemas one value may have to satisfy: a few definitions that name the next one
    /// twice make billions, and nothing interrupts a validation.
    const MAX_APPLIED: u64 = 100_000;
    /// Most errors that a payload may have for their places to be told, alternatives that did
    /// not match included: each takes a few hundred bytes.
    const MAX_ERRORS: u64 = 500_000;

    /// Compiles `schema`. Without a `$schema` it is taken for draft 2020-12.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err(SchemaError {
                at: String::new(),
                message: "a JSON Schema is an object, true or false".into(),
            });
        }
        let demands = references::check(schema)?;
        let each = patterns::check(schema)?;
        jsonschema::options()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .with_pattern_options(
                PatternOptions::fancy_regex()
                    .backtrack_limit(BACKTRACKS)
                    .size_limit(each)
                    .dfa_size_limit(each.max(PATTERN_CACHE)),
            )
            .offline()
            .build(schema)
            .map(|schema| Self { schema, demands })
            .map_err(|error| SchemaError {
                at: excerpt(error.instance_path().as_str(), PLACE_BYTES),
                message: excerpt(&error.to_string(), MESSAGE_BYTES),
            })
    }

    /// Compiles a schema that was accepted once, perhaps under wider bounds, and belongs to `of`.
    /// One that cannot be used any more accepts nothing until it is replaced: it must not keep
    /// the server from starting.
    pub fn compile_stored(schema: &Value, of: &dyn fmt::Display) -> Result<Self, SchemaError> {
        Self::compile(schema).or_else(|error| {
            tracing::error!(%of, at = %error.at, %error, "a stored schema cannot be used; it accepts nothing until it is replaced");
            Self::compile(&Value::Bool(false))
        })
    }

    /// Whether `instance` satisfies the schema: quicker than asking for violations.
    pub fn accepts(&self, instance: &Value) -> bool {
        self.schema.is_valid(instance)
    }

    /// Where `instance` does not satisfy the schema, at most [`Self::MAX_VIOLATIONS`] of them.
    pub fn violations(&self, instance: &Value) -> Vec<Violation> {
        // All errors are collected before the first can be had, each with a text of its place.
        let most = usize::try_from(Self::MAX_ERRORS / self.demands.max(1)).unwrap_or(usize::MAX);
        if weighs_more(instance, most) {
            return if self.accepts(instance) { Vec::new() } else { vec![somewhere()] };
        }
        let mut found = Vec::new();
        for error in self.schema.iter_errors(instance).take(Self::MAX_VIOLATIONS) {
            report(&error, &mut found);
        }
        found.truncate(Self::MAX_VIOLATIONS);
        let mut bytes = 0;
        let fitting = found.iter().take_while(|violation| {
            bytes += violation.at.len() + violation.schema.len() + violation.message.len();
            bytes <= VIOLATIONS_BYTES
        });
        let fitting = fitting.count().max(1);
        found.truncate(fitting);
        found
    }
}

/// Whether there are more than `most` values in `value`, itself included; one counts as often as
/// an error there would take room.
fn weighs_more(value: &Value, most: usize) -> bool {
    let mut weight = 0;
    // What waits is counted at once, so that `rest` stays as small.
    let mut rest = vec![(value, 0)];
    while let Some((value, place)) = rest.pop() {
        weight += 1 + place / ERROR_BYTES;
        if weight + rest.len() > most {
            return true;
        }
        match value {
            Value::Array(items) => rest.extend(items.iter().map(|item| (item, place + 8))),
            Value::Object(members) => {
                rest.extend(members.iter().map(|(name, value)| (value, place + name.len())));
            }
            _ => {}
        }
    }
    false
}

/// Something is wrong, and no telling where.
fn somewhere() -> Violation {
    Violation {
        at: String::new(),
        schema: String::new(),
        message: "does not satisfy the schema; it has too many values, for this schema, to say \
                  where"
            .into(),
    }
}

/// Of alternatives that all failed, what the nearest one has against the instance says more
/// than that all of them failed.
fn report(error: &ValidationError<'_>, found: &mut Vec<Violation>) {
    let alternatives = match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            context.as_slice()
        }
        _ => &[],
    };
    // The only alternative speaks for itself.
    if let [only] = alternatives {
        return only.iter().take(Validator::MAX_VIOLATIONS).for_each(|inner| report(inner, found));
    }
    let message = if !alternatives.is_empty() {
        format!("matches none of {} alternatives; the nearest follows", alternatives.len())
    } else if error.instance().is_object() || error.instance().is_array() {
        // Quoting it would bury what is wrong with it.
        error.masked_with("the value").to_string()
    } else {
        error.to_string()
    };
    found.push(Violation {
        at: excerpt(error.instance_path().as_str(), PLACE_BYTES),
        schema: excerpt(error.schema_path().as_str(), PLACE_BYTES),
        message: excerpt(&message, MESSAGE_BYTES),
    });
    let nearest = alternatives.iter().min_by_key(|branch| distance(branch));
    for inner in nearest.into_iter().flatten().take(Validator::MAX_VIOLATIONS) {
        report(inner, found);
    }
}

/// How far an alternative is from accepting: one that another `type` or `action` was meant
/// for (a constant differs) is further than one with something missing.
fn distance(branch: &[ValidationError<'_>]) -> usize {
    let other = |error: &&ValidationError<'_>| {
        matches!(
            error.kind(),
            ValidationErrorKind::Constant { .. } | ValidationErrorKind::Enum { .. }
        )
    };
    branch.len() + 100 * branch.iter().filter(other).count()
}

/// The beginning of a text that is too long, and a sign that it is no more than that.
fn excerpt(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_draft_is_understood() {
        for draft in [
            "http://json-schema.org/draft-04/schema#",
            "http://json-schema.org/draft-06/schema#",
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2019-09/schema",
            "https://json-schema.org/draft/2020-12/schema",
        ] {
            let schema = json!({"$schema": draft, "type": "object", "required": ["id"]});
            let validator = Validator::compile(&schema).unwrap();
            assert!(validator.accepts(&json!({"id": 1})), "{draft}");
            assert!(!validator.accepts(&json!({})), "{draft}");
        }
    }

    #[test]
    fn a_violation_names_both_places() {
        let schema =
            json!({"properties": {"total": {"type": "string"}, "at": {"format": "date-time"}}});
        let validator = Validator::compile(&schema).unwrap();
        let violations = validator.violations(&json!({"total": 19.9, "at": "yesterday"}));
        assert_eq!(violations.len(), 2);
        assert_eq!(
            (violations[0].at.as_str(), violations[0].schema.as_str()),
            ("/total", "/properties/total/type")
        );
        assert!(violations[1].message.contains("date-time"));
    }

    #[test]
    fn the_nearest_alternative_is_explained() {
        let schema = json!({"oneOf": [
            {"properties": {"a": {"const": 1}, "b": {"const": 1}, "c": {"const": 1}}},
            {"properties": {"c": {"type": "string"}}},
        ]});
        let violations =
            Validator::compile(&schema).unwrap().violations(&json!({"a": 2, "b": 2, "c": 2}));
        assert_eq!(violations.last().map(|v| v.at.as_str()), Some("/c"));
    }

    #[test]
    fn a_remote_reference_is_refused() {
        let error =
            Validator::compile(&json!({"$ref": "https://example.com/schema.json"})).unwrap_err();
        assert!(error.message.contains("example.com"), "{error}");
        let error = Validator::compile(&json!({"$ref": "file:///etc/passwd"})).unwrap_err();
        assert!(error.message.contains("etc/passwd"), "{error}");
    }

    #[test]
    fn circles_of_references_are_refused_but_recursion_into_the_instance_is_not() {
        for circle in [
            json!({"$ref": "#"}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        ] {
            let error = Validator::compile(&circle).unwrap_err();
            assert!(error.message.contains("circle"), "{circle} {error}");
        }
        let tree =
            json!({"properties": {"children": {"items": {"$ref": "#"}}, "n": {"type": "integer"}}});
        let validator = Validator::compile(&tree).unwrap();
        assert!(!validator.accepts(&json!({"children": [{"children": [{"n": "x"}]}]})));
    }

    #[test]
    fn references_that_double_are_refused() {
        let chain = |levels: usize| {
            let link = |i| json!({"$ref": format!("#/$defs/d{i}")});
            let definition = |i| (format!("d{i}"), json!({"allOf": [link(i + 1), link(i + 1)]}));
            let mut definitions: serde_json::Map<_, _> = (0..levels).map(definition).collect();
            definitions.insert(format!("d{levels}"), json!({"type": "object"}));
            json!({"$ref": "#/$defs/d0", "$defs": definitions})
        };
        assert!(Validator::compile(&chain(8)).unwrap().accepts(&json!({})));
        let error = Validator::compile(&chain(30)).unwrap_err();
        assert!(error.message.contains("more than 100000"), "{error}");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(Validator::compile(&json!([])).is_err());
        assert!(Validator::compile(&json!({"type": "strnig"})).is_err());
        assert!(Validator::compile(&json!({"pattern": "("})).is_err());
    }

    #[test]
    fn violations_are_bounded_in_number_and_length() {
        let validator = Validator::compile(&json!({"items": {"type": "integer"}})).unwrap();
        let long = "x".repeat(10_000);
        let violations = validator.violations(&json!(vec![long; 100]));
        assert_eq!(violations.len(), Validator::MAX_VIOLATIONS);
        assert!(violations.iter().all(|v| v.message.len() <= MESSAGE_BYTES + '…'.len_utf8()));
    }

    #[test]
    fn the_places_of_violations_are_bounded_and_what_all_of_them_come_to() {
        let strings = json!({"type": "string"});
        let schema = json!({"additionalProperties": {"additionalProperties": strings}});
        let validator = Validator::compile(&schema).unwrap();
        let payload = |length: usize, count: usize| {
            let members = (0..count).map(|n| (format!("m{n}"), json!(1)));
            json!({"é".repeat(length): Value::Object(members.collect())})
        };
        let found = validator.violations(&payload(300_000, 25));
        assert!(!found.is_empty());
        for violation in &found {
            assert!(violation.at.starts_with("/éé") && violation.at.ends_with("é…"));
            assert!(violation.at.len() <= PLACE_BYTES + '…'.len_utf8());
        }
        assert!(serde_json::to_string(&found).unwrap().len() < 2 * VIOLATIONS_BYTES);
        assert_eq!(validator.violations(&payload(10, 25)).len(), Validator::MAX_VIOLATIONS);
        // A schema may have long names, too.
        let schema = json!({"properties": {"x".repeat(100_000): strings}});
        let found =
            Validator::compile(&schema).unwrap().violations(&json!({"x".repeat(100_000): 1}));
        assert!(found[0].schema.len() < 600 && found[0].at.len() < 600);
        // Places are collected before they are cut: twelve gigabytes of them are not.
        let found = validator.violations(&payload(250_000, 25_000));
        assert!(found[0].message.contains("too many values"), "{found:?}");
    }

    #[test]
    fn a_pattern_that_backtracks_for_ever_ends() {
        let validator = Validator::compile(&json!({"pattern": "^(a+)+(?=b)$"})).unwrap();
        assert!(!validator.accepts(&json!("a".repeat(40))));
    }

    #[test]
    fn a_stored_schema_that_cannot_be_used_accepts_nothing_and_stops_nobody() {
        let stored = Validator::compile_stored(&json!({"not": {"$ref": "#"}}), &"tick").unwrap();
        assert!(!stored.accepts(&json!(1)) && !stored.violations(&json!(1)).is_empty());
        assert!(Validator::compile_stored(&json!({}), &"tick").unwrap().accepts(&json!(1)));
    }

    /// A chain of definitions that each name the next one twice.
    fn doubling(
        levels: usize,
        link: impl Fn(&str) -> Value,
        mark: impl Fn(&str) -> Value,
    ) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let mut definition = link(&format!("d{}", level + 1));
            if let (Some(members), Some(more)) =
                (definition.as_object_mut(), mark(&format!("d{level}")).as_object())
            {
                members.extend(more.clone());
            }
            definitions.insert(format!("d{level}"), definition);
        }
        let last = format!("d{levels}");
        definitions.insert(last.clone(), mark(&last));
        json!({"$defs": definitions, "allOf": [link("d0")]})
    }

    #[test]
    fn doubling_is_counted_whatever_keyword_and_reference_it_goes_through() {
        let pointer = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
        let escaped = |name: &str| json!({"$ref": format!("#/%24defs/{name}")});
        let anchor = |name: &str| json!({"$ref": format!("#{name}")});
        let dynamic = |name: &str| json!({"$dynamicRef": format!("#{name}")});
        let id = |name: &str| json!({"$ref": format!("{name}.json")});
        let none = |_: &str| json!({});
        let all = [
            doubling(20, |name| json!({"if": pointer(name), "then": pointer(name)}), none),
            doubling(20, |name| json!({"not": pointer(name), "if": pointer(name)}), none),
            doubling(
                20,
                |name| json!({"dependentSchemas": {"a": pointer(name), "b": pointer(name)}}),
                none,
            ),
            doubling(20, |name| json!({"allOf": [escaped(name), escaped(name)]}), none),
            doubling(
                20,
                |name| json!({"allOf": [anchor(name), anchor(name)]}),
                |name| json!({"$anchor": name}),
            ),
            doubling(
                20,
                |name| json!({"allOf": [dynamic(name), dynamic(name)]}),
                |name| json!({"$dynamicAnchor": name}),
            ),
            doubling(
                20,
                |name| json!({"allOf": [id(name), id(name)]}),
                |name| json!({"$id": format!("{name}.json")}),
            ),
        ];
        for (number, schema) in all.iter().enumerate() {
            let refused = Validator::compile(schema).map(drop);
            assert!(refused.is_err_and(|e| e.message.contains("more than 100000")), "{number}");
        }
        let circle = json!({"not": {"$ref": "#"}});
        assert!(Validator::compile(&circle).unwrap_err().message.contains("in a circle"));
        let ids: Vec<_> = (0..200).map(|n| json!({"$id": format!("{n}.json")})).collect();
        let error = Validator::compile(&json!({"$defs": {"a": {"allOf": ids}}})).unwrap_err();
        assert!(error.message.contains("`$id`"), "{error}");
    }

    #[test]
    fn where_millions_of_errors_would_be_collected_none_is() {
        let alternatives: Vec<_> = (1..=90).map(|n| json!({"const": n})).collect();
        let validator = Validator::compile(&json!({"items": {"anyOf": alternatives}})).unwrap();
        let found = validator.violations(&json!(vec![0; 300_000]));
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("too many values"), "{found:?}");
        assert_eq!(validator.violations(&json!(vec![1; 300_000])), []);
        let names: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
        let validator = Validator::compile(&json!({"items": {"required": names}})).unwrap();
        assert_eq!(validator.violations(&json!(vec![json!({}); 100])).len(), 1);
    }
}
