//! Replays: jobs that deliver again what a filter finds, or for the first time what was
//! missed.
//!
//! Owns what is asked of one, its states and its counts. Never decides when it goes on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApplicationId, AttemptOutcome, DeliveryState, Pattern, ReplayId, SubscriptionId};

/// What is delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMode {
    /// The same bytes under the same id, as a retry by hand does.
    #[default]
    Original,
    /// What the pipeline makes of the event today, under a new delivery id: an id stands for
    /// its bytes.
    Rerun,
    /// Events that one subscription's patterns match today and that have no delivery for it.
    Missing,
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It takes what there is to take.
    Running,
    /// It takes nothing until it is resumed.
    Paused,
    /// It has taken all there was.
    Done,
    /// It was ended before it had taken all.
    Cancelled,
}

impl ReplayState {
    /// Whether it will take nothing more, whatever is asked of it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// Which deliveries, or for `missing` which events, a replay is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayFilter {
    /// Of these subscriptions; of all that take events, if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub subscription_ids: Vec<SubscriptionId>,
    /// Of events whose type one of these patterns matches; of any type, if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["order.**"]))]
    pub event_types: Vec<Pattern>,
    /// In one of these states: `dead` if empty, or `pending`, `succeeded`, `filtered`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<DeliveryState>,
    /// Whose last attempt ended so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptOutcome>,
    /// Of events accepted at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Of events accepted before; before the replay was made, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl ReplayFilter {
    /// States that deliveries can be taken in.
    pub const STATES: [DeliveryState; 4] = [
        DeliveryState::Pending,
        DeliveryState::Succeeded,
        DeliveryState::Dead,
        DeliveryState::Filtered,
    ];

    /// The states it is about.
    pub fn states(&self) -> &[DeliveryState] {
        if self.states.is_empty() { &[DeliveryState::Dead] } else { &self.states }
    }
}

/// A replay, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// `rpl_…`
    pub id: ReplayId,
    /// Whose deliveries and events.
    pub application: ApplicationId,
    /// What is delivered.
    pub mode: ReplayMode,
    /// Which.
    pub filter: ReplayFilter,
    /// Most it takes in a second; none for as many as can be delivered.
    pub per_second: Option<u32>,
    /// Where it stands.
    pub state: ReplayState,
    /// The id of what it took last; nothing smaller will be taken.
    pub cursor: [u8; 16],
    /// How many there were when it was made; never less than it has taken.
    pub total: u64,
    /// How many it has taken.
    pub taken: u64,
    /// When it was made. What came later is none of its business.
    pub created_at: Timestamp,
    /// When it took the last, or was cancelled.
    pub finished_at: Option<Timestamp>,
}

/// How far a replay is. Nothing it was to take is left out: `total` is `left`, `skipped` and
/// `taken`, and `taken` is all the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplayProgress {
    /// How many there were when it was made.
    pub total: u64,
    /// How many it has taken: made due, or made anew.
    pub taken: u64,
    /// Of those: delivered.
    pub succeeded: u64,
    /// Of those: given up again.
    pub failed: u64,
    /// Of those: failed at least once since, to be tried again by the schedule.
    pub retrying: u64,
    /// Of those: not attempted yet.
    pub waiting: u64,
    /// Of those: kept back, for their subscription was paused or disabled since, or a plugin
    /// quarantined.
    pub held: u64,
    /// Of those: dropped by a plugin.
    pub filtered: u64,
    /// Of those: their subscription was deleted since, or they were run again since.
    pub cancelled: u64,
    /// Of those: taken by a later replay, or removed by retention.
    pub superseded: u64,
    /// Those that were gone or changed before their turn came.
    pub skipped: u64,
    /// Those it has yet to take; of a cancelled one, those it will not take.
    pub left: u64,
}

impl ReplayProgress {
    /// Fills in what follows from the others, and from how far `replay` is.
    #[must_use]
    pub fn of(self, replay: &Replay) -> Self {
        let rest = replay.total.saturating_sub(replay.taken);
        let done = replay.state == ReplayState::Done;
        let counted = self.succeeded
            + self.failed
            + self.retrying
            + self.waiting
            + self.held
            + self.filtered
            + self.cancelled;
        Self {
            total: replay.total,
            taken: replay.taken,
            superseded: replay.taken.saturating_sub(counted),
            skipped: if done { rest } else { 0 },
            left: if done { 0 } else { rest },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_of_the_counts() {
        let now = Timestamp::UNIX_EPOCH;
        let mut replay = Replay {
            id: ReplayId::new(now),
            application: ApplicationId::new(now),
            mode: ReplayMode::Original,
            filter: ReplayFilter::default(),
            per_second: None,
            state: ReplayState::Running,
            cursor: [0; 16],
            total: 10,
            taken: 6,
            created_at: now,
            finished_at: None,
        };
        let counted = ReplayProgress { succeeded: 3, waiting: 2, ..ReplayProgress::default() };
        let progress = counted.of(&replay);
        assert_eq!((progress.superseded, progress.skipped, progress.left), (1, 0, 4));
        replay.state = ReplayState::Done;
        let progress = counted.of(&replay);
        assert_eq!((progress.superseded, progress.skipped, progress.left), (1, 4, 0));
    }
}
