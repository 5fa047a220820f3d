//! How much waits: counted now and then, shown, and told of when it is too much.
//!
//! Owns how often it is counted. Never for a scrape: with a million deliveries pending,
//! counting takes a second.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    clock::{Clock, Stopwatch},
    limits::{Admission, Closed},
    model::{DeliveryState, Notice},
    notices::Notices,
    store::{Backlog, SharedStore},
};

/// How often it is counted, if that takes no time.
const EVERY: Duration = Duration::from_secs(5);
/// Counting is given this share of the time at the most.
const SHARE: u32 = 50;

/// What may be there; 0 for any number.
#[derive(Debug, Clone, Copy, Default)]
pub struct BacklogLimits {
    /// Pending deliveries; more are told of.
    pub high: u64,
    /// Pending deliveries; with more, no event is taken.
    pub most: u64,
    /// Bytes of the database in use; with more, no event is taken.
    pub bytes: u64,
}

/// Counts for as long as the server runs.
pub async fn watch(
    store: SharedStore,
    notices: Notices,
    clock: Clock,
    (limits, admission): (Arc<ArcSwap<BacklogLimits>>, Admission),
) {
    let mut alarm = Alarm::default();
    loop {
        let limits = **limits.load();
        let high = limits.high;
        let start = Stopwatch::start();
        match store.backlog().await {
            Ok(backlog) => {
                show(&backlog, clock);
                let bytes = if limits.bytes == 0 { Ok(0) } else { store.used_bytes().await };
                admission.close(limits.closed(backlog.pending, bytes.unwrap_or(0)));
                if let Some(notice) = alarm.look(backlog.pending, high) {
                    tracing::warn!(pending = backlog.pending, limit = high, "the backlog is high");
                    notices.tell(notice);
                }
            }
            Err(error) => tracing::warn!(%error, "the backlog could not be counted"),
        }
        tokio::time::sleep(EVERY.max(start.elapsed() * SHARE)).await;
    }
}

impl BacklogLimits {
    fn closed(&self, pending: u64, bytes: u64) -> Option<Closed> {
        let above = |count: u64, most: u64| most > 0 && count > most;
        if above(pending, self.most) {
            Some(Closed::Backlog)
        } else if above(bytes, self.bytes) {
            Some(Closed::Database)
        } else {
            None
        }
    }
}

fn show(backlog: &Backlog, clock: Clock) {
    let waiting = [
        (DeliveryState::Pending, backlog.pending),
        (DeliveryState::Held, backlog.held),
        (DeliveryState::Dead, backlog.dead),
    ];
    for (state, count) in waiting {
        metrics::gauge!("hookmill_backlog_deliveries", "state" => state.as_str()).set(count as f64);
    }
    let late = backlog.first_due.map(|due| clock.now().duration_since(due).as_secs_f64());
    metrics::gauge!("hookmill_backlog_oldest_seconds").set(late.unwrap_or(0.0).max(0.0));
}

/// Raised once when the backlog goes above the limit, and again only after it has been well
/// below.
#[derive(Default)]
struct Alarm {
    is_raised: bool,
}

impl Alarm {
    fn look(&mut self, pending: u64, high: u64) -> Option<Notice> {
        if high == 0 {
            return None;
        }
        if self.is_raised {
            self.is_raised = pending > high / 5 * 4;
            return None;
        }
        self.is_raised = pending > high;
        self.is_raised.then_some(Notice::BacklogHigh { pending, limit: high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_of_one_thing_is_too_much() {
        let limits = BacklogLimits { high: 1, most: 10, bytes: 100 };
        assert_eq!(limits.closed(10, 100), None);
        assert_eq!(limits.closed(11, 101), Some(Closed::Backlog));
        assert_eq!(limits.closed(10, 101), Some(Closed::Database));
        assert_eq!(BacklogLimits::default().closed(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn a_high_backlog_is_told_of_once_until_it_has_been_well_below() {
        let mut alarm = Alarm::default();
        let told: Vec<bool> = [100, 101, 99, 101, 81, 150, 80, 100, 101]
            .into_iter()
            .map(|pending| alarm.look(pending, 100).is_some())
            .collect();
        assert_eq!(told, [false, true, false, false, false, false, false, false, true]);
        assert_eq!(Alarm::default().look(u64::MAX, 0), None);
        // A limit that was raised meanwhile is the one that counts.
        assert_eq!(alarm.look(500, 1_000), None);
        assert!(alarm.look(1_001, 1_000).is_some());
    }
}
