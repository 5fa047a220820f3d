//! Replacing a subscription's signing secret.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::Acting,
    docs::{Missing, Unusable},
    extract::{OptionalJsonBody, PathId},
    problem::{FieldError, Problem},
    subscription_check::Checker,
    subscriptions::{change, find, new_secret},
};
use crate::model::{Secret, SubscriptionId, Timestamp};

/// How long a replaced secret goes on signing, if not said otherwise.
const DEFAULT_GRACE: u32 = 24 * 3600;
/// How long it may.
const MAX_GRACE: u32 = 7 * 24 * 3600;
/// Most replaced secrets that sign beside the current one: each makes every request's
/// signature header longer.
pub const MAX_OLD_SECRETS: usize = 10;

/// How to replace a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"grace_seconds": 3600}))]
pub struct RotateIn {
    /// How long the old secret goes on signing beside the new one: at most 7 days, 24 hours
    /// if not given.
    #[schema(maximum = 604_800, default = 86_400)]
    grace_seconds: Option<u32>,
    /// The new secret, `whsec_…`; one is made if none is given.
    secret: Option<String>,
}

/// A replaced secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct RotateOut {
    /// The new secret. Shown once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    /// When the old one stops signing.
    #[schema(value_type = String, format = DateTime)]
    old_secret_expires_at: Timestamp,
}

/// Replace the signing secret
///
/// Both secrets sign until the grace period ends, so a receiver can change over at any
/// moment within it.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/rotate-secret",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    request_body = Option<RotateIn>,
    responses((status = 200, body = RotateOut), Missing, Unusable)
)]
pub async fn rotate_secret(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    OptionalJsonBody(given): OptionalJsonBody<RotateIn>,
) -> Result<Json<RotateOut>, Problem> {
    let found = find(&api, &acting, id)?;
    let mut checker = Checker::new(&*api.endpoint_policy);
    let grace = given.grace_seconds.unwrap_or(DEFAULT_GRACE);
    if grace > MAX_GRACE {
        let why = format!("is {grace}; at most {MAX_GRACE} are allowed");
        checker.refuse(FieldError::new("/grace_seconds", why));
    }
    let secret = given.secret.and_then(|text| checker.secret(&text));
    if let Some(secret) = &secret
        && found.secrets.iter().any(|old| old.key() == secret.key())
    {
        checker.refuse(FieldError::new("/secret", "is one the subscription has already"));
    }
    checker.finish()?;
    let mut secret = match secret {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let now = api.clock.now();
    secret.created_at = Some(now);
    let old_secret_expires_at = now + Duration::from_secs(grace.into());
    let shown = secret.reveal();
    change(&api, id, move |subscription| {
        replace_secret(&mut subscription.secrets, secret, now, old_secret_expires_at);
    })
    .await?;
    Ok(Json(RotateOut { secret: shown, old_secret_expires_at }))
}

/// Puts `new` first; what signed so far goes on until `until`, or its own earlier end.
fn replace_secret(secrets: &mut Vec<Secret>, new: Secret, now: Timestamp, until: Timestamp) {
    for old in secrets.iter_mut() {
        old.expires_at = Some(old.expires_at.map_or(until, |end| end.min(until)));
    }
    secrets.insert(0, new);
    secrets.retain(|secret| secret.is_active(now));
    secrets.truncate(1 + MAX_OLD_SECRETS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::from_key(vec![byte; 32]).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_replaced_secret_signs_until_its_grace_ends() {
        let mut secrets = vec![secret(1)];
        replace_secret(&mut secrets, secret(2), at(0), at(100));
        assert_eq!(secrets[0].key(), [2; 32]);
        assert_eq!(secrets[0].expires_at, None);
        assert!(secrets[1].is_active(at(99)) && !secrets[1].is_active(at(100)));
        // Replacing again never lengthens the first one's grace.
        replace_secret(&mut secrets, secret(3), at(50), at(500));
        assert_eq!(
            secrets.iter().map(|s| s.expires_at).collect::<Vec<_>>(),
            [None, Some(at(500)), Some(at(100))]
        );
    }

    #[test]
    fn no_grace_drops_the_old_secret_and_old_ones_are_bounded() {
        let mut secrets = vec![secret(1)];
        replace_secret(&mut secrets, secret(2), at(10), at(10));
        assert_eq!(secrets.len(), 1);
        for byte in 3..40 {
            replace_secret(&mut secrets, secret(byte), at(10), at(1000));
        }
        assert_eq!(secrets.len(), 1 + MAX_OLD_SECRETS);
        assert_eq!(secrets[0].key(), [39; 32]);
    }
}
