//! A delivery in memory, and the event it shares with its siblings.

use std::sync::{Arc, OnceLock};

use crate::{
    model::{DeliveryId, Event, PipelineId, PipelineRun, SubscriptionId, Timestamp},
    plugin::LiveEvent,
    store::{Claimed, DeliveryKey},
};

use super::Ready;

/// An event in memory, shared by its deliveries; ready for plugins once one of them asks.
#[derive(Debug)]
pub struct SharedEvent {
    /// The event.
    pub event: Arc<Event>,
    live: OnceLock<Arc<LiveEvent>>,
}

impl SharedEvent {
    pub(super) fn new(event: Arc<Event>) -> Arc<Self> {
        Arc::new(Self { event, live: OnceLock::new() })
    }

    /// The event for plugin runs: one for all deliveries, so that they share results.
    pub fn live(&self) -> &Arc<LiveEvent> {
        self.live.get_or_init(|| LiveEvent::to_deliver(Arc::clone(&self.event)))
    }
}

/// A leased delivery.
#[derive(Debug)]
pub(super) struct Job {
    pub key: DeliveryKey,
    pub id: DeliveryId,
    pub subscription: SubscriptionId,
    pub pipeline: Option<PipelineId>,
    /// Attempts made so far.
    pub attempts: u32,
    /// What the pipeline came to, if that is recorded.
    pub run: Option<Arc<PipelineRun>>,
    pub event: Arc<SharedEvent>,
    /// When the lease ends.
    pub lease_until: Timestamp,
}

impl Job {
    pub(super) const fn new(ready: Ready, event: Arc<SharedEvent>, lease_until: Timestamp) -> Self {
        Self {
            key: ready.key,
            id: ready.id,
            subscription: ready.subscription,
            pipeline: ready.pipeline,
            attempts: 0,
            run: None,
            event,
            lease_until,
        }
    }

    pub(super) fn claimed(
        claimed: Claimed,
        event: Arc<SharedEvent>,
        lease_until: Timestamp,
    ) -> Self {
        Self {
            key: claimed.key,
            id: claimed.id,
            subscription: claimed.subscription,
            pipeline: claimed.pipeline,
            attempts: claimed.attempts,
            run: claimed.run,
            event,
            lease_until,
        }
    }
}
