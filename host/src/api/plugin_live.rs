//! Which version of a plugin is live: promotion, rollback, and the history of both.

use std::sync::Arc;

use axum::{extract::State, response::Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Acting, Manage, Read},
    docs::{Breaks, Missing, Unloadable},
    extract::{JsonBody, PathParts, QueryParams},
    page::{PageOut, Paging},
    plugins::{
        OwnerQuery, owner_of, owner_to_change, plugin_subject, tag, tag_now, version_of,
        version_subject,
    },
    preconditions::{IfMatch, Tagged},
    problem::Problem,
    refusal,
};
use crate::{
    catalog::Move,
    model::{PluginChange, PluginVersion},
};

/// Which version goes live.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": "1.2.0"}))]
pub struct LiveIn {
    /// The version.
    version: String,
    /// Whether configs that its schema refuses are accepted: their steps then fail, run by
    /// run, until they are changed.
    #[serde(default)]
    force: bool,
}

/// Whether a rollback is forced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackIn {
    /// Whether configs that the version's schema refuses are accepted.
    #[serde(default)]
    force: bool,
}

/// Set the live version
///
/// Steps that name no version run it for events accepted from now on. Refused if the config
/// of such a step would not satisfy its schema, unless forced. A rollout of the plugin ends,
/// and a quarantine of the version is lifted. `If-Match` takes the plugin's tag, and the answer has
/// its new one.
#[utoipa::path(
    put,
    path = "/v1/plugins/{name}/live",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    request_body = LiveIn,
    responses((status = 200, body = PluginVersion), Missing, Breaks, Unloadable)
)]
pub async fn set_live_version(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    expected: IfMatch,
    JsonBody(given): JsonBody<LiveIn>,
) -> Result<Tagged<PluginVersion>, Problem> {
    let owner = owner_to_change(&api, &acting, &name, query.shared)?;
    version_of(&api, &acting, &name, Some(&given.version), query.shared)?;
    let subject = version_subject(&name, &given.version);
    let how = Move { force: given.force, by: &acting.by };
    let fits = |now: &[Arc<PluginVersion>]| expected.allows(&tag(now));
    let saved = api.catalog.set_live(owner, &name, &given.version, fits, how).await;
    let saved = saved.map_err(|error| refusal::catalog(error, &subject))?;
    Ok(Tagged(tag_now(&api, owner, &name), Arc::unwrap_or_clone(saved)))
}

/// Roll back
///
/// Makes the version live that was live before the one that is. Doing it again goes back one
/// more. `If-Match` takes the plugin's tag, and the answer has its new one.
#[utoipa::path(
    post,
    path = "/v1/plugins/{name}/rollback",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    request_body = RollbackIn,
    responses((status = 200, body = PluginVersion), Missing, Breaks, Unloadable)
)]
pub async fn roll_back(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    expected: IfMatch,
    JsonBody(given): JsonBody<RollbackIn>,
) -> Result<Tagged<PluginVersion>, Problem> {
    let owner = owner_to_change(&api, &acting, &name, query.shared)?;
    let how = Move { force: given.force, by: &acting.by };
    let fits = |now: &[Arc<PluginVersion>]| expected.allows(&tag(now));
    let saved = api.catalog.roll_back(owner, &name, fits, how).await;
    let saved = saved.map_err(|error| refusal::catalog(error, &plugin_subject(&name)))?;
    Ok(Tagged(tag_now(&api, owner, &name), Arc::unwrap_or_clone(saved)))
}

/// Which page of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Means the shared plugin of this name, though the application has its own.
    #[serde(default)]
    shared: bool,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List what was done to a plugin
///
/// Newest first: which version went live when and by whom, rollouts, quarantines.
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/history",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), HistoryQuery),
    responses((status = 200, body = PageOut<PluginChange>), Missing)
)]
pub async fn list_plugin_history(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<HistoryQuery>,
) -> Result<Json<PageOut<PluginChange>>, Problem> {
    let paging = Paging::<i64>::new("plgh", query.limit, query.cursor.as_deref())?;
    let owner = owner_of(&api, &acting, &name, query.shared)?;
    let page = api
        .store
        .plugin_history(owner, &name, paging.after, paging.limit)
        .await
        .map_err(|error| refusal::store(error, &plugin_subject(&name)))?;
    let page = paging.page(page.items, page.more, |(row, _)| *row);
    let data = page.data.into_iter().map(|(_, change)| change).collect();
    Ok(Json(PageOut { data, next_cursor: page.next_cursor }))
}
