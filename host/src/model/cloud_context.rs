//! What an event that came as a CloudEvent says of itself, beside what every event says.
//!
//! Owns the bounds of it. Never reads or writes a CloudEvent's own form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The scalar value of an extension attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// `true` or `false`.
    Boolean(bool),
    /// The specification knows 32 bits.
    Integer(i32),
    /// Any other: texts, URIs, times, bytes in base64.
    Text(String),
}

impl Attribute {
    /// As a header carries it, not yet percent-encoded.
    pub fn text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A CloudEvent's own attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudContext {
    /// Its `id`, unique within its source.
    pub id: String,
    /// Its `source`, a URI reference.
    pub source: String,
    /// Its `dataschema`, a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// Its extension attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, Attribute>,
}

impl CloudContext {
    /// Most extension attributes.
    pub const MAX_EXTENSIONS: usize = 32;
    /// Bytes that names and values of extension attributes may come to: they become headers.
    pub const MAX_EXTENSION_BYTES: usize = 4 << 10;
    /// Longest name of an attribute.
    pub const MAX_NAME: usize = 64;

    /// Whether `name` can be an attribute's.
    pub fn is_name(name: &str) -> bool {
        (1..=Self::MAX_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    }
}
