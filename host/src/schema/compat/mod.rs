//! Whether whatever satisfies one schema satisfies another: what a change of a schema breaks.
//!
//! No finding means that there is no instance that the one accepts and the other does not. What is
//! found is certain if such an instance was found (`witness`), and otherwise could not be told.
//! docs/schemas.md has the rules. Owns what a comparison may take. Never runs over payloads.

mod document;
mod exact;
mod known;
mod narrow;
mod objects;
mod values;
mod witness;

use std::hash::RandomState;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::{
    document::{Document, Place},
    known::Known,
    narrow::Narrow,
    witness::{Here, Step},
};
use super::{MESSAGE_BYTES, PLACE_BYTES, Stop, excerpt};
use crate::model::Compatibility;

/// Which way something breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What the old schema accepts, the new one may refuse.
    Backward,
    /// What the new schema accepts, the old one may refuse.
    Forward,
}

/// One thing that stands between two schemas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Which way it breaks.
    pub direction: Direction,
    /// Whether it is known to break; if not, it could not be told.
    pub certain: bool,
    /// JSON pointer into the old schema.
    pub old: String,
    /// JSON pointer into the new schema.
    pub new: String,
    /// What changed, and why it breaks.
    pub why: String,
}

/// Most findings of one direction.
const MAX_FINDINGS: usize = 50;
/// Steps a comparison may take before it gives up.
const MAX_STEPS: usize = 20_000;
/// What it may look at before it gives up: about as many members of schemas, and some of the values
/// that are tried.
const MAX_WORK: u64 = 30_000_000;
/// How deep it may go: schemas may be nested as deep as JSON may.
const MAX_DEPTH: usize = 100;

/// What breaks between two versions of a schema, as far as `mode` asks for it.
pub fn compare(old: &Value, new: &Value, mode: Compatibility, stop: &Stop) -> Vec<Finding> {
    let mut found = Vec::new();
    if mode.is_backward() {
        found.extend(Comparison::run(old, new, Direction::Backward, stop));
    }
    if mode.is_forward() {
        found.extend(Comparison::run(new, old, Direction::Forward, stop));
    }
    found
}

/// Keywords that are not looked into: those of a group are known to hold only if all of the group
/// stay as they are.
const OPAQUE: [&[&str]; 9] = [
    &["not"],
    &["if", "then", "else"],
    &["contains", "minContains", "maxContains"],
    &["prefixItems"],
    &["additionalItems", "items"],
    &["propertyNames"],
    &["dependentRequired"],
    &["dependentSchemas"],
    &["dependencies"],
];

/// Keywords that depend on everything around them.
const ENTANGLED: [&str; 4] =
    ["unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"];

/// A conjunction of schemas and the one that is to accept what they do, by identity.
type Pair = (Vec<*const Value>, *const Value);

/// Shows that whatever all of some schemas accept is accepted by another, or finds why not.
struct Comparison<'a> {
    direction: Direction,
    narrow: Document<'a>,
    wide: Document<'a>,
    found: Vec<Finding>,
    steps: usize,
    /// What is left of `MAX_WORK`.
    left: u64,
    stop: &'a Stop,
    /// Parts of the schemas, compiled.
    known: Known,
    /// The places in the instance that lead to where the comparison is, and what is known there.
    here: Vec<Here<'a>>,
    way: Vec<Step>,
    /// How many alternatives are being tried, one within another: what they find is not told.
    trials: usize,
    /// How many values were made up.
    tries: usize,
    /// Pairs under way, each with how deep in the instance it is. Met again deeper, a pair is
    /// shown by the same argument, for an instance has an end; at the same depth that would be
    /// a circle.
    under_way: Vec<(Pair, usize)>,
    depth: usize,
    /// Schemas whose alternatives are being tried.
    split: Vec<*const Value>,
}

impl<'a> Comparison<'a> {
    fn run(
        narrow: &'a Value,
        wide: &'a Value,
        direction: Direction,
        stop: &'a Stop,
    ) -> Vec<Finding> {
        if narrow == wide {
            return Vec::new();
        }
        let mut comparison = Self::new(narrow, wide, direction, stop);
        comparison.check_all();
        comparison.found
    }

    fn new(narrow: &'a Value, wide: &'a Value, direction: Direction, stop: &'a Stop) -> Self {
        let keys = RandomState::new();
        Self {
            direction,
            narrow: Document::new(narrow, &keys),
            wide: Document::new(wide, &keys),
            found: Vec::new(),
            steps: 0,
            left: MAX_WORK,
            stop,
            known: Known::default(),
            here: Vec::new(),
            way: Vec::new(),
            trials: 0,
            tries: 0,
            under_way: Vec::new(),
            depth: 0,
            split: Vec::new(),
        }
    }

    fn check_all(&mut self) {
        let (narrow, wide) = (self.narrow.root, self.wide.root);
        let (from, to) = (Place::new(narrow, String::new()), Place::new(wide, String::new()));
        if narrow.get("$schema") == wide.get("$schema") {
            self.check(vec![from], &to);
        } else {
            let why = "they are of different drafts of JSON Schema, or only one says which";
            self.report(false, &from.at, &to.at, why);
        }
    }

    /// Whether so much more may be done.
    fn spend(&mut self, work: u64) -> bool {
        match self.left.checked_sub(work) {
            Some(left) if !self.stop.is_over() => {
                self.left = left;
                true
            }
            _ => {
                self.left = 0;
                false
            }
        }
    }

    /// Notes what stands between the two. It is certain if it `breaks` and an instance shows so.
    fn report(&mut self, breaks: bool, narrow: &str, wide: &str, why: impl Into<String>) {
        if self.found.len() < MAX_FINDINGS {
            let certain = breaks && self.trials == 0 && self.is_shown(wide);
            self.note(certain, narrow, wide, &why.into());
        }
    }

    fn note(&mut self, certain: bool, narrow: &str, wide: &str, why: &str) {
        if self.found.len() >= MAX_FINDINGS {
            return;
        }
        let (old, new) = match self.direction {
            Direction::Backward => (narrow, wide),
            Direction::Forward => (wide, narrow),
        };
        let finding = Finding {
            direction: self.direction,
            certain,
            old: excerpt(old, PLACE_BYTES),
            new: excerpt(new, PLACE_BYTES),
            why: excerpt(why, MESSAGE_BYTES),
        };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// What `check` would find, without keeping it.
    fn trial(&mut self, narrow: Vec<Place<'a>>, wide: &Place<'a>) -> Vec<Finding> {
        let before = std::mem::take(&mut self.found);
        self.trials += 1;
        self.check(narrow, wide);
        self.trials -= 1;
        std::mem::replace(&mut self.found, before)
    }

    /// Finds what the conjunction `narrow` accepts and `wide` does not.
    fn check(&mut self, narrow: Vec<Place<'a>>, wide: &Place<'a>) {
        self.steps += 1;
        let at = narrow.first().map(|place| place.at.clone()).unwrap_or_default();
        let looked: u64 = narrow.iter().map(|place| self.weight(place)).sum();
        let looked = looked + self.weight(wide) + (narrow.len() * narrow.len() / 16) as u64;
        if !self.spend(looked) || self.steps > MAX_STEPS || self.under_way.len() > MAX_DEPTH {
            self.give_up(&at, &wide.at);
            return;
        }
        let accepts_all = match wide.schema {
            Value::Bool(all) => *all,
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if accepts_all || narrow.iter().any(|place| self.same(place.schema, wide.schema)) {
            return;
        }
        let key = (
            narrow.iter().map(|place| std::ptr::from_ref(place.schema)).collect::<Vec<_>>(),
            std::ptr::from_ref(wide.schema),
        );
        if let Some((_, depth)) = self.under_way.iter().rfind(|(pair, _)| *pair == key) {
            if *depth == self.depth {
                self.report(false, &at, &wide.at, "the comparison leads back to itself");
            }
            return;
        }
        self.under_way.push((key, self.depth));
        self.against(narrow, &at, wide);
        self.under_way.pop();
    }

    /// The same for what is within the instance, a step away.
    fn check_inside(&mut self, step: Step, narrow: Vec<Place<'a>>, wide: &Place<'a>) {
        self.depth += 1;
        self.way.push(step);
        self.check(narrow, wide);
        self.way.pop();
        self.depth -= 1;
    }

    /// What a look at a schema costs, those within it left out.
    fn weight(&self, place: &Place<'_>) -> u64 {
        let members = place.schema.as_object().into_iter().flat_map(Map::values);
        let lengths = members.map(|member| match member {
            Value::Object(inner) => 1 + inner.len(),
            Value::Array(inner) => 1 + inner.len(),
            Value::String(text) => 1 + text.len() / 64,
            _ => 1,
        });
        (1 + place.at.len() / 64 + lengths.sum::<usize>()) as u64
    }

    /// Whether two schemas are the same text with the same meaning.
    fn same(&self, one: &Value, other: &Value) -> bool {
        let print = self.narrow.print(one);
        print == self.wide.print(other) && !print.refers
    }

    /// Whether one of the narrow schemas has a keyword with this very value.
    fn has_same(&self, narrow: &Narrow<'a>, keyword: &str, value: &Value) -> bool {
        let wanted = self.wide.print(value);
        narrow.all(keyword).any(|own| self.narrow.print(own) == wanted)
    }

    fn against(&mut self, places: Vec<Place<'a>>, at: &str, wide: &Place<'a>) {
        let narrow = Narrow::of(&self.narrow, places);
        if narrow.is_nothing() {
            return;
        }
        self.here.push(Here {
            narrow: narrow.conjuncts.clone(),
            wide: wide.schema,
            steps: self.way.len(),
        });
        self.told(&narrow, at, wide);
        self.here.pop();
    }

    fn told(&mut self, narrow: &Narrow<'a>, at: &str, wide: &Place<'a>) {
        let Value::Object(members) = wide.schema else {
            // Not `true`, or it would not have come this far.
            self.report(true, at, &wide.at, "nothing is accepted here any more");
            return;
        };
        if let Some(done) = self.listed(narrow, at, wide) {
            return done;
        }
        let before = self.found.len();
        self.keywords(narrow, at, wide, members);
        if self.found.len() == before {
            return;
        }
        // The alternatives of the narrow one, each by itself, may tell more.
        if let Some((source, branches, rest)) = narrow.split(&self.split) {
            self.split.push(source);
            let mut all = Vec::new();
            for branch in branches {
                let mut conjunction = rest.clone();
                conjunction.push(branch);
                all.extend(self.trial(conjunction, wide));
                if all.len() > MAX_FINDINGS {
                    break;
                }
            }
            self.split.pop();
            if all.is_empty() {
                self.found.truncate(before);
            }
        }
    }

    fn keywords(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if let Some(reference) = members.get("$ref") {
            let target = reference.as_str().and_then(|reference| self.wide.target(reference));
            match (target, reference.as_str()) {
                (Some(target), Some(reference)) => {
                    let place = Place::new(target, reference.trim_start_matches('#').to_owned());
                    self.check(narrow.conjuncts.clone(), &place);
                }
                _ => self.report(false, at, &wide.at, "the reference is not followed"),
            }
            if self.wide.lone_refs {
                return;
            }
        }
        self.types(narrow, at, wide, members);
        self.numbers(narrow, at, wide, members);
        self.strings(narrow, at, wide, members);
        self.objects(narrow, at, wide, members);
        self.arrays(narrow, at, wide, members);
        self.combined(narrow, at, wide, members);
        self.opaque(narrow, at, wide, members);
    }

    fn opaque(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        for group in OPAQUE {
            let Some(keyword) = group.first().filter(|keyword| members.contains_key(**keyword))
            else {
                continue;
            };
            let same = |(_, own): (_, &Map<String, Value>)| {
                group.iter().all(|word| match (own.get(*word), members.get(*word)) {
                    (Some(own), Some(wanted)) => self.same(own, wanted),
                    (own, wanted) => own.is_none() && wanted.is_none(),
                })
            };
            let stays = narrow.each().any(same);
            if !stays {
                let why = format!("`{keyword}` is not looked into, and it changed or is new");
                self.report(false, at, &format!("{}/{keyword}", wide.at), why);
            }
        }
        for keyword in ENTANGLED.into_iter().filter(|keyword| members.contains_key(*keyword)) {
            let why = format!("`{keyword}` is not looked into, and something around it changed");
            self.report(false, at, &format!("{}/{keyword}", wide.at), why);
        }
    }

    fn combined(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        let list = |keyword: &str| {
            members.get(keyword).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
        };
        for (index, part) in list("allOf").iter().enumerate() {
            self.check(narrow.conjuncts.clone(), &wide.named("allOf", &index.to_string(), part));
        }
        let alternatives = list("anyOf");
        let takes_all = |this: &mut Self| {
            alternatives.iter().enumerate().any(|(index, part)| {
                let place = wide.named("anyOf", &index.to_string(), part);
                this.trial(narrow.conjuncts.clone(), &place).is_empty()
            })
        };
        if !alternatives.is_empty() && !takes_all(self) {
            self.report(
                false,
                at,
                &format!("{}/anyOf", wide.at),
                "no single alternative is known to accept all that may be here",
            );
        }
        match list("oneOf") {
            [] => {}
            [only] => self.check(narrow.conjuncts.clone(), &wide.named("oneOf", "0", only)),
            _ if narrow.all("oneOf").any(|own| self.same(own, &members["oneOf"])) => {}
            _ => self.report(
                false,
                at,
                &format!("{}/oneOf", wide.at),
                "whether exactly one alternative accepts what may be here cannot be told",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
