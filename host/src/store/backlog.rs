//! How much waits, for gauges.

use async_trait::async_trait;

use super::Result;
use crate::model::Timestamp;

/// Deliveries that are not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Due now or later, those under way included.
    pub pending: u64,
    /// Kept back.
    pub held: u64,
    /// Given up, and still there to be tried again.
    pub dead: u64,
    /// When the first of the pending ones is, or was, due.
    pub first_due: Option<Timestamp>,
}

/// What is counted now and then.
#[async_trait]
pub trait Counts: Send + Sync {
    /// Counts the deliveries that are not done. The work grows with their number: not for
    /// every scrape.
    async fn backlog(&self) -> Result<Backlog>;
    /// Bytes of the database that are in use: what is free in its file for what comes next is
    /// left out.
    async fn used_bytes(&self) -> Result<u64>;
}
