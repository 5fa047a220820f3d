//! `/v1/backtests`: what another version of a plugin would have made of recorded events.
//!
//! Owns the routes; [`crate::backtest`] owns the jobs. Nothing is stored, nothing is sent.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Json, Response},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage, Read},
    docs::{ManyBacktests, Missing, SavedConfigs, Unloadable, Untestable},
    extract::{JsonBody, PathId, PathParts, QueryParams},
    page::{PageOut, PageQuery, Paging},
    plugins::{OwnerQuery, version_of, version_subject},
    problem::Problem,
    refusal::{self, Subject},
};
use crate::{
    backtest::{DEFAULT_LAST, MAX_LAST, Report, Request, Summary},
    model::{BacktestId, SubscriptionId},
};

/// What to compare.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": "1.3.0", "last": 1000}))]
pub struct BacktestIn {
    /// The version on trial.
    version: String,
    /// The version it is compared with; what each subscription runs now, if not given.
    against: Option<String>,
    /// The subscription; all that use the plugin and take events, if not given. If this one
    /// does not use the plugin, the plugin is tried as one step more, at the end.
    subscription_id: Option<SubscriptionId>,
    /// The candidate's configuration, and that of `against`; what each subscription has saved,
    /// if not given.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// How many events, the newest first, of those the subscriptions listen to.
    #[schema(minimum = 1, maximum = 100_000, default = 1000)]
    last: Option<u32>,
}

fn subject(id: BacktestId) -> Subject {
    Subject::new("backtest", id)
}

/// Start a backtest
///
/// Runs a version of a plugin over recorded events, beside what subscriptions run now, and
/// compares what would be sent. Nothing is delivered and nothing is stored: the job is in the
/// server's memory, and gone after a restart. It gives way to deliveries.
#[utoipa::path(
    post,
    path = "/v1/plugins/{name}/backtests",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    request_body = BacktestIn,
    responses(
        (status = 202, body = Report, description = "It runs"),
        Missing, SavedConfigs, Untestable, ManyBacktests, Unloadable
    )
)]
pub async fn start_backtest(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    JsonBody(given): JsonBody<BacktestIn>,
) -> Result<Response, Problem> {
    let version = |version: &str| version_of(&api, &acting, &name, Some(version), query.shared);
    let request = Request {
        application: acting.application.id,
        candidate: version(&given.version)?,
        against: given.against.as_deref().map(version).transpose()?,
        subscription: given.subscription_id,
        config: given.config,
        last: given.last.unwrap_or(DEFAULT_LAST),
    };
    let report = api.backtests.start(request).await;
    let report = report
        .map_err(|error| refusal::backtest(error, &version_subject(&name, &given.version)))?;
    let location = format!("/v1/backtests/{}", report.summary.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(report)).into_response())
}

/// List backtests
///
/// Newest first, without their particulars. The server remembers the last 32 of all
/// applications together, until it is restarted.
#[utoipa::path(
    get,
    path = "/v1/backtests",
    tag = "Plugins",
    params(PageQuery),
    responses((status = 200, body = PageOut<Summary>))
)]
pub async fn list_backtests(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<Summary>>, Problem> {
    let paging = Paging::<BacktestId>::new("bkt", query.limit, query.cursor.as_deref())?;
    let all = api.backtests.list(acting.application.id);
    Ok(Json(paging.slice(all, |summary| summary.id, |place, after| place < after)))
}

/// Get a backtest
///
/// How far it is, and what it has found so far.
#[utoipa::path(
    get,
    path = "/v1/backtests/{id}",
    tag = "Plugins",
    params(("id" = BacktestId, Path, description = "The backtest")),
    responses((status = 200, body = Report), Missing)
)]
pub async fn get_backtest(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<BacktestId>,
) -> Result<Json<Report>, Problem> {
    let report = api.backtests.get(acting.application.id, id);
    report.map(Json).ok_or_else(|| subject(id).not_found())
}

/// Cancel a backtest
///
/// What it has found so far stays. One that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/backtests/{id}",
    tag = "Plugins",
    params(("id" = BacktestId, Path, description = "The backtest")),
    responses((status = 204, description = "It has ended"), Missing)
)]
pub async fn cancel_backtest(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<BacktestId>,
) -> Result<StatusCode, Problem> {
    if api.backtests.cancel(acting.application.id, id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(subject(id).not_found())
    }
}

// The document says so in numbers, which an attribute cannot take from a constant.
const _: () = assert!(MAX_LAST == 100_000 && DEFAULT_LAST == 1_000);
