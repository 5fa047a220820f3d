//! The index from an event to the subscriptions that listen to it: by its type here, by its
//! channels and values in `rules`.
//!
//! Exact names are one look-up; patterns with stars share a tree of their segments, so the
//! cost of a match grows with the name's length and what it finds, not with how many
//! subscriptions there are. Never parses a payload, never does I/O.

mod access;
mod atoms;
mod bits;
mod decimal;
mod expression;
mod facts;
mod filter;
mod numbered;
mod places;
mod rules;

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::model::{EventTypeName, Pattern};

use self::facts::{Field, Memo};
pub use self::{
    decimal::Decimal,
    facts::Facts,
    filter::{Explanation, Filter, FilterError},
    rules::{Routes, Rule},
};

/// Where patterns that begin alike stand.
#[derive(Debug, Clone)]
struct Node<T> {
    literals: HashMap<String, Self>,
    star: Option<Box<Self>>,
    /// Those whose pattern ends here.
    here: BTreeSet<T>,
    /// Those whose pattern ends here in `**`.
    rest: BTreeSet<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), star: None, here: BTreeSet::new(), rest: BTreeSet::new() }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.star.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }
}

/// Patterns to listeners.
#[derive(Debug, Clone)]
pub struct Index<T> {
    exact: HashMap<String, BTreeSet<T>>,
    root: Node<T>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), root: Node::default() }
    }
}

impl<T: Copy + Ord + Hash> Index<T> {
    /// Adds a listener under a pattern.
    pub fn insert(&mut self, pattern: &Pattern, listener: T) {
        if pattern.is_exact() {
            self.exact.entry(pattern.as_str().to_owned()).or_default().insert(listener);
            return;
        }
        let mut node = &mut self.root;
        for part in pattern.segments() {
            node = match part {
                "**" => {
                    node.rest.insert(listener);
                    return;
                }
                "*" => node.star.get_or_insert_default(),
                literal => node.literals.entry(literal.to_owned()).or_default(),
            };
        }
        node.here.insert(listener);
    }

    /// Takes a listener from under a pattern.
    pub fn remove(&mut self, pattern: &Pattern, listener: T) {
        if pattern.is_exact() {
            if let Some(listeners) = self.exact.get_mut(pattern.as_str()) {
                listeners.remove(&listener);
                if listeners.is_empty() {
                    self.exact.remove(pattern.as_str());
                }
            }
            return;
        }
        let parts: Vec<&str> = pattern.segments().collect();
        prune(&mut self.root, &parts, listener);
    }

    /// The listeners of an event type, each once, in order.
    pub fn find(&self, name: &EventTypeName) -> BTreeSet<T> {
        let mut found = self.exact.get(name.as_str()).cloned().unwrap_or_default();
        if !self.root.is_empty() {
            // At most 8 segments, so at most 256 ways through the stars.
            let parts: Vec<&str> = name.segments().collect();
            if name.is_reserved() {
                collect_reserved(&self.root, &parts, &mut found);
            } else {
                collect(&self.root, &parts, &mut found);
            }
        }
        found
    }
}

/// The server's own events are found by their first segment only.
fn collect_reserved<T: Copy + Ord>(root: &Node<T>, parts: &[&str], found: &mut BTreeSet<T>) {
    let named =
        parts.split_first().and_then(|(first, rest)| Some((root.literals.get(*first)?, rest)));
    if let Some((node, rest)) = named {
        collect(node, rest, found);
    }
}

fn collect<T: Copy + Ord>(node: &Node<T>, parts: &[&str], found: &mut BTreeSet<T>) {
    let Some((first, rest)) = parts.split_first() else {
        found.extend(&node.here);
        return;
    };
    found.extend(&node.rest);
    if let Some(next) = node.literals.get(*first) {
        collect(next, rest, found);
    }
    if let Some(next) = &node.star {
        collect(next, rest, found);
    }
}

fn prune<T: Ord>(node: &mut Node<T>, parts: &[&str], listener: T) {
    match parts.split_first() {
        None => {
            node.here.remove(&listener);
        }
        Some((&"**", _)) => {
            node.rest.remove(&listener);
        }
        Some((&"*", rest)) => {
            if let Some(next) = &mut node.star {
                prune(next, rest, listener);
                if next.is_empty() {
                    node.star = None;
                }
            }
        }
        Some((&literal, rest)) => {
            if let Some(next) = node.literals.get_mut(literal) {
                prune(next, rest, listener);
                if next.is_empty() {
                    node.literals.remove(literal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "hookmill"]).prop_map(str::to_owned)
    }

    fn name() -> impl Strategy<Value = EventTypeName> {
        prop::collection::vec(segment(), 1..5).prop_map(|parts| parts.join(".").parse().unwrap())
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let part = prop_oneof![3 => segment(), 1 => Just("*".to_owned())];
        (prop::collection::vec(part, 1..5), any::<bool>()).prop_map(|(mut parts, open)| {
            if open {
                parts.push("**".into());
            }
            parts.join(".").parse().unwrap()
        })
    }

    proptest! {
        /// The index agrees with the plain definition, also after removals.
        #[test]
        fn finds_what_matches(
            patterns in prop::collection::vec(pattern(), 0..30),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            names in prop::collection::vec(name(), 1..10),
        ) {
            let mut index = Index::default();
            let mut listeners: Vec<(usize, &Pattern)> = patterns.iter().enumerate().collect();
            for &(id, pattern) in &listeners {
                index.insert(pattern, id);
            }
            for choice in removed {
                if !listeners.is_empty() {
                    let (id, pattern) = listeners.swap_remove(choice.index(listeners.len()));
                    index.remove(pattern, id);
                }
            }
            for name in names {
                let expected: BTreeSet<usize> =
                    listeners.iter().filter(|(_, p)| p.matches(&name)).map(|(id, _)| *id).collect();
                prop_assert_eq!(index.find(&name), expected);
            }
        }
    }

    #[test]
    fn an_emptied_index_holds_nothing() {
        let mut index = Index::default();
        for text in ["a", "a.*", "a.**", "**", "*.b"] {
            index.insert(&text.parse().unwrap(), 1);
        }
        for text in ["a", "a.*", "a.**", "**", "*.b"] {
            index.remove(&text.parse().unwrap(), 1);
        }
        assert!(index.root.is_empty() && index.exact.is_empty());
    }
}
