//! A token bucket: how many attempts may begin in a time. Pure: it is told the time.
//!
//! Its whole state is the moment at which it is full again, so it costs nothing while
//! nothing happens. In any stretch of time there begin at most `burst` attempts and
//! `per_second` more for each of its seconds.

use crate::model::{RateLimit, Timestamp};

/// A subscription's tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    limit: RateLimit,
    /// Nanoseconds in which one token comes back.
    interval: i128,
    /// When it is full again, in nanoseconds since 1970.
    full_at: i128,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(limit: RateLimit) -> Self {
        // Rates begin at 0.01: at most 1e11 ns, far within what both types hold.
        let interval = (1e9 / limit.per_second).ceil() as i128;
        Self { limit, interval: interval.max(1), full_at: i128::MIN }
    }

    /// The same limit keeps its tokens; another begins with those it is missing.
    pub(super) fn set(&mut self, limit: RateLimit) {
        if self.limit != limit {
            *self = Self { full_at: self.full_at, ..Self::new(limit) };
        }
    }

    /// When there is a token: none if there is one now.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Timestamp> {
        let now_ns = now.as_nanosecond();
        let at = self.after_one(now_ns) - self.size();
        // Out of range only in a year past 9999: then never again.
        (at > now_ns).then(|| Timestamp::from_nanosecond(at).unwrap_or(Timestamp::MAX))
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        if self.wait(now).is_some() {
            return false;
        }
        self.full_at = self.after_one(now.as_nanosecond());
        true
    }

    /// When it would be full had one more token been taken at `now`. A clock that was set
    /// back makes nobody wait longer than an empty bucket would.
    fn after_one(&self, now: i128) -> i128 {
        self.full_at.clamp(now, now + self.size()) + self.interval
    }

    fn size(&self) -> i128 {
        i128::from(self.limit.burst()) * self.interval
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanoseconds: i64) -> Timestamp {
        Timestamp::from_nanosecond(1_790_000_000_000_000_000 + i128::from(nanoseconds)).unwrap()
    }

    const SECOND: i64 = 1_000_000_000;

    fn bucket(per_second: f64, burst: u32) -> Bucket {
        Bucket::new(RateLimit { per_second, burst: Some(burst) })
    }

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_one_by_one() {
        let mut bucket = bucket(2.0, 3);
        assert_eq!((0..9).filter(|_| bucket.take(at(0))).count(), 3);
        assert_eq!(bucket.wait(at(0)), Some(at(SECOND / 2)));
        assert!(!bucket.take(at(SECOND / 2 - 1)) && bucket.take(at(SECOND / 2)));
        assert_eq!((0..9).filter(|_| bucket.take(at(100 * SECOND))).count(), 3);
    }

    #[test]
    fn a_clock_set_back_and_a_changed_limit_leave_no_one_waiting_for_long() {
        let mut bucket = bucket(1.0, 1);
        assert!(bucket.take(at(3600 * SECOND)));
        assert_eq!(bucket.wait(at(0)), Some(at(SECOND)));
        bucket.set(RateLimit { per_second: 10.0, burst: Some(1) });
        assert_eq!(bucket.wait(at(0)), Some(at(SECOND / 10)));
    }

    proptest! {
        /// In no stretch of time begin more than the burst and the stretch's own tokens.
        #[test]
        fn the_rate_is_never_exceeded(
            per_second in 0.01f64..10_000.0,
            burst in 1u32..50,
            steps in prop::collection::vec(0i64..3 * SECOND, 1..200),
        ) {
            let mut bucket = bucket(per_second, burst);
            let (mut now, mut taken) = (0, Vec::new());
            for step in steps {
                now += step;
                if bucket.take(at(now)) {
                    taken.push(now);
                } else {
                    let wait = bucket.wait(at(now)).unwrap();
                    prop_assert!(bucket.clone().take(wait), "what is promised is given");
                }
            }
            for (i, first) in taken.iter().enumerate() {
                for (n, last) in taken[i..].iter().enumerate() {
                    let seconds = (last - first) as f64 / 1e9;
                    prop_assert!((n + 1) as f64 <= f64::from(burst) + seconds * per_second + 1e-6);
                }
            }
        }
    }
}
