//! Declarative filters: which events a subscription wants, said in JSON instead of code.
//!
//! A filter is compiled once, when it is saved. `compile` reads it and finds what is wrong,
//! `eval` says whether an event passes and why. docs/filters.md is what they mean.

mod compile;
mod eval;
mod explain;

use std::{cmp::Ordering, collections::HashSet, sync::Arc};

pub use compile::FilterError;
pub(super) use eval::scalar;
pub use explain::Explanation;

use super::{Decimal, Facts, Field, Memo};
use crate::model::Timestamp;

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    /// What its tests look at, each once.
    pub(super) fields: Vec<Arc<Field>>,
    pub(super) root: Node,
}

/// A filter, or a part of one.
#[derive(Debug)]
pub(super) struct Node {
    /// JSON pointer into the filter.
    at: String,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// The field by its number in the filter's list.
    Test {
        field: u32,
        /// As the filter writes it.
        key: String,
        test: Test,
    },
}

/// What is asked of one value.
#[derive(Debug)]
pub(super) enum Test {
    Exact(Scalar),
    In(HashSet<Scalar>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Compare(Comparison, Bound),
    Exists(bool),
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds of a value that stands so to the bound.
    pub(super) const fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Less => "below",
            Self::LessOrEqual => "at most",
            Self::Greater => "above",
            Self::GreaterOrEqual => "at least",
        }
    }
}

/// What a value is compared with. Values of another kind are neither above nor below.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    Number(Decimal),
    /// A text that is an RFC 3339 date and time: instants are compared.
    Time(Timestamp),
    Text(Box<str>),
}

impl Filter {
    /// Whether an event passes.
    pub fn passes(&self, facts: &Facts<'_>) -> bool {
        self.root.holds(&Memo::new(facts, &self.fields))
    }

    /// Whether an event passes, and what decided that.
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation {
        self.root.explain(&Memo::new(facts, &self.fields))
    }
}
