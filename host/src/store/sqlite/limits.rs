//! Limits: one row for each holder that has its own, gone with the holder.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{
    Result, SqliteStore,
    codec::{col, damaged, from_json, json},
    failed,
};
use crate::{
    model::{ApplicationId, Holder, KeyId, Limits, Usage},
    store::{LimitDocuments, StoreError},
};

async fn is_there(connection: &mut SqliteConnection, holder: &Holder) -> Result<bool> {
    let query = match holder {
        Holder::Application(id) => {
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM applications WHERE id = ?)")
                .bind(id.as_bytes().to_vec())
        }
        Holder::EventType(name) => {
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM event_types WHERE name = ?)")
                .bind(name.as_str())
        }
        Holder::Key(id) => {
            let Ok(id) = id.parse::<KeyId>() else { return Ok(false) };
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)")
                .bind(id.as_bytes().to_vec())
        }
    };
    query.fetch_one(connection).await.map_err(failed)
}

/// Deletes the limits of what goes in the same transaction. Those of event types go by a
/// trigger: the database can write their names.
pub(super) async fn forget(connection: &mut SqliteConnection, holder: &Holder) -> Result<()> {
    sqlx::query("DELETE FROM limits WHERE kind = ? AND name = ?")
        .bind(holder.kind())
        .bind(holder.to_string())
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// The same for a key.
pub(super) async fn forget_key(connection: &mut SqliteConnection, id: KeyId) -> Result<()> {
    forget(connection, &Holder::Key(id.to_string().into())).await
}

/// Gives a key the limits of another.
pub(super) async fn inherit(
    connection: &mut SqliteConnection,
    old: KeyId,
    new: KeyId,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO limits (kind, name, document)
         SELECT kind, ?, document FROM limits WHERE kind = 'key' AND name = ?",
    )
    .bind(new.to_string())
    .bind(old.to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

#[async_trait]
impl LimitDocuments for SqliteStore {
    async fn put_limits(&self, holder: &Holder, limits: &Limits) -> Result<()> {
        let mut write = self.write().await?;
        // One writer: what is there now is there until this is written.
        if !is_there(&mut write.connection, holder).await? {
            return Err(StoreError::NotFound);
        }
        if *limits == Limits::default() {
            forget(&mut write.connection, holder).await?;
        } else {
            sqlx::query("INSERT OR REPLACE INTO limits (kind, name, document) VALUES (?, ?, ?)")
                .bind(holder.kind())
                .bind(holder.to_string())
                .bind(json(limits)?)
                .execute(&mut *write.connection)
                .await
                .map_err(failed)?;
        }
        write.done();
        Ok(())
    }

    async fn limits(&self) -> Result<Vec<(Holder, Limits)>> {
        let rows = sqlx::query("SELECT kind, name, document FROM limits")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let holder = Holder::from_parts(col(row, 0)?, col(row, 1)?)
                    .ok_or_else(|| damaged("a holder of limits"))?;
                Ok((holder, from_json(col(row, 2)?)?))
            })
            .collect()
    }

    fn usage(&self, application: ApplicationId) -> Usage {
        self.usages.of(application)
    }
}
