//! Subscriptions: their pipelines resolved, and what a change of state does to deliveries.

use std::sync::Arc;

use super::{
    Catalog, CatalogError, Change, Match, Result,
    plugins::follows,
    refused,
    state::{PluginEntry, SubscriptionEntry, closest},
};
use crate::model::{
    ApplicationId, EventTypeName, Pipeline, PluginRef, ResolvedStep, Step, Subscription,
    SubscriptionId, SubscriptionState,
};

impl Catalog {
    pub(super) async fn load_subscriptions(&self) -> Result<()> {
        for subscription in self.store.subscriptions().await.map_err(refused)? {
            let pipeline = self.resolve(&subscription, None).await?;
            for step in pipeline.iter().flat_map(|p| &p.steps) {
                // A component that cannot be loaded fails its own deliveries, not the start.
                if let Err(error) = self.ensure_loaded(step.sha256).await {
                    tracing::error!(plugin = %step.name, version = %step.version, %error, "cannot load a plugin");
                }
            }
            if subscription.state == SubscriptionState::Active {
                // The server may have ended between resuming it and making due what it held.
                self.resume_held(subscription.id).await?;
            }
            let subscription = Arc::new(subscription);
            self.write().put_subscription(SubscriptionEntry { subscription, pipeline });
        }
        Ok(())
    }

    /// The subscriptions an event of this type goes to.
    pub fn matching(&self, application: ApplicationId, event_type: &EventTypeName) -> Vec<Match> {
        self.read().matching(application, event_type)
    }

    /// What an event for one subscription alone matches, whatever its type.
    pub fn matching_only(&self, id: SubscriptionId) -> Option<Match> {
        let state = self.read();
        let entry = state.subscriptions.get(&id)?;
        Some(Match {
            subscription: id,
            pipeline: entry.pipeline.as_ref().map(|p| p.id),
            held: entry.subscription.state != SubscriptionState::Active,
        })
    }

    /// A subscription as it is now.
    pub fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.read().subscriptions.get(&id).map(|entry| entry.subscription.clone())
    }

    /// The pipeline a subscription's deliveries run through from now on.
    pub fn current_pipeline(&self, id: SubscriptionId) -> Option<Arc<Pipeline>> {
        self.read().subscriptions.get(&id)?.pipeline.clone()
    }

    /// An application's subscriptions, newest first.
    pub fn subscriptions(&self, application: ApplicationId) -> Vec<Arc<Subscription>> {
        let state = self.read();
        let all = state.subscriptions.values().rev().map(|entry| &entry.subscription);
        all.filter(|s| s.application == application).cloned().collect()
    }

    /// Adds a subscription. The caller has checked its endpoint and headers.
    pub async fn create_subscription(
        &self,
        subscription: Subscription,
    ) -> Result<Arc<Subscription>> {
        let _changing = self.changing.lock().await;
        let pipeline = self.resolve(&subscription, None).await?;
        self.load_pipeline(pipeline.as_deref()).await?;
        self.store.create_subscription(&subscription).await.map_err(refused)?;
        let subscription = Arc::new(subscription);
        self.write()
            .put_subscription(SubscriptionEntry { subscription: subscription.clone(), pipeline });
        Ok(subscription)
    }

    /// Applies `change` to the subscription as it is now, checks the pipeline and saves it.
    /// `updated_at` is set here; a changed state holds or resumes deliveries.
    pub async fn change_subscription(
        &self,
        id: SubscriptionId,
        change: Box<dyn FnOnce(&mut Subscription) + Send>,
    ) -> Result<Arc<Subscription>> {
        let _changing = self.changing.lock().await;
        let before = self.subscription(id).ok_or(CatalogError::NotFound)?;
        let mut after = (*before).clone();
        change(&mut after);
        after.updated_at = self.clock.now();
        let pipeline = self.resolve(&after, None).await?;
        self.load_pipeline(pipeline.as_deref()).await?;
        self.store.put_subscription(&after).await.map_err(refused)?;
        let after = Arc::new(after);
        // Memory first, then deliveries: what is matched from here on has the new state, and
        // what was matched before is moved below.
        self.write().put_subscription(SubscriptionEntry { subscription: after.clone(), pipeline });
        if before.state != after.state {
            self.move_deliveries(&after).await?;
        }
        Ok(after)
    }

    async fn move_deliveries(&self, subscription: &Subscription) -> Result<()> {
        let id = subscription.id;
        match subscription.state {
            SubscriptionState::Active => self.resume_held(id).await,
            SubscriptionState::Paused => self.hold(id, "its subscription is paused").await,
            SubscriptionState::Disabled => self.hold(id, "its subscription is disabled").await,
        }
    }

    async fn hold(&self, id: SubscriptionId, reason: &str) -> Result<()> {
        self.store.hold_pending(id, reason).await.map(drop).map_err(refused)
    }

    /// Makes what a subscription holds due now.
    pub async fn resume_held(&self, id: SubscriptionId) -> Result<()> {
        let now = self.clock.now();
        if self.store.resume_held(id, now).await.map_err(refused)? > 0 {
            self.tell(Change::Due(id, now));
        }
        Ok(())
    }

    /// Removes a subscription; what it had pending or held is cancelled.
    pub async fn delete_subscription(&self, id: SubscriptionId) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.store.delete_subscription(id, self.clock.now()).await.map_err(refused)?;
        self.write().remove_subscription(id);
        self.tell(Change::Deleted(id));
        Ok(())
    }

    /// The pipeline of a subscription with versions and configs fixed: what it is now, or
    /// with `next` what it would be were that version live.
    pub(super) async fn resolve(
        &self,
        subscription: &Subscription,
        next: Option<&PluginEntry>,
    ) -> Result<Option<Arc<Pipeline>>> {
        if subscription.pipeline.is_empty() {
            return Ok(None);
        }
        let steps = subscription.pipeline.iter().enumerate();
        let steps: Vec<_> = steps
            .map(|(index, step)| {
                let next = next.filter(|next| follows(subscription, step, next));
                self.resolve_step(subscription.application, index, step, next)
            })
            .collect::<Result<_>>()?;
        if let Some(known) = self.read().pipeline_of(&steps) {
            return Ok(Some(known));
        }
        let id = self.store.intern_pipeline(&steps).await.map_err(refused)?;
        let pipeline = Arc::new(Pipeline { id, steps });
        self.write().put_pipeline(pipeline.clone());
        Ok(Some(pipeline))
    }

    fn resolve_step(
        &self,
        application: ApplicationId,
        index: usize,
        step: &Step,
        next: Option<&PluginEntry>,
    ) -> Result<ResolvedStep> {
        let found = match next {
            Some(next) => Some(next.clone()),
            None => self.read().plugin(application, &step.plugin).cloned(),
        };
        let Some(PluginEntry { version, config }) = found else {
            return Err(self.unknown_plugin(application, index, &step.plugin));
        };
        let violations = config.violations(&step.config);
        if !violations.is_empty() {
            let plugin = format!("{}@{}", version.name, version.version);
            return Err(CatalogError::BadConfig { step: index, plugin, violations });
        }
        Ok(ResolvedStep {
            name: version.name.clone(),
            version: version.version.clone(),
            sha256: version.sha256,
            config: step.config.to_string().into(),
            on_error: step.on_error,
        })
    }

    fn unknown_plugin(
        &self,
        application: ApplicationId,
        step: usize,
        wanted: &PluginRef,
    ) -> CatalogError {
        let known = self.plugins(application);
        // The right name with a wrong version is nearest to another version of that name.
        let candidates: Vec<String> = known
            .iter()
            .map(|v| match wanted.version {
                Some(_) => format!("{}@{}", v.name, v.version),
                None => v.name.clone(),
            })
            .collect();
        let name = wanted.to_string();
        let did_you_mean = closest(&name, candidates.iter().map(String::as_str)).map(str::to_owned);
        CatalogError::UnknownPlugin { step, name, did_you_mean }
    }

    async fn load_pipeline(&self, pipeline: Option<&Pipeline>) -> Result<()> {
        for step in pipeline.iter().flat_map(|p| &p.steps) {
            self.ensure_loaded(step.sha256).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        clock::Clock,
        model::{
            Application, ApplicationId, DeliveryId, DeliveryState, Event, EventId, Secret,
            Subscription, SubscriptionId, SubscriptionState, Timestamp,
        },
        plugin::{Compiler, PluginSettings, Runtime},
        store::{DeliveryFilter, Lease, NewDelivery, NewEvent, SharedStore, sqlite::SqliteStore},
    };

    use super::Catalog;

    #[tokio::test]
    async fn what_an_active_subscription_holds_is_due_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        let store: SharedStore = std::sync::Arc::new(store);
        let application =
            Application { id: ApplicationId::new(now), name: "default".into(), created_at: now };
        store.create_application(&application).await.unwrap();
        let subscription = Subscription {
            id: SubscriptionId::new(now),
            application: application.id,
            description: None,
            endpoint: "http://127.0.0.1:9/".parse().unwrap(),
            event_types: vec!["**".parse().unwrap()],
            pipeline: vec![],
            headers: [].into(),
            retry: None,
            concurrency: None,
            // Resumed, and the server ended before what was held had been made due.
            state: SubscriptionState::Active,
            secrets: vec![Secret::from_key(vec![1; 32]).unwrap()],
            created_at: now,
            updated_at: now,
        };
        store.create_subscription(&subscription).await.unwrap();
        let event = Event {
            id: EventId::new(now),
            application: application.id,
            application_name: "default".into(),
            event_type: "order.created".parse().unwrap(),
            schema_version: 0,
            subject: None,
            occurred_at: now,
            accepted_at: now,
            payload: "1".into(),
        };
        let held = NewDelivery {
            id: DeliveryId::new(now),
            subscription: subscription.id,
            pipeline: None,
            held: true,
            leased: false,
        };
        let new = NewEvent {
            event: std::sync::Arc::new(event),
            producer_id: None,
            violations: vec![],
            idempotency: vec![],
            deliveries: vec![held],
        };
        store.append(&[new], Lease { owner: 1, until: now }).await.unwrap();

        let settings =
            PluginSettings::new(folder.path().join("plugins"), [0; 32], Compiler::InProcess);
        let runtime = Runtime::start(settings).unwrap();
        let _catalog = Catalog::load(store.clone(), runtime, Clock::system()).await.unwrap();
        let filter = DeliveryFilter::default();
        let page = store.deliveries(application.id, &filter, None, 9).await.unwrap();
        assert_eq!(page.items[0].state, DeliveryState::Pending);
    }
}
