//! What the store keeps of handshakes: each endpoint's last answer.

use async_trait::async_trait;

use super::Result;
use crate::model::{HandshakeRecord, SubscriptionId};

/// Handshakes, at most one for each subscription.
#[async_trait]
pub trait Handshakes: Send + Sync {
    /// Keeps how a subscription's endpoint answered, in place of its last answer; `NotFound` if
    /// there is no such subscription any more.
    async fn put_handshake(&self, id: SubscriptionId, record: &HandshakeRecord) -> Result<()>;
    /// How it answered last; none if it was never asked.
    async fn handshake(&self, id: SubscriptionId) -> Result<Option<HandshakeRecord>>;
}
