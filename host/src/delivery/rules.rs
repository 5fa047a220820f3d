//! What a subscription's policy and the server's settings come to for the scheduler: a small
//! value that is made for each attempt, so that a change holds from the next one on.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::{hosts::HostId, settings::DeliverySettings};
use crate::model::{Policy, RateLimit, Subscription};

/// How a subscription's attempts are scheduled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    /// Most attempts under way at once.
    pub limit: u32,
    /// How many may begin in a time.
    pub rate: Option<RateLimit>,
    /// Whose bound on attempts under way counts, too; none if there is no such bound.
    pub host: Option<HostId>,
    /// Tells whether the endpoint is still the same.
    pub endpoint: u64,
    /// After how long of nothing but failures it is disabled; none for never.
    pub disable_after: Option<Duration>,
}

impl Rules {
    /// Nothing but a limit.
    pub(super) const fn only(limit: u32) -> Self {
        Self { limit, rate: None, host: None, endpoint: 0, disable_after: None }
    }

    /// Most deliveries worth having in memory: what the rate lets begin within `time`.
    pub(super) fn worth_having(&self, time: Duration) -> u32 {
        let Some(rate) = self.rate else { return u32::MAX };
        let coming = (rate.per_second * time.as_secs_f64()).ceil();
        // A conversion that cuts off saturates far above any bound.
        rate.burst().saturating_add(coming as u32)
    }
}

impl DeliverySettings {
    /// The rules of a subscription as it is now.
    pub(super) fn rules(&self, subscription: &Subscription) -> Rules {
        let policy = &subscription.policy;
        let limit = policy.concurrency.unwrap_or(self.concurrency);
        let mut hasher = DefaultHasher::new();
        subscription.endpoint.hash(&mut hasher);
        Rules {
            limit: limit.clamp(1, Policy::MAX_CONCURRENCY),
            rate: policy.rate_limit,
            host: (self.host_concurrency > 0).then(|| HostId::of(&subscription.endpoint)),
            endpoint: hasher.finish(),
            disable_after: seconds(policy.disable_after_seconds, self.disable_after),
        }
    }

    /// How old a delivery of a subscription may become; none if there is no bound.
    pub(super) fn max_age(&self, subscription: &Subscription) -> Option<Duration> {
        seconds(subscription.policy.max_age_seconds, self.max_age)
    }
}

/// A policy's own time or the default; zero stands for none.
fn seconds(own: Option<u64>, default: Duration) -> Option<Duration> {
    Some(own.map_or(default, Duration::from_secs)).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rate_is_worth_few_places() {
        let rate = RateLimit { per_second: 0.01, burst: Some(5) };
        let slow = Rules { rate: Some(rate), ..Rules::only(32) };
        assert_eq!(slow.worth_having(Duration::from_secs(60)), 6);
        assert_eq!(Rules::only(32).worth_having(Duration::from_secs(60)), u32::MAX);
    }

    #[test]
    fn zero_is_never_and_a_policy_goes_before_the_default() {
        let day = Duration::from_secs(86_400);
        assert_eq!(seconds(None, day), Some(day));
        assert_eq!(seconds(Some(0), day), None);
        assert_eq!(seconds(Some(5), day), Some(Duration::from_secs(5)));
        assert_eq!(seconds(None, Duration::ZERO), None);
    }
}
