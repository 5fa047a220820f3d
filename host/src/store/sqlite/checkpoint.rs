//! Folds the write-ahead log back into the database file, beside the writer rather than
//! inside its commits. Idle when nothing is written.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, Notify},
    task::JoinHandle,
};

use super::{Result, failed};

/// Log growth that makes a checkpoint worth its cost.
const STEP: u64 = 8 << 20;
/// A log of this size is cut back, which makes commits wait while it happens. Passive
/// checkpoints alone never shrink it under steady load, for there is always a reader.
const BOUND: u64 = 128 << 20;

pub(super) struct Checkpointer {
    log: PathBuf,
    /// The log's size that calls for the next checkpoint.
    next: Arc<AtomicU64>,
    grown: Arc<Notify>,
    /// Whether somebody reads for so long that cutting the log back would wait for it, with
    /// all commits behind.
    patient: Arc<AtomicBool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(super) async fn start(path: &Path, options: &SqliteConnectOptions) -> Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        let connection = SqliteConnection::connect_with(options).await.map_err(failed)?;
        let next = Arc::new(AtomicU64::new(STEP));
        let grown = Arc::new(Notify::new());
        let patient = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(
            connection,
            log.clone(),
            next.clone(),
            grown.clone(),
            patient.clone(),
        ));
        Ok(Self { log, next, grown, patient, task: Mutex::new(Some(task)) })
    }

    /// From now on, or from now on no more, the log is not cut back.
    pub(super) fn be_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// Called after every commit: one `stat`.
    pub(super) fn notice(&self) {
        if size(&self.log) >= self.next.load(Ordering::Relaxed) {
            self.grown.notify_one();
        }
    }

    pub(super) async fn stop(&self) {
        if let Some(task) = self.task.lock().await.take() {
            task.abort();
            // Either it was aborted or it had ended; nothing follows from which.
            let _aborted = task.await;
        }
    }
}

fn size(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |meta| meta.len())
}

async fn run(
    mut connection: SqliteConnection,
    log: PathBuf,
    next: Arc<AtomicU64>,
    grown: Arc<Notify>,
    patient: Arc<AtomicBool>,
) {
    loop {
        grown.notified().await;
        // While this one runs, commits must not ask for another.
        next.store(u64::MAX, Ordering::Relaxed);
        let statement = if size(&log) < BOUND || patient.load(Ordering::Relaxed) {
            "PRAGMA wal_checkpoint(PASSIVE)"
        } else {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        };
        let done: sqlx::Result<(i64, i64, i64)> =
            sqlx::query_as(statement).fetch_one(&mut connection).await;
        if let Err(error) = done {
            tracing::warn!(%error, "a checkpoint failed; the log grows until one succeeds");
        }
        // A log that was folded whole is written from its start again and does not grow:
        // what is there now is then the size that calls for the next round.
        next.store(size(&log).max(STEP / 2) + STEP / 2, Ordering::Relaxed);
    }
}
