//! Where pointers lead in one document, as found before: thousands of filters ask for the same
//! few, at once and on several threads, so asking takes no lock.

use std::sync::OnceLock;

use super::Known;

/// Places for what was found; when those of a pointer are taken, it is not kept.
const PLACES: usize = 256;
/// Places that a pointer may stand at.
const TRIES: usize = 8;

/// A pointer and what is there.
type Place = OnceLock<(Box<str>, Known)>;

/// Pointers and what is there. Only ever filled.
#[derive(Debug)]
pub(super) struct Found(Box<[Place]>);

impl Default for Found {
    fn default() -> Self {
        Self((0..PLACES).map(|_| OnceLock::new()).collect())
    }
}

impl Found {
    pub(super) fn get(&self, pointer: &str) -> Option<&Known> {
        for place in places(pointer) {
            // Filled in this order, so after a gap there is nothing.
            let (there, known) = self.0[place].get()?;
            if **there == *pointer {
                return Some(known);
            }
        }
        None
    }

    pub(super) fn keep(&self, pointer: &str, known: &Known) {
        for place in places(pointer) {
            let (there, _) = self.0[place].get_or_init(|| (pointer.into(), known.clone()));
            if **there == *pointer {
                return;
            }
        }
    }
}

/// Where a pointer may stand, the first choice first.
fn places(pointer: &str) -> impl Iterator<Item = usize> {
    // FNV-1a: whoever makes pointers collide makes them slow for their own event only.
    let hash = pointer.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let first = (hash ^ (hash >> 32)) as usize;
    (0..TRIES).map(move |step| (first + step) % PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_what_has_no_place_is_not() {
        let found = Found::default();
        let pointers: Vec<String> = (0..1_000).map(|n| format!("/field/{n}")).collect();
        for (n, pointer) in pointers.iter().enumerate() {
            assert!(found.get(pointer).is_none(), "{pointer}");
            found.keep(pointer, &Known::Short(n..n + 1));
        }
        let mut kept = 0;
        for (n, pointer) in pointers.iter().enumerate() {
            match found.get(pointer) {
                Some(Known::Short(place)) => {
                    assert_eq!(*place, n..n + 1);
                    kept += 1;
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
        assert!((PLACES / 2..=PLACES).contains(&kept), "{kept}");
    }
}
