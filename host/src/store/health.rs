//! What the store keeps of endpoints that fail, and what waits for them.

use async_trait::async_trait;

use super::Result;
use crate::model::{FailingSince, SubscriptionId};

/// Endpoints that fail.
#[async_trait]
pub trait Health: Send + Sync {
    /// Since when each endpoint fails that is known to.
    async fn failing(&self) -> Result<Vec<(SubscriptionId, FailingSince)>>;
    /// Writes down since when one fails; none if it does no more.
    async fn put_failing(&self, id: SubscriptionId, failing: Option<FailingSince>) -> Result<()>;
    /// How many deliveries of a subscription are not over, those held back aside.
    async fn waiting(&self, id: SubscriptionId) -> Result<u64>;
}
