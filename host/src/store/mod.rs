//! What the product asks of its database: a few operations in batches for the belt, and
//! plain reads and changes for the rest.
//!
//! The seam for growing past one machine. Claims are leases with an owner and an expiry,
//! time is passed in, and no operation needs another server's memory. Only this module's
//! implementations know SQL; nothing here knows HTTP, plugins or the network.

mod answers;
mod backlog;
mod belt;
mod evolution;
mod handshakes;
mod health;
mod keys;
mod limits;
pub mod noted;
mod plugins;
mod recovery;
mod sources;
pub mod sqlite;
mod upkeep;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

pub use answers::{Answers, Asked, AskedId, Begun};
pub use backlog::{Backlog, Counts};
pub use belt::{
    Appended, Claimed, Claims, DeliveryKey, Gone, Idempotency, Lease, NewDelivery, NewEvent, Next,
    Receipt, Record, Switch, Used,
};
pub use evolution::Evolution;
pub use handshakes::Handshakes;
pub use health::Health;
pub use keys::{Audit, Keys, StoredKey};
pub use limits::LimitDocuments;
pub use plugins::Plugins;
pub use recovery::{Candidate, Recovery, Scope, Take};
pub use sources::SourceStore;
pub use upkeep::{Old, PurgeStep, Purged, Swept, Upkeep};

use crate::model::{
    Application, ApplicationId, Attempt, AttemptOutcome, Delivery, DeliveryId, DeliveryState,
    EventId, EventType, EventTypeName, ListedEvent, Pattern, Pipeline, PipelineId, PipelineRun,
    ReplayId, ResolvedStep, SchemaVersion, StoredEvent, Subscription, SubscriptionId, Timestamp,
};

/// Why the database takes nothing at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritable {
    /// There is no room left on its disk.
    Full,
    /// Its file or file system may not be written.
    ReadOnly,
    /// Writing fails: a bad disk, or a limit on the size of files.
    Failing,
}

impl std::fmt::Display for Unwritable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "the disk is full",
            Self::ReadOnly => "the database file is read-only",
            Self::Failing => "the database file cannot be written",
        })
    }
}

/// What can go wrong in the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The name or id is taken.
    #[error("already exists")]
    Exists,
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The application it is for is gone.
    #[error("its application is gone")]
    NoApplication,
    /// It is in use by this many others.
    #[error("in use by {0}")]
    InUse(u64),
    /// It takes no change until somebody makes room, or mends what is wrong with its file.
    #[error("{0}: {1}")]
    Unwritable(Unwritable, String),
    /// The payload is no longer kept.
    #[error("the event's payload is no longer kept")]
    PayloadExpired,
    /// The database failed: unreadable, locked, damaged.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the same may succeed later.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unwritable(..))
    }
}

/// A store's answer.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether older ones follow.
    pub more: bool,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of such a type.
    pub event_type: Option<Pattern>,
    /// Only those accepted although they violate their schema.
    pub violating: bool,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Of this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of an event of such a type.
    pub event_type: Option<Pattern>,
    /// Whose last attempt ended so.
    pub outcome: Option<AttemptOutcome>,
    /// Taken or made last by this replay.
    pub replay: Option<ReplayId>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
}

/// The belt's operations: ingest → persist, and deliver → record.
#[async_trait]
pub trait Belt: Send + Sync {
    /// Persists a batch of events with their deliveries and idempotency keys in one
    /// durable transaction; answers in the same order. When this returns `Ok`, all of it
    /// survives a crash.
    async fn append(&self, batch: &[NewEvent], lease: Lease) -> Result<Vec<Appended>>;

    /// Leases up to the wanted number of due deliveries of each subscription, oldest
    /// first, and says when each of these subscriptions has something due next.
    async fn claim(
        &self,
        wanted: &[(SubscriptionId, u32)],
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claims>;

    /// Records attempts and what they lead to, in one durable transaction. Outcomes of
    /// pipelines are stored once for each event and pipeline.
    async fn record(&self, batch: &[Record]) -> Result<()>;

    /// Notes durably that a leased delivery goes through another pipeline than the one it
    /// named, before anything is sent.
    async fn switch(&self, switch: &Switch) -> Result<()>;

    /// When each subscription that has pending deliveries has one due, as seen by `owner`.
    async fn due(&self, owner: i64) -> Result<Vec<(SubscriptionId, Timestamp)>>;

    /// Gives back everything `owner` has leased.
    async fn release(&self, owner: i64) -> Result<()>;
}

/// The platform's and its tenants' resources.
#[async_trait]
pub trait Resources: Send + Sync {
    async fn create_application(&self, application: &Application) -> Result<()>;
    async fn applications(&self) -> Result<Vec<Application>>;
    /// Only an application without subscriptions or events can go.
    async fn delete_application(&self, id: ApplicationId) -> Result<()>;

    /// With its first schema, if it has one.
    async fn create_event_type(&self, event_type: &EventType, schema: Option<&Value>)
    -> Result<()>;
    async fn event_types(&self) -> Result<Vec<EventType>>;
    async fn event_type(&self, name: &EventTypeName) -> Result<EventType>;
    /// Writes all that can change of it.
    async fn change_event_type(&self, changed: &EventType) -> Result<()>;
    async fn delete_event_type(&self, name: &EventTypeName) -> Result<()>;
    /// Adds the next version; answers its number.
    async fn add_schema(&self, name: &EventTypeName, schema: &Value, now: Timestamp)
    -> Result<u32>;
    async fn schemas(&self, name: &EventTypeName) -> Result<Vec<SchemaVersion>>;

    async fn create_subscription(&self, subscription: &Subscription) -> Result<()>;
    async fn subscriptions(&self) -> Result<Vec<Subscription>>;
    /// Replaces it whole.
    async fn put_subscription(&self, subscription: &Subscription) -> Result<()>;
    /// Deletes it; what it had pending or held becomes cancelled.
    async fn delete_subscription(&self, id: SubscriptionId, now: Timestamp) -> Result<()>;
    /// Makes what a subscription holds due now; answers how many.
    async fn resume_held(&self, id: SubscriptionId, now: Timestamp) -> Result<u64>;
    /// Holds what a subscription has pending; answers how many.
    async fn hold_pending(&self, id: SubscriptionId, reason: &str) -> Result<u64>;

    /// The number of a pipeline, given anew if it is new.
    async fn intern_pipeline(
        &self,
        steps: &[ResolvedStep],
        contract: Option<&str>,
    ) -> Result<PipelineId>;
    async fn pipeline(&self, id: PipelineId) -> Result<Pipeline>;

    /// The installation's own secret: `fresh` if it has none yet.
    async fn installation_key(&self, fresh: [u8; 32]) -> Result<[u8; 32]>;
}

/// What people and programs ask about what happened.
#[async_trait]
pub trait History: Send + Sync {
    /// Whether a request that is not to be stored is a repetition: who used its keys. Those of
    /// a repetition's that are new are remembered for the event, durably.
    async fn repeated(
        &self,
        application: ApplicationId,
        keys: &[Idempotency],
        now: Timestamp,
    ) -> Result<Option<Used>>;

    async fn event(&self, application: ApplicationId, id: EventId) -> Result<StoredEvent>;
    async fn events(
        &self,
        application: ApplicationId,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page<StoredEvent>>;
    /// The same without payloads: two hundred of them may be hundreds of megabytes.
    async fn list_events(
        &self,
        application: ApplicationId,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page<ListedEvent>>;
    async fn delivery(&self, application: ApplicationId, id: DeliveryId) -> Result<Delivery>;
    async fn deliveries(
        &self,
        application: ApplicationId,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Page<Delivery>>;
    async fn attempts(&self, application: ApplicationId, id: DeliveryId) -> Result<Vec<Attempt>>;
    /// What the pipeline made of the delivery's event; none if it has not run or there is none.
    async fn run(&self, application: ApplicationId, id: DeliveryId) -> Result<Option<PipelineRun>>;
    /// How many deliveries of an event are in each state.
    async fn summary(
        &self,
        application: ApplicationId,
        event: EventId,
    ) -> Result<Vec<(DeliveryState, u64)>>;
    /// Makes a delivery due at `now`, whatever its state; one that is leased stays as it is.
    async fn retry(&self, application: ApplicationId, id: DeliveryId, now: Timestamp)
    -> Result<()>;
}

/// All of it, and what keeps it in order.
#[async_trait]
pub trait Store:
    Belt
    + Resources
    + Plugins
    + History
    + Health
    + Recovery
    + Upkeep
    + Counts
    + Handshakes
    + Evolution
    + SourceStore
    + Keys
    + Audit
    + LimitDocuments
    + Answers
{
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;
    /// Flushes and closes.
    async fn close(&self);
}

/// How the rest of the program holds a store.
pub type SharedStore = Arc<dyn Store>;
