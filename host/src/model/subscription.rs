//! A subscription: where events go, which, through what pipeline, by which policy.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::{ApplicationId, Pattern, Secret, Step, SubscriptionId};

/// An endpoint that listens to some event types.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// `sub_…`
    pub id: SubscriptionId,
    /// Its owner.
    pub application: ApplicationId,
    /// For people.
    pub description: Option<String>,
    /// Where its deliveries go.
    pub endpoint: Url,
    /// Which event types it listens to.
    pub event_types: Vec<Pattern>,
    /// The plugins its deliveries run through, in order.
    pub pipeline: Vec<Step>,
    /// The JSON Schema that what it sends must satisfy.
    pub output_schema: Option<serde_json::Value>,
    /// Headers added to every request.
    pub headers: BTreeMap<String, String>,
    /// When failed attempts are repeated; none for the server's default.
    pub retry: Option<RetryPolicy>,
    /// Most attempts under way at once; none for the server's default.
    pub concurrency: Option<u32>,
    /// Whether it takes events.
    pub state: SubscriptionState,
    /// What its requests are signed with: the current secret first, then those in grace.
    pub secrets: Vec<Secret>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Whether a subscription takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionState {
    /// Events are delivered.
    #[default]
    Active,
    /// Events are matched and kept as `held` deliveries until it is resumed.
    Paused,
    /// Events are not matched: the endpoint asked for it (410 Gone), or the operator did.
    Disabled,
}

/// Why a subscription was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The endpoint answered 410 Gone.
    Gone,
    /// By request.
    Operator,
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
