//! Plugins: versions and components, and what happens to them after their upload.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    Result, SqliteStore, StoreError,
    codec::{bytes16, col, col_time, col_u64, damaged, from_json, from_word, json, millis, word},
    failed,
    resources::found,
    there,
};
use crate::{
    model::{
        ApplicationId, EventId, PluginChange, PluginFailure, PluginVersion, Quarantine, Rollout,
        Sha256,
    },
    store::{Page, Plugins},
};

/// A plugin's owner as its column: empty for shared ones.
fn owner_bytes(owner: Option<ApplicationId>) -> Vec<u8> {
    owner.map_or_else(Vec::new, |id| id.as_bytes().to_vec())
}

fn owner_from(owner: &[u8]) -> Result<Option<ApplicationId>> {
    if owner.is_empty() {
        return Ok(None);
    }
    bytes16(owner).map(|id| Some(ApplicationId::from_bytes(id)))
}

fn digest_from(bytes: &[u8]) -> Result<Sha256> {
    bytes.try_into().map(Sha256).map_err(|_| damaged("a digest"))
}

fn plugin_from(row: &SqliteRow) -> Result<PluginVersion> {
    Ok(PluginVersion {
        application: owner_from(col(row, 0)?)?,
        name: col(row, 1)?,
        version: col(row, 2)?,
        sha256: digest_from(col(row, 3)?)?,
        kind: from_word(col(row, 4)?)?,
        size: col_u64(row, 5)?,
        interface: col(row, 6)?,
        manifest: from_json(col(row, 7)?)?,
        live: col(row, 8)?,
        created_at: col_time(row, 9)?,
    })
}

fn change_from(row: &SqliteRow) -> Result<(i64, PluginChange)> {
    let change = PluginChange {
        application: owner_from(col(row, 1)?)?,
        name: col(row, 2)?,
        action: from_word(col(row, 3)?)?,
        from: col(row, 4)?,
        to: col(row, 5)?,
        by: col(row, 6)?,
        forced: col(row, 7)?,
        note: col(row, 8)?,
        at: col_time(row, 9)?,
    };
    Ok((col(row, 0)?, change))
}

fn quarantine_from(row: &SqliteRow) -> Result<Quarantine> {
    Ok(Quarantine {
        application: ApplicationId::from_bytes(bytes16(col(row, 0)?)?),
        sha256: digest_from(col(row, 1)?)?,
        name: col(row, 2)?,
        version: col(row, 3)?,
        reason: col(row, 4)?,
        at: col_time(row, 5)?,
    })
}

fn failure_from(row: &SqliteRow) -> Result<(i64, PluginFailure)> {
    let failure = PluginFailure {
        application: ApplicationId::from_bytes(bytes16(col(row, 1)?)?),
        name: col(row, 2)?,
        version: col(row, 3)?,
        sha256: digest_from(col(row, 4)?)?,
        event_id: EventId::from_bytes(bytes16(col(row, 5)?)?),
        config: col(row, 6)?,
        kind: from_word(col(row, 7)?)?,
        message: col(row, 8)?,
        backtrace: from_json(col(row, 9)?)?,
        log: from_json(col(row, 10)?)?,
        fuel: col_u64(row, 11)?,
        at: col_time(row, 12)?,
    };
    Ok((col(row, 0)?, failure))
}

#[async_trait]
impl Plugins for SqliteStore {
    async fn add_plugin(
        &self,
        version: &PluginVersion,
        component: &Bytes,
        change: Option<&PluginChange>,
    ) -> Result<()> {
        let owner = owner_bytes(version.application);
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let known: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT sha256 FROM plugins WHERE owner = ? AND name = ? AND version = ?",
        )
        .bind(owner.as_slice())
        .bind(version.name.as_str())
        .bind(version.version.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        match known {
            Some(sha256) if sha256 == version.sha256.0 => return Ok(()),
            Some(_) => return Err(StoreError::Exists),
            None => {}
        }
        if let Some(application) = version.application
            && there::is_gone(&mut transaction, application).await?
        {
            return Err(StoreError::NoApplication);
        }
        sqlx::query("INSERT OR IGNORE INTO components (sha256, bytes) VALUES (?, ?)")
            .bind(version.sha256.0.as_slice())
            .bind(component.as_ref())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if version.live {
            sqlx::query("UPDATE plugins SET live = 0 WHERE owner = ? AND name = ?")
                .bind(owner.as_slice())
                .bind(version.name.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        sqlx::query(
            "INSERT INTO plugins (owner, name, version, sha256, kind, size, interface, manifest, live, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(owner)
        .bind(version.name.as_str())
        .bind(version.version.as_str())
        .bind(version.sha256.0.as_slice())
        .bind(word(&version.kind)?)
        .bind(version.size as i64)
        .bind(version.interface.as_str())
        .bind(json(&version.manifest)?)
        .bind(version.live)
        .bind(millis(version.created_at))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if let Some(change) = change {
            note(&mut transaction, change).await?;
            end_rollout(&mut transaction, version.application, &version.name).await?;
        }
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn plugins(&self) -> Result<Vec<PluginVersion>> {
        let rows = sqlx::query(
            "SELECT owner, name, version, sha256, kind, size, interface, manifest, live, created_at
             FROM plugins ORDER BY name, created_at DESC",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(plugin_from).collect()
    }

    async fn component(&self, sha256: &Sha256) -> Result<Bytes> {
        let bytes: Vec<u8> = sqlx::query_scalar("SELECT bytes FROM components WHERE sha256 = ?")
            .bind(sha256.0.as_slice())
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        Ok(bytes.into())
    }

    async fn set_live(&self, change: &PluginChange) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let changed = sqlx::query(
            "UPDATE plugins SET live = (version = ?3) WHERE owner = ?1 AND name = ?2
             AND EXISTS (SELECT 1 FROM plugins WHERE owner = ?1 AND name = ?2 AND version = ?3)",
        )
        .bind(owner_bytes(change.application))
        .bind(change.name.as_str())
        .bind(change.to.as_deref())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        found(changed.rows_affected())?;
        note(&mut transaction, change).await?;
        end_rollout(&mut transaction, change.application, &change.name).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn delete_plugin(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: Option<&str>,
    ) -> Result<()> {
        let mut write = self.write().await?;
        let gone = sqlx::query(
            "DELETE FROM plugins WHERE owner = ?1 AND name = ?2 AND (?3 IS NULL OR version = ?3)",
        )
        .bind(owner_bytes(owner))
        .bind(name)
        .bind(version)
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        // The component stays: deliveries made before may still name it.
        found(gone.rows_affected())
    }

    async fn plugin_history(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<(i64, PluginChange)>> {
        let rows = sqlx::query(
            "SELECT row, owner, name, action, from_version, to_version, actor, forced, note, at
             FROM plugin_history WHERE owner = ?1 AND name = ?2 AND row < ?3
             ORDER BY row DESC LIMIT ?4",
        )
        .bind(owner_bytes(owner))
        .bind(name)
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        page(&rows, limit, change_from)
    }

    async fn rollouts(&self) -> Result<Vec<Rollout>> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT rollout FROM rollouts")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter().map(|text| from_json(text)).collect()
    }

    async fn start_rollout(&self, rollout: &Rollout, change: &PluginChange) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        sqlx::query("INSERT OR REPLACE INTO rollouts (owner, name, rollout) VALUES (?, ?, ?)")
            .bind(owner_bytes(rollout.application))
            .bind(rollout.name.as_str())
            .bind(json(rollout)?)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        note(&mut transaction, change).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn end_rollout(&self, change: &PluginChange) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        end_rollout(&mut transaction, change.application, &change.name).await?;
        note(&mut transaction, change).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn quarantines(&self) -> Result<Vec<Quarantine>> {
        let rows = sqlx::query(
            "SELECT application_id, sha256, name, version, reason, at FROM quarantines ORDER BY at",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(quarantine_from).collect()
    }

    async fn quarantine(&self, quarantine: &Quarantine, change: &PluginChange) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO quarantines (application_id, sha256, name, version, reason, at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(quarantine.application.as_bytes().as_slice())
        .bind(quarantine.sha256.0.as_slice())
        .bind(quarantine.name.as_str())
        .bind(quarantine.version.as_str())
        .bind(quarantine.reason.as_str())
        .bind(millis(quarantine.at))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        note(&mut transaction, change).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn release_quarantine(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
        change: &PluginChange,
    ) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let gone = sqlx::query("DELETE FROM quarantines WHERE application_id = ? AND sha256 = ?")
            .bind(application.as_bytes().as_slice())
            .bind(sha256.0.as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        found(gone.rows_affected())?;
        note(&mut transaction, change).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn add_failures(&self, failures: &[PluginFailure], keep: u32) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        for failure in failures {
            insert_failure(&mut transaction, failure).await?;
            sqlx::query(
                "DELETE FROM plugin_failures WHERE application_id = ?1 AND sha256 = ?2 AND row <=
                     (SELECT row FROM plugin_failures WHERE application_id = ?1 AND sha256 = ?2
                      ORDER BY row DESC LIMIT 1 OFFSET ?3)",
            )
            .bind(failure.application.as_bytes().as_slice())
            .bind(failure.sha256.0.as_slice())
            .bind(i64::from(keep))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn failures(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<(i64, PluginFailure)>> {
        let rows = sqlx::query(
            "SELECT row, application_id, name, version, sha256, event_id, config, kind, message,
                    backtrace, log, fuel, at
             FROM plugin_failures WHERE application_id = ?1 AND sha256 = ?2 AND row < ?3
             ORDER BY row DESC LIMIT ?4",
        )
        .bind(application.as_bytes().as_slice())
        .bind(sha256.0.as_slice())
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        page(&rows, limit, failure_from)
    }
}

/// The page that `limit` and one more rows are.
fn page<T>(
    rows: &[SqliteRow],
    limit: u32,
    read: impl Fn(&SqliteRow) -> Result<T>,
) -> Result<Page<T>> {
    let most = limit as usize;
    let items = rows.iter().take(most).map(read).collect::<Result<_>>()?;
    Ok(Page { items, more: rows.len() > most })
}

async fn note(connection: &mut SqliteConnection, change: &PluginChange) -> Result<()> {
    sqlx::query(
        "INSERT INTO plugin_history (owner, name, action, from_version, to_version, actor, forced,
             note, at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(owner_bytes(change.application))
    .bind(change.name.as_str())
    .bind(word(&change.action)?)
    .bind(change.from.as_deref())
    .bind(change.to.as_deref())
    .bind(change.by.as_str())
    .bind(change.forced)
    .bind(change.note.as_deref())
    .bind(millis(change.at))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn end_rollout(
    connection: &mut SqliteConnection,
    owner: Option<ApplicationId>,
    name: &str,
) -> Result<()> {
    sqlx::query("DELETE FROM rollouts WHERE owner = ? AND name = ?")
        .bind(owner_bytes(owner))
        .bind(name)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

async fn insert_failure(connection: &mut SqliteConnection, failure: &PluginFailure) -> Result<()> {
    sqlx::query(
        "INSERT INTO plugin_failures (application_id, name, version, sha256, event_id, config, kind,
             message, backtrace, log, fuel, at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(failure.application.as_bytes().as_slice())
    .bind(failure.name.as_str())
    .bind(failure.version.as_str())
    .bind(failure.sha256.0.as_slice())
    .bind(failure.event_id.as_bytes().as_slice())
    .bind(failure.config.as_str())
    .bind(word(&failure.kind)?)
    .bind(failure.message.as_str())
    .bind(json(&failure.backtrace)?)
    .bind(json(&failure.log)?)
    .bind(i64::try_from(failure.fuel).unwrap_or(i64::MAX))
    .bind(millis(failure.at))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
