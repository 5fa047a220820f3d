//! The documents that are compared, and places in them. Never decides anything.

use serde_json::Value;

/// A document and what of it the comparison depends on.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) root: &'a Value,
    /// Whether `$ref` stands for all of its schema, as in drafts up to 7.
    pub(super) lone_refs: bool,
    /// Whether references may lead elsewhere than pointers say.
    pub(super) rebased: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let keyword = if draft.contains("draft-04") { "id" } else { "$id" };
        let rebased = root
            .as_object()
            .is_some_and(|members| members.values().any(|part| rebases(part, keyword)));
        Self { root, lone_refs: draft.contains("draft-0"), rebased }
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
pub(super) fn mentions(value: &Value, names: &[&str]) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| names.contains(&name.as_str()) || mentions(value, names)),
        Value::Array(items) => items.iter().any(|item| mentions(item, names)),
        _ => false,
    }
}

pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

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
        let token = name.replace('~', "~0").replace('/', "~1");
        Self::new(schema, format!("{}/{keyword}/{token}", self.at))
    }
}
