//! Turns due deliveries into signed HTTP requests, and their results into records.
//!
//! Owns scheduling, retries, signing, the HTTP client and its guard. The database is the
//! truth; what is in memory is leased from it. Never decides what an event matches, never
//! speaks to producers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    model::{
        DeliveryId, DisabledReason, Event, Pipeline, PipelineId, Subscription, SubscriptionId,
        Timestamp,
    },
    store::DeliveryKey,
};

/// What the dispatcher needs to know of subscriptions and pipelines.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The subscription as it is now; none if it was deleted.
    fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>>;
    /// A pipeline whose components are loaded; else why not.
    async fn pipeline(&self, id: PipelineId) -> Result<Arc<Pipeline>, String>;
    /// Disables a subscription whose endpoint asked for it.
    async fn disable(&self, id: SubscriptionId, reason: DisabledReason);
}

/// A delivery just persisted and leased.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What the store calls it.
    pub key: DeliveryKey,
    /// Its id.
    pub id: DeliveryId,
    /// Who it is for.
    pub subscription: SubscriptionId,
    /// The pipeline it runs through.
    pub pipeline: Option<PipelineId>,
}

/// Delivers.
#[derive(Debug)]
pub struct Dispatcher {}

#[expect(unused_variables, clippy::needless_pass_by_value, reason = "signatures first")]
impl Dispatcher {
    /// Takes a place in memory for one more delivery of a subscription, if there is one:
    /// it may then be persisted as leased, and must be handed to `accept` or `unreserve`d.
    pub fn reserve(&self, subscription: SubscriptionId) -> bool {
        todo!()
    }
    /// Gives a reserved place back.
    pub fn unreserve(&self, subscription: SubscriptionId) {
        todo!()
    }
    /// Takes over persisted deliveries with reserved places.
    pub fn accept(&self, event: Arc<Event>, ready: Vec<Ready>) {
        todo!()
    }
    /// The store has something due at `due` for a subscription.
    pub fn wake(&self, subscription: SubscriptionId, due: Timestamp) {
        todo!()
    }
}
