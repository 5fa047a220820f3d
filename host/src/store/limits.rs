//! What the store keeps of limits: a document for each holder that has its own, and what is
//! used of what applications may store.

use async_trait::async_trait;

use super::Result;
use crate::model::{ApplicationId, Holder, Limits, Usage};

/// Limits, at most one document for each holder, and what is counted against them.
#[async_trait]
pub trait LimitDocuments: Send + Sync {
    /// Keeps a holder's limits, in place of those it had; `NotFound` if there is no such
    /// holder. They go with it.
    async fn put_limits(&self, holder: &Holder, limits: &Limits) -> Result<()>;
    /// Everybody's.
    async fn limits(&self) -> Result<Vec<(Holder, Limits)>>;
    /// What an application's events take. Kept in memory: asking costs nothing.
    fn usage(&self, application: ApplicationId) -> Usage;
}
