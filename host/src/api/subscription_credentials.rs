//! What may be in a subscription's credentials, and whether they fit its headers.
//!
//! Looks at the subscription as it will be: a header may name a secret that was given long
//! ago. No message repeats a secret.

use std::collections::BTreeMap;

use super::{
    explain::token,
    problem::FieldError,
    subscription_check::{Checked, Checker},
};
use crate::{
    delivery::ClientCert,
    model::{
        Basic, EndpointAuth, Mtls, Oauth2, SecretText, Subscription, Unclosed, filled,
        is_secret_name, secret_names,
    },
};

const MAX_SECRETS: usize = 32;
/// Longest user name, client id, audience and scope, in bytes.
const MAX_TEXT: usize = 512;
/// Longest secret, in bytes.
const MAX_SECRET: usize = 4096;
const MAX_SCOPES: usize = 50;
/// Longest PEM text, in bytes.
const MAX_PEM: usize = 64 << 10;

/// Changes to header secrets: null removes one.
pub type SecretChanges = BTreeMap<String, Option<SecretText>>;

/// Puts changes into the secrets that are there.
pub fn merge(secrets: &mut BTreeMap<String, SecretText>, changes: SecretChanges) {
    for (name, change) in changes {
        match change {
            Some(text) => secrets.insert(name, text),
            None => secrets.remove(&name),
        };
    }
}

/// Checks what was given together with what stays.
pub fn check(checker: &mut Checker<'_>, checked: &Checked, current: Option<&Subscription>) {
    let changes = checked.header_secrets.as_ref();
    for (name, change) in changes.into_iter().flatten() {
        let at = format!("/header_secrets/{}", token(name));
        if !is_secret_name(name) {
            refuse(checker, at, "is no name of 1 to 64 letters, digits, - and _");
        } else if let Some(text) = change
            && !is_sendable(text.reveal(), MAX_SECRET)
        {
            refuse(checker, at, "is not 1 to 4096 bytes of visible ASCII");
        }
    }
    let none = BTreeMap::new();
    let mut secrets = current.map_or_else(BTreeMap::new, |c| c.credentials.header_secrets.clone());
    merge(&mut secrets, changes.cloned().unwrap_or_default());
    if secrets.len() > MAX_SECRETS {
        let why = format!("would be {} secrets; at most {MAX_SECRETS} are allowed", secrets.len());
        refuse(checker, "/header_secrets", why);
    }
    let headers = checked.headers.as_ref().or(current.map(|c| &c.headers)).unwrap_or(&none);
    if checked.headers.is_some() || changes.is_some() {
        for (name, value) in headers {
            header(checker, name, value, &secrets, changes);
        }
    }
    if let Some(Some(auth)) = &checked.auth {
        self::auth(checker, auth);
    }
    let auth = match &checked.auth {
        Some(auth) => auth.as_ref(),
        None => current.and_then(|c| c.credentials.auth.as_ref()),
    };
    let authorization = headers.keys().find(|name| name.eq_ignore_ascii_case("authorization"));
    if let Some(name) = authorization.filter(|_| auth.is_some_and(|a| a.sets_authorization())) {
        let why = "is set by the subscription's auth: remove one of them";
        refuse(checker, format!("/headers/{}", token(name)), why);
    }
    let endpoint = checked.endpoint.as_ref().or(current.map(|c| &c.endpoint));
    if matches!(auth, Some(EndpointAuth::Mtls(_)))
        && endpoint.is_some_and(|e| e.scheme() != "https")
    {
        refuse(checker, "/auth/mtls", "needs an https: endpoint: there is no TLS without it");
    }
}

fn refuse(checker: &mut Checker<'_>, at: impl Into<String>, why: impl Into<String>) {
    checker.refuse(FieldError::new(at, why));
}

fn header(
    checker: &mut Checker<'_>,
    name: &str,
    value: &str,
    secrets: &BTreeMap<String, SecretText>,
    changes: Option<&SecretChanges>,
) {
    let at = format!("/headers/{}", token(name));
    let names = match secret_names(value) {
        Ok(names) if names.is_empty() => return,
        Ok(names) => names,
        Err(Unclosed(_)) => {
            let why = "has {{secret: with no name and }} after it; write {{secret:NAME}}";
            return refuse(checker, at, why);
        }
    };
    let missing: Vec<_> = names.into_iter().filter(|name| !secrets.contains_key(*name)).collect();
    for secret in &missing {
        if changes.is_some_and(|changes| changes.contains_key(*secret)) {
            let why = format!("is in use by the header {name}: change that, too");
            refuse(checker, format!("/header_secrets/{secret}"), why);
        } else {
            let known: Vec<_> = secrets.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let why = format!("names the secret {secret}; in header_secrets there is {known}");
            refuse(checker, at.clone(), why);
        }
    }
    if missing.is_empty()
        && let Some(text) = filled(value, secrets)
        && let Err(why) = checker.policy.check_header(name, &text)
    {
        refuse(checker, at, format!("with its secrets in it {why}"));
    }
}

fn is_sendable(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether a text can be sent without a space in it.
fn is_word(text: &str, most: usize) -> bool {
    is_sendable(text, most) && !text.contains(' ')
}

fn auth(checker: &mut Checker<'_>, auth: &EndpointAuth) {
    match auth {
        EndpointAuth::Bearer(bearer) => {
            if !is_word(bearer.token.reveal(), MAX_SECRET - "Bearer ".len()) {
                let why = "is not 1 to 4089 bytes of visible ASCII without spaces";
                refuse(checker, "/auth/bearer/token", why);
            }
        }
        EndpointAuth::Basic(basic) => self::basic(checker, basic),
        EndpointAuth::Oauth2(oauth2) => self::oauth2(checker, oauth2),
        EndpointAuth::Mtls(mtls) => self::mtls(checker, mtls),
    }
}

fn basic(checker: &mut Checker<'_>, basic: &Basic) {
    let name = &basic.username;
    if name.len() > MAX_TEXT || name.contains(':') || name.chars().any(char::is_control) {
        let why = "is not at most 512 bytes without a colon and control characters";
        refuse(checker, "/auth/basic/username", why);
    }
    let password = basic.password.reveal();
    if password.len() > 2 * MAX_TEXT || password.chars().any(char::is_control) {
        let why = "is not at most 1024 bytes without control characters";
        refuse(checker, "/auth/basic/password", why);
    }
}

fn oauth2(checker: &mut Checker<'_>, oauth2: &Oauth2) {
    let at = |part: &str| format!("/auth/oauth2/{part}");
    if let Err(why) = checker.policy.check_url(oauth2.token_url.as_str()) {
        refuse(checker, at("token_url"), why);
    }
    if !is_sendable(&oauth2.client_id, MAX_TEXT) {
        refuse(checker, at("client_id"), "is not 1 to 512 bytes of visible ASCII");
    }
    if !is_sendable(oauth2.client_secret.reveal(), MAX_SECRET) {
        refuse(checker, at("client_secret"), "is not 1 to 4096 bytes of visible ASCII");
    }
    if oauth2.scopes.len() > MAX_SCOPES {
        let why = format!("has {} scopes; at most {MAX_SCOPES} are allowed", oauth2.scopes.len());
        refuse(checker, at("scopes"), why);
    }
    for (index, scope) in oauth2.scopes.iter().enumerate() {
        if !is_word(scope, MAX_TEXT) {
            let why = "is not 1 to 512 bytes of visible ASCII without spaces";
            refuse(checker, at(&format!("scopes/{index}")), why);
        }
    }
    if oauth2.audience.as_ref().is_some_and(|audience| !is_sendable(audience, MAX_TEXT)) {
        refuse(checker, at("audience"), "is not 1 to 512 bytes of visible ASCII");
    }
}

fn mtls(checker: &mut Checker<'_>, mtls: &Mtls) {
    let key = mtls.private_key.reveal();
    if mtls.certificate.len() + key.len() > MAX_PEM {
        refuse(checker, "/auth/mtls", "is more than 64 KiB of PEM");
    } else if mtls.certificate.contains("PRIVATE KEY") {
        // The certificate is shown to whoever may see the subscription.
        let why = "has a private key in it; give that as private_key";
        refuse(checker, "/auth/mtls/certificate", why);
    } else if let Err(why) = ClientCert::parse(&format!("{}\n{key}", mtls.certificate)) {
        refuse(checker, "/auth/mtls", why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::{
        super::{EndpointPolicy, subscription_io::SubscriptionPatch},
        *,
    };
    use crate::delivery;

    struct Anything;

    impl EndpointPolicy for Anything {
        fn check_url(&self, url: &str) -> Result<Url, String> {
            url.parse().map_err(|_| "is not a URL".into())
        }

        fn check_header(&self, name: &str, value: &str) -> Result<(), String> {
            delivery::check_header(name, value).map_err(|problem| problem.to_string())
        }
    }

    /// Where a change of `current` is wrong, and how; else the subscription after it.
    fn change(current: &Subscription, patch: Value) -> Result<Subscription, Vec<String>> {
        let text = patch.to_string();
        let mut checker = Checker::new(&Anything);
        let patch: SubscriptionPatch = serde_json::from_value(patch).unwrap();
        let checked = checker.check(patch);
        check(&mut checker, &checked, Some(current));
        let mut after = current.clone();
        match checker.finish() {
            Ok(()) => checked.apply(&mut after),
            Err(problem) => {
                let errors = &problem.body().errors;
                let said = serde_json::to_string(errors).unwrap();
                assert!(!text.contains("s3cret") || !said.contains("s3cret"), "{said}");
                return Err(errors.iter().map(|e| format!("{} {}", e.at, e.message)).collect());
            }
        }
        Ok(after)
    }

    fn given() -> Subscription {
        let bare = crate::model::Timestamp::UNIX_EPOCH;
        let subscription = Subscription {
            id: crate::model::SubscriptionId::new(bare),
            application: crate::model::ApplicationId::new(bare),
            name: None,
            description: None,
            endpoint: "https://shop.example/".parse().unwrap(),
            event_types: vec![],
            channels: Vec::new(),
            filter: None,
            pipeline: vec![],
            output_schema: None,
            headers: BTreeMap::new(),
            policy: crate::model::Policy::default(),
            state: crate::model::SubscriptionState::Active,
            secrets: vec![],
            credentials: crate::model::Credentials::default(),
            created_at: bare,
            updated_at: bare,
        };
        let patch = json!({"headers": {"x-key": "Key {{secret:shop}}"},
            "header_secrets": {"shop": "s3cret", "spare": "s3cret"}});
        change(&subscription, patch).unwrap()
    }

    #[test]
    fn secrets_are_merged_by_name_and_one_in_use_stays() {
        let given = given();
        let after =
            change(&given, json!({"header_secrets": {"spare": null, "new": "s3cret2"}})).unwrap();
        let names: Vec<_> = after.credentials.header_secrets.keys().collect();
        assert_eq!(names, ["new", "shop"]);
        let refused = change(&given, json!({"header_secrets": {"shop": null}})).unwrap_err();
        assert_eq!(
            refused,
            ["/header_secrets/shop is in use by the header x-key: change that, too"]
        );
        change(&given, json!({"headers": {}, "header_secrets": {"shop": null}})).unwrap();
    }

    #[test]
    fn a_header_names_secrets_that_are_there() {
        let wrong = json!({"headers": {"a": "{{secret:nobody}}", "b": "{{secret:shop"}});
        assert_eq!(
            change(&given(), wrong).unwrap_err(),
            [
                "/headers/a names the secret nobody; in header_secrets there is shop, spare",
                "/headers/b has {{secret: with no name and }} after it; write {{secret:NAME}}"
            ]
        );
        let long = json!({"header_secrets": {"shop": format!("s3cret{}", "x".repeat(4090))}});
        assert_eq!(
            change(&given(), long).unwrap_err(),
            [
                "/headers/x-key with its secrets in it has a value that is not visible ASCII of at most 4096 bytes"
            ]
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_being_repeated() {
        for (patch, at) in [
            (json!({"header_secrets": {"a b": "s3cret"}}), "/header_secrets/a b"),
            (json!({"header_secrets": {"a": "s3cret\r\nx: y"}}), "/header_secrets/a"),
            (json!({"header_secrets": {"a": ""}}), "/header_secrets/a"),
            (json!({"auth": {"bearer": {"token": "s3cret two"}}}), "/auth/bearer/token"),
            (
                json!({"auth": {"basic": {"username": "a:b", "password": "s3cret"}}}),
                "/auth/basic/username",
            ),
            (
                json!({"auth": {"mtls": {"certificate": "x", "private_key": "s3cret"}}}),
                "/auth/mtls",
            ),
            (
                json!({"auth": {"oauth2": {"token_url": "https://a.example", "client_id": "",
                    "client_secret": "s3cret"}}}),
                "/auth/oauth2/client_id",
            ),
        ] {
            let wrong = change(&given(), patch).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].starts_with(&format!("{at} ")), "{wrong:?}");
        }
    }

    #[test]
    fn authorization_has_one_source() {
        let both = json!({"headers": {"Authorization": "x"}, "auth": {"bearer": {"token": "t"}}});
        assert_eq!(
            change(&given(), both).unwrap_err(),
            ["/headers/Authorization is set by the subscription's auth: remove one of them"]
        );
        let one = change(&given(), json!({"auth": {"bearer": {"token": "t"}}})).unwrap();
        let other = json!({"headers": {"authorization": "x"}});
        assert_eq!(change(&one, other.clone()).unwrap_err().len(), 1);
        let without = change(&one, json!({"auth": null})).unwrap();
        change(&without, other).unwrap();
    }
}
