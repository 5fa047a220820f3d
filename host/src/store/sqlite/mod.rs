//! The store on SQLite: one file, one writer, many readers.
//!
//! Durability: WAL with `synchronous=FULL`, so a committed transaction survives a crash of
//! process and machine. Automatic checkpoints are off, because one inside a commit makes its
//! producer wait; `checkpoint` does them on a connection of its own.

mod answers;
mod append;
mod audit;
pub mod backup;
mod bulk;
pub mod check;
mod checkpoint;
mod claim;
mod codec;
mod counts;
mod credentials;
mod evolution;
mod handshakes;
mod health;
mod history;
mod keys;
mod limits;
pub mod log;
mod order;
#[cfg(test)]
mod order_tests;
mod plugins;
mod record;
mod recovery;
mod repeated;
mod resources;
mod retention;
mod sealing;
mod sources;
mod subscriptions;
#[cfg(test)]
mod tests;
mod there;
mod undelivered;
mod upkeep;
mod usage;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, Connection, SqlSafeStr, SqliteConnection, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    Appended, Belt, Claims, Lease, NewEvent, Record, Result, Store, StoreError, Switch, Unwritable,
    noted,
};
use crate::{
    model::{SubscriptionId, Timestamp},
    seal::{KeySource, Vault},
};
use checkpoint::Checkpointer;
use counts::Timed;
pub use sealing::{Rotated, rotate_master_key};
use usage::Usages;

/// Bytes of a page of a new database.
const PAGE: u32 = 8192;
/// Connections for reading. More would only wait for the same two or four cores.
const READERS: u32 = 4;

/// A database file that this process has to itself.
pub struct SqliteStore {
    writer: Arc<Mutex<SqliteConnection>>,
    /// What the writer is connected with.
    options: SqliteConnectOptions,
    readers: SqlitePool,
    checkpointer: Checkpointer,
    /// Held while a copy is made.
    copying: Mutex<()>,
    /// What seals and opens the secrets in the tables.
    vault: Vault,
    /// Row numbers are given here rather than by the database, so that an event's deliveries
    /// can name its row within the same bulk statement.
    next_event: AtomicI64,
    next_delivery: AtomicI64,
    /// What applications' events take.
    usages: Usages,
    /// Locked while the store is open. SQLite would let a second server in.
    _lock: File,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

/// Any failure of sqlx is the database's; what callers can act on is told apart at the call.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::RowNotFound => StoreError::NotFound,
        other => match unwritable(&other) {
            Some(why) => StoreError::Unwritable(why, other.to_string()),
            None => StoreError::Failed(other.to_string()),
        },
    }
}

/// Whether the file takes no change. The low byte of SQLite's code is what kind of failure it
/// is, the rest says in what operation.
fn unwritable(error: &sqlx::Error) -> Option<Unwritable> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    match code & 0xff {
        13 => Some(Unwritable::Full),
        8 => Some(Unwritable::ReadOnly),
        10 => Some(Unwritable::Failing),
        _ => None,
    }
}

/// `Exists` where a unique key was the obstacle, `NoApplication` where it was the one foreign key
/// that rows have which are put so.
pub(super) fn taken(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => StoreError::Exists,
        sqlx::Error::Database(database) if database.is_foreign_key_violation() => {
            StoreError::NoApplication
        }
        _ => failed(error),
    }
}

impl SqliteStore {
    /// Opens the file at `path`, creating and migrating it as needed, with the master key in
    /// the file beside it.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &KeySource::Beside).await
    }

    /// The same with a master key from elsewhere.
    pub async fn open_with(path: &Path, key: &KeySource) -> Result<Self> {
        let lock = lock(path)?;
        private(path)?;
        check::log_is_whole(path)?;
        writable(path)?;
        backup::discard(&backup::place(path))?;
        let options = options(path);
        let mut writer = connect(path).await?;
        migrate(&mut writer).await?;
        order::bury(&mut writer).await?;
        order::mend(&mut writer).await?;
        let vault = sealing::open(&mut writer, path, key).await?;
        // So that the file by itself is a database, whatever it holds: a plain copy of a new
        // one would be empty otherwise.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut writer)
            .await
            .map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(options.clone().pragma("query_only", "on"));
        let (events, deliveries): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT coalesce(max(row), 0) FROM events),
                    (SELECT coalesce(max(row), 0) FROM deliveries)",
        )
        .fetch_one(&mut writer)
        .await
        .map_err(failed)?;
        let usages = Usages::load(&mut writer).await?;
        let writer = Arc::new(Mutex::new(writer));
        let checkpointer = Checkpointer::start(path, &options, Arc::clone(&writer)).await?;
        Ok(Self {
            writer,
            readers,
            checkpointer,
            copying: Mutex::new(()),
            vault,
            options,
            next_event: AtomicI64::new(events + 1),
            next_delivery: AtomicI64::new(deliveries + 1),
            usages,
            _lock: lock,
        })
    }

    /// The writer's turn. A transaction that SQLite rolled back by itself, as it does when the
    /// disk is full, leaves the connection believing that it is still within it: such a
    /// connection takes no other transaction and is replaced.
    async fn write(&self) -> Result<Write<'_>> {
        let mut connection = self.writer.lock().await;
        if connection.is_in_transaction() {
            // The rollback of a transaction that was dropped may only be on its way.
            connection.ping().await.map_err(failed)?;
        }
        if connection.is_in_transaction() {
            tracing::warn!("a transaction was cut off by the database; connecting to it anew");
            *connection = SqliteConnection::connect_with(&self.options).await.map_err(failed)?;
        }
        if let Some(noted) = noted::waiting() {
            audit::insert(&mut connection, noted.entry()).await?;
            noted.written();
        }
        Ok(Write { connection, store: self })
    }

    fn take_rows(counter: &AtomicI64, count: usize) -> i64 {
        counter.fetch_add(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed)
    }
}

/// The writer's connection, for as long as one transaction takes.
struct Write<'a> {
    connection: MutexGuard<'a, SqliteConnection>,
    store: &'a SqliteStore,
}

impl Write<'_> {
    /// Starts a transaction that will not find the database locked half-way. One that is
    /// neither committed nor rolled back (its future was dropped) is rolled back here.
    async fn begin(&mut self) -> Result<sqlx::Transaction<'_, sqlx::Sqlite>> {
        begin(&mut self.connection).await
    }

    /// Lets the checkpointer know that the log has grown.
    fn done(self) {
        self.done_with(0);
    }

    /// The same by a known number of bytes.
    fn done_with(self, bytes: u64) {
        self.store.checkpointer.notice(bytes);
    }
}

/// A transaction that will not find the database locked half-way.
async fn begin(connection: &mut SqliteConnection) -> Result<sqlx::Transaction<'_, sqlx::Sqlite>> {
    connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)
}

/// What the file is opened with.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(PAGE)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", "-32000")
        .pragma("temp_store", "memory")
        .statement_cache_capacity(bulk::CACHED_STATEMENTS)
        .disable_statement_logging()
}

async fn connect(path: &Path) -> Result<SqliteConnection> {
    SqliteConnection::connect_with(&options(path)).await.map_err(failed)
}

/// What brings a database up to date, oldest first. What is here once was released and is
/// never edited, only added to.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("../../../migrations/0001_start.sql")),
    (2, "plugin platform", include_str!("../../../migrations/0002_plugin_platform.sql")),
    (3, "policy", include_str!("../../../migrations/0003_policy.sql")),
    (4, "order", include_str!("../../../migrations/0004_order.sql")),
    (5, "wire", include_str!("../../../migrations/0005_wire.sql")),
    (6, "sealed", include_str!("../../../migrations/0006_sealed.sql")),
    (7, "handshakes", include_str!("../../../migrations/0007_handshakes.sql")),
    (8, "recovery", include_str!("../../../migrations/0008_recovery.sql")),
    (10, "trace", include_str!("../../../migrations/0010_trace.sql")),
    (11, "keys", include_str!("../../../migrations/0011_keys.sql")),
    (12, "audit", include_str!("../../../migrations/0012_audit.sql")),
    (13, "ingestion", include_str!("../../../migrations/0013_ingestion.sql")),
    (14, "filters", include_str!("../../../migrations/0014_filters.sql")),
    (15, "schema evolution", include_str!("../../../migrations/0015_schema_evolution.sql")),
    (17, "limits", include_str!("../../../migrations/0017_limits.sql")),
    (18, "subscription names", include_str!("../../../migrations/0018_subscription_names.sql")),
    (19, "sources", include_str!("../../../migrations/0019_sources.sql")),
    (20, "usage", include_str!("../../../migrations/0020_usage.sql")),
    (22, "events by type", include_str!("../../../migrations/0022_events_by_type.sql")),
    (23, "answers", include_str!("../../../migrations/0023_answers.sql")),
];

async fn migrate(connection: &mut SqliteConnection) -> Result<()> {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
        .run(connection)
        .await
        .map_err(|error| StoreError::Failed(error.to_string()))
}

/// Makes a new database readable by its owner only: it holds payloads. The files
/// beside it take after it.
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let made = File::options().create_new(true).write(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Failed(format!("cannot make {}: {error}", path.display()))),
    }
}

/// SQLite opens a file that may not be written for reading, and fails later.
fn writable(path: &Path) -> Result<()> {
    let Err(error) = File::options().write(true).open(path) else { return Ok(()) };
    let why = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            Unwritable::ReadOnly
        }
        _ => Unwritable::Failing,
    };
    Err(StoreError::Unwritable(why, format!("{}: {error}", path.display())))
}

fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let name = PathBuf::from(name);
    let open = File::options().create(true).truncate(false).write(true).open(&name);
    let file = open
        .map_err(|error| StoreError::Failed(format!("cannot open {}: {error}", name.display())))?;
    file.try_lock().map_err(|error| {
        StoreError::Failed(match error {
            std::fs::TryLockError::WouldBlock => {
                format!("another server has {} open", path.display())
            }
            std::fs::TryLockError::Error(error) => {
                format!("cannot lock {}: {error}", name.display())
            }
        })
    })?;
    Ok(file)
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map_err(failed)?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        let mut writer = self.writer.lock().await;
        self.checkpointer.stop().await;
        // The last checkpoint leaves one file behind. A failure costs only that.
        let truncated = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *writer).await;
        if let Err(error) = truncated {
            tracing::warn!(%error, "the log could not be folded into the database file");
        }
    }
}

#[async_trait]
impl Belt for SqliteStore {
    async fn append(&self, batch: &[NewEvent], lease: Lease) -> Result<Vec<Appended>> {
        let timed = Timed::start("append");
        let appended = self.append_batch(batch, lease).await?;
        timed.done(batch.len());
        Ok(appended)
    }

    async fn claim(
        &self,
        wanted: &[(SubscriptionId, u32)],
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claims> {
        let timed = Timed::start("claim");
        let claims = self.claim_due(wanted, lease, now).await?;
        timed.done(claims.claimed.len());
        Ok(claims)
    }

    async fn record(&self, batch: &[Record]) -> Result<()> {
        let timed = Timed::start("record");
        self.record_batch(batch).await?;
        timed.done(batch.len());
        Ok(())
    }

    async fn switch(&self, switch: &Switch) -> Result<()> {
        self.switch_pipeline(switch).await
    }

    async fn due(&self, owner: i64) -> Result<Vec<(SubscriptionId, Timestamp)>> {
        self.first_due(owner).await
    }

    async fn release(&self, owner: i64) -> Result<()> {
        self.release_all(owner).await
    }
}
