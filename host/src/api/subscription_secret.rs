//! Replacing a subscription's signing secret.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage},
    docs::{Missing, Unusable},
    extract::{OptionalJsonBody, PathId},
    preconditions::IfMatch,
    problem::{FieldError, Problem},
    subscription_check::Checker,
    subscription_schemes as schemes,
    subscriptions::{change_if, find, new_secret},
};
use crate::model::{Scheme, Secret, SecretKind, Subscription, SubscriptionId, Timestamp};

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
    /// The new secret; one is made if none is given, except for schemes that receivers have
    /// the secret of already.
    secret: Option<String>,
    /// Which scheme's secret to replace, by its name.
    #[schema(default = "standard", example = "standard_asymmetric")]
    scheme: Option<String>,
}

/// A replaced secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct RotateOut {
    /// The new secret, if the server made it for both sides. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
    /// What verifies the new key's signatures, if it is a private one.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// When the old one stops signing.
    #[schema(value_type = String, format = DateTime)]
    old_secret_expires_at: Timestamp,
}

/// Replace the signing secret
///
/// Both secrets sign until the grace period ends, so a receiver can change over at any
/// moment within it. A scheme whose header has room for one signature has no such period.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/rotate-secret",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    request_body = Option<RotateIn>,
    responses((status = 200, body = RotateOut), Missing, Unusable)
)]
pub async fn rotate_secret(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    expected: IfMatch,
    OptionalJsonBody(given): OptionalJsonBody<RotateIn>,
) -> Result<Json<RotateOut>, Problem> {
    let found = find(&api, &acting, id)?;
    let mut checker = Checker::new(&*api.endpoint_policy);
    let scheme = scheme_of(&found, given.scheme.as_deref());
    let most = if scheme.as_ref().is_some_and(has_one_signature) { 0 } else { MAX_GRACE };
    let grace = given.grace_seconds.unwrap_or(DEFAULT_GRACE.min(most));
    if grace > most {
        let why = format!("is {grace}; at most {most} are allowed");
        checker.refuse(FieldError::new("/grace_seconds", why));
    }
    let secret = match &scheme {
        Some(scheme) => replacement(&mut checker, scheme, given.secret.as_deref())?,
        None => {
            let name = given.scheme.unwrap_or_default();
            let why = format!("is {name:?}, which is no scheme of the subscription's policy");
            checker.refuse(FieldError::new("/scheme", why));
            None
        }
    };
    checker.finish()?;
    // Without one, something was wrong.
    let Some(mut secret) = secret else {
        return Err(Problem::internal("replacing a secret", &"the new one got lost"));
    };
    let now = api.clock.now();
    secret.created_at = Some(now);
    let old_secret_expires_at = now + Duration::from_secs(grace.into());
    let shown = (*secret.kind() == SecretKind::Symmetric).then(|| secret.reveal());
    let public_key = secret.public_key().map(|key| key.to_string());
    change_if(&api, id, &expected, |subscription| {
        let same = |old: &Secret| old.kind() == secret.kind() && old.key() == secret.key();
        let mut checker = Checker::new(&*api.endpoint_policy);
        if subscription.secrets.iter().any(same) {
            checker.refuse(FieldError::new("/secret", "is one the subscription has already"));
        }
        checker.finish()?;
        replace_secret(&mut subscription.secrets, secret, now, old_secret_expires_at);
        Ok(())
    })
    .await?;
    Ok(Json(RotateOut { secret: shown, public_key, old_secret_expires_at }))
}

/// The scheme of that name. Standard Webhooks' can be rotated whether they sign or not.
fn scheme_of(subscription: &Subscription, name: Option<&str>) -> Option<Scheme> {
    let name = name.unwrap_or("standard");
    let mut schemes = subscription.policy.signing.iter().flatten();
    let found = schemes.find(|scheme| scheme.name() == name).cloned();
    found.or_else(|| Some(Scheme::default()).filter(|standard| standard.name() == name))
}

fn has_one_signature(scheme: &Scheme) -> bool {
    matches!(scheme, Scheme::Github(_) | Scheme::Hmac(_))
}

/// The new secret: the given one, checked, or one made now.
fn replacement(
    checker: &mut Checker<'_>,
    scheme: &Scheme,
    given: Option<&str>,
) -> Result<Option<Secret>, Problem> {
    let secret = match (schemes::kind(scheme), given) {
        (SecretKind::Symmetric, None) => new_secret()?,
        (SecretKind::Asymmetric, None) => schemes::new_pair()?,
        (SecretKind::Named(_), None) => {
            checker.refuse(FieldError::new("/secret", "is needed: as the receiver has it"));
            return Ok(None);
        }
        (_, Some(text)) => match schemes::secret_of(scheme, text) {
            Ok(secret) => secret,
            Err(why) => {
                checker.refuse(FieldError::new("/secret", why));
                return Ok(None);
            }
        },
    };
    Ok(Some(secret))
}

/// Puts `new` first; what signed so far for the same scheme goes on until `until`, or its own
/// earlier end.
fn replace_secret(secrets: &mut Vec<Secret>, new: Secret, now: Timestamp, until: Timestamp) {
    let kind = new.kind().clone();
    for old in secrets.iter_mut().filter(|old| *old.kind() == kind) {
        old.expires_at = Some(old.expires_at.map_or(until, |end| end.min(until)));
    }
    secrets.insert(0, new);
    let mut kept = 0;
    secrets.retain(|secret| {
        kept += usize::from(*secret.kind() == kind);
        secret.is_active(now) && (*secret.kind() != kind || kept <= 1 + MAX_OLD_SECRETS)
    });
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
    fn each_scheme_has_its_own_succession() {
        let mut secrets = vec![secret(1), Secret::from_seed([1; 32])];
        replace_secret(&mut secrets, Secret::from_seed([2; 32]), at(0), at(100));
        let ends: Vec<_> = secrets.iter().map(|s| (s.key()[0], s.expires_at)).collect();
        assert_eq!(ends, [(2, None), (1, None), (1, Some(at(100)))]);
        replace_secret(&mut secrets, secret(3), at(0), at(0));
        let kinds: Vec<_> = secrets.iter().map(|s| s.kind().clone()).collect();
        assert_eq!(kinds, [SecretKind::Symmetric, SecretKind::Asymmetric, SecretKind::Asymmetric]);
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
