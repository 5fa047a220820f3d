//! Pointers that many filters ask for, each once in memory.
//!
//! A look-up is mostly waiting for memory, and thousands of trees begin with the same few
//! questions. Owns at most a bounded number; what finds no place is as good, only slower.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

/// Most pointers, and the longest that is kept.
const MAX: usize = 1_024;
const MAX_BYTES: usize = 256;

/// The pointers that trees ask for.
#[derive(Debug, Default)]
pub(super) struct Pointers(RwLock<HashSet<Arc<str>>>);

impl Pointers {
    /// The pointer as others have it too, if there is room.
    pub(super) fn name(&self, pointer: &str) -> Arc<str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(pointer) {
            return Arc::clone(name);
        }
        drop(known);
        let new: Arc<str> = pointer.into();
        if pointer.len() > MAX_BYTES {
            return new;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            // Those of trees that are gone.
            known.retain(|name| Arc::strong_count(name) > 1);
        }
        if known.len() < MAX && !known.contains(pointer) {
            known.insert(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_in_use_is_one_and_their_number_is_bounded() {
        let pointers = Pointers::default();
        let count = || pointers.0.read().unwrap().len();
        let first = pointers.name("/a");
        assert!(Arc::ptr_eq(&first, &pointers.name("/a")));
        for n in 0..3 * MAX {
            assert_eq!(*pointers.name(&format!("/{n}")), format!("/{n}"));
            assert!(count() <= MAX);
        }
        assert!(Arc::ptr_eq(&first, &pointers.name("/a")), "it is still in use");
        let all: Vec<_> = (0..2 * MAX).map(|n| pointers.name(&format!("/used/{n}"))).collect();
        assert!(count() <= MAX && all.len() == 2 * MAX);
    }
}
