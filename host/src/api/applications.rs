//! `/v1/applications`: tenants.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{Json, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Admin, Manage, Read, find_application},
    docs::{Missing, Taken, Unusable, Used},
    extract::{JsonBody, PathParts, QueryParams},
    limit_documents,
    page::{PageOut, PageQuery, Paging},
    preconditions::{IfMatch, IfNoneMatch, Tag},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::model::{Application, ApplicationId, Holder};

/// The answer to a creation: where it is, and what it is.
pub type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// 201 with a `Location`.
pub fn created<T>(location: String, body: T) -> Created<T> {
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(body))
}

/// An application to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "acme"}))]
pub struct ApplicationIn {
    /// Unique; lower-case letters, digits, `-`, `_`, `.`; at most 64.
    #[schema(pattern = "^[a-z0-9._-]{1,64}$")]
    name: String,
}

/// Create an application
#[utoipa::path(
    post,
    path = "/v1/applications",
    tag = "Applications",
    request_body = ApplicationIn,
    responses((status = 201, body = Application), Taken, Unusable)
)]
pub async fn create_application(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<ApplicationIn>,
) -> Result<Created<Application>, Problem> {
    // A name that reads as an id could never be reached by name.
    if !Application::is_valid_name(&given.name) || given.name.parse::<ApplicationId>().is_ok() {
        return Err(Problem::new(Code::InvalidName, "The name cannot be an application's").errors(
            [FieldError::new("/name", "1 to 64 lower-case letters, digits, `-`, `_` or `.`")],
        ));
    }
    let subject = Subject::new("application", &given.name);
    let application = api
        .catalog
        .create_application(&given.name)
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    let location = format!("/v1/applications/{}", application.id);
    Ok(created(location, Application::clone(&application)))
}

/// List applications
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/applications",
    tag = "Applications",
    params(PageQuery),
    responses((status = 200, body = PageOut<Application>))
)]
pub async fn list_applications(
    _: Admin<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<Application>>, Problem> {
    let paging = Paging::<ApplicationId>::new("app", query.limit, query.cursor.as_deref())?;
    let mut all = api.catalog.applications();
    all.sort_unstable_by_key(|application| std::cmp::Reverse(application.id));
    let page = paging.slice(
        all.into_iter().map(Arc::unwrap_or_clone),
        |application| application.id,
        |id, after| id < after,
    );
    Ok(Json(page))
}

/// Get an application
///
/// By id or name.
#[utoipa::path(
    get,
    path = "/v1/applications/{application}",
    tag = "Applications",
    params(("application" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Application), Missing)
)]
pub async fn get_application(
    _: Admin<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let application = find_application(&api, &name)
        .ok_or_else(|| Subject::new("application", &name).not_found())?;
    Ok(known.answer(Tag::of(&*application), &*application))
}

/// Delete an application
///
/// Only one without subscriptions and events can go, and `default` always stays.
#[utoipa::path(
    delete,
    path = "/v1/applications/{application}",
    tag = "Applications",
    params(("application" = String, Path, description = "Its id or name")),
    responses((status = 204, description = "It is gone"), Missing, Used)
)]
pub async fn delete_application(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    let subject = Subject::new("application", &name);
    let application = find_application(&api, &name).ok_or_else(|| subject.not_found())?;
    if application.name == Application::DEFAULT {
        expected.require(&Tag::of(&*application))?;
        return Err(subject.in_use("every request that names no application"));
    }
    let _changing = api.changing_limits.lock().await;
    api.catalog
        .delete_application(application.id, |now| expected.allows(&Tag::of(now)))
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    api.access.keys.forget(application.id);
    limit_documents::forget(&api, &Holder::Application(application.id));
    Ok(StatusCode::NO_CONTENT)
}
