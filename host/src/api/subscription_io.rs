//! A subscription as it is given, changed and shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;

use super::{extract::nullable, subscription_credentials::SecretChanges};
use crate::model::{
    EndpointAuth, FilterText, OnError, Pattern, Policy, Secret, SecretText, Step, Subscription,
    SubscriptionId, SubscriptionState, Timestamp,
};

/// A subscription to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "endpoint": "https://shop.example/hooks",
    "event_types": ["order.*"],
    "pipeline": [{"plugin": "big-orders", "config": {"at_least": 100}}]
}))]
pub struct SubscriptionIn {
    /// Where its deliveries go.
    #[schema(format = "uri")]
    pub endpoint: String,
    /// Which event types it listens to: names, `*` for one segment, `**` at the end for the
    /// rest.
    #[schema(min_items = 1, max_items = 100)]
    pub event_types: Vec<String>,
    /// Of which channels it takes events; none for all.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub channels: Vec<String>,
    /// Which of them it takes, by what they say: `{"exact": …}` and so on.
    #[schema(value_type = Option<Object>, example = json!({"exact": {"/currency": "EUR"}}))]
    pub filter: Option<FilterText>,
    /// The plugins its deliveries run through, in order.
    #[serde(default)]
    #[schema(max_items = 16)]
    pub pipeline: Vec<StepIn>,
    /// A JSON Schema that what is sent must satisfy; what does not is never sent.
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// Headers added to every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Tells it from the application's others: lower-case letters, digits, `-`, `_`, `.`; at
    /// most 64.
    #[schema(pattern = "^[a-z0-9._-]{1,64}$", example = "warehouse")]
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// How its deliveries are made, where not by the server's defaults.
    #[serde(default)]
    pub policy: Policy,
    /// A signing secret to take over, `whsec_…`; a new one is made if none is given.
    #[schema(value_type = Option<String>, write_only)]
    pub secret: Option<SecretText>,
    /// What `{{secret:NAME}}` in `headers` stands for, by name. Never shown again.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>, write_only)]
    pub header_secrets: BTreeMap<String, SecretText>,
    /// Who its requests say they come from. Its secrets are never shown again.
    pub auth: Option<EndpointAuth>,
}

/// Changes to a subscription; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"event_types": ["order.**"], "policy": {"retry": {"schedule": [0, 5, 300]}}}))]
pub struct SubscriptionPatch {
    /// Where its deliveries go.
    #[schema(format = "uri")]
    pub endpoint: Option<String>,
    /// Which event types it listens to; replaces the list.
    #[schema(min_items = 1, max_items = 100)]
    pub event_types: Option<Vec<String>>,
    /// Of which channels it takes events; replaces the list, which may be empty for all.
    #[schema(max_items = 100)]
    pub channels: Option<Vec<String>>,
    /// Which of them it takes; null for all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Option<FilterText>>,
    /// The plugins its deliveries run through; replaces the list.
    #[schema(max_items = 16)]
    pub pipeline: Option<Vec<StepIn>>,
    /// A JSON Schema that what is sent must satisfy; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Option<Value>>,
    /// Headers added to every request; replaces them all.
    pub headers: Option<BTreeMap<String, String>>,
    /// Tells it from the application's others; null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9._-]{1,64}$")]
    pub name: Option<Option<String>>,
    /// For people; null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    /// How its deliveries are made; replaces the whole policy.
    pub policy: Option<Policy>,
    /// Secrets for headers to add or replace; null removes one. Those not named stay.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, write_only)]
    pub header_secrets: Option<SecretChanges>,
    /// Who its requests say they come from; null for nobody.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<EndpointAuth>)]
    pub auth: Option<Option<EndpointAuth>>,
}

/// A plugin in a pipeline.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepIn {
    /// `name` (follows live) or `name@version` (pinned).
    #[schema(example = "redact@1.2.0")]
    pub plugin: String,
    /// The plugin's configuration; satisfies the schema in its manifest.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub config: Option<Value>,
    /// What its failure does to the delivery.
    #[serde(default)]
    pub on_error: OnError,
}

/// A subscription. Its secret is shown once, by what made it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionOut {
    /// The subscription's id.
    pub id: SubscriptionId,
    /// What tells it from the application's others, if it was given one.
    pub name: Option<String>,
    /// Where its deliveries go.
    #[schema(value_type = String, format = "uri", example = "https://shop.example/hooks")]
    pub endpoint: Url,
    /// Which event types it listens to.
    #[schema(value_type = Vec<String>, example = json!(["order.*"]))]
    pub event_types: Vec<Pattern>,
    /// Of which channels it takes events; none for all.
    pub channels: Vec<String>,
    /// Which of them it takes.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<FilterText>,
    /// The plugins its deliveries run through, in order.
    pub pipeline: Vec<Step>,
    /// The JSON Schema that what is sent must satisfy.
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// Headers added to every request; a secret in one is shown as `{{secret:NAME}}`.
    pub headers: BTreeMap<String, String>,
    /// The names of the secrets for headers.
    pub header_secrets: Vec<String>,
    /// Who its requests say they come from, without its secrets.
    pub auth: Option<EndpointAuth>,
    /// For people.
    pub description: Option<String>,
    /// How its deliveries are made, where not by the server's defaults.
    pub policy: Policy,
    /// Whether it takes events.
    pub state: SubscriptionState,
    /// What verifies its Ed25519 signatures: the current key first, then those in grace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<PublicKeyOut>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A public key.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicKeyOut {
    /// `whpk_` and the base64 of an Ed25519 key.
    #[schema(example = "whpk_6ptj5lKGX9VRKBDAcrhYjIADdjYz13Tm/BpxRAYZ2OM=")]
    pub key: String,
    /// When its private half stops signing; not there for the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

impl PublicKeyOut {
    fn of(secret: &Secret) -> Option<Self> {
        let key = secret.public_key()?.to_string();
        Some(Self { key, expires_at: secret.expires_at })
    }
}

impl From<&Subscription> for SubscriptionOut {
    fn from(subscription: &Subscription) -> Self {
        Self {
            id: subscription.id,
            name: subscription.name.clone(),
            endpoint: subscription.endpoint.clone(),
            event_types: subscription.event_types.clone(),
            channels: subscription.channels.clone(),
            filter: subscription.filter.clone(),
            pipeline: subscription.pipeline.clone(),
            output_schema: subscription.output_schema.clone(),
            headers: subscription.headers.clone(),
            header_secrets: subscription.credentials.header_secrets.keys().cloned().collect(),
            auth: subscription.credentials.auth.clone(),
            description: subscription.description.clone(),
            policy: subscription.policy.clone(),
            state: subscription.state,
            public_keys: subscription.secrets.iter().filter_map(PublicKeyOut::of).collect(),
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
        }
    }
}

/// A subscription just created.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionCreated {
    #[serde(flatten)]
    pub subscription: SubscriptionOut,
    /// What its requests are signed with. Shown once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
}

impl SubscriptionIn {
    /// The same, as a change of everything, and the secret.
    pub fn into_patch(self) -> (SubscriptionPatch, Option<SecretText>) {
        let secrets = self.header_secrets.into_iter();
        let patch = SubscriptionPatch {
            endpoint: Some(self.endpoint),
            event_types: Some(self.event_types),
            channels: Some(self.channels),
            filter: Some(self.filter),
            pipeline: Some(self.pipeline),
            output_schema: Some(self.output_schema),
            headers: Some(self.headers),
            name: Some(self.name),
            description: Some(self.description),
            policy: Some(self.policy),
            header_secrets: Some(secrets.map(|(name, text)| (name, Some(text))).collect()),
            auth: Some(self.auth),
        };
        (patch, self.secret)
    }
}
