//! From an event to the subscriptions it goes to: by its type, its channels and their filters.
//!
//! Subscriptions without a rule are found by type alone. Those with one stand in a group for each
//! of their patterns; the groups of an event's type say which rules it satisfies without a look,
//! and which must be evaluated. An event whose type no group listens to is not looked into.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    hash::Hash,
    sync::Arc,
};

use super::{
    Facts, Filter, Index,
    access::{Access, Meeting, Stand},
    atoms::Atom,
    bits::Bits,
    expression::Expression,
    numbered::Numbered,
    places::Places,
};
use crate::model::Pattern;

/// What an event must satisfy besides being of a type that is listened to.
#[derive(Debug, Clone)]
pub struct Rule {
    /// It is published on one of these; none for any.
    pub channels: Vec<String>,
    /// It passes this.
    pub filter: Option<Arc<Filter>>,
}

impl Rule {
    /// Whether any event satisfies it.
    pub fn is_open(&self) -> bool {
        self.channels.is_empty() && self.filter.is_none()
    }

    /// Whether an event is on a channel that is wanted.
    pub fn on_channel(&self, facts: &Facts<'_>) -> bool {
        self.channels.is_empty()
            || facts.channels.iter().any(|channel| self.channels.contains(channel))
    }

    /// Whether an event satisfies it: the plain definition, which the index agrees with.
    pub fn admits(&self, facts: &Facts<'_>) -> bool {
        self.on_channel(facts) && self.filter.as_ref().is_none_or(|filter| filter.passes(facts))
    }
}

/// A rule in its place.
#[derive(Clone)]
struct Placed<T> {
    listener: T,
    expression: Expression,
    /// The numbers of its filter's fields.
    fields: Vec<u32>,
    /// The numbers of its atoms, each once.
    atoms: Vec<u32>,
    /// Where it stands: the groups, and the place in each.
    groups: Vec<(u32, Stand)>,
}

/// Rules that listen to one pattern.
#[derive(Clone)]
struct Group {
    pattern: Pattern,
    access: Access,
}

/// Listeners by pattern and rule.
#[derive(Clone)]
pub struct Routes<T> {
    plain: Index<T>,
    by_group: Index<u32>,
    groups: HashMap<u32, Group>,
    group_numbers: HashMap<Pattern, u32>,
    next_group: u32,
    /// Rules by number, with gaps that are filled again.
    rules: Vec<Option<Placed<T>>>,
    gaps: Vec<u32>,
    numbers: HashMap<T, u32>,
    places: Places,
    atoms: Numbered<Atom>,
}

impl<T> fmt::Debug for Routes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("rules", &self.numbers.len()).finish_non_exhaustive()
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            plain: Index::default(),
            by_group: Index::default(),
            groups: HashMap::new(),
            group_numbers: HashMap::new(),
            next_group: 0,
            rules: Vec::new(),
            gaps: Vec::new(),
            numbers: HashMap::new(),
            places: Places::default(),
            atoms: Numbered::default(),
        }
    }
}

impl<T: Copy + Ord + Hash> Routes<T> {
    /// Adds a listener under its patterns.
    pub fn insert(&mut self, patterns: &[Pattern], rule: &Rule, listener: T) {
        if rule.is_open() {
            for pattern in patterns {
                self.plain.insert(pattern, listener);
            }
            return;
        }
        let number = self.gaps.pop().unwrap_or_else(|| {
            self.rules.push(None);
            self.rules.len() as u32 - 1
        });
        let fields =
            rule.filter.as_ref().map(|filter| filter.fields.as_slice()).unwrap_or_default();
        let fields: Vec<u32> = fields.iter().map(|field| self.places.take(field)).collect();
        let mut atoms = Vec::new();
        let expression = Expression::of(rule, &fields, &mut |atom| {
            let (atom, _) = self.atoms.take(&Arc::new(atom));
            if atoms.contains(&atom) {
                // A rule is one user, however often it says something.
                self.atoms.give_back(atom);
            } else {
                atoms.push(atom);
            }
            atom
        });
        let mut groups = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let group = self.group(pattern);
            // A pattern may be there twice.
            if groups.iter().any(|(known, _)| *known == group) {
                continue;
            }
            if let Some(Group { access, .. }) = self.groups.get_mut(&group) {
                groups.push((group, access.insert(number, &expression, &atoms, &self.atoms)));
            }
        }
        let placed = Placed { listener, expression, fields, atoms, groups };
        self.rules[number as usize] = Some(placed);
        self.numbers.insert(listener, number);
    }

    fn group(&mut self, pattern: &Pattern) -> u32 {
        if let Some(&number) = self.group_numbers.get(pattern) {
            return number;
        }
        let number = self.next_group;
        self.next_group += 1;
        self.group_numbers.insert(pattern.clone(), number);
        self.by_group.insert(pattern, number);
        let group = Group { pattern: pattern.clone(), access: Access::default() };
        self.groups.insert(number, group);
        number
    }

    /// Takes a listener from under its patterns.
    pub fn remove(&mut self, patterns: &[Pattern], listener: T) {
        let number = self.numbers.remove(&listener);
        let Some(number) = number else {
            for pattern in patterns {
                self.plain.remove(pattern, listener);
            }
            return;
        };
        let Some(placed) = self.rules[number as usize].take() else { return };
        self.gaps.push(number);
        for (group_number, stand) in &placed.groups {
            let Some(group) = self.groups.get_mut(group_number) else { continue };
            group.access.remove(number, stand, &placed.atoms, &self.atoms);
            if group.access.is_empty()
                && let Some(group) = self.groups.remove(group_number)
            {
                self.by_group.remove(&group.pattern, *group_number);
                self.group_numbers.remove(&group.pattern);
            }
        }
        for atom in placed.atoms {
            self.atoms.give_back(atom);
        }
        for field in placed.fields {
            self.places.give_back(field);
        }
    }

    /// The listeners of an event, each once, in order.
    pub fn find(&self, facts: &Facts<'_>) -> BTreeSet<T> {
        let mut found = self.plain.find(facts.event_type);
        let Some(Meeting { met, reached, mut sure }) = self.meet(facts) else { return found };
        sure.subtract(&reached);
        let rule = |number: u32| self.rules.get(number as usize)?.as_ref();
        found.extend(sure.iter().filter_map(rule).map(|placed| placed.listener));
        let holding = reached.iter().filter_map(rule).filter(|it| it.expression.holds(&met));
        found.extend(holding.map(|placed| placed.listener));
        found
    }

    /// What an event meets; none if no rule listens to its type.
    fn meet(&self, facts: &Facts<'_>) -> Option<Meeting> {
        if self.numbers.is_empty() {
            return None;
        }
        let numbers = self.by_group.find(facts.event_type);
        let groups: Vec<&Access> = numbers
            .iter()
            .filter_map(|number| self.groups.get(number))
            .map(|group| &group.access)
            .collect();
        if groups.is_empty() {
            return None;
        }
        let asked = |field| groups.iter().any(|group| group.asks(field));
        let seen = self.places.seen(facts, asked);
        let mut meeting = Meeting {
            met: Bits::new(self.atoms.bound()),
            reached: Bits::new(self.rules.len()),
            sure: Bits::new(self.rules.len()),
        };
        for group in groups {
            group.meet(facts.channels, &seen, &mut meeting);
        }
        Some(meeting)
    }
}

#[cfg(test)]
mod tests;
