//! The belt's own copy of what changes seldom: applications, event types with their
//! compiled schemas, plugins, subscriptions and pipelines.
//!
//! Every change goes through here: to the store first, then to memory, one at a time.
//! Reads never wait for the database. Never delivers, never speaks HTTP.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    clock::Clock,
    model::{
        Application, ApplicationId, EventType, EventTypeName, PipelineId, PluginRef, PluginVersion,
        SchemaMode, SchemaVersion, Subscription, SubscriptionId, Violation,
    },
    plugin::Runtime,
    schema::{SchemaError, Validator},
    store::{SharedStore, StoreError},
};

/// An event type, ready to validate.
#[derive(Debug)]
pub struct EventTypeEntry {
    /// The event type.
    pub event_type: EventType,
    /// Its schemas, compiled; version n at index n - 1.
    pub validators: Vec<Arc<Validator>>,
}

/// A subscription that an event goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The pipeline its deliveries run through from now on.
    pub pipeline: Option<PipelineId>,
    /// Whether it is paused.
    pub held: bool,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
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
    #[error("the config of {} would not satisfy the version's schema", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    BreaksConfigs(Vec<SubscriptionId>),
    /// A component could not be loaded.
    #[error("{0}")]
    Unloadable(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

/// See the module.
#[derive(Debug)]
pub struct Catalog {}

/// A catalog's answer.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

#[expect(unused_variables, clippy::needless_pass_by_value, reason = "signatures first")]
impl Catalog {
    /// Reads everything from the store and loads the plugins that are live or pinned.
    pub async fn load(
        store: SharedStore,
        runtime: Arc<Runtime>,
        clock: Clock,
    ) -> Result<Arc<Self>> {
        todo!()
    }

    pub fn application(&self, id: ApplicationId) -> Option<Arc<Application>> {
        todo!()
    }
    pub fn application_named(&self, name: &str) -> Option<Arc<Application>> {
        todo!()
    }
    pub fn applications(&self) -> Vec<Arc<Application>> {
        todo!()
    }
    pub async fn create_application(&self, name: &str) -> Result<Arc<Application>> {
        todo!()
    }
    pub async fn delete_application(&self, id: ApplicationId) -> Result<()> {
        todo!()
    }

    pub fn event_type(&self, name: &EventTypeName) -> Option<Arc<EventTypeEntry>> {
        todo!()
    }
    /// The known event type that `name` most likely was meant to be.
    pub fn closest_event_type(&self, name: &str) -> Option<EventTypeName> {
        todo!()
    }
    /// By name; `violations` counts as stored.
    pub async fn event_types(&self) -> Result<Vec<EventType>> {
        todo!()
    }
    pub async fn create_event_type(
        &self,
        name: EventTypeName,
        description: Option<String>,
        mode: SchemaMode,
        schema: Option<Value>,
    ) -> Result<EventType> {
        todo!()
    }
    pub async fn change_event_type(
        &self,
        name: &EventTypeName,
        description: Option<String>,
        mode: SchemaMode,
    ) -> Result<EventType> {
        todo!()
    }
    pub async fn delete_event_type(&self, name: &EventTypeName) -> Result<()> {
        todo!()
    }
    pub async fn add_schema(&self, name: &EventTypeName, schema: Value) -> Result<SchemaVersion> {
        todo!()
    }
    pub async fn schemas(&self, name: &EventTypeName) -> Result<Vec<SchemaVersion>> {
        todo!()
    }

    /// Every version of every plugin the application sees, its own before shared ones of the same name.
    pub fn plugins(&self, application: ApplicationId) -> Vec<Arc<PluginVersion>> {
        todo!()
    }
    /// The version a reference means to an application: pinned, or live.
    pub fn plugin(
        &self,
        application: ApplicationId,
        plugin: &PluginRef,
    ) -> Option<Arc<PluginVersion>> {
        todo!()
    }
    /// Adds a version; `live` in it says whether `live` moves to it (it always does for a first
    /// version). The same bytes again change nothing; other bytes under the same version: `Exists`.
    pub async fn add_plugin(
        &self,
        version: PluginVersion,
        component: Bytes,
    ) -> Result<Arc<PluginVersion>> {
        todo!()
    }
    pub async fn set_live(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: &str,
    ) -> Result<Arc<PluginVersion>> {
        todo!()
    }
    /// One version, or all with none; refused while a subscription uses it.
    pub async fn delete_plugin(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: Option<&str>,
    ) -> Result<()> {
        todo!()
    }

    /// The subscriptions an event of this type goes to.
    pub fn matching(&self, application: ApplicationId, event_type: &EventTypeName) -> Vec<Match> {
        todo!()
    }
    pub fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        todo!()
    }
    /// An application's, newest first.
    pub fn subscriptions(&self, application: ApplicationId) -> Vec<Arc<Subscription>> {
        todo!()
    }
    pub async fn create_subscription(
        &self,
        subscription: Subscription,
    ) -> Result<Arc<Subscription>> {
        todo!()
    }
    /// Applies `change` to the subscription as it is now, checks the pipeline and saves it.
    /// `updated_at` is set here; a changed state holds or resumes deliveries.
    pub async fn change_subscription(
        &self,
        id: SubscriptionId,
        change: Box<dyn FnOnce(&mut Subscription) + Send>,
    ) -> Result<Arc<Subscription>> {
        todo!()
    }
    pub async fn delete_subscription(&self, id: SubscriptionId) -> Result<()> {
        todo!()
    }
}
