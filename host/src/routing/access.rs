//! Finds, among many rules, the few whose answer an event may change.
//!
//! A rule that does not hold where none of its atoms is met stands under some that it cannot hold
//! without. One that does (`not`, `exists: false`) holds of every event, and stands under those
//! that it cannot fail without. Either way it is evaluated only for events that meet one of the
//! atoms it stands under, and of those there are, the ones that fewest others stand under are
//! taken.

use std::collections::{BTreeSet, HashMap};

use super::{
    atoms::{Atom, Probe},
    bits::Bits,
    expression::Expression,
    facts::Seen,
    numbered::Numbered,
};

/// Rules under atoms; all by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    channels: HashMap<Box<str>, u32>,
    fields: HashMap<u32, Probe>,
    atoms: HashMap<u32, Place>,
    /// Rules that hold of an event that meets nothing they stand under.
    sure: Bits,
    rules: usize,
}

/// An atom here.
#[derive(Debug, Clone, Default)]
struct Place {
    /// How many rules speak of it.
    users: usize,
    /// The rules that stand under it.
    under: BTreeSet<u32>,
}

/// Where a rule stands.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    sure: bool,
    under: Vec<u32>,
}

/// What an event meets, and which rules that leads to.
#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) met: Bits,
    /// Rules to be evaluated.
    pub(super) reached: Bits,
    /// Rules that hold unless they are reached.
    pub(super) sure: Bits,
}

impl Access {
    /// Puts a rule in its place. `atoms` are those that it speaks of, each once. Answers where it
    /// stands: the way to take it out again.
    pub(super) fn insert(
        &mut self,
        rule: u32,
        expression: &Expression,
        atoms: &[u32],
        all: &Numbered<Atom>,
    ) -> Stand {
        self.rules += 1;
        for &number in atoms {
            let place = self.atoms.entry(number).or_default();
            place.users += 1;
            if place.users == 1 {
                self.change(all.get(number), number, true);
            }
        }
        let price = |atom: u32| self.price(all.get(atom), atom);
        let cover = expression.cover(true, &price);
        let sure = cover.is_none();
        let cover = cover.or_else(|| expression.cover(false, &price));
        let under = cover.map(|(_, atoms)| atoms).unwrap_or_default();
        if sure {
            self.sure.insert(rule);
        }
        for atom in &under {
            self.atoms.entry(*atom).or_default().under.insert(rule);
        }
        Stand { sure, under }
    }

    /// Takes a rule out.
    pub(super) fn remove(&mut self, rule: u32, stand: &Stand, atoms: &[u32], all: &Numbered<Atom>) {
        self.rules -= 1;
        if stand.sure {
            self.sure.remove(rule);
        }
        for atom in &stand.under {
            if let Some(place) = self.atoms.get_mut(atom) {
                place.under.remove(&rule);
            }
        }
        for &number in atoms {
            let Some(place) = self.atoms.get_mut(&number) else { continue };
            place.users -= 1;
            if place.users == 0 {
                self.atoms.remove(&number);
                self.change(all.get(number), number, false);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// Whether any rule asks for a field.
    pub(super) fn asks(&self, field: u32) -> bool {
        self.fields.contains_key(&field)
    }

    fn change(&mut self, atom: &Atom, number: u32, add: bool) {
        let Some(field) = atom.field() else {
            if let Atom::Channel(name) = atom {
                if add {
                    self.channels.insert(name.clone(), number);
                } else {
                    self.channels.remove(name);
                }
            }
            return;
        };
        let probe = self.fields.entry(field).or_default();
        probe.change(atom, number, add);
        if probe.is_empty() {
            self.fields.remove(&field);
        }
    }

    /// Adds what an event meets that is on these channels and says this.
    pub(super) fn meet(
        &self,
        channels: &[String],
        seen: &[(u32, Seen<'_>)],
        meeting: &mut Meeting,
    ) {
        let Meeting { met, reached, sure } = meeting;
        sure.extend(&self.sure);
        let mut meet = |atom: u32| {
            met.insert(atom);
            let under = self.atoms.get(&atom).map(|place| &place.under);
            under.into_iter().flatten().for_each(|&rule| reached.insert(rule));
        };
        let on = channels.iter().filter_map(|name| self.channels.get(name.as_str()));
        on.for_each(|&atom| meet(atom));
        for (field, seen) in seen {
            if let Some(probe) = self.fields.get(field) {
                probe.find(seen, &mut meet);
            }
        }
    }

    /// The rarer an atom is likely to be met and the fewer stand under it, the better.
    fn price(&self, atom: &Atom, number: u32) -> usize {
        atom.likelihood() + self.atoms.get(&number).map_or(0, |place| place.under.len())
    }
}
