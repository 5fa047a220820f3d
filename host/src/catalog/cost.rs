//! How long it takes to check an event of a type, as far as experience tells. Only ever a
//! guess: nothing but the place where a check is made may depend on it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What is taken for a block of a payload before anything is known: parsing alone.
const FIRST: u64 = 8_000;
/// A payload's size is counted in blocks of so many bytes, at least one.
const BLOCK: usize = 1 << 10;
/// The weight of the latest experience is one of so many.
const MEMORY: u64 = 8;

/// Nanoseconds a block takes: a mean in which the past fades.
#[derive(Debug)]
pub struct Cost(AtomicU64);

impl Default for Cost {
    fn default() -> Self {
        Self(FIRST.into())
    }
}

impl Clone for Cost {
    fn clone(&self) -> Self {
        Self(self.0.load(Relaxed).into())
    }
}

impl Cost {
    /// How long a payload of so many bytes will take to check.
    pub fn of(&self, bytes: usize) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed).saturating_mul(blocks(bytes)))
    }

    /// One of so many bytes took so long. Two that learn at once lose one of two lessons.
    pub fn learn(&self, bytes: usize, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / blocks(bytes);
        let known = self.0.load(Relaxed);
        self.0.store((known - known / MEMORY).saturating_add(took / MEMORY), Relaxed);
    }
}

fn blocks(bytes: usize) -> u64 {
    bytes.div_ceil(BLOCK).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_what_checks_take_and_follows_when_that_changes() {
        let cost = Cost::default();
        assert_eq!(cost.of(0), cost.of(1_024));
        for took in [Duration::from_millis(3), Duration::from_micros(30)] {
            (0..100).for_each(|_| cost.learn(3_000, took));
            let guess = cost.of(3_000).as_secs_f64() / took.as_secs_f64();
            assert!((0.95..1.05).contains(&guess), "{guess}");
        }
        assert!(cost.of(usize::MAX) > Duration::from_secs(1));
        cost.learn(1, Duration::MAX);
    }
}
