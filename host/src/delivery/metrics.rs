//! What the dispatcher counts. Handles are made once: a recorder must be installed first.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::traced;
use crate::{
    model::{AttemptOutcome, DeliveryState},
    store::Next,
};

/// Handles on the dispatcher's metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    attempts: [Counter; AttemptOutcome::ALL.len()],
    deliveries: [Counter; DeliveryState::ALL.len()],
    attempt_seconds: Histogram,
    delivery_seconds: Histogram,
    queue_seconds: Histogram,
    /// Waiting for what a pipeline comes to.
    pub pipeline_seconds: Histogram,
    /// Attempts under way.
    pub in_flight: Gauge,
    /// Deliveries in memory that wait for their turn.
    pub ready: Gauge,
    /// Failures of the store that were waited out.
    pub store_failures: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let attempt =
            |o: AttemptOutcome| counter!("hookmill_attempts_total", "outcome" => o.as_str());
        let delivery =
            |s: DeliveryState| counter!("hookmill_deliveries_total", "state" => s.as_str());
        Self {
            attempts: AttemptOutcome::ALL.map(attempt),
            deliveries: DeliveryState::ALL.map(delivery),
            attempt_seconds: histogram!("hookmill_attempt_seconds"),
            delivery_seconds: histogram!("hookmill_delivery_seconds"),
            queue_seconds: histogram!("hookmill_queue_seconds"),
            pipeline_seconds: histogram!("hookmill_pipeline_seconds"),
            in_flight: gauge!("hookmill_in_flight"),
            ready: gauge!("hookmill_deliveries_ready"),
            store_failures: counter!("hookmill_delivery_store_failures_total"),
        }
    }

    /// An attempt is over. A plugin's failure takes no time worth a place in the histogram.
    pub(super) fn attempt(&self, outcome: AttemptOutcome, took: Duration) {
        // The variants are declared in the order of `ALL`, as a test there or here holds.
        self.attempts[outcome as usize].increment(1);
        if outcome != AttemptOutcome::Plugin {
            self.attempt_seconds.record(took);
        }
    }

    /// A first attempt began so long after its event was accepted, and was to wait that long.
    pub(super) fn queue(&self, since_accepted: Duration, scheduled: Duration) {
        self.queue_seconds.record(since_accepted.saturating_sub(scheduled));
    }

    /// An attempt was answered, or not.
    pub(super) fn response(&self, status: Option<u16>) {
        let class = match status {
            Some(100..200) => "1xx",
            Some(200..300) => "2xx",
            Some(300..400) => "3xx",
            Some(400..500) => "4xx",
            Some(_) => "5xx",
            None => "none",
        };
        counter!("hookmill_responses_total", "class" => class).increment(1);
    }

    /// A delivery moved on; a success took this long since its event was accepted.
    pub(super) fn delivery(&self, next: &Next, since_accepted: Duration) {
        let state = traced::state(next);
        self.deliveries[state as usize].increment(1);
        if *next == Next::Succeeded {
            self.delivery_seconds.record(since_accepted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_found_by_their_variants_number() {
        for (index, outcome) in AttemptOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        for (index, state) in DeliveryState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
    }
}
