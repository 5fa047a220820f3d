//! Turns due deliveries into signed HTTP requests, and their results into records.
//!
//! Owns scheduling, retries, signing, the HTTP client and its guard. The database is the
//! truth; what is in memory is leased from it. Never decides what an event matches, never
//! speaks to producers.

mod auth;
mod board;
mod breaker;
mod cloudevents;
mod dice;
mod dispatcher;
mod handshake;
mod health;
mod health_view;
mod hosts;
mod http;
mod job;
mod keeper;
mod lanes;
mod metrics;
mod once;
mod recorder;
mod request;
mod retry;
mod rules;
mod settings;
mod shown;
pub mod sign;
mod stale;
mod tokens;
mod traced;
mod turns;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{
    breaker::BreakerRules,
    dice::Dice,
    dispatcher::{Dispatcher, Parts, StartError},
    health_view::{BreakerState, Health},
    http::{
        ClientCert, ClientError, EndpointProblem, Guard, HeaderProblem, check_endpoint,
        check_header, read_authorities,
    },
    job::SharedEvent,
    once::NothingToSend,
    settings::DeliverySettings,
    sign::{Key, VerifyError, verify},
};
use crate::{
    model::{
        ApplicationId, DeliveryId, DisabledReason, FailingSince, Pipeline, PipelineId, PipelineRun,
        Subscription, SubscriptionId,
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
    /// The pipeline that new deliveries of a subscription run through, canaries aside; none
    /// if it has none.
    fn current(&self, id: SubscriptionId) -> Option<PipelineId>;
    /// Why a pipeline may not run for an application now: a version in it is quarantined.
    fn quarantined(&self, _application: ApplicationId, _pipeline: &Pipeline) -> Option<String> {
        None
    }
    /// Whether a subscription's deliveries wait for a version to come back into service.
    fn held_back(&self, _id: SubscriptionId) -> bool {
        false
    }
    /// Disables a subscription whose endpoint asked for it.
    async fn disable(&self, id: SubscriptionId, reason: DisabledReason);
    /// Writes down since when a subscription's endpoint fails; none if it does no more.
    async fn keep_failing(&self, _id: SubscriptionId, _failing: Option<FailingSince>) {}
    /// What was written down of it.
    async fn failing(&self) -> Vec<(SubscriptionId, FailingSince)> {
        Vec::new()
    }
    /// Deliveries were recorded as held while their subscription was being resumed: makes
    /// what it holds due, as resuming does.
    async fn resume_held(&self, _id: SubscriptionId) {}
}

/// What runs pipelines.
#[async_trait]
pub trait Pipelines: Send + Sync {
    /// Runs a pipeline over an event.
    async fn run(&self, event: &SharedEvent, pipeline: &Arc<Pipeline>) -> Arc<PipelineRun>;
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
