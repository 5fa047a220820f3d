//! The audit log.

use async_trait::async_trait;
use serde_json::Value;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{
    Result, SqliteStore,
    codec::{bytes16, col, col_time, from_json, json, millis},
    failed,
    history::push_times,
};
use crate::{
    model::{ApplicationId, AuditEntry, AuditFilter, AuditId, ChangeOutcome, Timestamp},
    store::{Audit, Page},
};

const UNKNOWN: i64 = 0;
const DONE: i64 = 1;

fn entry(row: &SqliteRow) -> Result<AuditEntry> {
    let application = col::<Option<&[u8]>>(row, 7)?.map(bytes16).transpose()?;
    let document = |index| col::<Option<&str>>(row, index)?.map(from_json::<Value>).transpose();
    Ok(AuditEntry {
        id: AuditId::from_bytes(bytes16(col(row, 0)?)?),
        at: col_time(row, 1)?,
        actor: col::<&str>(row, 2)?.into(),
        actor_name: col::<&str>(row, 3)?.into(),
        action: col(row, 4)?,
        resource: col(row, 5)?,
        resource_id: col(row, 6)?,
        application: application.map(ApplicationId::from_bytes),
        request_id: col(row, 8)?,
        outcome: match col::<i64>(row, 9)? {
            DONE => ChangeOutcome::Done,
            _ => ChangeOutcome::Unknown,
        },
        before: document(10)?,
        after: document(11)?,
    })
}

fn code(outcome: ChangeOutcome) -> i64 {
    match outcome {
        ChangeOutcome::Unknown => UNKNOWN,
        ChangeOutcome::Done => DONE,
    }
}

fn document(value: Option<&Value>) -> Result<Option<String>> {
    value.map(json).transpose()
}

/// An entry, committed by itself.
pub(super) async fn insert(connection: &mut SqliteConnection, entry: &AuditEntry) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, actor, actor_name, action, resource, resource_id,
                            application_id, request_id, outcome, before, after)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.id.as_bytes().as_slice())
    .bind(millis(entry.at))
    .bind(&*entry.actor)
    .bind(&*entry.actor_name)
    .bind(&entry.action)
    .bind(&entry.resource)
    .bind(entry.resource_id.as_deref())
    .bind(entry.application.as_ref().map(|id| id.as_bytes().as_slice()))
    .bind(&entry.request_id)
    .bind(code(entry.outcome))
    .bind(document(entry.before.as_ref())?)
    .bind(document(entry.after.as_ref())?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

#[async_trait]
impl Audit for SqliteStore {
    async fn begin_audit(&self, entry: &AuditEntry) -> Result<()> {
        let mut write = self.write().await?;
        insert(&mut write.connection, entry).await?;
        write.done();
        Ok(())
    }

    async fn end_audit(&self, entry: &AuditEntry) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query(
            "UPDATE audit SET resource = ?, resource_id = ?, application_id = ?, outcome = ?,
                              after = ?
             WHERE id = ?",
        )
        .bind(&entry.resource)
        .bind(entry.resource_id.as_deref())
        .bind(entry.application.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(code(entry.outcome))
        .bind(document(entry.after.as_ref())?)
        .bind(entry.id.as_bytes().as_slice())
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn drop_audit(&self, id: AuditId) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM audit WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Page<AuditEntry>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT id, at, actor, actor_name, action, resource, resource_id, application_id, \
             request_id, outcome, before, after FROM audit WHERE true",
        );
        if let Some(application) = filter.application {
            query.push(" AND application_id = ").push_bind(application.as_bytes().to_vec());
        }
        let texts = [
            ("actor", &filter.actor),
            ("action", &filter.action),
            ("resource", &filter.resource),
            ("resource_id", &filter.resource_id),
        ];
        for (column, wanted) in texts {
            if let Some(wanted) = wanted {
                query.push(format!(" AND {column} = ")).push_bind(wanted.clone());
            }
        }
        push_times(&mut query, "at", filter.since, filter.until);
        if let Some(before) = before {
            query.push(" AND id < ").push_bind(before.as_bytes().to_vec());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await.map_err(failed)?;
        let mut items = rows.iter().map(entry).collect::<Result<Vec<_>>>()?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Ok(Page { items, more })
    }

    async fn purge_audit(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let mut write = self.write().await?;
        let gone = sqlx::query(
            "DELETE FROM audit WHERE row IN (SELECT row FROM audit WHERE at < ? LIMIT ?)",
        )
        .bind(millis(before))
        .bind(limit)
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        Ok(gone.rows_affected())
    }
}
