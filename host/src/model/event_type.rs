//! Event types: a name, versions of a JSON Schema, and what a violation leads to.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

use super::{Compatibility, Lifecycle};

/// A name such as `order.created`: 1–8 segments of letters, digits, `_` and `-`,
/// joined by dots; at most 128 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventTypeName(Arc<str>);

impl EventTypeName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 128;
    /// Most segments in a name.
    pub const MAX_SEGMENTS: usize = 8;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part of the names that are the server's own.
    pub const RESERVED: &str = "hookmill";

    /// Whether it names one of the server's own events.
    pub fn is_reserved(&self) -> bool {
        self.segments().next() == Some(Self::RESERVED)
    }

    /// The name's parts, left to right.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

/// Whether `text` may stand between two dots of a name.
pub(super) fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

impl FromStr for EventTypeName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() <= Self::MAX_BYTES
            && text.split('.').count() <= Self::MAX_SEGMENTS
            && text.split('.').all(is_segment);
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("an event type is 1 to 8 segments of letters, digits, `_` and `-` joined by dots, \
                 at most 128 bytes, for example order.created")
        }
    }
}

impl fmt::Display for EventTypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventTypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for EventTypeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventTypeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// What a schema violation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaMode {
    /// The event is refused with 422.
    #[default]
    Enforce,
    /// The event is accepted; the violation is stored with it, counted and listable.
    Warn,
    /// The schema is documentation only.
    Off,
}

/// An event type.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EventType {
    /// For example `order.created`.
    #[schema(value_type = String)]
    pub name: EventTypeName,
    /// For people.
    pub description: Option<String>,
    /// What a violation of its schema leads to.
    pub mode: SchemaMode,
    /// Media types and ranges of them that its payloads may have.
    pub content_types: Vec<String>,
    /// The newest schema's version; 0 while it has none.
    pub latest_version: u32,
    /// Events accepted under `warn` although they violate the schema.
    pub violations: u64,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// What a new version of its schema must be to the last.
    pub compatibility: Compatibility,
    #[serde(flatten)]
    pub lifecycle: Lifecycle,
    /// Since when it takes no more events.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<Timestamp>,
}

#[cfg(test)]
impl EventType {
    /// One as it is if only its name is said.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.parse().unwrap(),
            description: None,
            mode: SchemaMode::Enforce,
            content_types: vec!["application/json".into()],
            latest_version: 0,
            violations: 0,
            created_at: Timestamp::UNIX_EPOCH,
            compatibility: Compatibility::None,
            lifecycle: Lifecycle::default(),
            archived_at: None,
        }
    }
}

/// One version of an event type's schema.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SchemaVersion {
    /// From 1.
    pub version: u32,
    /// The JSON Schema.
    #[schema(value_type = Object)]
    pub schema: serde_json::Value,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[serde(flatten)]
    pub lifecycle: Lifecycle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_segments_joined_by_dots() {
        for good in ["push", "order.created", "a.b-c.d_e.F9"] {
            assert_eq!(good.parse::<EventTypeName>().map(|n| n.to_string()), Ok(good.into()));
        }
        for bad in
            ["", ".", "a..b", "a.", "a b", "ü", "order.*", "a.b.c.d.e.f.g.h.i", &"x".repeat(129)]
        {
            assert!(bad.parse::<EventTypeName>().is_err(), "{bad}");
        }
    }
}
