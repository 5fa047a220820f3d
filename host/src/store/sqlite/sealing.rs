//! The data key of a database: made, opened, replaced; and what was clear made sealed.
//!
//! Owns the rows `data_key` and `unswept` of `installation`. While there is no data key, every
//! secret is in clear; from the transaction that writes it on, none is.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use super::{
    Result, StoreError, answers, begin,
    codec::damaged,
    connect,
    credentials::{self, closed, place},
    failed, lock, migrate, sources,
};
use crate::seal::{KeySource, MasterKey, Place, Vault};

/// Where the installation's own key stands.
pub(super) const INSTALLATION_KEY: Place<'static> =
    Place { column: "installation.value", row: b"key" };

/// The vault of a database that was migrated. One whose secrets are in clear is sealed first.
pub(super) async fn open(
    connection: &mut SqliteConnection,
    database: &Path,
    source: &KeySource,
) -> Result<Vault> {
    let vault = match fact(connection, "data_key").await? {
        Some(wrapped) => source.open(database, &wrapped).map_err(|error| closed(&error))?,
        None => {
            seal_all(connection, &source.first(database).map_err(|error| closed(&error))?).await?
        }
    };
    if fact(connection, "unswept").await?.is_some()
        && let Err(error) = sweep(connection).await
    {
        tracing::warn!(%error, "secrets from before they were sealed may still be in unused parts of the database file; the next start tries again to clear them");
    }
    Ok(vault)
}

async fn fact(connection: &mut SqliteConnection, name: &str) -> Result<Option<Vec<u8>>> {
    sqlx::query_scalar("SELECT value FROM installation WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await
        .map_err(failed)
}

async fn put_fact(connection: &mut SqliteConnection, name: &str, value: &[u8]) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO installation (name, value) VALUES (?, ?)")
        .bind(name)
        .bind(value)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

async fn put_sealed(connection: &mut SqliteConnection, id: &[u8], sealed: &[u8]) -> Result<()> {
    sqlx::query("UPDATE subscriptions SET sealed = ? WHERE id = ?")
        .bind(sealed)
        .bind(id)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Seals all that is in clear, in the transaction that brings the data key.
async fn seal_all(connection: &mut SqliteConnection, master: &MasterKey) -> Result<Vault> {
    let vault = Vault::generate().map_err(|error| closed(&error))?;
    pragma(connection, "PRAGMA secure_delete = ON").await?;
    let mut transaction = begin(connection).await?;
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as("SELECT id, secrets FROM subscriptions")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    for (id, text) in &rows {
        let sealed = credentials::seal_plain(&vault, id, text)?;
        put_sealed(&mut transaction, id, &sealed).await?;
    }
    sqlx::query("ALTER TABLE subscriptions DROP COLUMN secrets")
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let key = fact(&mut transaction, "key").await?;
    if let Some(key) = &key {
        let sealed = vault.seal(&INSTALLATION_KEY, key).map_err(|error| closed(&error))?;
        put_fact(&mut transaction, "key", &sealed).await?;
    }
    let wrapped = vault.wrapped(master).map_err(|error| closed(&error))?;
    put_fact(&mut transaction, "data_key", &wrapped).await?;
    if key.is_some() || !rows.is_empty() {
        put_fact(&mut transaction, "unswept", &[]).await?;
        tracing::info!(
            subscriptions = rows.len(),
            "sealing the database's secrets and clearing their old copies, which takes a while if it is large"
        );
    }
    transaction.commit().await.map_err(failed)?;
    pragma(connection, "PRAGMA secure_delete = OFF").await?;
    Ok(vault)
}

/// Writes the whole file anew, so that nothing of what was deleted is left in its unused parts,
/// nor in the log.
async fn sweep(connection: &mut SqliteConnection) -> Result<()> {
    // The copy is as large as the database: on the disk, not in memory.
    for statement in ["PRAGMA temp_store = FILE", "VACUUM", "PRAGMA temp_store = MEMORY"] {
        pragma(connection, statement).await?;
    }
    sqlx::query("DELETE FROM installation WHERE name = 'unswept'")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    pragma(connection, "PRAGMA wal_checkpoint(TRUNCATE)").await
}

async fn pragma(connection: &mut SqliteConnection, statement: &'static str) -> Result<()> {
    sqlx::query(statement).execute(connection).await.map_err(failed)?;
    Ok(())
}

/// What a rotation did.
#[derive(Debug)]
pub struct Rotated {
    /// Subscriptions whose secrets were sealed anew.
    pub subscriptions: usize,
    /// The same of sources.
    pub sources: usize,
}

/// Seals every secret of a database that no server has open under a new data key, and that under
/// another master key, in one transaction.
pub async fn rotate_master_key(
    database: &Path,
    source: &KeySource,
    next: &MasterKey,
) -> Result<Rotated> {
    if !database.exists() {
        return Err(StoreError::Failed(format!("there is no database {}", database.display())));
    }
    let _lock = lock(database)?;
    let mut connection = connect(database).await?;
    migrate(&mut connection).await?;
    let old = open(&mut connection, database, source).await?;
    let new = Vault::generate().map_err(|error| closed(&error))?;
    let mut transaction = begin(&mut connection).await?;
    let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as("SELECT id, sealed FROM subscriptions")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    for (id, sealed) in &rows {
        let text = old.open(&place(id), sealed).map_err(|error| closed(&error))?;
        let sealed = new.seal(&place(id), &text).map_err(|error| closed(&error))?;
        put_sealed(&mut transaction, id, &sealed).await?;
    }
    let sources = sources::reseal(&mut transaction, &old, &new).await?;
    answers::reseal(&mut transaction, &old, &new).await?;
    if let Some(sealed) = fact(&mut transaction, "key").await? {
        let key = old.open(&INSTALLATION_KEY, &sealed).map_err(|error| closed(&error))?;
        let sealed = new.seal(&INSTALLATION_KEY, &key).map_err(|error| closed(&error))?;
        put_fact(&mut transaction, "key", &sealed).await?;
    }
    let wrapped = new.wrapped(next).map_err(|error| closed(&error))?;
    put_fact(&mut transaction, "data_key", &wrapped).await?;
    // Whoever has the old key and what is left of the old rows would have the secrets.
    put_fact(&mut transaction, "unswept", &[]).await?;
    transaction.commit().await.map_err(failed)?;
    if let Err(error) = sweep(&mut connection).await {
        tracing::warn!(%error, "what was sealed under the old key may still be in unused parts of the database file; the next start clears it");
    }
    connection.close().await.map_err(failed)?;
    Ok(Rotated { subscriptions: rows.len(), sources })
}

/// The installation's own key: `fresh` if it has none yet.
pub(super) async fn installation_key(
    connection: &mut SqliteConnection,
    vault: &Vault,
    fresh: [u8; 32],
) -> Result<[u8; 32]> {
    if let Some(sealed) = fact(connection, "key").await? {
        let key = vault.open(&INSTALLATION_KEY, &sealed).map_err(|error| closed(&error))?;
        return key.as_slice().try_into().map_err(|_| damaged("a key"));
    }
    let sealed = vault.seal(&INSTALLATION_KEY, &fresh).map_err(|error| closed(&error))?;
    put_fact(connection, "key", &sealed).await?;
    Ok(fresh)
}
