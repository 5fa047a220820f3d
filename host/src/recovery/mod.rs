//! Replays: jobs that deliver again, or what was missed, at a pace that harms nobody.
//!
//! Owns which jobs run and how fast they take. What they take becomes due like any other
//! delivery; how far they are is in the store, so a restart goes on where it stopped. Never
//! sends anything itself.

mod run;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    catalog::Catalog,
    clock::Clock,
    delivery::Dispatcher,
    model::{
        ApplicationId, Delivery, DeliveryId, EventId, Pattern, PipelineId, Replay, ReplayFilter,
        ReplayId, ReplayMode, ReplayProgress, ReplayState, SubscriptionId, SubscriptionState,
    },
    store::{Page, Scope, SharedStore, StoreError},
};

/// Replays that may run at once, all applications' together. Paused ones do not count.
pub const MAX_RUNNING: usize = 4;
/// Replays that have ended and are remembered, for each application.
pub const MAX_KEPT: u32 = 1_000;
/// The fastest pace that can be asked for.
pub const MAX_PER_SECOND: u32 = 10_000;

/// What to deliver, and how fast.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub application: ApplicationId,
    /// What is delivered.
    pub mode: ReplayMode,
    /// Which.
    pub filter: ReplayFilter,
    /// Most in a second.
    pub per_second: Option<u32>,
}

/// Why something cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// As many run as may.
    #[error("{MAX_RUNNING} replays are running")]
    TooMany,
    /// It has ended: there is nothing to pause or resume.
    #[error("it has ended")]
    Ended,
    /// The application has no such subscription.
    #[error("there is no subscription {0}")]
    UnknownSubscription(SubscriptionId),
    /// The subscription takes no deliveries now.
    #[error("the subscription {0} is not active")]
    Inactive(SubscriptionId, Option<SubscriptionState>),
    /// The delivery is being attempted.
    #[error("the delivery {0} is being attempted")]
    UnderWay(DeliveryId),
    /// The store failed, or has no such thing.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A replay and how far it is.
pub type Standing = (Replay, ReplayProgress);

/// A running job: alone in the map, so that one that was replaced can tell.
type Running = Arc<AtomicBool>;

/// Every replay.
pub struct Replays {
    store: SharedStore,
    catalog: Arc<Catalog>,
    dispatcher: Arc<Dispatcher>,
    clock: Clock,
    /// Those with a task, each with its order to stop.
    running: Mutex<HashMap<ReplayId, Running>>,
    stopping: AtomicBool,
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays").field("running", &self.running().len()).finish_non_exhaustive()
    }
}

impl Replays {
    /// Goes on with what ran when the server ended.
    pub async fn start(
        store: SharedStore,
        catalog: Arc<Catalog>,
        dispatcher: Arc<Dispatcher>,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let replays = Arc::new(Self {
            store,
            catalog,
            dispatcher,
            clock,
            running: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        for replay in replays.store.running_replays().await? {
            let order = Running::default();
            replays.running().insert(replay.id, order.clone());
            tokio::spawn(Arc::clone(&replays).work(replay, order));
        }
        Ok(replays)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<ReplayId, Running>> {
        // Each change of the map is a single step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place among those that run.
    fn admit(&self, id: ReplayId) -> Result<Running, ReplayError> {
        let mut running = self.running();
        if !running.contains_key(&id) && running.len() >= MAX_RUNNING {
            return Err(ReplayError::TooMany);
        }
        let order = Running::default();
        if let Some(before) = running.insert(id, order.clone()) {
            before.store(true, Ordering::Relaxed);
        }
        Ok(order)
    }

    /// Gives the place back, unless another task of the same job has it by now.
    fn leave(&self, id: ReplayId, order: &Running) {
        let mut running = self.running();
        if running.get(&id).is_some_and(|now| Arc::ptr_eq(now, order)) {
            running.remove(&id);
        }
    }

    /// Counts what there is to take, and starts taking.
    pub async fn create(self: &Arc<Self>, request: Request) -> Result<Standing, ReplayError> {
        for &id in &request.filter.subscription_ids {
            self.check_active(request.application, id)?;
        }
        let now = self.clock.now();
        let mut replay = Replay {
            id: ReplayId::new(now),
            application: request.application,
            mode: request.mode,
            filter: request.filter,
            per_second: request.per_second,
            state: ReplayState::Running,
            cursor: [0; 16],
            total: 0,
            taken: 0,
            created_at: now,
            finished_at: None,
        };
        let order = self.admit(replay.id)?;
        let made = async {
            let listening = self.listening(&replay);
            replay.total = self.store.count_candidates(&scope(&replay, &listening)).await?;
            self.store.create_replay(&replay, MAX_KEPT).await
        };
        if let Err(error) = made.await {
            self.leave(replay.id, &order);
            return Err(error.into());
        }
        tokio::spawn(Arc::clone(self).work(replay.clone(), order));
        let progress = ReplayProgress::default().of(&replay);
        Ok((replay, progress))
    }

    fn check_active(&self, owner: ApplicationId, id: SubscriptionId) -> Result<(), ReplayError> {
        let found = self.catalog.subscription(id).filter(|found| found.application == owner);
        match found.map(|found| found.state) {
            None => Err(ReplayError::UnknownSubscription(id)),
            Some(SubscriptionState::Active) => Ok(()),
            Some(state) => Err(ReplayError::Inactive(id, Some(state))),
        }
    }

    /// What the subscription of a replay of what it missed listens to.
    fn listening(&self, replay: &Replay) -> Vec<Pattern> {
        let only = replay.filter.subscription_ids.first();
        let found = only.and_then(|id| self.catalog.subscription(*id));
        found.map(|found| found.event_types.clone()).unwrap_or_default()
    }

    /// The pipeline an event would run through were it published now.
    fn pipeline(&self, subscription: SubscriptionId, event: EventId) -> Option<PipelineId> {
        self.catalog.matching_only(subscription)?.pipeline(event)
    }

    async fn standing(&self, replay: Replay) -> Result<Standing, ReplayError> {
        let progress = self.store.replay_progress(replay.id).await?.of(&replay);
        Ok((replay, progress))
    }

    /// One replay.
    pub async fn get(&self, owner: ApplicationId, id: ReplayId) -> Result<Standing, ReplayError> {
        let replay = self.store.replay(owner, id).await?;
        self.standing(replay).await
    }

    /// An application's replays, newest first.
    pub async fn list(
        &self,
        owner: ApplicationId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Page<Standing>, ReplayError> {
        let page = self.store.replays(owner, before, limit).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for replay in page.items {
            items.push(self.standing(replay).await?);
        }
        Ok(Page { items, more: page.more })
    }

    /// Takes nothing more for now. What was taken is attempted.
    pub async fn pause(&self, owner: ApplicationId, id: ReplayId) -> Result<Standing, ReplayError> {
        let from = [ReplayState::Running];
        self.end(owner, id, &from, ReplayState::Paused).await
    }

    /// Ends it. What was taken is attempted.
    pub async fn cancel(
        &self,
        owner: ApplicationId,
        id: ReplayId,
    ) -> Result<Standing, ReplayError> {
        let from = [ReplayState::Running, ReplayState::Paused];
        self.end(owner, id, &from, ReplayState::Cancelled).await
    }

    async fn end(
        &self,
        owner: ApplicationId,
        id: ReplayId,
        from: &[ReplayState],
        to: ReplayState,
    ) -> Result<Standing, ReplayError> {
        self.store.replay(owner, id).await?;
        // The store lets nothing be taken from here on; the task then finds out.
        let moved = self.store.move_replay(id, from, to, self.clock.now()).await?;
        if moved && let Some(order) = self.running().remove(&id) {
            order.store(true, Ordering::Relaxed);
        }
        let found = self.store.replay(owner, id).await?;
        if found.state != to {
            return Err(ReplayError::Ended);
        }
        self.standing(found).await
    }

    /// Goes on with a paused one.
    pub async fn resume(
        self: &Arc<Self>,
        owner: ApplicationId,
        id: ReplayId,
    ) -> Result<Standing, ReplayError> {
        let before = self.store.replay(owner, id).await?;
        if before.state.is_final() {
            return Err(ReplayError::Ended);
        }
        if before.state == ReplayState::Paused {
            let order = self.admit(id)?;
            let from = [ReplayState::Paused];
            let now = self.clock.now();
            match self.store.move_replay(id, &from, ReplayState::Running, now).await {
                Ok(true) => {
                    let replay = self.store.replay(owner, id).await?;
                    tokio::spawn(Arc::clone(self).work(replay, order));
                }
                Ok(false) => self.leave(id, &order),
                Err(error) => {
                    self.leave(id, &order);
                    return Err(error.into());
                }
            }
        }
        self.get(owner, id).await
    }

    /// Runs one delivery's event through the pipeline of today, as a new delivery.
    pub async fn rerun(&self, delivery: &Delivery) -> Result<Delivery, ReplayError> {
        let (owner, subscription) = (delivery.application, delivery.subscription_id);
        self.check_active(owner, subscription).map_err(|error| match error {
            ReplayError::UnknownSubscription(id) => ReplayError::Inactive(id, None),
            other => other,
        })?;
        let now = self.clock.now();
        let fresh = DeliveryId::new(now);
        let pipeline = self.pipeline(subscription, delivery.event_id);
        if !self.store.rerun(owner, delivery.id, (fresh, pipeline), now).await? {
            return Err(ReplayError::UnderWay(delivery.id));
        }
        self.dispatcher.wake(subscription, now);
        Ok(self.store.delivery(owner, fresh).await?)
    }

    /// Takes nothing more, for the server stops; the next one goes on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// What a replay may take.
fn scope<'a>(replay: &'a Replay, listening: &'a [Pattern]) -> Scope<'a> {
    Scope {
        application: replay.application,
        mode: replay.mode,
        filter: &replay.filter,
        listening,
        end: replay.created_at,
    }
}
