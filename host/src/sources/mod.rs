//! Sources: inbound endpoints that verify a third party's own signature and turn its requests
//! into events.
//!
//! Owns every change to a source, and what becomes of a request to one. Never speaks HTTP; what
//! it hands to the ingest is durable when that says so.

mod gate;
mod pointers;
mod reading;
mod refusal;
mod repetition;
mod transform;
mod types;
mod verify;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Mutex;

use crate::{
    catalog::Catalog,
    clock::Clock,
    ingest::{Ingest, Publish, Published, Rejected},
    limits::{Admission, Exceeded, Rates, What},
    model::{ApplicationId, EventTypeName, Holder, Source, SourceId, Timestamp, UnknownTypes},
    plugin::Runtime,
    store::{SharedStore, StoreError},
    telemetry::trace::{self, Kind},
};
use gate::{Examined, Gate};
use reading::{Reading, Said};
use refusal::Refusals;
pub use refusal::{Reason, Refusal, Refused};
use repetition::Print;
pub use transform::MAX_STEPS;
pub use verify::check_secret;

/// Most sources of an application.
pub const MAX_SOURCES: usize = 100;

/// What became of a request that was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It is an event, on disk.
    Event(Published),
    /// Nobody wants its type, and the source was told so.
    Ignored,
    /// The source's own plugins dropped it.
    Dropped,
    /// The third party asked whether the URL is the right one; what it wants to hear.
    Challenge(String),
}

/// Why a request was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// There is no such source, or the request is not one of its third party's. Which, only
    /// the owner is told.
    Unverified,
    /// It is the third party's, but cannot become an event.
    Unusable(Refusal),
    /// Its application publishes more than it may.
    Limited(Exceeded),
    /// The ingest refused it.
    Rejected(Rejected),
}

/// See the module.
pub struct Sources {
    store: SharedStore,
    catalog: Arc<Catalog>,
    ingest: Ingest,
    runtime: Arc<Runtime>,
    rates: Arc<Rates>,
    clock: Clock,
    known: RwLock<BTreeMap<SourceId, Arc<Source>>>,
    /// Held through a change, so that store and memory see changes in the same order.
    changing: Mutex<()>,
    refusals: Refusals,
    gate: Gate,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Why a source is as it was.
#[derive(Debug)]
pub enum NotChanged<E> {
    /// The store did not take it.
    Store(StoreError),
    /// The change was refused, for what the source is by now.
    Refused(E),
}

type Changed = Result<Arc<Source>, StoreError>;

impl Sources {
    /// Reads them from the store.
    pub async fn load(
        store: SharedStore,
        catalog: Arc<Catalog>,
        ingest: Ingest,
        runtime: Arc<Runtime>,
        rates: Arc<Rates>,
        admission: Admission,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let known = store.sources().await?.into_iter().map(|source| (source.id, Arc::new(source)));
        let sources = Arc::new(Self {
            known: RwLock::new(known.collect()),
            store,
            catalog,
            ingest,
            runtime,
            rates,
            refusals: Refusals::new(clock.now()),
            clock,
            changing: Mutex::default(),
            gate: Gate::new(admission, clock),
        });
        sources.load_plugins().await;
        Ok(sources)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<SourceId, Arc<Source>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, source: &Arc<Source>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(source.id, Arc::clone(source));
    }

    /// A source as it is now.
    pub fn source(&self, id: SourceId) -> Option<Arc<Source>> {
        self.read().get(&id).cloned()
    }

    /// An application's, newest first.
    pub fn of(&self, application: ApplicationId) -> Vec<Arc<Source>> {
        let known = self.read();
        known.values().rev().filter(|source| source.application == application).cloned().collect()
    }

    /// Adds a source that was checked; `InUse` if the application has as many as it may.
    pub async fn create(&self, source: Source) -> Changed {
        let _changing = self.changing.lock().await;
        if self.of(source.application).len() >= MAX_SOURCES {
            return Err(StoreError::InUse(MAX_SOURCES as u64));
        }
        self.store.create_source(&source).await?;
        let source = Arc::new(source);
        self.put(&source);
        Ok(source)
    }

    /// Applies `change` to the source as it is now and saves it, unless it refuses that.
    pub async fn change<E: Send>(
        &self,
        id: SourceId,
        change: impl FnOnce(&mut Source) -> Result<(), E> + Send,
    ) -> Result<Arc<Source>, NotChanged<E>> {
        let _changing = self.changing.lock().await;
        let found = self.source(id).ok_or(NotChanged::Store(StoreError::NotFound))?;
        let mut source = Source::clone(&found);
        change(&mut source).map_err(NotChanged::Refused)?;
        source.updated_at = self.clock.now();
        self.store.put_source(&source).await.map_err(NotChanged::Store)?;
        let source = Arc::new(source);
        self.put(&source);
        Ok(source)
    }

    /// Removes a source, unless `expected` refuses it as it is now; its URL takes nothing any
    /// more.
    pub async fn delete<E: Send>(
        &self,
        id: SourceId,
        expected: impl FnOnce(&Source) -> Result<(), E> + Send,
    ) -> Result<Result<(), E>, StoreError> {
        let _changing = self.changing.lock().await;
        if let Err(refused) = expected(&*self.source(id).ok_or(StoreError::NotFound)?) {
            return Ok(Err(refused));
        }
        self.store.delete_source(id).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.refusals.forget(id);
        Ok(Ok(()))
    }

    /// The last requests that a source refused, newest first, and since when they are kept.
    pub fn refusals(&self, id: SourceId) -> (Timestamp, Vec<Refused>) {
        self.refusals.of(id)
    }

    /// Notes that a request's body was never looked at: too large, too slow, cut off.
    pub fn unread(&self, id: Option<SourceId>, detail: &str) {
        if let Some(source) = id.and_then(|id| self.source(id)) {
            let refusal = Refusal::new(Reason::Unreadable, detail);
            self.note(&source, &refusal, false, &Reading::default());
        }
    }

    /// Takes a request: verified, read, and handed to the ingest.
    pub async fn receive(
        &self,
        id: Option<SourceId>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Received, NotTaken> {
        let (came, bytes) = (self.clock.instant(), body.len());
        let source = id.and_then(|id| self.source(id));
        let examined = self.gate.examine(source.clone(), headers, body).await;
        let (source, mut reading, read) = match (examined.map_err(NotTaken::Rejected)?, source) {
            (Examined::Verified(reading, read), Some(source)) => (source, reading, read),
            (Examined::Unverified(refusal), Some(source)) => {
                tracing::debug!(source = %source.id, reason = refusal.reason.as_str(), "a request was not verified");
                self.note(&source, &refusal, false, &Reading::default());
                self.gate.refuse(came, bytes).await;
                return Err(NotTaken::Unverified);
            }
            (_, None) => {
                count("none", "no_source");
                self.gate.refuse(came, bytes).await;
                return Err(NotTaken::Unverified);
            }
        };
        let kind = source.settings.kind.as_str();
        let taken = match read {
            Ok((Said::Payload(payload), print)) => {
                self.take(&source, payload, print, &mut reading).await
            }
            Ok((Said::Challenge(text), _)) => Ok(Received::Challenge(text)),
            Err(refusal) => Err(NotTaken::Unusable(refusal)),
        };
        match &taken {
            Ok(Received::Event(published)) => {
                count(kind, if published.repeated { "repeated" } else { "accepted" });
            }
            Ok(Received::Dropped) => count(kind, "dropped"),
            Ok(Received::Ignored) => count(kind, "ignored"),
            Ok(Received::Challenge(_)) => count(kind, "challenge"),
            Err(not_taken) => {
                let refusal = refusal_of(not_taken);
                tracing::warn!(
                    source = %source.id,
                    reason = refusal.reason.as_str(),
                    delivery_id = reading.delivery_id.as_deref().unwrap_or_default(),
                    "a verified request of a source was refused"
                );
                self.note(&source, &refusal, true, &reading);
            }
        }
        taken
    }

    /// Makes an event of what a verified request says.
    async fn take(
        &self,
        source: &Source,
        payload: Bytes,
        print: Print,
        reading: &mut Reading,
    ) -> Result<Received, NotTaken> {
        let name = reading.event_type.parse::<EventTypeName>().ok();
        let unknown = name
            .clone()
            .filter(|name| !name.is_reserved() && self.catalog.event_type(name).is_none());
        let on_unknown = source.settings.unknown_event_types;
        if on_unknown == UnknownTypes::Ignore && unknown.is_some() {
            return Ok(Received::Ignored);
        }
        let known = name.filter(|_| unknown.is_none()).map(Holder::EventType);
        self.take_from_limits(source, known.as_ref())?;
        let Some(application) = self.catalog.application(source.application) else {
            return Err(NotTaken::Unverified);
        };
        let transformed = self.transform(source, &application, reading, payload).await?;
        let Some(payload) = transformed else {
            return Ok(Received::Dropped);
        };
        let mut span = trace::span("receive", Kind::Producer, None);
        let event = Publish {
            event_type: reading.event_type.clone(),
            payload,
            content_type: None,
            context: None,
            channels: Vec::new(),
            id: reading.delivery_id.clone(),
            idempotency_key: None,
            subject: reading.subject.clone(),
            occurred_at: None,
            schema_version: None,
            trace: span.context(),
        };
        let print = print.text(&reading.event_type);
        let publish =
            |event| self.ingest.publish_sourced(&application, source.id, event, print.clone());
        let published = match (unknown, publish(event.clone()).await) {
            // Neither a repetition nor anything else that is known.
            (Some(name), Err(Rejected::UnknownEventType { .. }))
                if on_unknown == UnknownTypes::Create =>
            {
                self.ingest.check_plain(event.payload.clone()).await.map_err(NotTaken::Rejected)?;
                self.create_type(source, name).await?;
                publish(event).await
            }
            (_, published) => published,
        };
        match &published {
            Ok(published) => {
                let id = published.receipt.id;
                span.set("hookmill.event.id", || id.to_string());
                span.set("hookmill.event.type", || published.event_type.to_string());
                tracing::debug!(event_id = %id, source = %source.id, "accepted");
            }
            Err(rejected) => span.failed(reason_of(rejected).as_str()),
        }
        published.map(Received::Event).map_err(NotTaken::Rejected)
    }

    /// One event from the limits of the source's application and of the event type, as if it
    /// had been published with a key.
    fn take_from_limits(
        &self,
        source: &Source,
        event_type: Option<&Holder>,
    ) -> Result<(), NotTaken> {
        if !self.rates.any() {
            return Ok(());
        }
        let application = Holder::Application(source.application);
        let holders: Vec<Holder> =
            std::iter::once(application).chain(event_type.cloned()).collect();
        let (_, taken) = self.rates.take(What::Events, source.application, &holders, 1);
        taken.map_err(NotTaken::Limited)
    }

    fn note(&self, source: &Source, refusal: &Refusal, verified: bool, reading: &Reading) {
        count(source.settings.kind.as_str(), refusal.reason.as_str());
        let refused = Refused {
            at: self.clock.now(),
            verified,
            reason: refusal.reason,
            detail: refusal.detail.clone(),
            delivery_id: reading.delivery_id.clone(),
            event_type: Some(reading.event_type.clone()).filter(|name| !name.is_empty()),
            count: 1,
        };
        self.refusals.note(source.id, refused);
    }
}

fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("hookmill_source_requests_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
}

fn refusal_of(not_taken: &NotTaken) -> Refusal {
    match not_taken {
        // Its application went away this moment.
        NotTaken::Unverified => Refusal::new(Reason::Storage, "the application is gone"),
        NotTaken::Unusable(refusal) => refusal.clone(),
        NotTaken::Limited(Exceeded { limit, .. }) => {
            let why = format!("the {}'s limit of events is used up", limit.whose);
            Refusal::new(Reason::RateLimited, why)
        }
        NotTaken::Rejected(rejected) => {
            let detail = match rejected {
                Rejected::Violates { violations, .. } => {
                    let first = violations.first();
                    let first = first.map(|v| format!(": {} {}", v.at, v.message));
                    format!("{rejected}{}", first.unwrap_or_default())
                }
                _ => rejected.to_string(),
            };
            Refusal::new(reason_of(rejected), detail)
        }
    }
}

fn reason_of(rejected: &Rejected) -> Reason {
    match rejected {
        Rejected::UnknownEventType { .. }
        | Rejected::Reserved { .. }
        | Rejected::Archived { .. }
        | Rejected::UnknownSchemaVersion { .. } => Reason::UnknownEventType,
        Rejected::ContentType { .. } => Reason::ContentType,
        Rejected::Malformed(_) => Reason::Malformed,
        Rejected::Violates { .. } => Reason::SchemaViolation,
        // Of a source's keys none stands for two events.
        Rejected::Conflict { .. } => Reason::NoDeliveryId,
        Rejected::TooLarge { .. } => Reason::TooLarge,
        Rejected::Full { .. } => Reason::QuotaExceeded,
        Rejected::Overloaded { .. } => Reason::Overloaded,
        // Nobody will ask what was refused.
        Rejected::Store(_) | Rejected::NoApplication => Reason::Storage,
    }
}
