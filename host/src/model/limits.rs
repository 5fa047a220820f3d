//! What an application, an event type or a key may take.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApplicationId, EventTypeName, RateLimit};

/// The limits of one application, event type or key. What is left out, or null, is the
/// server's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"events": {"per_second": 100, "burst": 500}}))]
pub struct Limits {
    /// Events that may be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<RateLimit>,
    /// Requests that do not publish. Not for an event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RateLimit>,
    /// Largest payload of an event in bytes. Only for an event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 67_108_864)]
    pub max_payload_bytes: Option<usize>,
    /// Most subscriptions. Only for an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<u32>,
    /// Most plugins of its own, each version counted. Only for an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_versions: Option<u32>,
    /// Most bytes of stored events' payloads. Only for an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
}

/// What an application's events take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events that are stored.
    pub events: u64,
    /// Bytes of their payloads, those that are kept no longer left out.
    pub stored_bytes: u64,
}

/// What may be said of how large an event's payload may be.
const PAYLOAD_BYTES: RangeInclusive<usize> = 1..=64 << 20;

impl Limits {
    /// Everything that cannot be used for a holder of this kind: where it is, and why.
    pub fn check(&self, holder: &Holder) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (name, rate) in [("events", &self.events), ("requests", &self.requests)] {
            if let Some(Err((part, why))) = rate.as_ref().map(RateLimit::check) {
                wrong.push((format!("/{name}/{part}"), why));
            }
        }
        if let Some(bytes) = self.max_payload_bytes.filter(|bytes| !PAYLOAD_BYTES.contains(bytes)) {
            let (least, most) = (PAYLOAD_BYTES.start(), PAYLOAD_BYTES.end());
            let why = format!("is {bytes}; at least {least} and at most {most} are allowed");
            wrong.push(("/max_payload_bytes".to_owned(), why));
        }
        let (is_type, is_application) =
            (matches!(holder, Holder::EventType(_)), matches!(holder, Holder::Application(_)));
        let misplaced = [
            ("requests", self.requests.is_some() && is_type),
            ("max_payload_bytes", self.max_payload_bytes.is_some() && !is_type),
            ("subscriptions", self.subscriptions.is_some() && !is_application),
            ("plugin_versions", self.plugin_versions.is_some() && !is_application),
            ("stored_bytes", self.stored_bytes.is_some() && !is_application),
        ];
        for (name, _) in misplaced.iter().filter(|(_, is_misplaced)| *is_misplaced) {
            wrong.push((format!("/{name}"), format!("is no limit of one {}", holder.kind())));
        }
        wrong
    }
}

/// Whose limits they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A tenant.
    Application(ApplicationId),
    /// All events of a type, each application's for itself.
    EventType(EventTypeName),
    /// Whoever has this key.
    Key(Arc<str>),
}

impl Holder {
    /// The word for its kind, in the store, in headers and in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Application(_) => "application",
            Self::EventType(_) => "event-type",
            Self::Key(_) => "key",
        }
    }

    /// From kind and name; none if they are neither's.
    pub fn from_parts(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "application" => name.parse().ok().map(Self::Application),
            "event-type" => name.parse().ok().map(Self::EventType),
            "key" => Some(Self::Key(name.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(id) => id.fmt(f),
            Self::EventType(name) => name.fmt(f),
            Self::Key(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_its_holder_cannot_have_is_named() {
        let rate = |per_second| Some(RateLimit { per_second, burst: None });
        let limits = Limits {
            events: rate(0.0),
            requests: rate(1.0),
            max_payload_bytes: Some(0),
            subscriptions: Some(1),
            plugin_versions: None,
            stored_bytes: Some(1),
        };
        let at = |holder: &Holder| -> Vec<String> {
            limits.check(holder).into_iter().map(|(at, _)| at).collect()
        };
        let event_type = Holder::from_parts("event-type", "a.b").unwrap();
        assert_eq!(
            at(&event_type),
            [
                "/events/per_second",
                "/max_payload_bytes",
                "/requests",
                "/subscriptions",
                "/stored_bytes"
            ]
        );
        let key = Holder::from_parts("key", "key_1").unwrap();
        assert_eq!(
            at(&key),
            [
                "/events/per_second",
                "/max_payload_bytes",
                "/max_payload_bytes",
                "/subscriptions",
                "/stored_bytes"
            ]
        );
        assert_eq!(Limits::default().check(&key), []);
    }
}
