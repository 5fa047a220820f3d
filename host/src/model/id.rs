//! Typed ids: a UUIDv7 behind a prefix that says what it names, so ids sort by time
//! and a delivery's id is never taken for an event's.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Crockford's base 32 in lower case: no i, l, o, u, so ids survive being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits at five a letter.
const LETTERS: usize = 26;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It names another kind of thing, or nothing.
    #[error("expected an id that starts with {0}_")]
    Prefix(&'static str),
    /// What follows the prefix is not 26 letters and digits.
    #[error("an id is {0}_ and 26 letters and digits (0-9, a-z without i, l, o, u)")]
    Letters(&'static str),
}

/// Steps that 12 bits tell apart.
const TICKS_A_MILLI: u64 = 1 << 12;
/// How far ids may run ahead of the clock when more are made in a millisecond than it has steps.
const MOST_AHEAD: u64 = 2 * TICKS_A_MILLI;

fn encode(uuid: Uuid) -> String {
    let mut bits = uuid.as_u128();
    let mut text = [0u8; LETTERS];
    for letter in text.iter_mut().rev() {
        *letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    text.iter().map(|&b| char::from(b)).collect()
}

fn decode(text: &str) -> Option<Uuid> {
    // 26 letters hold 130 bits; the first may only use its low three.
    if text.len() != LETTERS || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits = 0u128;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&a| a == byte)?;
        bits = bits << 5 | digit as u128;
    }
    Some(Uuid::from_u128(bits))
}

/// Ticks that ids are made at, one for each.
struct Ticks(AtomicU64);

/// Of all ids that this process makes.
static TICKS: Ticks = Ticks(AtomicU64::new(0));

impl Ticks {
    /// The first of the millisecond, or the next after the last one, so that what is made one
    /// after the other sorts so. A clock that is far behind the last id was set back, and is
    /// believed.
    fn next(&self, now: Timestamp) -> u64 {
        let first = u64::try_from(now.as_millisecond()).unwrap_or(0).saturating_mul(TICKS_A_MILLI);
        let next =
            |last| if (first..first + MOST_AHEAD).contains(&last) { last + 1 } else { first };
        // The function is total, so it is never refused.
        self.0.fetch_update(Relaxed, Relaxed, |last| Some(next(last))).map_or(first, next)
    }
}

/// A UUIDv7 at `now`: 48 bits of milliseconds, 12 that count within them (RFC 9562, section 6.2,
/// method 1), the rest random.
fn time_ordered(now: Timestamp) -> Uuid {
    let random = *Uuid::new_v4().as_bytes();
    let mut tail = [0u8; 10];
    tail.copy_from_slice(&random[6..]);
    let tick = TICKS.next(now);
    let count = (tick % TICKS_A_MILLI) as u16;
    tail[..2].copy_from_slice(&count.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(tick / TICKS_A_MILLI, &tail).into_uuid()
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id that sorts by `now`, and within its millisecond by when it was made.
            pub fn new(now: Timestamp) -> Self {
                Self(time_ordered(now))
            }

            /// The time it sorts by, in whole milliseconds.
            pub fn created_at(&self) -> Timestamp {
                let millis = (self.0.as_u128() >> 80) as i64;
                // 48 bits of milliseconds may lie beyond the year 9999.
                Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
            }

            /// Below every id of `at` and later, and above every earlier one.
            pub fn first_of(at: Timestamp) -> Self {
                let millis = u128::try_from(at.as_millisecond()).unwrap_or(0);
                Self(Uuid::from_u128(millis << 80))
            }

            /// The 16 bytes the store keeps.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the store's 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let letters = text
                    .strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .ok_or(IdError::Prefix($prefix))?;
                decode(letters).map(Self).ok_or(IdError::Letters($prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$")))
                    .examples([concat!($prefix, "_01jd8xq3m5e7r9t0v2w4y6z8ab")])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

typed_id!(/// An application: a tenant.
    ApplicationId, "app");
typed_id!(/// An event, as accepted.
    EventId, "evt");
typed_id!(/// A subscription.
    SubscriptionId, "sub");
typed_id!(/// A delivery: one event for one subscription.
    DeliveryId, "dlv");
typed_id!(/// A backtest.
    BacktestId, "bkt");
typed_id!(/// A replay.
    ReplayId, "rpl");
typed_id!(/// An API key.
    KeyId, "key");
typed_id!(/// An inbound endpoint.
    SourceId, "src");
typed_id!(/// A secret of an inbound endpoint.
    SourceSecretId, "ssc");
typed_id!(/// An entry of the audit log.
    AuditId, "aud");

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn text_form_round_trips() {
        let id = EventId::new(at(1_790_000_000_000));
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        assert_eq!(id.to_string().len(), "evt_".len() + LETTERS);
    }

    #[test]
    fn ids_sort_by_time_in_both_forms() {
        let (early, late) = (EventId::new(at(1_000)), EventId::new(at(2_000)));
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn what_is_made_one_after_the_other_sorts_so() {
        let ticks = Ticks(AtomicU64::new(0));
        let now = at(1_790_000_000_000);
        let mut made: Vec<_> = (0..5_000).map(|_| ticks.next(now)).collect();
        assert_eq!(made[0] / TICKS_A_MILLI, 1_790_000_000_000);
        made.push(ticks.next(at(1_790_000_000_001)));
        made.push(ticks.next(now));
        assert!(made.is_sorted_by(|one, next| one < next));
        // Set back by more, the clock is believed.
        assert_eq!(ticks.next(at(1_789_999_999_000)) / TICKS_A_MILLI, 1_789_999_999_000);
    }

    #[test]
    fn a_moment_has_a_place_among_ids() {
        let before = EventId::new(at(1_999));
        let then = EventId::new(at(2_000));
        assert!(before < EventId::first_of(at(2_000)) && EventId::first_of(at(2_000)) < then);
    }

    #[test]
    fn another_kind_of_id_is_refused_by_name() {
        let id = EventId::new(at(1)).to_string();
        assert_eq!(id.parse::<DeliveryId>(), Err(IdError::Prefix("dlv")));
    }

    #[test]
    fn letters_outside_the_alphabet_or_range_are_refused() {
        for bad in
            ["evt_", "evt_01jd", "evt_8zzzzzzzzzzzzzzzzzzzzzzzzz", "evt_0uuuuuuuuuuuuuuuuuuuuuuuuu"]
        {
            assert_eq!(bad.parse::<EventId>(), Err(IdError::Letters("evt")), "{bad}");
        }
    }
}
