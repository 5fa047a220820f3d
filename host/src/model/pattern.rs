//! Event type patterns: what a subscription listens to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{EventTypeName, event_type::is_segment};

/// `order.created`, `order.*` (one segment) or `order.**` (one or more segments).
/// `*` may stand for any segment, `**` for the last one only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(String);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an event type pattern: write an event type (order.created), `*` for one segment \
     (order.*), or `**` at the end for one or more (order.**, **)"
)]
pub struct PatternError(String);

impl Pattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pattern's parts, left to right.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether it names one event type only.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it stands for events of the server's own.
    pub fn is_reserved(&self) -> bool {
        self.segments().next() == Some(EventTypeName::RESERVED)
    }

    /// Whether `name` is one of those it stands for. The plain definition, which the
    /// routing index must agree with.
    ///
    /// The server's own types are stood for only by patterns that begin with their first
    /// segment: who asks for everything means what producers publish.
    pub fn matches(&self, name: &EventTypeName) -> bool {
        if name.is_reserved() && !self.is_reserved() {
            return false;
        }
        let mut names = name.segments();
        for part in self.segments() {
            match (part, names.next()) {
                ("**", found) => return found.is_some(),
                ("*", Some(_)) => {}
                (literal, Some(found)) if literal == found => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl From<EventTypeName> for Pattern {
    /// The pattern that stands for one type alone.
    fn from(name: EventTypeName) -> Self {
        Self(name.to_string())
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let parts: Vec<&str> = text.split('.').collect();
        let last = parts.len() - 1;
        let well_formed = text.len() <= EventTypeName::MAX_BYTES
            && parts.len() <= EventTypeName::MAX_SEGMENTS
            && parts
                .iter()
                .enumerate()
                .all(|(i, &part)| part == "*" || (part == "**" && i == last) || is_segment(part));
        if well_formed { Ok(Self(text.into())) } else { Err(PatternError(text.into())) }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        assert!(matches("order.created", "order.created"));
        assert!(matches("order.*", "order.created"));
        assert!(!matches("order.*", "order.created.eu"));
        assert!(!matches("order.*", "order"));
        assert!(matches("order.**", "order.created.eu"));
        assert!(!matches("order.**", "order"));
        assert!(matches("*.created", "order.created"));
        assert!(matches("**", "push"));
        assert!(!matches("*", "order.created"));
    }

    #[test]
    fn the_servers_own_events_go_to_those_who_name_them() {
        assert!(matches("hookmill.**", "hookmill.delivery.dead"));
        assert!(matches("hookmill.*.dead", "hookmill.delivery.dead"));
        for pattern in ["**", "*.**", "*.delivery.dead"] {
            assert!(!matches(pattern, "hookmill.delivery.dead"), "{pattern}");
        }
        assert!(matches("**", "hookmills.delivery"));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in ["", "order.", "or*der", "**.created", "a.***", "order *"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
