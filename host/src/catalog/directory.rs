//! What the catalog is to delivery.

use std::{convert::Infallible, sync::Arc};

use async_trait::async_trait;

use super::{Catalog, NotChanged};
use crate::{
    delivery::Directory,
    model::{
        ApplicationId, DisabledReason, FailingSince, Pipeline, PipelineId, Subscription,
        SubscriptionId, SubscriptionState,
    },
};

/// Pipelines kept in memory that no subscription uses any more; past this they are forgotten
/// and read again if an old delivery asks.
const OLD_PIPELINES: usize = 10_000;

#[async_trait]
impl Directory for Catalog {
    fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        Self::subscription(self, id)
    }

    async fn pipeline(&self, id: PipelineId) -> Result<Arc<Pipeline>, String> {
        let known = self.read().pipelines.get(&id).cloned();
        let pipeline = match known {
            Some(pipeline) => pipeline,
            None => {
                let read = self.store.pipeline(id).await.map_err(|error| error.to_string())?;
                let pipeline = Arc::new(read);
                let mut state = self.write();
                if state.pipelines.len() > state.subscriptions.len() + OLD_PIPELINES {
                    state.forget_pipelines();
                }
                state.put_pipeline(pipeline.clone());
                pipeline
            }
        };
        for step in &pipeline.steps {
            self.ensure_loaded(step.sha256).await.map_err(|error| {
                format!("{}@{} cannot be loaded: {error}", step.name, step.version)
            })?;
        }
        Ok(pipeline)
    }

    fn current(&self, id: SubscriptionId) -> Option<PipelineId> {
        self.read().subscriptions.get(&id)?.pipeline.as_ref().map(|pipeline| pipeline.id)
    }

    fn quarantined(&self, application: ApplicationId, pipeline: &Pipeline) -> Option<String> {
        let state = self.read();
        state.quarantined(application, pipeline).map(|quarantine| {
            format!(
                "{}@{} is quarantined: {}",
                quarantine.name, quarantine.version, quarantine.reason
            )
        })
    }

    fn held_back(&self, id: SubscriptionId) -> bool {
        self.read().held_back(id)
    }

    async fn disable(&self, id: SubscriptionId, reason: DisabledReason) {
        let change = |subscription: &mut Subscription| {
            subscription.state = SubscriptionState::Disabled;
            Ok::<(), Infallible>(())
        };
        match self.change_subscription(id, change).await {
            Ok(_) => tracing::warn!(subscription = %id, ?reason, "disabled a subscription"),
            // The next attempt gets the same answer and tries again.
            Err(NotChanged::Failed(error)) => {
                tracing::error!(subscription = %id, %error, "cannot disable a subscription")
            }
            Err(NotChanged::Refused(never)) => match never {},
        }
    }

    async fn keep_failing(&self, id: SubscriptionId, failing: Option<FailingSince>) {
        // Should it fail, a restart counts the time anew.
        if let Err(error) = self.store.put_failing(id, failing).await {
            tracing::warn!(subscription = %id, %error, "since when it fails was not written down");
        }
    }

    async fn failing(&self) -> Vec<(SubscriptionId, FailingSince)> {
        self.store.failing().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "since when endpoints fail cannot be read; it counts anew");
            Vec::new()
        })
    }

    async fn resume_held(&self, id: SubscriptionId) {
        // Should it fail, the deliveries stay held, and can be resumed or retried by hand.
        if let Err(error) = Self::resume_held(self, id).await {
            tracing::error!(subscription = %id, %error, "held deliveries could not be resumed");
        }
    }
}
