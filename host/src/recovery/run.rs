//! The task of one replay: look for what comes next, take it, wait.
//!
//! Owns the pace. A job without a rate is held back by what it took: as long as a thousand of
//! those wait for their attempt it takes no more, so a job over a million deliveries can be
//! paused, and fresh events do not stand behind a million old ones.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::{Replays, Running, scope};
use crate::{
    model::{DeliveryId, Replay, ReplayMode, ReplayState},
    routing::Facts,
    store::{Candidate, StoreError, Take},
};

/// Most that is taken in one transaction: a few milliseconds of the writer's time.
const CHUNK: u32 = 100;
/// Most that may wait for their attempt before more are taken.
const WINDOW: u64 = 1_000;
/// How often a job with a rate takes something, in a second.
const STEPS: u32 = 5;
/// How long a job sleeps while enough waits for its attempt.
const FULL: Duration = Duration::from_millis(200);
/// How long after a failure of the store it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a step came to.
enum Step {
    /// So many were taken or passed over.
    Took(u64),
    /// Enough waits for its attempt.
    Full,
    /// There is nothing more to take.
    End,
    /// The job was paused, cancelled or taken over.
    Over,
}

impl Replays {
    /// Takes all there is to take, unless told otherwise.
    pub(super) async fn work(self: Arc<Self>, mut replay: Replay, order: Running) {
        let over = || order.load(Ordering::Relaxed) || self.stopping.load(Ordering::Relaxed);
        while !over() {
            let rest = match self.step(&mut replay).await {
                Ok(Step::Took(count)) => pause_after(count, replay.per_second),
                Ok(Step::Full) => FULL,
                Ok(Step::End | Step::Over) => break,
                Err(error) => {
                    tracing::warn!(replay = %replay.id, %error, "a replay could not go on; trying again");
                    AGAIN
                }
            };
            sleep(rest).await;
        }
        self.leave(replay.id, &order);
    }

    async fn step(&self, replay: &mut Replay) -> Result<Step, StoreError> {
        let most = chunk(replay.per_second);
        // Not the few that would fit: each transaction is one of the writer's, whatever its size.
        if self.store.replay_waiting(replay.id).await? + u64::from(most) > WINDOW {
            return Ok(Step::Full);
        }
        let listening = self.listening(replay);
        let scope = scope(replay, &listening);
        // A subscription that is gone listens to nothing, and misses nothing.
        let gone = replay.mode == ReplayMode::Missing && listening.is_empty();
        let found = match gone {
            true => Vec::new(),
            false => self.store.candidates(&scope, replay.cursor, most).await?,
        };
        let Some(last) = found.last().map(|candidate| candidate.place) else {
            let from = [ReplayState::Running];
            let now = self.clock.now();
            self.store.move_replay(replay.id, &from, ReplayState::Done, now).await?;
            return Ok(Step::End);
        };
        let now = self.clock.now();
        let mut takes: Vec<Take> =
            found.iter().map(|found| self.take(replay.mode, *found)).collect();
        if replay.mode == ReplayMode::Missing {
            self.leave_out(replay, &mut takes).await?;
        }
        let Some(taken) = self.store.take(replay, &takes, now).await? else {
            return Ok(Step::Over);
        };
        replay.cursor = last;
        let subscriptions: BTreeSet<_> = found.iter().map(|found| found.subscription).collect();
        for subscription in subscriptions {
            self.dispatcher.wake(subscription, now);
        }
        Ok(Step::Took(taken))
    }

    /// Passes over events that the subscription's channels or filter keep from it.
    async fn leave_out(&self, replay: &Replay, takes: &mut [Take]) -> Result<(), StoreError> {
        let subscription = replay.filter.subscription_ids.first();
        let rule =
            subscription.and_then(|id| self.catalog.rule(*id)).filter(|rule| !rule.is_open());
        let Some(rule) = rule else { return Ok(()) };
        for take in takes {
            let stored = self.store.event(replay.application, take.candidate.event).await?;
            let payload = stored.event.json();
            if !rule.admits(&Facts::of(&stored, payload.as_ref())) {
                take.fresh = None;
            }
        }
        Ok(())
    }

    fn take(&self, mode: ReplayMode, candidate: Candidate) -> Take {
        let fresh = (mode != ReplayMode::Original).then(|| {
            let pipeline = self.pipeline(candidate.subscription, candidate.event);
            (DeliveryId::new(self.clock.now()), pipeline)
        });
        let subscription = self.catalog.subscription(candidate.subscription);
        let ordering = subscription.map(|found| found.policy.ordering).unwrap_or_default();
        Take { candidate, fresh, ordering }
    }
}

/// How many are taken at once.
fn chunk(per_second: Option<u32>) -> u32 {
    per_second.map_or(CHUNK, |rate| rate.div_ceil(STEPS).clamp(1, CHUNK))
}

/// How long a job of that rate waits after it took so many.
fn pause_after(taken: u64, per_second: Option<u32>) -> Duration {
    let Some(rate) = per_second else { return Duration::ZERO };
    Duration::from_secs_f64(taken as f64 / f64::from(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_never_exceeded() {
        for rate in [1, 3, 7, 50, 499, 10_000] {
            let step = chunk(Some(rate));
            let seconds = pause_after(step.into(), Some(rate)).as_secs_f64();
            assert!(f64::from(step) / seconds <= f64::from(rate) * 1.001, "{rate}");
            assert!(seconds <= 1.0, "{rate}: {seconds} s between two steps");
        }
        assert_eq!(pause_after(100, None), Duration::ZERO);
    }
}
