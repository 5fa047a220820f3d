//! A subscription: where events go, which, through what pipeline, by which policy.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::{
    Application, ApplicationId, Credentials, FilterText, Pattern, Policy, Secret, Step,
    SubscriptionId,
};

/// An endpoint that listens to some event types.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// `sub_…`
    pub id: SubscriptionId,
    /// Its owner.
    pub application: ApplicationId,
    /// What tells it from the application's others, if it was given one.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Where its deliveries go.
    pub endpoint: Url,
    /// Which event types it listens to.
    pub event_types: Vec<Pattern>,
    /// Of which channels it takes events; none for all.
    pub channels: Vec<String>,
    /// Which of them it takes.
    pub filter: Option<FilterText>,
    /// The plugins its deliveries run through, in order.
    pub pipeline: Vec<Step>,
    /// The JSON Schema that what it sends must satisfy.
    pub output_schema: Option<serde_json::Value>,
    /// Headers added to every request.
    pub headers: BTreeMap<String, String>,
    /// How its deliveries are made.
    pub policy: Policy,
    /// Whether it takes events.
    pub state: SubscriptionState,
    /// What its requests are signed with: of each scheme the current secret first, then those
    /// in grace.
    pub secrets: Vec<Secret>,
    /// What else of it is secret.
    pub credentials: Credentials,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Subscription {
    /// Whether `name` may name a subscription. One that reads as an id would mislead.
    pub fn is_valid_name(name: &str) -> bool {
        Application::is_valid_name(name) && !name.starts_with("sub_")
    }
}

/// Whether a subscription takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionState {
    /// Events are delivered.
    #[default]
    Active,
    /// Events are matched and kept as `held` deliveries until it is resumed.
    Paused,
    /// Events are not matched: the endpoint asked for it (410 Gone), or the operator did.
    Disabled,
}

/// Why a subscription was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The endpoint answered 410 Gone.
    Gone,
    /// The endpoint asked for it in a response's header, `webhook-delivery: disable`.
    Asked,
    /// By request.
    Operator,
    /// For days, nothing but failures.
    Failing,
}

/// How long a subscription's endpoint has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailingSince {
    /// The first failure after the last success.
    pub since: Timestamp,
    /// Failed attempts from then on.
    pub attempts: u32,
}
