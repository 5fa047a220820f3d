//! What an operator is shown of a subscription whose attempts fail.

use serde::Serialize;
use utoipa::ToSchema;

use super::{breaker::Phase, health::Patient};
use crate::model::{AttemptOutcome, Timestamp};

/// How a subscription's endpoint does.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = EndpointHealth)]
pub struct Health {
    /// Whether attempts are made.
    pub breaker: BreakerState,
    /// Since when the breaker has not been closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub breaker_since: Option<Timestamp>,
    /// When the endpoint is tried again, while the breaker is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_probe_at: Option<Timestamp>,
    /// The first failure after the last success, if there was none since.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// Failed attempts from then on.
    pub failures: u32,
    /// How the last attempt failed.
    pub last_outcome: Option<AttemptOutcome>,
    /// The status it was answered with.
    pub last_status: Option<u16>,
    /// How often in a row it failed so.
    pub in_a_row: u32,
}

/// Whether attempts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// As ever.
    Closed,
    /// None, until the next probe.
    Open,
    /// One at a time.
    HalfOpen,
}

impl BreakerState {
    /// The states that are worth counting.
    pub const NOT_CLOSED: [Self; 2] = [Self::Open, Self::HalfOpen];

    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Health {
    /// Of one that does not fail.
    pub const fn good() -> Self {
        Self {
            breaker: BreakerState::Closed,
            breaker_since: None,
            next_probe_at: None,
            failing_since: None,
            failures: 0,
            last_outcome: None,
            last_status: None,
            in_a_row: 0,
        }
    }

    /// Whether an operator should look at it: it fails, or is left alone because it did.
    pub fn is_bad(&self) -> bool {
        self.breaker != BreakerState::Closed || self.failing_since.is_some()
    }

    pub(super) fn of(patient: &Patient, now: Timestamp) -> Self {
        let (breaker, since, probe) = match patient.breaker.phase() {
            Phase::Closed => (BreakerState::Closed, None, None),
            // One that is overdue waits for something to be sent.
            Phase::Open { since, until } => {
                (BreakerState::Open, Some(since), Some(until).filter(|&until| until > now))
            }
            Phase::HalfOpen { since, .. } => (BreakerState::HalfOpen, Some(since), None),
        };
        Self {
            breaker,
            breaker_since: since,
            next_probe_at: probe,
            failing_since: patient.failing.map(|failing| failing.since),
            failures: patient.failing.map_or(0, |failing| failing.attempts),
            last_outcome: patient.last.map(|(answer, _)| answer.outcome),
            last_status: patient.last.and_then(|(answer, _)| answer.status),
            in_a_row: patient.last.map_or(0, |(_, times)| times),
        }
    }
}
