//! A store that lasts, a server that is killed and started again, and what happens to both.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};

use super::{
    super::{belt::FakeBelt, secret},
    bugs::{Bug, WatchedBelt},
    invariants::{Bounds, Journal, Promise},
    network::Network,
    plan::{Action, Plan},
};
use crate::{
    clock::Clock,
    delivery::{
        DeliverySettings, Dice, Directory, Dispatcher, Parts, Pipelines, Ready, SharedEvent,
    },
    model::{
        ApplicationId, Credentials, DisabledReason, Event, EventId, Pipeline, PipelineId,
        PipelineRun, Subscription, SubscriptionId, SubscriptionState, Timestamp,
    },
    notices::Notices,
};

/// Concurrency of a subscription that says nothing.
const CONCURRENCY: u32 = 3;
/// By then everything has had its chance: more than the longest schedule, and time for those
/// that wait for each other.
const ENOUGH: Duration = Duration::from_secs(300 * 3_600);

/// How much was simulated.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub hours: u64,
    pub lives: u64,
    pub deliveries: u64,
    pub attempts: u64,
}

impl Figures {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            hours: self.hours + other.hours,
            lives: self.lives + other.lives,
            deliveries: self.deliveries + other.deliveries,
            attempts: self.attempts + other.attempts,
        }
    }
}

/// Subscriptions in memory, which resume and disable as the catalog does.
struct SimDirectory {
    subscriptions: Mutex<BTreeMap<SubscriptionId, Arc<Subscription>>>,
    belt: Arc<WatchedBelt>,
    dispatcher: Mutex<Weak<Dispatcher>>,
    clock: Mutex<Clock>,
}

impl SimDirectory {
    fn state(&self, id: SubscriptionId) -> Option<SubscriptionState> {
        self.subscriptions.lock().unwrap().get(&id).map(|found| found.state)
    }

    /// Moves a subscription, and then its deliveries.
    fn set(&self, id: SubscriptionId, state: SubscriptionState) {
        let mut all = self.subscriptions.lock().unwrap();
        let Some(found) = all.get_mut(&id) else { return };
        let before = std::mem::replace(&mut Arc::make_mut(found).state, state);
        let number: usize = found.endpoint.path()[1..].parse().unwrap();
        drop(all);
        if before == SubscriptionState::Disabled && state == SubscriptionState::Active {
            // As the catalog tells when a subscription is enabled.
            self.belt.journal.breaker(number, false);
            if let Some(dispatcher) = self.dispatcher.lock().unwrap().upgrade() {
                dispatcher.renew(id);
            }
        }
        match state {
            SubscriptionState::Active => self.release(id),
            SubscriptionState::Paused | SubscriptionState::Disabled => self.belt.inner.hold(id),
        }
    }

    fn release(&self, id: SubscriptionId) {
        let now = self.clock.lock().unwrap().now();
        let keys = self.belt.inner.resume(id, now);
        if !keys.is_empty() {
            self.belt.journal.moved(&keys, false);
            if let Some(dispatcher) = self.dispatcher.lock().unwrap().upgrade() {
                dispatcher.wake(id, now);
            }
        }
    }
}

#[async_trait]
impl Directory for SimDirectory {
    fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.subscriptions.lock().unwrap().get(&id).cloned()
    }

    async fn pipeline(&self, _id: PipelineId) -> Result<Arc<Pipeline>, String> {
        Err("there are none here".into())
    }

    fn current(&self, _id: SubscriptionId) -> Option<PipelineId> {
        None
    }

    async fn disable(&self, id: SubscriptionId, _reason: DisabledReason) {
        self.set(id, SubscriptionState::Disabled);
    }

    async fn resume_held(&self, id: SubscriptionId) {
        self.release(id);
    }
}

struct NoPipelines;

#[async_trait]
impl Pipelines for NoPipelines {
    async fn run(&self, _: &SharedEvent, _: &Arc<Pipeline>) -> Arc<PipelineRun> {
        unreachable!("no subscription of the simulation has a pipeline")
    }
}

/// How a server's life ended.
enum End {
    Killed(Duration),
    Stopped(Duration),
    Done(Duration),
}

/// Everything of one seed.
pub(super) struct World {
    plan: Arc<Plan>,
    bug: Option<Bug>,
    start: Timestamp,
    belt: Arc<WatchedBelt>,
    directory: Arc<SimDirectory>,
    journal: Arc<Journal>,
    ids: Vec<SubscriptionId>,
}

fn id(number: usize) -> [u8; 16] {
    (number as u128 + 1).to_be_bytes()
}

fn subscription(plan: &Plan, number: usize, start: Timestamp, bug: Option<Bug>) -> Subscription {
    let mut policy = plan.subscribers[number].policy.clone();
    if let Some(bug) = bug {
        let concurrency = policy.concurrency.unwrap_or(CONCURRENCY);
        bug.policy(&mut policy, concurrency);
    }
    Subscription {
        id: SubscriptionId::from_bytes(id(number)),
        application: ApplicationId::from_bytes(id(0)),
        name: None,
        description: None,
        endpoint: format!("http://endpoint.test/{number}").parse().unwrap(),
        event_types: vec![],
        channels: Vec::new(),
        filter: None,
        pipeline: vec![],
        output_schema: None,
        headers: BTreeMap::new(),
        policy,
        credentials: Credentials::default(),
        state: SubscriptionState::Active,
        secrets: vec![secret()],
        created_at: start,
        updated_at: start,
    }
}

impl World {
    pub(super) fn new(plan: Plan, bug: Option<Bug>) -> Self {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let defaults = DeliverySettings::default();
        let promises = plan.subscribers.iter().map(|subscriber| Promise {
            retry: subscriber.policy.retry.clone().unwrap(),
            concurrency: subscriber.policy.concurrency.unwrap_or(CONCURRENCY),
            rate: subscriber.policy.rate_limit,
            max_age: subscriber.policy.max_age_seconds.map(Duration::from_secs),
            patience: subscriber.policy.ordering_patience_seconds.map(Duration::from_secs),
        });
        let bounds = Bounds {
            jitter: defaults.jitter,
            retry_after_cap: defaults.retry_after_cap,
            max_in_flight: plan.max_in_flight,
            // A short lease may be given up early, which nobody is told.
            host: (plan.host_concurrency > 0).then_some(plan.host_concurrency as usize),
            breaker_open: defaults.breaker.open,
            places: (plan.lease > Duration::from_secs(3_600)).then_some(plan.total_places),
        };
        let journal = Arc::new(Journal::new(promises.collect(), bounds));
        let inner = FakeBelt::default();
        let belt = Arc::new(WatchedBelt { inner, journal: Arc::clone(&journal), bug });
        let all: Vec<_> =
            (0..plan.subscribers.len()).map(|n| subscription(&plan, n, start, bug)).collect();
        let ids = all.iter().map(|subscription| subscription.id).collect();
        let directory = Arc::new(SimDirectory {
            subscriptions: Mutex::new(all.into_iter().map(|s| (s.id, Arc::new(s))).collect()),
            belt: Arc::clone(&belt),
            dispatcher: Mutex::default(),
            clock: Mutex::new(Clock::system()),
        });
        Self { plan: Arc::new(plan), bug, start, belt, directory, journal, ids }
    }

    /// Lets the plan happen.
    pub(super) fn run(self) -> Result<Figures, String> {
        let (mut at, mut next, mut lives) = (Duration::ZERO, 0, 0);
        let end = loop {
            let runtime =
                Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            lives += 1;
            let end = runtime.block_on(self.live(at, &mut next, lives));
            // With it go all tasks, wherever they are: as by SIGKILL.
            drop(runtime);
            let (how, then) = match end {
                End::Killed(then) => ("killed", then),
                End::Stopped(then) => ("stopped", then),
                End::Done(then) => ("done", then),
            };
            self.journal.life_over(how);
            at = then + Duration::from_secs(2);
            if matches!(end, End::Done(_)) || self.journal.is_broken() {
                break then;
            }
        };
        self.journal.finish(&self.belt.inner.open());
        let deliveries = self.belt.inner.state.lock().unwrap().rows.len() as u64;
        let attempts = self.journal.verdict()?;
        Ok(Figures { hours: end.as_secs() / 3_600, lives, deliveries, attempts })
    }

    fn settings(&self) -> DeliverySettings {
        let mut settings = DeliverySettings {
            max_in_flight: self.plan.max_in_flight,
            concurrency: CONCURRENCY,
            lane_places: self.plan.lane_places,
            total_places: self.plan.total_places,
            lease: self.plan.lease,
            record_linger: self.plan.linger,
            host_concurrency: self.plan.host_concurrency,
            disable_after: self.plan.disable_after,
            longest_sleep: Duration::from_secs(12 * 3_600),
            ..DeliverySettings::default()
        };
        if let Some(bug) = self.bug {
            bug.settings(&mut settings);
        }
        settings
    }

    /// One life of the server, from `at` on.
    async fn live(&self, at: Duration, next: &mut usize, life: u64) -> End {
        let clock = Clock::starting_at(self.start + at);
        let now = || at_of(clock, self.start);
        self.belt.inner.set_clock(clock);
        *self.directory.clock.lock().unwrap() = clock;
        let seed = self.plan.seed ^ (life << 32);
        let (notices, heard) = Notices::channel();
        let network = Arc::new(Network {
            heard: Mutex::new(heard),
            plan: Arc::clone(&self.plan),
            journal: Arc::clone(&self.journal),
            clock,
            start: self.start,
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let parts = Parts {
            store: Arc::clone(&self.belt) as _,
            directory: Arc::clone(&self.directory) as _,
            pipelines: Arc::new(NoPipelines),
            notices,
            dice: Dice::seeded(seed),
            clock,
            owner: life as i64,
        };
        let dispatcher =
            Dispatcher::start_over(network, self.settings().usable(), parts).await.unwrap();
        *self.directory.dispatcher.lock().unwrap() = Arc::downgrade(&dispatcher);
        while let Some(&(then, action)) = self.plan.actions.get(*next) {
            sleep(then.saturating_sub(now())).await;
            *next += 1;
            self.journal.note(format!("{} {action:?}", clock.now()));
            match action {
                Action::Kill => return End::Killed(now()),
                Action::Stop => {
                    dispatcher.shutdown().await;
                    return End::Stopped(now());
                }
                other => self.act(&dispatcher, clock, other),
            }
        }
        self.heal(&dispatcher, clock).await;
        End::Done(now())
    }

    /// Everything is well from here on; what was held is let go.
    async fn heal(&self, dispatcher: &Dispatcher, clock: Clock) {
        sleep(self.plan.heal.saturating_sub(at_of(clock, self.start))).await;
        // One that was asked a moment ago may still say that it is gone; and one that had failed
        // for long and then is slow once is disabled for it, as its policy says: the operator
        // enables it again. When it is over, it is over: what is still open `finish` finds.
        for patience in [Duration::from_secs(60), ENOUGH, ENOUGH, ENOUGH] {
            for &id in &self.ids {
                self.directory.set(id, SubscriptionState::Active);
            }
            if timeout(patience, self.belt.inner.all_done()).await.is_ok() {
                break;
            }
        }
        dispatcher.shutdown().await;
    }

    fn act(&self, dispatcher: &Dispatcher, clock: Clock, action: Action) {
        match action {
            Action::Publish { to, count, subject } => {
                (0..count).for_each(|_| self.publish(dispatcher, clock, to, subject));
            }
            Action::Pause(to) => {
                if self.directory.state(self.ids[to]) == Some(SubscriptionState::Active) {
                    self.directory.set(self.ids[to], SubscriptionState::Paused);
                }
            }
            Action::Resume(to) => self.directory.set(self.ids[to], SubscriptionState::Active),
            Action::Delete(to) => {
                self.directory.subscriptions.lock().unwrap().remove(&self.ids[to]);
                let keys = self.belt.inner.cancel(self.ids[to]);
                self.journal.moved(&keys, true);
                dispatcher.forget(self.ids[to]);
            }
            Action::StoreStumbles { records, claims } => {
                let mut state = self.belt.inner.state.lock().unwrap();
                (state.record_failures, state.claim_failures) = (records, claims);
            }
            Action::Kill | Action::Stop => {}
        }
    }

    /// What ingest does: reserve, persist, accept or wake.
    fn publish(&self, dispatcher: &Dispatcher, clock: Clock, to: usize, subject: u32) {
        let id = self.ids[to];
        let state = self.directory.state(id);
        if !matches!(state, Some(SubscriptionState::Active | SubscriptionState::Paused)) {
            return;
        }
        let now = clock.now();
        let event = Arc::new(Event {
            id: EventId::new(now),
            application: ApplicationId::from_bytes([0; 16]),
            application_name: "default".into(),
            event_type: "order.created".parse().unwrap(),
            schema_version: 1,
            subject: Some(format!("order/{subject}")),
            occurred_at: now,
            accepted_at: now,
            trace: None,
            content_type: None,
            context: None,
            channels: Vec::new(),
            payload: format!("{{\"at\":{}}}", now.as_millisecond()).into(),
        });
        let active = state == Some(SubscriptionState::Active);
        let order = self.plan.subscribers[to].policy.ordering.key(event.subject.as_deref());
        // Only the store knows whether something older stands before an ordered one.
        let at_once = active && order.is_none() && dispatcher.reserve(id);
        let lease = at_once.then(|| dispatcher.lease());
        let (key, delivery) = self.belt.inner.add(&event, id, None, lease);
        if self.bug != Some(Bug::IgnoresOrder) {
            self.belt.inner.line_up(key, order);
        }
        self.journal.published(key, delivery.to_string(), to, now, order, lease.is_some());
        if !active {
            self.belt.inner.hold(id);
        } else if lease.is_some() {
            let ready = Ready { key, id: delivery, subscription: id, pipeline: None };
            dispatcher.accept(event, vec![ready]);
        } else {
            dispatcher.wake(id, now);
        }
    }
}

/// How long ago the simulation began.
fn at_of(clock: Clock, start: Timestamp) -> Duration {
    clock.now().duration_since(start).unsigned_abs()
}
