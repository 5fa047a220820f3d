//! The words of the product as plain types: what an event, a subscription, a delivery *is*.
//!
//! Owns names, ids, states and their textual forms. Never does I/O, never reads a clock,
//! and knows nothing of HTTP, SQL or WebAssembly.

mod application;
mod delivery;
mod event;
mod event_type;
mod id;
mod kept;
mod pattern;
mod plugin;
mod rollout;
mod secret;
mod subscription;

pub use application::Application;
pub use delivery::{
    Attempt, AttemptOutcome, Delivery, DeliveryState, FailureKind, Log, Message, Outcome,
    PipelineRun, StepReport, StepVerdict, Timings,
};
pub use event::{Event, StoredEvent, Violation};
pub use event_type::{EventType, EventTypeName, SchemaMode, SchemaVersion};
pub use id::{ApplicationId, BacktestId, DeliveryId, EventId, IdError, KeyId, SubscriptionId};
pub use jiff::Timestamp;
pub use kept::Kept;
pub use pattern::{Pattern, PatternError};
pub use plugin::{
    Manifest, OnError, Pipeline, PipelineId, PluginKind, PluginRef, PluginVersion, ResolvedStep,
    Sha256, Step,
};
pub use rollout::{
    ChangeAction, PluginChange, PluginFailure, Quarantine, Rollout, RolloutLimits, RolloutMode,
};
pub use secret::{Secret, SecretError};
pub use subscription::{DisabledReason, RetryPolicy, Subscription, SubscriptionState};
