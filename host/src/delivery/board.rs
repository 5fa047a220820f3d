//! The lanes behind their lock, and the bells that ring when they change.
//!
//! Owns the only lock of the dispatcher, held for moments and never over an await.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::{
    Dice, Directory,
    health::{Answer, Changes, Patient},
    job::Job,
    lanes::{Lanes, Wanted},
    metrics::Metrics,
    rules::Rules,
    settings::DeliverySettings,
};
use crate::{
    clock::Clock,
    model::{FailingSince, SubscriptionId, Timestamp},
    notices::Notices,
    store::Claims,
};

/// The scheduler's shared state.
pub(super) struct Board {
    lanes: Mutex<Lanes>,
    /// Rings when the timer must look again.
    pub changed: Notify,
    /// Rings when nothing is under way.
    pub idle: Notify,
    pub directory: Arc<dyn Directory>,
    pub notices: Notices,
    pub dice: Dice,
    settings: ArcSwap<DeliverySettings>,
    pub metrics: Metrics,
    pub clock: Clock,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

impl Board {
    pub(super) fn new(
        settings: DeliverySettings,
        directory: Arc<dyn Directory>,
        notices: Notices,
        dice: Dice,
        clock: Clock,
    ) -> Self {
        Self {
            lanes: Mutex::new(Lanes::new(&settings)),
            changed: Notify::new(),
            idle: Notify::new(),
            directory,
            notices,
            dice,
            settings: ArcSwap::from_pointee(settings),
            metrics: Metrics::new(),
            clock,
        }
    }

    /// The settings as they are now.
    pub(super) fn settings(&self) -> Guard<Arc<DeliverySettings>> {
        self.settings.load()
    }

    /// Takes over those of other settings that can change while it runs. A lane's own rules
    /// follow with its next attempt.
    pub(super) fn set(&self, new: &DeliverySettings) {
        let settings = self.settings.load().with_live_of(new);
        self.with(|lanes| lanes.set(&settings));
        self.settings.store(Arc::new(settings));
        self.changed.notify_one();
    }

    /// Does something with the lanes, then rings and shows what changed.
    fn with<T>(&self, change: impl FnOnce(&mut Lanes) -> T) -> T {
        // A panic within a change is a bug, but not one to stop every delivery for.
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut lanes);
        self.metrics.in_flight.set(lanes.in_flight() as f64);
        self.metrics.ready.set(lanes.ready() as f64);
        let (signal, idle) = (lanes.take_signal(), lanes.in_flight() == 0);
        let stopped = lanes.stopped();
        drop(lanes);
        if signal {
            self.changed.notify_one();
        }
        if stopped && idle {
            self.idle.notify_one();
        }
        result
    }

    /// Does something with a lane, opening it if it is not open: then its rules must be
    /// known, which are asked for outside of the lock.
    fn with_lane<T>(&self, id: SubscriptionId, change: impl Fn(&mut Lanes) -> T) -> T {
        if let Some(done) = self.with(|lanes| lanes.has(id).then(|| change(lanes))) {
            return done;
        }
        let rules = self.rules(id);
        self.with(|lanes| {
            lanes.open(id, rules);
            change(lanes)
        })
    }

    fn rules(&self, id: SubscriptionId) -> Rules {
        // A deleted subscription's deliveries are only cancelled: any rules do.
        let found = self.directory.subscription(id);
        found.map_or(Rules::only(1), |found| self.settings().rules(&found))
    }

    /// How long the schedule lets a subscription's first attempts wait.
    pub(super) fn first_wait(&self, id: SubscriptionId) -> Duration {
        let found = self.directory.subscription(id);
        let policy = found.as_ref().and_then(|found| found.policy.retry.as_ref());
        policy.unwrap_or(&self.settings().retry).wait_before(1).unwrap_or_default()
    }

    pub(super) fn reserve(&self, id: SubscriptionId) -> bool {
        let now = self.clock.now();
        self.with_lane(id, |lanes| lanes.reserve(id, now))
    }

    pub(super) fn free(&self, id: SubscriptionId) {
        self.with(|lanes| lanes.free(id, 1));
    }

    pub(super) fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        self.with(|lanes| jobs.into_iter().for_each(|job| lanes.push(job)));
    }

    pub(super) fn due(&self, id: SubscriptionId, at: Timestamp) {
        self.with_lane(id, |lanes| lanes.due(id, at));
    }

    pub(super) fn pick(&self) -> Option<Job> {
        let now = self.clock.now();
        self.with(|lanes| lanes.pick(now))
    }

    /// Whether the job's lease still outlasts an attempt.
    pub(super) fn may_start(&self, job: &Job) -> bool {
        let now = self.clock.now();
        self.with(|lanes| lanes.may_start(job, now))
    }

    /// An attempt is over; the lane's rules are what they are now, if that is known.
    pub(super) fn release(
        &self,
        job: &Job,
        rules: Option<Rules>,
        answer: Option<Answer>,
    ) -> Changes {
        let (id, now) = (job.subscription, self.clock.now());
        let gone = self.directory.subscription(id).is_none();
        self.with(|lanes| {
            if gone {
                lanes.close(id);
            }
            if let Some(rules) = rules {
                lanes.open(id, rules);
            }
            lanes.release(id, job.pass, answer, now)
        })
    }

    /// An attempt was begun and came to nothing. Its task may be gone, so the timer is rung
    /// to start what may start instead.
    pub(super) fn lost(&self, job: &Job) {
        let (id, now) = (job.subscription, self.clock.now());
        self.with(|lanes| {
            lanes.release(id, job.pass, None, now);
            lanes.lapse(id, job.lease_until);
        });
        self.changed.notify_one();
    }

    /// A record could not be written: the delivery comes back when its lease ends.
    pub(super) fn unrecorded(&self, id: SubscriptionId, lease_until: Timestamp) {
        self.with(|lanes| lanes.lapse(id, lease_until));
    }

    /// Records are on disk: their places are free, and some are due again.
    pub(super) fn settled(
        &self,
        records: impl IntoIterator<Item = (SubscriptionId, Option<Timestamp>)>,
    ) {
        self.with(|lanes| {
            for (id, again) in records {
                if let Some(at) = again {
                    lanes.due(id, at);
                }
                lanes.free(id, 1);
            }
        });
    }

    pub(super) fn wanted(&self) -> Wanted {
        let now = self.clock.now();
        self.with(|lanes| lanes.wanted(now))
    }

    pub(super) fn claimed(
        &self,
        asked: &[(SubscriptionId, u32)],
        jobs: Vec<Job>,
        claims: &Claims,
        now: Timestamp,
    ) {
        self.with(|lanes| lanes.claimed(asked, jobs, &claims.next_due, now));
    }

    pub(super) fn claim_failed(&self, asked: &[(SubscriptionId, u32)], again: Timestamp) {
        self.with(|lanes| lanes.claim_failed(asked, again));
    }

    pub(super) fn forget(&self, id: SubscriptionId) {
        self.with(|lanes| lanes.forget(id));
    }

    /// What a subscription's attempts came to so far says nothing of what comes.
    pub(super) fn renew(&self, id: SubscriptionId) -> Changes {
        self.with(|lanes| lanes.renew(id))
    }

    /// What was known of a failing subscription before a restart.
    pub(super) fn recall(&self, id: SubscriptionId, failing: FailingSince) {
        let rules = self.rules(id);
        self.with(|lanes| lanes.recall(id, failing, &rules));
    }

    /// What is known of a subscription whose attempts fail.
    pub(super) fn patient(&self, id: SubscriptionId) -> Option<Patient> {
        self.with(|lanes| lanes.ward().get(id).cloned())
    }

    /// All of them, as `show` shows them.
    pub(super) fn patients<T>(&self, show: impl Fn(SubscriptionId, &Patient) -> T) -> Vec<T> {
        self.with(|lanes| lanes.ward().all().map(|(id, patient)| show(id, patient)).collect())
    }

    pub(super) fn stop(&self) {
        self.with(Lanes::stop);
    }

    pub(super) fn stopped(&self) -> bool {
        self.with(|lanes| lanes.stopped())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.with(|lanes| lanes.in_flight())
    }
}
