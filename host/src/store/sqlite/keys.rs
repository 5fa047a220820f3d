//! API keys and portal epochs.

use async_trait::async_trait;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    Result, SqliteStore,
    codec::{bytes16, col, col_time, col_u64, damaged, from_json, json, millis, timestamp},
    failed, limits, taken,
};
use crate::{
    model::{ApiKey, ApplicationId, KeyId, Timestamp},
    store::{Keys, StoreError, StoredKey},
};

fn stored(row: &SqliteRow) -> Result<StoredKey> {
    let application = col::<Option<&[u8]>>(row, 3)?.map(bytes16).transpose()?;
    let time = |index| col::<Option<i64>>(row, index)?.map(timestamp).transpose();
    Ok(StoredKey {
        key: ApiKey {
            id: KeyId::from_bytes(bytes16(col(row, 0)?)?),
            name: col(row, 2)?,
            application: application.map(ApplicationId::from_bytes),
            scopes: from_json(col(row, 4)?)?,
            created_at: col_time(row, 5)?,
            expires_at: time(6)?,
            last_used_at: time(7)?,
            revoked_at: time(8)?,
        },
        hash: col::<&[u8]>(row, 1)?.try_into().map_err(|_| damaged("a hash"))?,
    })
}

async fn insert(connection: &mut SqliteConnection, stored: &StoredKey) -> Result<()> {
    let key = &stored.key;
    sqlx::query(
        "INSERT INTO api_keys (id, hash, name, application_id, scopes, created_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.id.as_bytes().as_slice())
    .bind(stored.hash.as_slice())
    .bind(&key.name)
    .bind(key.application.as_ref().map(|id| id.as_bytes().as_slice()))
    .bind(json(&key.scopes)?)
    .bind(millis(key.created_at))
    .bind(key.expires_at.map(millis))
    .execute(connection)
    .await
    .map_err(taken)?;
    Ok(())
}

#[async_trait]
impl Keys for SqliteStore {
    async fn create_key(&self, key: &StoredKey) -> Result<()> {
        let mut write = self.write().await?;
        insert(&mut write.connection, key).await?;
        write.done();
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<StoredKey>> {
        let rows = sqlx::query(
            "SELECT id, hash, name, application_id, scopes, created_at, expires_at, last_used_at,
                    revoked_at
             FROM api_keys ORDER BY id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(stored).collect()
    }

    async fn replace_key(&self, old: KeyId, end: Timestamp, new: &StoredKey) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let ended = sqlx::query(
            "UPDATE api_keys SET expires_at = min(?2, coalesce(expires_at, ?2))
             WHERE id = ?1 AND revoked_at IS NULL",
        )
        .bind(old.as_bytes().as_slice())
        .bind(millis(end))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if ended.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        insert(&mut transaction, new).await?;
        limits::inherit(&mut transaction, old, new.key.id).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<()> {
        let mut write = self.write().await?;
        let revoked =
            sqlx::query("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
                .bind(millis(at))
                .bind(id.as_bytes().as_slice())
                .execute(&mut *write.connection)
                .await
                .map_err(failed)?;
        write.done();
        if revoked.rows_affected() == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }

    async fn delete_keys(&self, ids: &[KeyId]) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        for id in ids {
            sqlx::query("DELETE FROM api_keys WHERE id = ?")
                .bind(id.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            limits::forget_key(&mut transaction, *id).await?;
        }
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        for (id, at) in used {
            sqlx::query("UPDATE api_keys SET last_used_at = ? WHERE id = ?")
                .bind(millis(*at))
                .bind(id.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn portal_epochs(&self) -> Result<Vec<(ApplicationId, u64)>> {
        let rows = sqlx::query("SELECT application_id, epoch FROM portal_epochs")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| Ok((ApplicationId::from_bytes(bytes16(col(row, 0)?)?), col_u64(row, 1)?)))
            .collect()
    }

    async fn next_portal_epoch(&self, application: ApplicationId) -> Result<u64> {
        let mut write = self.write().await?;
        let epoch: i64 = sqlx::query_scalar(
            "INSERT INTO portal_epochs (application_id, epoch) VALUES (?, 1)
             ON CONFLICT (application_id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
        )
        .bind(application.as_bytes().as_slice())
        .fetch_one(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        u64::try_from(epoch).map_err(|_| damaged("an epoch"))
    }
}
