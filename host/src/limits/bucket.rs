//! A token bucket: how many of something may begin in a time. Pure: it is told the time.
//!
//! Its whole state is the moment at which it is full again, so it costs nothing while
//! nothing happens. In any stretch of time there begin at most `burst` of them and
//! `per_second` more for each of its seconds.

use std::time::Duration;

use crate::model::{RateLimit, Timestamp};

/// Somebody's tokens.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    limit: RateLimit,
    /// Nanoseconds in which one token comes back.
    interval: i128,
    /// When it is full again, in nanoseconds since 1970.
    full_at: i128,
}

impl Bucket {
    /// A full one.
    pub fn new(limit: RateLimit) -> Self {
        // Rates begin at 0.01: at most 1e11 ns, far within what both types hold.
        let interval = (1e9 / limit.per_second).ceil() as i128;
        Self { limit, interval: interval.max(1), full_at: i128::MIN }
    }

    /// The same limit keeps its tokens; another begins with those it is missing.
    pub fn set(&mut self, limit: RateLimit) {
        if self.limit != limit {
            *self = Self { full_at: self.full_at, ..Self::new(limit) };
        }
    }

    /// When there is a token: none if there is one now.
    pub fn wait(&self, now: Timestamp) -> Option<Timestamp> {
        self.wait_for(1, now)
    }

    /// When there are so many tokens: none if there are now. More than a burst of them there
    /// never are, so that is no moment to wait for.
    pub fn wait_for(&self, tokens: u32, now: Timestamp) -> Option<Timestamp> {
        let now_ns = now.as_nanosecond();
        let at = self.after(tokens, now_ns) - self.size();
        // Out of range only in a year past 9999: then never again.
        (at > now_ns).then(|| Timestamp::from_nanosecond(at).unwrap_or(Timestamp::MAX))
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Timestamp) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many tokens, or none if there are not as many.
    pub fn take_many(&mut self, tokens: u32, now: Timestamp) -> bool {
        if self.wait_for(tokens, now).is_some() {
            return false;
        }
        self.full_at = self.after(tokens, now.as_nanosecond());
        true
    }

    /// Puts back so many that were taken for nothing.
    pub fn give_back(&mut self, tokens: u32, now: Timestamp) {
        let now = now.as_nanosecond();
        self.full_at = (self.after(0, now) - i128::from(tokens) * self.interval).max(now);
    }

    /// How many tokens there are.
    pub fn left(&self, now: Timestamp) -> u32 {
        let missing = self.after(0, now.as_nanosecond()) - now.as_nanosecond();
        let left = (self.size() - missing) / self.interval;
        u32::try_from(left.max(0)).unwrap_or(u32::MAX)
    }

    /// How long until it is full.
    pub fn full_in(&self, now: Timestamp) -> Duration {
        let missing = self.after(0, now.as_nanosecond()) - now.as_nanosecond();
        Duration::from_nanos(u64::try_from(missing).unwrap_or(0))
    }

    /// When it would be full had so many more tokens been taken at `now`. A clock that was set
    /// back makes nobody wait longer than an empty bucket would.
    fn after(&self, tokens: u32, now: i128) -> i128 {
        self.full_at.clamp(now, now + self.size()) + i128::from(tokens) * self.interval
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
    fn what_is_given_back_is_there_again_and_never_more_than_a_burst() {
        let mut bucket = bucket(1.0, 3);
        assert!(bucket.take_many(3, at(0)) && !bucket.take(at(0)));
        bucket.give_back(2, at(0));
        assert_eq!(bucket.left(at(0)), 2);
        bucket.give_back(9, at(SECOND));
        assert_eq!(bucket.left(at(SECOND)), 3);
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
    fn many_tokens_are_taken_together_or_not_at_all() {
        let mut bucket = bucket(2.0, 10);
        assert_eq!((bucket.left(at(0)), bucket.full_in(at(0))), (10, Duration::ZERO));
        assert!(bucket.take_many(7, at(0)) && !bucket.take_many(4, at(0)));
        assert_eq!((bucket.left(at(0)), bucket.full_in(at(0)).as_millis()), (3, 3_500));
        assert_eq!(bucket.wait_for(4, at(0)), Some(at(SECOND / 2)));
        assert!(bucket.take_many(4, at(SECOND / 2)));
        assert_eq!(bucket.left(at(SECOND / 2)), 0);
        assert!(!bucket.take_many(11, at(999 * SECOND)), "more than it ever holds");
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
