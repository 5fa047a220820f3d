//! Which part of a filter decided, and why, in words.

use super::{Bound, Kind, Memo, Node, Scalar, Test};
use crate::routing::facts::Seen;

/// Whether an event passes a filter, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it does.
    pub passes: bool,
    /// JSON pointer into the filter: the part that decided.
    pub at: String,
    /// Why, for people.
    pub why: String,
}

/// Most characters of a value that are quoted.
const QUOTED: usize = 80;

impl Node {
    /// What decided. The filter's own fields are the memo's.
    pub(super) fn explain(&self, memo: &Memo<'_>) -> Explanation {
        let here = |passes, why: String| Explanation { passes, at: self.at.clone(), why };
        match &self.kind {
            // The first that decides is told; if none does alone, all of them did.
            Kind::All(nodes) => nodes
                .iter()
                .map(|node| node.explain(memo))
                .find(|part| !part.passes)
                .unwrap_or_else(|| here(true, format!("all {} parts hold", nodes.len()))),
            Kind::Any(nodes) => nodes
                .iter()
                .map(|node| node.explain(memo))
                .find(|part| part.passes)
                .unwrap_or_else(|| here(false, format!("none of {} parts holds", nodes.len()))),
            Kind::Not(node) => {
                let part = node.explain(memo);
                let why = if part.passes {
                    format!("what must not hold does: {}", part.why)
                } else {
                    format!("what must not hold does not: {}", part.why)
                };
                Explanation { passes: !part.passes, at: part.at, why }
            }
            Kind::Test { field, key, test } => {
                let seen = memo.see(*field);
                let passes = test.holds(seen);
                let place = if key.is_empty() { "the payload" } else { &**key };
                let verb = if passes { "is" } else { "is not" };
                let found = found(seen);
                here(
                    passes,
                    match test {
                        Test::Exists(_) => format!("{place} {found}"),
                        _ => format!("{place} {found}, which {verb} {}", asked(test)),
                    },
                )
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

fn found(seen: &Seen<'_>) -> String {
    match seen {
        Seen::Missing => "is not there".to_owned(),
        Seen::Null => "is null".to_owned(),
        Seen::Bool(value) => format!("is {value}"),
        Seen::Number(number) => format!("is {number}"),
        Seen::Text(text) => format!("is {}", quoted(text)),
        Seen::Other => "is an object or a list".to_owned(),
    }
}

fn value(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => quoted(text),
    }
}

fn asked(test: &Test) -> String {
    match test {
        Test::Exact(wanted) => value(wanted),
        Test::In(wanted) => format!("one of the {} values", wanted.len()),
        Test::Prefix(prefix) => format!("a text that begins with {}", quoted(prefix)),
        Test::Suffix(suffix) => format!("a text that ends with {}", quoted(suffix)),
        Test::Compare(comparison, bound) => {
            let bound = match bound {
                Bound::Number(number) => number.to_string(),
                Bound::Time(time) => format!("the time {time}"),
                Bound::Text(text) => quoted(text),
            };
            format!("{} {bound}", comparison.words())
        }
        Test::Exists(_) => String::new(),
    }
}
