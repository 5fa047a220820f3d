//! The words of the product as plain types: what an event, a subscription, a delivery *is*.
//!
//! Owns names, ids, states and their textual forms. Never does I/O, never reads a clock,
//! and knows nothing of HTTP, SQL or WebAssembly.

mod application;
mod audit;
mod channel;
mod cloud_context;
mod credentials;
mod delivery;
mod event;
mod event_type;
mod evolution;
mod handshake;
mod id;
mod kept;
mod key;
mod limits;
pub mod media;
mod notice;
mod pace;
mod pattern;
mod payload;
mod placeholder;
mod plugin;
mod policy;
mod replay;
mod rollout;
mod secret;
pub mod signing;
mod source;
mod subscription;
pub mod time;
mod trace;

pub use application::Application;
pub use audit::{AuditEntry, AuditFilter, ChangeOutcome};
pub use channel::{FilterText, MAX_EVENT_CHANNELS, MAX_SUBSCRIPTION_CHANNELS, check_channels};
pub use cloud_context::{Attribute, CloudContext};
pub use credentials::{
    Basic, Bearer, ClientAuth, Credentials, EndpointAuth, Mtls, Oauth2, SecretText,
};
pub use delivery::{
    Attempt, AttemptOutcome, Delivery, DeliveryState, FailureKind, Log, Message, Outcome,
    PipelineRun, StepReport, StepVerdict, Timings,
};
pub use event::{Event, ListedEvent, StoredEvent, Violation};
pub use event_type::{EventType, EventTypeName, SchemaMode, SchemaVersion};
pub use evolution::{Compatibility, Lifecycle};
pub use handshake::{Handshake, HandshakeRecord};
pub use id::{
    ApplicationId, AuditId, BacktestId, DeliveryId, EventId, IdError, KeyId, ReplayId, SourceId,
    SourceSecretId, SubscriptionId,
};
pub use jiff::Timestamp;
pub use kept::Kept;
pub use key::{ApiKey, KeyScope, Scopes, UnknownScope};
pub use limits::{Holder, Limits, Usage};
pub use notice::Notice;
pub use pace::{OrderKey, Ordering, RateLimit};
pub use pattern::{Pattern, PatternError};
pub use payload::{CloudEvents, PayloadForm};
pub use placeholder::{Unclosed, filled, is_secret_name, secret_names};
pub use plugin::{
    Manifest, OnError, Pipeline, PipelineId, PluginKind, PluginRef, PluginVersion, ResolvedStep,
    Sha256, Step,
};
pub use policy::{Policy, RequestMethod, RetryPolicy};
pub use replay::{Replay, ReplayFilter, ReplayMode, ReplayProgress, ReplayState};
pub use rollout::{
    ChangeAction, PluginChange, PluginFailure, Quarantine, Rollout, RolloutLimits, RolloutMode,
};
pub use secret::{PublicKey, PublicKeyError, Secret, SecretError, SecretKind};
pub use signing::Scheme;
pub use source::{
    HmacRule, IdRule, Repetitions, Source, SourceKind, SourceSecret, SourceSettings, TypeRule,
    UnknownTypes,
};
pub use subscription::{DisabledReason, FailingSince, Subscription, SubscriptionState};
pub use trace::TraceContext;
