//! Accepts events: checks them against their type's schema, matches them, and persists them
//! with their deliveries, many requests to a transaction.
//!
//! When `publish` answers `Ok`, the event survives a crash. Never speaks HTTP, never runs a
//! plugin.

mod batch;
mod desk;
mod idempotency;
mod own;
mod payload;
mod sourced;
mod turn;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use metrics::{Counter, Histogram};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use self::{
    desk::Desk,
    idempotency::key_in_batch,
    own::OwnEvent,
    payload::{json_fault, read_payload},
    turn::Turn,
};
use crate::{
    catalog::{Catalog, EventTypeEntry, Match},
    clock::Clock,
    delivery::Dispatcher,
    limits::{Admission, Rates},
    model::{
        Application, ApplicationId, CloudContext, DeliveryId, Event, EventId, EventTypeName,
        Holder, Lifecycle, SchemaMode, SubscriptionId, Timestamp, TraceContext, Violation, time,
    },
    routing::Facts,
    store::{
        Appended, Gone, Idempotency, NewDelivery, NewEvent, Receipt, SharedStore, StoreError, Used,
    },
};

/// Bounds of ingestion.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    /// Most requests that may wait for their transaction; more are told to come back.
    pub queue: usize,
    /// Most requests in one transaction.
    pub batch: usize,
    /// How long an idempotency key is kept.
    pub idempotency_window: Duration,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self { queue: 4_096, batch: 256, idempotency_window: Duration::from_secs(24 * 3600) }
    }
}

/// An event as its producer gives it.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Its type.
    pub event_type: String,
    /// A JSON text, unless its content type says otherwise; not yet looked at.
    pub payload: Bytes,
    /// What the payload is; JSON if nothing is said.
    pub content_type: Option<Arc<str>>,
    /// What it says of itself as a CloudEvent, if it is one.
    pub context: Option<Arc<CloudContext>>,
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
    /// What it is published on. Checked by the caller.
    pub channels: Vec<String>,
    /// Where in a distributed trace it is published.
    pub trace: Option<Arc<TraceContext>>,
}

impl Publish {
    /// When it happened, as it is kept: filters, plugins and endpoints see from the first what
    /// they would see of the stored event.
    pub fn occurred(&self, accepted_at: Timestamp) -> Timestamp {
        self.occurred_at.map_or(accepted_at, time::kept)
    }
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
    /// How the type or the schema version it used ends.
    pub lifecycle: Lifecycle,
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
    /// The type is one of the server's own.
    #[error("{name} is one of the server's own event types")]
    Reserved {
        /// As given.
        name: String,
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
    /// The type takes no more events.
    #[error("{event_type} is archived")]
    Archived {
        /// The type.
        event_type: EventTypeName,
        /// Since when.
        since: Timestamp,
    },
    /// The payload is not JSON, nested too deeply, or empty.
    #[error("the payload is not acceptable: {0}")]
    Malformed(String),
    /// The type does not take payloads of this kind.
    #[error("{event_type} does not take payloads of type {content_type}")]
    ContentType {
        /// The type.
        event_type: EventTypeName,
        /// As given.
        content_type: String,
        /// What it takes.
        taken: Vec<String>,
    },
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
    /// Its payload is larger than its type takes.
    #[error("the payload has {bytes} bytes of {most}")]
    TooLarge {
        /// The type.
        event_type: EventTypeName,
        /// Bytes that it has.
        bytes: usize,
        /// How many there may be.
        most: usize,
    },
    /// Its application would store more than it may.
    #[error("the application stores {used} bytes of {most}")]
    Full {
        /// Bytes of the payloads that it stores.
        used: u64,
        /// How many there may be.
        most: u64,
    },
    /// Its application went while it came.
    #[error("the application is gone")]
    NoApplication,
    /// The queue is full.
    #[error("too many events are waiting to be stored")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store failed; nothing was accepted.
    #[error("{0}")]
    Store(StoreError),
}

impl Rejected {
    const fn overloaded() -> Self {
        Self::Overloaded { retry_after: Duration::from_secs(1) }
    }

    fn stopping() -> Self {
        Self::Store(StoreError::Failed("the server is stopping".to_owned()))
    }
}

/// A request on its way to its transaction.
struct Waiting {
    new: NewEvent,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
}

/// The door: cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Waiting>,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").finish_non_exhaustive()
    }
}

struct Shared {
    settings: IngestSettings,
    /// Seconds that keys are kept.
    window: AtomicU64,
    store: SharedStore,
    catalog: Arc<Catalog>,
    dispatcher: Arc<Dispatcher>,
    clock: Clock,
    rates: Arc<Rates>,
    desk: Desk,
    accepted: Counter,
    created: Counter,
    batch_size: Histogram,
}

impl Ingest {
    /// The type of the events that `send_test` makes.
    pub const TEST_EVENT_TYPE: &'static str = "hookmill.test";

    /// Starts the task that makes transactions of requests. It ends when the last clone of
    /// what is returned is gone.
    pub fn start(
        settings: IngestSettings,
        store: SharedStore,
        catalog: Arc<Catalog>,
        dispatcher: Arc<Dispatcher>,
        (admission, rates): (Admission, Arc<Rates>),
        clock: Clock,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(settings.queue);
        let shared = Arc::new(Shared {
            window: AtomicU64::new(settings.idempotency_window.as_secs()),
            settings,
            store,
            catalog,
            dispatcher,
            clock,
            rates,
            desk: Desk::new(admission, clock),
            accepted: metrics::counter!("hookmill_events_accepted_total"),
            created: metrics::counter!("hookmill_deliveries_created_total"),
            batch_size: metrics::histogram!("hookmill_ingest_batch_size"),
        });
        batch::start(shared.clone(), waiting);
        Self { shared, queue }
    }

    /// Keys are kept for so long from now on; those that are there, as long as they were to be.
    pub fn set_idempotency_window(&self, window: Duration) {
        self.shared.window.store(window.as_secs(), Relaxed);
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.shared.window.load(Relaxed))
    }

    /// Accepts one event for `application`, in its turn.
    pub async fn publish(
        &self,
        application: &Application,
        event: Publish,
        turn: &mut Turn,
    ) -> Result<Published, Rejected> {
        let keys = idempotency::keys(&event, self.window(), turn.at);
        self.accept(application, event, keys, turn).await
    }

    /// Accepts an event that these keys tell from others.
    async fn accept(
        &self,
        application: &Application,
        event: Publish,
        keys: Vec<Idempotency>,
        turn: &mut Turn,
    ) -> Result<Published, Rejected> {
        let (event, found) = self.check(application.id, event, turn).await?;
        let (checked, matches) = match found {
            Ok(checked) => checked,
            // What was accepted once stays so, though a newer schema would refuse it.
            Err(rejected) => return self.repeated(application, event, &keys, rejected).await,
        };
        turn.come().await;
        if turn.is_ended() {
            return Err(Rejected::overloaded());
        }
        let (event_type, lifecycle) = (checked.event_type.clone(), checked.lifecycle);
        self.persist(application, checked, event, (keys, turn), &matches)
            .await
            .map(|(receipt, repeated)| Published { receipt, event_type, repeated, lifecycle })
    }

    /// What was answered when this request was first accepted, or why it is refused now.
    async fn repeated(
        &self,
        application: &Application,
        event: Publish,
        keys: &[Idempotency],
        rejected: Rejected,
    ) -> Result<Published, Rejected> {
        let Ok(event_type) = event.event_type.parse() else { return Err(rejected) };
        if keys.is_empty() {
            return Err(rejected);
        }
        let now = self.shared.clock.now();
        let used = self.shared.store.repeated(application.id, keys, now).await;
        match used.map_err(Rejected::Store)? {
            Some(Used::BySame(receipt)) => {
                let lifecycle = Lifecycle::default();
                Ok(Published { receipt, event_type, repeated: true, lifecycle })
            }
            Some(Used::ByAnother(key)) => Err(conflict(&key)),
            None => Err(rejected),
        }
    }

    /// Sends an event of type `hookmill.test` to one subscription, past its pipeline: it
    /// tries the endpoint and its signature check.
    pub async fn send_test(
        &self,
        application: &Application,
        subscription: SubscriptionId,
    ) -> Result<Published, Rejected> {
        let unknown = || Rejected::UnknownEventType {
            name: Self::TEST_EVENT_TYPE.to_owned(),
            did_you_mean: None,
        };
        let event_type: EventTypeName = Self::TEST_EVENT_TYPE.parse().map_err(|_| unknown())?;
        let found = self.shared.catalog.matching_only(subscription).ok_or_else(unknown)?;
        let payload = serde_json::json!({
            "test": true,
            "message": "This is a test event. Your endpoint receives what Hookmill sends.",
            "subscription_id": subscription,
        });
        let checked = Checked {
            event_type: event_type.clone(),
            schema_version: 0,
            violations: Vec::new(),
            accepted_at: self.shared.clock.now(),
            lifecycle: Lifecycle::default(),
        };
        let event = Publish {
            event_type: Self::TEST_EVENT_TYPE.to_owned(),
            payload: payload.to_string().into(),
            id: None,
            idempotency_key: None,
            subject: None,
            occurred_at: None,
            schema_version: None,
            channels: Vec::new(),
            trace: crate::telemetry::trace::current(),
            content_type: None,
            context: None,
        };
        let only = [found.bare()];
        let turn = &mut Turn::alone(checked.accepted_at);
        let (receipt, repeated) =
            self.persist(application, checked, event, (Vec::new(), turn), &only).await?;
        Ok(Published { receipt, event_type, repeated, lifecycle: Lifecycle::default() })
    }

    /// Checks and matches an event: both are long with a long payload, and filters look at it as
    /// it was parsed for the check.
    async fn check(
        &self,
        application: ApplicationId,
        event: Publish,
        turn: &Turn,
    ) -> Result<(Publish, Result<(Checked, Vec<Match>), Rejected>), Rejected> {
        let (entry, version) = match self.entry(&event) {
            Ok(found) => found,
            Err(rejected) => return Ok((event, Err(rejected))),
        };
        let (checking, bytes) = (Arc::clone(&entry), event.payload.len());
        let (shared, accepted_at) = (Arc::clone(&self.shared), turn.at);
        let check = move || {
            let found = examine(&checking, version, &event, accepted_at);
            let found = found.map(|(checked, payload)| {
                let matches =
                    shared.catalog.matching(application, &checked.facts(&event, payload.as_ref()));
                (checked, matches)
            });
            (event, found)
        };
        self.shared.desk.examine_in(turn, &entry.cost, bytes, check).await
    }

    /// The event's type, and which version of its schema counts.
    fn entry(&self, event: &Publish) -> Result<(Arc<EventTypeEntry>, u32), Rejected> {
        let unknown = || Rejected::UnknownEventType {
            name: event.event_type.clone(),
            did_you_mean: self
                .shared
                .catalog
                .closest_event_type(&event.event_type)
                .map(|name| name.to_string()),
        };
        let name: EventTypeName = event.event_type.parse().map_err(|_| unknown())?;
        if name.is_reserved() {
            return Err(Rejected::Reserved { name: event.event_type.clone() });
        }
        let entry = self.shared.catalog.event_type(&name).ok_or_else(unknown)?;
        if let Some(since) = entry.event_type.archived_at {
            return Err(Rejected::Archived { event_type: name, since });
        }
        let version = schema_version(&entry, event)?;
        let (holder, bytes) = (Holder::EventType(name), event.payload.len());
        let most = self.shared.rates.own(&holder).max_payload_bytes;
        if let (Some(most), Holder::EventType(event_type)) = (most.filter(|m| bytes > *m), holder) {
            return Err(Rejected::TooLarge { event_type, bytes, most });
        }
        Ok((entry, version))
    }

    async fn persist(
        &self,
        application: &Application,
        checked: Checked,
        event: Publish,
        (idempotency, turn): (Vec<Idempotency>, &mut Turn),
        matches: &[Match],
    ) -> Result<(Receipt, bool), Rejected> {
        let shared = &self.shared;
        let place = self.queue.try_reserve().map_err(|_| {
            turn.end_batch();
            Rejected::overloaded()
        })?;
        // From here to `send` nothing awaits: places taken in the dispatcher cannot leak when
        // the caller goes away.
        let now = checked.accepted_at;
        let occurred_at = event.occurred(now);
        // Of the moment at which it is stored, so that ids are in the order of what is stored.
        let storing = shared.clock.now();
        let id = EventId::new(storing);
        let deliveries = matches
            .iter()
            .map(|found| {
                let order = found.ordering.key(event.subject.as_deref());
                // Only the store knows whether something older stands before an ordered one.
                let at_once = !found.held && order.is_none();
                NewDelivery {
                    id: DeliveryId::new(storing),
                    subscription: found.subscription,
                    pipeline: found.pipeline(id),
                    order,
                    held: found.held,
                    leased: at_once && shared.dispatcher.reserve(found.subscription),
                }
            })
            .collect();
        let receipt = Receipt {
            id,
            schema_version: checked.schema_version,
            deliveries: matches.len() as u32,
        };
        // What the server has to tell is told also to who may store no more.
        let most_stored = Some(application.id)
            .filter(|_| !checked.event_type.is_reserved())
            .and_then(|application| shared.rates.most_stored(application));
        let event_type = checked.event_type.clone();
        let new = NewEvent {
            event: Arc::new(Event {
                id: receipt.id,
                application: application.id,
                application_name: application.name.as_str().into(),
                event_type: checked.event_type,
                schema_version: checked.schema_version,
                subject: event.subject,
                occurred_at,
                accepted_at: now,
                trace: event.trace,
                content_type: event.content_type,
                context: event.context,
                channels: event.channels,
                payload: event.payload,
            }),
            producer_id: event.id,
            violations: checked.violations,
            idempotency,
            deliveries,
            most_stored,
        };
        let (answer, answered) = oneshot::channel();
        place.send(Waiting { new, answer });
        turn.pass();
        match answered.await {
            Ok(Ok(Appended::New(_))) => Ok((receipt, false)),
            Ok(Ok(Appended::Repeated(first))) => Ok((first, true)),
            Ok(Ok(Appended::Conflict { key })) => Err(conflict(&key)),
            Ok(Ok(Appended::Full { used })) => {
                Err(Rejected::Full { used, most: most_stored.unwrap_or_default() })
            }
            Ok(Ok(Appended::Gone(Gone::Application))) => Err(Rejected::NoApplication),
            Ok(Ok(Appended::Gone(Gone::EventType))) => {
                Err(Rejected::UnknownEventType { name: event_type.to_string(), did_you_mean: None })
            }
            Ok(Err(error)) => Err(Rejected::Store(error)),
            Err(_) => Err(Rejected::stopping()),
        }
    }
}

/// Which version of its type's schema counts for an event; 0 if there is none.
pub fn schema_version(entry: &EventTypeEntry, event: &Publish) -> Result<u32, Rejected> {
    let newest = entry.validators.len() as u32;
    let version = event.schema_version.unwrap_or(newest);
    if version > newest || event.schema_version == Some(0) {
        let event_type = entry.event_type.name.clone();
        return Err(Rejected::UnknownSchemaVersion { event_type, version, newest });
    }
    Ok(version)
}

/// Whether an event is acceptable under a version of its type's schema.
fn examine(
    entry: &EventTypeEntry,
    version: u32,
    event: &Publish,
    accepted_at: Timestamp,
) -> Result<(Checked, Option<Value>), Rejected> {
    let (payload, violations) = payload::examine(entry, version, event)?;
    let event_type = entry.event_type.name.clone();
    if entry.event_type.mode == SchemaMode::Enforce && !violations.is_empty() {
        return Err(Rejected::Violates { event_type, version, violations });
    }
    let checked = Checked {
        event_type,
        schema_version: version,
        violations,
        accepted_at,
        lifecycle: lifecycle(entry, version),
    };
    Ok((checked, payload))
}

/// The key as the producer knows it.
fn conflict(key: &str) -> Rejected {
    Rejected::Conflict { key: idempotency::shown(key) }
}

/// An event found acceptable.
struct Checked {
    event_type: EventTypeName,
    schema_version: u32,
    violations: Vec<Violation>,
    accepted_at: Timestamp,
    lifecycle: Lifecycle,
}

impl Checked {
    /// What subscriptions may ask of it.
    fn facts<'a>(&'a self, event: &'a Publish, payload: Option<&'a Value>) -> Facts<'a> {
        Facts {
            event_type: &self.event_type,
            schema_version: self.schema_version,
            id: event.id.as_deref(),
            subject: event.subject.as_deref(),
            occurred_at: event.occurred(self.accepted_at),
            channels: &event.channels,
            payload,
            text: &event.payload,
        }
    }
}

/// How what an event uses ends: its type, or else the version of the schema.
fn lifecycle(entry: &EventTypeEntry, version: u32) -> Lifecycle {
    let whole = entry.event_type.lifecycle;
    if whole.deprecated_at.is_some() {
        return whole;
    }
    let index = version.checked_sub(1).map_or(usize::MAX, |index| index as usize);
    entry.lifecycles.get(index).copied().unwrap_or_default()
}
