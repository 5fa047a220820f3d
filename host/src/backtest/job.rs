//! One backtest: what was asked, how far it is, what it has found.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{
    Request,
    report::{Progress, Report, State, Summary},
    run::Compared,
    tally::Tally,
};
use crate::model::{ApplicationId, BacktestId, SubscriptionId, Timestamp};

/// A job, shared by the task that runs it and those who look at it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: BacktestId,
    pub(super) application: ApplicationId,
    plugin: String,
    version: String,
    against: Option<String>,
    subscription: Option<SubscriptionId>,
    last: u32,
    subscriptions: Vec<SubscriptionId>,
    created_at: Timestamp,
    /// Looked at between events, without the lock.
    cancelled: AtomicBool,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    state: State,
    error: Option<String>,
    finished_at: Option<Timestamp>,
    progress: Progress,
    tally: Tally,
}

impl Job {
    pub(super) fn new(
        id: BacktestId,
        request: &Request,
        subscriptions: &[SubscriptionId],
        created_at: Timestamp,
    ) -> Self {
        let now = Now {
            state: State::Running,
            error: None,
            finished_at: None,
            progress: Progress { total: request.last.into(), ..Progress::default() },
            tally: Tally::new(subscriptions),
        };
        Self {
            id,
            application: request.application,
            plugin: request.candidate.name.clone(),
            version: request.candidate.version.clone(),
            against: request.against.as_ref().map(|version| version.version.clone()),
            subscription: request.subscription,
            last: request.last,
            subscriptions: subscriptions.to_vec(),
            created_at,
            cancelled: AtomicBool::new(false),
            now: Mutex::new(now),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // A panic between two additions leaves counts that are each right.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> u64 {
        self.last.into()
    }

    pub(super) fn is_running(&self) -> bool {
        self.now().state == State::Running
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Notes that so many more events were looked at.
    pub(super) fn scanned(&self, events: usize) {
        self.now().progress.scanned += events as u64;
    }

    /// Adds what one event came to.
    pub(super) fn add(&self, compared: &[Compared]) {
        let mut now = self.now();
        // What comes in after the end would make the numbers of a cancelled job change.
        if now.state != State::Running {
            return;
        }
        now.progress.done += 1;
        for one in compared {
            let kind = one.kind.filter(|kind| *kind != super::DifferenceKind::Slower);
            now.tally.add(kind, one.slower, one.fuels, &one.listeners);
            if let Some(kind) = one.kind
                && now.tally.wants(kind)
                && let Some(&first) = one.listeners.first()
            {
                now.tally.keep(one.difference(kind, self.subscriptions[first]));
            }
        }
    }

    /// Ends it from outside.
    pub(super) fn cancel(&self, at: Timestamp) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.end(State::Cancelled, None, at);
    }

    /// Ends it from inside, unless it has ended before.
    pub(super) fn finish(&self, ended: Result<(), String>, at: Timestamp) {
        match ended {
            Ok(()) => self.end(State::Done, None, at),
            Err(error) => self.end(State::Failed, Some(error), at),
        }
    }

    fn end(&self, state: State, error: Option<String>, at: Timestamp) {
        let mut now = self.now();
        if now.state != State::Running {
            return;
        }
        now.state = state;
        now.error = error;
        now.finished_at = Some(at);
        if state == State::Done {
            now.progress.total = now.progress.done;
        }
    }

    fn summary_of(&self, now: &Now) -> Summary {
        Summary {
            id: self.id,
            plugin: self.plugin.clone(),
            version: self.version.clone(),
            against: self.against.clone(),
            subscription_id: self.subscription,
            last: self.last,
            state: now.state,
            error: now.error.clone(),
            created_at: self.created_at,
            finished_at: now.finished_at,
            progress: now.progress,
            subscription_count: self.subscriptions.len(),
            counts: now.tally.counts,
            fuel: now.tally.fuel(),
        }
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary_of(&self.now())
    }

    pub(super) fn report(&self) -> Report {
        let now = self.now();
        Report {
            summary: self.summary_of(&now),
            subscriptions: now.tally.subscriptions.clone(),
            differences: now.tally.differences.clone(),
        }
    }
}
