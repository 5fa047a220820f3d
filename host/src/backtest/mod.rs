//! Backtests: what another version of a plugin makes of events that were recorded, beside what
//! the present one makes of them.
//!
//! Owns the jobs, which live in memory only and are bounded in number, and the comparison.
//! Never delivers anything, never writes to the store.

mod compare;
mod diff;
mod job;
mod plan;
mod report;
mod run;
mod tally;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::Semaphore;

pub use compare::kind as difference;
pub use report::{
    Change, Counts, Difference, DifferenceKind, Ended, Fault, Fuel, HeaderChange, PointerChange,
    Progress, Report, Side, State, SubscriptionCounts, Summary,
};

use crate::{
    catalog::{Catalog, CatalogError},
    clock::Clock,
    model::{ApplicationId, BacktestId, PluginVersion, SubscriptionId, Violation},
    plugin::Runtime,
    store::SharedStore,
};
use job::Job;

/// Jobs of an application that may run at once.
pub const MAX_RUNNING: usize = 2;
/// The same, all applications' together.
const MAX_RUNNING_IN_ALL: usize = 8;
/// Jobs of an application that are remembered; of finished ones the oldest are forgotten first.
pub const MAX_KEPT: usize = 32;
/// The same, all applications' together.
const MAX_KEPT_IN_ALL: usize = 512;
/// Events looked at if a request does not say how many.
pub const DEFAULT_LAST: u32 = 1_000;
/// Most events that one job looks at.
pub const MAX_LAST: u32 = 100_000;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose subscriptions and events.
    pub application: ApplicationId,
    /// The version on trial.
    pub candidate: Arc<PluginVersion>,
    /// The version it is compared with; none for what each subscription runs now.
    pub against: Option<Arc<PluginVersion>>,
    /// Only this one; none for all that use the plugin.
    pub subscription: Option<SubscriptionId>,
    /// The candidate's config, and that of `against` if it is given; none for what each
    /// subscription has saved.
    pub config: Option<Value>,
    /// How many events, counted from the newest.
    pub last: u32,
}

/// Why a backtest does not start.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// As many run as may.
    #[error("{MAX_RUNNING} backtests are running")]
    TooMany,
    /// Zero events, or more than [`MAX_LAST`].
    #[error("{0} events; 1 to {MAX_LAST} are allowed")]
    Last(u32),
    /// The application has no such subscription.
    #[error("there is no subscription {0}")]
    UnknownSubscription(SubscriptionId),
    /// No subscription uses the plugin, and none was named.
    #[error("no subscription uses the plugin")]
    NotUsed,
    /// The config that was given, or the empty one of a step that is only tried, does not
    /// satisfy the candidate's schema.
    #[error("the config does not satisfy the schema of {plugin}")]
    BadConfig {
        /// `name@version`.
        plugin: String,
        /// Where it does not.
        violations: Vec<Violation>,
    },
    /// The configs these subscriptions have saved do not satisfy the candidate's schema.
    #[error("saved configs do not satisfy the schema")]
    BreaksConfigs(Vec<SubscriptionId>),
    /// The schema of a stored version cannot be compiled.
    #[error("the config schema cannot be compiled: {0}")]
    Schema(String),
    /// A component could not be loaded.
    #[error(transparent)]
    Load(CatalogError),
}

/// Every backtest of this run of the server.
pub struct Backtests {
    store: SharedStore,
    catalog: Arc<Catalog>,
    runtime: Arc<Runtime>,
    clock: Clock,
    /// Oldest first.
    jobs: Mutex<VecDeque<Arc<Job>>>,
    /// One permit for each event under way, over all jobs: fewer than there are plugin threads,
    /// so that deliveries find one free.
    turns: Arc<Semaphore>,
    in_flight: usize,
}

impl fmt::Debug for Backtests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backtests").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// Makes room for one more of the jobs `of` which `most` are kept. Running ones are fewer than
/// are kept, so there is a finished one to forget.
fn forget(jobs: &mut VecDeque<Arc<Job>>, most: usize, of: impl Fn(&Job) -> bool) {
    while jobs.iter().filter(|job| of(job)).count() >= most {
        let Some(oldest) = jobs.iter().position(|job| of(job) && !job.is_running()) else { break };
        jobs.remove(oldest);
    }
}

impl Backtests {
    /// None runs yet.
    pub fn new(
        store: SharedStore,
        catalog: Arc<Catalog>,
        runtime: Arc<Runtime>,
        clock: Clock,
    ) -> Arc<Self> {
        let in_flight = runtime.threads().saturating_sub(1).max(1);
        Arc::new(Self {
            store,
            catalog,
            runtime,
            clock,
            jobs: Mutex::default(),
            turns: Arc::new(Semaphore::new(in_flight)),
            in_flight,
        })
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        // Each change of the list is a single step.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job, and shows it.
    pub async fn start(&self, request: Request) -> Result<Report, BacktestError> {
        if !(1..=MAX_LAST).contains(&request.last) {
            return Err(BacktestError::Last(request.last));
        }
        let plan = plan::make(&self.catalog, &request)?;
        for sha256 in plan.components() {
            self.catalog.ensure_loaded(sha256).await.map_err(BacktestError::Load)?;
        }
        let job = self.admit(&request, &plan)?;
        let run = run::Run {
            store: Arc::clone(&self.store),
            runtime: Arc::clone(&self.runtime),
            turns: Arc::clone(&self.turns),
            in_flight: self.in_flight,
            application: request.application,
        };
        let (clock, running) = (self.clock, Arc::clone(&job));
        tokio::spawn(async move {
            let ended = run.through(&plan, &running).await;
            running.finish(ended, clock.now());
        });
        Ok(job.report())
    }

    /// Takes a job into the list, if there is room for it.
    fn admit(&self, request: &Request, plan: &plan::Plan) -> Result<Arc<Job>, BacktestError> {
        let mut jobs = self.jobs();
        let own = |job: &&Arc<Job>| job.application == request.application;
        let running = jobs.iter().filter(|job| job.is_running());
        if running.clone().filter(own).count() >= MAX_RUNNING
            || running.count() >= MAX_RUNNING_IN_ALL
        {
            return Err(BacktestError::TooMany);
        }
        forget(&mut jobs, MAX_KEPT, |job| job.application == request.application);
        forget(&mut jobs, MAX_KEPT_IN_ALL, |_| true);
        let now = self.clock.now();
        let job = Arc::new(Job::new(BacktestId::new(now), request, &plan.subscriptions, now));
        jobs.push_back(Arc::clone(&job));
        Ok(job)
    }

    /// An application's jobs, newest first.
    pub fn list(&self, application: ApplicationId) -> Vec<Summary> {
        let jobs = self.jobs();
        let own = jobs.iter().rev().filter(|job| job.application == application);
        own.map(|job| job.summary()).collect()
    }

    fn find(&self, application: ApplicationId, id: BacktestId) -> Option<Arc<Job>> {
        let jobs = self.jobs();
        jobs.iter().find(|job| job.application == application && job.id == id).cloned()
    }

    /// A job with its differences.
    pub fn get(&self, application: ApplicationId, id: BacktestId) -> Option<Report> {
        self.find(application, id).map(|job| job.report())
    }

    /// Ends a job; what it has found so far stays. One that has ended stays as it is. Answers
    /// whether there is such a job.
    pub fn cancel(&self, application: ApplicationId, id: BacktestId) -> bool {
        let job = self.find(application, id);
        if let Some(job) = &job {
            job.cancel(self.clock.now());
        }
        job.is_some()
    }

    /// Ends all jobs, for the server stops.
    pub fn stop(&self) {
        let now = self.clock.now();
        for job in self.jobs().iter() {
            job.cancel(now);
        }
    }
}
