//! `/v1/subscriptions`: who gets which events, where, through what.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{Json, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    applications::{Created, created},
    auth::{Acting, Actor, Manage, Read},
    deliveries::inactive,
    docs::{Inactive, Missing, Taken, Unloadable, Unusable},
    extract::{JsonBody, PathId},
    handshake, limits,
    preconditions::{IfMatch, IfNoneMatch, Tag, Tagged},
    problem::{Code, FieldError, Problem},
    publish::PublishedOut,
    refusal::{self, Subject},
    subscription_check::Checker,
    subscription_credentials,
    subscription_io::{SubscriptionCreated, SubscriptionIn, SubscriptionOut, SubscriptionPatch},
    subscription_schemes as schemes,
};
use crate::{
    catalog::{CatalogError, NotChanged},
    model::{
        Credentials, DeliveryId, Policy, Secret, Subscription, SubscriptionId, SubscriptionState,
    },
    store::DeliveryFilter,
};

/// Bytes of a secret that the server makes.
const SECRET_BYTES: usize = 32;
fn subject(id: SubscriptionId) -> Subject {
    Subject::new("subscription", id)
}

/// The acting application's subscription of this id.
pub fn find(api: &Api, acting: &Actor, id: SubscriptionId) -> Result<Arc<Subscription>, Problem> {
    api.catalog
        .subscription(id)
        .filter(|found| found.application == acting.application.id)
        .ok_or_else(|| subject(id).not_found())
}

pub fn new_secret() -> Result<Secret, Problem> {
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
    responses((status = 201, body = SubscriptionCreated), Taken, Unusable, Unloadable)
)]
pub async fn create_subscription(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<SubscriptionIn>,
) -> Result<Created<SubscriptionCreated>, Problem> {
    limits::one_more_subscription(&api, acting.application.id)?;
    let (parts, secret) = given.into_patch();
    let mut checker = Checker::new(&*api.endpoint_policy);
    let mut checked = checker.check(parts);
    let given_secret = secret.and_then(|text| checker.secret(text.reveal()));
    let policy = checked.policy.as_mut();
    let scheme_secrets = schemes::settle(&mut checker, &*api.endpoint_policy, policy, &[])?;
    subscription_credentials::check(&mut checker, &checked, None);
    checker.finish()?;
    // Nothing was wrong, so the endpoint is there: `SubscriptionIn` requires it.
    let Some(endpoint) = checked.endpoint.take() else {
        return Err(Problem::internal("creating a subscription", &"its endpoint got lost"));
    };
    let mut secret = match given_secret {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let now = api.clock.now();
    secret.created_at = Some(now);
    let shown = secret.reveal();
    let mut subscription = Subscription {
        id: SubscriptionId::new(now),
        application: acting.application.id,
        name: None,
        description: None,
        endpoint,
        event_types: Vec::new(),
        channels: Vec::new(),
        filter: None,
        pipeline: Vec::new(),
        output_schema: None,
        headers: BTreeMap::new(),
        policy: Policy::default(),
        state: SubscriptionState::Active,
        secrets: vec![secret],
        credentials: Credentials::default(),
        created_at: now,
        updated_at: now,
    };
    checked.apply(&mut subscription);
    schemes::adopt(&mut subscription, scheme_secrets);
    if subscription.policy.handshake.is_some() {
        subscription.state = SubscriptionState::Paused;
    }
    let subject = subject(subscription.id);
    let settling = handshake::settling(&api).await;
    let saved = api
        .catalog
        .create_subscription(subscription)
        .await
        .map_err(|error| unsaved(error, &subject))?;
    handshake::begin(&settling, &api, &saved).await.unwrap_or_else(|problem| {
        // It is made: it stays paused until it is resumed.
        tracing::warn!(subscription = %saved.id, ?problem, "that it waits was not written down");
    });
    drop(settling);
    let saved = handshake::after_creating(&api, saved).await;
    let location = format!("/v1/subscriptions/{}", saved.id);
    Ok(created(location, SubscriptionCreated { subscription: (&*saved).into(), secret: shown }))
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
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let found = find(&api, &acting, id)?;
    Ok(known.answer(tag(&found), SubscriptionOut::from(&*found)))
}

/// What tells a state of a subscription from any other.
fn tag(subscription: &Subscription) -> Tag {
    Tag::of(&SubscriptionOut::from(subscription))
}

/// Changes a subscription, if it is what the request is meant for, and unless `change` refuses.
pub async fn change_if(
    api: &Api,
    id: SubscriptionId,
    expected: &IfMatch,
    change: impl FnOnce(&mut Subscription) -> Result<(), Problem> + Send,
) -> Result<Arc<Subscription>, Problem> {
    let change = |subscription: &mut Subscription| {
        let is_meant = expected.require(&tag(subscription));
        // What cannot be done at all is said first.
        change(subscription)?;
        is_meant
    };
    self::change(api, id, change).await
}

/// Changes a subscription as it is where changes wait for each other: what must be so for the
/// change is asked within it.
pub async fn change(
    api: &Api,
    id: SubscriptionId,
    change: impl FnOnce(&mut Subscription) -> Result<(), Problem> + Send,
) -> Result<Arc<Subscription>, Problem> {
    api.catalog.change_subscription(id, change).await.map_err(|error| match error {
        NotChanged::Refused(problem) => problem,
        NotChanged::Failed(error) => unsaved(error, &subject(id)),
    })
}

/// Why it was not saved; all that can be taken of a subscription is its name.
fn unsaved(error: CatalogError, subject: &Subject) -> Problem {
    match error {
        CatalogError::Exists => Problem::new(
            Code::AlreadyExists,
            "Another subscription of the application has the name",
        )
        .errors([FieldError::new("/name", "is another subscription's")]),
        error => refusal::catalog(error, subject),
    }
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
    responses((status = 200, body = SubscriptionOut), Missing, Taken, Unusable, Unloadable)
)]
pub async fn change_subscription(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    expected: IfMatch,
    JsonBody(patch): JsonBody<SubscriptionPatch>,
) -> Result<Tagged<SubscriptionOut>, Problem> {
    let found = find(&api, &acting, id)?;
    expected.require(&tag(&found))?;
    let mut checker = Checker::new(&*api.endpoint_policy);
    let mut checked = checker.check(patch);
    let policy = checked.policy.as_mut();
    let secrets = schemes::settle(&mut checker, &*api.endpoint_policy, policy, &found.secrets)?;
    subscription_credentials::check(&mut checker, &checked, Some(&found));
    checker.finish()?;
    let settling = handshake::settling(&api).await;
    let found = find(&api, &acting, id)?;
    let endpoint = checked.endpoint.as_ref().unwrap_or(&found.endpoint);
    let asked = checked.policy.as_ref().unwrap_or(&found.policy).handshake.as_ref();
    let plan = handshake::Plan::of(&settling, &api, &found, endpoint, asked).await?;
    // If-Match once more, for what came since.
    let saved = change_if(&api, id, &expected, move |subscription| {
        checked.apply(subscription);
        schemes::adopt(subscription, secrets);
        subscription.state = plan.state(subscription.state);
        Ok(())
    })
    .await?;
    let saved = plan.finish(settling, &api, saved).await?;
    Ok(Tagged(tag(&saved), SubscriptionOut::from(&*saved)))
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
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    find(&api, &acting, id)?;
    api.catalog
        .delete_subscription(id, |now| expected.allows(&tag(now)))
        .await
        .map_err(|error| refusal::catalog(error, &subject(id)))?;
    Ok(StatusCode::NO_CONTENT)
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
    acting: Acting<Manage>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_secrets_differ() {
        assert_ne!(new_secret().unwrap().key(), new_secret().unwrap().key());
    }
}
