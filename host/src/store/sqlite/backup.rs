//! Copies of a database: of one that is in use, and of one that is not. A copy is consistent,
//! compact and whole in one file, the log's content included.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{Result, SqliteStore, StoreError, failed, lock, log, private};

/// What `compact` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
    /// Pipelines removed that no delivery names.
    pub pipelines: u64,
    /// Components removed that no plugin version and no pipeline names.
    pub components: u64,
    /// Applications whose events were counted wrong, and are counted right now.
    pub recounted: u64,
}

/// Where a copy is made before it is handed out.
pub(super) fn place(database: &Path) -> PathBuf {
    log::beside(database, "-backup")
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    let text = format!("cannot {what} {}: {error}", path.display());
    if error.kind() == std::io::ErrorKind::StorageFull {
        return StoreError::Unwritable(super::Unwritable::Full, text);
    }
    StoreError::Failed(text)
}

impl SqliteStore {
    /// One at a time. The copy is made beside the database and has no name when this answers.
    pub(super) async fn copy(&self) -> Result<File> {
        let Ok(_alone) = self.copying.try_lock() else { return Err(StoreError::InUse(1)) };
        let to = place(self.options.get_filename());
        discard(&to)?;
        private(&to)?;
        self.checkpointer.be_patient(true);
        let made = copy_with(&self.options, &to).await;
        self.checkpointer.be_patient(false);
        let opened =
            made.and_then(|()| File::open(&to).map_err(|error| cannot("read", &to, &error)));
        discard(&to)?;
        opened
    }
}

/// Removes what an earlier copy left behind.
pub(super) fn discard(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(cannot("remove", path, &error))
        }
        _ => Ok(()),
    }
}

async fn copy_with(options: &SqliteConnectOptions, to: &Path) -> Result<()> {
    let text = to.to_str().ok_or_else(|| {
        StoreError::Failed(format!("{} is no path in UTF-8, which SQLite needs", to.display()))
    })?;
    let mut connection = SqliteConnection::connect_with(options).await.map_err(failed)?;
    let done = sqlx::query("VACUUM INTO ?").bind(text).execute(&mut connection).await;
    // The copy is made or not by now.
    let _closed = connection.close().await;
    done.map(drop).map_err(failed)
}

/// How a database is read that no server has open, without changing it.
pub(super) fn reading(path: &Path) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;

    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

/// Keeps servers away from a database as long as it lives.
#[derive(Debug)]
pub(super) struct Alone {
    _lock: Option<File>,
    /// The lock's file, if it was not there before.
    made: Option<PathBuf>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(made) = &self.made {
            // An empty file more is all that comes of a failure.
            let _gone = std::fs::remove_file(made);
        }
    }
}

/// Makes sure that nobody has a database open. In a folder that cannot be written nobody can
/// have.
pub(super) fn alone(path: &Path) -> Result<Alone> {
    if !path.exists() {
        return Err(StoreError::Failed(format!("there is no {}", path.display())));
    }
    let file = log::beside(path, "-lock");
    let was_there = file.exists();
    match lock(path) {
        Ok(lock) => Ok(Alone { _lock: Some(lock), made: (!was_there).then_some(file) }),
        Err(_) if !file.exists() => Ok(Alone { _lock: None, made: None }),
        Err(error) => Err(error),
    }
}

/// Copies a database that no server has open to a new file, readable by its owner only.
pub async fn copy(path: &Path, to: &Path) -> Result<()> {
    let _alone = alone(path)?;
    super::check::log_is_whole(path)?;
    private(to)?;
    copy_with(&reading(path), to).await
}

/// Rewrites a database that no server has open without the room that is free in it, and
/// without pipelines and components that nothing refers to any more. Counts anew what
/// applications' events take.
pub async fn compact(path: &Path) -> Result<Compacted> {
    let size = || std::fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
    if !path.exists() {
        return Err(StoreError::Failed(format!("there is no {}", path.display())));
    }
    let before = size();
    let store = SqliteStore::open(path).await?;
    let mut write = store.write().await?;
    let pipelines = sqlx::query(
        "DELETE FROM pipelines WHERE id NOT IN (SELECT pipeline_id FROM deliveries WHERE pipeline_id IS NOT NULL)
         AND id NOT IN (SELECT pipeline_id FROM runs)",
    )
    .execute(&mut *write.connection)
    .await
    .map_err(failed)?
    .rows_affected();
    let components = sqlx::query(
        "DELETE FROM components WHERE sha256 NOT IN (SELECT sha256 FROM plugins)
         AND sha256 NOT IN (SELECT unhex(s.value ->> 'sha256') FROM pipelines AS p, json_each(p.steps) AS s)",
    )
    .execute(&mut *write.connection)
    .await
    .map_err(failed)?
    .rows_affected();
    let recounted = super::usage::recount(&mut write.connection).await?;
    sqlx::query("VACUUM").execute(&mut *write.connection).await.map_err(failed)?;
    drop(write);
    super::Store::close(&store).await;
    Ok(Compacted { before, after: size(), pipelines, components, recounted })
}
