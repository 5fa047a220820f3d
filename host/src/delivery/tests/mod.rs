//! Tests of the dispatcher as a whole: a store in memory, endpoints on loopback sockets.
//!
//! No test sleeps for luck: each waits for what it expects, and fails when that does not
//! come.

mod belt;
mod endpoint;
mod endpoints;
mod gates;
mod lanes;
mod pipelines;
mod protection;
mod scheduling;
mod sim;
pub(super) mod tokens;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use self::belt::FakeBelt;
use super::{
    DeliverySettings, Dice, Directory, Dispatcher, Guard, Parts, Pipelines, Ready, SharedEvent,
};
use crate::{
    clock::Clock,
    model::{
        ApplicationId, Credentials, DisabledReason, Event, EventId, Outcome, Pipeline, PipelineId,
        PipelineRun, Policy, RetryPolicy, Secret, Subscription, SubscriptionId, SubscriptionState,
    },
    notices::Notices,
    store::DeliveryKey,
};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Subscriptions in memory.
#[derive(Default)]
pub(super) struct FakeDirectory {
    subscriptions: Mutex<HashMap<SubscriptionId, Arc<Subscription>>>,
    pub disabled: Mutex<Vec<SubscriptionId>>,
    pub reasons: Mutex<Vec<DisabledReason>>,
    pub pipeline_problem: Mutex<Option<String>>,
    /// The pipeline that deliveries name, unless a test says otherwise.
    pub current: Mutex<Option<Option<PipelineId>>>,
    pub quarantined: Mutex<Vec<PipelineId>>,
}

impl FakeDirectory {
    pub(super) fn put(&self, subscription: Subscription) {
        self.subscriptions.lock().unwrap().insert(subscription.id, Arc::new(subscription));
    }

    pub(super) fn remove(&self, id: SubscriptionId) {
        self.subscriptions.lock().unwrap().remove(&id);
    }
}

#[async_trait]
impl Directory for FakeDirectory {
    fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.subscriptions.lock().unwrap().get(&id).cloned()
    }

    async fn pipeline(&self, id: PipelineId) -> Result<Arc<Pipeline>, String> {
        match self.pipeline_problem.lock().unwrap().clone() {
            Some(problem) => Err(problem),
            None => Ok(Arc::new(Pipeline { id, steps: vec![], contract: None })),
        }
    }

    fn current(&self, _id: SubscriptionId) -> Option<PipelineId> {
        self.current.lock().unwrap().flatten()
    }

    fn quarantined(&self, _application: ApplicationId, pipeline: &Pipeline) -> Option<String> {
        let out = self.quarantined.lock().unwrap().contains(&pipeline.id);
        out.then(|| "p@1 is quarantined: 20 runs in a row failed".into())
    }

    fn held_back(&self, _id: SubscriptionId) -> bool {
        let current = self.current.lock().unwrap().flatten();
        current.is_some_and(|id| self.quarantined.lock().unwrap().contains(&id))
    }

    async fn disable(&self, id: SubscriptionId, reason: DisabledReason) {
        self.reasons.lock().unwrap().push(reason);
        let mut subscription = (*self.subscription(id).unwrap()).clone();
        subscription.state = SubscriptionState::Disabled;
        self.put(subscription);
        self.disabled.lock().unwrap().push(id);
    }
}

/// Answers runs from a list; the last answer is repeated.
#[derive(Default)]
pub(super) struct FakePipelines {
    pub answers: Mutex<Vec<PipelineRun>>,
    pub runs: Mutex<u32>,
}

#[async_trait]
impl Pipelines for FakePipelines {
    async fn run(&self, _event: &SharedEvent, _pipeline: &Arc<Pipeline>) -> Arc<PipelineRun> {
        *self.runs.lock().unwrap() += 1;
        let mut answers = self.answers.lock().unwrap();
        Arc::new(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

pub(super) fn run(outcome: Outcome) -> PipelineRun {
    PipelineRun { outcome, steps: vec![] }
}

/// A store, a directory and a pipeline runner that outlive the dispatchers over them.
#[derive(Default)]
pub(super) struct World {
    pub belt: Arc<FakeBelt>,
    pub directory: Arc<FakeDirectory>,
    pub pipelines: Arc<FakePipelines>,
}

pub(super) fn secret() -> Secret {
    Secret::from_key(vec![7; 32]).unwrap()
}

/// One to an endpoint, with no more than it must have.
pub(super) fn subscription(url: &str) -> Subscription {
    let now = Clock::system().now();
    Subscription {
        id: SubscriptionId::new(now),
        application: ApplicationId::new(now),
        name: None,
        description: None,
        endpoint: url.parse().unwrap(),
        event_types: vec![],
        channels: Vec::new(),
        filter: None,
        pipeline: vec![],
        output_schema: None,
        headers: BTreeMap::new(),
        policy: Policy::default(),
        state: SubscriptionState::Active,
        secrets: vec![secret()],
        credentials: Credentials::default(),
        created_at: now,
        updated_at: now,
    }
}

/// Settings for loopback, with time limits a test can wait for.
pub(super) fn settings() -> DeliverySettings {
    DeliverySettings {
        guard: Guard::new(vec!["127.0.0.0/8".parse().unwrap()]),
        retry: RetryPolicy::Schedule(vec![0, 0, 0]),
        record_linger: Duration::ZERO,
        ..DeliverySettings::default()
    }
}

/// The same, with an attempt that is over soon.
pub(super) fn hasty() -> DeliverySettings {
    DeliverySettings {
        attempt_timeout: Duration::from_millis(300),
        retry: RetryPolicy::Schedule(vec![0]),
        ..settings()
    }
}

impl World {
    pub(super) async fn start(&self, settings: DeliverySettings, owner: i64) -> Arc<Dispatcher> {
        Dispatcher::start(
            settings,
            Parts {
                store: Arc::clone(&self.belt) as _,
                directory: Arc::clone(&self.directory) as _,
                pipelines: Arc::clone(&self.pipelines) as _,
                notices: Notices::channel().0,
                dice: Dice::seeded(1),
                clock: Clock::system(),
                owner,
            },
        )
        .await
        .unwrap()
    }

    pub(super) fn subscribe(&self, url: &str) -> SubscriptionId {
        self.subscribe_with(url, |_| ())
    }

    pub(super) fn subscribe_with(
        &self,
        url: &str,
        change: impl FnOnce(&mut Subscription),
    ) -> SubscriptionId {
        let mut subscription = subscription(url);
        change(&mut subscription);
        let id = subscription.id;
        self.directory.put(subscription);
        id
    }

    /// Does what ingest does: reserve, persist, accept or wake.
    pub(super) fn publish(
        &self,
        dispatcher: &Dispatcher,
        subscription: SubscriptionId,
        pipeline: Option<PipelineId>,
    ) -> DeliveryKey {
        self.directory.current.lock().unwrap().get_or_insert(pipeline);
        let event = event();
        let lease = dispatcher.reserve(subscription).then(|| dispatcher.lease());
        let (key, id) = self.belt.add(&event, subscription, pipeline, lease);
        if lease.is_some() {
            dispatcher.accept(event, vec![Ready { key, id, subscription, pipeline }]);
        } else {
            dispatcher.wake(subscription, Clock::system().now());
        }
        key
    }
}

pub(super) fn event() -> Arc<Event> {
    let now = Clock::system().now();
    Arc::new(Event {
        id: EventId::new(now),
        application: ApplicationId::new(now),
        application_name: "default".into(),
        event_type: "order.created".parse().unwrap(),
        schema_version: 1,
        subject: None,
        occurred_at: now,
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        channels: Vec::new(),
        payload: Bytes::from_static(br#"{"order":42}"#),
    })
}
