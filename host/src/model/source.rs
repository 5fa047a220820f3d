//! A source: an application's inbound endpoint for a third party that signs what it sends.
//!
//! Owns its settings, their defaults by kind, and the types of its secrets. Never verifies.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApplicationId, SecretText, SourceId, SourceSecretId, Step,
    signing::{Algorithm, Encoding, KeyForm, Template},
};

/// Whose form of signature a source verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// Stripe: `Stripe-Signature`.
    Stripe,
    /// Shopify: `X-Shopify-Hmac-Sha256`.
    Shopify,
    /// Slack: `X-Slack-Signature`, over time and body.
    Slack,
    /// Standard Webhooks, also with Svix's header names; HMAC or Ed25519.
    StandardWebhooks,
    /// HMAC as `hmac` says.
    Hmac,
    /// A user name and a password.
    Basic,
}

impl SourceKind {
    /// As in JSON, and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Stripe => "stripe",
            Self::Shopify => "shopify",
            Self::Slack => "slack",
            Self::StandardWebhooks => "standard_webhooks",
            Self::Hmac => "hmac",
            Self::Basic => "basic",
        }
    }

    /// Whether the third party takes a secret of ours, so that one may be made here.
    pub const fn takes_our_secret(self) -> bool {
        matches!(self, Self::Github | Self::Hmac | Self::Basic)
    }

    /// Where the event type is, where the kind says it.
    pub fn event_type(self) -> Option<TypeRule> {
        let from = |header: Option<&str>, pointers: &[&str], prefix: Option<&str>| TypeRule {
            header: header.map(Into::into),
            pointers: pointers.iter().map(|&pointer| pointer.into()).collect(),
            prefix: prefix.map(Into::into),
            ..TypeRule::default()
        };
        match self {
            Self::Github => Some(from(Some("x-github-event"), &[], Some("github"))),
            Self::Stripe => Some(from(None, &["/type"], Some("stripe"))),
            Self::Shopify => Some(from(Some("x-shopify-topic"), &[], Some("shopify"))),
            Self::Slack => Some(from(None, &["/event/type", "/type"], Some("slack"))),
            Self::StandardWebhooks => Some(from(None, &["/type"], None)),
            Self::Hmac | Self::Basic => None,
        }
    }
}

/// How an HMAC is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacRule {
    /// The header with the signature.
    #[schema(example = "x-signature")]
    pub header: String,
    /// The hash below the HMAC.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What stands before the signature, for example `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// What is signed: text with `{body}`, `{timestamp}` and `{id}` in it.
    #[serde(default = "body")]
    pub content: String,
    /// The header with the seconds since 1970 that `{timestamp}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// The header with the id that `{id}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// How the secret's text becomes the key.
    #[serde(default)]
    pub key: KeyForm,
}

fn body() -> String {
    "{body}".into()
}

impl HmacRule {
    /// The signing scheme that makes such signatures.
    pub fn template(&self) -> Template {
        Template {
            name: None,
            header: self.header.clone(),
            algorithm: self.algorithm,
            encoding: self.encoding,
            prefix: self.prefix.clone(),
            content: self.content.clone(),
            timestamp_header: self.timestamp_header.clone(),
            id_header: self.id_header.clone(),
            key: self.key,
            secret: None,
        }
    }
}

/// Where a request's event type comes from: exactly one of `fixed`, `header` and `pointers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"header": "x-github-event", "prefix": "github", "suffix": "/action"}))]
pub struct TypeRule {
    /// Always this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// From this header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// From the first of these JSON pointers into the payload that is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 4)]
    pub pointers: Vec<String>,
    /// What is put before it, with a dot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A JSON pointer to what is put after it, with a dot, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

/// Where a request's id comes from: a header, or the first of JSON pointers that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"header": "x-delivery-id"}))]
pub struct IdRule {
    /// From this header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// From the first of these JSON pointers into the payload that is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 4)]
    pub pointers: Vec<String>,
}

/// What becomes of a request whose event type was never created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownTypes {
    /// It is refused.
    #[default]
    Refuse,
    /// The event type is created, without a schema.
    Create,
    /// It is answered with 200, counted, and not kept.
    Ignore,
}

/// By what a request is known to be one that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repetitions {
    /// By its id alone.
    Id,
    /// By its id, or by what was signed: the same body is the same event, whatever its id.
    Content,
    /// By its id, or by what was signed and its event type.
    ContentAndType,
}

/// What of a source is no secret: as it is stored, and as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceSettings {
    /// Whose signatures it verifies.
    pub kind: SourceKind,
    /// How an HMAC is made: of the kind `hmac`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacRule>,
    /// Whose password the secret is: of the kind `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// How far a signed time may be from now, in seconds.
    pub tolerance_seconds: u32,
    /// Where the event type comes from.
    pub event_type: TypeRule,
    /// Where the id is that repetitions share; null for what is usual for the kind.
    pub delivery_id: Option<IdRule>,
    /// By what a request is known to be one that came before; null for what is usual for the kind.
    #[serde(default)]
    pub repetitions: Option<Repetitions>,
    /// A JSON pointer to what the event is about.
    pub subject: Option<String>,
    /// What becomes of requests of an event type that was never created.
    pub unknown_event_types: UnknownTypes,
    /// The plugins that a request runs through before it is an event.
    pub pipeline: Vec<Step>,
    /// How many event types it has created.
    #[serde(default)]
    pub created_event_types: u32,
}

impl SourceSettings {
    /// How far a signed time may be from now, if not said otherwise.
    pub const TOLERANCE: u32 = 300;

    /// By what a request is known to be one that came before.
    pub fn repetitions(&self) -> Repetitions {
        self.repetitions.unwrap_or(match self.kind {
            // Each body has a time in it, and neither id nor event type is signed.
            SourceKind::Github => Repetitions::Content,
            // One body may be an event of several types: an order that was created and paid.
            SourceKind::Shopify => Repetitions::ContentAndType,
            // Time and body are signed; some requests have no id.
            SourceKind::Slack => Repetitions::Content,
            // The id is signed.
            SourceKind::Stripe | SourceKind::StandardWebhooks => Repetitions::Id,
            // Nobody knows whether they say the same thing twice.
            SourceKind::Hmac | SourceKind::Basic => Repetitions::Id,
        })
    }

    /// Where the id is that its repetitions share, and whether each request must have one.
    pub fn delivery_id(&self) -> Option<(IdRule, bool)> {
        if let Some(rule) = &self.delivery_id {
            return Some((rule.clone(), true));
        }
        let header = |name: &str| IdRule { header: Some(name.into()), pointers: Vec::new() };
        let pointers = |all: &[&str]| IdRule {
            header: None,
            pointers: all.iter().map(|&pointer| pointer.into()).collect(),
        };
        match self.kind {
            SourceKind::Github => Some((header("x-github-delivery"), true)),
            SourceKind::Stripe => Some((pointers(&["/id"]), true)),
            SourceKind::Shopify => Some((header("x-shopify-webhook-id"), true)),
            SourceKind::Slack => Some((pointers(&["/event_id", "/trigger_id"]), false)),
            // The signature covers it; under which of two names, the request says.
            SourceKind::StandardWebhooks => None,
            SourceKind::Hmac => {
                let own = self.hmac.as_ref()?.id_header.as_deref()?;
                Some((header(own), true))
            }
            SourceKind::Basic => None,
        }
    }
}

/// What verifies a source's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSecret {
    /// What tells it from others. No digest of it: passwords can be guessed from those.
    pub id: SourceSecretId,
    /// Its text.
    pub text: SecretText,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it verifies no more; none if it does not end.
    pub expires_at: Option<Timestamp>,
}

impl SourceSecret {
    /// Whether it verifies at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// An inbound endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its id, which its URL ends in.
    pub id: SourceId,
    /// Whose it is.
    pub application: ApplicationId,
    /// For people; unique within the application.
    pub name: String,
    /// What is no secret.
    pub settings: SourceSettings,
    /// What verifies its requests; any one of them is enough.
    pub secrets: Vec<SourceSecret>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
