//! Compiles JSON Schemas once and runs them over payloads and configs.
//!
//! Owns drafts (4, 6, 7, 2019-09, 2020-12), formats, bounds on patterns and size, and what a
//! violation looks like. Never fetches anything: a remote `$ref` is an error.

use std::collections::HashMap;

use jsonschema::{PatternOptions, ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use crate::model::Violation;

/// A compiled schema.
#[derive(Debug)]
pub struct Validator(jsonschema::Validator);

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
/// Bytes a compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;
/// Longest message of a violation, in bytes: some quote the value.
const MESSAGE_BYTES: usize = 300;

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

    /// Compiles `schema`. Without a `$schema` it is taken for draft 2020-12.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err(SchemaError {
                at: String::new(),
                message: "a JSON Schema is an object, true or false".into(),
            });
        }
        check_references(schema)?;
        jsonschema::options()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .with_pattern_options(
                PatternOptions::fancy_regex()
                    .backtrack_limit(BACKTRACKS)
                    .size_limit(PATTERN_BYTES)
                    .dfa_size_limit(PATTERN_BYTES),
            )
            .offline()
            .build(schema)
            .map(Self)
            .map_err(|error| SchemaError {
                at: error.instance_path().to_string(),
                message: bounded(error.to_string()),
            })
    }

    /// Whether `instance` satisfies the schema: quicker than asking for violations.
    pub fn accepts(&self, instance: &Value) -> bool {
        self.0.is_valid(instance)
    }

    /// Where `instance` does not satisfy the schema, at most [`Self::MAX_VIOLATIONS`] of them.
    pub fn violations(&self, instance: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        for error in self.0.iter_errors(instance).take(Self::MAX_VIOLATIONS) {
            report(&error, &mut found);
        }
        found.truncate(Self::MAX_VIOLATIONS);
        found
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
        at: error.instance_path().to_string(),
        schema: error.schema_path().to_string(),
        message: bounded(message),
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

fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

/// Refuses references that lead in a circle without ever entering the instance: following
/// them would never end.
fn check_references(schema: &Value) -> Result<(), SchemaError> {
    let size = schema.to_string().len();
    if size > Validator::MAX_SCHEMA_BYTES {
        return Err(SchemaError {
            at: String::new(),
            message: format!(
                "the schema has {size} bytes; {} are allowed",
                Validator::MAX_SCHEMA_BYTES
            ),
        });
    }
    References { root: schema, path: Vec::new(), cleared: HashMap::new() }.walk(schema, "")
}

/// A walk along the references of a schema.
struct References<'a> {
    root: &'a Value,
    /// What was come through to get here, all of it applying to one instance.
    path: Vec<*const Value>,
    /// What is known to lead in no circle, and how many schemas it applies to one value.
    cleared: HashMap<*const Value, u64>,
}

impl<'a> References<'a> {
    fn walk(&mut self, node: &'a Value, at: &str) -> Result<(), SchemaError> {
        match node {
            Value::Object(members) => {
                self.follow(node, at)?;
                members.iter().try_for_each(|(key, child)| {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.walk(child, &format!("{at}/{key}"))
                })
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(i, child)| self.walk(child, &format!("{at}/{i}"))),
            _ => Ok(()),
        }
    }

    /// Goes where `node` refers to, through everything that applies to the same instance, and
    /// counts it.
    fn follow(&mut self, node: &'a Value, at: &str) -> Result<u64, SchemaError> {
        let Value::Object(members) = node else { return Ok(1) };
        let here = std::ptr::from_ref(node);
        if let Some(&applied) = self.cleared.get(&here) {
            return Ok(applied);
        }
        if self.path.contains(&here) || self.path.len() >= Validator::MAX_REF_CHAIN {
            return Err(SchemaError {
                at: at.to_owned(),
                message:
                    "the references lead in a circle, or through more than 64 others, without \
                          entering the payload; put `properties` or `items` between them"
                        .into(),
            });
        }
        self.path.push(here);
        let mut applied: u64 = 1;
        if let Some(Value::String(target)) = members.get("$ref")
            && let Some(pointer) = target.strip_prefix('#')
            && let Some(next) = self.root.pointer(pointer)
        {
            applied = applied.saturating_add(self.follow(next, at)?);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = members.get(keyword) {
                for branch in branches {
                    applied = applied.saturating_add(self.follow(branch, at)?);
                }
            }
        }
        if applied > Validator::MAX_APPLIED {
            return Err(SchemaError {
                at: at.to_owned(),
                message: format!(
                    "the references here apply more than {} schemas to one value; name each \
                     definition once",
                    Validator::MAX_APPLIED
                ),
            });
        }
        self.path.pop();
        self.cleared.insert(here, applied);
        Ok(applied)
    }
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
    fn a_pattern_that_backtracks_for_ever_ends() {
        let validator = Validator::compile(&json!({"pattern": "^(a+)+(?=b)$"})).unwrap();
        assert!(!validator.accepts(&json!("a".repeat(40))));
    }
}
