//! Where runs are counted, while they happen: cheap, bounded, never waiting.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::{
    compare::Comparison,
    counts::{Counts, Standing, VersionStats},
    trial::{Side, Trial},
};
use crate::{
    clock::Clock,
    model::{
        ApplicationId, Event, FailureKind, Pipeline, PluginFailure, Quarantine, ResolvedStep,
        Rollout, RolloutMode, Sha256, StepReport, StepVerdict, Timestamp,
    },
    plugin::Observer,
};

/// Notices that may wait to be carried out; what comes beyond is counted and left.
const NOTICES: usize = 1_024;
/// Versions of applications that are counted; the first of more stay uncounted.
const MOST_VERSIONS: usize = 10_000;

/// When a version is taken out of service.
#[derive(Debug, Clone, Copy)]
pub struct WatchSettings {
    /// After so many failures in a row; 0 for never.
    pub failures: u32,
    /// When this percentage of the window's runs failed; 0 for never.
    pub percent: u32,
    /// Runs that a window has at least before its rate counts.
    pub window_runs: u32,
    /// Length of the window, in seconds.
    pub window_seconds: u32,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { failures: 20, percent: 50, window_runs: 100, window_seconds: 60 }
    }
}

/// Something to carry out.
#[derive(Debug)]
pub(super) enum Notice {
    Failure(Box<PluginFailure>),
    Quarantine(Box<Quarantine>),
    StopCanary { rollout: Arc<Rollout>, why: String },
}

/// A version at work for an application.
#[derive(Debug)]
struct Version {
    name: String,
    version: String,
    counts: Mutex<Counts>,
}

/// What plugins are called together that only their application knows; no plugin is called so.
const PRIVATE: &str = "(private)";

/// How long runs of a candidate go on after its trial: those that were under way.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// Candidates on trial, and those that were a moment ago.
#[derive(Default)]
struct Trials {
    on: Vec<Arc<OnTrial>>,
    lately: Vec<(Sha256, Timestamp)>,
}

/// A candidate on trial.
struct OnTrial {
    rollout: Arc<Rollout>,
    candidate: Sha256,
    live: Sha256,
    trial: Mutex<Trial>,
}

pub(super) struct Board {
    settings: ArcSwap<WatchSettings>,
    clock: Clock,
    versions: RwLock<HashMap<(ApplicationId, Sha256), Arc<Version>>>,
    trials: RwLock<Trials>,
    notices: mpsc::Sender<Notice>,
    unkept: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub(super) fn new(settings: WatchSettings, clock: Clock) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, receiver) = mpsc::channel(NOTICES);
        let board = Self {
            settings: ArcSwap::from_pointee(settings),
            clock,
            versions: RwLock::default(),
            trials: RwLock::default(),
            notices,
            unkept: AtomicU64::new(0),
        };
        (board, receiver)
    }

    /// The rollouts there are now, each with its candidate's component and the live one's.
    /// One that goes on keeps its counts.
    pub(super) fn try_out(&self, rollouts: Vec<(Arc<Rollout>, Sha256, Sha256)>) {
        let mut trials = self.trials.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let former = std::mem::take(&mut trials.on);
        trials.on = rollouts
            .into_iter()
            .map(|(rollout, candidate, live)| {
                let same = |t: &&Arc<OnTrial>| *t.rollout == *rollout && t.live == live;
                former.iter().find(same).cloned().unwrap_or_else(|| {
                    Arc::new(OnTrial { rollout, candidate, live, trial: Mutex::default() })
                })
            })
            .collect();
        let Trials { on, lately } = &mut *trials;
        lately.retain(|(_, until)| *until > now);
        let goes_on = |sha256: &Sha256| on.iter().any(|on_trial| on_trial.candidate == *sha256);
        let ended = former.iter().map(|former| former.candidate).filter(|s| !goes_on(s));
        lately.extend(ended.map(|sha256| (sha256, now + AFTERWARDS)));
    }

    pub(super) fn trial(&self, rollout: &Rollout) -> Option<Trial> {
        let trials = self.trials.read().unwrap_or_else(PoisonError::into_inner);
        let found = trials.on.iter().find(|on_trial| *on_trial.rollout == *rollout)?;
        Some(lock(&found.trial).clone())
    }

    pub(super) fn unkept(&self) -> u64 {
        self.unkept.load(Relaxed)
    }

    pub(super) fn stats(&self, of: Option<ApplicationId>, sha256: &Sha256) -> VersionStats {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = Counts::default();
        for ((application, known), version) in &*versions {
            if known == sha256 && of.is_none_or(|of| of == *application) {
                lock(&version.counts).add_to(&mut all);
            }
        }
        all.stats()
    }

    /// What all versions came to; those that `is_known` does not name to everybody, together.
    pub(super) fn all_stats(
        &self,
        is_known: impl Fn(ApplicationId, &str, &str) -> bool,
    ) -> Vec<(String, String, VersionStats)> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeMap<(&str, &str), Counts> = BTreeMap::new();
        for ((application, _), version) in versions.iter() {
            let known = is_known(*application, &version.name, &version.version);
            let name = if known { (&*version.name, &*version.version) } else { (PRIVATE, "") };
            let sum = all.entry(name).or_default();
            lock(&version.counts).add_to(sum);
        }
        let shown = |((name, version), counts): ((&str, &str), Counts)| {
            (name.to_owned(), version.to_owned(), counts.stats())
        };
        all.into_iter().map(shown).collect()
    }

    fn version(&self, application: ApplicationId, step: &ResolvedStep) -> Option<Arc<Version>> {
        let key = (application, step.sha256);
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = versions.get(&key) {
            return Some(Arc::clone(known));
        }
        if versions.len() >= MOST_VERSIONS {
            return None;
        }
        drop(versions);
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Version {
                name: step.name.clone(),
                version: step.version.clone(),
                counts: Mutex::default(),
            })
        };
        Some(Arc::clone(versions.entry(key).or_insert_with(new)))
    }

    /// Counts for every trial that the step is part of, and ends those that went wrong; `again`
    /// for the failure of a run that is counted already. Answers whether it is a candidate's: a
    /// canary goes back, a shadow sends nothing, and neither needs a quarantine.
    fn try_step(
        &self,
        event: &Event,
        step: &ResolvedStep,
        report: &StepReport,
        again: bool,
    ) -> bool {
        let count = |side: &mut Side| if again { side.failed += 1 } else { side.count(report) };
        let trials = self.trials.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let lately = |(sha256, until): &(Sha256, Timestamp)| *sha256 == step.sha256 && now < *until;
        let mut on_trial_now = trials.lately.iter().any(lately);
        for on_trial in &trials.on {
            let rollout = &on_trial.rollout;
            let concerned = rollout.name == step.name
                && rollout.application.is_none_or(|owner| owner == event.application);
            if !concerned {
                continue;
            }
            let mut trial = lock(&on_trial.trial);
            if step.sha256 == on_trial.live {
                count(&mut trial.live);
            } else if step.sha256 == on_trial.candidate {
                count(&mut trial.candidate);
                on_trial_now = true;
            } else {
                continue;
            }
            if rollout.mode != RolloutMode::Canary {
                continue;
            }
            if let Some(why) = trial.verdict(&rollout.limits) {
                self.tell(Notice::StopCanary { rollout: Arc::clone(rollout), why });
            }
        }
        on_trial_now
    }

    /// Should the queue be full, the next run tells again.
    fn tell(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::debug!(%error, "a notice about a plugin was left out");
        }
    }

    /// A shadow was compared with what is live.
    pub(super) fn compared(&self, event: &Event, candidate: &Pipeline, comparison: &Comparison) {
        self.with_shadows(event.application, candidate, |trial| {
            trial.compare(event.id, comparison);
        });
    }

    /// A shadow was not run.
    pub(super) fn left_out(&self, application: ApplicationId, candidate: &Pipeline) {
        self.with_shadows(application, candidate, |trial| trial.left_out += 1);
    }

    fn with_shadows(
        &self,
        application: ApplicationId,
        candidate: &Pipeline,
        change: impl Fn(&mut Trial),
    ) {
        let trials = self.trials.read().unwrap_or_else(PoisonError::into_inner);
        let concerned = trials.on.iter().filter(|on_trial| {
            let rollout = &on_trial.rollout;
            rollout.mode == RolloutMode::Shadow
                && rollout.application.is_none_or(|owner| owner == application)
                && candidate
                    .steps
                    .iter()
                    .any(|step| step.sha256 == on_trial.candidate && step.name == rollout.name)
        });
        concerned.for_each(|on_trial| change(&mut lock(&on_trial.trial)));
    }

    pub(super) fn set(&self, settings: WatchSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Takes a version out of service if its standing says so.
    fn judge(
        &self,
        application: ApplicationId,
        step: &ResolvedStep,
        version: &Version,
        standing: Standing,
        now: Timestamp,
    ) {
        let WatchSettings { failures, percent, window_runs, window_seconds } =
            **self.settings.load();
        let Standing { in_a_row, recent: (runs, failed) } = standing;
        let reason = if failures > 0 && in_a_row >= failures {
            format!("{in_a_row} runs in a row failed")
        } else if percent > 0 && runs >= window_runs.max(1) && failed * 100 >= runs * percent {
            format!("{failed} of {runs} runs failed within {window_seconds} s")
        } else {
            return;
        };
        lock(&version.counts).forgive();
        self.tell(Notice::Quarantine(Box::new(Quarantine {
            application,
            sha256: step.sha256,
            name: step.name.clone(),
            version: step.version.clone(),
            reason,
            at: now,
        })));
    }

    fn observe(&self, event: &Event, step: &ResolvedStep, report: &StepReport, again: bool) {
        let now = self.clock.now();
        let on_trial = self.try_step(event, step, report, again);
        let Some(version) = self.version(event.application, step) else { return };
        let window = i64::from(self.settings.load().window_seconds);
        let StepVerdict::Fault { kind, message, backtrace } = &report.verdict else {
            lock(&version.counts).count(report, now, window);
            return;
        };
        let (standing, keeps) = {
            let mut counts = lock(&version.counts);
            let standing = if again {
                counts.failed(*kind, now, window)
            } else {
                counts.count(report, now, window)
            };
            (standing, counts.keeps(now))
        };
        if keeps {
            self.keep(event, step, report, (*kind, message, backtrace), now);
        } else {
            self.unkept.fetch_add(1, Relaxed);
        }
        if !on_trial {
            self.judge(event.application, step, &version, standing, now);
        }
    }

    fn keep(
        &self,
        event: &Event,
        step: &ResolvedStep,
        report: &StepReport,
        (kind, message, backtrace): (FailureKind, &str, &[String]),
        at: Timestamp,
    ) {
        self.tell(Notice::Failure(Box::new(PluginFailure {
            application: event.application,
            name: step.name.clone(),
            version: step.version.clone(),
            sha256: step.sha256,
            event_id: event.id,
            config: step.config.to_string(),
            kind,
            message: message.to_owned(),
            backtrace: backtrace.to_vec(),
            log: report.log.clone(),
            fuel: report.fuel,
            at,
        })));
    }
}

impl Observer for Board {
    fn ran(&self, event: &Event, step: &ResolvedStep, report: &StepReport) {
        self.observe(event, step, report, false);
    }

    fn broke_contract(&self, event: &Event, step: &ResolvedStep, report: &StepReport) {
        self.observe(event, step, report, true);
    }
}
