//! A delivery in memory, and the event it shares with its siblings.

use std::sync::{Arc, OnceLock};

use crate::{
    model::{
        Attempt, DeliveryId, Event, OrderKey, PipelineId, PipelineRun, SubscriptionId, Timestamp,
    },
    plugin::LiveEvent,
    store::{Claimed, DeliveryKey, Next, Record},
};

use super::{Ready, hosts::HostId};

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

/// What an attempt was given when it was started, to be given back when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// The host at which it takes a place.
    pub host: Option<HostId>,
    /// Whether its breaker learns from it whether the endpoint is back.
    pub probe: bool,
    /// Whether there is to be no attempt: it goes back into the store as it is.
    pub put_back: bool,
}

/// A leased delivery.
#[derive(Debug)]
pub(super) struct Job {
    pub key: DeliveryKey,
    pub id: DeliveryId,
    pub subscription: SubscriptionId,
    pub pipeline: Option<PipelineId>,
    /// What it has in common with those that wait for it.
    pub order: Option<OrderKey>,
    /// When it was due.
    pub due_at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the first of them began, if it is known.
    pub first_attempt_at: Option<Timestamp>,
    /// What the pipeline came to, if that is recorded.
    pub run: Option<Arc<PipelineRun>>,
    pub event: Arc<SharedEvent>,
    /// When the lease ends.
    pub lease_until: Timestamp,
    pub pass: Pass,
}

impl Job {
    /// The number of the attempt that is made next.
    pub(super) const fn next_number(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// What became of it.
    pub(super) fn record(&self, attempt: Option<Attempt>, next: Next, at: Timestamp) -> Record {
        Record { delivery: self.key, order: self.order, attempt, run: None, bare: false, next, at }
    }

    /// When it was made, which its id says.
    pub(super) fn created_at(&self) -> Timestamp {
        self.id.created_at()
    }

    pub(super) fn new(ready: Ready, event: Arc<SharedEvent>, lease_until: Timestamp) -> Self {
        Self {
            key: ready.key,
            id: ready.id,
            subscription: ready.subscription,
            pipeline: ready.pipeline,
            // What is ready at once waits for nothing.
            order: None,
            due_at: event.event.accepted_at,
            attempts: 0,
            first_attempt_at: None,
            run: None,
            event,
            lease_until,
            pass: Pass::default(),
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
            order: claimed.order,
            due_at: claimed.due_at,
            attempts: claimed.attempts,
            first_attempt_at: claimed.first_attempt_at,
            run: claimed.run,
            event,
            lease_until,
            pass: Pass::default(),
        }
    }
}
