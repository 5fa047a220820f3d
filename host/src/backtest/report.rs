//! A backtest as it is shown: plain data, every part of it bounded.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{BacktestId, EventId, FailureKind, SubscriptionId, Timestamp};

/// Where a backtest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestState)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Running,
    /// It has seen all there was to see.
    Done,
    /// It was ended by request, or by the server's stop.
    Cancelled,
    /// The server could not read the events; `error` says why.
    Failed,
}

/// How far a backtest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestProgress)]
pub struct Progress {
    /// Events compared.
    pub done: u64,
    /// Events to compare. Until the end at most this many: there may be fewer that match.
    pub total: u64,
    /// Events looked at, also those that no subscription in question listens to.
    pub scanned: u64,
}

/// How many comparisons came to what. A comparison is one event for one subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestCounts)]
pub struct Counts {
    /// All of them.
    pub compared: u64,
    /// The same bytes, content type and headers; or dropped by both; or failed in both in the
    /// same way.
    pub same: u64,
    /// Both send, but not the same; or both fail, but not in the same way.
    pub changed: u64,
    /// Sent before, dropped by the candidate.
    pub newly_dropped: u64,
    /// Dropped before, sent by the candidate.
    pub newly_passed: u64,
    /// A step fails with the candidate that did not before, whatever its `on_error` makes of it.
    pub failed: u64,
    /// A step failed before and does not with the candidate.
    pub fixed: u64,
    /// Ended by the wall clock twice, so that nothing can be said.
    pub undecided: u64,
    /// Beside the above: the candidate used more than 1.25 times the fuel, and at least 10,000
    /// more.
    pub slower: u64,
}

/// What the candidate's fuel is to that of what it is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = BacktestFuel)]
pub struct Fuel {
    /// Fuel of the steps on trial, in the version they are compared with.
    pub baseline: u64,
    /// Fuel of the same steps in the candidate.
    pub candidate: u64,
    /// Median of candidate ÷ baseline, to two digits after the point; none if there is nothing
    /// to compare.
    pub median_ratio: Option<f64>,
    /// The largest candidate ÷ baseline.
    pub max_ratio: Option<f64>,
}

/// One subscription's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestSubscription)]
pub struct SubscriptionCounts {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// What its comparisons came to.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What a comparison came to, if not to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BacktestDifferenceKind)]
pub enum DifferenceKind {
    /// See the counts' `changed`.
    Changed,
    /// See `newly_dropped`.
    NewlyDropped,
    /// See `newly_passed`.
    NewlyPassed,
    /// See `failed`.
    Failed,
    /// See `fixed`.
    Fixed,
    /// See `undecided`.
    Undecided,
    /// The same, but for more fuel.
    Slower,
}

impl DifferenceKind {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::NewlyDropped => "newly_dropped",
            Self::NewlyPassed => "newly_passed",
            Self::Failed => "failed",
            Self::Fixed => "fixed",
            Self::Undecided => "undecided",
            Self::Slower => "slower",
        }
    }
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BacktestEnded)]
pub enum Ended {
    /// It is sent.
    Send,
    /// It is dropped.
    Drop,
    /// A step failed, and its `on_error` is `retry` or `dead`.
    Fail,
}

/// The first step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestFault)]
pub struct Fault {
    /// `name@version`.
    pub plugin: String,
    /// The failure's name.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
}

/// What one of the two made of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestSide)]
pub struct Side {
    /// What becomes of the delivery.
    pub outcome: Ended,
    /// Why it is dropped or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The step that failed, also if its `on_error` lets the delivery go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Bytes of what is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Fuel of the steps on trial.
    pub fuel: u64,
}

/// A value before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestChange)]
pub struct Change {
    /// In the version that is compared with; none if it is not there.
    pub before: Option<String>,
    /// In the candidate; none if it is not there.
    pub after: Option<String>,
}

/// A header that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestHeaderChange)]
pub struct HeaderChange {
    /// The header.
    pub name: String,
    /// Its values.
    #[serde(flatten)]
    pub change: Change,
}

/// A place in a JSON body that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestPointerChange)]
pub struct PointerChange {
    /// JSON pointer into the body.
    pub at: String,
    /// JSON texts, cut to 200 bytes.
    #[serde(flatten)]
    pub change: Change,
}

/// One event of which the candidate makes something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestDifference)]
pub struct Difference {
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: String,
    /// A subscription it goes to.
    pub subscription_id: SubscriptionId,
    /// How many subscriptions it is so for: those with the same pipeline share a run.
    pub subscriptions: u64,
    /// What it is.
    pub kind: DifferenceKind,
    /// Whether the candidate is slower as well.
    pub slower: bool,
    /// What there was before.
    pub baseline: Side,
    /// What the candidate makes of it.
    pub candidate: Side,
    /// The content type, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Change>,
    /// Headers that differ, at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderChange>,
    /// Whether the bytes of the body differ.
    pub body_differs: bool,
    /// Where the bodies differ if both are JSON, at most 20 places. None, although the bytes
    /// differ, if it is the same JSON in another spelling.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<PointerChange>,
    /// Whether there are more differences than are listed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A backtest without its particulars.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = BacktestSummary)]
pub struct Summary {
    /// `bkt_…`
    pub id: BacktestId,
    /// The plugin.
    pub plugin: String,
    /// The version on trial.
    pub version: String,
    /// The version it is compared with; null for what each subscription runs.
    pub against: Option<String>,
    /// The one subscription it is about; null for all that use the plugin.
    pub subscription_id: Option<SubscriptionId>,
    /// How many events were asked for.
    pub last: u32,
    /// Where it stands.
    pub state: State,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Progress,
    /// How many subscriptions it is about.
    pub subscription_count: usize,
    /// What the comparisons came to so far.
    pub counts: Counts,
    /// What they cost.
    pub fuel: Fuel,
}

/// A backtest.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Backtest)]
pub struct Report {
    /// All but the particulars.
    #[serde(flatten)]
    pub summary: Summary,
    /// The part of each subscription, of the first 100.
    pub subscriptions: Vec<SubscriptionCounts>,
    /// The first 100 differences, newest events first, and the first 10 of each kind though
    /// they come later.
    pub differences: Vec<Difference>,
}
