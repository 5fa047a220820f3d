//! What differs between what is declared and what is there.
//!
//! Owns the canonical form of a declared value: as the server would show it, without secrets.
//! Only fields that the file names are compared. What cannot be read is never shown: a secret
//! may be in the wrong place in it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use url::Url;

use super::digits::{self, Exact};
use crate::{
    cli::output::printable,
    model::{EndpointAuth, HmacRule, IdRule, Limits, Policy, Scopes, Step, TypeRule, time},
};

/// Longest value shown.
const MAX_SHOWN: usize = 120;
/// What is shown for a declared value that is not of its field's form.
const UNREADABLE: &str = "(not as this hookmill knows it)";

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
        format!("{}  {} -> {}", printable(&self.at), short(&self.old), short(&self.new))
    }
}

fn short(value: &Value) -> String {
    let text =
        if value.is_null() { "(none)".to_owned() } else { printable(&Exact(value).to_string()) };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}

/// Where a declared field differs from what is there. What this hookmill cannot read differs
/// from all but the same: the server says what is wrong with it.
pub(super) fn compared(field: &str, shown: &Value, declared: &Value) -> Vec<Difference> {
    let was = as_declared(field, shown);
    match canonical(field, declared) {
        Some(canonical) => differences(field, &was, &canonical),
        None if is_same(&was, declared) => Vec::new(),
        None => vec![Difference { at: field.into(), old: was, new: UNREADABLE.into() }],
    }
}

/// What is there of a field, by the name that declares it.
pub(super) fn as_declared(field: &str, shown: &Value) -> Value {
    match field {
        // It shows since when.
        "deprecated" => json!(!shown["deprecated_at"].is_null()),
        "archived" => json!(!shown["archived_at"].is_null()),
        // A server may show more of a time than it keeps.
        "sunset_at" | "expires_at" => canonical(field, &shown[field]).unwrap_or_default(),
        _ => shown[field].clone(),
    }
}

/// A declared value as the server would show it; none if it is not of the field's form.
pub(super) fn canonical(field: &str, declared: &Value) -> Option<Value> {
    if declared.is_null() {
        return Some(Value::Null);
    }
    match field {
        "endpoint" => through::<Url>(declared),
        "policy" => through::<Policy>(declared),
        "limits" => through::<Limits>(declared),
        "auth" => through::<EndpointAuth>(declared),
        "pipeline" => through::<Vec<Step>>(declared),
        "event_type" => through::<TypeRule>(declared),
        "delivery_id" => through::<IdRule>(declared),
        "hmac" => through::<HmacRule>(declared),
        "scopes" => through::<Scopes>(declared),
        "sunset_at" | "expires_at" => {
            // Servers keep whole milliseconds.
            let at = time::rfc3339(declared.as_str()?).ok()?;
            serde_json::to_value(time::kept(at)).ok()
        }
        "content_types" => {
            let mut all = Vec::new();
            for range in Vec::<String>::deserialize(declared).ok()? {
                let range = range.trim().to_ascii_lowercase();
                if !all.contains(&range) {
                    all.push(range);
                }
            }
            Some(json!(all))
        }
        "header_secrets" => {
            let mut names: Vec<&String> = declared.as_object()?.keys().collect();
            names.sort_unstable();
            Some(json!(names))
        }
        _ => Some(declared.clone()),
    }
}

fn through<T: Serialize + DeserializeOwned>(declared: &Value) -> Option<Value> {
    serde_json::to_value(T::deserialize(declared).ok()?).ok()
}

/// Whether two values mean the same: `10` is `10.0`.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    if let (Some(one), Some(other)) = (digits::decimal(one), digits::decimal(other)) {
        return one == other;
    }
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|other| is_same(value, other))
            };
            one.len() == other.len() && one.iter().all(is_in)
        }
        (one, other) => one == other,
    }
}

/// Where two values differ: objects field by field, all else as a whole. So are objects of which
/// one has a null where the other has nothing: field by field, both would be none.
pub(super) fn differences(at: &str, old: &Value, new: &Value) -> Vec<Difference> {
    match (old, new) {
        (old, new) if is_same(old, new) => Vec::new(),
        (Value::Object(before), Value::Object(after))
            if !has_null_beyond(before, after)
                && !has_null_beyond(after, before)
                && [old, new].iter().all(|value| digits::written(value).is_none()) =>
        {
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            let names = after.keys().chain(gone);
            names
                .flat_map(|name| differences(&format!("{at}.{name}"), &old[name], &new[name]))
                .collect()
        }
        (old, new) => vec![Difference { at: at.into(), old: old.clone(), new: new.clone() }],
    }
}

/// Whether an object has a null of a name that another does not have.
fn has_null_beyond(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.iter().any(|(name, value)| value.is_null() && !other.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_as(field: &str, declared: &Value, shown: &Value) {
        assert_eq!(canonical(field, declared).as_ref(), Some(shown), "{field}");
    }

    #[test]
    fn what_the_server_would_add_is_no_difference() {
        let steps = json!([{"plugin": "redact", "config": {}, "on_error": "retry"}]);
        is_as("pipeline", &json!([{"plugin": "redact"}]), &steps);
        is_as("endpoint", &json!("https://A.example"), &json!("https://a.example/"));
        let policy = json!({"ordering": "none", "timeout_seconds": 5, "retry": null});
        is_as("policy", &policy, &json!({"timeout_seconds": 5.0}));
        let limits = json!({"events": {"per_second": 5}, "requests": null});
        is_as("limits", &limits, &json!({"events": {"per_second": 5.0}}));
        is_as("scopes", &json!(["publish", "read", "read"]), &json!(["read", "publish"]));
        let types = json!(["Application/JSON", "text/*", "application/json"]);
        is_as("content_types", &types, &json!(["application/json", "text/*"]));
        is_as("event_type", &json!({"fixed": "a", "pointers": []}), &json!({"fixed": "a"}));
        let hmac = canonical("hmac", &json!({"header": "x-signature"})).unwrap();
        assert_eq!(hmac["content"], "{body}");
        is_as("filter", &Value::Null, &Value::Null);
        let since = json!({"deprecated_at": "2026-11-02T03:00:00Z", "archived_at": null});
        assert_eq!(compared("deprecated", &since, &json!(true)), []);
        assert_eq!(compared("archived", &since, &json!(false)), []);
        assert_eq!(compared("archived", &since, &json!(true)).len(), 1);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let shown = json!({"schema": {"maximum": 10.0, "enum": [1, 2]}});
        assert_eq!(compared("schema", &shown, &json!({"maximum": 10, "enum": [1.0, 2]})), []);
        assert_eq!(compared("schema", &shown, &json!({"maximum": 10, "enum": [1, 3]})).len(), 1);
        assert!(!is_same(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_u64)));
        assert!(!is_same(&json!({"a": 1}), &json!({"b": 1})));
    }

    #[test]
    fn secrets_are_not_compared() {
        is_as("auth", &json!({"bearer": {"token": "hunter2"}}), &json!({"bearer": {}}));
        is_as("header_secrets", &json!({"b": "x", "a": "y"}), &json!(["a", "b"]));
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        let shown = json!({"policy": {"concurrency": 4}, "auth": null, "hmac": null});
        for (field, declared) in [
            ("policy", json!({"sining": [{"secret": "hunter2"}]})),
            ("policy", json!("hunter2")),
            ("auth", json!({"bearer": {"tokn": "hunter2"}})),
            ("hmac", json!({"header": "a", "secret": "hunter2"})),
        ] {
            let found = compared(field, &shown, &declared);
            assert_eq!(found.len(), 1);
            assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
        }
        // A newer server's own words are no difference.
        let newer = json!({"policy": {"news": 1}});
        assert_eq!(compared("policy", &newer, &json!({"news": 1})), []);
    }

    #[test]
    fn a_difference_is_one_line() {
        let new = json!("a\u{1b}[2K\r\u{202e}\u{9b}");
        let line = Difference { at: "x.\r".into(), old: Value::Null, new }.line();
        assert!(line.chars().all(|c| c == '"' || c.is_ascii_graphic() || c == ' '), "{line:?}");
    }

    #[test]
    fn a_null_is_not_nothing_but_where_it_takes_a_field_away() {
        let narrow = json!({"exact": {"/a": 1, "/b": null}});
        let wide = json!({"exact": {"/a": 1}});
        for (old, new, line) in [
            (&wide, &narrow, r#"filter.exact  {"/a":1} -> {"/a":1,"/b":null}"#),
            (&narrow, &wide, r#"filter.exact  {"/a":1,"/b":null} -> {"/a":1}"#),
        ] {
            let found = compared("filter", &json!({ "filter": old }), new);
            assert_eq!(found.iter().map(Difference::line).collect::<Vec<_>>(), [line]);
        }
        let always_null = json!({"properties": {"a": {"const": null}}});
        let anything = json!({"properties": {"a": {}}});
        assert_eq!(differences("schema", &anything, &always_null).len(), 1);
        assert_eq!(differences("schema", &always_null, &anything).len(), 1);
        assert_eq!(differences("schema", &always_null, &always_null), []);
        assert_eq!(compared("filter", &json!({}), &Value::Null), []);
        assert_eq!(compared("policy", &json!({"policy": {}}), &json!({"retry": null})), []);
    }

    #[test]
    fn times_are_the_same_to_the_millisecond() {
        let shown = |at: &str| json!({"sunset_at": at, "expires_at": at});
        for field in ["sunset_at", "expires_at"] {
            let declared = json!("2030-01-01T01:00:00.123456+01:00");
            assert_eq!(compared(field, &shown("2030-01-01T00:00:00.123Z"), &declared), []);
            assert_eq!(compared(field, &shown("2030-01-01T00:00:00.123456Z"), &declared), []);
            assert_eq!(compared(field, &shown("2030-01-01T00:00:00.124Z"), &declared).len(), 1);
        }
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
