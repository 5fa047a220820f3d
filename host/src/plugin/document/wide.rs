//! Shortcuts into large objects and arrays, for a document that is searched very often.
//!
//! A search walks over siblings, which is quickest for what events usually hold. But a plugin
//! may ask for thousands of pointers into a container of a hundred thousand values, in one call
//! that neither fuel nor clock can end. Owns the point from which walking is given up for an
//! index of each container, made when it is first needed; never changes what is found.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{children, key_is, key_text, pointer, scan::Node};

/// Siblings that are walked over in all before indexes are made: a few milliseconds' worth.
const WALKED: usize = 1 << 16;

/// What was walked, and the indexes made since.
#[derive(Debug, Default)]
pub(super) struct Shortcuts {
    walked: AtomicUsize,
    hasher: RandomState,
    containers: RwLock<HashMap<usize, Arc<Container>>>,
}

#[derive(Debug)]
enum Container {
    /// The members, ordered by the hash of their unescaped key, then by place.
    Members(Vec<(u64, u32)>),
    Elements(Vec<u32>),
}

impl Shortcuts {
    /// The child a token names, as [`super::child`] finds it.
    pub(super) fn child(
        &self,
        nodes: &[Node],
        text: &[u8],
        parent: usize,
        token: &str,
    ) -> Option<usize> {
        if self.walked.load(Relaxed) < WALKED {
            let mut walked = 1;
            let found = super::child_of(nodes, text, parent, token, &mut walked);
            self.walked.fetch_add(walked, Relaxed);
            return found;
        }
        match &*self.container(nodes, text, parent)? {
            Container::Elements(places) => {
                places.get(pointer::index(token)?).map(|&place| place as usize)
            }
            Container::Members(members) => {
                let hash = self.hasher.hash_one(token);
                // Of members with the same key the last, so from behind.
                let upto = members.partition_point(|(known, _)| *known <= hash);
                let same = members[..upto].iter().rev().take_while(|(known, _)| *known == hash);
                let mut places = same.map(|(_, place)| *place as usize);
                places.find(|&place| key_is(&nodes[place], text, token))
            }
        }
    }

    fn container(&self, nodes: &[Node], text: &[u8], parent: usize) -> Option<Arc<Container>> {
        let known = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&parent) {
            return Some(Arc::clone(known));
        }
        drop(known);
        let container = match text.get(nodes[parent].start as usize)? {
            b'{' => {
                let hashed = children(nodes, parent).filter_map(|child| {
                    let key = key_text(&nodes[child], text)?;
                    // Positions fit: there are fewer values than bytes.
                    Some((self.hasher.hash_one(&*key), child as u32))
                });
                let mut members: Vec<_> = hashed.collect();
                members.sort_unstable();
                Container::Members(members)
            }
            b'[' => {
                Container::Elements(children(nodes, parent).map(|child| child as u32).collect())
            }
            _ => return None,
        };
        let container = Arc::new(container);
        let mut known = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(known.entry(parent).or_insert(container)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::plugin::document::Document;

    fn walked(document: &Document) -> usize {
        document.shortcuts.walked.load(Relaxed)
    }

    #[test]
    fn searching_a_large_container_over_and_over_is_not_walking_it_each_time() {
        let members: String = (0..50_000).map(|n| format!(r#""\u006b{n}":{n},"#)).collect();
        let elements = "0,".repeat(50_000);
        let text = format!(r#"{{"o":{{{members}"k7":"last"}},"a":[{elements}1]}}"#);
        let document = Document::new(Bytes::from(text));
        for n in 0..1_000 {
            assert_eq!(document.get(&format!("/o/k{}", n + 8)), Some(&*(n + 8).to_string()));
            assert_eq!(document.get("/o/k7"), Some(r#""last""#));
            assert_eq!(document.get("/a/50000"), Some("1"));
            for nothing in ["/o/none", "/a/50001", "/a/-", "/a/0/x", "/none"] {
                assert_eq!(document.get(nothing), None, "{nothing}");
            }
        }
        assert!(walked(&document) < 3 * WALKED, "{}", walked(&document));
    }

    #[test]
    fn what_is_found_is_the_same_either_way() {
        let text = r#"{"a\/b":1,"\u0061":2,"a":3,"\ud83d\ude00":4,"":5,"\"":6,"x":{"y":[7]},
            "a":8,"\u0061":9,"\ud800":10}"#;
        let walking = Document::new(Bytes::from(text));
        let quick = Document::new(Bytes::from(text));
        quick.shortcuts.walked.store(WALKED, Relaxed);
        for pointer in [
            "",
            "/",
            "/a",
            "/a~1b",
            "/\u{1f600}",
            "/\"",
            "/x/y/0",
            "/x/y/1",
            "/x/y/z",
            "/b",
            "/\u{fffd}",
        ] {
            assert_eq!(quick.get(pointer), walking.get(pointer), "{pointer}");
        }
        assert_eq!(quick.get("/a"), Some("9"));
        assert_eq!(walked(&quick), WALKED);
    }
}
