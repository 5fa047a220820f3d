//! How many schemas one value may have to satisfy, and whether that ever ends: looked at before
//! a schema is compiled, for nothing interrupts a validation.
//!
//! Owns the walk along everything that applies to the same value: keywords that combine schemas,
//! and references by pointer, anchor or id. Rather counts too much than too little. Never looks
//! at a payload.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{SchemaError, Validator};

/// Keywords with schemas in an array, one, or in an object, that apply to the same value.
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SINGLE: [&str; 4] = ["not", "if", "then", "else"];
const MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Most parts with an id of their own, or with the same anchor.
const MAX_NAMES: usize = 100;
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Refuses references that lead in a circle without ever entering the instance: following
/// them would never end. Answers the most demands that are made of one value.
pub(super) fn check(schema: &Value) -> Result<u64, SchemaError> {
    let size = schema.to_string().len();
    if size > Validator::MAX_SCHEMA_BYTES {
        return Err(SchemaError {
            at: String::new(),
            message: format!(
                "the schema has {size} bytes; {} are allowed",
                Validator::MAX_SCHEMA_BYTES
            ),
        });
    }
    let mut names = Names::default();
    let is_old = schema["$schema"].as_str().is_some_and(|draft| draft.contains("draft-04"));
    names.collect(schema, if is_old { "id" } else { "$id" });
    names.check()?;
    let (path, cleared) = (Vec::new(), HashMap::new());
    let mut references = References { root: schema, names, path, cleared };
    references.walk(schema, "")?;
    Ok(references.cleared.values().copied().max().unwrap_or(1))
}

/// What a schema calls its parts.
#[derive(Default)]
struct Names<'a> {
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// By the last segment of their path: references may be relative.
    ids: HashMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Names<'a> {
    fn collect(&mut self, node: &'a Value, id: &str) {
        match node {
            Value::Object(members) => {
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(name)) = members.get(keyword) {
                        self.anchors.entry(name).or_default().push(node);
                    }
                }
                if let Some(Value::String(id)) = members.get(id) {
                    let (file, fragment) = id.split_once('#').unwrap_or((id, ""));
                    if !fragment.is_empty() {
                        self.anchors.entry(fragment).or_default().push(node);
                    } else if !file.is_empty() {
                        self.ids.entry(last_segment(file)).or_default().push(node);
                    }
                }
                members.values().for_each(|child| self.collect(child, id));
            }
            Value::Array(items) => items.iter().for_each(|child| self.collect(child, id)),
            _ => {}
        }
    }

    /// Refuses so many that looking for what a reference means would take long.
    fn check(&self) -> Result<(), SchemaError> {
        let ids = self.ids.values().map(Vec::len).sum::<usize>();
        let alike = self.anchors.values().map(Vec::len).max().unwrap_or(0);
        if ids.max(alike) <= MAX_NAMES {
            return Ok(());
        }
        let message = format!(
            "the schema has more than {MAX_NAMES} parts with an `$id`, or with the same anchor; \
             refer to parts by JSON pointers instead"
        );
        Err(SchemaError { at: String::new(), message })
    }

    /// Everything in `root` that a reference may mean.
    fn targets(&self, root: &'a Value, reference: &str) -> Vec<&'a Value> {
        let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = decoded(fragment);
        // A pointer is into the nearest schema with an id, which may be any.
        let mut bases: Vec<&Value> = if file.is_empty() {
            std::iter::once(root).chain(self.ids.values().flatten().copied()).collect()
        } else {
            self.ids.get(last_segment(file)).cloned().unwrap_or_default()
        };
        bases.dedup_by_key(|base| std::ptr::from_ref(*base));
        if fragment.is_empty() && file.is_empty() {
            return vec![root];
        }
        if fragment.is_empty() || fragment.starts_with('/') {
            return bases.into_iter().filter_map(|base| base.pointer(&fragment)).collect();
        }
        self.anchors.get(&*fragment).cloned().unwrap_or_default()
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit(['/', ':']).next().unwrap_or(path)
}

/// A fragment without its percent-encoding.
fn decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| byte == b'%');
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A walk along the references of a schema.
struct References<'a> {
    root: &'a Value,
    names: Names<'a>,
    /// What was come through to get here, all of it applying to one instance.
    path: Vec<*const Value>,
    /// What is known to lead in no circle, and how many demands it makes of one value.
    cleared: HashMap<*const Value, u64>,
}

impl<'a> References<'a> {
    fn walk(&mut self, node: &'a Value, at: &str) -> Result<(), SchemaError> {
        match node {
            Value::Object(members) => {
                self.follow(node, at)?;
                members.iter().try_for_each(|(key, child)| {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.walk(child, &format!("{at}/{key}"))
                })
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(i, child)| self.walk(child, &format!("{at}/{i}"))),
            _ => Ok(()),
        }
    }

    /// Goes where `node` leads to, through everything that applies to the same instance, and
    /// counts it.
    fn follow(&mut self, node: &'a Value, at: &str) -> Result<u64, SchemaError> {
        let Value::Object(members) = node else { return Ok(1) };
        let here = std::ptr::from_ref(node);
        if let Some(&applied) = self.cleared.get(&here) {
            return Ok(applied);
        }
        if self.path.contains(&here) || self.path.len() >= Validator::MAX_REF_CHAIN {
            return Err(SchemaError {
                at: at.to_owned(),
                message:
                    "the references lead in a circle, or through more than 64 others, without \
                          entering the payload; put `properties` or `items` between them"
                        .into(),
            });
        }
        self.path.push(here);
        let mut applied = demands(members);
        for next in self.nexts(members) {
            applied = applied.saturating_add(self.follow(next, at)?);
        }
        if applied > Validator::MAX_APPLIED {
            return Err(SchemaError {
                at: at.to_owned(),
                message: format!(
                    "the references here apply more than {} schemas to one value; name each \
                     definition once",
                    Validator::MAX_APPLIED
                ),
            });
        }
        self.path.pop();
        self.cleared.insert(here, applied);
        Ok(applied)
    }

    /// The schemas that apply to the same value as one with these members.
    fn nexts(&self, members: &'a Map<String, Value>) -> Vec<&'a Value> {
        let mut nexts = Vec::new();
        for keyword in REFERENCES {
            if let Some(Value::String(target)) = members.get(keyword) {
                nexts.append(&mut self.names.targets(self.root, target));
            }
        }
        nexts.extend(LISTS.iter().filter_map(|k| members.get(*k)?.as_array()).flatten());
        nexts.extend(SINGLE.iter().filter_map(|k| members.get(*k)));
        nexts
            .extend(MAPS.iter().filter_map(|k| members.get(*k)?.as_object()).flat_map(Map::values));
        nexts
    }
}

/// What a schema by itself demands of a value: each may be an error of its own.
fn demands(members: &Map<String, Value>) -> u64 {
    let names = |value: &Value| value.as_array().map_or(0, Vec::len);
    let required = members.get("required").map_or(0, names);
    let dependent = ["dependentRequired", "dependencies"]
        .iter()
        .filter_map(|keyword| members.get(*keyword)?.as_object())
        .flat_map(Map::values)
        .map(names);
    1 + required as u64 + dependent.sum::<usize>() as u64
}
