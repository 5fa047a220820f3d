//! An event: what a producer sent, as accepted.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApplicationId, CloudContext, EventId, EventTypeName, TraceContext, media};

/// An accepted event. `payload` is byte for byte what the producer wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`
    pub id: EventId,
    /// Its owner.
    pub application: ApplicationId,
    /// Its owner's name, as plugins see it.
    pub application_name: Arc<str>,
    /// For example `order.created`.
    pub event_type: EventTypeName,
    /// The schema version it was accepted under; 0 if the type had none.
    pub schema_version: u32,
    /// What it is about, if the producer said.
    pub subject: Option<String>,
    /// When it happened: the producer's word, or when it was accepted.
    pub occurred_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where in a distributed trace it was accepted.
    pub trace: Option<Arc<TraceContext>>,
    /// What the payload is; JSON if nothing is said.
    pub content_type: Option<Arc<str>>,
    /// What it says of itself as a CloudEvent, if it came as one.
    pub context: Option<Arc<CloudContext>>,
    /// What it was published on.
    pub channels: Vec<String>,
    /// A JSON text, unless its content type says otherwise.
    pub payload: Bytes,
}

impl Event {
    /// Whether its payload is no longer kept: no accepted payload is empty.
    pub const fn is_expired(&self) -> bool {
        self.payload.is_empty()
    }

    /// The payload, parsed, if it is JSON and still kept.
    pub fn json(&self) -> Option<serde_json::Value> {
        if self.is_json() { serde_json::from_slice(&self.payload).ok() } else { None }
    }

    /// What the payload is.
    pub fn content_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or(media::JSON)
    }

    /// Whether the payload is a JSON text.
    pub fn is_json(&self) -> bool {
        self.content_type.as_deref().is_none_or(media::is_json)
    }
}

/// An event with what the store knows beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// The producer's own id for it, if given.
    pub producer_id: Option<String>,
    /// How many deliveries were made of it.
    pub deliveries: u32,
    /// What its schema had against it (mode `warn`); bounded.
    pub violations: Vec<Violation>,
}

/// An event as lists show it: all of a [`StoredEvent`] but what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEvent {
    /// `evt_…`
    pub id: EventId,
    /// For example `order.created`.
    pub event_type: EventTypeName,
    /// The schema version it was accepted under; 0 if the type had none.
    pub schema_version: u32,
    /// What it is about, if the producer said.
    pub subject: Option<String>,
    /// What it was published on.
    pub channels: Vec<String>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What the payload is; JSON if nothing is said.
    pub content_type: Option<Arc<str>>,
    /// Bytes of the payload; none if it is no longer kept.
    pub payload_bytes: usize,
    /// The producer's own id for it, if given.
    pub producer_id: Option<String>,
    /// How many deliveries were made of it.
    pub deliveries: u32,
    /// What its schema had against it (mode `warn`); bounded.
    pub violations: Vec<Violation>,
}

impl From<StoredEvent> for ListedEvent {
    fn from(stored: StoredEvent) -> Self {
        let StoredEvent { event, producer_id, deliveries, violations } = stored;
        Self {
            id: event.id,
            event_type: event.event_type,
            schema_version: event.schema_version,
            subject: event.subject,
            channels: event.channels,
            occurred_at: event.occurred_at,
            accepted_at: event.accepted_at,
            content_type: event.content_type,
            payload_bytes: event.payload.len(),
            producer_id,
            deliveries,
            violations,
        }
    }
}

/// One place where a payload does not satisfy its schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// JSON pointer into the payload.
    pub at: String,
    /// JSON pointer into the schema.
    pub schema: String,
    /// What is wrong.
    pub message: String,
}
