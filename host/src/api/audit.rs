//! `/v1/audit`: who changed what.

use std::sync::Arc;

use axum::{extract::State, response::Json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Api,
    auth::{Known, Read},
    docs::Unusable,
    extract::QueryParams,
    keys::reachable,
    page::{PageOut, Paging},
    problem::Problem,
    refusal::{self, Subject},
};
use crate::model::{AuditEntry, AuditFilter, AuditId, Timestamp};

/// Which entries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only what concerns this application, by name or id.
    application: Option<String>,
    /// Only what was done by this one, as entries name it: `key_…`, `configured-key`, `jwt:…`,
    /// `portal:…`.
    actor: Option<String>,
    /// Only this operation, by its id in this document: `pause_subscription`.
    action: Option<String>,
    /// Only this kind of thing: `subscription`.
    resource: Option<String>,
    /// Only this thing.
    resource_id: Option<String>,
    /// At or after.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List changes
///
/// Newest first. An application's key sees what concerns its own application, an admin key
/// everything.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "Access",
    params(AuditQuery),
    responses((status = 200, body = PageOut<AuditEntry>), Unusable)
)]
pub async fn list_audit(
    by: Known<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<AuditQuery>,
) -> Result<Json<PageOut<AuditEntry>>, Problem> {
    let paging = Paging::<AuditId>::new("aud", query.limit, query.cursor.as_deref())?;
    let application = reachable(&api, &by.identity, query.application.as_deref(), "?application")?;
    let filter = AuditFilter {
        application,
        actor: query.actor,
        action: query.action,
        resource: query.resource,
        resource_id: query.resource_id,
        since: query.since,
        until: query.until,
    };
    let page = api
        .store
        .audit(&filter, paging.after, paging.limit)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("audit log", "")))?;
    Ok(Json(paging.page(page.items, page.more, |entry| entry.id)))
}
