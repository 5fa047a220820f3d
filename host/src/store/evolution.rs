//! What the store keeps of how versions of schemas end.

use async_trait::async_trait;

use super::Result;
use crate::model::{EventTypeName, Lifecycle};

/// See the module.
#[async_trait]
pub trait Evolution: Send + Sync {
    /// Sets how one version of its schema ends.
    async fn set_schema_lifecycle(
        &self,
        name: &EventTypeName,
        version: u32,
        lifecycle: Lifecycle,
    ) -> Result<()>;
}
