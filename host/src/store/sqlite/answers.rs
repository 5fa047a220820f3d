//! Answers to requests that are safe to repeat: a row each, sealed.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{
    Result, SqliteStore,
    codec::{col, millis},
    credentials::closed,
    failed,
    resources::found,
};
use crate::{
    model::Timestamp,
    seal::{Place, Vault},
    store::{Answers, Asked, AskedId, Begun},
};

/// Where an answer stands.
const fn place(id: &[u8]) -> Place<'_> {
    Place { column: "answers.sealed", row: id }
}

/// Seals every answer under another data key.
pub(super) async fn reseal(
    connection: &mut SqliteConnection,
    old: &Vault,
    new: &Vault,
) -> Result<()> {
    let ids: Vec<Vec<u8>> = sqlx::query_scalar("SELECT id FROM answers WHERE sealed IS NOT NULL")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    // One by one: together they may be more than fits into memory.
    for id in &ids {
        let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM answers WHERE id = ?")
            .bind(id)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        let text = old.open(&place(id), &sealed).map_err(|error| closed(&error))?;
        let sealed = new.seal(&place(id), &text).map_err(|error| closed(&error))?;
        sqlx::query("UPDATE answers SET sealed = ? WHERE id = ?")
            .bind(sealed)
            .bind(id)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Deletes at most `limit` whose time is over.
pub(super) async fn sweep(
    connection: &mut SqliteConnection,
    now: Timestamp,
    limit: i64,
) -> Result<u64> {
    let gone = sqlx::query(
        "DELETE FROM answers WHERE id IN
             (SELECT id FROM answers WHERE expires_at <= ? LIMIT ?)",
    )
    .bind(millis(now))
    .bind(limit)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(gone.rows_affected())
}

#[async_trait]
impl Answers for SqliteStore {
    async fn begin_answer(&self, asked: &Asked, most: u32, now: Timestamp) -> Result<Begun> {
        let scope = asked.scope.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let known =
            sqlx::query("SELECT fingerprint, sealed FROM answers WHERE id = ? AND expires_at > ?")
                .bind(asked.id.as_slice())
                .bind(millis(now))
                .fetch_optional(&mut *transaction)
                .await
                .map_err(failed)?;
        let begun = match known {
            Some(row) if col::<&[u8]>(&row, 0)? != asked.fingerprint => Some(Begun::Other),
            Some(row) => {
                let sealed = col::<Option<&[u8]>>(&row, 1)?;
                let opened = sealed.map(|sealed| self.vault.open(&place(&asked.id), sealed));
                Some(Begun::Known(opened.transpose().map_err(|error| closed(&error))?))
            }
            None => {
                let used: i64 = sqlx::query_scalar("SELECT count(*) FROM answers WHERE scope = ?")
                    .bind(scope.as_slice())
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(failed)?;
                (used >= i64::from(most)).then_some(Begun::TooMany(most))
            }
        };
        if let Some(begun) = begun {
            transaction.rollback().await.map_err(failed)?;
            write.done();
            return Ok(begun);
        }
        sqlx::query(
            "INSERT OR REPLACE INTO answers (id, scope, fingerprint, expires_at)
             VALUES (?, ?, ?, ?)",
        )
        .bind(asked.id.as_slice())
        .bind(scope)
        .bind(asked.fingerprint.as_slice())
        .bind(millis(asked.expires_at))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(Begun::First)
    }

    async fn end_answer(&self, id: &AskedId, answer: &[u8]) -> Result<()> {
        let sealed = self.vault.seal(&place(id), answer).map_err(|error| closed(&error))?;
        let mut write = self.write().await?;
        let changed = sqlx::query("UPDATE answers SET sealed = ? WHERE id = ?")
            .bind(sealed)
            .bind(id.as_slice())
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        found(changed.rows_affected())
    }

    async fn drop_answer(&self, id: &AskedId) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM answers WHERE id = ?")
            .bind(id.as_slice())
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        Ok(())
    }
}
