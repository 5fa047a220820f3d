//! What differs between what is declared and what is there.
//!
//! Owns the canonical form of a declared value: as the server would show it, without secrets.
//! Only fields that the file names are compared.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use crate::model::{EndpointAuth, Limits, Policy, Step};

/// Longest value shown.
const MAX_SHOWN: usize = 120;

/// One place where they differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    /// For example `policy.retry.schedule`.
    pub(super) at: String,
    /// What is there; null for nothing.
    pub(super) old: Value,
    /// What is declared.
    pub(super) new: Value,
}

impl Difference {
    /// `policy.timeout_seconds  5.0 -> 10.0`
    pub(super) fn line(&self) -> String {
        format!("{}  {} -> {}", self.at, short(&self.old), short(&self.new))
    }
}

fn short(value: &Value) -> String {
    let text = if value.is_null() { "(none)".to_owned() } else { value.to_string() };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}

/// A declared value as the server would show it. What cannot be read is left as it is: the
/// server says what is wrong with it.
pub(super) fn canonical(field: &str, declared: Value) -> Value {
    match field {
        "endpoint" => through::<Url>(declared),
        "policy" => through::<Policy>(declared),
        "limits" => through::<Limits>(declared),
        "auth" => through::<EndpointAuth>(declared),
        "pipeline" => through::<Vec<Step>>(declared),
        "sunset_at" | "expires_at" => through::<Timestamp>(declared),
        "header_secrets" => match declared {
            Value::Object(secrets) => {
                let mut names: Vec<String> = secrets.into_iter().map(|(name, _)| name).collect();
                names.sort_unstable();
                json!(names)
            }
            other => other,
        },
        _ => declared,
    }
}

fn through<T: Serialize + DeserializeOwned>(declared: Value) -> Value {
    let read = T::deserialize(&declared).ok();
    read.and_then(|read| serde_json::to_value(read).ok()).unwrap_or(declared)
}

/// Where two values differ: objects field by field, all else as a whole.
pub(super) fn differences(at: &str, old: &Value, new: &Value) -> Vec<Difference> {
    match (old, new) {
        (old, new) if old == new => Vec::new(),
        (Value::Object(before), Value::Object(after)) => {
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            let names = after.keys().chain(gone);
            names
                .flat_map(|name| differences(&format!("{at}.{name}"), &old[name], &new[name]))
                .collect()
        }
        (old, new) => vec![Difference { at: at.into(), old: old.clone(), new: new.clone() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_would_add_is_no_difference() {
        let steps = canonical("pipeline", json!([{"plugin": "redact"}]));
        assert_eq!(steps, json!([{"plugin": "redact", "config": {}, "on_error": "retry"}]));
        assert_eq!(canonical("endpoint", json!("https://A.example")), "https://a.example/");
        assert_eq!(
            canonical("policy", json!({"ordering": "none", "timeout_seconds": 5})),
            json!({"timeout_seconds": 5.0})
        );
        assert_eq!(canonical("policy", json!({"nonsense": 1})), json!({"nonsense": 1}));
        let limits = json!({"events": {"per_second": 5}, "requests": null});
        assert_eq!(canonical("limits", limits), json!({"events": {"per_second": 5.0}}));
    }

    #[test]
    fn secrets_are_not_compared() {
        let auth = canonical("auth", json!({"bearer": {"token": "hunter2"}}));
        assert_eq!(auth, json!({"bearer": {}}));
        assert_eq!(canonical("header_secrets", json!({"b": "x", "a": "y"})), json!(["a", "b"]));
    }

    #[test]
    fn objects_differ_field_by_field() {
        let old = json!({"a": 1, "b": {"c": [1], "d": 2}});
        let new = json!({"a": 1, "b": {"c": [1, 2]}});
        let lines: Vec<String> =
            differences("policy", &old, &new).iter().map(Difference::line).collect();
        assert_eq!(lines, ["policy.b.c  [1] -> [1,2]", "policy.b.d  2 -> (none)"]);
        assert!(
            Difference { at: "x".into(), old: Value::Null, new: "y".repeat(500).into() }
                .line()
                .len()
                < 200
        );
    }
}
