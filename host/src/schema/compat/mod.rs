//! Whether whatever satisfies one schema satisfies another: what a change of a schema breaks.
//!
//! It answers for sure or says that it cannot tell: no finding means that there is no instance
//! that the one accepts and the other does not. docs/schemas.md has the rules. Never runs over
//! payloads, except the values that a schema itself lists.

mod narrow;
mod objects;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::narrow::{Narrow, Types};
use super::Validator;
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
/// How deep it may go: schemas may be nested as deep as JSON may.
const MAX_DEPTH: usize = 100;

/// What breaks between two versions of a schema, as far as `mode` asks for it.
pub fn compare(old: &Value, new: &Value, mode: Compatibility) -> Vec<Finding> {
    let mut found = Vec::new();
    if mode.is_backward() {
        found.extend(Comparison::run(old, new, Direction::Backward));
    }
    if mode.is_forward() {
        found.extend(Comparison::run(new, old, Direction::Forward));
    }
    found
}

/// A document and what of it the comparison depends on.
#[derive(Debug)]
struct Document<'a> {
    root: &'a Value,
    /// Whether `$ref` stands for all of its schema, as in drafts up to 7.
    lone_refs: bool,
    /// Whether references may lead elsewhere than pointers say.
    rebased: bool,
}

impl<'a> Document<'a> {
    fn new(root: &'a Value) -> Self {
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let keyword = if draft.contains("draft-04") { "id" } else { "$id" };
        let rebased = root
            .as_object()
            .is_some_and(|members| members.values().any(|part| rebases(part, keyword)));
        Self { root, lone_refs: draft.contains("draft-0"), rebased }
    }

    /// What a reference within the document leads to.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#')?;
        if self.rebased
            || pointer.contains('%')
            || !(pointer.is_empty() || pointer.starts_with('/'))
        {
            return None;
        }
        self.root.pointer(pointer)
    }
}

/// Whether a part of a document says that references in it start elsewhere.
fn rebases(value: &Value, keyword: &str) -> bool {
    match value {
        Value::Object(members) => {
            members.get(keyword).is_some_and(Value::is_string)
                || members.values().any(|part| rebases(part, keyword))
        }
        Value::Array(items) => items.iter().any(|part| rebases(part, keyword)),
        _ => false,
    }
}

/// Whether any object in `value` has a member of one of these names. A property that is called so
/// counts, too: then less is known than could be.
fn mentions(value: &Value, names: &[&str]) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| names.contains(&name.as_str()) || mentions(value, names)),
        Value::Array(items) => items.iter().any(|item| mentions(item, names)),
        _ => false,
    }
}

const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

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

/// A part of a schema and where it stands.
#[derive(Debug, Clone)]
struct Place<'a> {
    schema: &'a Value,
    at: String,
}

impl<'a> Place<'a> {
    fn new(schema: &'a Value, at: String) -> Self {
        Self { schema, at }
    }

    fn under(&self, keyword: &str, schema: &'a Value) -> Self {
        Self::new(schema, format!("{}/{keyword}", self.at))
    }

    fn named(&self, keyword: &str, name: &str, schema: &'a Value) -> Self {
        let token = name.replace('~', "~0").replace('/', "~1");
        Self::new(schema, format!("{}/{keyword}/{token}", self.at))
    }
}

/// A conjunction of schemas and the one that is to accept what they do, by identity.
type Pair = (Vec<*const Value>, *const Value);

/// Shows that whatever all of some schemas accept is accepted by another, or finds why not.
struct Comparison<'a> {
    direction: Direction,
    narrow: Document<'a>,
    wide: Document<'a>,
    found: Vec<Finding>,
    steps: usize,
    /// Pairs under way, each with how deep in the instance it is. Met again deeper, a pair is
    /// shown by the same argument, for an instance has an end; at the same depth that would be
    /// a circle.
    under_way: Vec<(Pair, usize)>,
    depth: usize,
    /// Schemas whose alternatives are being tried.
    split: Vec<*const Value>,
}

impl<'a> Comparison<'a> {
    fn run(narrow: &'a Value, wide: &'a Value, direction: Direction) -> Vec<Finding> {
        if narrow == wide {
            return Vec::new();
        }
        let mut comparison = Self {
            direction,
            narrow: Document::new(narrow),
            wide: Document::new(wide),
            found: Vec::new(),
            steps: 0,
            under_way: Vec::new(),
            depth: 0,
            split: Vec::new(),
        };
        let (from, to) = (Place::new(narrow, String::new()), Place::new(wide, String::new()));
        if narrow.get("$schema") != wide.get("$schema") {
            comparison.report(
                false,
                &from.at,
                &to.at,
                "they are of different drafts of JSON Schema, or only one says which",
            );
            return comparison.found;
        }
        comparison.check(vec![from], &to);
        comparison.found
    }

    fn report(&mut self, certain: bool, narrow: &str, wide: &str, why: impl Into<String>) {
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
            old: old.to_owned(),
            new: new.to_owned(),
            why: why.into(),
        };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// What `check` would find, without keeping it.
    fn trial(&mut self, narrow: Vec<Place<'a>>, wide: &Place<'a>) -> Vec<Finding> {
        let before = std::mem::take(&mut self.found);
        self.check(narrow, wide);
        std::mem::replace(&mut self.found, before)
    }

    /// Finds what the conjunction `narrow` accepts and `wide` does not.
    fn check(&mut self, narrow: Vec<Place<'a>>, wide: &Place<'a>) {
        self.steps += 1;
        let at = narrow.first().map(|place| place.at.clone()).unwrap_or_default();
        if self.steps > MAX_STEPS || self.under_way.len() > MAX_DEPTH {
            self.report(false, &at, &wide.at, "the schemas are too large to be compared");
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

    /// The same for what is within the instance.
    fn check_inside(&mut self, narrow: Vec<Place<'a>>, wide: &Place<'a>) {
        self.depth += 1;
        self.check(narrow, wide);
        self.depth -= 1;
    }

    /// Whether two schemas are the same text with the same meaning.
    fn same(&self, one: &Value, other: &Value) -> bool {
        one == other && !mentions(one, &REFERENCES)
    }

    fn against(&mut self, places: Vec<Place<'a>>, at: &str, wide: &Place<'a>) {
        let narrow = Narrow::of(&self.narrow, places);
        if narrow.is_nothing() {
            return;
        }
        let Value::Object(members) = wide.schema else {
            // Not `true`, or it would not have come this far.
            self.report(true, at, &wide.at, "nothing is accepted here any more");
            return;
        };
        if let Some(done) = self.listed(&narrow, at, wide) {
            return done;
        }
        let before = self.found.len();
        self.keywords(&narrow, at, wide, members);
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

    /// Values that the narrow schema lists are tried one by one. None if it lists none, or they
    /// cannot be tried.
    fn listed(&mut self, narrow: &Narrow<'a>, at: &str, wide: &Place<'a>) -> Option<()> {
        let values = narrow.values()?;
        if mentions(wide.schema, &REFERENCES) {
            return None;
        }
        let accepts = standalone(&self.wide, wide.schema)?;
        for value in values {
            let passes = narrow.conjuncts.iter().all(|place| {
                mentions(place.schema, &REFERENCES)
                    || standalone(&self.narrow, place.schema).is_none_or(|own| own.accepts(value))
            });
            if passes && !accepts.accepts(value) {
                self.report(
                    true,
                    at,
                    &wide.at,
                    format!("the value {value} is accepted by one and not by the other"),
                );
            }
        }
        Some(())
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
                group.iter().all(|word| own.get(*word) == members.get(*word))
            };
            let parts = || group.iter().filter_map(|word| members.get(*word));
            let stays = narrow.each().any(same) && !parts().any(|part| mentions(part, &REFERENCES));
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

    fn types(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if members.contains_key("type") {
            let lost = narrow.types().without(Types::of(members));
            if !lost.is_empty() {
                self.report(
                    true,
                    at,
                    &format!("{}/type", wide.at),
                    format!("{lost} may be here, and is not accepted"),
                );
            }
        }
        for keyword in ["enum", "const"] {
            if members.contains_key(keyword) && !narrow.has_same(keyword, &members[keyword]) {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("other values than `{keyword}` lists may be here"),
                );
            }
        }
    }

    fn numbers(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_numbers() {
            return;
        }
        for (keyword, strict) in [
            ("minimum", "exclusiveMinimum"),
            ("exclusiveMinimum", "exclusiveMinimum"),
            ("maximum", "exclusiveMaximum"),
            ("exclusiveMaximum", "exclusiveMaximum"),
        ] {
            let Some(bound) = members.get(keyword) else { continue };
            // In draft 4 this is a word on `minimum`, told with it.
            let Some(bound) = bound.as_f64() else {
                self.report(
                    false,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("`{keyword}` is not looked into"),
                );
                continue;
            };
            let lower = keyword.ends_with("inimum");
            let within = |value: f64, proper: bool| {
                if lower {
                    value > bound || (value == bound && !proper)
                } else {
                    value < bound || (value == bound && !proper)
                }
            };
            // A bound that is itself allowed is no bound that excludes it.
            let proper = keyword == strict;
            let plain = if lower { "minimum" } else { "maximum" };
            let implied = narrow.numbers(plain).any(|value| within(value, proper))
                || narrow.numbers(strict).any(|value| within(value, false));
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("numbers beyond `{keyword}` {bound} may be here"),
                );
            }
        }
        if let Some(step) = members.get("multipleOf") {
            let whole = step.as_f64() == Some(1.0) && !narrow.types().has_fractions();
            let implied = whole
                || narrow.all("multipleOf").any(|own| match (own.as_i64(), step.as_i64()) {
                    (Some(own), Some(step)) => step > 0 && own % step == 0,
                    _ => own == step,
                });
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/multipleOf", wide.at),
                    format!("numbers that are no multiple of {step} may be here"),
                );
            }
        }
    }

    fn strings(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_strings() {
            return;
        }
        self.counted(narrow, at, wide, members, ["minLength", "maxLength"]);
        for keyword in ["pattern", "format", "contentEncoding", "contentMediaType"] {
            let Some(wanted) = members.get(keyword) else { continue };
            if !narrow.has_same(keyword, wanted) {
                // Two patterns may accept the same; none accepts everything.
                let certain = narrow.all(keyword).next().is_none();
                self.report(
                    certain,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("texts that are not of `{keyword}` {wanted} may be here"),
                );
            }
        }
    }

    /// Bounds on how many there are of something.
    fn counted(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
        [least, most]: [&str; 2],
    ) {
        for (keyword, lower) in [(least, true), (most, false)] {
            let Some(bound) = members.get(keyword).and_then(Value::as_f64) else { continue };
            let mut own = narrow.numbers(keyword);
            let implied = if lower {
                bound <= 0.0 || own.any(|own| own >= bound)
            } else {
                own.any(|own| own <= bound)
            };
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("`{keyword}` is stricter: {bound}"),
                );
            }
        }
    }

    fn arrays(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_arrays() {
            return;
        }
        self.counted(narrow, at, wide, members, ["minItems", "maxItems"]);
        if members.get("uniqueItems") == Some(&Value::Bool(true))
            && !narrow.has_same("uniqueItems", &Value::Bool(true))
        {
            self.report(
                true,
                at,
                &format!("{}/uniqueItems", wide.at),
                "the same item may be here twice",
            );
        }
        match members.get("items") {
            None => {}
            Some(items @ Value::Array(_))
                if narrow.has_same("items", items) && !mentions(items, &REFERENCES) => {}
            Some(Value::Array(_)) => self.report(
                false,
                at,
                &format!("{}/items", wide.at),
                "a list of schemas for items is not looked into",
            ),
            Some(items) => self.check_inside(narrow.items(), &wide.under("items", items)),
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
            _ if mentions(&members["oneOf"], &REFERENCES) => self.report(
                false,
                at,
                &format!("{}/oneOf", wide.at),
                "whether exactly one alternative accepts what may be here cannot be told",
            ),
            _ if narrow.has_same("oneOf", &members["oneOf"]) => {}
            _ => self.report(
                false,
                at,
                &format!("{}/oneOf", wide.at),
                "whether exactly one alternative accepts what may be here cannot be told",
            ),
        }
    }
}

/// A part of a document that needs nothing else of it, compiled.
fn standalone(document: &Document<'_>, schema: &Value) -> Option<Validator> {
    let mut schema = schema.clone();
    if let (Some(members), Some(draft)) = (schema.as_object_mut(), document.root.get("$schema")) {
        members.insert("$schema".to_owned(), draft.clone());
    }
    Validator::compile(&schema).ok()
}

#[cfg(test)]
mod tests;
