//! Deliveries and attempts: what became of an event for one subscription.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApplicationId, DeliveryId, EventId, EventTypeName, OnError, PipelineId, SubscriptionId,
};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waiting for its next attempt.
    Pending,
    /// Leased by a server that attempts it now or soon.
    Delivering,
    /// The endpoint answered 2xx.
    Succeeded,
    /// Given up: attempts exhausted, or its failure is final.
    Dead,
    /// A plugin dropped it.
    Filtered,
    /// Kept back: its subscription is paused or disabled, or a plugin is quarantined.
    Held,
    /// Its subscription was deleted, or it was run again as another delivery.
    Cancelled,
}

impl DeliveryState {
    /// Every state, in the order of their stored codes.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Delivering,
        Self::Succeeded,
        Self::Dead,
        Self::Filtered,
        Self::Held,
        Self::Cancelled,
    ];

    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivering => "delivering",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Filtered => "filtered",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing remains to be delivered. Of what is dead something does.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Succeeded | Self::Filtered | Self::Cancelled)
    }
}

/// One event for one subscription.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Delivery {
    /// `dlv_…`; sent as `webhook-id` on every attempt.
    pub id: DeliveryId,
    /// The event delivered.
    pub event_id: EventId,
    /// The event's type.
    #[schema(value_type = String)]
    pub event_type: EventTypeName,
    /// Who it is for.
    pub subscription_id: SubscriptionId,
    /// Their owner.
    #[serde(skip)]
    pub application: ApplicationId,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// How the last attempt ended; null if there was none, or none since a replay took it.
    pub last_outcome: Option<AttemptOutcome>,
    /// Why it is where it stands, when there is a reason to give.
    pub reason: Option<String>,
    /// The next attempt, while it is pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// When the event was matched.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it reached a final state.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// The pipeline it runs through.
    #[serde(skip)]
    pub pipeline: Option<PipelineId>,
}

/// One HTTP request, or the plugin failure that stood in its place.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// The first 16 KiB of the response body, as text.
    pub response_body: Option<String>,
    /// How long its parts took.
    #[serde(flatten)]
    pub timings: Timings,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// 2xx.
    Succeeded,
    /// Any other status than those below.
    HttpStatus,
    /// 3xx, which is not followed.
    Redirect,
    /// 410: the subscription was disabled.
    Gone,
    /// The host name did not resolve.
    Dns,
    /// Every resolved address is one that requests may not go to.
    BlockedAddress,
    /// Nothing listens there.
    Refused,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls,
    /// The attempt was not over in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// The response was not HTTP.
    Protocol,
    /// A plugin failed; nothing was sent.
    Plugin,
    /// The response's head was larger than it may be.
    Oversized,
    /// What the endpoint wants to see, such as an access token, could not be had; nothing was
    /// sent.
    Auth,
}

impl AttemptOutcome {
    /// Every outcome, in the order of their stored codes.
    pub const ALL: [Self; 15] = [
        Self::Succeeded,
        Self::HttpStatus,
        Self::Redirect,
        Self::Gone,
        Self::Dns,
        Self::BlockedAddress,
        Self::Refused,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Timeout,
        Self::Reset,
        Self::Protocol,
        Self::Plugin,
        Self::Oversized,
        Self::Auth,
    ];

    /// The outcome's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::HttpStatus => "http_status",
            Self::Redirect => "redirect",
            Self::Gone => "gone",
            Self::Dns => "dns",
            Self::BlockedAddress => "blocked_address",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Plugin => "plugin",
            Self::Oversized => "oversized",
            Self::Auth => "auth",
        }
    }
}

/// How long an attempt's parts took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Timings {
    /// Resolving the host's name. Like the two that follow, null when the connection was
    /// there already, and for what there was none of.
    pub dns_us: Option<u64>,
    /// Connecting.
    pub connect_us: Option<u64>,
    /// The TLS handshake.
    pub tls_us: Option<u64>,
    /// From the start to the response's head.
    pub first_byte_us: Option<u64>,
    /// From start to end.
    pub total_us: u64,
}

impl Timings {
    /// Whole microseconds of `duration`.
    pub fn micros(duration: Duration) -> u64 {
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The body's media type.
    pub content_type: String,
    /// Headers a plugin added.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub body: Bytes,
}

/// What a pipeline came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send this.
    Send(Message),
    /// Do not deliver.
    Drop {
        /// The plugin's words.
        reason: String,
    },
    /// A plugin failed, and its step says what that does to the delivery:
    /// `Retry` or `Dead` (`Pass` and `Drop` are resolved within the pipeline).
    Fail {
        /// What to do.
        on_error: OnError,
        /// What failed, for people: `redact@1.2.0: out_of_fuel: …`.
        reason: String,
    },
}

/// One run of a pipeline over one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineRun {
    /// What it came to.
    pub outcome: Outcome,
    /// What each step did, as far as it got.
    pub steps: Vec<StepReport>,
}

impl PipelineRun {
    /// Whether what is sent can be other than the event's payload.
    pub fn changes_body(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.verdict, StepVerdict::Deliver | StepVerdict::Edit { .. }))
    }

    /// Whether running it again would come to the same. Not so when the wall clock ended
    /// a step or a component could not be loaded: such a run is never remembered.
    pub fn is_repeatable(&self) -> bool {
        !self.steps.iter().any(|step| {
            matches!(
                step.verdict,
                StepVerdict::Fault { kind: FailureKind::Timeout | FailureKind::Unavailable, .. }
            )
        })
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepReport {
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What it decided.
    #[serde(flatten)]
    pub verdict: StepVerdict,
    /// Fuel used: WebAssembly instructions, about.
    pub fuel: u64,
    /// Wall-clock time of the run, in microseconds.
    pub duration_us: u64,
    /// Linear memory at the end of the run, in bytes.
    pub memory_bytes: u64,
    /// Whether the result was another subscription's run of the same plugin version and
    /// config on the same event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Whether nothing ran: earlier runs that read the same values came to this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
    /// Whether it read the whole payload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_all: bool,
    /// The pointers it read, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// What it noted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<Log>,
}

/// One note of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Log {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Its words.
    pub message: String,
}

/// What a step decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum StepVerdict {
    /// The filter let it through.
    Pass,
    /// It dropped the event.
    Drop {
        /// Its words.
        reason: String,
    },
    /// The transform replaced the message.
    Deliver,
    /// The transform changed the payload.
    Edit {
        /// How many changes it made.
        edits: u32,
    },
    /// It failed.
    Fault {
        /// The failure's name.
        kind: FailureKind,
        /// What happened, for the plugin's author.
        message: String,
        /// The plugin's functions where it was stopped, innermost first, if it was stopped.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        backtrace: Vec<String>,
    },
}

/// The named failures of a plugin run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The plugin says the event is not what it understands.
    InvalidEvent,
    /// The plugin says its config is wrong.
    InvalidConfig,
    /// The plugin says it failed.
    Failed,
    /// It trapped: a panic, an unreachable instruction, an access out of bounds.
    Trap,
    /// It used up its fuel.
    OutOfFuel,
    /// It ran longer than the wall clock allows.
    Timeout,
    /// It asked for more memory or table elements than it may have.
    OutOfMemory,
    /// It recursed too deeply.
    StackOverflow,
    /// Its answer is larger than it may be.
    OutputTooLarge,
    /// Its answer cannot be used: an edit that does not apply, a header that may not be
    /// set, a body that the next step cannot read.
    BadOutput,
    /// What would be sent does not satisfy the subscription's output schema.
    ContractViolation,
    /// The component could not be loaded.
    Unavailable,
}

impl FailureKind {
    /// Every failure.
    pub const ALL: [Self; 12] = [
        Self::InvalidEvent,
        Self::InvalidConfig,
        Self::Failed,
        Self::Trap,
        Self::OutOfFuel,
        Self::Timeout,
        Self::OutOfMemory,
        Self::StackOverflow,
        Self::OutputTooLarge,
        Self::BadOutput,
        Self::ContractViolation,
        Self::Unavailable,
    ];

    /// Whether it speaks against the plugin: not so where the event or the step's config is
    /// wrong, or the machine at fault.
    pub const fn is_the_plugins(self) -> bool {
        !matches!(self, Self::InvalidEvent | Self::InvalidConfig | Self::Unavailable)
    }

    /// The failure's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidEvent => "invalid-event",
            Self::InvalidConfig => "invalid-config",
            Self::Failed => "failed",
            Self::Trap => "trap",
            Self::OutOfFuel => "out-of-fuel",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out-of-memory",
            Self::StackOverflow => "stack-overflow",
            Self::OutputTooLarge => "output-too-large",
            Self::BadOutput => "bad-output",
            Self::ContractViolation => "contract-violation",
            Self::Unavailable => "unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_agree_with_their_json() {
        for state in DeliveryState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for outcome in AttemptOutcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for kind in FailureKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn every_failure_is_explained() {
        let documented = include_str!("../../../docs/plugin-errors.md");
        for kind in FailureKind::ALL {
            let heading = format!("\n### `{}`\n\n> ", kind.as_str());
            assert!(documented.contains(&heading), "docs/plugin-errors.md lacks {heading}");
        }
    }
}
