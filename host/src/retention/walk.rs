//! One walk over events, oldest first, in steps whose size follows from how long they take.

use std::time::Duration;

use jiff::SignedDuration;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::{Instant, sleep};

use crate::{
    clock::Clock,
    model::{SubscriptionId, Timestamp},
    store::{Old, PurgeStep, Purged, SharedStore, StoreError, Swept},
};

/// For how long a step should hold the writer at most. One that took longer is followed by a
/// smaller one.
const LONGEST: Duration = Duration::from_millis(5);
/// A step that took less may be followed by a larger one.
const SHORT: Duration = Duration::from_millis(2);
/// Rows of the first step, of the smallest and of the largest.
const FIRST: u32 = 64;
const FEWEST: u32 = 8;
const MOST: u32 = 1_024;
/// What was kept for an unfinished delivery is looked at again after a tenth of the time that
/// things are kept, within these bounds.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(86_400));

/// Counts what went.
#[derive(Debug)]
pub(super) struct Tallies {
    payloads: Counter,
    attempts: Counter,
    deliveries: Counter,
    events: Counter,
    cancelled: Counter,
    keys: Counter,
    history: Counter,
    failures: Counter,
    held: Histogram,
    errors: Counter,
}

impl Tallies {
    pub(super) fn new() -> Self {
        let purged = |what: &'static str| counter!("hookmill_purged_rows_total", "what" => what);
        Self {
            payloads: purged("payloads"),
            attempts: purged("attempts"),
            deliveries: purged("deliveries"),
            events: purged("events"),
            cancelled: purged("cancelled"),
            keys: purged("idempotency_keys"),
            history: purged("plugin_history"),
            failures: purged("plugin_failures"),
            held: histogram!("hookmill_purge_transaction_seconds"),
            errors: counter!("hookmill_purge_failures_total"),
        }
    }

    fn purged(&self, purged: &Purged) {
        self.payloads.increment(purged.payloads);
        self.attempts.increment(purged.attempts);
        self.deliveries.increment(purged.deliveries);
        self.events.increment(purged.events);
        self.cancelled.increment(purged.cancelled);
        if !purged.held.is_zero() {
            self.held.record(purged.held);
        }
    }

    pub(super) fn swept(&self, swept: &Swept) {
        self.keys.increment(swept.keys);
        self.history.increment(swept.history);
        self.failures.increment(swept.failures);
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.errors.increment(1);
        tracing::warn!(%error, "what is old could not be let go of; trying again in the next round");
    }
}

/// A walk that goes on in every round where it stopped in the last.
#[derive(Debug)]
pub(super) struct Walk {
    what: Old,
    keep: Duration,
    unfinished: Option<Duration>,
    after: i64,
    rows: u32,
    /// When it begins at the oldest again.
    anew: Option<Instant>,
    /// Old events that were kept, since it began.
    kept: u64,
    lag: Gauge,
    kept_now: Gauge,
}

impl Walk {
    pub(super) fn new(what: Old, keep: Duration, unfinished: Option<Duration>) -> Self {
        let name = match what {
            Old::Payloads => "payloads",
            Old::Attempts => "attempts",
            Old::Events => "events",
        };
        Self {
            what,
            keep,
            unfinished: unfinished.filter(|_| what == Old::Events),
            after: 0,
            rows: FIRST,
            anew: None,
            kept: 0,
            lag: gauge!("hookmill_purge_lag_seconds", "what" => name),
            kept_now: gauge!("hookmill_purge_kept", "what" => name),
        }
    }

    /// Goes on until what follows is too young.
    pub(super) async fn go(
        &mut self,
        store: &SharedStore,
        clock: Clock,
        tallies: &Tallies,
        wake: &(impl Fn(SubscriptionId) + Sync),
    ) {
        if self.anew.is_none_or(|anew| clock.instant() >= anew) {
            (self.after, self.kept) = (0, 0);
            self.anew = Some(clock.instant() + (self.keep / 10).clamp(AGAIN.0, AGAIN.1));
        }
        loop {
            let before = ago(clock.now(), self.keep);
            let step = PurgeStep {
                what: self.what,
                before,
                cancel_before: self.unfinished.map(|keep| ago(clock.now(), keep)),
                after: self.after,
                rows: self.rows,
            };
            let purged = match store.purge(&step).await {
                Ok(purged) => purged,
                Err(error) => return tallies.failed(&error),
            };
            tallies.purged(&purged);
            purged.moved.iter().copied().for_each(wake);
            let late = purged.next.map_or(0.0, |next| before.duration_since(next).as_secs_f64());
            self.lag.set(late.max(0.0));
            let nothing = purged.held.is_zero() && purged.through == self.after;
            self.after = purged.through;
            self.kept += purged.kept;
            if purged.done || nothing {
                self.kept_now.set(self.kept as f64);
                return;
            }
            self.rows = next_size(self.rows, purged.held);
            // The writer is others' for twice as long as it was ours.
            sleep((purged.held * 2).max(Duration::from_millis(1))).await;
        }
    }
}

fn ago(now: Timestamp, keep: Duration) -> Timestamp {
    SignedDuration::try_from(keep)
        .ok()
        .and_then(|keep| now.checked_sub(keep).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How many rows the next step may touch.
fn next_size(rows: u32, held: Duration) -> u32 {
    let next = match held {
        held if held > LONGEST => rows / 2,
        held if held < SHORT => rows * 2,
        _ => rows,
    };
    next.clamp(FEWEST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_took_long_is_followed_by_a_smaller_one() {
        let ms = Duration::from_millis;
        assert_eq!(next_size(64, ms(9)), 32);
        assert_eq!(next_size(64, ms(4)), 64);
        assert_eq!(next_size(64, ms(1)), 128);
        assert_eq!(next_size(FEWEST, ms(900)), FEWEST);
        assert_eq!(next_size(MOST, ms(0)), MOST);
    }

    #[test]
    fn longer_than_time_itself_is_for_ever() {
        let now: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        assert_eq!(ago(now, Duration::from_secs(86_400)), "2026-11-22T00:00:00Z".parse().unwrap());
        assert_eq!(ago(now, Duration::MAX), Timestamp::UNIX_EPOCH);
    }
}
