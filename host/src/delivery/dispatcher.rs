//! Takes deliveries in, asks the store for more when they are due, and starts attempts.
//!
//! Owns the tasks: one timer, one recorder, and an attempt's own while it lasts. Never
//! polls: with nothing due, nothing runs.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{sleep, timeout},
};
use url::Url;

use super::{
    Dice, Directory, Health, Pipelines, Ready,
    auth::Authorizer,
    board::Board,
    breaker::Turn,
    handshake,
    health::{Answer, Changes},
    http::{Client, ClientError, Transport},
    job::{Job, SharedEvent},
    keeper::Keeper,
    recorder::{About, Done, Recorder},
    settings::DeliverySettings,
    traced,
    worker::{Attempted, Worker},
};
use crate::{
    clock::Clock,
    model::{DisabledReason, Event, EventId, Handshake, Notice, SubscriptionId, Timestamp},
    notices::Notices,
    store::{Belt, Claims, Lease, StoreError},
    tail::Tail,
};

/// How long after a failed claim the store is asked again.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);
/// How long, at the end, the store is given to take the last records.
const FLUSH: Duration = Duration::from_secs(10);

/// Why delivering cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store does not say what is due.
    #[error("the store does not say what is due: {0}")]
    Store(#[source] StoreError),
}

/// What delivering is done with.
pub struct Parts {
    /// Where deliveries come from and records go.
    pub store: Arc<dyn Belt>,
    /// What knows subscriptions and pipelines.
    pub directory: Arc<dyn Directory>,
    /// What runs pipelines.
    pub pipelines: Arc<dyn Pipelines>,
    /// Where an operator hears of what went wrong.
    pub notices: Notices,
    /// What jitter is rolled with.
    pub dice: Dice,
    /// The time.
    pub clock: Clock,
    /// This run of the server, as the owner of leases.
    pub owner: i64,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Delivers.
pub struct Dispatcher {
    core: Arc<Core>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("board", &self.core.board).finish_non_exhaustive()
    }
}

struct Core {
    board: Arc<Board>,
    belt: Arc<dyn Belt>,
    worker: Worker,
    recorder: Recorder,
    keeper: Keeper,
    runtime: Handle,
    owner: i64,
}

impl Dispatcher {
    /// What happens, for those who watch.
    pub fn tail(&self) -> &Tail {
        self.core.board.notices.tail()
    }

    /// Starts delivering, beginning with what is due already: nothing else needs to be
    /// done after a restart. A metrics recorder, if there is to be one, is installed by now.
    pub async fn start(settings: DeliverySettings, parts: Parts) -> Result<Arc<Self>, StartError> {
        let settings = settings.usable();
        let transport = Arc::new(Client::new(&settings, parts.clock)?);
        Self::start_over(transport, settings, parts).await
    }

    /// The same over another transport.
    pub(super) async fn start_over(
        transport: Arc<dyn Transport>,
        settings: DeliverySettings,
        parts: Parts,
    ) -> Result<Arc<Self>, StartError> {
        let Parts { store, directory, pipelines, notices, dice, clock, owner } = parts;
        let board = Arc::new(Board::new(settings, directory, notices, dice, clock));
        for (subscription, failing) in board.directory.failing().await {
            board.recall(subscription, failing);
        }
        for (subscription, at) in store.due(owner).await.map_err(StartError::Store)? {
            board.due(subscription, at);
        }
        let recorder = Recorder::start(Arc::clone(&store), Arc::clone(&board));
        let keeper = Keeper::start(Arc::clone(&board));
        let belt = Arc::clone(&store);
        let auth = Authorizer::new(clock);
        let worker = Worker { board: Arc::clone(&board), pipelines, transport, belt, auth };
        let runtime = Handle::current();
        let core = Arc::new(Core { board, belt: store, worker, recorder, keeper, runtime, owner });
        let timer = Mutex::new(Some(tokio::spawn(Arc::clone(&core).keep_time())));
        Ok(Arc::new(Self { core, timer }))
    }

    /// Takes over those of other settings that can change while it runs: limits, time limits,
    /// breakers, and after how long endpoints and deliveries are given up.
    pub fn set(&self, settings: &DeliverySettings) {
        self.core.board.set(settings);
    }

    /// The lease under which deliveries with reserved places are to be persisted. Taken
    /// after the event's time of acceptance, which stands for its beginning.
    pub fn lease(&self) -> Lease {
        self.core.lease(self.core.board.clock.now())
    }

    /// Takes a place in memory for one more delivery of a subscription, if there is one:
    /// it may then be persisted as leased, and must be handed to `accept` or `unreserve`d.
    /// A delivery persisted without a place needs a [`wake`](Self::wake).
    pub fn reserve(&self, subscription: SubscriptionId) -> bool {
        self.core.board.reserve(subscription)
    }

    /// Gives a reserved place back.
    pub fn unreserve(&self, subscription: SubscriptionId) {
        self.core.board.free(subscription);
    }

    /// Takes over persisted deliveries with reserved places.
    #[expect(clippy::needless_pass_by_value, reason = "they are handed over")]
    pub fn accept(&self, event: Arc<Event>, ready: Vec<Ready>) {
        // The lease was taken after the event was accepted, so it lasts at least this long.
        let lease = self.core.lease(event.accepted_at);
        let event = SharedEvent::new(event);
        self.core
            .board
            .push(ready.iter().map(|&ready| Job::new(ready, Arc::clone(&event), lease.until)));
        self.core.start_attempts();
    }

    /// The store has something due at `due` for a subscription.
    pub fn wake(&self, subscription: SubscriptionId, due: Timestamp) {
        self.core.board.due(subscription, due);
    }

    /// Asks an endpoint whether deliveries may be sent to it; answers the requests a minute
    /// that it allows, none for any number, or why it does not.
    pub async fn handshake(
        &self,
        endpoint: &Url,
        asked: &Handshake,
    ) -> Result<Option<u32>, String> {
        let timeout = self.core.board.settings().attempt_timeout;
        handshake::ask(&*self.core.worker.transport, endpoint, asked, timeout).await
    }

    /// The subscription was deleted. What is in memory of it will be found cancelled.
    pub fn forget(&self, subscription: SubscriptionId) {
        self.core.board.forget(subscription);
    }

    /// A subscription was enabled, or its endpoint changed: what failed before says nothing
    /// of what comes.
    pub fn renew(&self, subscription: SubscriptionId) {
        if let Some(keep) = self.core.board.renew(subscription).keep {
            self.core.keeper.keep(subscription, keep);
        }
    }

    /// What is known of a subscription whose attempts fail; none if they do not.
    pub fn health(&self, subscription: SubscriptionId) -> Option<Health> {
        let now = self.core.board.clock.now();
        self.core.board.patient(subscription).map(|patient| Health::of(&patient, now))
    }

    /// Every subscription whose attempts fail, or are held back because they did.
    pub fn failing(&self) -> HashMap<SubscriptionId, Health> {
        let now = self.core.board.clock.now();
        self.core.board.patients(|id, patient| (id, Health::of(patient, now))).into_iter().collect()
    }

    /// What a request is made and sent with, for those that are not attempts.
    pub(super) fn sending(&self) -> (&Board, &dyn Transport) {
        (&self.core.board, self.core.worker.transport.as_ref())
    }

    /// Starts nothing more, waits for what is under way, writes the last records and gives
    /// the rest back to the store. Takes no longer than an attempt may, and a little.
    pub async fn shutdown(&self) {
        let board = &self.core.board;
        board.stop();
        // A claim under way would lease what nobody gives back, so the timer ends first.
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let attempts = async {
            if let Some(timer) = timer {
                // An error says that it panicked: then it has ended, too.
                let _ = timer.await;
            }
            while board.in_flight() > 0 {
                board.idle.notified().await;
            }
        };
        let longest = board.settings().spare_lease();
        if timeout(longest, attempts).await.is_err() {
            tracing::warn!(under_way = board.in_flight(), "attempts did not end in time");
        }
        if timeout(FLUSH, self.core.recorder.flush()).await.is_err() {
            tracing::error!("the last attempts could not be recorded; they will be repeated");
        }
        // Should it fail, the leases end by themselves.
        if let Err(error) = self.core.belt.release(self.core.owner).await {
            tracing::warn!(%error, "leases could not be given back");
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.core.board.stop();
    }
}

impl Core {
    fn lease(&self, from: Timestamp) -> Lease {
        // Out of range only in a year past 9999.
        let until = from.checked_add(self.board.settings().lease).unwrap_or(Timestamp::MAX);
        Lease { owner: self.owner, until }
    }

    /// Starts what may start.
    fn start_attempts(self: &Arc<Self>) {
        while let Some(job) = self.board.pick() {
            self.runtime.spawn(Arc::clone(self).work(job));
        }
    }

    /// Makes one attempt after another, for as long as there is one to make.
    async fn work(self: Arc<Self>, mut job: Job) {
        loop {
            self.attempt(job).await;
            let Some(next) = self.board.pick() else { return };
            // A raised limit lets more than one start.
            self.start_attempts();
            job = next;
        }
    }

    async fn attempt(&self, job: Job) {
        let mut slot = Slot { board: &self.board, job: &job, used: false };
        let Some(room) = self.recorder.room().await else { return };
        // Waiting for room may have taken long.
        if !self.board.may_start(&job) {
            return;
        }
        let work = self.worker.attempt(&job);
        let Attempted { record, limit, gone } = traced::attempt(&self.board, &job, work).await;
        let about = About {
            subscription: job.subscription,
            accepted_at: job.event.event.accepted_at,
            lease_until: job.lease_until,
            strikes: 0,
            dead: traced::dead(&job, &record.next),
            watched: self
                .board
                .notices
                .tail()
                .is_watched()
                .then(|| (job.id, Arc::clone(&job.event.event))),
        };
        let answer = record
            .attempt
            .as_ref()
            .map(|attempt| Answer { outcome: attempt.outcome, status: attempt.status });
        room.fill(Done { about, record });
        slot.used = true;
        drop(slot);
        let changes = self.board.release(&job, limit, answer);
        if let Some((endpoint, reason)) = gone {
            self.worker.disable(job.subscription, &endpoint, reason).await;
        }
        if changes != Changes::default() {
            self.follow(job.subscription, changes).await;
        }
    }

    /// Does what follows from how a subscription's attempts end.
    async fn follow(&self, id: SubscriptionId, changes: Changes) {
        if let Some(keep) = changes.keep {
            self.keeper.keep(id, keep);
        }
        let Some(subscription) = self.board.directory.subscription(id) else { return };
        let (application, endpoint) = (subscription.application, subscription.endpoint.clone());
        match changes.breaker {
            Some((Turn::Opened, reason)) => self.board.notices.tell(Notice::BreakerOpened {
                application,
                subscription: id,
                endpoint: endpoint.clone(),
                reason,
            }),
            Some((Turn::Closed, _)) => self.board.notices.tell(Notice::BreakerClosed {
                application,
                subscription: id,
                endpoint: endpoint.clone(),
            }),
            None => {}
        }
        if changes.disable {
            self.worker.disable(id, &endpoint, DisabledReason::Failing).await;
        }
    }

    /// Asks the store for what is due, when it is due.
    async fn keep_time(self: Arc<Self>) {
        while !self.board.stopped() {
            let wanted = self.board.wanted();
            // Tokens may have come.
            self.start_attempts();
            if !wanted.lanes.is_empty() {
                self.claim(&wanted.lanes).await;
                continue;
            }
            let longest = self.board.settings().longest_sleep;
            let rest = wanted.next.map(|at| self.board.clock.until(at).min(longest));
            let sleeping = async {
                match rest {
                    Some(rest) => sleep(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // In this order, so that the same seed is the same run.
                biased;
                () = self.board.changed.notified() => self.start_attempts(),
                () = sleeping => {}
            }
        }
    }

    async fn claim(self: &Arc<Self>, asked: &[(SubscriptionId, u32)]) {
        let now = self.board.clock.now();
        let lease = self.lease(now);
        match self.belt.claim(asked, lease, now).await {
            Ok(mut claims) => {
                let jobs = jobs(&mut claims, lease.until);
                self.board.claimed(asked, jobs, &claims, now);
                self.start_attempts();
            }
            Err(error) => {
                self.board.metrics.store_failures.increment(1);
                tracing::warn!(%error, "due deliveries could not be claimed; trying again");
                let again = now.checked_add(CLAIM_AGAIN).unwrap_or(now);
                self.board.claim_failed(asked, again);
            }
        }
    }
}

/// Deliveries of the same event share it.
fn jobs(claims: &mut Claims, lease_until: Timestamp) -> Vec<Job> {
    let mut events: HashMap<EventId, Arc<SharedEvent>> = HashMap::new();
    let claimed = std::mem::take(&mut claims.claimed);
    claimed
        .into_iter()
        .map(|claimed| {
            let event = events
                .entry(claimed.event.id)
                .or_insert_with(|| SharedEvent::new(Arc::clone(&claimed.event)));
            let event = Arc::clone(event);
            Job::claimed(claimed, event, lease_until)
        })
        .collect()
}

/// An attempt's place among those under way, given back even by a panic; the delivery
/// itself then comes back when its lease ends.
struct Slot<'a> {
    board: &'a Board,
    job: &'a Job,
    used: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.board.lost(self.job);
        }
    }
}
