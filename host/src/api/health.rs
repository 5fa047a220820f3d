//! Whether the server is well: for load balancers, supervisors and Prometheus. Needs no key
//! and says nothing about tenants.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Json, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    docs::Unready,
    problem::{Code, Problem},
};

/// How it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Is the process alive?
///
/// Asks nothing else, so a slow database does not get the process killed.
#[utoipa::path(get, path = "/healthz", tag = "Server", responses((status = 200, body = Health)))]
pub async fn healthz() -> Json<Health> {
    OK
}

/// Does the server take requests?
///
/// Yes once it has started, until it is told to stop, and while its database answers.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Server",
    responses((status = 200, body = Health), Unready)
)]
pub async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    if !api.ready.load(Ordering::Acquire) {
        return Err(Problem::new(Code::NotReady, "The server is starting or stopping"));
    }
    match api.store.ping().await {
        Ok(()) => Ok(OK),
        Err(cause) => {
            tracing::warn!(%cause, "not ready");
            Err(Problem::new(Code::NotReady, "The database does not answer"))
        }
    }
}

/// Read the metrics
///
/// Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Server",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let text = (api.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
