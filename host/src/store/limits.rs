//! What the store keeps of limits: a document for each holder that has its own.

use async_trait::async_trait;

use super::Result;
use crate::model::{Holder, Limits};

/// Limits, at most one document for each holder.
#[async_trait]
pub trait LimitDocuments: Send + Sync {
    /// Keeps a holder's limits, in place of those it had.
    async fn put_limits(&self, holder: &Holder, limits: &Limits) -> Result<()>;
    /// Everybody's.
    async fn limits(&self) -> Result<Vec<(Holder, Limits)>>;
}
