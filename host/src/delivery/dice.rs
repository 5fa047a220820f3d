//! Chance, from a seed: the same seed, the same rolls.
//!
//! Owns the only source of randomness of the delivery engine, so that a simulation can repeat
//! a run. Nothing secret may depend on it.

use std::sync::{Mutex, PoisonError};

/// A source of random numbers.
#[derive(Debug)]
pub struct Dice(Mutex<fastrand::Rng>);

impl Dice {
    /// Rolls that follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// A random number in [0, 1).
    pub(super) fn roll(&self) -> f64 {
        // A generator is in order after every call, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_every_roll_and_rolls_stay_on_the_table() {
        let (one, other) = (Dice::seeded(7), Dice::seeded(7));
        for _ in 0..1_000 {
            let roll = one.roll();
            assert!((0.0..1.0).contains(&roll));
            assert_eq!(roll.to_bits(), other.roll().to_bits());
        }
    }
}
