//! Plugins as the host knows them: versions, what they say of themselves, and the
//! pipelines subscriptions make of them.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ApplicationId, Kept, Pattern};

/// The SHA-256 of a component's bytes: its identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a plugin decides: whether, or what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Whether an event is delivered.
    Filter,
    /// What is sent.
    Transform,
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// Lower-case letters, digits and hyphens, at most 64.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// The JSON Schema of a step's config.
    #[schema(value_type = Object)]
    pub config_schema: Value,
    /// The event types it understands; empty for any.
    #[schema(value_type = Vec<String>)]
    pub event_types: Vec<Pattern>,
}

/// One uploaded version of a plugin. Immutable but for `live`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PluginVersion {
    /// Its owner; none for plugins the platform shares with every application.
    #[schema(value_type = Option<String>)]
    pub application: Option<ApplicationId>,
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// SHA-256 of the component, hexadecimal.
    #[schema(value_type = String)]
    pub sha256: Sha256,
    /// What it decides.
    pub kind: PluginKind,
    /// Bytes of the component.
    pub size: u64,
    /// The version of the `hookmill:plugin` package it was built against.
    pub interface: String,
    /// What it says about itself.
    pub manifest: Manifest,
    /// Whether steps that name no version run this one.
    pub live: bool,
    /// When it was uploaded.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// `name` (follows live) or `name@version` (pinned).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PluginRef {
    /// The plugin's name.
    pub name: String,
    /// The version it is pinned to.
    pub version: Option<String>,
}

impl PluginRef {
    /// Whether `name` may name a plugin.
    pub fn is_valid_name(name: &str) -> bool {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-')
    }

    /// Whether `version` has the form of one: semantic versions pass, and so does
    /// whatever is as short and as harmless in a URL.
    pub fn is_valid_version(version: &str) -> bool {
        (1..=64).contains(&version.len())
            && version.starts_with(|c: char| c.is_ascii_digit())
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
    }
}

impl FromStr for PluginRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if Self::is_valid_name(name) && version.is_none_or(Self::is_valid_version) {
            Ok(Self { name: name.into(), version: version.map(Into::into) })
        } else {
            Err(
                "a plugin is named by its name (redact: its live version) or name@version (redact@1.2.0)",
            )
        }
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version.iter().try_for_each(|version| write!(f, "@{version}"))
    }
}

impl Serialize for PluginRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PluginRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// What a plugin's failure does to the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Try the delivery again by its schedule.
    #[default]
    Retry,
    /// Give the delivery up; it can be retried by hand.
    Dead,
    /// Go on as if the step were not there.
    Pass,
    /// Do not deliver.
    Drop,
}

/// A plugin in a subscription's pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `name` (follows live) or `name@version` (pinned).
    #[schema(value_type = String, example = "redact@1.2.0")]
    pub plugin: PluginRef,
    /// The plugin's configuration; satisfies its manifest's schema.
    #[serde(default = "empty_object")]
    #[schema(value_type = Object)]
    pub config: Value,
    /// What its failure does to the delivery.
    #[serde(default)]
    pub on_error: OnError,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// The store's number for a distinct resolved pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PipelineId(pub i64);

/// A pipeline with every version and config fixed: what a delivery names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// Equal pipelines have equal ids.
    pub id: PipelineId,
    /// In the order they run; empty only if there is a contract.
    pub steps: Vec<ResolvedStep>,
    /// The JSON Schema that what is sent must satisfy, as JSON text.
    pub contract: Option<Arc<str>>,
}

/// A step with its version fixed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResolvedStep {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The component, by content.
    pub sha256: Sha256,
    /// The config as JSON text, object keys in the order they were given.
    pub config: Arc<str>,
    /// What its failure does to the delivery.
    pub on_error: OnError,
    /// What the runtime keeps with it.
    #[serde(skip)]
    pub kept: Kept,
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a SHA-256 is 64 hexadecimal digits";
        if text.len() != 64 || !text.is_ascii() {
            return Err(EXPECTED);
        }
        let mut bytes = [0u8; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| EXPECTED)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| EXPECTED)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_plugin_and_perhaps_a_version() {
        for good in ["redact", "redact@1.2.0", "big-orders@0.1.0-rc.1+build"] {
            assert_eq!(good.parse::<PluginRef>().map(|r| r.to_string()), Ok(good.into()));
        }
        for bad in ["", "Redact", "redact@", "-x", "x-", "redact@latest", "a/b", "redact@1/2"] {
            assert!(bad.parse::<PluginRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_round_trip() {
        let digest = Sha256::of(b"hookmill");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("zz".repeat(32).parse::<Sha256>().is_err());
    }
}
