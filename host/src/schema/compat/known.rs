//! Parts of the schemas, compiled once each, and the values that a schema lists, tried on them.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    Comparison, MAX_FINDINGS,
    document::{Document, Place},
    exact::Exact,
    narrow::Narrow,
};
use crate::schema::Validator;

/// Which of the two documents a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Narrow,
    Wide,
}

/// Compiled parts by identity; none is kept of what cannot be compiled.
#[derive(Debug, Default)]
pub(super) struct Known {
    parts: HashMap<*const Value, Option<Arc<Validator>>>,
    values: u64,
    /// Both documents as a whole, once they were wanted.
    pub(super) whole: Option<Option<Arc<[Validator; 2]>>>,
    /// How often something was compiled.
    pub(super) compiled: usize,
}

/// Most values that kept parts consist of: compiled, each takes some hundred bytes.
const MOST_KEPT: u64 = 200_000;
/// What compiling a value costs, next to looking at it.
const COMPILING: u64 = 4;
/// So many values are looked at for the price of one when instances are tried.
const TRYING: u64 = 8;

impl<'a> Comparison<'a> {
    /// A part of a document that needs nothing else of it, compiled.
    pub(super) fn part(&mut self, side: Side, schema: &Value) -> Option<Arc<Validator>> {
        let key = std::ptr::from_ref(schema);
        if let Some(part) = self.known.parts.get(&key) {
            return part.clone();
        }
        let document = self.document(side);
        let (print, draft) = (document.print(schema), document.root.get("$schema"));
        if print.refers || !self.spend(print.values * COMPILING) {
            return None;
        }
        let mut schema = schema.clone();
        if let (Some(members), Some(draft)) = (schema.as_object_mut(), draft) {
            members.insert("$schema".to_owned(), draft.clone());
        }
        let part = Validator::compile(&schema).ok().map(Arc::new);
        self.known.compiled += 1;
        self.known.values += print.values;
        if self.known.values > MOST_KEPT {
            self.known.parts.clear();
            self.known.values = print.values;
        }
        self.known.parts.insert(key, part.clone());
        part
    }

    const fn document(&self, side: Side) -> &Document<'a> {
        match side {
            Side::Narrow => &self.narrow,
            Side::Wide => &self.wide,
        }
    }

    /// The narrow schemas that need nothing else, compiled. The price of trying a value on them.
    pub(super) fn parts(&mut self, places: &[Place<'a>]) -> (Vec<Arc<Validator>>, u64) {
        let values: u64 = places.iter().map(|place| self.narrow.print(place.schema).values).sum();
        let parts =
            places.iter().filter_map(|place| self.part(Side::Narrow, place.schema)).collect();
        (parts, 1 + values / TRYING)
    }

    /// Values that the narrow schema lists are tried one by one. None if it lists none, or they
    /// cannot be tried.
    pub(super) fn listed(&mut self, narrow: &Narrow<'a>, at: &str, wide: &Place<'a>) -> Option<()> {
        let values = narrow.values()?;
        let print = self.wide.print(wide.schema);
        if print.refers {
            return None;
        }
        let (own, price) = self.parts(&narrow.conjuncts);
        let price = price + print.values / TRYING;
        let accepts = self.part(Side::Wide, wide.schema);
        let Some(accepts) = accepts else {
            if self.left > 0 {
                return None;
            }
            self.give_up(at, &wide.at);
            return Some(());
        };
        for value in values {
            if self.narrow.is_draft_4 && !value.is_number() && has_numbers(value) {
                let why = format!("of the value {value} some numbers may be whole or not");
                self.note(false, at, &wide.at, &why);
            }
            for value in spellings(value) {
                if !self.spend(price) {
                    self.give_up(at, &wide.at);
                    return Some(());
                }
                if own.iter().all(|own| own.accepts(&value)) && !accepts.accepts(&value) {
                    let certain = self.trials == 0 && self.shows(&value, None);
                    let why = format!("the value {value} is accepted by one and not by the other");
                    self.note(certain, at, &wide.at, &why);
                    if self.trials > 0 || self.found.len() >= MAX_FINDINGS {
                        return Some(());
                    }
                }
            }
        }
        Some(())
    }

    pub(super) fn give_up(&mut self, at: &str, wide: &str) {
        self.note(false, at, wide, "the schemas are too large to be compared");
    }
}

/// A value and what is equal to it: 1 and 1.0 are one value of `enum`, and in draft 4 two types.
fn spellings(value: &Value) -> Vec<Value> {
    let mut all = vec![value.clone()];
    if let Some(exact) = Exact::of(value) {
        let float = serde_json::Number::from_f64(exact.float()).map(Value::Number);
        all.extend(float.into_iter().chain(exact.value()).filter(|other| other != value));
    }
    all
}

fn has_numbers(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(has_numbers),
        Value::Object(members) => members.values().any(has_numbers),
        _ => false,
    }
}
