//! What the store does for recovery: replays and what they take, and events that have not
//! been delivered to all they matched.

use async_trait::async_trait;

use super::{Claimed, EventFilter, Page, Result};
use crate::model::{
    ApplicationId, DeliveryId, EventId, ListedEvent, Ordering, Pattern, PipelineId, Replay,
    ReplayFilter, ReplayId, ReplayMode, ReplayProgress, ReplayState, SubscriptionId, Timestamp,
};

/// What a replay may take.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Whose.
    pub application: ApplicationId,
    /// Deliveries, or for `missing` events.
    pub mode: ReplayMode,
    /// Which of them. For `missing` it names one subscription.
    pub filter: &'a ReplayFilter,
    /// For `missing`: what the subscription listens to.
    pub listening: &'a [Pattern],
    /// Nothing from then on or later.
    pub end: Timestamp,
}

/// Something a replay can take: a delivery, or an event that lacks one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its own id: the replay's cursor when it has been taken.
    pub place: [u8; 16],
    /// Its row, of a delivery or of an event.
    pub(super) row: i64,
    /// Who it is for.
    pub subscription: SubscriptionId,
    /// The event.
    pub event: EventId,
}

/// A candidate to take.
#[derive(Debug, Clone, Copy)]
pub struct Take {
    /// Which.
    pub candidate: Candidate,
    /// The delivery to make of it, with its pipeline; none to make the one there is due, or of
    /// an event that is passed over.
    pub fresh: Option<(DeliveryId, Option<PipelineId>)>,
    /// Whether a delivery that an event lacks is to wait for older ones.
    pub ordering: Ordering,
}

/// See the module.
#[async_trait]
pub trait Recovery: Send + Sync {
    /// Adds a replay. Of those that have ended, the oldest beyond `keep` of the application
    /// are forgotten.
    async fn create_replay(&self, replay: &Replay, keep: u32) -> Result<()>;
    async fn replay(&self, application: ApplicationId, id: ReplayId) -> Result<Replay>;
    async fn replays(
        &self,
        application: ApplicationId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Page<Replay>>;
    /// Those that run, every application's.
    async fn running_replays(&self) -> Result<Vec<Replay>>;
    /// Moves one that is in a state of `from` to `to`; answers whether it was.
    async fn move_replay(
        &self,
        id: ReplayId,
        from: &[ReplayState],
        to: ReplayState,
        now: Timestamp,
    ) -> Result<bool>;
    /// What became of what it took; the derived fields are left zero.
    async fn replay_progress(&self, id: ReplayId) -> Result<ReplayProgress>;
    /// How many that it took have not been attempted since.
    async fn replay_waiting(&self, id: ReplayId) -> Result<u64>;

    /// How many there are to take.
    async fn count_candidates(&self, scope: &Scope<'_>) -> Result<u64>;
    /// The next ones after a place, in the order of their places. Fewer than `limit` are the
    /// last.
    async fn candidates(
        &self,
        scope: &Scope<'_>,
        after: [u8; 16],
        limit: u32,
    ) -> Result<Vec<Candidate>>;
    /// Takes candidates and moves the cursor, in one short transaction: all of those that are
    /// still as they were found. None if the replay does not run or its cursor is elsewhere:
    /// then nothing was taken.
    async fn take(&self, replay: &Replay, takes: &[Take], now: Timestamp) -> Result<Option<u64>>;
    /// Makes a delivery anew through a pipeline, outside any replay; answers whether it could:
    /// one that is under way cannot.
    async fn rerun(
        &self,
        application: ApplicationId,
        id: DeliveryId,
        fresh: (DeliveryId, Option<PipelineId>),
        now: Timestamp,
    ) -> Result<bool>;
    /// A delivery as a claim would give it, without leasing it.
    async fn peek(&self, application: ApplicationId, id: DeliveryId) -> Result<Claimed>;

    /// Events with a delivery that is pending, under way, held or dead, newest first, without
    /// their payloads.
    async fn undelivered(
        &self,
        application: ApplicationId,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page<ListedEvent>>;
}
