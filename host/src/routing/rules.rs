//! From an event to the subscriptions it goes to: by its type, its channels and their filters.
//!
//! Subscriptions without a rule are found by type alone. Those with one stand in a group for each
//! of their patterns; the groups of an event's type say which rules it may satisfy, and only
//! those are evaluated. An event whose type no group listens to is not looked into.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    hash::Hash,
    sync::Arc,
};

use super::{
    Facts, Field, Filter, Index, Memo,
    access::{Access, Atom},
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
struct Placed {
    rule: Rule,
    /// The shared numbers of its filter's fields.
    slots: Vec<u32>,
    /// Where it stands: the groups, each with the conditions it stands under there.
    groups: Vec<(u32, Vec<Atom>)>,
}

/// Rules that listen to one pattern.
struct Group<T> {
    pattern: Pattern,
    access: Access<T>,
}

/// The fields of all rules, each once. A number that nobody uses is given again.
#[derive(Default)]
struct Fields {
    list: Vec<Arc<Field>>,
    users: Vec<usize>,
    numbers: HashMap<Arc<Field>, u32>,
    free: Vec<u32>,
}

impl Fields {
    fn take(&mut self, field: &Arc<Field>) -> u32 {
        if let Some(&number) = self.numbers.get(field) {
            self.users[number as usize] += 1;
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.list.push(field.clone());
            self.users.push(0);
            self.list.len() as u32 - 1
        });
        self.list[number as usize] = field.clone();
        self.users[number as usize] = 1;
        self.numbers.insert(field.clone(), number);
        number
    }

    fn give_back(&mut self, number: u32) {
        let index = number as usize;
        self.users[index] -= 1;
        if self.users[index] == 0 {
            self.numbers.remove(&self.list[index]);
            self.free.push(number);
        }
    }
}

/// Listeners by pattern and rule.
pub struct Routes<T> {
    plain: Index<T>,
    by_group: Index<u32>,
    groups: HashMap<u32, Group<T>>,
    numbers: HashMap<Pattern, u32>,
    next_group: u32,
    rules: HashMap<T, Placed>,
    fields: Fields,
}

impl<T> fmt::Debug for Routes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            plain: Index::default(),
            by_group: Index::default(),
            groups: HashMap::new(),
            numbers: HashMap::new(),
            next_group: 0,
            rules: HashMap::new(),
            fields: Fields::default(),
        }
    }
}

impl<T: Copy + Ord + Hash> Routes<T> {
    /// Adds a listener under its patterns.
    pub fn insert(&mut self, patterns: &[Pattern], rule: Rule, listener: T) {
        if rule.is_open() {
            for pattern in patterns {
                self.plain.insert(pattern, listener);
            }
            return;
        }
        let fields =
            rule.filter.as_ref().map(|filter| filter.fields.as_slice()).unwrap_or_default();
        let slots: Vec<u32> = fields.iter().map(|field| self.fields.take(field)).collect();
        let mut groups = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let number = self.group(pattern);
            if let Some(group) = self.groups.get_mut(&number) {
                groups.push((number, group.access.insert(&rule, &slots, listener)));
            }
        }
        self.rules.insert(listener, Placed { rule, slots, groups });
    }

    fn group(&mut self, pattern: &Pattern) -> u32 {
        if let Some(&number) = self.numbers.get(pattern) {
            return number;
        }
        let number = self.next_group;
        self.next_group += 1;
        self.numbers.insert(pattern.clone(), number);
        self.by_group.insert(pattern, number);
        let group = Group { pattern: pattern.clone(), access: Access::default() };
        self.groups.insert(number, group);
        number
    }

    /// Takes a listener from under its patterns.
    pub fn remove(&mut self, patterns: &[Pattern], listener: T) {
        let Some(placed) = self.rules.remove(&listener) else {
            for pattern in patterns {
                self.plain.remove(pattern, listener);
            }
            return;
        };
        for (number, conditions) in placed.groups {
            let Some(group) = self.groups.get_mut(&number) else { continue };
            group.access.remove(conditions, listener);
            if group.access.is_empty()
                && let Some(group) = self.groups.remove(&number)
            {
                self.by_group.remove(&group.pattern, number);
                self.numbers.remove(&group.pattern);
            }
        }
        for number in placed.slots {
            self.fields.give_back(number);
        }
    }

    /// The listeners of an event, each once, in order.
    pub fn find(&self, facts: &Facts<'_>) -> BTreeSet<T> {
        let mut found = self.plain.find(facts.event_type);
        if self.rules.is_empty() {
            return found;
        }
        let groups = self.by_group.find(facts.event_type);
        if groups.is_empty() {
            return found;
        }
        let memo = Memo::new(facts, &self.fields.list);
        let mut candidates = BTreeSet::new();
        for group in groups.iter().filter_map(|number| self.groups.get(number)) {
            group.access.find(&memo, &mut candidates);
        }
        found.extend(candidates.into_iter().filter(|listener| {
            self.rules.get(listener).is_some_and(|placed| {
                let passes = |filter: &Arc<Filter>| filter.root.holds(&placed.slots, &memo);
                placed.rule.on_channel(facts) && placed.rule.filter.as_ref().is_none_or(passes)
            })
        }));
        found
    }
}

#[cfg(test)]
mod tests;
