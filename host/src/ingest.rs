//! Accepts events: checks them against their type's schema, matches them, and persists them
//! with their deliveries, many requests to a transaction.
//!
//! When `publish` answers `Ok`, the event survives a crash. Never speaks HTTP, never runs a
//! plugin.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    model::{Application, EventTypeName, SubscriptionId, Timestamp, Violation},
    store::{Receipt, StoreError},
};

/// An event as its producer gives it.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Its type.
    pub event_type: String,
    /// A JSON text, not yet looked at.
    pub payload: Bytes,
    /// The producer's own id, also an idempotency key.
    pub id: Option<String>,
    /// The request's idempotency key, if there is one beside `id`.
    pub idempotency_key: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub occurred_at: Option<Timestamp>,
    /// Which schema version it satisfies; the newest if none is given.
    pub schema_version: Option<u32>,
}

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What the producer is told.
    pub receipt: Receipt,
    /// Its type.
    pub event_type: EventTypeName,
    /// Whether this request was a repetition.
    pub repeated: bool,
}

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// There is no such event type (or the text cannot be one).
    #[error("there is no event type {name}")]
    UnknownEventType {
        /// As given.
        name: String,
        /// What was perhaps meant.
        did_you_mean: Option<String>,
    },
    /// The type has no such schema version.
    #[error("{event_type} has no schema version {version}; its newest is {newest}")]
    UnknownSchemaVersion {
        /// The type.
        event_type: EventTypeName,
        /// As given.
        version: u32,
        /// The newest there is.
        newest: u32,
    },
    /// The payload is not JSON, or nested too deeply.
    #[error("the payload is not acceptable JSON: {0}")]
    Malformed(String),
    /// The payload does not satisfy the schema.
    #[error("the payload does not match the schema of {event_type}, version {version}")]
    Violates {
        /// The type.
        event_type: EventTypeName,
        /// The schema's version.
        version: u32,
        /// Where it does not; bounded.
        violations: Vec<Violation>,
    },
    /// The id or idempotency key was used for another event.
    #[error("the key {key} was used for another event")]
    Conflict {
        /// As given.
        key: String,
    },
    /// The queue is full.
    #[error("too many events are waiting to be stored")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store failed; nothing was accepted.
    #[error(transparent)]
    Store(StoreError),
}

/// The door: cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {}

#[expect(unused_variables, reason = "signatures first")]
impl Ingest {
    /// Accepts one event for `application`.
    pub async fn publish(
        &self,
        application: &Application,
        event: Publish,
    ) -> Result<Published, Rejected> {
        todo!()
    }

    /// Accepts a test event, `hookmill.test`, for one subscription alone: whatever it
    /// listens to, without a registered type and without a schema.
    pub async fn send_test(
        &self,
        application: &Application,
        subscription: SubscriptionId,
    ) -> Result<Published, Rejected> {
        todo!()
    }
}
