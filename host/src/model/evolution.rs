//! How an event type changes: what a new schema must be to the last, and how types and versions
//! end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new version of a schema must be to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compatibility {
    /// Whatever the last accepts, the new one accepts.
    Backward,
    /// Whatever the new one accepts, the last accepts.
    Forward,
    /// Both.
    Full,
    /// Anything.
    #[default]
    None,
}

impl Compatibility {
    /// Whether what the last accepts must be accepted.
    pub const fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::Full)
    }

    /// Whether the last must accept what is accepted.
    pub const fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::Full)
    }
}

/// Since when producers should leave something, and until when they may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Lifecycle {
    /// Since when it is deprecated. It works as before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deprecated_at: Option<Timestamp>,
    /// When it is said to end. Nothing ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sunset_at: Option<Timestamp>,
}
