//! A place in a value for what somebody who works with it keeps there.
//!
//! Owns the place. Never says what is in it: it is no part of what the value is, so two that
//! differ in nothing else are equal, and a copy has an empty one.

use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
};

/// Something kept beside a value, so that it need not be looked up again.
#[derive(Default)]
pub struct Kept(RwLock<Option<Arc<dyn Any + Send + Sync>>>);

impl Kept {
    /// What `look` makes of what is kept; none if that is nothing, or of another type.
    pub fn with<T: 'static, R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref()?.downcast_ref().map(look)
    }

    /// Keeps this, and nothing else any more.
    pub fn keep<T: Send + Sync + 'static>(&self, what: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_its_type_and_makes_no_difference() {
        let kept = Kept::default();
        assert_eq!(kept.with(|text: &String| text.len()), None);
        kept.keep(Arc::new("abc".to_owned()));
        assert_eq!(kept.with(|text: &String| text.len()), Some(3));
        assert_eq!(kept.with(|number: &u64| *number), None);
        kept.keep(Arc::new(7_u64));
        assert_eq!(kept.with(|number: &u64| *number), Some(7));
        assert_eq!(kept, Kept::default());
        let copy = kept.clone();
        assert_eq!(copy.with(|number: &u64| *number), None);
        assert_eq!(kept.with(|number: &u64| *number), Some(7));
    }
}
