//! What is known of instances that satisfy several schemas at once. What is not understood is
//! left out: then less is known, and nothing is claimed that is not so.

use std::fmt;

use serde_json::{Map, Value};

use super::{Document, Place, exact::Exact};

/// Kinds of values. Whole numbers and others are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

const NAMES: [&str; 7] = ["null", "boolean", "object", "array", "string", "integer", "fraction"];
const ALL: Types = Types(0b111_1111);
const NUMBERS: u8 = 0b110_0000;
const FRACTIONS: Types = Types(0b100_0000);

impl Types {
    /// Those that a schema's own `type` names.
    pub(super) fn of(schema: &Map<String, Value>) -> Self {
        let named = |value: &Value| match value.as_str() {
            Some("number") => NUMBERS,
            Some(name) => {
                NAMES.iter().position(|known| *known == name).map_or(0, |index| 1 << index)
            }
            None => 0,
        };
        match schema.get("type") {
            None => ALL,
            Some(Value::Array(list)) => Self(list.iter().map(named).fold(0, |all, one| all | one)),
            Some(one) => Self(named(one)),
        }
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn has_numbers(self) -> bool {
        self.0 & NUMBERS != 0
    }

    pub(super) const fn has_fractions(self) -> bool {
        self.0 & 0b100_0000 != 0
    }

    pub(super) const fn has_strings(self) -> bool {
        self.0 & 0b1_0000 != 0
    }

    pub(super) const fn has_arrays(self) -> bool {
        self.0 & 0b1000 != 0
    }

    pub(super) const fn has_objects(self) -> bool {
        self.0 & 0b100 != 0
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().enumerate().filter(|(index, _)| self.0 & (1 << index) != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        f.write_str(&names.join(" or "))
    }
}

/// A conjunction of schemas, references and `allOf` written out.
#[derive(Debug)]
pub(super) struct Narrow<'a> {
    pub(super) conjuncts: Vec<Place<'a>>,
    nothing: bool,
    is_draft_4: bool,
}

/// A schema, its alternatives, and what holds beside them.
type Split<'a> = (*const Value, Vec<Place<'a>>, Vec<Place<'a>>);

/// References that lead to one another without end are refused when a schema is saved.
const MAX_CONJUNCTS: usize = 200;

impl<'a> Narrow<'a> {
    pub(super) fn of(document: &Document<'a>, places: Vec<Place<'a>>) -> Self {
        let mut conjuncts: Vec<Place<'a>> = Vec::new();
        let mut nothing = false;
        let mut left = places;
        left.reverse();
        while let Some(place) = left.pop() {
            let members = match place.schema {
                Value::Bool(all) => {
                    nothing |= !all;
                    continue;
                }
                Value::Object(members) => members,
                _ => continue,
            };
            let known = conjuncts.iter().any(|known| std::ptr::eq(known.schema, place.schema));
            if known || conjuncts.len() >= MAX_CONJUNCTS {
                continue;
            }
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                if let Some(target) = document.target(reference) {
                    left.push(Place::new(target, reference.trim_start_matches('#').to_owned()));
                }
                if document.lone_refs {
                    continue;
                }
            }
            let all = members.get("allOf").and_then(Value::as_array);
            for (index, part) in all.into_iter().flatten().enumerate() {
                left.push(place.named("allOf", &index.to_string(), part));
            }
            conjuncts.push(place);
        }
        Self { conjuncts, nothing, is_draft_4: document.is_draft_4 }
    }

    /// Whether no instance satisfies it.
    pub(super) const fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&Place<'a>, &'a Map<String, Value>)> {
        self.conjuncts.iter().filter_map(|place| Some((place, place.schema.as_object()?)))
    }

    /// A keyword's value in each schema that has it.
    pub(super) fn all(&self, keyword: &str) -> impl Iterator<Item = &'a Value> {
        self.each().filter_map(move |(_, members)| members.get(keyword))
    }

    pub(super) fn numbers(&self, keyword: &str) -> impl Iterator<Item = Exact> {
        self.all(keyword).filter_map(Exact::of)
    }

    pub(super) fn types(&self) -> Types {
        let types =
            self.each().fold(ALL, |types, (_, members)| Types(types.0 & Types::of(members).0));
        // In draft 4, 1.0 is a multiple of 1 and no integer.
        let whole = !self.is_draft_4
            && self.numbers("multipleOf").any(|step| matches!(step, Exact::Whole(_)));
        if whole { types.without(FRACTIONS) } else { types }
    }

    /// The values it lists, if it lists any.
    pub(super) fn values(&self) -> Option<Vec<&'a Value>> {
        self.each().find_map(|(_, members)| match (self.only(members), members.get("enum")) {
            (Some(only), _) => Some(vec![only]),
            (None, Some(Value::Array(list))) => Some(list.iter().collect()),
            _ => None,
        })
    }

    fn only(&self, members: &'a Map<String, Value>) -> Option<&'a Value> {
        members.get("const").filter(|_| !self.is_draft_4)
    }

    /// What items satisfy.
    pub(super) fn items(&self) -> Vec<Place<'a>> {
        let uniform = self.each().filter(|(_, members)| !members.contains_key("prefixItems"));
        uniform
            .filter_map(|(place, members)| {
                let items = members.get("items").filter(|items| !items.is_array())?;
                Some(place.under("items", items))
            })
            .collect()
    }

    /// Alternatives of which at least one holds, and what else does.
    /// Those of schemas in `used` are left out. The first is the schema they are of.
    pub(super) fn split(&self, used: &[*const Value]) -> Option<Split<'a>> {
        self.conjuncts.iter().enumerate().find_map(|(index, place)| {
            let source = std::ptr::from_ref(place.schema);
            let members = place.schema.as_object().filter(|_| !used.contains(&source))?;
            let keyword =
                ["anyOf", "oneOf"].into_iter().find(|word| members.contains_key(*word))?;
            let list = members[keyword].as_array()?;
            let branches = list.iter().enumerate();
            let branches = branches
                .map(|(number, part)| place.named(keyword, &number.to_string(), part))
                .collect();
            let mut rest = self.conjuncts.clone();
            // What stands beside the alternatives goes with them only if it is nothing else.
            if members.len() == 1 {
                rest.remove(index);
            }
            Some((source, branches, rest))
        })
    }
}
