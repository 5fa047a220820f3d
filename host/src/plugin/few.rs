//! A list of things found by their likeness, quick when short and when long.
//!
//! Most events have a handful of pipelines, where a list is quicker than any map; some have
//! ten thousand. Owns nothing but the order of insertion.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
};

/// From this many on, things are found by their hash.
const LIST: usize = 16;

/// Values by keys that compare with what is looked for.
#[derive(Debug)]
pub(super) struct Few<K, V> {
    entries: Vec<(K, V)>,
    /// Where the keys of a hash stand; empty while there are few.
    places: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::new(), hasher: RandomState::new() }
    }
}

impl<K, V> Few<K, V> {
    /// The value whose key is `same`. `mark` gives any part of it: equal keys have equal ones.
    pub(super) fn get<M: Hash>(
        &self,
        mark: impl FnOnce() -> M,
        same: impl Fn(&K) -> bool,
    ) -> Option<&V> {
        let entries = &self.entries;
        let found = if entries.len() < LIST {
            entries.iter().find(|(key, _)| same(key))
        } else {
            let places = self.places.get(&self.hasher.hash_one(mark()))?;
            places.iter().map(|&place| &entries[place]).find(|(key, _)| same(key))
        };
        found.map(|(_, value)| value)
    }

    /// Adds what `get` did not find. `mark` gives a key's mark.
    pub(super) fn add<M: Hash>(&mut self, key: K, value: V, mark: impl Fn(&K) -> M) {
        self.entries.push((key, value));
        let from = match self.entries.len() {
            short if short < LIST => return,
            LIST => 0,
            long => long - 1,
        };
        for place in from..self.entries.len() {
            let hash = self.hasher.hash_one(mark(&self.entries[place].0));
            self.places.entry(hash).or_default().push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_whether_few_or_many() {
        let mut few = Few::default();
        for n in 0..1_000_u32 {
            // Several keys of the same mark, as hashes may have.
            let mark = |key: &u32| key % 100;
            assert_eq!(few.get(|| n % 100, |&key| key == n), None);
            few.add(n, n * 2, mark);
            for known in [0, n / 2, n] {
                assert_eq!(few.get(|| known % 100, |&key| key == known), Some(&(known * 2)));
            }
        }
    }
}
