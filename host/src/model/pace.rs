//! The parts of a policy that say when an attempt may be made: rate and order.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// How many attempts may begin in a time, as a bucket of tokens: it holds `burst`, and
/// `per_second` come back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Attempts a second, in the long run.
    #[schema(minimum = 0.01, maximum = 10_000)]
    pub per_second: f64,
    /// Attempts that may begin at once after a pause; a second's worth if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub burst: Option<u32>,
}

impl RateLimit {
    /// Slowest and fastest rate a policy may ask for.
    pub const RATES: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
    /// Largest burst a policy may ask for.
    pub const MAX_BURST: u32 = 100_000;

    /// Attempts that may begin at once after a pause.
    pub fn burst(&self) -> u32 {
        // Rates end at 10,000, so nothing is cut off.
        self.burst.unwrap_or(self.per_second.ceil() as u32).max(1)
    }

    /// Why the limit cannot be used, naming the offending part.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !Self::RATES.contains(&self.per_second) {
            let why = format!("is {}; 0.01 to 10000 are allowed", self.per_second);
            return Err(("per_second", why));
        }
        match self.burst {
            Some(burst) if !(1..=Self::MAX_BURST).contains(&burst) => {
                let why = format!("is {burst}; 1 to {} are allowed", Self::MAX_BURST);
                Err(("burst", why))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a delivery waits for older ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// For none.
    #[default]
    None,
    /// For those of events with the same subject. One without a subject waits for none.
    BySubject,
    /// For all of its subscription.
    Strict,
}

impl Ordering {
    /// Whether deliveries wait for none.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What the deliveries have in common that wait for each other.
    pub fn key(self, subject: Option<&str>) -> Option<OrderKey> {
        match self {
            Self::None => None,
            Self::Strict => Some(OrderKey(0)),
            Self::BySubject => {
                let digest = Sha256::digest(subject?);
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&digest[..8]);
                Some(OrderKey(i64::from_le_bytes(bytes)))
            }
        }
    }
}

/// What the deliveries of a subscription have in common that wait for each other. The same
/// for the same subject on every machine, for it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_keys_of_their_own_that_never_change() {
        let key = |subject| Ordering::BySubject.key(subject);
        assert_eq!(key(Some("order/7")), key(Some("order/7")));
        assert_ne!(key(Some("order/7")), key(Some("order/8")));
        assert_eq!(key(None), None);
        assert_eq!(key(Some("a")), Some(OrderKey(-3_837_880_752_741_967_926)));
        assert_eq!(Ordering::Strict.key(None), Ordering::Strict.key(Some("a")));
        assert_eq!(Ordering::None.key(Some("a")), None);
    }

    #[test]
    fn limits_that_cannot_work_are_refused() {
        let wrong =
            |per_second, burst| RateLimit { per_second, burst }.check().err().map(|(part, _)| part);
        assert_eq!(wrong(0.001, None), Some("per_second"));
        assert_eq!(wrong(f64::NAN, None), Some("per_second"));
        assert_eq!(wrong(1.0, Some(0)), Some("burst"));
        assert_eq!(wrong(0.01, None), None);
        assert_eq!(RateLimit { per_second: 2.5, burst: None }.burst(), 3);
    }
}
