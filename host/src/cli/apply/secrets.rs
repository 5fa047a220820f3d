//! Secrets are not in the file: it says where they are, `{env: NAME}` or `{file: PATH}`.
//!
//! Owns which fields are secret, and how one is looked up. Never shows one: what is given in a
//! place where a secret could be meant is refused, and not repeated.

use serde_json::{Map, Value, json};

use super::{
    document::{Document, Item},
    made_up,
};
use crate::cli::{input, output::Failure};

/// The paths of a subscription's or source's secrets; `*` is any name or place.
const SECRET: [&[&str]; 7] = [
    &["secret"],
    &["header_secrets", "*"],
    &["auth", "bearer", "token"],
    &["auth", "basic", "password"],
    &["auth", "oauth2", "client_secret"],
    &["auth", "mtls", "private_key"],
    &["policy", "signing", "*", "secret"],
];

/// Below these paths every value is a secret, but for those of these names.
const AROUND: [(&[&str], &[&str]); 3] = [
    (&["header_secrets"], &[]),
    (
        &["auth"],
        &[
            "username",
            "token_url",
            "client_id",
            "scopes",
            "audience",
            "token_endpoint_auth_method",
            "certificate",
        ],
    ),
    (
        &["policy", "signing"],
        &[
            "scheme",
            "name",
            "header",
            "header_prefix",
            "algorithm",
            "encoding",
            "prefix",
            "content",
            "timestamp_header",
            "id_header",
            "key",
        ],
    ),
];

/// How the secrets of an item are to be looked up.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// A plan that is only shown needs none: this stands for each.
    Away,
    /// In the environment, in files.
    Up,
}

/// What stands for a secret where it is not looked up; never sent.
const AWAY: &str = "(secret)";

/// Refuses an item that has a value where a secret could be meant.
pub(super) fn check(document: &Document, item: &Item) -> Result<(), Failure> {
    for (place, plain) in AROUND {
        let Some((field, below)) = place.split_first() else { continue };
        let Some(value) = item.fields.get(*field) else { continue };
        let value = below.iter().try_fold(value, |value, name| value.get(name));
        let mut at: Vec<&str> = place.to_vec();
        if let Some(stray) = value.and_then(|value| stray(value, &mut at, plain)) {
            let what = format!(
                "`{stray}` of {} {} may be a secret in the wrong place, and is not read: \
                 {{env: NAME}} or {{file: PATH}} go where docs/declarative.md says",
                item.kind.noun(),
                item.name()
            );
            return Err(document.wrong(item.line(field), &what, None));
        }
    }
    Ok(())
}

/// The path of the first value below `at` that is neither plain nor where a secret belongs.
fn stray<'a>(value: &'a Value, at: &mut Vec<&'a str>, plain: &[&str]) -> Option<String> {
    let is_secrets = |path: &&&[&str]| {
        path.len() == at.len()
            && path.iter().zip(&*at).all(|(part, name)| ["*", *name].contains(part))
    };
    if SECRET.iter().any(|path| is_secrets(&path)) {
        // How one is told is looked at when it is looked up, null aside.
        return value.is_null().then(|| at.join("."));
    }
    let mut below = |name: &'a str, value: &'a Value| {
        at.push(name);
        let found = stray(value, at, plain);
        at.pop();
        found
    };
    match value {
        Value::Null => None,
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !plain.contains(&name.as_str()))
            .find_map(|(name, value)| below(name, value)),
        Value::Array(items) => items.iter().find_map(|value| below("*", value)),
        _ => Some(at.join(".")),
    }
}

/// A field of an item with its secrets in it.
pub(super) fn resolved(
    document: &Document,
    item: &Item,
    field: &str,
    look: Look,
) -> Result<Value, Failure> {
    let mut value = item.fields.get(field).cloned().unwrap_or_default();
    for path in SECRET.iter().filter(|path| path[0] == field) {
        each(&mut value, &path[1..], &mut |secret| {
            let found = find(document, secret, look).map_err(|what| {
                let what =
                    format!("`{}` of {} {}", path.join("."), item.kind.noun(), item.name()) + &what;
                document.wrong(item.line(field), &what, None)
            })?;
            *secret = found.into();
            Ok(())
        })?;
    }
    Ok(value)
}

/// Whether a field has a secret in it.
pub(super) fn has_any(item: &Item, field: &str) -> bool {
    let mut value = item.fields.get(field).cloned().unwrap_or_default();
    let mut found = false;
    for path in SECRET.iter().filter(|path| path[0] == field) {
        let seen: Result<(), ()> = each(&mut value, &path[1..], &mut |_| {
            found = true;
            Ok(())
        });
        debug_assert!(seen.is_ok(), "counting cannot fail");
    }
    found
}

/// Calls `what` with everything at a path.
fn each<E>(
    value: &mut Value,
    path: &[&str],
    what: &mut impl FnMut(&mut Value) -> Result<(), E>,
) -> Result<(), E> {
    let Some((first, rest)) = path.split_first() else {
        return if value.is_null() { Ok(()) } else { what(value) };
    };
    match (value, *first) {
        (Value::Object(fields), "*") => {
            fields.values_mut().try_for_each(|value| each(value, rest, what))
        }
        (Value::Array(items), "*") => {
            items.iter_mut().try_for_each(|value| each(value, rest, what))
        }
        (Value::Object(fields), name) => match fields.get_mut(name) {
            Some(value) => each(value, rest, what),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "which variable it is, only the file says")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Looks one up; else what is wrong, never with what was given.
fn find(document: &Document, given: &Value, look: Look) -> Result<String, String> {
    let place = given.as_object().filter(|fields| fields.len() == 1).and_then(|fields| {
        let (from, name) = fields.iter().next()?;
        Some((from.as_str(), name.as_str()?))
    });
    match (place, look) {
        (Some(("env" | "file", _)), Look::Away) => Ok(AWAY.to_owned()),
        (Some(("env", name)), Look::Up) => variable(name)
            .ok_or_else(|| format!(" is in the environment's {name}, which is not set")),
        (Some(("file", path)), Look::Up) => {
            let path = document.beside(path);
            input::secret(&format!("@{}", path.display()))
                .map_err(|failure| format!(": {}", failure.title()))
        }
        _ => {
            Err(" is secret and must not be in the file: write {env: NAME} or {file: PATH}".into())
        }
    }
}

/// Puts into an exported subscription where its secrets could be: variables named after it.
pub(super) fn placeholders(application: &str, name: &str, fields: &mut Map<String, Value>) {
    let variable = |place: &str, part: &str| json!({ "env": made_up::variable(&[application, name, place, part]) });
    if let Some(Value::Array(names)) = fields.get("header_secrets") {
        let names: Map<_, _> = names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| (name.to_owned(), variable("header", name)))
            .collect();
        fields.insert("header_secrets".into(), names.into());
    }
    let ways = [
        ("bearer", "token"),
        ("basic", "password"),
        ("oauth2", "client_secret"),
        ("mtls", "private_key"),
    ];
    if let Some(Value::Object(auth)) = fields.get_mut("auth") {
        for (way, secret) in ways {
            if let Some(Value::Object(way)) = auth.get_mut(way) {
                way.insert(secret.into(), variable("auth", &secret.replace('_', "-")));
            }
        }
    }
    let schemes = fields.get_mut("policy").and_then(|policy| policy.get_mut("signing"));
    for scheme in schemes.and_then(Value::as_array_mut).into_iter().flatten() {
        let word = scheme["scheme"].as_str().unwrap_or_default().to_owned();
        // Standard Webhooks' keys are the server's to make.
        if !word.starts_with("standard")
            && let Value::Object(scheme) = scheme
        {
            let part = scheme.get("name").and_then(Value::as_str).unwrap_or(&word);
            let secret = variable("signing", part);
            scheme.insert("secret".into(), secret);
        }
    }
}

/// Where the secret of an exported source could be.
pub(super) fn of_source(application: &str, name: &str) -> Value {
    json!({ "env": made_up::variable(&[application, name, "source"]) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn replaced(field: &str, mut value: Value) -> Value {
        for path in SECRET.iter().filter(|path| path[0] == field) {
            let all: Result<(), ()> = each(&mut value, &path[1..], &mut |secret| {
                *secret = "x".into();
                Ok(())
            });
            all.unwrap();
        }
        value
    }

    #[test]
    fn secrets_are_where_the_api_takes_them_and_nowhere_else() {
        let auth = json!({"oauth2": {"client_id": "shop", "client_secret": {"env": "A"}}});
        assert_eq!(
            replaced("auth", auth)["oauth2"],
            json!({"client_id": "shop", "client_secret": "x"})
        );
        let policy = json!({"signing": [{"scheme": "github", "secret": {"env": "A"}}, {"scheme": "standard"}]});
        let signing = json!([{"scheme": "github", "secret": "x"}, {"scheme": "standard"}]);
        assert_eq!(replaced("policy", policy)["signing"], signing);
        let pipeline = json!([{"plugin": "files", "config": {"file": "a"}}]);
        assert_eq!(replaced("pipeline", pipeline.clone()), pipeline);
    }

    #[test]
    fn an_export_names_variables() {
        let mut fields = json!({"header_secrets": ["x-key"], "auth": {"basic": {"username": "shop"}},
            "policy": {"signing": [{"scheme": "standard"}, {"scheme": "stripe"}]}});
        let fields = fields.as_object_mut().unwrap();
        placeholders("shop", "ware-house", fields);
        let variable = |part: &str| json!({"env": format!("SHOP__WARE_HOUSE__{part}")});
        assert_eq!(fields["header_secrets"], json!({"x-key": variable("HEADER__X_KEY")}));
        assert_eq!(fields["auth"]["basic"]["password"], variable("AUTH__PASSWORD"));
        let stripe = json!({"scheme": "stripe", "secret": variable("SIGNING__STRIPE")});
        assert_eq!(fields["policy"]["signing"], json!([{"scheme": "standard"}, stripe]));
        assert_eq!(of_source("shop", "ware-house"), variable("SOURCE"));
    }

    #[test]
    fn a_value_where_a_secret_could_be_meant_is_refused_and_not_repeated() {
        let of = |fields: &str| {
            let text = format!("version: 1\nsubscriptions:\n- name: a\n  {fields}\n");
            let document = Document::parse(Path::new("h.yaml"), "default", &text).unwrap();
            check(&document, &document.items[0]).map_err(|failure| failure.text())
        };
        for (wrong, at) in [
            ("auth: hunter2", "auth"),
            ("auth: [hunter2]", "auth.*"),
            ("auth: {bearer: hunter2}", "auth.bearer"),
            ("auth: {bearer: {tokn: hunter2}}", "auth.bearer.tokn"),
            ("auth: {bearer: {token: null}}", "auth.bearer.token"),
            ("header_secrets: hunter2", "header_secrets"),
            ("header_secrets: {a: null}", "header_secrets.a"),
            ("policy: {signing: hunter2}", "policy.signing"),
            ("policy: {signing: {scheme: github, secret: hunter2}}", "policy.signing.secret"),
            (
                "policy: {signing: [{scheme: github, key: text, secert: hunter2}]}",
                "policy.signing.*.secert",
            ),
        ] {
            let said = of(wrong).unwrap_err();
            assert!(said.contains(&format!("line 4: `{at}` of")), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        for right in [
            "auth: null",
            "auth: {oauth2: {token_url: a, client_id: b, scopes: [c], client_secret: {env: A}}}",
            "header_secrets: {a: {file: b}}",
            "policy: {concurrency: 4, signing: [{scheme: hmac, header: x, secret: {env: A}}]}",
            "policy: hunter2",
        ] {
            of(right).unwrap();
        }
    }
}
