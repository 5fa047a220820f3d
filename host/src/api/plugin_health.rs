//! How plugin versions do at work: counts, the last failures, quarantine.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Acting, Manage, Read},
    docs::Missing,
    extract::{PathParts, QueryParams},
    page::{PageOut, Paging},
    plugins::{OwnerQuery, version_of, version_subject},
    problem::Problem,
    refusal::{self, Subject},
};
use crate::{
    model::{PluginFailure, Quarantine},
    watch::VersionStats,
};

/// How a version does.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthOut {
    /// The plugin.
    name: String,
    /// The version.
    version: String,
    /// Why it is out of service for the application, if it is.
    quarantine: Option<Quarantine>,
    #[serde(flatten)]
    stats: VersionStats,
}

/// Get a version's statistics
///
/// What its runs for the application's deliveries came to since the server started, and
/// whether it is quarantined.
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/versions/{version}/stats",
    tag = "Plugins",
    params(
        ("name" = String, Path, description = "The plugin"),
        ("version" = String, Path, description = "For example `1.2.0`"),
        OwnerQuery
    ),
    responses((status = 200, body = HealthOut), Missing)
)]
pub async fn plugin_version_stats(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, String)>,
    QueryParams(query): QueryParams<OwnerQuery>,
) -> Result<Json<HealthOut>, Problem> {
    let found = version_of(&api, &acting, &name, Some(&version), query.shared)?;
    let application = acting.application.id;
    let quarantine = api.catalog.quarantine_of(application, &found.sha256);
    Ok(Json(HealthOut {
        name,
        version,
        quarantine: quarantine.map(Arc::unwrap_or_clone),
        stats: api.watch.stats(Some(application), &found.sha256),
    }))
}

/// Which page of a version's failures.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FailuresQuery {
    /// Means the shared plugin of this name, though the application has its own.
    #[serde(default)]
    shared: bool,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List a version's last failures
///
/// Newest first, at most 50: what failed on which event with which config, the guest's
/// functions where it happened, and what it noted. Of many within a second, five are kept.
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/versions/{version}/failures",
    tag = "Plugins",
    params(
        ("name" = String, Path, description = "The plugin"),
        ("version" = String, Path, description = "For example `1.2.0`"),
        FailuresQuery
    ),
    responses((status = 200, body = PageOut<PluginFailure>), Missing)
)]
pub async fn list_plugin_failures(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, String)>,
    QueryParams(query): QueryParams<FailuresQuery>,
) -> Result<Json<PageOut<PluginFailure>>, Problem> {
    let paging = Paging::<i64>::new("plgf", query.limit, query.cursor.as_deref())?;
    let found = version_of(&api, &acting, &name, Some(&version), query.shared)?;
    let page = api
        .store
        .failures(acting.application.id, &found.sha256, paging.after, paging.limit)
        .await
        .map_err(|error| refusal::store(error, &version_subject(&name, &version)))?;
    let page = paging.page(page.items, page.more, |(row, _)| *row);
    let data = page.data.into_iter().map(|(_, failure)| failure).collect();
    Ok(Json(PageOut { data, next_cursor: page.next_cursor }))
}

/// Release a quarantined version
///
/// Brings it back into service for the application: deliveries that were held for it are due
/// at once. Making a version live, or trying it as a candidate, does the same.
#[utoipa::path(
    post,
    path = "/v1/plugins/{name}/versions/{version}/release",
    tag = "Plugins",
    params(
        ("name" = String, Path, description = "The plugin"),
        ("version" = String, Path, description = "For example `1.2.0`"),
        OwnerQuery
    ),
    responses((status = 204, description = "It is back in service"), Missing)
)]
pub async fn release_plugin_version(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, String)>,
    QueryParams(query): QueryParams<OwnerQuery>,
) -> Result<StatusCode, Problem> {
    let found = version_of(&api, &acting, &name, Some(&version), query.shared)?;
    let subject = Subject::new("quarantine of", format_args!("{name}@{version}"));
    api.catalog
        .release(acting.application.id, &found.sha256, &acting.by)
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    Ok(StatusCode::NO_CONTENT)
}
