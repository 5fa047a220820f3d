//! `/v1/keys`: who is let in.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{Json, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    applications::{Created, created},
    auth::{Identity, Known, Manage, find_application, foreign, no_application},
    docs::{LastKey, Missing, Unusable},
    extract::{JsonBody, OptionalJsonBody, PathId, QueryParams, check_text},
    limit_documents, limits,
    page::{PageOut, Paging},
    preconditions::{self, IfMatch, IfNoneMatch, Tag},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::{
    access::{KeyError, MAX_KEYS, NewKey},
    model::{ApiKey, ApplicationId, KeyId, KeyScope, Scopes, Timestamp},
};

/// How long a replaced key is let in, if not said otherwise.
const DEFAULT_GRACE: u32 = 24 * 3600;
/// How long it may be.
const MAX_GRACE: u32 = 30 * 24 * 3600;

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "shop backend", "application": "shop", "scopes": ["publish"]}))]
pub struct KeyIn {
    /// What people call it; at most 100 bytes.
    name: String,
    /// Whose it is, by name or id. Left out, an admin key makes an admin key, and an
    /// application's key one of its own application.
    application: Option<String>,
    /// What it may do; `manage` includes `read`. No more than the key that makes it.
    scopes: Vec<KeyScope>,
    /// When it stops being let in: no later than the key or token that makes it. Left out, when
    /// that ends, if it does; else never.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyMade {
    #[serde(flatten)]
    about: ApiKey,
    /// The key itself. Shown once, and stored nowhere.
    #[schema(example = "hmk_app_pQn1V0mJ7zYd2sX8cT4uK6wR3eB9aL5hG0fN1iM7oZk")]
    key: String,
}

/// How to replace a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"grace_seconds": 3600}))]
pub struct KeyRotateIn {
    /// How long the old key is still let in: at most 30 days, 24 hours if not given.
    #[schema(maximum = 2_592_000, default = 86_400)]
    grace_seconds: Option<u32>,
}

/// Which keys to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyQuery {
    /// Only those of this application, by name or id.
    application: Option<String>,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The application that a request names, of those its caller can reach.
pub fn reachable(
    api: &Api,
    identity: &Identity,
    name: Option<&str>,
    at: &str,
) -> Result<Option<ApplicationId>, Problem> {
    let named = name.map(|name| (name, find_application(api, name)));
    match (&identity.home, named) {
        (None, None) => Ok(None),
        (None, Some((_, Some(found)))) => Ok(Some(found.id)),
        (None, Some((name, None))) if at.starts_with('?') => Err(no_application(api, name)),
        (None, Some((name, None))) => {
            Err(Problem::new(Code::InvalidKey, format!("There is no application {name}"))
                .errors([FieldError::new(at, "is no application's name or id")]))
        }
        (Some(home), None) => Ok(Some(home.id)),
        (Some(home), Some((_, Some(found)))) if found.id == home.id => Ok(Some(home.id)),
        (Some(home), Some(_)) => Err(foreign(home)),
    }
}

pub(super) fn find(api: &Api, identity: &Identity, id: KeyId) -> Result<ApiKey, Problem> {
    let visible =
        |key: &ApiKey| identity.home.as_ref().is_none_or(|home| key.application == Some(home.id));
    api.access.keys.get(id).filter(visible).ok_or_else(|| subject(id).not_found())
}

/// What tells a state of a key from any other. When it was used is no change of it.
fn tag(key: &ApiKey) -> Tag {
    Tag::of(&ApiKey { last_used_at: None, ..key.clone() })
}

pub(super) fn subject(id: KeyId) -> Subject {
    Subject::new("key", id.to_string())
}

fn refused(error: KeyError, id: KeyId) -> Problem {
    match error {
        KeyError::NotFound => subject(id).not_found(),
        KeyError::Changed => preconditions::failed(),
        KeyError::Last => Problem::new(
            Code::LastAdminKey,
            "It is the last key that may do everything and does not expire",
        )
        .detail("Make another first, or set `admin_key` in the server's configuration."),
        KeyError::TooMany(used) => limits::exceeded("keys", MAX_KEYS.into(), used as u64),
        KeyError::Random(cause) => Problem::internal("making a key", &cause),
        KeyError::Store(error) => refusal::store(error, &subject(id)),
    }
}

/// A key's scopes may not be more than those of whoever makes or replaces it.
fn covered(identity: &Identity, scopes: Scopes) -> Result<(), Problem> {
    if identity.caller.scopes.cover(scopes) {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidKey, "The key would have more scopes than the one that makes it")
        .errors([FieldError::new("/scopes", "has a scope that the caller's key lacks")]))
}

/// Create a key
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "Access",
    request_body = KeyIn,
    responses((status = 201, body = KeyMade), Unusable)
)]
pub async fn create_key(
    by: Known<Manage>,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<KeyIn>,
) -> Result<Created<KeyMade>, Problem> {
    let application = reachable(&api, &by.identity, given.application.as_deref(), "/application")?;
    let scopes: Scopes = given.scopes.into_iter().collect();
    let mut wrong: Vec<FieldError> =
        check_text("/name", &given.name, 100).err().into_iter().collect();
    if scopes.is_empty() {
        wrong.push(FieldError::new("/scopes", "must have at least one of read, publish, manage"));
    }
    if given.expires_at.is_some_and(|end| end <= api.clock.now()) {
        wrong.push(FieldError::new("/expires_at", "has passed"));
    }
    // Who is let in for a while lets nobody in for longer.
    let until = by.identity.caller.until;
    if let Some((end, until)) = given.expires_at.zip(until).filter(|(end, until)| end > until) {
        let why = format!("is {end}, after the end of the key or token that makes it: {until}");
        wrong.push(FieldError::new("/expires_at", why));
    }
    let expires_at = given.expires_at.or(until);
    if until.is_some_and(|until| until <= api.clock.now()) {
        wrong.push(FieldError::new("/expires_at", "has passed: so has the token that makes it"));
    }
    if !wrong.is_empty() {
        return Err(Problem::new(Code::InvalidKey, "The key cannot be made as given").errors(wrong));
    }
    covered(&by.identity, scopes)?;
    let new = NewKey { name: given.name, application, scopes, expires_at };
    let (about, key) = api
        .access
        .keys
        .create(new)
        .await
        .map_err(|error| refused(error, KeyId::first_of(Timestamp::UNIX_EPOCH)))?;
    Ok(created(format!("/v1/keys/{}", about.id), KeyMade { about, key }))
}

/// List keys
///
/// Newest first; revoked and expired ones too. An application's key sees those of its own
/// application.
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "Access",
    params(KeyQuery),
    responses((status = 200, body = PageOut<ApiKey>), Unusable)
)]
pub async fn list_keys(
    by: Known<Manage>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<KeyQuery>,
) -> Result<Json<PageOut<ApiKey>>, Problem> {
    let paging = Paging::<KeyId>::new("key", query.limit, query.cursor.as_deref())?;
    let of = reachable(&api, &by.identity, query.application.as_deref(), "?application")?;
    let keys = api.access.keys.list(of).into_iter();
    Ok(Json(paging.slice(keys, |key| key.id, |id, after| id < after)))
}

/// Get a key
#[utoipa::path(
    get,
    path = "/v1/keys/{id}",
    tag = "Access",
    params(("id" = KeyId, Path, description = "The key")),
    responses((status = 200, body = ApiKey), Missing)
)]
pub async fn get_key(
    by: Known<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<KeyId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let key = find(&api, &by.identity, id)?;
    Ok(known.answer(tag(&key), key))
}

/// Revoke a key
///
/// It is let in no more from this moment on. The last admin key that may do everything stays.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "Access",
    params(("id" = KeyId, Path, description = "The key")),
    responses((status = 204, description = "It is revoked"), Missing, LastKey)
)]
pub async fn revoke_key(
    by: Known<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<KeyId>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    find(&api, &by.identity, id)?;
    let fits = |now: &ApiKey| expected.allows(&tag(now));
    api.access.keys.revoke(id, fits).await.map_err(|error| refused(error, id))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a key
///
/// Makes a key of the same name, application, scopes, end and limits. The old one is let in until the
/// grace period ends, so that whoever uses it can change over at any moment within it.
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/rotate",
    tag = "Access",
    params(("id" = KeyId, Path, description = "The key to replace")),
    request_body = Option<KeyRotateIn>,
    responses((status = 201, body = KeyMade), Missing, Unusable)
)]
pub async fn rotate_key(
    by: Known<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<KeyId>,
    expected: IfMatch,
    OptionalJsonBody(given): OptionalJsonBody<KeyRotateIn>,
) -> Result<Created<KeyMade>, Problem> {
    let old = find(&api, &by.identity, id)?;
    covered(&by.identity, old.scopes)?;
    if let Some(until) = by.identity.caller.until
        && old.expires_at.is_none_or(|end| end > until)
    {
        let why = format!("is to end after the key or token that replaces it, which ends {until}");
        return Err(Problem::new(Code::InvalidKey, "The key cannot be replaced with this one")
            .errors([FieldError::new("/expires_at", why)]));
    }
    let grace = given.grace_seconds.unwrap_or(DEFAULT_GRACE);
    if grace > MAX_GRACE {
        let why = format!("is {grace}; at most {MAX_GRACE} are allowed");
        return Err(Problem::new(Code::InvalidKey, "The key cannot be replaced as given")
            .errors([FieldError::new("/grace_seconds", why)]));
    }
    let end = api.clock.now() + Duration::from_secs(grace.into());
    let fits = |now: &ApiKey| expected.allows(&tag(now));
    let _changing = api.changing_limits.lock().await;
    let made = api.access.keys.rotate(id, fits, end).await;
    let (about, key) = made.map_err(|error| refused(error, id))?;
    limit_documents::inherit(&api, id, about.id);
    Ok(created(format!("/v1/keys/{}", about.id), KeyMade { about, key }))
}
