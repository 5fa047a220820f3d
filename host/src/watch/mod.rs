//! Watches plugin versions at work: what their runs come to, whether a candidate may go on,
//! whether a version is fit for service.
//!
//! Owns counts, the comparison of candidates with what is live, and the conditions of
//! quarantine. Never runs in the way of a delivery: what it concludes is carried out by a
//! task of its own, through the catalog.

mod board;
mod compare;
mod counts;
mod keeper;
mod trial;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

pub use board::WatchSettings;
pub use counts::{Faults, VersionStats};
pub use trial::{Side, Trial, TrialDifference};

use self::{board::Board, compare::Comparison};
use crate::{
    catalog::Catalog,
    clock::Clock,
    delivery::{Pipelines, SharedEvent},
    model::{Application, ApplicationId, Pipeline, PipelineRun, Rollout, Sha256},
    notices::Notices,
    plugin::Runtime,
    store::SharedStore,
};

/// Shadow runs that may be under way or waiting; beyond that they are left out and counted.
const SHADOWS: usize = 64;

/// Runs pipelines for deliveries, and sees what comes of it.
pub struct Watch {
    runtime: Arc<Runtime>,
    catalog: Arc<Catalog>,
    board: Arc<Board>,
    shadows: Arc<Semaphore>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Starts watching the runtime. Once for each runtime.
    pub fn start(
        settings: WatchSettings,
        store: SharedStore,
        catalog: Arc<Catalog>,
        runtime: Arc<Runtime>,
        operator: Notices,
        clock: Clock,
    ) -> Arc<Self> {
        let (board, notices) = Board::new(settings, clock);
        let board = Arc::new(board);
        runtime.observe(Arc::clone(&board) as _);
        board.try_out(catalog.rollouts());
        tokio::spawn(keeper::keep(notices, store, Arc::clone(&catalog), operator));
        Arc::new(Self { runtime, catalog, board, shadows: Arc::new(Semaphore::new(SHADOWS)) })
    }

    /// Other rules of when a version is taken out of service hold from now on.
    pub fn set(&self, settings: WatchSettings) {
        self.board.set(settings);
    }

    /// Rollouts began or ended: compares those that are there now.
    pub fn rollouts_changed(&self) {
        self.board.try_out(self.catalog.rollouts());
    }

    /// What a version's runs came to since the server started: for one application's events,
    /// or for all.
    pub fn stats(&self, application: Option<ApplicationId>, sha256: &Sha256) -> VersionStats {
        self.board.stats(application, sha256)
    }

    /// Every version that ran, for metrics, which anybody may read. An application's own plugins
    /// have no names there: only shared ones do, and those of `default`, which every server has.
    pub fn all_stats(&self) -> Vec<(String, String, VersionStats)> {
        let default = self.catalog.application_named(Application::DEFAULT).map(|found| found.id);
        self.board.all_stats(|application, name, version| {
            Some(application) == default || self.catalog.is_shared_plugin(name, version)
        })
    }

    /// How a candidate does.
    pub fn trial(&self, rollout: &Rollout) -> Option<Trial> {
        self.board.trial(rollout)
    }

    /// Failures that came too fast to be kept.
    pub fn unkept_failures(&self) -> u64 {
        self.board.unkept()
    }

    /// Runs the candidate beside what is live, when there is time for it.
    fn shadow(&self, event: &SharedEvent, live: &Pipeline, run: &Arc<PipelineRun>) {
        let application = event.event.application;
        let Some(candidate) = self.catalog.shadow(application, live.id) else { return };
        let Ok(place) = Arc::clone(&self.shadows).try_acquire_owned() else {
            self.board.left_out(application, &candidate);
            return;
        };
        let (event, run) = (Arc::clone(event.live()), Arc::clone(run));
        let (runtime, board) = (Arc::clone(&self.runtime), Arc::clone(&self.board));
        tokio::spawn(async move {
            let tried = runtime.run(&event, &candidate).await;
            drop(place);
            let comparison = Comparison::of(&run, &tried);
            board.compared(&event.event, &candidate, &comparison);
        });
    }
}

#[async_trait]
impl Pipelines for Watch {
    async fn run(&self, event: &SharedEvent, pipeline: &Arc<Pipeline>) -> Arc<PipelineRun> {
        let run = self.runtime.run(event.live(), pipeline).await;
        self.shadow(event, pipeline, &run);
        run
    }
}
