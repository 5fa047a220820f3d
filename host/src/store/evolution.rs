//! What the store keeps of how event types change.

use async_trait::async_trait;

use super::Result;
use crate::model::{Compatibility, EventTypeName, Lifecycle, Timestamp};

/// See the module.
#[async_trait]
pub trait Evolution: Send + Sync {
    /// Sets what a new version must be to the last, and since when the type takes no events.
    async fn set_evolution(
        &self,
        name: &EventTypeName,
        compatibility: Compatibility,
        lifecycle: Lifecycle,
        archived_at: Option<Timestamp>,
    ) -> Result<()>;
    /// Sets how one version of its schema ends.
    async fn set_schema_lifecycle(
        &self,
        name: &EventTypeName,
        version: u32,
        lifecycle: Lifecycle,
    ) -> Result<()>;
}
