//! Applications, event types and pipelines. Subscriptions and plugins are long enough
//! for files of their own.

use async_trait::async_trait;
use serde_json::Value;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    Result, SqliteStore, StoreError,
    codec::{
        bytes16, col, col_time, col_u32, col_u64, damaged, event_type, from_json, from_word, json,
        millis, timestamp, word,
    },
    failed, limits, sealing, subscriptions, taken,
};
use crate::{
    model::{
        Application, ApplicationId, EventType, EventTypeName, Holder, KeyId, Lifecycle, Pipeline,
        PipelineId, ResolvedStep, SchemaVersion, Sha256, Subscription, SubscriptionId, Timestamp,
    },
    store::Resources,
};

const EVENT_TYPE: &str = "SELECT name, description, mode, violations, created_at,
    (SELECT coalesce(max(version), 0) FROM schemas WHERE event_type = name), content_types,
    compatibility, deprecated_at, sunset_at, archived_at FROM event_types";

fn event_type_from(row: &SqliteRow) -> Result<EventType> {
    Ok(EventType {
        name: event_type(col(row, 0)?)?,
        description: col(row, 1)?,
        mode: from_word(col(row, 2)?)?,
        violations: col_u64(row, 3)?,
        created_at: col_time(row, 4)?,
        latest_version: col_u32(row, 5)?,
        content_types: from_json(col(row, 6)?)?,
        compatibility: from_word(col(row, 7)?)?,
        lifecycle: lifecycle(row, 8)?,
        archived_at: time(row, 10)?,
    })
}

fn lifecycle(row: &SqliteRow, at: usize) -> Result<Lifecycle> {
    Ok(Lifecycle { deprecated_at: time(row, at)?, sunset_at: time(row, at + 1)? })
}

fn time(row: &SqliteRow, at: usize) -> Result<Option<Timestamp>> {
    col::<Option<i64>>(row, at)?.map(timestamp).transpose()
}

#[async_trait]
impl Resources for SqliteStore {
    async fn create_application(&self, application: &Application) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query("INSERT INTO applications (id, name, created_at) VALUES (?, ?, ?)")
            .bind(application.id.as_bytes().as_slice())
            .bind(application.name.as_str())
            .bind(millis(application.created_at))
            .execute(&mut *write.connection)
            .await
            .map_err(taken)?;
        write.done();
        Ok(())
    }

    async fn applications(&self) -> Result<Vec<Application>> {
        let rows = sqlx::query("SELECT id, name, created_at FROM applications ORDER BY id DESC")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(Application {
                    id: ApplicationId::from_bytes(bytes16(col(row, 0)?)?),
                    name: col(row, 1)?,
                    created_at: col_time(row, 2)?,
                })
            })
            .collect()
    }

    async fn delete_application(&self, id: ApplicationId) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let used: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM subscriptions WHERE application_id = ?1)
                  + (SELECT count(*) FROM plugins WHERE owner = ?1)
                  + (SELECT count(*) FROM sources WHERE application_id = ?1)
                  + EXISTS (SELECT 1 FROM events WHERE application_id = ?1)",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        if used > 0 {
            return Err(StoreError::InUse(u64::try_from(used).unwrap_or_default()));
        }
        let keys: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT id FROM api_keys WHERE application_id = ?")
                .bind(id.as_bytes().as_slice())
                .fetch_all(&mut *transaction)
                .await
                .map_err(failed)?;
        for key in keys {
            limits::forget_key(&mut transaction, KeyId::from_bytes(bytes16(&key)?)).await?;
        }
        limits::forget(&mut transaction, &Holder::Application(id)).await?;
        let gone = sqlx::query("DELETE FROM applications WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.usages.forget(id);
        write.done();
        found(gone.rows_affected())
    }

    async fn create_event_type(
        &self,
        event_type: &EventType,
        schema: Option<&Value>,
    ) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        sqlx::query(
            "INSERT INTO event_types (name, description, mode, created_at, content_types,
                 compatibility)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(event_type.name.as_str())
        .bind(event_type.description.as_deref())
        .bind(word(&event_type.mode)?)
        .bind(millis(event_type.created_at))
        .bind(json(&event_type.content_types)?)
        .bind(word(&event_type.compatibility)?)
        .execute(&mut *transaction)
        .await
        .map_err(taken)?;
        if let Some(schema) = schema {
            add_schema(&mut transaction, &event_type.name, schema, event_type.created_at).await?;
        }
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn event_types(&self) -> Result<Vec<EventType>> {
        let sql = format!("{EVENT_TYPE} ORDER BY name");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(event_type_from).collect()
    }

    async fn event_type(&self, name: &EventTypeName) -> Result<EventType> {
        let sql = format!("{EVENT_TYPE} WHERE name = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(name.as_str())
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        event_type_from(&row)
    }

    async fn change_event_type(&self, changed: &EventType) -> Result<()> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE event_types SET description = ?, mode = ?, content_types = ?,
                 compatibility = ?, deprecated_at = ?, sunset_at = ?, archived_at = ?
             WHERE name = ?",
        )
        .bind(changed.description.as_deref())
        .bind(word(&changed.mode)?)
        .bind(json(&changed.content_types)?)
        .bind(word(&changed.compatibility)?)
        .bind(changed.lifecycle.deprecated_at.map(millis))
        .bind(changed.lifecycle.sunset_at.map(millis))
        .bind(changed.archived_at.map(millis))
        .bind(changed.name.as_str())
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        found(done.rows_affected())
    }

    async fn delete_event_type(&self, name: &EventTypeName) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        // Events are found by their application and type, and by no type alone.
        let used: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM applications AS a WHERE EXISTS
                 (SELECT 1 FROM events AS e WHERE e.application_id = a.id AND e.type = ?))",
        )
        .bind(name.as_str())
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        if used {
            return Err(StoreError::InUse(1));
        }
        let gone = sqlx::query("DELETE FROM event_types WHERE name = ?")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        found(gone.rows_affected())
    }

    async fn add_schema(
        &self,
        name: &EventTypeName,
        schema: &Value,
        now: Timestamp,
    ) -> Result<u32> {
        let mut write = self.write().await?;
        let version = add_schema(&mut write.connection, name, schema, now).await?;
        write.done();
        Ok(version)
    }

    async fn schemas(&self, name: &EventTypeName) -> Result<Vec<SchemaVersion>> {
        let rows = sqlx::query(
            "SELECT version, schema, created_at, deprecated_at, sunset_at FROM schemas
             WHERE event_type = ? ORDER BY version",
        )
        .bind(name.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(SchemaVersion {
                    version: col_u32(row, 0)?,
                    schema: from_json(col(row, 1)?)?,
                    created_at: col_time(row, 2)?,
                    lifecycle: lifecycle(row, 3)?,
                })
            })
            .collect()
    }

    async fn create_subscription(&self, subscription: &Subscription) -> Result<()> {
        subscriptions::create(self, subscription).await
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>> {
        subscriptions::all(self).await
    }

    async fn put_subscription(&self, subscription: &Subscription) -> Result<()> {
        subscriptions::put(self, subscription).await
    }

    async fn delete_subscription(&self, id: SubscriptionId, now: Timestamp) -> Result<()> {
        subscriptions::delete(self, id, now).await
    }

    async fn resume_held(&self, id: SubscriptionId, now: Timestamp) -> Result<u64> {
        subscriptions::resume_held(self, id, now).await
    }

    async fn hold_pending(&self, id: SubscriptionId, reason: &str) -> Result<u64> {
        subscriptions::hold_pending(self, id, reason).await
    }

    async fn intern_pipeline(
        &self,
        steps: &[ResolvedStep],
        contract: Option<&str>,
    ) -> Result<PipelineId> {
        let text = json(&steps)?;
        // JSON text holds no line break, so the parts cannot run into each other.
        let digest = match contract {
            None => Sha256::of(text.as_bytes()),
            Some(contract) => Sha256::of(format!("{text}\n{contract}").as_bytes()),
        };
        let mut write = self.write().await?;
        sqlx::query("INSERT OR IGNORE INTO pipelines (digest, steps, contract) VALUES (?, ?, ?)")
            .bind(digest.0.as_slice())
            .bind(text)
            .bind(contract)
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        let id = sqlx::query_scalar("SELECT id FROM pipelines WHERE digest = ?")
            .bind(digest.0.as_slice())
            .fetch_one(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        Ok(PipelineId(id))
    }

    async fn pipeline(&self, id: PipelineId) -> Result<Pipeline> {
        let (steps, contract): (String, Option<String>) =
            sqlx::query_as("SELECT steps, contract FROM pipelines WHERE id = ?")
                .bind(id.0)
                .fetch_one(&self.readers)
                .await
                .map_err(failed)?;
        Ok(Pipeline { id, steps: from_json(&steps)?, contract: contract.map(Into::into) })
    }

    async fn installation_key(&self, fresh: [u8; 32]) -> Result<[u8; 32]> {
        let mut write = self.write().await?;
        let key = sealing::installation_key(&mut write.connection, &self.vault, fresh).await?;
        write.done();
        Ok(key)
    }
}

async fn add_schema(
    connection: &mut SqliteConnection,
    name: &EventTypeName,
    schema: &Value,
    now: Timestamp,
) -> Result<u32> {
    let version: i64 = sqlx::query_scalar(
        "INSERT INTO schemas (event_type, version, schema, created_at)
         SELECT name, 1 + (SELECT coalesce(max(version), 0) FROM schemas WHERE event_type = name), ?2, ?3
         FROM event_types WHERE name = ?1 RETURNING version",
    )
    .bind(name.as_str())
    .bind(json(schema)?)
    .bind(millis(now))
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    u32::try_from(version).map_err(|_| damaged("a version"))
}

/// `NotFound` if a change touched nothing.
pub(super) fn found(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}
