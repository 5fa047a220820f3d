//! A subscription's signing secrets, one by one: which there are, another beside them, one less.
//!
//! Shows what tells them apart. A secret itself is shown once, by what made it.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage, Read},
    docs::{Missing, Unusable, Used},
    extract::{OptionalJsonBody, PathId, PathParts},
    preconditions::IfMatch,
    problem::{Code, FieldError, Problem},
    refusal::Subject,
    subscription_check::Checker,
    subscription_secret::MAX_OLD_SECRETS,
    subscriptions::{change_if, find, new_secret},
};
use crate::model::{Secret, SubscriptionId, Timestamp};

/// What tells a signing secret from others.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretOut {
    /// The first 16 digits of the SHA-256 of its text.
    #[schema(example = "9b74c9897bac770f")]
    fingerprint: String,
    /// When it was given; null if that was not kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// When it stops signing; null if it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<&Secret> for SecretOut {
    fn from(secret: &Secret) -> Self {
        Self {
            fingerprint: secret.fingerprint(),
            created_at: secret.created_at,
            expires_at: secret.expires_at,
        }
    }
}

/// The secrets that sign.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretsOut {
    /// In the order of their signatures: the current one first.
    data: Vec<SecretOut>,
}

/// A secret to add.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct SecretIn {
    /// One of your own, `whsec_…`; one is made if none is given.
    secret: Option<String>,
}

/// A secret just added.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretAdded {
    /// The secret. Shown once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    #[serde(flatten)]
    about: SecretOut,
}

/// List the signing secrets
///
/// What tells them apart, and when they end. They themselves are not shown again.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{id}/secrets",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SecretsOut), Missing)
)]
pub async fn list_secrets(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SecretsOut>, Problem> {
    let found = find(&api, &acting, id)?;
    let now = api.clock.now();
    let active = found.secrets.iter().filter(|secret| secret.is_active(now));
    Ok(Json(SecretsOut { data: active.map(Into::into).collect() }))
}

/// Add a signing secret
///
/// It signs beside those there are, until it or they are removed.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/secrets",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    request_body = Option<SecretIn>,
    responses((status = 201, body = SecretAdded), Missing, Unusable)
)]
pub async fn add_secret(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    expected: IfMatch,
    OptionalJsonBody(given): OptionalJsonBody<SecretIn>,
) -> Result<(StatusCode, Json<SecretAdded>), Problem> {
    find(&api, &acting, id)?;
    let now = api.clock.now();
    let mut checker = Checker::new(&*api.endpoint_policy);
    let secret = given.secret.and_then(|text| checker.secret(&text));
    checker.finish()?;
    let mut secret = match secret {
        Some(secret) => secret,
        None => new_secret()?,
    };
    secret.created_at = Some(now);
    let added = SecretAdded { secret: secret.reveal(), about: (&secret).into() };
    change_if(&api, id, &expected, |subscription| {
        let mut checker = Checker::new(&*api.endpoint_policy);
        if subscription.secrets.iter().any(|old| old.key() == secret.key()) {
            checker.refuse(FieldError::new("/secret", "is one the subscription has already"));
        }
        subscription.secrets.retain(|old| old.is_active(now));
        let most = 1 + MAX_OLD_SECRETS;
        if subscription.secrets.len() >= most {
            let why = format!("there are {most} secrets already; remove one first");
            checker.refuse(FieldError::new("", why));
        }
        checker.finish()?;
        subscription.secrets.push(secret);
        Ok(())
    })
    .await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Remove a signing secret
///
/// It stops signing at once. The only one that does not expire cannot go.
#[utoipa::path(
    delete,
    path = "/v1/subscriptions/{id}/secrets/{fingerprint}",
    tag = "Subscriptions",
    params(
        ("id" = SubscriptionId, Path, description = "The subscription"),
        ("fingerprint" = String, Path, description = "Of the secret"),
    ),
    responses((status = 204, description = "It signs no more"), Missing, Used)
)]
pub async fn remove_secret(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts((id, fingerprint)): PathParts<(SubscriptionId, String)>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    find(&api, &acting, id)?;
    change_if(&api, id, &expected, |subscription| {
        match remove(&mut subscription.secrets, &fingerprint) {
            Removal::Done => Ok(()),
            Removal::Unknown => Err(Subject::new("secret", &fingerprint).not_found()),
            Removal::Last => {
                let title =
                    format!("The secret {fingerprint} is the only one that does not expire");
                Err(Problem::new(Code::InUse, title)
                    .detail("Add another first, or rotate it with no grace."))
            }
        }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, PartialEq, Eq)]
enum Removal {
    Done,
    Unknown,
    Last,
}

/// Removes a secret, unless no lasting one would remain.
fn remove(secrets: &mut Vec<Secret>, fingerprint: &str) -> Removal {
    let Some(at) = secrets.iter().position(|secret| secret.fingerprint() == fingerprint) else {
        return Removal::Unknown;
    };
    // Of its own kind: another scheme's secret does not sign in its place.
    let kind = secrets[at].kind().clone();
    let lasting = |(index, secret): (usize, &Secret)| {
        index != at && secret.expires_at.is_none() && *secret.kind() == kind
    };
    if !secrets.iter().enumerate().any(lasting) {
        return Removal::Last;
    }
    secrets.remove(at);
    Removal::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lasting_secret_stays() {
        let secret = |byte| Secret::from_key(vec![byte; 32]).unwrap();
        let mut secrets = vec![secret(1), secret(2), secret(3)];
        secrets[2].expires_at = Some(Timestamp::UNIX_EPOCH);
        let of = |index: usize| secret(index as u8).fingerprint();
        assert_eq!(remove(&mut secrets, "x"), Removal::Unknown);
        assert_eq!(remove(&mut secrets, &of(1)), Removal::Done);
        assert_eq!(remove(&mut secrets, &of(2)), Removal::Last);
        assert_eq!(remove(&mut secrets, &of(3)), Removal::Done);
        assert_eq!(secrets, [secret(2)]);
    }
}
