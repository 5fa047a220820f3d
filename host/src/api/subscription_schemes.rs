//! The secrets of a subscription's signature schemes: taken out of its policy, checked, made.
//!
//! Never shows one: what is private goes in here and does not come out again.

use std::collections::HashSet;

use super::{
    EndpointPolicy,
    problem::{FieldError, Problem},
    subscription_check::Checker,
};
use crate::{
    delivery::Key,
    model::{Policy, Scheme, Secret, SecretKind, Subscription},
};

/// Takes the secrets out of a policy's schemes and checks them; answers those that its
/// subscription is to have beside the ones it `has`.
pub fn settle(
    checker: &mut Checker<'_>,
    endpoints: &dyn EndpointPolicy,
    policy: Option<&mut Policy>,
    has: &[Secret],
) -> Result<Vec<Secret>, Problem> {
    let mut new = Vec::new();
    let schemes = policy.and_then(|policy| policy.signing.as_mut());
    for (index, scheme) in schemes.into_iter().flatten().enumerate() {
        let place = format!("/policy/signing/{index}");
        for (member, header) in scheme.own_headers() {
            if let Err(why) = endpoints.check_header(header, "x") {
                checker.refuse(FieldError::new(format!("{place}/{member}"), why));
            }
        }
        let given = scheme.take_secret();
        let given = given.as_ref().map(|secret| secret.reveal());
        match checked(scheme, given, has) {
            Ok(Wanted::Nothing) => {}
            Ok(Wanted::Secret(secret)) => new.push(secret),
            Ok(Wanted::Pair) => new.push(new_pair()?),
            Err(why) => checker.refuse(FieldError::new(format!("{place}/secret"), why)),
        }
    }
    Ok(new)
}

/// What has to be added for a scheme to be able to sign.
enum Wanted {
    Nothing,
    Secret(Secret),
    Pair,
}

fn checked(scheme: &Scheme, given: Option<&str>, has: &[Secret]) -> Result<Wanted, String> {
    let kind = kind(scheme);
    let old = || has.iter().find(|secret| *secret.kind() == kind);
    match (&kind, given) {
        (SecretKind::Symmetric, _) => Ok(Wanted::Nothing),
        (SecretKind::Asymmetric, None) if old().is_some() => Ok(Wanted::Nothing),
        (SecretKind::Asymmetric, None) => Ok(Wanted::Pair),
        (_, Some(text)) => secret_of(scheme, text).map(Wanted::Secret),
        (SecretKind::Named(name), None) => {
            let old = old().ok_or("is needed: as the receiver has it")?;
            // It may have been given when the scheme read it in another way.
            Key::parse(scheme, &String::from_utf8_lossy(old.key()))
                .map_err(|why| format!("of the scheme {name} {why}; give it again"))?;
            Ok(Wanted::Nothing)
        }
    }
}

/// The secret that a text is for a scheme.
pub fn secret_of(scheme: &Scheme, text: &str) -> Result<Secret, String> {
    match kind(scheme) {
        SecretKind::Named(name) => {
            Key::parse(scheme, text)?;
            Secret::named(&name, text).map_err(|error| error.to_string())
        }
        kind => {
            let secret: Secret =
                text.parse().map_err(|error: crate::model::SecretError| error.to_string())?;
            if *secret.kind() == kind {
                Ok(secret)
            } else {
                Err("is a secret of another scheme".into())
            }
        }
    }
}

/// The kind of secret that a scheme signs with.
pub fn kind(scheme: &Scheme) -> SecretKind {
    match scheme {
        Scheme::Standard(_) => SecretKind::Symmetric,
        Scheme::StandardAsymmetric(_) => SecretKind::Asymmetric,
        own => SecretKind::Named(own.name().to_owned()),
    }
}

/// A new Ed25519 key.
pub fn new_pair() -> Result<Secret, Problem> {
    let mut seed = [0; Secret::SEED];
    getrandom::fill(&mut seed).map_err(|cause| Problem::internal("making a key", &cause))?;
    Ok(Secret::from_seed(seed))
}

/// Puts secrets into a subscription, each in place of the one of its scheme, and takes out
/// those of schemes it has no more.
pub fn adopt(subscription: &mut Subscription, new: Vec<Secret>) {
    let secrets = &mut subscription.secrets;
    for secret in new {
        if !secrets.iter().any(|old| old.kind() == secret.kind() && old.key() == secret.key()) {
            secrets.retain(|old| old.kind() != secret.kind());
            secrets.push(secret);
        }
    }
    let schemes = subscription.policy.signing.as_deref().unwrap_or_default();
    let names: HashSet<_> = schemes.iter().map(Scheme::name).collect();
    secrets.retain(|secret| match secret.kind() {
        SecretKind::Symmetric | SecretKind::Asymmetric => true,
        SecretKind::Named(name) => names.contains(name.as_str()),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::*;

    struct NoSpaces;

    impl EndpointPolicy for NoSpaces {
        fn check_url(&self, _: &str) -> Result<Url, String> {
            Err("not asked".into())
        }

        fn check_header(&self, name: &str, _: &str) -> Result<(), String> {
            if name.contains(' ') { Err("is not a header name".into()) } else { Ok(()) }
        }
    }

    fn settled(signing: &Value, has: &[Secret]) -> Result<Vec<Secret>, Vec<String>> {
        let mut policy: Policy = serde_json::from_value(json!({"signing": signing})).unwrap();
        let mut checker = Checker::new(&NoSpaces);
        let new = settle(&mut checker, &NoSpaces, Some(&mut policy), has).unwrap();
        assert!(!format!("{policy:?}").contains("hidden"), "the secrets are taken out");
        match checker.finish() {
            Ok(()) => Ok(new),
            Err(problem) => Err(problem.into_body().errors.into_iter().map(|e| e.at).collect()),
        }
    }

    #[test]
    fn a_scheme_needs_its_secret_once() {
        let github = json!([{"scheme": "github", "secret": "hunter2"}]);
        let new = settled(&github, &[]).unwrap();
        assert_eq!(new, [Secret::named("github", "hunter2").unwrap()]);
        let again = json!([{"scheme": "github"}]);
        assert_eq!(settled(&again, &new), Ok(vec![]));
        assert_eq!(settled(&again, &[]).unwrap_err(), ["/policy/signing/0/secret"]);
    }

    #[test]
    fn a_key_pair_is_made_unless_there_is_one() {
        let asymmetric = json!([{"scheme": "standard"}, {"scheme": "standard_asymmetric"}]);
        let new = settled(&asymmetric, &[]).unwrap();
        assert!(new[0].public_key().is_some());
        assert_eq!(settled(&asymmetric, &new), Ok(vec![]));
        let given = json!([{"scheme": "standard_asymmetric", "secret": new[0].reveal()}]);
        assert_eq!(settled(&given, &[]), Ok(new));
        let wrong = json!([{"scheme": "standard_asymmetric",
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]);
        assert_eq!(settled(&wrong, &[]).unwrap_err(), ["/policy/signing/0/secret"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let odd = json!([{"scheme": "hmac", "header": "a b", "key": "hex", "secret": "xyz"}]);
        assert_eq!(
            settled(&odd, &[]).unwrap_err(),
            ["/policy/signing/0/header", "/policy/signing/0/secret"]
        );
        // A secret that was a text is no hexadecimal by itself.
        let has = [Secret::named("hmac", "xyz").unwrap()];
        let read = json!([{"scheme": "hmac", "header": "a", "key": "hex"}]);
        assert_eq!(settled(&read, &has).unwrap_err(), ["/policy/signing/0/secret"]);
    }
}
