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
                let used: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM answers WHERE scope = ? AND expires_at > ?",
                )
                .bind(scope.as_slice())
                .bind(millis(now))
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
        // Each that comes takes some with it that are over: they never pile up.
        sweep(&mut transaction, now, 10).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::ApplicationId,
        seal::{KeySource, MasterKey},
        store::{Store, sqlite::rotate_master_key},
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn asked(n: u8, scope: Option<ApplicationId>) -> Asked {
        Asked { id: [n; 32], scope, fingerprint: [n; 32], expires_at: at(60) }
    }

    fn known(answer: Option<&[u8]>) -> Begun {
        Begun::Known(answer.map(|answer| answer.to_vec().into()))
    }

    #[tokio::test]
    async fn a_scope_has_so_many_at_once_and_what_is_over_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        let (shop, other) = (Some(ApplicationId::new(at(0))), Some(ApplicationId::new(at(0))));
        let begin = async |n, scope, now| store.begin_answer(&asked(n, scope), 2, at(now)).await;
        for n in [1, 2] {
            assert_eq!(begin(n, shop, 0).await.unwrap(), Begun::First);
        }
        assert_eq!(begin(3, shop, 0).await.unwrap(), Begun::TooMany(2));
        // Those that are there are known all the same, and others have places of their own.
        assert_eq!(begin(1, shop, 0).await.unwrap(), known(None));
        assert_eq!(begin(4, other, 0).await.unwrap(), Begun::First);
        assert_eq!(begin(5, None, 0).await.unwrap(), Begun::First);
        store.drop_answer(&[2; 32]).await.unwrap();
        assert_eq!(begin(3, shop, 0).await.unwrap(), Begun::First);
        let mut write = store.write().await.unwrap();
        assert_eq!(sweep(&mut write.connection, at(59), 9).await.unwrap(), 0);
        assert_eq!(sweep(&mut write.connection, at(60), 2).await.unwrap(), 2);
        write.done();
        // The next to come takes the others with it.
        assert_eq!(begin(6, shop, 60).await.unwrap(), Begun::First);
        let mut write = store.write().await.unwrap();
        assert_eq!(sweep(&mut write.connection, at(60), 9).await.unwrap(), 1);
        write.done();
    }

    #[tokio::test]
    async fn an_answer_is_sealed_and_readable_under_another_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let (told, untold) = (asked(1, None), asked(2, None));
        for one in [&told, &untold] {
            assert_eq!(store.begin_answer(one, 9, at(0)).await.unwrap(), Begun::First);
        }
        store.end_answer(&told.id, b"hmk_once").await.unwrap();
        let raw: Vec<u8> =
            sqlx::query_scalar("SELECT sealed FROM answers WHERE sealed IS NOT NULL")
                .fetch_one(&store.readers)
                .await
                .unwrap();
        assert!(!raw.windows(8).any(|eight| eight == b"hmk_once"));
        store.close().await;
        drop(store);

        let next = MasterKey::generate().unwrap();
        let file = folder.path().join("next.key");
        next.write(&file).unwrap();
        rotate_master_key(&path, &KeySource::Beside, &next).await.unwrap();
        let source = KeySource::from_settings(None, Some(&file)).unwrap();
        let store = SqliteStore::open_with(&path, &source).await.unwrap();
        let begin = async |one| store.begin_answer(one, 9, at(0)).await.unwrap();
        assert_eq!(begin(&told).await, known(Some(b"hmk_once")));
        assert_eq!(begin(&untold).await, known(None));
        let other = Asked { fingerprint: [9; 32], ..told };
        assert_eq!(begin(&other).await, Begun::Other);
    }
}
