//! What travels between the belt and the store.

use std::sync::Arc;

use crate::model::{
    Attempt, DeliveryId, Event, OrderKey, PipelineId, PipelineRun, SubscriptionId, Timestamp,
    Violation,
};

/// Who holds a delivery while it is attempted, and until when.
///
/// An owner is one run of one server process. A lease of an owner that is no more is void:
/// on a database that one process has to itself, every other owner is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The server's run.
    pub owner: i64,
    /// When others may take it.
    pub until: Timestamp,
}

/// What the store calls a delivery. Meaningless outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    pub(super) delivery: i64,
    pub(super) event: i64,
}

impl DeliveryKey {
    /// A key that is no store's, for tests of what only carries keys about.
    #[cfg(test)]
    pub(crate) const fn for_tests(delivery: i64, event: i64) -> Self {
        Self { delivery, event }
    }
}

/// A repeated request is recognised by its key and told from a mistaken one by its print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The producer's id or `Idempotency-Key`, within the application.
    pub key: String,
    /// SHA-256 of what must be the same.
    pub fingerprint: [u8; 32],
    /// When the key is forgotten.
    pub expires_at: Timestamp,
}

/// An event to persist.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// The producer's own id for it.
    pub producer_id: Option<String>,
    /// What its schema has against it.
    pub violations: Vec<Violation>,
    /// How a repetition is recognised: by the producer's id, by the request's key, by both.
    pub idempotency: Vec<Idempotency>,
    /// One for each subscription that matched.
    pub deliveries: Vec<NewDelivery>,
    /// Most bytes that the payloads of its application may take with it; any, if none.
    pub most_stored: Option<u64>,
}

/// A delivery to persist with its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Who it is for.
    pub subscription: SubscriptionId,
    /// The pipeline it runs through.
    pub pipeline: Option<PipelineId>,
    /// What it has in common with older deliveries of its subscription that must be over
    /// before it is due; one that has such a key is never leased at once.
    pub order: Option<OrderKey>,
    /// Whether it starts `held`, its subscription being paused.
    pub held: bool,
    /// Whether it is leased at once, because the caller has room to attempt it.
    pub leased: bool,
}

/// What a producer is told about an accepted event, also when asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: crate::model::EventId,
    /// The schema version it was accepted under.
    pub schema_version: u32,
    /// How many deliveries were made of it.
    pub deliveries: u32,
}

/// What became of a [`NewEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk; the keys of its deliveries, in their order.
    New(Vec<DeliveryKey>),
    /// It was accepted before, and this is what was said then.
    Repeated(Receipt),
    /// One of its idempotency keys belongs to another request.
    Conflict {
        /// That key.
        key: String,
    },
    /// Its application would store more than it may.
    Full {
        /// Bytes that its payloads take without it.
        used: u64,
    },
    /// What it is for went while it came.
    Gone(Gone),
}

/// What an event cannot be stored without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Its application.
    Application,
    /// Its type.
    EventType,
}

/// Who used the keys of a request before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Used {
    /// The same request, and this is what was said then.
    BySame(Receipt),
    /// Another one used this key.
    ByAnother(String),
}

/// A leased delivery.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// What the store calls it.
    pub key: DeliveryKey,
    /// Its id.
    pub id: DeliveryId,
    /// Who it is for.
    pub subscription: SubscriptionId,
    /// The event; one `Arc` for all claimed deliveries of the same event.
    pub event: Arc<Event>,
    /// The pipeline it runs through.
    pub pipeline: Option<PipelineId>,
    /// What it has in common with those that wait for it.
    pub order: Option<OrderKey>,
    /// When it was due.
    pub due_at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the first of them began, of a delivery that others may wait for.
    pub first_attempt_at: Option<Timestamp>,
    /// What the pipeline came to, if it ran before and that was recorded.
    pub run: Option<Arc<PipelineRun>>,
}

/// What a claim got.
#[derive(Debug, Default)]
pub struct Claims {
    /// The leased deliveries.
    pub claimed: Vec<Claimed>,
    /// For each subscription asked for: when it has something due that nobody holds;
    /// none if it has nothing.
    pub next_due: Vec<(SubscriptionId, Option<Timestamp>)>,
}

/// What became of a leased delivery.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which.
    pub delivery: DeliveryKey,
    /// What it has in common with those that wait for it: once it is over, the next of them
    /// is due.
    pub order: Option<OrderKey>,
    /// The attempt, if one was made.
    pub attempt: Option<Attempt>,
    /// The pipeline's run and its pipeline, unless recorded before. Never one that the
    /// wall clock ended. From here on the delivery names that pipeline.
    pub run: Option<(PipelineId, Arc<PipelineRun>)>,
    /// Whether the payload itself was sent, past the pipeline that the delivery named. From
    /// here on it names none, so that later attempts send the same.
    pub bare: bool,
    /// Where the delivery goes from here.
    pub next: Next,
    /// When.
    pub at: Timestamp,
}

/// What a delivery sends from here on in place of what it named.
#[derive(Debug, Clone)]
pub struct Switch {
    /// Which.
    pub delivery: DeliveryKey,
    /// The other pipeline and what it came to; none if the payload itself is sent.
    pub run: Option<(PipelineId, Arc<PipelineRun>)>,
}

/// Where a delivery goes after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Succeeded,
    /// Again, then.
    Retry(Timestamp),
    /// Given up.
    Dead(String),
    /// Dropped by a plugin.
    Filtered(String),
    /// Kept back.
    Held(String),
    /// Its subscription is no more.
    Cancelled,
}
