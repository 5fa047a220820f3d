//! Atoms: the single conditions that rules are made of. And the index that finds, from what an
//! event says at a place, those of many that it meets.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound::{Excluded, Included, Unbounded},
};

use super::{
    Decimal,
    facts::Seen,
    filter::{Bound, Comparison, Scalar, Test, scalar},
};
use crate::model::{Timestamp, time};

/// A condition on an event. None is met where nothing is. Fields are named by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Atom {
    Channel(Box<str>),
    Equal(u32, Scalar),
    In(u32, BTreeSet<Scalar>),
    Prefix(u32, Box<str>),
    Suffix(u32, Box<str>),
    /// Above or below a bound.
    Compare(u32, Comparison, Bound),
    Present(u32),
}

impl Atom {
    /// What a test asks. `exists: false` asks for what must not be met.
    pub(super) fn of(field: u32, test: &Test) -> Self {
        match test {
            Test::Exact(value) => Self::Equal(field, value.clone()),
            Test::In(values) => Self::In(field, values.iter().cloned().collect()),
            Test::Prefix(text) => Self::Prefix(field, text.clone()),
            Test::Suffix(text) => Self::Suffix(field, text.clone()),
            Test::Compare(comparison, bound) => Self::Compare(field, *comparison, bound.clone()),
            Test::Exists(_) => Self::Present(field),
        }
    }

    /// The field that it is about, unless it is about channels.
    pub(super) fn field(&self) -> Option<u32> {
        match self {
            Self::Channel(_) => None,
            Self::Equal(field, _)
            | Self::In(field, _)
            | Self::Prefix(field, _)
            | Self::Suffix(field, _)
            | Self::Compare(field, ..)
            | Self::Present(field) => Some(*field),
        }
    }

    /// How likely an event is to meet it, as far as that can be told: the rarer the lower.
    pub(super) fn likelihood(&self) -> usize {
        let of_value = |value: &Scalar| match value {
            Scalar::Null | Scalar::Bool(_) => 64,
            Scalar::Number(_) | Scalar::Text(_) => 1,
        };
        match self {
            Self::Channel(_) => 4,
            Self::Equal(_, value) => of_value(value),
            Self::In(_, values) => values.iter().map(of_value).sum(),
            Self::Prefix(..) | Self::Suffix(..) => 8,
            Self::Compare(..) => 128,
            Self::Present(_) => 512,
        }
    }
}

/// The atoms about one field, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Probe {
    /// Several lists may have one value in them.
    equal: HashMap<Scalar, Vec<u32>>,
    prefixes: Affixes,
    suffixes: Affixes,
    numbers: Bounds<Decimal>,
    times: Bounds<Timestamp>,
    texts: Bounds<Box<str>>,
    present: Option<u32>,
}

/// Beginnings or ends of texts, with how many there are of each length.
#[derive(Debug, Clone, Default)]
struct Affixes {
    texts: HashMap<Box<str>, u32>,
    lengths: BTreeMap<usize, usize>,
}

/// Bounds in order, for each comparison.
#[derive(Debug, Clone)]
struct Bounds<K> {
    less: BTreeMap<K, u32>,
    less_or_equal: BTreeMap<K, u32>,
    greater: BTreeMap<K, u32>,
    greater_or_equal: BTreeMap<K, u32>,
}

impl<K> Default for Bounds<K> {
    fn default() -> Self {
        Self {
            less: BTreeMap::new(),
            less_or_equal: BTreeMap::new(),
            greater: BTreeMap::new(),
            greater_or_equal: BTreeMap::new(),
        }
    }
}

impl Affixes {
    fn change(&mut self, text: &str, atom: u32, add: bool) {
        if add {
            self.texts.insert(text.into(), atom);
            *self.lengths.entry(text.len()).or_default() += 1;
        } else if self.texts.remove(text).is_some()
            && let Some(count) = self.lengths.get_mut(&text.len())
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&text.len());
            }
        }
    }

    /// `cut` takes so many bytes off the text, if they are whole characters.
    fn find<'s>(
        &self,
        text: &'s str,
        cut: impl Fn(&'s str, usize) -> Option<&'s str>,
        meet: &mut impl FnMut(u32),
    ) {
        for &length in self.lengths.range(..=text.len()).map(|(length, _)| length) {
            if let Some(&atom) = cut(text, length).and_then(|part| self.texts.get(part)) {
                meet(atom);
            }
        }
    }
}

impl<K: Ord> Bounds<K> {
    fn change(&mut self, comparison: Comparison, key: K, atom: u32, add: bool) {
        let map = match comparison {
            Comparison::Less => &mut self.less,
            Comparison::LessOrEqual => &mut self.less_or_equal,
            Comparison::Greater => &mut self.greater,
            Comparison::GreaterOrEqual => &mut self.greater_or_equal,
        };
        if add {
            map.insert(key, atom);
        } else {
            map.remove(&key);
        }
    }

    fn is_empty(&self) -> bool {
        let maps = [&self.less, &self.less_or_equal, &self.greater, &self.greater_or_equal];
        maps.into_iter().all(BTreeMap::is_empty)
    }

    fn find<Q: Ord + ?Sized>(&self, value: &Q, meet: &mut impl FnMut(u32))
    where
        K: Borrow<Q>,
    {
        let less = self.less.range::<Q, _>((Excluded(value), Unbounded));
        let less_or_equal = self.less_or_equal.range::<Q, _>((Included(value), Unbounded));
        let greater = self.greater.range::<Q, _>((Unbounded, Excluded(value)));
        let greater_or_equal = self.greater_or_equal.range::<Q, _>((Unbounded, Included(value)));
        let all = less.chain(less_or_equal).chain(greater).chain(greater_or_equal);
        all.for_each(|(_, &atom)| meet(atom));
    }
}

impl Probe {
    /// Adds an atom, or takes it out.
    pub(super) fn change(&mut self, atom: &Atom, number: u32, add: bool) {
        match atom {
            Atom::Channel(_) => {}
            Atom::Equal(_, value) => self.change_equal(value, number, add),
            Atom::In(_, values) => {
                values.iter().for_each(|value| self.change_equal(value, number, add));
            }
            Atom::Prefix(_, text) => self.prefixes.change(text, number, add),
            Atom::Suffix(_, text) => self.suffixes.change(text, number, add),
            Atom::Compare(_, comparison, bound) => match bound.clone() {
                Bound::Number(bound) => self.numbers.change(*comparison, bound, number, add),
                Bound::Time(bound) => self.times.change(*comparison, bound, number, add),
                Bound::Text(bound) => self.texts.change(*comparison, bound, number, add),
            },
            Atom::Present(_) => self.present = add.then_some(number),
        }
    }

    fn change_equal(&mut self, value: &Scalar, atom: u32, add: bool) {
        if add {
            self.equal.entry(value.clone()).or_default().push(atom);
        } else if let Some(atoms) = self.equal.get_mut(value) {
            atoms.retain(|known| *known != atom);
            if atoms.is_empty() {
                self.equal.remove(value);
            }
        }
    }

    /// Calls `meet` with each atom that is met by something that is there.
    pub(super) fn find(&self, seen: &Seen<'_>, meet: &mut impl FnMut(u32)) {
        self.present.into_iter().for_each(&mut *meet);
        if !self.equal.is_empty() {
            let atoms = scalar(seen).and_then(|value| self.equal.get(&value));
            atoms.into_iter().flatten().for_each(|&atom| meet(atom));
        }
        match seen {
            Seen::Number(number) => self.numbers.find(number, meet),
            Seen::Text(text) => {
                let text = &**text;
                self.prefixes.find(text, |text, length| text.get(..length), meet);
                let end = |text: &'_ str, length| text.len().checked_sub(length);
                self.suffixes.find(text, |t, length| t.get(end(t, length)?..), meet);
                self.texts.find(text, meet);
                if !self.times.is_empty()
                    && let Some(time) = time::instant(text)
                {
                    self.times.find(&time, meet);
                }
            }
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.equal.is_empty()
            && self.prefixes.texts.is_empty()
            && self.suffixes.texts.is_empty()
            && self.numbers.is_empty()
            && self.times.is_empty()
            && self.texts.is_empty()
            && self.present.is_none()
    }
}
