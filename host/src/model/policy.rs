//! How a subscription's deliveries are made: each part its own, or else the server's default.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Handshake, Ordering, PayloadForm, RateLimit, Scheme, signing};

/// A subscription's own rules. What is left out, or null, is the server's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// When failed attempts are repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Most attempts under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1024)]
    pub concurrency: Option<u32>,
    /// How many attempts may begin in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Seconds after which a delivery is not attempted any more; 0 for no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 31_536_000)]
    pub max_age_seconds: Option<u64>,
    /// Whether a delivery waits for older ones.
    #[serde(skip_serializing_if = "Ordering::is_none")]
    pub ordering: Ordering,
    /// Seconds since its first attempt after which a failing delivery that others wait for is
    /// given up; none for as long as its retries last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000)]
    pub ordering_patience_seconds: Option<u64>,
    /// Seconds of nothing but failures after which the subscription is disabled; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 31_536_000)]
    pub disable_after_seconds: Option<u64>,
    /// Seconds an attempt may take, the response's body included. At most what the server's
    /// `max_timeout_seconds` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.1, maximum = 300)]
    pub timeout_seconds: Option<f64>,
    /// Seconds of it that resolving, connecting and the TLS handshake may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.1, maximum = 300)]
    pub connect_timeout_seconds: Option<f64>,
    /// The method of its requests.
    #[serde(skip_serializing_if = "RequestMethod::is_post")]
    pub method: RequestMethod,
    /// How requests are signed, by each of these at once; Standard Webhooks' HMAC if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 5)]
    pub signing: Option<Vec<Scheme>>,
    /// What form the payload has on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadForm>,
    /// Asks the endpoint before anything is delivered to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
}

/// The method of a delivery's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RequestMethod {
    /// POST, as webhooks are sent.
    #[default]
    Post,
    /// PUT, for endpoints that want it.
    Put,
}

impl RequestMethod {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    const fn is_post(&self) -> bool {
        matches!(self, Self::Post)
    }
}

impl Policy {
    /// Longest time a policy may name, in seconds: a year.
    pub const MAX_SECONDS: u64 = 365 * 24 * 3600;
    /// Most attempts under way at once that a policy may ask for.
    pub const MAX_CONCURRENCY: u32 = 1024;
    /// Shortest time limit in seconds that a policy may ask for.
    pub const MIN_TIMEOUT: f64 = 0.1;
    /// Longest time limit in seconds that a policy may ask for, if the server lets it.
    pub const MAX_TIMEOUT: f64 = 300.0;

    /// Everything that cannot be used: where in the policy, and why.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if let Some(retry) = &self.retry
            && let Err((part, why)) = retry.check()
        {
            wrong.push((format!("/retry/{part}"), why));
        }
        if let Some(most) = self.concurrency
            && !(1..=Self::MAX_CONCURRENCY).contains(&most)
        {
            let why = format!("is {most}; 1 to {} are allowed", Self::MAX_CONCURRENCY);
            wrong.push(("/concurrency".into(), why));
        }
        if let Some(rate) = &self.rate_limit
            && let Err((part, why)) = rate.check()
        {
            wrong.push((format!("/rate_limit/{part}"), why));
        }
        for (part, given, least) in [
            ("max_age_seconds", self.max_age_seconds, 0),
            ("ordering_patience_seconds", self.ordering_patience_seconds, 1),
            ("disable_after_seconds", self.disable_after_seconds, 0),
        ] {
            if let Some(seconds) =
                given.filter(|given| !(least..=Self::MAX_SECONDS).contains(given))
            {
                let why = format!("is {seconds}; {least} to {} are allowed", Self::MAX_SECONDS);
                wrong.push((format!("/{part}"), why));
            }
        }
        if self.ordering.is_none() && self.ordering_patience_seconds.is_some() {
            let why = "means nothing without `ordering`: set it to by_subject or strict";
            wrong.push(("/ordering_patience_seconds".into(), why.into()));
        }
        for (at, given) in [
            ("/timeout_seconds", self.timeout_seconds),
            ("/connect_timeout_seconds", self.connect_timeout_seconds),
        ] {
            if let Some(seconds) = given
                && !(Self::MIN_TIMEOUT..=Self::MAX_TIMEOUT).contains(&seconds)
            {
                let (least, most) = (Self::MIN_TIMEOUT, Self::MAX_TIMEOUT);
                wrong.push((at.into(), format!("is {seconds}; {least} to {most} are allowed")));
            }
        }
        let signing = self.signing.as_deref().map(signing::check).unwrap_or_default();
        wrong.extend(signing.into_iter().map(|(at, why)| (format!("/signing{at}"), why)));
        if let Some(Err((part, why))) = self.payload.as_ref().map(PayloadForm::check) {
            wrong.push((format!("/payload/{part}"), why));
        }
        if let Some(Err((part, why))) = self.handshake.as_ref().map(Handshake::check) {
            wrong.push((format!("/handshake/{part}"), why));
        }
        wrong
    }

    /// How long an attempt may take, if the policy says.
    pub fn timeout(&self) -> Option<Duration> {
        seconds(self.timeout_seconds)
    }

    /// How long making a connection may take, if the policy says.
    pub fn connect_timeout(&self) -> Option<Duration> {
        seconds(self.connect_timeout_seconds)
    }
}

fn seconds(given: Option<f64>) -> Option<Duration> {
    given.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// When failed attempts are repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RetryPolicy {
    /// Seconds before each attempt, the first included: `[0, 5, 300]` is three attempts.
    Schedule(Vec<u32>),
    /// Each wait is the one before times `factor`, up to `cap` seconds.
    Exponential {
        /// Attempts in all, the first included.
        attempts: u32,
        /// Seconds before the second attempt.
        first: u32,
        /// At least 1.
        factor: f64,
        /// Longest wait in seconds.
        cap: u32,
    },
}

impl RetryPolicy {
    /// Most attempts a policy may ask for.
    pub const MAX_ATTEMPTS: usize = 50;
    /// Longest wait a policy may ask for: 7 days.
    pub const MAX_WAIT_SECONDS: u32 = 7 * 24 * 3600;

    /// Standard Webhooks' table: ten attempts over 75 hours.
    /// Source: standard-webhooks specification, "Delivery failures and retries".
    pub fn standard() -> Self {
        const MINUTE: u32 = 60;
        const HOUR: u32 = 60 * MINUTE;
        Self::Schedule(vec![
            0,
            5,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            14 * HOUR,
            20 * HOUR,
            24 * HOUR,
        ])
    }

    /// Attempts in all, the first included.
    pub fn attempts(&self) -> u32 {
        match self {
            Self::Schedule(waits) => u32::try_from(waits.len()).unwrap_or(u32::MAX),
            Self::Exponential { attempts, .. } => *attempts,
        }
    }

    /// The wait before attempt `number` (from 1), without jitter; none when there is no
    /// such attempt.
    pub fn wait_before(&self, number: u32) -> Option<Duration> {
        let index = number.checked_sub(1)?;
        match self {
            Self::Schedule(waits) => {
                waits.get(index as usize).map(|&seconds| Duration::from_secs(seconds.into()))
            }
            Self::Exponential { attempts, first, factor, cap } => {
                if number > *attempts {
                    return None;
                }
                let Some(doublings) = index.checked_sub(1) else { return Some(Duration::ZERO) };
                let seconds = f64::from(*first) * factor.powi(doublings.min(1024) as i32);
                Some(Duration::from_secs_f64(seconds.min(f64::from(*cap))))
            }
        }
    }

    /// Why the policy cannot be used, naming the offending part.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let too_long = |seconds: u32| seconds > Self::MAX_WAIT_SECONDS;
        match self {
            Self::Schedule(waits) if waits.is_empty() || waits.len() > Self::MAX_ATTEMPTS => {
                Err(("schedule", format!("has {} waits; 1 to 50 are allowed", waits.len())))
            }
            Self::Schedule(waits) if waits.iter().any(|&w| too_long(w)) => {
                Err(("schedule", format!("a wait is at most {} seconds", Self::MAX_WAIT_SECONDS)))
            }
            Self::Schedule(_) => Ok(()),
            Self::Exponential { attempts, .. }
                if *attempts == 0 || *attempts as usize > Self::MAX_ATTEMPTS =>
            {
                Err(("exponential/attempts", format!("is {attempts}; 1 to 50 are allowed")))
            }
            Self::Exponential { factor, .. } if !factor.is_finite() || *factor < 1.0 => {
                Err(("exponential/factor", format!("is {factor}; at least 1 is needed")))
            }
            Self::Exponential { first, cap, .. } if too_long(*first) || too_long(*cap) => Err((
                "exponential",
                format!("a wait is at most {} seconds", Self::MAX_WAIT_SECONDS),
            )),
            Self::Exponential { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_unusable_is_named_at_once() {
        let policy = Policy {
            retry: Some(RetryPolicy::Schedule(vec![])),
            concurrency: Some(0),
            rate_limit: Some(RateLimit { per_second: 0.0, burst: None }),
            max_age_seconds: Some(u64::MAX),
            ordering_patience_seconds: Some(60),
            timeout_seconds: Some(0.0),
            connect_timeout_seconds: Some(f64::NAN),
            ..Policy::default()
        };
        let places: Vec<_> = policy.check().into_iter().map(|(at, _)| at).collect();
        let expected = [
            "/retry/schedule",
            "/concurrency",
            "/rate_limit/per_second",
            "/max_age_seconds",
            "/ordering_patience_seconds",
            "/timeout_seconds",
            "/connect_timeout_seconds",
        ];
        assert_eq!(places, expected);
        assert!(Policy::default().check().is_empty());
        assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), "{}");
    }

    #[test]
    fn the_standard_schedule_is_ten_attempts_over_75_hours() {
        let policy = RetryPolicy::standard();
        let total: Duration = (1..=10).filter_map(|n| policy.wait_before(n)).sum();
        assert_eq!(policy.attempts(), 10);
        assert_eq!(total.as_secs() / 3600, 75);
        assert_eq!(policy.wait_before(11), None);
        assert_eq!(policy.wait_before(0), None);
    }

    #[test]
    fn exponential_grows_to_its_cap() {
        let policy = RetryPolicy::Exponential { attempts: 5, first: 10, factor: 2.0, cap: 30 };
        let waits: Vec<_> = (1..=6).map(|n| policy.wait_before(n).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(0), Some(10), Some(20), Some(30), Some(30), None]);
    }

    #[test]
    fn unusable_policies_say_why() {
        assert!(RetryPolicy::Schedule(vec![]).check().is_err());
        assert!(RetryPolicy::Schedule(vec![0; 51]).check().is_err());
        assert!(RetryPolicy::Schedule(vec![700_000]).check().is_err());
        let nan = RetryPolicy::Exponential { attempts: 3, first: 1, factor: f64::NAN, cap: 9 };
        assert_eq!(nan.check().unwrap_err().0, "exponential/factor");
    }
}
