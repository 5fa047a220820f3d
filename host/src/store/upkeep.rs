//! What keeps a store in order while it works: letting go of what is old, and copies of it.

use std::{fs::File, time::Duration};

use async_trait::async_trait;

use super::Result;
use crate::model::{SubscriptionId, Timestamp};

/// What is let go of by age. An event's age counts from its acceptance or the end of its last
/// delivery, whichever is later; one with a delivery that has not ended has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Old {
    /// Events' payloads, and what pipelines made of them.
    Payloads,
    /// Attempts, with what endpoints answered.
    Attempts,
    /// Whole events, with all that belongs to them.
    Events,
}

impl Old {
    /// All of it, what goes first first.
    pub const ALL: [Self; 3] = [Self::Payloads, Self::Attempts, Self::Events];
}

/// One step of a walk over events, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct PurgeStep {
    /// What to let go of.
    pub what: Old,
    /// What is older than this goes.
    pub before: Timestamp,
    /// Deliveries that have not ended by themselves are cancelled if their event is older.
    pub cancel_before: Option<Timestamp>,
    /// Where the step before ended; 0 at first.
    pub after: i64,
    /// Most rows of deliveries and events to touch in the one transaction of this step.
    pub rows: u32,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Where the next step goes on.
    pub through: i64,
    /// Whether what follows is too young, or nothing follows.
    pub done: bool,
    /// When the event was accepted that the next step begins with, if it is old enough.
    pub next: Option<Timestamp>,
    /// Payloads let go of.
    pub payloads: u64,
    /// Attempts deleted.
    pub attempts: u64,
    /// Deliveries deleted.
    pub deliveries: u64,
    /// Events deleted.
    pub events: u64,
    /// Deliveries cancelled.
    pub cancelled: u64,
    /// Whose next delivery may be due now that one before it was cancelled.
    pub moved: Vec<SubscriptionId>,
    /// Events that are old enough but have a delivery that has not ended, or ended lately.
    pub kept: u64,
    /// How long others could not write for it; zero if nothing was written.
    pub held: Duration,
}

/// What is let go of although nobody set an age for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Idempotency keys whose time is over, with what they were answered.
    pub keys: u64,
    /// Lines of plugins' histories beyond their bound.
    pub history: u64,
    /// Failures of plugin versions that are no more.
    pub failures: u64,
}

impl Swept {
    /// Whether there was anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Keeping a store in order. Each operation is one short transaction, or none.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Goes one step further.
    async fn purge(&self, step: &PurgeStep) -> Result<Purged>;
    /// Removes a bounded number of each of the rest.
    async fn sweep(&self, now: Timestamp) -> Result<Swept>;
    /// A consistent copy of everything, as a file that has no name and goes when it is
    /// closed. Writing goes on meanwhile.
    async fn snapshot(&self) -> Result<File>;
}
