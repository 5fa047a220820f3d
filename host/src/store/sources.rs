//! What the store keeps of sources: their settings, and their secrets, sealed.

use async_trait::async_trait;

use super::Result;
use crate::model::{Source, SourceId};

/// Inbound endpoints for third parties.
#[async_trait]
pub trait SourceStore: Send + Sync {
    /// `Exists` if the application has one of that name.
    async fn create_source(&self, source: &Source) -> Result<()>;
    /// Every application's.
    async fn sources(&self) -> Result<Vec<Source>>;
    /// Replaces it whole. `Exists` if the application has another of that name.
    async fn put_source(&self, source: &Source) -> Result<()>;
    async fn delete_source(&self, id: SourceId) -> Result<()>;
}
