//! `/v1/portal-tokens`: for a while, an application's own people may look after its webhooks.

use std::{sync::Arc, time::Duration};

use axum::{Extension, extract::State, http::StatusCode, response::Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Api,
    auditor::Made,
    auth::{Acting, Manage},
    docs::Unusable,
    extract::OptionalJsonBody,
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::model::Timestamp;

/// How long a token is good, if not said otherwise.
const DEFAULT_LIFETIME: u32 = 3600;
/// How long it may be.
const MAX_LIFETIME: u32 = 24 * 3600;

/// A token to make.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"expires_in_seconds": 900}))]
pub struct PortalTokenIn {
    /// How long it is good: at most 24 hours, 1 hour if not given, and no longer than the key or
    /// token that makes it.
    #[schema(minimum = 1, maximum = 86_400, default = 3600)]
    expires_in_seconds: Option<u32>,
    /// Whether it may only read.
    #[serde(default)]
    read_only: bool,
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalTokenOut {
    /// The token, to be sent as `Authorization: Bearer …`. Shown once.
    #[schema(example = "hmk_portal_AZPx…")]
    token: String,
    /// What the audit log calls whoever uses it.
    actor: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Make a portal token
///
/// It acts for the application of this request: it reads and changes subscriptions, deliveries
/// and replays, and reads event types, and nothing else.
#[utoipa::path(
    post,
    path = "/v1/portal-tokens",
    tag = "Access",
    request_body = Option<PortalTokenIn>,
    responses((status = 201, body = PortalTokenOut), Unusable)
)]
pub async fn create_portal_token(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    OptionalJsonBody(given): OptionalJsonBody<PortalTokenIn>,
) -> Result<(StatusCode, Extension<Made>, Json<PortalTokenOut>), Problem> {
    let lifetime = given.expires_in_seconds.unwrap_or(DEFAULT_LIFETIME);
    if !(1..=MAX_LIFETIME).contains(&lifetime) {
        let why = format!("is {lifetime}; 1 to {MAX_LIFETIME} are allowed");
        return Err(Problem::new(Code::InvalidKey, "The token cannot be made as given")
            .errors([FieldError::new("/expires_in_seconds", why)]));
    }
    // Who is let in for a while lets nobody in for longer.
    let left = acting.until.map(|until| api.clock.until(until)).unwrap_or(Duration::MAX);
    if left.is_zero() {
        let why = "none is left: the token that makes it has ended";
        return Err(Problem::new(Code::InvalidKey, "The token cannot be made as given")
            .errors([FieldError::new("/expires_in_seconds", why)]));
    }
    let lifetime = Duration::from_secs(lifetime.into()).min(left);
    let token = api.access.portal.issue(acting.application.id, lifetime, !given.read_only);
    let about = json!({"expires_at": token.expires_at, "read_only": given.read_only});
    let made = Made { name: token.id.clone(), about };
    let out = PortalTokenOut { token: token.text, actor: token.id, expires_at: token.expires_at };
    Ok((StatusCode::CREATED, Extension(made), Json(out)))
}

/// Revoke all portal tokens of the application
///
/// They are let in no more from this moment on.
#[utoipa::path(
    delete,
    path = "/v1/portal-tokens",
    tag = "Access",
    responses((status = 204, description = "They are revoked"))
)]
pub async fn revoke_portal_tokens(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
) -> Result<StatusCode, Problem> {
    let subject = Subject::new("application", acting.application.name.clone());
    api.access
        .portal
        .revoke(acting.application.id)
        .await
        .map_err(|error| refusal::store(error, &subject))?;
    Ok(StatusCode::NO_CONTENT)
}
