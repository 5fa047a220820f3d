//! A rule as what it says of atoms: conditions of which an event meets some.
//!
//! `not` stands at atoms only, so an expression is small and answered from the set of atoms that
//! are met. And it tells which few of its atoms decide: whatever an expression comes to where
//! none of its atoms is met, it can come to something else only where one of its `cover` is.

use super::{
    atoms::Atom,
    bits::Bits,
    filter::{Kind, Node, Test},
    rules::Rule,
};

/// See the module. Atoms are named by their numbers.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Met(u32),
    Unmet(u32),
    All(Box<[Self]>),
    Any(Box<[Self]>),
}

impl Expression {
    /// What a rule says. `slots` are the numbers of its filter's fields, `take` gives atoms theirs.
    pub(super) fn of(rule: &Rule, slots: &[u32], take: &mut impl FnMut(Atom) -> u32) -> Self {
        let mut parts = Vec::with_capacity(2);
        if !rule.channels.is_empty() {
            let names = rule.channels.iter();
            let atoms = names.map(|name| Self::Met(take(Atom::Channel(name.as_str().into()))));
            parts.push(Self::Any(atoms.collect()));
        }
        if let Some(filter) = &rule.filter {
            parts.push(Self::node(&filter.root, true, slots, take));
        }
        Self::All(parts.into())
    }

    /// Says that a node of a filter holds, or that it does not.
    fn node(node: &Node, holds: bool, slots: &[u32], take: &mut impl FnMut(Atom) -> u32) -> Self {
        match (&node.kind, holds) {
            (Kind::All(nodes), true) | (Kind::Any(nodes), false) => {
                Self::All(nodes.iter().map(|node| Self::node(node, holds, slots, take)).collect())
            }
            (Kind::Any(nodes), true) | (Kind::All(nodes), false) => {
                Self::Any(nodes.iter().map(|node| Self::node(node, holds, slots, take)).collect())
            }
            (Kind::Not(node), _) => Self::node(node, !holds, slots, take),
            (Kind::Test { field, test, .. }, _) => {
                let atom = take(Atom::of(slots[*field as usize], test));
                let is_met = !matches!(test, Test::Exists(false));
                if is_met == holds { Self::Met(atom) } else { Self::Unmet(atom) }
            }
        }
    }

    /// Whether it holds of an event that meets these atoms.
    pub(super) fn holds(&self, met: &Bits) -> bool {
        match self {
            Self::Met(atom) => met.contains(*atom),
            Self::Unmet(atom) => !met.contains(*atom),
            Self::All(parts) => parts.iter().all(|part| part.holds(met)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(met)),
        }
    }

    /// Atoms of which one is met whenever the expression comes to `outcome`, the cheapest there
    /// are, and what they cost. None if it comes to that where no atom is met: then it has such
    /// atoms for the other outcome.
    pub(super) fn cover(
        &self,
        outcome: bool,
        price: &impl Fn(u32) -> usize,
    ) -> Option<(usize, Vec<u32>)> {
        match (self, outcome) {
            (Self::Met(atom), true) | (Self::Unmet(atom), false) => {
                Some((price(*atom), vec![*atom]))
            }
            (Self::Met(_), false) | (Self::Unmet(_), true) => None,
            (Self::All(parts), true) | (Self::Any(parts), false) => {
                let each = parts.iter().filter_map(|part| part.cover(outcome, price));
                each.min_by_key(|(cost, _)| *cost)
            }
            (Self::Any(parts), true) | (Self::All(parts), false) => {
                let (mut sum, mut all) = (0_usize, Vec::new());
                for part in parts {
                    let (cost, atoms) = part.cover(outcome, price)?;
                    sum = sum.saturating_add(cost);
                    all.extend(atoms);
                }
                all.sort_unstable();
                all.dedup();
                Some((sum, all))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expression() -> impl Strategy<Value = Expression> {
        let leaf = (0_u32..8, any::<bool>()).prop_map(|(atom, met)| {
            if met { Expression::Met(atom) } else { Expression::Unmet(atom) }
        });
        leaf.prop_recursive(4, 24, 4, |inner| {
            (prop::collection::vec(inner, 1..4), any::<bool>()).prop_map(|(parts, all)| {
                if all { Expression::All(parts.into()) } else { Expression::Any(parts.into()) }
            })
        })
    }

    proptest! {
        /// Exactly one outcome has a cover, and it does not come about without one of its atoms.
        #[test]
        fn nothing_but_the_cover_changes_what_it_comes_to(it in expression(), met in 0_u32..256) {
            let price = |atom: u32| 1 + atom as usize;
            let unmoved = it.holds(&Bits::default());
            prop_assert!(it.cover(unmoved, &price).is_none());
            let (_, cover) = it.cover(!unmoved, &price).expect("the other outcome has one");
            let mut bits = Bits::default();
            (0..8).filter(|atom| met >> atom & 1 == 1).for_each(|atom| bits.insert(atom));
            if !cover.iter().any(|atom| bits.contains(*atom)) {
                prop_assert_eq!(it.holds(&bits), unmoved);
            }
        }
    }
}
