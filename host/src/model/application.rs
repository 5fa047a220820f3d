//! An application: a tenant, owner of subscriptions, keys, events and its own plugins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApplicationId;

/// A tenant. One called `default` exists from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Application {
    /// `app_…`
    pub id: ApplicationId,
    /// Unique; lower-case letters, digits, `-`, `_`, `.`; at most 64.
    pub name: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl Application {
    /// The application that a single-tenant user never has to name.
    pub const DEFAULT: &'static str = "default";

    /// The application that hears of what happens to all of them, if there is one.
    pub const OPERATOR: &'static str = "hookmill-operator";

    /// Whether `name` may name an application.
    pub fn is_valid_name(name: &str) -> bool {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
            })
    }
}
