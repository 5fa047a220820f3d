//! The documents that are compared, and places in them. Never decides anything.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use serde_json::Value;

/// A document and what of it the comparison depends on.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) root: &'a Value,
    /// Whether `$ref` stands for all of its schema, as in drafts up to 7.
    pub(super) lone_refs: bool,
    /// Whether it is of draft 4: there is no `const`, and 1.0 is no integer.
    pub(super) is_draft_4: bool,
    /// Whether references may lead elsewhere than pointers say.
    rebased: bool,
    keys: RandomState,
    prints: HashMap<*const Value, Print>,
}

/// What is known of a value without another walk through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    /// Values that are the same have the same.
    same: u64,
    /// How many values it consists of.
    pub(super) values: u64,
    /// Whether there are references in it. A property that is called so counts, too: then less is
    /// known than could be.
    pub(super) refers: bool,
}

pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

impl<'a> Document<'a> {
    /// Prints of two documents can be compared if they have the same `keys`.
    pub(super) fn new(root: &'a Value, keys: &RandomState) -> Self {
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let is_draft_4 = draft.contains("draft-04");
        let keyword = if is_draft_4 { "id" } else { "$id" };
        let rebased = root
            .as_object()
            .is_some_and(|members| members.values().any(|part| rebases(part, keyword)));
        let mut prints = HashMap::new();
        print(root, keys, &mut prints);
        let keys = keys.clone();
        Self { root, lone_refs: draft.contains("draft-0"), is_draft_4, rebased, keys, prints }
    }

    /// What a reference within the document leads to.
    pub(super) fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#')?;
        if self.rebased
            || pointer.contains('%')
            || !(pointer.is_empty() || pointer.starts_with('/'))
        {
            return None;
        }
        self.root.pointer(pointer)
    }

    /// What is known of a value of this document.
    pub(super) fn print(&self, value: &Value) -> Print {
        let known = self.prints.get(&std::ptr::from_ref(value)).copied();
        known.unwrap_or_else(|| print(value, &self.keys, &mut HashMap::new()))
    }
}

/// Looks at a value once, and notes what is in it.
fn print(value: &Value, keys: &RandomState, noted: &mut HashMap<*const Value, Print>) -> Print {
    let mut hasher = keys.build_hasher();
    std::mem::discriminant(value).hash(&mut hasher);
    let (mut values, mut refers) = (1, false);
    match value {
        Value::Object(members) => {
            // In any order.
            let mut all = 0_u64;
            for (name, member) in members {
                let inner = print(member, keys, noted);
                all = all.wrapping_add(keys.hash_one((name, inner.same)));
                values += inner.values;
                refers |= inner.refers || REFERENCES.contains(&name.as_str());
            }
            (members.len(), all).hash(&mut hasher);
        }
        Value::Array(items) => {
            items.len().hash(&mut hasher);
            for item in items {
                let inner = print(item, keys, noted);
                inner.same.hash(&mut hasher);
                values += inner.values;
                refers |= inner.refers;
            }
        }
        scalar => scalar.hash(&mut hasher),
    }
    let print = Print { same: hasher.finish(), values, refers };
    if value.is_object() || value.is_array() {
        noted.insert(std::ptr::from_ref(value), print);
    }
    print
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

/// A part of a schema and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Value,
    pub(super) at: String,
}

impl<'a> Place<'a> {
    pub(super) fn new(schema: &'a Value, at: String) -> Self {
        Self { schema, at }
    }

    pub(super) fn under(&self, keyword: &str, schema: &'a Value) -> Self {
        Self::new(schema, format!("{}/{keyword}", self.at))
    }

    pub(super) fn named(&self, keyword: &str, name: &str, schema: &'a Value) -> Self {
        Self::new(schema, format!("{}/{keyword}/{}", self.at, token(name)))
    }
}

/// A name as JSON pointers write it.
pub(super) fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
