//! Subscriptions: their pipelines resolved, and what a change of state does to deliveries.

use std::sync::Arc;

use super::{
    Catalog, CatalogError, Change, Match, NotChanged, Result, refused,
    state::{PluginEntry, SubscriptionEntry, closest, rule_of},
};
use crate::store::StoreError;
use crate::{
    model::{
        ApplicationId, Kept, Pipeline, PluginRef, ResolvedStep, Step, Subscription, SubscriptionId,
        SubscriptionState,
    },
    routing::{Facts, Rule},
};

impl Catalog {
    pub(super) async fn load_subscriptions(&self) -> Result<()> {
        for subscription in self.store.subscriptions().await.map_err(refused)? {
            let subscription = Arc::new(subscription);
            let entry = self.resolved(&subscription, &[], false).await?;
            let pipelines = entry.pipeline.iter().chain(&entry.shadow);
            for step in pipelines.flat_map(|p| &p.steps) {
                // A component that cannot be loaded fails its own deliveries, not the start.
                if let Err(error) = self.ensure_loaded(step.sha256).await {
                    tracing::error!(plugin = %step.name, version = %step.version, %error, "cannot load a plugin");
                }
            }
            self.write().put_subscription(entry);
            // The server may have ended between resuming it and making due what it held.
            self.resume_if_possible(subscription.id).await?;
        }
        Ok(())
    }

    /// The subscriptions an event goes to. Takes as long as payload and filters make it:
    /// meanwhile nothing is locked.
    pub fn matching(&self, application: ApplicationId, facts: &Facts<'_>) -> Vec<Match> {
        let routes = self.read().routes(application);
        let found = routes.map(|routes| routes.find(facts)).unwrap_or_default();
        if found.is_empty() {
            return Vec::new();
        }
        self.read().matches(&found)
    }

    /// What a subscription asks of events besides their type.
    pub fn rule(&self, id: SubscriptionId) -> Option<Rule> {
        self.read().subscriptions.get(&id).map(|entry| entry.rule.clone())
    }

    /// What an event for one subscription alone matches, whatever its type.
    pub fn matching_only(&self, id: SubscriptionId) -> Option<Match> {
        let state = self.read();
        let entry = state.subscriptions.get(&id)?;
        Some(Match {
            subscription: id,
            pipeline: entry.pipeline.as_ref().map(|p| p.id),
            canaries: entry.canaries.clone(),
            ordering: entry.subscription.policy.ordering,
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
        let subscription = Arc::new(subscription);
        let entry = self.resolved(&subscription, &[], true).await?;
        self.load_entry(&entry).await?;
        self.store.create_subscription(&subscription).await.map_err(refused)?;
        self.write().put_subscription(entry);
        Ok(subscription)
    }

    /// Applies `change` to the subscription as it is now, unless it refuses that; checks the
    /// pipeline and saves it. `updated_at` is set here; a changed state holds or resumes
    /// deliveries.
    pub async fn change_subscription<E: Send>(
        &self,
        id: SubscriptionId,
        change: impl FnOnce(&mut Subscription) -> Result<(), E> + Send,
    ) -> Result<Arc<Subscription>, NotChanged<E>> {
        let _changing = self.changing.lock().await;
        let before = self.subscription(id).ok_or(CatalogError::NotFound)?;
        let mut after = (*before).clone();
        change(&mut after).map_err(NotChanged::Refused)?;
        after.updated_at = self.clock.now();
        Ok(self.replace(&before, after).await?)
    }

    async fn replace(
        &self,
        before: &Subscription,
        after: Subscription,
    ) -> Result<Arc<Subscription>> {
        let id = after.id;
        let after = Arc::new(after);
        // A config that a forced version broke must not stand in the way of other changes.
        let checked = before.pipeline != after.pipeline;
        let entry = self.resolved(&after, &[], checked).await?;
        self.load_entry(&entry).await?;
        let held_back = self.read().held_back(id);
        self.store.put_subscription(&after).await.map_err(refused)?;
        // Memory first, then deliveries: what is matched from here on has the new state, and
        // what was matched before is moved below.
        self.write().put_subscription(entry);
        let enabled = before.state == SubscriptionState::Disabled && after.state != before.state;
        if enabled || before.endpoint != after.endpoint {
            self.tell(Change::Renewed(id));
        }
        if before.state != after.state {
            self.move_deliveries(&after).await?;
        } else if held_back {
            self.resume_if_possible(id).await?;
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

    /// Makes what a subscription holds due now, if it takes events and its plugins are in
    /// service.
    pub(super) async fn resume_if_possible(&self, id: SubscriptionId) -> Result<()> {
        let waits = {
            let state = self.read();
            let active = state
                .subscriptions
                .get(&id)
                .is_some_and(|entry| entry.subscription.state == SubscriptionState::Active);
            !active || state.held_back(id)
        };
        if waits { Ok(()) } else { self.resume_held(id).await }
    }

    /// Removes a subscription, if it is still what the caller takes it for; what it had pending
    /// or held is cancelled.
    pub async fn delete_subscription(
        &self,
        id: SubscriptionId,
        expected: impl FnOnce(&Subscription) -> bool + Send,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let before = self.subscription(id).ok_or(CatalogError::NotFound)?;
        if !expected(&before) {
            return Err(CatalogError::Changed);
        }
        self.store.delete_subscription(id, self.clock.now()).await.map_err(refused)?;
        self.write().remove_subscription(id);
        self.tell(Change::Deleted(id));
        // What was matched before and stored after the deletion.
        self.cancel_orphans(id).await
    }

    /// Cancels what was stored for a subscription that was deleted meanwhile.
    pub async fn cancel_orphans(&self, id: SubscriptionId) -> Result<()> {
        match self.store.delete_subscription(id, self.clock.now()).await {
            Ok(()) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// A subscription's pipelines with versions and configs fixed: as they are now, or with
    /// `next` as they would be were those versions live. `checked` refuses configs that do
    /// not satisfy their plugin's schema.
    pub(super) async fn resolved(
        &self,
        subscription: &Arc<Subscription>,
        next: &[PluginEntry],
        checked: bool,
    ) -> Result<SubscriptionEntry> {
        let pipeline = self.resolve(subscription, next, checked).await?;
        let candidates = self.candidates(subscription, next);
        let mut canaries = Vec::with_capacity(candidates.canaries.len());
        // An event below a share is below every larger one, too.
        for (index, (below, _)) in candidates.canaries.iter().enumerate() {
            let tried = candidates.canaries[index..].iter().map(|(_, entry)| entry.clone());
            let all: Vec<_> = tried.chain(next.iter().cloned()).collect();
            if let Some(canary) = self.resolve(subscription, &all, false).await? {
                canaries.push((*below, canary.id));
            }
        }
        let shadow = if candidates.shadows.is_empty() {
            None
        } else {
            let all = [candidates.shadows, next.to_vec()].concat();
            self.resolve(subscription, &all, false).await?
        };
        Ok(SubscriptionEntry {
            subscription: subscription.clone(),
            rule: rule_of(subscription),
            pipeline,
            canaries: canaries.into(),
            shadow,
        })
    }

    /// Of several versions of one plugin in `next`, the first counts.
    pub(super) async fn resolve(
        &self,
        subscription: &Subscription,
        next: &[PluginEntry],
        checked: bool,
    ) -> Result<Option<Arc<Pipeline>>> {
        if subscription.pipeline.is_empty() && subscription.output_schema.is_none() {
            return Ok(None);
        }
        let steps = subscription.pipeline.iter().enumerate();
        let steps: Vec<_> = steps
            .map(|(index, step)| {
                let next = self.next_for(subscription, step, next);
                self.resolve_step(subscription.application, index, step, next, checked)
            })
            .collect::<Result<_>>()?;
        let contract = subscription.output_schema.as_ref().map(|s| s.to_string().into());
        let content = (steps, contract);
        if let Some(known) = self.read().pipeline_of(&content) {
            return Ok(Some(known));
        }
        let (steps, contract) = content;
        let interned = self.store.intern_pipeline(&steps, contract.as_deref()).await;
        let pipeline = Arc::new(Pipeline { id: interned.map_err(refused)?, steps, contract });
        self.write().put_pipeline(pipeline.clone());
        Ok(Some(pipeline))
    }

    /// What a step would run were all of `next` live: the application's own first, which may be
    /// about to take the place of a shared one.
    fn next_for(
        &self,
        subscription: &Subscription,
        step: &Step,
        next: &[PluginEntry],
    ) -> Option<PluginEntry> {
        let state = self.read();
        let mut all = next.iter().filter(|next| state.follows(subscription, step, &next.version));
        let own = all.clone().find(|next| next.version.application.is_some());
        own.or_else(|| all.next()).cloned()
    }

    pub(super) fn resolve_step(
        &self,
        application: ApplicationId,
        index: usize,
        step: &Step,
        next: Option<PluginEntry>,
        checked: bool,
    ) -> Result<ResolvedStep> {
        let found = match next {
            Some(next) => Some(next),
            None => self.read().plugin(application, &step.plugin).cloned(),
        };
        let Some(PluginEntry { version, config }) = found else {
            return Err(self.unknown_plugin(application, index, &step.plugin));
        };
        let violations = if checked { config.violations(&step.config) } else { Vec::new() };
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
            kept: Kept::default(),
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

    pub(super) async fn load_entry(&self, entry: &SubscriptionEntry) -> Result<()> {
        for step in entry.pipeline.iter().chain(&entry.shadow).flat_map(|p| &p.steps) {
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
            Application, ApplicationId, Credentials, DeliveryId, DeliveryState, Event, EventId,
            EventType, Policy, Secret, Subscription, SubscriptionId, SubscriptionState, Timestamp,
        },
        plugin::{Compiler, PluginSettings, Runtime},
        store::{DeliveryFilter, Lease, NewDelivery, NewEvent, SharedStore, sqlite::SqliteStore},
    };

    use super::Catalog;
    use crate::routing::Facts;

    fn subscription(application: ApplicationId, now: Timestamp) -> Subscription {
        Subscription {
            id: SubscriptionId::new(now),
            application,
            name: None,
            description: None,
            endpoint: "http://127.0.0.1:9/".parse().unwrap(),
            event_types: vec!["**".parse().unwrap()],
            channels: Vec::new(),
            filter: None,
            pipeline: vec![],
            output_schema: None,
            headers: [].into(),
            policy: Policy::default(),
            state: SubscriptionState::Active,
            secrets: vec![Secret::from_key(vec![1; 32]).unwrap()],
            credentials: Credentials::default(),
            created_at: now,
            updated_at: now,
        }
    }

    #[tokio::test]
    async fn a_change_waits_for_no_event_that_is_being_matched() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        let settings =
            PluginSettings::new(folder.path().join("plugins"), [0; 32], Compiler::InProcess);
        let runtime = Runtime::start(settings).unwrap();
        let catalog =
            Catalog::load(std::sync::Arc::new(store), runtime, Clock::system()).await.unwrap();
        let application = catalog.applications()[0].id;
        let first = catalog.create_subscription(subscription(application, now)).await.unwrap().id;

        let facts = Facts {
            event_type: &"order.created".parse().unwrap(),
            schema_version: 0,
            id: None,
            subject: None,
            occurred_at: now,
            channels: &[],
            payload: None,
            text: b"1",
        };
        // What an event is matched with stays as it is; the lock is free.
        let under_way = catalog.read().routes(application).unwrap();
        let second = catalog.create_subscription(subscription(application, now)).await.unwrap().id;
        let change = |subscription: &mut Subscription| {
            subscription.state = SubscriptionState::Disabled;
            Ok::<(), ()>(())
        };
        catalog.change_subscription(first, change).await.unwrap();
        let found = under_way.find(&facts);
        assert_eq!(found.iter().copied().collect::<Vec<_>>(), [first]);
        // What was disabled meanwhile gets nothing all the same.
        assert_eq!(catalog.read().matches(&found), []);
        let now_found = catalog.matching(application, &facts);
        assert_eq!(now_found.iter().map(|m| m.subscription).collect::<Vec<_>>(), [second]);
    }

    #[tokio::test]
    async fn what_an_active_subscription_holds_is_due_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        let store: SharedStore = std::sync::Arc::new(store);
        let application =
            Application { id: ApplicationId::new(now), name: "default".into(), created_at: now };
        store.create_application(&application).await.unwrap();
        store.create_event_type(&EventType::named("order.created"), None).await.unwrap();
        // Resumed, and the server ended before what was held had been made due.
        let subscription = subscription(application.id, now);
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
            trace: None,
            content_type: None,
            context: None,
            channels: vec![],
            payload: "1".into(),
        };
        let held = NewDelivery {
            id: DeliveryId::new(now),
            subscription: subscription.id,
            pipeline: None,
            order: None,
            held: true,
            leased: false,
        };
        let new = NewEvent {
            event: std::sync::Arc::new(event),
            producer_id: None,
            violations: vec![],
            idempotency: vec![],
            deliveries: vec![held],
            most_stored: None,
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
