//! What an operator should hear of without asking.

use url::Url;

use super::{ApplicationId, DeliveryId, DisabledReason, EventId, EventTypeName, SubscriptionId};

/// Something that happened to the service itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A subscription takes no more events.
    SubscriptionDisabled {
        /// Its owner.
        application: ApplicationId,
        /// Which.
        subscription: SubscriptionId,
        /// Where its deliveries went.
        endpoint: Url,
        /// Why.
        reason: DisabledReason,
    },
    /// A delivery was given up.
    DeliveryDead {
        /// Its owner.
        application: ApplicationId,
        /// Which.
        delivery: DeliveryId,
        /// Who it was for.
        subscription: SubscriptionId,
        /// The event it was to deliver.
        event: EventId,
        /// The event's type.
        event_type: EventTypeName,
        /// Why.
        reason: String,
    },
    /// A plugin version was taken out of service.
    PluginQuarantined {
        /// For whose subscriptions.
        application: ApplicationId,
        /// The plugin.
        plugin: String,
        /// Its version.
        version: String,
        /// Why.
        reason: String,
    },
    /// An endpoint is left alone for a while: too many of its attempts failed.
    BreakerOpened {
        /// The subscription's owner.
        application: ApplicationId,
        /// Whose endpoint it is.
        subscription: SubscriptionId,
        /// The endpoint.
        endpoint: Url,
        /// What it came to lately.
        reason: String,
    },
    /// An endpoint that was left alone answers again.
    BreakerClosed {
        /// The subscription's owner.
        application: ApplicationId,
        /// Whose endpoint it is.
        subscription: SubscriptionId,
        /// The endpoint.
        endpoint: Url,
    },
    /// More deliveries wait than the operator wants.
    BacklogHigh {
        /// How many.
        pending: u64,
        /// How many are one too many.
        limit: u64,
    },
}

impl Notice {
    /// What the notice is of, in the form of an event type's last part.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SubscriptionDisabled { .. } => "subscription_disabled",
            Self::DeliveryDead { .. } => "delivery_dead",
            Self::PluginQuarantined { .. } => "plugin_quarantined",
            Self::BreakerOpened { .. } => "breaker_opened",
            Self::BreakerClosed { .. } => "breaker_closed",
            Self::BacklogHigh { .. } => "backlog_high",
        }
    }
}
