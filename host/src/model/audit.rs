//! The audit log's words: who changed what, and how it was before and after.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ApplicationId, AuditId};

/// What is known of a change's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// The server stopped before it could say; look at the resource.
    Unknown,
    /// It was made.
    Done,
}

/// A change that somebody made, or was about to make.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// `aud_…`
    pub id: AuditId,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whose key or token: `key_…`, `configured-key`, `jwt:` and its subject, `portal:` and
    /// the token's id.
    #[schema(value_type = String)]
    pub actor: Arc<str>,
    /// What the key is called.
    #[schema(value_type = String)]
    pub actor_name: Arc<str>,
    /// The operation, by its id in the OpenAPI document.
    #[schema(example = "pause_subscription")]
    pub action: String,
    /// What kind of thing it concerns.
    #[schema(example = "subscription")]
    pub resource: String,
    /// Which one; null if that is not known.
    pub resource_id: Option<String>,
    /// Whose it is; null for the platform's.
    pub application: Option<ApplicationId>,
    /// The request's id, as in its `X-Request-Id` and in the server's log.
    pub request_id: String,
    /// What is known of its end.
    pub outcome: ChangeOutcome,
    /// The thing, or the part of it that is changed, as the API showed it before; null if it was
    /// not there.
    pub before: Option<Value>,
    /// The same afterwards; null if it is gone. `made` in it is the id of something else that
    /// the change made, such as a rotated key's successor.
    pub after: Option<Value>,
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this application.
    pub application: Option<ApplicationId>,
    /// By whoever this is.
    pub actor: Option<String>,
    /// Of this operation.
    pub action: Option<String>,
    /// Of this kind of thing.
    pub resource: Option<String>,
    /// Of this thing.
    pub resource_id: Option<String>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}
