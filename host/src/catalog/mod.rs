//! The belt's own copy of what changes seldom: applications, event types with their
//! compiled schemas, plugins, subscriptions and pipelines.
//!
//! Every change goes through here: to the store first, then to memory, one at a time.
//! Reads never wait for the database. Never delivers, never speaks HTTP.

mod cost;
mod directory;
mod event_types;
mod evolution;
mod plugins;
mod quarantine;
mod rollout;
mod state;
mod steps;
mod subscriptions;

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    model::{
        Application, ApplicationId, Compatibility, EventId, EventType, Lifecycle, Ordering,
        PipelineId, Rollout, SubscriptionId, Timestamp, Violation,
    },
    plugin::Runtime,
    schema::{Finding, SchemaError, Undone, Validator, Workshop},
    store::{SharedStore, StoreError},
};
pub use cost::Cost;
pub use event_types::EventTypeChange;
pub use evolution::LifecycleChange;
pub use plugins::Move;
use state::State;

/// An event type, ready to validate.
#[derive(Debug)]
pub struct EventTypeEntry {
    /// The event type. Its count of violations is as old as the server's start.
    pub event_type: EventType,
    /// Its schemas, compiled; version n at index n - 1.
    pub validators: Vec<Arc<Validator>>,
    /// How each of them ends.
    pub lifecycles: Vec<Lifecycle>,
    /// How long it takes to check an event.
    pub cost: Cost,
}

/// A subscription that an event goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The pipeline its deliveries run through from now on.
    pipeline: Option<PipelineId>,
    /// The pipelines of a canary, each for the events with a place below the number.
    canaries: Arc<[(u16, PipelineId)]>,
    /// Whether its deliveries wait for older ones.
    pub ordering: Ordering,
    /// Whether it is paused.
    pub held: bool,
}

impl Match {
    /// The pipeline an event runs through.
    pub fn pipeline(&self, event: EventId) -> Option<PipelineId> {
        if self.canaries.is_empty() {
            return self.pipeline;
        }
        let place = Rollout::place(event);
        let canary = self.canaries.iter().find(|(below, _)| place < *below);
        canary.map(|(_, pipeline)| *pipeline).or(self.pipeline)
    }

    /// The same, past any pipeline, and past what waits.
    #[must_use]
    pub fn bare(self) -> Self {
        Self { pipeline: None, canaries: Arc::default(), ordering: Ordering::None, ..self }
    }
}

/// What the catalog tells whoever delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The store has something due for a subscription.
    Due(SubscriptionId, Timestamp),
    /// A subscription was deleted.
    Deleted(SubscriptionId),
    /// A subscription was enabled, or its endpoint changed.
    Renewed(SubscriptionId),
    /// A rollout began or ended.
    Rollouts,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It is no longer what the change was meant for.
    #[error("was changed meanwhile")]
    Changed,
    /// The name is taken.
    #[error("already exists")]
    Exists,
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// Others depend on it; who, for people.
    #[error("in use by {0}")]
    InUse(String),
    /// A JSON Schema cannot be used.
    #[error("the schema cannot be used: {0}")]
    Schema(SchemaError),
    /// A schema breaks what the mode promises.
    #[error("the schema is not compatible with the last version")]
    Incompatible(Compatibility, Vec<Finding>),
    /// A pipeline step names a plugin or version that is not there.
    #[error("step {step}: there is no plugin {name}")]
    UnknownPlugin {
        /// Index into the pipeline.
        step: usize,
        /// As the step names it.
        name: String,
        /// What was perhaps meant.
        did_you_mean: Option<String>,
    },
    /// A step's config does not satisfy the plugin's schema.
    #[error("step {step}: the config does not satisfy the schema of {plugin}")]
    BadConfig {
        /// Index into the pipeline.
        step: usize,
        /// `name@version`.
        plugin: String,
        /// Where it does not.
        violations: Vec<Violation>,
    },
    /// Promoting the version would break saved configs of these subscriptions.
    #[error("the config of {} would not satisfy the version's schema", list(.0))]
    BreaksConfigs(Vec<SubscriptionId>),
    /// An end was given to what is not deprecated.
    #[error("is not deprecated, and so has no end")]
    NotDeprecated,
    /// There is no version to go back to.
    #[error("no version was live before")]
    NothingBefore,
    /// The candidate of a rollout is the live version itself.
    #[error("{0} is live")]
    CandidateIsLive(String),
    /// A component could not be loaded.
    #[error("{0}")]
    Unloadable(String),
    /// Too many schemas are waiting to be compiled or compared.
    #[error("{}", Undone::Busy)]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<Undone> for CatalogError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Busy => Self::Busy,
            Undone::Stopping => Self::Store(StoreError::Failed(undone.to_string())),
        }
    }
}

fn list(ids: &[SubscriptionId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Tells apart what a caller can act on.
fn refused(error: StoreError) -> CatalogError {
    match error {
        StoreError::Exists => CatalogError::Exists,
        StoreError::NotFound => CatalogError::NotFound,
        StoreError::InUse(count) => CatalogError::InUse(format!("{count} others")),
        StoreError::Failed(_)
        | StoreError::Unwritable(..)
        | StoreError::NoApplication
        | StoreError::PayloadExpired => CatalogError::Store(error),
    }
}

/// Why a subscription is as it was.
#[derive(Debug)]
pub enum NotChanged<E> {
    /// It could not be changed like that.
    Failed(CatalogError),
    /// The change was refused, for what the subscription is by now.
    Refused(E),
}

impl<E> From<CatalogError> for NotChanged<E> {
    fn from(error: CatalogError) -> Self {
        Self::Failed(error)
    }
}

/// A catalog's answer.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

type Listener = Box<dyn Fn(Change) + Send + Sync>;

/// See the module.
pub struct Catalog {
    store: SharedStore,
    runtime: Arc<Runtime>,
    clock: Clock,
    state: RwLock<State>,
    /// Held through a change, so that store and memory see changes in the same order.
    changing: Mutex<()>,
    listener: OnceLock<Listener>,
    workshop: Workshop,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// Reads everything from the store, makes the application `default` if there is none, and
    /// loads the plugins that subscriptions use.
    pub async fn load(
        store: SharedStore,
        runtime: Arc<Runtime>,
        clock: Clock,
    ) -> Result<Arc<Self>> {
        let catalog = Self {
            store,
            runtime,
            clock,
            state: RwLock::default(),
            changing: Mutex::default(),
            listener: OnceLock::new(),
            workshop: Workshop::new(clock),
        };
        catalog.load_applications().await?;
        catalog.load_event_types().await?;
        catalog.load_plugins().await?;
        catalog.load_rollouts().await?;
        catalog.load_quarantines().await?;
        catalog.load_subscriptions().await?;
        Ok(Arc::new(catalog))
    }

    /// Who is told of changes that concern deliveries. Once; a second listener is ignored.
    pub fn listen(&self, listener: impl Fn(Change) + Send + Sync + 'static) {
        if self.listener.set(Box::new(listener)).is_err() {
            tracing::error!("the catalog has a listener already");
        }
    }

    /// Where work on schemas is done.
    pub fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    fn tell(&self, change: Change) {
        if let Some(listener) = self.listener.get() {
            listener(change);
        }
    }

    /// A panic while the lock was held left the state as it was between two assignments,
    /// each of them whole: it can be read on.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load_applications(&self) -> Result<()> {
        let mut applications = self.store.applications().await.map_err(refused)?;
        if !applications.iter().any(|a| a.name == Application::DEFAULT) {
            let now = self.clock.now();
            let default = Application {
                id: ApplicationId::new(now),
                name: Application::DEFAULT.to_owned(),
                created_at: now,
            };
            self.store.create_application(&default).await.map_err(refused)?;
            applications.push(default);
        }
        self.write().applications = applications.into_iter().map(|a| (a.id, Arc::new(a))).collect();
        Ok(())
    }

    /// An application by id.
    pub fn application(&self, id: ApplicationId) -> Option<Arc<Application>> {
        self.read().applications.get(&id).cloned()
    }

    /// An application by name.
    pub fn application_named(&self, name: &str) -> Option<Arc<Application>> {
        self.read().applications.values().find(|a| a.name == name).cloned()
    }

    /// All applications, newest first.
    pub fn applications(&self) -> Vec<Arc<Application>> {
        self.read().applications.values().rev().cloned().collect()
    }

    /// Adds an application. The caller has checked its name.
    pub async fn create_application(&self, name: &str) -> Result<Arc<Application>> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let application =
            Application { id: ApplicationId::new(now), name: name.to_owned(), created_at: now };
        self.store.create_application(&application).await.map_err(refused)?;
        let application = Arc::new(application);
        self.write().applications.insert(application.id, application.clone());
        Ok(application)
    }

    /// Removes an application that owns nothing, if it is what the caller takes it for; `default`
    /// stays.
    pub async fn delete_application(
        &self,
        id: ApplicationId,
        expected: impl FnOnce(&Application) -> bool + Send,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let application = self.application(id).ok_or(CatalogError::NotFound)?;
        if !expected(&application) {
            return Err(CatalogError::Changed);
        }
        if application.name == Application::DEFAULT {
            return Err(CatalogError::InUse("everyone who names no application".to_owned()));
        }
        self.store.delete_application(id).await.map_err(|error| match error {
            StoreError::InUse(_) => {
                CatalogError::InUse("its subscriptions, sources, plugins or events".to_owned())
            }
            other => refused(other),
        })?;
        self.write().applications.remove(&id);
        Ok(())
    }
}
