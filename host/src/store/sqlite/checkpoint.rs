//! Folds the write-ahead log back into the database file, beside the writer rather than
//! inside its commits. Idle when nothing is written.
//!
//! The log is begun anew when it has become long, and not cut back: cutting takes time in
//! proportion to what is cut (50 ms for 128 MB on ext4), during which every commit waits, and a
//! log that has the space it needs already is synced faster than one that grows.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, Notify},
    task::JoinHandle,
};

use super::{PAGE, Result, failed};

/// Bytes written to the log that make a checkpoint worth its cost.
const STEP: u64 = 8 << 20;
/// A log that holds so much is begun anew. Under steady load it is never folded whole by
/// itself, for the writer goes on meanwhile.
const BOUND: u64 = 64 << 20;
/// A log's file that is larger was let grow, by a backup or somebody who read for long, and is
/// cut back.
const SLACK: u64 = 4 * BOUND;
/// How long commits wait at the most for readers of what is in the log, when it is to be begun
/// anew. Those of the interface read for less.
const PATIENCE: Duration = Duration::from_millis(50);
/// What a commit of which nothing else is known adds to the log: a few pages.
const COMMIT: u64 = 4 * PAGE as u64;

pub(super) struct Checkpointer {
    /// About how many bytes were written to the log since the last checkpoint.
    written: AtomicU64,
    grown: Arc<Notify>,
    /// Whether somebody reads for so long that beginning the log anew would wait for it, with
    /// all commits behind.
    patient: Arc<AtomicBool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(super) async fn start(
        path: &Path,
        options: &SqliteConnectOptions,
        writer: Arc<Mutex<SqliteConnection>>,
    ) -> Result<Self> {
        let options = options.clone().busy_timeout(PATIENCE);
        let connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        let grown = Arc::new(Notify::new());
        let patient = Arc::new(AtomicBool::new(false));
        let folding = Folding {
            connection,
            writer,
            log: super::log::log_of(path),
            patient: Arc::clone(&patient),
            bounds: Bounds { held: BOUND, file: SLACK },
            wait_for: BOUND,
        };
        let task = tokio::spawn(folding.run(Arc::clone(&grown)));
        Ok(Self { written: AtomicU64::new(0), grown, patient, task: Mutex::new(Some(task)) })
    }

    /// From now on, or from now on no more, the log is not begun anew.
    pub(super) fn be_patient(&self, patient: bool) {
        self.patient.store(patient, Relaxed);
    }

    /// Called after every commit, with the bytes it is known to have stored.
    pub(super) fn notice(&self, bytes: u64) {
        let more = bytes + COMMIT;
        if self.written.fetch_add(more, Relaxed) + more >= STEP {
            self.written.store(0, Relaxed);
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

/// The one who folds.
struct Folding {
    connection: SqliteConnection,
    writer: Arc<Mutex<SqliteConnection>>,
    log: PathBuf,
    patient: Arc<AtomicBool>,
    bounds: Bounds,
    /// What the log may hold before it is next tried to begin it anew.
    wait_for: u64,
}

/// Bytes that a log may come to.
struct Bounds {
    /// What it holds.
    held: u64,
    /// What its file takes.
    file: u64,
}

impl Folding {
    async fn run(mut self, grown: Arc<Notify>) {
        loop {
            grown.notified().await;
            if let Err(error) = self.fold().await {
                tracing::warn!(%error, "a checkpoint failed; the log grows until one succeeds");
            }
        }
    }

    async fn fold(&mut self) -> sqlx::Result<()> {
        // Most of the work, with nobody waiting.
        let (_, frames) = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
        let held = frames * PAGE as u64;
        if held < self.wait_for || self.patient.load(Relaxed) {
            return Ok(());
        }
        let file = std::fs::metadata(&self.log);
        let is_too_large = file.is_ok_and(|file| file.len() > self.bounds.file);
        let writer = Arc::clone(&self.writer);
        let alone = writer.lock().await;
        let statement = if is_too_large {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        } else {
            "PRAGMA wal_checkpoint(RESTART)"
        };
        let (busy, _) = self.checkpoint(statement).await?;
        drop(alone);
        // Whoever reads for so long is not disturbed again soon.
        self.wait_for = if busy { held + held / 2 } else { self.bounds.held };
        Ok(())
    }

    /// Whether somebody was in the way, and how many frames the log held.
    async fn checkpoint(&mut self, statement: &'static str) -> sqlx::Result<(bool, u64)> {
        let (busy, frames, _folded): (i64, i64, i64) =
            sqlx::query_as(statement).fetch_one(&mut self.connection).await?;
        Ok((busy != 0, u64::try_from(frames).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Executor, sqlite::SqliteJournalMode};
    use tempfile::TempDir;

    use super::*;

    /// Bytes of each row: together with what belongs to it, nine pages of the log.
    const ROW: usize = 64 << 10;
    const BOUNDS: Bounds = Bounds { held: 16 * ROW as u64, file: 64 * ROW as u64 };

    struct Scene {
        folder: TempDir,
        options: SqliteConnectOptions,
        folding: Folding,
    }

    async fn scene() -> Scene {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .page_size(PAGE)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("wal_autocheckpoint", "0")
            .busy_timeout(PATIENCE);
        let connect = || async { SqliteConnection::connect_with(&options).await.unwrap() };
        let mut writer = connect().await;
        writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, row BLOB)").await.unwrap();
        let folding = Folding {
            connection: connect().await,
            writer: Arc::new(Mutex::new(writer)),
            log: super::super::log::log_of(&path),
            patient: Arc::new(AtomicBool::new(false)),
            bounds: BOUNDS,
            wait_for: BOUNDS.held,
        };
        Scene { folder, options, folding }
    }

    impl Scene {
        async fn write(&self, rows: usize) {
            let mut writer = self.folding.writer.lock().await;
            for _ in 0..rows {
                let insert = sqlx::query("INSERT INTO t (row) VALUES (randomblob(?))");
                insert.bind(ROW as i64).execute(&mut *writer).await.unwrap();
            }
        }

        fn log(&self) -> u64 {
            std::fs::metadata(&self.folding.log).unwrap().len()
        }

        async fn rows(&self) -> i64 {
            let path = self.folder.path().join("a.db");
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut reader = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut reader).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_log_does_not_grow_for_ever_while_events_come() {
        let mut scene = scene().await;
        for _ in 0..20 {
            scene.write(10).await;
            scene.folding.fold().await.unwrap();
            assert!(scene.log() < 2 * BOUNDS.held, "{}", scene.log());
        }
        assert_eq!(scene.rows().await, 200);
    }

    #[tokio::test]
    async fn who_reads_for_long_is_waited_for_shortly_and_the_log_is_cut_back_afterwards() {
        let mut scene = scene().await;
        scene.write(1).await;
        let mut reader = SqliteConnection::connect_with(&scene.options).await.unwrap();
        let mut reading = reader.begin().await.unwrap();
        let count = "SELECT count(*) FROM t";
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
        for _ in 0..8 {
            scene.write(10).await;
            scene.folding.fold().await.unwrap();
        }
        assert!(scene.log() > BOUNDS.file && scene.folding.wait_for > BOUNDS.held);
        let still: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
        assert_eq!((seen, still), (1, 1));
        reading.rollback().await.unwrap();
        scene.write(60).await;
        scene.folding.fold().await.unwrap();
        assert_eq!((scene.log(), scene.folding.wait_for), (0, BOUNDS.held));
        assert_eq!(scene.rows().await, 141);
    }

    #[tokio::test]
    async fn while_a_backup_is_read_the_log_is_left_as_it_is() {
        let mut scene = scene().await;
        scene.write(80).await;
        scene.folding.patient.store(true, Relaxed);
        scene.folding.fold().await.unwrap();
        assert!(scene.log() > BOUNDS.file);
        scene.folding.patient.store(false, Relaxed);
        scene.folding.fold().await.unwrap();
        assert_eq!((scene.log(), scene.rows().await), (0, 80));
    }
}
