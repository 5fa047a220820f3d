//! Things that many rules share, each kept once under a small number.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// See the module. A number that nobody uses is given again.
#[derive(Debug, Clone)]
pub(super) struct Numbered<K> {
    list: Vec<Arc<K>>,
    users: Vec<usize>,
    numbers: HashMap<Arc<K>, u32>,
    free: Vec<u32>,
}

impl<K> Default for Numbered<K> {
    fn default() -> Self {
        Self { list: Vec::new(), users: Vec::new(), numbers: HashMap::new(), free: Vec::new() }
    }
}

impl<K: Eq + Hash> Numbered<K> {
    /// Its number, for one more user. And whether this is the first.
    pub(super) fn take(&mut self, thing: &Arc<K>) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(thing) {
            self.users[number as usize] += 1;
            return (number, false);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.list.push(Arc::clone(thing));
            self.users.push(0);
            self.list.len() as u32 - 1
        });
        self.list[number as usize] = Arc::clone(thing);
        self.users[number as usize] = 1;
        self.numbers.insert(Arc::clone(thing), number);
        (number, true)
    }

    /// One user less. The thing, if it was the last.
    pub(super) fn give_back(&mut self, number: u32) -> Option<Arc<K>> {
        let index = number as usize;
        self.users[index] -= 1;
        if self.users[index] > 0 {
            return None;
        }
        self.numbers.remove(&self.list[index]);
        self.free.push(number);
        Some(Arc::clone(&self.list[index]))
    }

    /// The number of a thing, if anybody uses it.
    pub(super) fn number(&self, thing: &K) -> Option<u32> {
        self.numbers.get(thing).copied()
    }

    /// What has this number.
    pub(super) fn get(&self, number: u32) -> &Arc<K> {
        &self.list[number as usize]
    }

    /// More than the largest number there is.
    pub(super) fn bound(&self) -> usize {
        self.list.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}
