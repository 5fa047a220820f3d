//! Keys in a file. One cannot be changed: one that should be another is replaced.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    build::Builder,
    compare::compared,
    document::Item,
    kind::Kind,
    plan::{Action, What},
};
use crate::{cli::output::Failure, clock::Clock};

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
    let make = What::MakeKey { body: body.clone().into(), file };
    let Some(shown) = builder.find(Kind::Key, &application, item.name()).await? else {
        builder.push(item, Action::Create, Vec::new(), vec![make]);
        return Ok(());
    };
    let mut found = Vec::new();
    for field in ["scopes", "expires_at"] {
        if let Some(declared) = body.get(field) {
            found.extend(compared(field, &shown, declared));
        }
    }
    if !found.is_empty() {
        let path = vec!["keys".into(), shown["id"].as_str().unwrap_or_default().into()];
        let revoke = What::Delete { path, shared: false };
        builder.push(item, Action::Change, found, vec![make, revoke]);
    }
    Ok(())
}

/// Whether a listed key is let in: one that is revoked or has expired is no key any more.
pub(super) fn is_usable(shown: &Value) -> bool {
    shown["revoked_at"].is_null() && !shown["expires_at"].as_str().is_some_and(has_passed)
}

/// Whether a time is over; one that cannot be read is for the server to refuse.
fn has_passed(time: &str) -> bool {
    time.parse::<Timestamp>().is_ok_and(|end| end <= Clock::system().now())
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
}
