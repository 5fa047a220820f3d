//! `…/limits` and `…/usage`: where the operator sets what an application, an event type or a
//! key may take, and sees what is taken.
//!
//! Owns the order of changes: one at a time, in the store first. What limits come to is
//! decided in [`crate::limits`].

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::State,
    response::{Json, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Admin, Known, Manage, Read, find_application},
    docs::{Missing, Unusable},
    extract::{JsonBody, PathId, PathParts},
    keys, limits,
    preconditions::{IfMatch, IfNoneMatch, Tag, Tagged},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::model::{Holder, KeyId, Limits, Usage};

/// What somebody may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitsOut {
    /// What was set for it.
    pub own: Limits,
    /// What holds: that, else the server's default. What is in neither has no limit.
    pub effective: Limits,
}

/// What an application has of what is limited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageOut {
    /// Subscriptions, disabled ones included.
    pub subscriptions: usize,
    /// Versions of plugins of its own.
    pub plugin_versions: usize,
    /// Events that are stored.
    pub events: u64,
    /// Bytes of their payloads, those that are kept no longer left out.
    pub stored_bytes: u64,
    /// What it may have.
    pub limits: Limits,
}

fn shown(api: &Api, holder: &Holder) -> LimitsOut {
    LimitsOut { own: api.rates.own(holder), effective: api.rates.effective(holder) }
}

fn tagged(api: &Api, holder: &Holder) -> Tagged<LimitsOut> {
    let shown = shown(api, holder);
    Tagged(Tag::of(&shown), shown)
}

fn get(api: &Api, holder: &Holder, known: &IfNoneMatch) -> Response {
    let Tagged(tag, shown) = tagged(api, holder);
    known.answer(tag, shown)
}

async fn set(
    api: &Api,
    holder: &Holder,
    limits: &Limits,
    expected: &IfMatch,
    subject: &Subject,
) -> Result<Tagged<LimitsOut>, Problem> {
    let wrong = limits.check(holder);
    if !wrong.is_empty() {
        let errors = wrong.into_iter().map(|(at, why)| FieldError::new(at, why));
        return Err(Problem::new(Code::InvalidField, "The limits cannot be used").errors(errors));
    }
    let _changing = api.changing_limits.lock().await;
    expected.require(&tagged(api, holder).0)?;
    api.store.put_limits(holder, limits).await.map_err(|e| refusal::store(e, subject))?;
    api.rates.set(holder, limits);
    Ok(tagged(api, holder))
}

/// Forgets the own limits of what is gone, and of keys that are. The store did it already.
pub fn forget(api: &Api, gone: &Holder) {
    api.rates.set(gone, &Limits::default());
    keep_those_of_keys(api);
}

/// Keys that ended are deleted by and by: when others come to have limits, theirs go.
fn keep_those_of_keys(api: &Api) {
    if api.rates.has_keys() {
        let there: HashSet<String> =
            api.access.keys.list(None).into_iter().map(|key| key.id.to_string()).collect();
        api.rates.keep_keys(|key| there.contains(key));
    }
}

fn key(id: KeyId) -> Holder {
    Holder::Key(id.to_string().into())
}

/// Gives a key the limits of the one it is in place of, as the store has done.
pub fn inherit(api: &Api, old: KeyId, new: KeyId) {
    let limits = api.rates.own(&key(old));
    if limits != Limits::default() {
        api.rates.set(&key(new), &limits);
        keep_those_of_keys(api);
    }
}

fn application(api: &Api, name: &str) -> Result<(Holder, Subject), Problem> {
    let subject = Subject::new("application", name);
    let found = find_application(api, name).ok_or_else(|| subject.not_found())?;
    Ok((Holder::Application(found.id), subject))
}

fn event_type(api: &Api, name: &str) -> Result<(Holder, Subject), Problem> {
    let subject = Subject::new("event type", name);
    let known = name.parse().ok().filter(|name| api.catalog.event_type(name).is_some());
    let name = known.ok_or_else(|| subject.not_found())?;
    Ok((Holder::EventType(name), subject))
}

/// Get an application's limits
#[utoipa::path(
    get,
    path = "/v1/applications/{application}/limits",
    tag = "Applications",
    params(("application" = String, Path, description = "Its id or name")),
    responses((status = 200, body = LimitsOut), Missing)
)]
pub async fn get_application_limits(
    _: Admin<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let (holder, _) = application(&api, &name)?;
    Ok(get(&api, &holder, &known))
}

/// Set an application's limits
///
/// In place of all it had: what is left out is the server's default again.
#[utoipa::path(
    put,
    path = "/v1/applications/{application}/limits",
    tag = "Applications",
    params(("application" = String, Path, description = "Its id or name")),
    request_body = Limits,
    responses((status = 200, body = LimitsOut), Missing, Unusable)
)]
pub async fn set_application_limits(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    expected: IfMatch,
    JsonBody(limits): JsonBody<Limits>,
) -> Result<Tagged<LimitsOut>, Problem> {
    let (holder, subject) = application(&api, &name)?;
    set(&api, &holder, &limits, &expected, &subject).await
}

/// Get what an application uses
///
/// Of what it may have: subscriptions, versions of plugins, and what its events take.
#[utoipa::path(
    get,
    path = "/v1/applications/{application}/usage",
    tag = "Applications",
    params(("application" = String, Path, description = "Its id or name")),
    responses((status = 200, body = UsageOut), Missing)
)]
pub async fn get_application_usage(
    _: Admin<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
) -> Result<Json<UsageOut>, Problem> {
    let subject = Subject::new("application", &name);
    let id = find_application(&api, &name).ok_or_else(|| subject.not_found())?.id;
    let Usage { events, stored_bytes } = api.store.usage(id);
    Ok(Json(UsageOut {
        subscriptions: api.catalog.subscriptions(id).len(),
        plugin_versions: limits::own_plugins(&api, id),
        events,
        stored_bytes,
        limits: api.rates.effective(&Holder::Application(id)),
    }))
}

/// Get an event type's limits
#[utoipa::path(
    get,
    path = "/v1/event-types/{name}/limits",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    responses((status = 200, body = LimitsOut), Missing)
)]
pub async fn get_event_type_limits(
    _: Admin<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let (holder, _) = event_type(&api, &name)?;
    Ok(get(&api, &holder, &known))
}

/// Set an event type's limits
///
/// In place of all it had. The rate is each application's own.
#[utoipa::path(
    put,
    path = "/v1/event-types/{name}/limits",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    request_body = Limits,
    responses((status = 200, body = LimitsOut), Missing, Unusable)
)]
pub async fn set_event_type_limits(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    expected: IfMatch,
    JsonBody(limits): JsonBody<Limits>,
) -> Result<Tagged<LimitsOut>, Problem> {
    let (holder, subject) = event_type(&api, &name)?;
    set(&api, &holder, &limits, &expected, &subject).await
}

/// Get a key's limits
///
/// An application's key sees those of its own application's keys.
#[utoipa::path(
    get,
    path = "/v1/keys/{id}/limits",
    tag = "Access",
    params(("id" = KeyId, Path, description = "The key")),
    responses((status = 200, body = LimitsOut), Missing)
)]
pub async fn get_key_limits(
    by: Known<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<KeyId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    keys::find(&api, &by.identity, id)?;
    Ok(get(&api, &key(id), &known))
}

/// Set a key's limits
///
/// In place of all it had. A key that it is replaced by has them, too.
#[utoipa::path(
    put,
    path = "/v1/keys/{id}/limits",
    tag = "Access",
    params(("id" = KeyId, Path, description = "The key")),
    request_body = Limits,
    responses((status = 200, body = LimitsOut), Missing, Unusable)
)]
pub async fn set_key_limits(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<KeyId>,
    expected: IfMatch,
    JsonBody(limits): JsonBody<Limits>,
) -> Result<Tagged<LimitsOut>, Problem> {
    let subject = keys::subject(id);
    api.access.keys.get(id).ok_or_else(|| subject.not_found())?;
    let answer = set(&api, &key(id), &limits, &expected, &subject).await?;
    keep_those_of_keys(&api);
    Ok(answer)
}
