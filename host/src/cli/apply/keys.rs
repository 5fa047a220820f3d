//! Keys in a file. One cannot be changed: one that should be another is replaced, and those
//! that a run which was cut off left beside it go.

use serde_json::{Map, Value};

use super::{
    build::Builder,
    compare::{Difference, compared},
    document::Item,
    kind::Kind,
    plan::{Action, What},
    run,
};
use crate::{cli::output::Failure, clock::Clock, model::time};

/// Plans one key.
pub(super) async fn plan(builder: &mut Builder<'_>, item: &Item) -> Result<(), Failure> {
    let document = builder.document;
    if let Some(end) = item.text("expires_at").filter(|end| has_passed(end)) {
        let what = format!("`expires_at` of a key {}, {end}, has passed", item.name());
        return Err(document
            .wrong(item.line("expires_at"), &what, None)
            .hint("take the key out of the file, or give it another end"));
    }
    let application = builder.application_of(item).to_owned();
    let mut body = builder.whole(item)?;
    body.insert("application".into(), application.clone().into());
    let file = document.beside(item.text("secret_file").unwrap_or_default());
    // A key was made, perhaps, and its secret is lost: the run ended before it was in its file.
    let is_lost = run::beside(&file).exists();
    let make = What::MakeKey { body: body.clone().into(), file };
    // Newest first, as they are listed.
    let all = builder.list(Kind::Key, &application).await?.iter();
    let of_name = all.filter(|shown| shown["name"] == item.name() && is_usable(shown));
    let mut of_name = of_name.cloned().collect::<Vec<_>>().into_iter();
    let Some(newest) = of_name.next() else {
        builder.push(item, Action::Create, Vec::new(), vec![make]);
        return Ok(());
    };
    let mut found = ["scopes", "expires_at"].map(|field| differing(&body, &newest, field)).concat();
    if found.is_empty() && is_lost {
        let new = "(made again: a run was cut off)".into();
        found.push(Difference { at: "secret_file".into(), old: Value::Null, new });
    }
    let mut calls = Vec::new();
    if !found.is_empty() {
        calls.extend([make, revoked(&newest)]);
    }
    for older in of_name.filter(|older| is_left_over(&body, older)) {
        let at = older["id"].as_str().unwrap_or_default().to_owned();
        found.push(Difference { at, old: older["scopes"].clone(), new: Value::Null });
        calls.push(revoked(&older));
    }
    if !calls.is_empty() {
        builder.push(item, Action::Change, found, calls);
    }
    Ok(())
}

/// Where a key is not as declared in a field; what is not declared may be anything.
fn differing(body: &Map<String, Value>, shown: &Value, field: &str) -> Vec<Difference> {
    body.get(field).map(|declared| compared(field, shown, declared)).unwrap_or_default()
}

fn revoked(shown: &Value) -> What {
    let path = vec!["keys".into(), shown["id"].as_str().unwrap_or_default().into()];
    What::Delete { path, shared: false }
}

/// Whether an older key of a declared name lets in more than is declared. One of the same scopes
/// that ends in time may have been rotated, and then has its grace.
fn is_left_over(body: &Map<String, Value>, older: &Value) -> bool {
    let end = |value: &Value| value.as_str().and_then(|end| time::rfc3339(end).ok());
    let outlives = match body.get("expires_at").and_then(end) {
        Some(declared) => end(&older["expires_at"]).is_none_or(|end| end > declared),
        None => false,
    };
    outlives || !differing(body, older, "scopes").is_empty()
}

/// Whether a listed key is let in: one that is revoked or has expired is no key any more.
pub(super) fn is_usable(shown: &Value) -> bool {
    shown["revoked_at"].is_null() && !shown["expires_at"].as_str().is_some_and(has_passed)
}

/// Whether a time is over; one that cannot be read is for the server to refuse.
fn has_passed(time: &str) -> bool {
    time::rfc3339(time).is_ok_and(|end| end <= Clock::system().now())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_is_over_is_none() {
        let shown = |revoked: Value, end: Value| json!({"revoked_at": revoked, "expires_at": end});
        let (past, future) = (json!("2020-01-01T00:00:00Z"), json!("9000-01-01T00:00:00Z"));
        assert!(is_usable(&shown(Value::Null, Value::Null)));
        assert!(is_usable(&shown(Value::Null, future.clone())));
        assert!(!is_usable(&shown(Value::Null, past.clone())));
        assert!(!is_usable(&shown(past, future)));
        assert!(!has_passed("tomorrow"));
    }

    #[test]
    fn an_older_key_stays_only_while_it_lets_in_no_more() {
        let body = |end: Value| {
            let fields = json!({"scopes": ["publish"], "expires_at": end});
            fields.as_object().cloned().unwrap()
        };
        let older = |scopes: Value, end: Value| json!({"scopes": scopes, "expires_at": end});
        let (soon, later) = (json!("9000-01-01T00:00:00Z"), json!("9000-01-02T00:00:00Z"));
        for (end, shown, is_left) in [
            (Value::Null, older(json!(["publish"]), Value::Null), false),
            // In its grace.
            (Value::Null, older(json!(["publish"]), soon.clone()), false),
            (later.clone(), older(json!(["publish"]), soon.clone()), false),
            (soon.clone(), older(json!(["publish"]), soon.clone()), false),
            (soon.clone(), older(json!(["publish"]), later), true),
            (soon.clone(), older(json!(["publish"]), Value::Null), true),
            (Value::Null, older(json!(["publish", "read"]), Value::Null), true),
            (Value::Null, older(json!(["publish", "read"]), soon), true),
        ] {
            assert_eq!(is_left_over(&body(end), &shown), is_left, "{shown}");
        }
    }
}
