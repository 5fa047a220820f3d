//! Looks for an instance that shows what was found: one that the narrow document accepts, as a
//! whole, and the wide one refuses for this very reason.
//!
//! It is put together from what the narrow schemas say on the way to the place, with values of the
//! kinds and sizes that bounds are about. One that is found proves; that none is found proves
//! nothing. Owns how long is looked.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    Comparison,
    document::{Place, token},
    exact::Exact,
    narrow::Narrow,
};
use crate::{model::Violation, schema::Validator};

/// A place in the instance: what holds there, and what is to.
#[derive(Debug)]
pub(super) struct Here<'a> {
    pub(super) narrow: Vec<Place<'a>>,
    pub(super) wide: &'a Value,
    /// How many steps lead there.
    pub(super) steps: usize,
}

/// A step into an instance.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// To a member of this name.
    Member(String),
    /// To a member that nobody names.
    Other,
    /// To each item.
    Item,
}

/// How deep a value is made up.
const DEPTH: usize = 5;
/// Longest text, and most members and items, that is made up.
const LARGE: u64 = 1_000;
/// Values made up, or put together, in one comparison.
pub(super) const MAX_TRIES: usize = 20_000;

/// Texts of common formats, and some of none.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "A",
    "0",
    " ",
    "~",
    "AAA",
    "2026-01-02T03:04:05Z",
    "2026-01-02",
    "03:04:05Z",
    "a@example.com",
    "https://example.com/",
    "01234567-89ab-4def-8123-456789abcdef",
    "192.0.2.1",
    "2001:db8::1",
    "example.com",
];

impl<'a> Comparison<'a> {
    /// Whether an instance shows that what the wide schema says at `wide` is broken here.
    pub(super) fn is_shown(&mut self, wide: &str) -> bool {
        let Some(here) = self.here.last() else { return false };
        let (places, schema) = (here.narrow.clone(), here.wide);
        let keyword = wide.rsplit('/').next();
        let values = self.candidates(&places, Some(schema), DEPTH);
        values.iter().any(|value| self.shows(value, keyword))
    }

    /// Whether a value here does, for this keyword or whatever reason.
    pub(super) fn shows(&mut self, value: &Value, keyword: Option<&str>) -> bool {
        if !self.may_try() {
            return false;
        }
        let Some(whole) = self.whole_documents() else { return false };
        let [narrow, wide] = &*whole;
        let Some((instance, at)) = self.instance(value) else { return false };
        let refused = |violation: &Violation| {
            let near = at.starts_with(&violation.at) || violation.at.starts_with(&at);
            near && keyword.is_none_or(|word| violation.schema.rsplit('/').next() == Some(word))
        };
        narrow.accepts(&instance)
            && !wide.accepts(&instance)
            && wide.violations(&instance).iter().any(refused)
    }

    fn may_try(&mut self) -> bool {
        self.tries += 1;
        self.tries <= MAX_TRIES && !self.stop.is_over()
    }

    /// Both documents, compiled. None if they cannot be.
    fn whole_documents(&mut self) -> Option<Arc<[Validator; 2]>> {
        let (narrow, wide) = (self.narrow.root, self.wide.root);
        let compile =
            || Some(Arc::new([Validator::compile(narrow).ok()?, Validator::compile(wide).ok()?]));
        self.known.whole.get_or_insert_with(compile).clone()
    }

    /// An instance with a value at this place, and the pointer to it.
    fn instance(&mut self, value: &Value) -> Option<(Value, String)> {
        let (mut whole, mut at) = (value.clone(), String::new());
        for index in (0..self.way.len()).rev() {
            let above = self.here.iter().find(|here| here.steps == index)?;
            let (places, wide, step) = (above.narrow.clone(), above.wide, self.way[index].clone());
            let name = match step {
                Step::Item => {
                    let narrow = Narrow::of(&self.narrow, places);
                    let least = narrow.numbers("minItems").map(Exact::float).fold(1.0, f64::max);
                    whole = Value::Array(vec![whole; (least as usize).min(LARGE as usize)]);
                    at = format!("/0{at}");
                    continue;
                }
                Step::Member(name) => name,
                Step::Other => {
                    let schemas = places.iter().map(|place| place.schema).chain([wide]);
                    unnamed(&schemas.collect::<Vec<_>>())
                }
            };
            let values = self.guesses(&places, DEPTH);
            let base = values.into_iter().find_map(|value| match value {
                Value::Object(members) => Some(members),
                _ => None,
            });
            let mut members = base.unwrap_or_default();
            at = format!("/{}{at}", token(&name));
            members.insert(name, whole);
            whole = Value::Object(members);
        }
        Some((whole, at))
    }

    /// A few values that these schemas probably accept, as far as that can be told here.
    fn guesses(&mut self, places: &[Place<'a>], depth: usize) -> Vec<Value> {
        let mut values = self.candidates(places, None, depth);
        let narrow = Narrow::of(&self.narrow, places.to_vec());
        let (parts, _) = self.parts(&narrow.conjuncts);
        values.retain(|value| parts.iter().all(|part| part.accepts(value)));
        values.truncate(3);
        values
    }

    /// Values of all kinds that there may be here, those near bounds of either side first.
    fn candidates(
        &mut self,
        places: &[Place<'a>],
        wide: Option<&'a Value>,
        depth: usize,
    ) -> Vec<Value> {
        if depth == 0 || !self.may_try() {
            return vec![Value::Null];
        }
        let mut narrow = Narrow::of(&self.narrow, places.to_vec());
        if let Some((_, branches, mut all)) = narrow.split(&[])
            && let Some(first) = branches.into_iter().next()
        {
            // One of several will do.
            all.push(first);
            narrow = Narrow::of(&self.narrow, all);
        }
        if let Some(listed) = narrow.values() {
            return listed.into_iter().take(20).cloned().collect();
        }
        let bounds = Bounds::of(&narrow, wide);
        let types = narrow.types();
        let mut values: Vec<Value> = narrow.all("default").cloned().collect();
        values.extend(narrow.all("examples").filter_map(|all| all.as_array()?.first()).cloned());
        if types.has_objects() {
            self.objects_like(&narrow, &bounds, depth, &mut values);
        }
        if types.has_strings() {
            values.extend(TEXTS.map(Value::from));
            let lengths = bounds.sizes(["minLength", "maxLength"]);
            values.extend(lengths.map(|length| "a".repeat(length).into()));
        }
        if types.has_numbers() {
            values.extend(bounds.numbers());
        }
        values.extend([json!(true), json!(false), Value::Null]);
        if types.has_arrays() {
            let items = self.guesses(&narrow.items(), depth - 1);
            values.push(json!([]));
            values.push(items.iter().cloned().collect());
            for item in items.iter().take(2) {
                let lengths = [1, 2].into_iter().chain(bounds.sizes(["minItems", "maxItems"]));
                values.extend(lengths.map(|length| Value::Array(vec![item.clone(); length])));
            }
        }
        values
    }

    /// Objects with what must be there, and with more.
    fn objects_like(
        &mut self,
        narrow: &Narrow<'a>,
        bounds: &Bounds,
        depth: usize,
        values: &mut Vec<Value>,
    ) {
        let mut least = Map::new();
        let mut required: Vec<&str> = narrow.required().into_iter().collect();
        required.sort_unstable();
        for name in required.into_iter().take(LARGE as usize) {
            let value = self.guesses(&narrow.member(name), depth - 1).into_iter().next();
            least.insert(name.to_owned(), value.unwrap_or(Value::Null));
        }
        let sizes: Vec<usize> = bounds.sizes(["minProperties", "maxProperties"]).collect();
        let other = self.guesses(&narrow.other_members(), depth - 1).into_iter().next();
        let other = other.unwrap_or(Value::Null);
        for size in [0, least.len() + 1].into_iter().chain(sizes) {
            let mut members = least.clone();
            for number in 0.. {
                if members.len() >= size {
                    break;
                }
                members.entry(format!("other{number}")).or_insert_with(|| other.clone());
            }
            values.push(Value::Object(members));
        }
    }
}

/// A name that none of these schemas names.
fn unnamed(schemas: &[&Value]) -> String {
    let is_named =
        |name: &str| schemas.iter().any(|schema| schema["properties"].get(name).is_some());
    let mut names = (0..).map(|number| format!("other{number}"));
    names.find(|name| !is_named(name)).unwrap_or_default()
}

/// The numbers that schemas name, by keyword.
struct Bounds(Vec<(&'static str, Exact)>);

const BOUNDING: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];

impl Bounds {
    fn of(narrow: &Narrow<'_>, wide: Option<&Value>) -> Self {
        let mut all = Vec::new();
        for keyword in BOUNDING {
            let wide = wide.and_then(|wide| Exact::of(wide.get(keyword)?));
            all.extend(narrow.numbers(keyword).chain(wide).map(|bound| (keyword, bound)));
        }
        Self(all)
    }

    fn named<'b>(&'b self, keywords: &'b [&str]) -> impl Iterator<Item = Exact> + 'b {
        self.0.iter().filter(|(keyword, _)| keywords.contains(keyword)).map(|(_, bound)| *bound)
    }

    /// Sizes about bounds.
    fn sizes(&self, keywords: [&'static str; 2]) -> impl Iterator<Item = usize> {
        let all: Vec<Exact> = self.named(&keywords).collect();
        all.into_iter().flat_map(|bound| {
            let size = (bound.float() as u64).min(LARGE) as usize;
            [size.saturating_sub(1), size, size + 1]
        })
    }

    /// Numbers about bounds, and multiples there.
    fn numbers(&self) -> Vec<Value> {
        let near = |bound: Exact| match bound {
            Exact::Whole(whole) => [
                Exact::Whole(whole),
                Exact::Whole(whole + 1),
                Exact::Whole(whole - 1),
                Exact::from(whole as f64 + 0.5),
                Exact::from(whole as f64 - 0.5),
            ],
            Exact::Float(float) => [0.0, 1.0, -1.0, 0.5, -0.5].map(|by| Exact::from(float + by)),
        };
        let limits = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
        let limits: Vec<Exact> = self.named(&limits).chain([Exact::Whole(0)]).collect();
        let mut all: Vec<Exact> = limits.iter().copied().flat_map(near).collect();
        for step in self.named(&["multipleOf"]).filter(|step| step.float() > 0.0) {
            for limit in &limits {
                let times = (limit.float() / step.float()).floor();
                for more in [-1.0, 0.0, 1.0, 2.0] {
                    all.push(Exact::from((times + more) * step.float()));
                }
            }
        }
        all.into_iter().filter_map(Exact::value).collect()
    }
}
