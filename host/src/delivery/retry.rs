//! Decides what follows an attempt: done, again and when, or given up. A pure function.
//!
//! Owns the rules of backing off. Never reads a clock or rolls dice: both are passed in.

use std::time::Duration;

use crate::{
    model::{AttemptOutcome, RetryPolicy, Timestamp},
    store::Next,
};

use super::{http::Directive, settings::DeliverySettings};

/// An attempt that is over, as far as the decision needs to know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What went wrong, for people.
    pub error: Option<&'a str>,
    /// What a 429 or 503 asked for.
    pub retry_after: Option<Duration>,
    /// What the endpoint asked for besides.
    pub directive: Option<Directive>,
    /// Attempts made, this one included.
    pub made: u32,
}

/// How far the rules may be bent, from the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The largest share of a wait that is added to it.
    pub jitter: f64,
    /// The longest `Retry-After`.
    pub retry_after: Duration,
}

impl From<&DeliverySettings> for Bounds {
    fn from(settings: &DeliverySettings) -> Self {
        Self { jitter: settings.jitter, retry_after: settings.retry_after_cap }
    }
}

/// What follows `ended`. `dice` is a random number in [0, 1).
pub(super) fn next(
    policy: &RetryPolicy,
    bounds: Bounds,
    ended: Ended<'_>,
    dice: f64,
    now: Timestamp,
) -> Next {
    match ended.outcome {
        AttemptOutcome::Succeeded => return Next::Succeeded,
        AttemptOutcome::Gone => {
            return Next::Dead(
                "the endpoint answered 410 Gone; its subscription is disabled".into(),
            );
        }
        _ => {}
    }
    let last = ended.error.unwrap_or(ended.outcome.as_str());
    match ended.directive {
        Some(Directive::AbortMessage) => {
            return Next::Dead(format!("{last}, and asked for no more attempts"));
        }
        Some(Directive::Disable) => {
            return Next::Dead(format!(
                "{last}, and asked for no more deliveries; its subscription is disabled"
            ));
        }
        None => {}
    }
    let Some(wait) = wait(policy, bounds, ended, dice) else {
        return Next::Dead(match ended.made {
            1 => format!("its only attempt failed: {last}"),
            made => format!("all {made} attempts failed, the last: {last}"),
        });
    };
    // Out of range only in a year past 9999: then it is as good as never.
    now.checked_add(wait)
        .map_or_else(|_| Next::Dead("its next attempt lies beyond time".into()), Next::Retry)
}

/// How long until the next attempt: none if there is none. Never shorter than the
/// schedule says, nor than the endpoint asked for (up to the bound).
fn wait(policy: &RetryPolicy, bounds: Bounds, ended: Ended<'_>, dice: f64) -> Option<Duration> {
    let scheduled = policy.wait_before(ended.made.saturating_add(1))?;
    let asked = ended.retry_after.unwrap_or_default().min(bounds.retry_after);
    let wait = scheduled.max(asked);
    Some(wait + wait.mul_f64((bounds.jitter * dice).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const BOUNDS: Bounds = Bounds { jitter: 0.2, retry_after: Duration::from_secs(36_000) };

    fn failed(made: u32, retry_after: Option<Duration>) -> Ended<'static> {
        Ended {
            outcome: AttemptOutcome::HttpStatus,
            error: Some("500"),
            retry_after,
            directive: None,
            made,
        }
    }

    fn waited(ended: Ended<'_>, dice: f64) -> Option<Duration> {
        match next(&RetryPolicy::standard(), BOUNDS, ended, dice, Timestamp::UNIX_EPOCH) {
            Next::Retry(at) => Some(at.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs()),
            _ => None,
        }
    }

    #[test]
    fn the_standard_schedule_is_followed_and_ends() {
        let waits: Vec<_> = (1..=10).map(|made| waited(failed(made, None), 0.0)).collect();
        assert_eq!(waits[0], Some(Duration::from_secs(5)));
        assert_eq!(waits[8], Some(24 * HOUR));
        assert_eq!(waits[9], None);
    }

    #[test]
    fn retry_after_is_honoured_but_never_shortens_and_never_exceeds_its_cap() {
        let after = |made, asked| waited(failed(made, Some(asked)), 0.0);
        assert_eq!(after(1, Duration::from_secs(60)), Some(Duration::from_secs(60)));
        assert_eq!(after(4, Duration::from_secs(60)), Some(2 * HOUR));
        assert_eq!(after(1, 100 * HOUR), Some(10 * HOUR));
    }

    #[test]
    fn gone_is_final_at_once() {
        let gone = Ended { outcome: AttemptOutcome::Gone, ..failed(1, None) };
        assert_eq!(waited(gone, 0.0), None);
    }

    #[test]
    fn what_an_endpoint_asks_for_ends_a_failed_delivery_and_no_successful_one() {
        let asked = |outcome, directive| {
            let ended = Ended { outcome, directive: Some(directive), ..failed(1, None) };
            next(&RetryPolicy::standard(), BOUNDS, ended, 0.0, Timestamp::UNIX_EPOCH)
        };
        for directive in [Directive::AbortMessage, Directive::Disable] {
            let Next::Dead(why) = asked(AttemptOutcome::HttpStatus, directive) else { panic!() };
            assert!(why.starts_with("500, and asked for no more "), "{why}");
            assert_eq!(asked(AttemptOutcome::Succeeded, directive), Next::Succeeded);
        }
    }

    #[test]
    fn the_dead_say_how_they_died() {
        let dead = |made| {
            next(
                &RetryPolicy::Schedule(vec![0]),
                BOUNDS,
                failed(made, None),
                0.0,
                Timestamp::UNIX_EPOCH,
            )
        };
        assert_eq!(dead(1), Next::Dead("its only attempt failed: 500".into()));
        assert_eq!(dead(3), Next::Dead("all 3 attempts failed, the last: 500".into()));
    }

    fn policies() -> impl Strategy<Value = RetryPolicy> {
        prop_oneof![
            prop::collection::vec(0..=RetryPolicy::MAX_WAIT_SECONDS, 1..=50)
                .prop_map(RetryPolicy::Schedule),
            (
                1u32..=50,
                0..=RetryPolicy::MAX_WAIT_SECONDS,
                1.0f64..1e9,
                0..=RetryPolicy::MAX_WAIT_SECONDS
            )
                .prop_map(|(attempts, first, factor, cap)| RetryPolicy::Exponential {
                    attempts,
                    first,
                    factor,
                    cap
                }),
        ]
    }

    proptest! {
        #[test]
        fn waits_are_within_their_bounds(
            policy in policies(),
            made in 1u32..60,
            asked in prop::option::of(0u64..1_000_000),
            dice in 0.0f64..1.0,
        ) {
            let ended = failed(made, asked.map(Duration::from_secs));
            let least = policy.wait_before(made + 1);
            match wait(&policy, BOUNDS, ended, dice) {
                None => prop_assert!(least.is_none()),
                Some(wait) => {
                    let least = least.unwrap().max(
                        Duration::from_secs(asked.unwrap_or(0)).min(BOUNDS.retry_after),
                    );
                    prop_assert!(wait >= least);
                    prop_assert!(wait <= least.mul_f64(1.2) + Duration::from_micros(1));
                }
            }
        }

        #[test]
        fn every_policy_ends(policy in policies(), dice in 0.0f64..1.0) {
            let end = (1u32..=51).find(|&made| wait(&policy, BOUNDS, failed(made, None), dice).is_none());
            prop_assert_eq!(end, Some(policy.attempts()));
        }
    }
}
