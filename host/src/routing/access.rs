//! Finds, among many rules, the few that an event may satisfy.
//!
//! Each rule stands under one condition that it cannot hold without: a value, the beginning of a
//! text, a bound. Of those it has, the one that fewest others stand under is taken. An event's
//! values lead to the conditions that it meets, and only rules under those are evaluated.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

use super::{
    Decimal, Memo, Rule,
    facts::Seen,
    filter::{Bound, Comparison, Kind, Node, Scalar, Test, scalar},
};
use crate::model::{Timestamp, time};

/// A condition on an event. Fields are named by the numbers the memo has for them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Atom {
    Channel(Box<str>),
    Equal(u32, Scalar),
    Prefix(u32, Box<str>),
    Suffix(u32, Box<str>),
    /// Above or below a bound.
    Compare(u32, Comparison, Bound),
    Present(u32),
}

/// Rules under the conditions they need.
#[derive(Debug)]
pub(super) struct Access<T> {
    channels: HashMap<Box<str>, BTreeSet<T>>,
    fields: BTreeMap<u32, Probe<T>>,
    /// Those that need nothing that can be looked up.
    rest: BTreeSet<T>,
}

impl<T> Default for Access<T> {
    fn default() -> Self {
        Self { channels: HashMap::new(), fields: BTreeMap::new(), rest: BTreeSet::new() }
    }
}

/// What is asked of one field.
#[derive(Debug)]
struct Probe<T> {
    equal: HashMap<Scalar, BTreeSet<T>>,
    prefixes: Affixes<T>,
    suffixes: Affixes<T>,
    numbers: Bounds<Decimal, T>,
    times: Bounds<Timestamp, T>,
    texts: Bounds<Box<str>, T>,
    present: BTreeSet<T>,
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self {
            equal: HashMap::new(),
            prefixes: Affixes::default(),
            suffixes: Affixes::default(),
            numbers: Bounds::default(),
            times: Bounds::default(),
            texts: Bounds::default(),
            present: BTreeSet::new(),
        }
    }
}

/// Beginnings or ends of texts, with how many there are of each length.
#[derive(Debug)]
struct Affixes<T> {
    texts: HashMap<Box<str>, BTreeSet<T>>,
    lengths: BTreeMap<usize, usize>,
}

impl<T> Default for Affixes<T> {
    fn default() -> Self {
        Self { texts: HashMap::new(), lengths: BTreeMap::new() }
    }
}

/// Bounds in order. Whether one is itself within is left to the rule.
#[derive(Debug)]
struct Bounds<K, T> {
    /// Values must be above these, or there.
    lower: BTreeMap<K, BTreeSet<T>>,
    upper: BTreeMap<K, BTreeSet<T>>,
}

impl<K, T> Default for Bounds<K, T> {
    fn default() -> Self {
        Self { lower: BTreeMap::new(), upper: BTreeMap::new() }
    }
}

/// Adds to a set in a map, or takes from it; an empty set goes.
macro_rules! change {
    ($map:expr, $key:expr, $listener:expr, $add:expr) => {{
        let (map, key) = (&mut $map, $key);
        if $add {
            map.entry(key).or_default().insert($listener);
        } else if let Some(set) = map.get_mut(&key) {
            set.remove(&$listener);
            if set.is_empty() {
                map.remove(&key);
            }
        }
    }};
}

impl<T: Copy + Ord> Affixes<T> {
    fn change(&mut self, text: Box<str>, listener: T, add: bool) {
        let (length, before) = (text.len(), self.texts.len());
        change!(self.texts, text, listener, add);
        if self.texts.len() > before {
            *self.lengths.entry(length).or_default() += 1;
        } else if self.texts.len() < before
            && let Some(count) = self.lengths.get_mut(&length)
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    /// `cut` takes so many bytes off the text, if they are whole characters.
    fn find<'s>(
        &self,
        text: &'s str,
        cut: impl Fn(&'s str, usize) -> Option<&'s str>,
        found: &mut BTreeSet<T>,
    ) {
        for &length in self.lengths.range(..=text.len()).map(|(length, _)| length) {
            found.extend(
                cut(text, length).and_then(|part| self.texts.get(part)).into_iter().flatten(),
            );
        }
    }
}

impl<K: Ord, T: Copy + Ord> Bounds<K, T> {
    fn change(&mut self, comparison: Comparison, key: K, listener: T, add: bool) {
        match comparison {
            Comparison::Greater | Comparison::GreaterOrEqual => {
                change!(self.lower, key, listener, add);
            }
            Comparison::Less | Comparison::LessOrEqual => change!(self.upper, key, listener, add),
        }
    }

    fn is_empty(&self) -> bool {
        self.lower.is_empty() && self.upper.is_empty()
    }

    fn len(&self) -> usize {
        self.lower.len() + self.upper.len()
    }

    fn find<Q: Ord + ?Sized>(&self, value: &Q, found: &mut BTreeSet<T>)
    where
        K: Borrow<Q>,
    {
        use std::ops::Bound::{Included, Unbounded};
        let lower = self.lower.range::<Q, _>((Unbounded, Included(value)));
        let upper = self.upper.range::<Q, _>((Included(value), Unbounded));
        found.extend(lower.chain(upper).flat_map(|(_, listeners)| listeners));
    }
}

impl<T: Copy + Ord> Probe<T> {
    fn find(&self, seen: &Seen<'_>, found: &mut BTreeSet<T>) {
        if *seen == Seen::Missing {
            return;
        }
        found.extend(&self.present);
        if !self.equal.is_empty() {
            found.extend(
                scalar(seen).and_then(|value| self.equal.get(&value)).into_iter().flatten(),
            );
        }
        match seen {
            Seen::Number(number) => self.numbers.find(number, found),
            Seen::Text(text) => {
                let text = &**text;
                self.prefixes.find(text, |text, length| text.get(..length), found);
                let end = |text: &'_ str, length| text.len().checked_sub(length);
                self.suffixes.find(text, |t, length| t.get(end(t, length)?..), found);
                self.texts.find(text, found);
                if !self.times.is_empty()
                    && let Some(time) = time::instant(text)
                {
                    self.times.find(&time, found);
                }
            }
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.equal.is_empty()
            && self.prefixes.texts.is_empty()
            && self.suffixes.texts.is_empty()
            && self.numbers.is_empty()
            && self.times.is_empty()
            && self.texts.is_empty()
            && self.present.is_empty()
    }
}

impl<T: Copy + Ord + Hash> Access<T> {
    /// Puts a listener under the best conditions of its rule. Answers them: the way to take it
    /// out again.
    pub(super) fn insert(&mut self, rule: &Rule, slots: &[u32], listener: T) -> Vec<Atom> {
        let conditions = self.best(rule, slots).map(|(_, atoms)| atoms).unwrap_or_default();
        if conditions.is_empty() {
            self.rest.insert(listener);
        }
        for atom in &conditions {
            self.change(atom.clone(), listener, true);
        }
        conditions
    }

    /// Takes a listener from under its conditions.
    pub(super) fn remove(&mut self, conditions: Vec<Atom>, listener: T) {
        if conditions.is_empty() {
            self.rest.remove(&listener);
        }
        for atom in conditions {
            self.change(atom, listener, false);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.fields.is_empty() && self.rest.is_empty()
    }

    fn change(&mut self, atom: Atom, listener: T, add: bool) {
        let field = match &atom {
            Atom::Channel(name) => {
                change!(self.channels, name.clone(), listener, add);
                return;
            }
            Atom::Equal(field, _)
            | Atom::Prefix(field, _)
            | Atom::Suffix(field, _)
            | Atom::Compare(field, ..)
            | Atom::Present(field) => *field,
        };
        let probe = self.fields.entry(field).or_default();
        match atom {
            Atom::Channel(_) => {}
            Atom::Equal(_, value) => change!(probe.equal, value, listener, add),
            Atom::Prefix(_, text) => probe.prefixes.change(text, listener, add),
            Atom::Suffix(_, text) => probe.suffixes.change(text, listener, add),
            Atom::Compare(_, comparison, bound) => match bound {
                Bound::Number(bound) => probe.numbers.change(comparison, bound, listener, add),
                Bound::Time(bound) => probe.times.change(comparison, bound, listener, add),
                Bound::Text(bound) => probe.texts.change(comparison, bound, listener, add),
            },
            Atom::Present(_) if add => {
                probe.present.insert(listener);
            }
            Atom::Present(_) => {
                probe.present.remove(&listener);
            }
        }
        if probe.is_empty() {
            self.fields.remove(&field);
        }
    }

    /// Adds the listeners whose rules the event may satisfy.
    pub(super) fn find(&self, memo: &Memo<'_>, found: &mut BTreeSet<T>) {
        found.extend(&self.rest);
        if !self.channels.is_empty() {
            for channel in memo.facts.channels {
                found.extend(self.channels.get(channel.as_str()).into_iter().flatten());
            }
        }
        for (&field, probe) in &self.fields {
            probe.find(memo.see(field), found);
        }
    }

    /// Conditions of which one holds whenever the rule does, and how many events and rules they
    /// are likely to bring together.
    fn best(&self, rule: &Rule, slots: &[u32]) -> Option<(usize, Vec<Atom>)> {
        let channels = (!rule.channels.is_empty()).then(|| {
            let atoms = rule.channels.iter().map(|name| Atom::Channel(name.as_str().into()));
            self.priced(atoms.collect())
        });
        let filter = rule.filter.as_ref().and_then(|filter| self.best_of(&filter.root, slots));
        channels.into_iter().chain(filter).min_by_key(|(cost, _)| *cost)
    }

    fn best_of(&self, node: &Node, slots: &[u32]) -> Option<(usize, Vec<Atom>)> {
        match &node.kind {
            Kind::All(nodes) => {
                let each = nodes.iter().filter_map(|node| self.best_of(node, slots));
                each.min_by_key(|(cost, _)| *cost)
            }
            Kind::Any(nodes) => {
                let (mut sum, mut all) = (0, Vec::new());
                for node in nodes {
                    let (cost, atoms) = self.best_of(node, slots)?;
                    sum += cost;
                    for atom in atoms {
                        if !all.contains(&atom) {
                            all.push(atom);
                        }
                    }
                }
                Some((sum, all))
            }
            // What must not be leads nowhere.
            Kind::Not(_) => None,
            Kind::Test { field, test, .. } => {
                let field = slots[*field as usize];
                let atoms = match test {
                    Test::Exact(value) => vec![Atom::Equal(field, value.clone())],
                    Test::In(values) => {
                        values.iter().map(|value| Atom::Equal(field, value.clone())).collect()
                    }
                    Test::Prefix(text) => vec![Atom::Prefix(field, text.clone())],
                    Test::Suffix(text) => vec![Atom::Suffix(field, text.clone())],
                    Test::Compare(comparison, bound) => {
                        vec![Atom::Compare(field, *comparison, bound.clone())]
                    }
                    Test::Exists(true) => vec![Atom::Present(field)],
                    Test::Exists(false) => return None,
                };
                Some(self.priced(atoms))
            }
        }
    }

    fn priced(&self, atoms: Vec<Atom>) -> (usize, Vec<Atom>) {
        (atoms.iter().map(|atom| self.cost(atom)).sum(), atoms)
    }

    /// The rarer a condition is likely to be met and the fewer stand under it, the better.
    fn cost(&self, atom: &Atom) -> usize {
        let probe = |field: &u32| self.fields.get(field);
        match atom {
            Atom::Channel(name) => 4 + self.channels.get(name).map_or(0, BTreeSet::len),
            Atom::Equal(field, value) => {
                let rarity = if matches!(value, Scalar::Null | Scalar::Bool(_)) { 64 } else { 1 };
                rarity + probe(field).and_then(|p| p.equal.get(value)).map_or(0, BTreeSet::len)
            }
            Atom::Prefix(field, text) => {
                let known = probe(field).and_then(|p| p.prefixes.texts.get(text));
                8 + known.map_or(0, BTreeSet::len)
            }
            Atom::Suffix(field, text) => {
                let known = probe(field).and_then(|p| p.suffixes.texts.get(text));
                8 + known.map_or(0, BTreeSet::len)
            }
            Atom::Compare(field, _, bound) => {
                let known = probe(field).map_or(0, |p| match bound {
                    Bound::Number(_) => p.numbers.len(),
                    Bound::Time(_) => p.times.len(),
                    Bound::Text(_) => p.texts.len(),
                });
                128 + known / 2
            }
            Atom::Present(field) => 512 + probe(field).map_or(0, |p| p.present.len()),
        }
    }
}
