//! `/v1/subscriptions`: who gets which events, where, through what.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    applications::{Created, created},
    auth::Acting,
    deliveries::inactive,
    docs::{Inactive, Missing, Unusable},
    extract::{JsonBody, OptionalJsonBody, PathId, QueryParams},
    page::{PageOut, PageQuery, Paging},
    problem::{FieldError, Problem},
    publish::PublishedOut,
    refusal::{self, Subject},
    subscription_io::{
        Checker, SubscriptionCreated, SubscriptionIn, SubscriptionOut, SubscriptionPatch,
    },
};
use crate::{
    model::{DeliveryId, Secret, Subscription, SubscriptionId, SubscriptionState, Timestamp},
    store::DeliveryFilter,
};

/// Bytes of a secret that the server makes.
const SECRET_BYTES: usize = 32;
/// How long a replaced secret goes on signing, if not said otherwise.
const DEFAULT_GRACE: u32 = 24 * 3600;
/// How long it may.
const MAX_GRACE: u32 = 7 * 24 * 3600;
/// Most replaced secrets that sign beside the current one: each makes every request's
/// signature header longer.
const MAX_OLD_SECRETS: usize = 10;

fn subject(id: SubscriptionId) -> Subject {
    Subject::new("subscription", id)
}

/// The acting application's subscription of this id.
fn find(api: &Api, acting: &Acting, id: SubscriptionId) -> Result<Arc<Subscription>, Problem> {
    api.catalog
        .subscription(id)
        .filter(|found| found.application == acting.application.id)
        .ok_or_else(|| subject(id).not_found())
}

fn new_secret() -> Result<Secret, Problem> {
    let mut key = vec![0; SECRET_BYTES];
    getrandom::fill(&mut key).map_err(|cause| Problem::internal("making a secret", &cause))?;
    Secret::from_key(key).map_err(|cause| Problem::internal("making a secret", &cause))
}

/// Create a subscription
///
/// The answer has the signing secret, which is not shown again.
#[utoipa::path(
    post,
    path = "/v1/subscriptions",
    tag = "Subscriptions",
    request_body = SubscriptionIn,
    responses((status = 201, body = SubscriptionCreated), Unusable)
)]
pub async fn create_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<SubscriptionIn>,
) -> Result<Created<SubscriptionCreated>, Problem> {
    let (parts, secret) = given.into_patch();
    let mut checker = Checker::new(&*api.endpoint_policy);
    let mut checked = checker.check(parts);
    let given_secret = secret.and_then(|text| checker.secret(&text));
    checker.finish()?;
    // Nothing was wrong, so the endpoint is there: `SubscriptionIn` requires it.
    let Some(endpoint) = checked.endpoint.take() else {
        return Err(Problem::internal("creating a subscription", &"its endpoint got lost"));
    };
    let secret = match given_secret {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let now = api.clock.now();
    let shown = secret.reveal();
    let mut subscription = Subscription {
        id: SubscriptionId::new(now),
        application: acting.application.id,
        description: None,
        endpoint,
        event_types: Vec::new(),
        pipeline: Vec::new(),
        headers: BTreeMap::new(),
        retry: None,
        concurrency: None,
        state: SubscriptionState::Active,
        secrets: vec![secret],
        created_at: now,
        updated_at: now,
    };
    checked.apply(&mut subscription);
    let subject = subject(subscription.id);
    let saved = api
        .catalog
        .create_subscription(subscription)
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    let location = format!("/v1/subscriptions/{}", saved.id);
    Ok(created(location, SubscriptionCreated { subscription: (&*saved).into(), secret: shown }))
}

/// List subscriptions
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/subscriptions",
    tag = "Subscriptions",
    params(PageQuery),
    responses((status = 200, body = PageOut<SubscriptionOut>))
)]
pub async fn list_subscriptions(
    acting: Acting,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<SubscriptionOut>>, Problem> {
    let paging = Paging::<SubscriptionId>::new("sub", query.limit, query.cursor.as_deref())?;
    let mut all = api.catalog.subscriptions(acting.application.id);
    // The cursor's order must be this list's, whatever order the catalog keeps.
    all.sort_unstable_by_key(|subscription| std::cmp::Reverse(subscription.id));
    let page = paging.slice(all, |subscription| subscription.id, |id, after| id < after);
    Ok(Json(PageOut {
        data: page.data.iter().map(|subscription| (&**subscription).into()).collect(),
        next_cursor: page.next_cursor,
    }))
}

/// Get a subscription
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{id}",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing)
)]
pub async fn get_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    Ok(Json((&*find(&api, &acting, id)?).into()))
}

async fn change(
    api: &Api,
    id: SubscriptionId,
    change: impl FnOnce(&mut Subscription) + Send + 'static,
) -> Result<Arc<Subscription>, Problem> {
    api.catalog
        .change_subscription(id, Box::new(change))
        .await
        .map_err(|error| refusal::catalog(error, &subject(id)))
}

/// Change a subscription
///
/// Deliveries of events accepted before keep the pipeline they were made with.
#[utoipa::path(
    patch,
    path = "/v1/subscriptions/{id}",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    request_body = SubscriptionPatch,
    responses((status = 200, body = SubscriptionOut), Missing, Unusable)
)]
pub async fn change_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    JsonBody(patch): JsonBody<SubscriptionPatch>,
) -> Result<Json<SubscriptionOut>, Problem> {
    find(&api, &acting, id)?;
    let mut checker = Checker::new(&*api.endpoint_policy);
    let checked = checker.check(patch);
    checker.finish()?;
    let saved = change(&api, id, |subscription| checked.apply(subscription)).await?;
    Ok(Json((&*saved).into()))
}

/// Delete a subscription
///
/// What it has pending or held is cancelled.
#[utoipa::path(
    delete,
    path = "/v1/subscriptions/{id}",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 204, description = "It is gone"), Missing)
)]
pub async fn delete_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<StatusCode, Problem> {
    find(&api, &acting, id)?;
    api.catalog
        .delete_subscription(id)
        .await
        .map_err(|error| refusal::catalog(error, &subject(id)))?;
    Ok(StatusCode::NO_CONTENT)
}

/// A request to change a subscription's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Pause,
    Resume,
    Enable,
    Disable,
}

/// What a move does to a state: where it leads, or what must come first. A move that is
/// already made is made again without harm.
fn moved(
    from: SubscriptionState,
    by: Move,
) -> Result<SubscriptionState, (&'static str, &'static str)> {
    use SubscriptionState::{Active, Disabled, Paused};
    match (by, from) {
        (Move::Pause, Active | Paused) => Ok(Paused),
        (Move::Resume, Active | Paused) | (Move::Enable, Active | Disabled) => Ok(Active),
        (Move::Disable, Active | Paused | Disabled) => Ok(Disabled),
        (Move::Pause | Move::Resume, Disabled) => Err(("disabled", "Enable")),
        (Move::Enable, Paused) => Err(("paused", "Resume")),
    }
}

async fn move_state(
    api: &Api,
    acting: &Acting,
    id: SubscriptionId,
    by: Move,
) -> Result<Json<SubscriptionOut>, Problem> {
    let found = find(api, acting, id)?;
    let target = moved(found.state, by).map_err(|(state, remedy)| inactive(id, state, remedy))?;
    if found.state == target {
        return Ok(Json((&*found).into()));
    }
    let saved = change(api, id, move |subscription| {
        // As it is now, which may be another state than the one looked at above.
        if let Ok(target) = moved(subscription.state, by) {
            subscription.state = target;
        }
    })
    .await?;
    Ok(Json((&*saved).into()))
}

/// Pause a subscription
///
/// Its events are matched and kept as `held` deliveries until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/pause",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing, Inactive)
)]
pub async fn pause_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Pause).await
}

/// Resume a subscription
///
/// What it holds is due at once.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/resume",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing, Inactive)
)]
pub async fn resume_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Resume).await
}

/// Enable a disabled subscription
///
/// For one that answered 410 Gone, or was disabled by request. Events of the meantime were
/// not matched.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/enable",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing, Inactive)
)]
pub async fn enable_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Enable).await
}

/// Disable a subscription
///
/// Its events are no longer matched, as after an answer of 410 Gone.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/disable",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing)
)]
pub async fn disable_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Disable).await
}

/// A test event on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestOut {
    #[serde(flatten)]
    event: PublishedOut,
    /// Where to see what becomes of it.
    delivery_id: Option<DeliveryId>,
}

/// Send a test event
///
/// An event of type `hookmill.test`, to this subscription alone, whatever it listens to.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/test",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 202, body = TestOut), Missing, Inactive)
)]
pub async fn test_subscription(
    acting: Acting,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<(StatusCode, Json<TestOut>), Problem> {
    match find(&api, &acting, id)?.state {
        SubscriptionState::Active => {}
        SubscriptionState::Paused => return Err(inactive(id, "paused", "Resume")),
        SubscriptionState::Disabled => return Err(inactive(id, "disabled", "Enable")),
    }
    let published =
        api.ingest.send_test(&acting.application, id).await.map_err(refusal::publish)?;
    let event = PublishedOut::from(published);
    let filter = DeliveryFilter { event: Some(event.id), ..DeliveryFilter::default() };
    let page = api
        .store
        .deliveries(acting.application.id, &filter, None, 1)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("event", event.id)))?;
    let delivery_id = page.items.first().map(|delivery| delivery.id);
    Ok((StatusCode::ACCEPTED, Json(TestOut { event, delivery_id })))
}

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
    let secret = match secret {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let now = api.clock.now();
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

    #[test]
    fn moves_are_repeatable_and_never_leap_a_state() {
        use SubscriptionState::{Active, Disabled, Paused};
        assert_eq!(moved(Active, Move::Pause), Ok(Paused));
        assert_eq!(moved(Paused, Move::Pause), Ok(Paused));
        assert_eq!(moved(Paused, Move::Resume), Ok(Active));
        assert_eq!(moved(Disabled, Move::Enable), Ok(Active));
        assert_eq!(moved(Paused, Move::Disable), Ok(Disabled));
        assert!(moved(Disabled, Move::Resume).is_err());
        assert!(moved(Disabled, Move::Pause).is_err());
        assert!(moved(Paused, Move::Enable).is_err());
    }

    #[test]
    fn made_secrets_differ() {
        assert_ne!(new_secret().unwrap().key(), new_secret().unwrap().key());
    }
}
