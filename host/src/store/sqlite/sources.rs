//! Sources: a row each, with their secrets sealed as one document.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use zeroize::Zeroizing;

use super::{
    Result, SqliteStore,
    codec::{bytes16, col, col_time, damaged, from_json, json, millis},
    credentials::closed,
    failed,
    resources::found,
    taken,
};
use crate::{
    model::{ApplicationId, SecretText, Source, SourceId, SourceSecret, SourceSecretId},
    seal::{Place, Vault},
    store::SourceStore,
};

/// Where a source's document stands.
const fn place(id: &[u8]) -> Place<'_> {
    Place { column: "sources.sealed", row: id }
}

#[derive(Serialize)]
struct Written<'a> {
    id: SourceSecretId,
    text: &'a str,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Read {
    id: SourceSecretId,
    text: SecretText,
    created_at: Timestamp,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

fn seal(vault: &Vault, source: &Source) -> Result<Vec<u8>> {
    let written: Vec<_> = source
        .secrets
        .iter()
        .map(|secret| Written {
            id: secret.id,
            text: secret.text.reveal(),
            created_at: secret.created_at,
            expires_at: secret.expires_at,
        })
        .collect();
    // serde_json's own errors may quote what they stumble over.
    let text = serde_json::to_vec(&written).map_err(|_| damaged("a secret"))?;
    vault.seal(&place(source.id.as_bytes()), &Zeroizing::new(text)).map_err(|error| closed(&error))
}

fn open(vault: &Vault, id: &[u8], sealed: &[u8]) -> Result<Vec<SourceSecret>> {
    let text = vault.open(&place(id), sealed).map_err(|error| closed(&error))?;
    let read: Vec<Read> = serde_json::from_slice(&text).map_err(|_| damaged("a secret"))?;
    Ok(read
        .into_iter()
        .map(|Read { id, text, created_at, expires_at }| SourceSecret {
            id,
            text,
            created_at,
            expires_at,
        })
        .collect())
}

/// Seals every source's secrets under another data key; answers how many sources there are.
pub(super) async fn reseal(
    connection: &mut SqliteConnection,
    old: &Vault,
    new: &Vault,
) -> Result<usize> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as("SELECT id, sealed FROM sources")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    for (id, sealed) in &rows {
        let text = old.open(&place(id), sealed).map_err(|error| closed(&error))?;
        let sealed = new.seal(&place(id), &text).map_err(|error| closed(&error))?;
        sqlx::query("UPDATE sources SET sealed = ? WHERE id = ?")
            .bind(sealed)
            .bind(id)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(rows.len())
}

fn source_from(vault: &Vault, row: &SqliteRow) -> Result<Source> {
    let id: &[u8] = col(row, 0)?;
    Ok(Source {
        id: SourceId::from_bytes(bytes16(id)?),
        application: ApplicationId::from_bytes(bytes16(col(row, 1)?)?),
        name: col(row, 2)?,
        settings: from_json(col(row, 3)?)?,
        secrets: open(vault, id, col(row, 4)?)?,
        created_at: col_time(row, 5)?,
        updated_at: col_time(row, 6)?,
    })
}

#[async_trait]
impl SourceStore for SqliteStore {
    async fn create_source(&self, source: &Source) -> Result<()> {
        let sealed = seal(&self.vault, source)?;
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT INTO sources (id, application_id, name, settings, sealed, created_at, updated_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(source.id.as_bytes().as_slice())
        .bind(source.application.as_bytes().as_slice())
        .bind(source.name.as_str())
        .bind(json(&source.settings)?)
        .bind(sealed)
        .bind(millis(source.created_at))
        .bind(millis(source.updated_at))
        .execute(&mut *write.connection)
        .await
        .map_err(taken)?;
        write.done();
        Ok(())
    }

    async fn sources(&self) -> Result<Vec<Source>> {
        let rows = sqlx::query(
            "SELECT id, application_id, name, settings, sealed, created_at, updated_at FROM sources",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(|row| source_from(&self.vault, row)).collect()
    }

    async fn put_source(&self, source: &Source) -> Result<()> {
        let sealed = seal(&self.vault, source)?;
        let mut write = self.write().await?;
        let changed = sqlx::query(
            "UPDATE sources SET name = ?, settings = ?, sealed = ?, updated_at = ? WHERE id = ?",
        )
        .bind(source.name.as_str())
        .bind(json(&source.settings)?)
        .bind(sealed)
        .bind(millis(source.updated_at))
        .bind(source.id.as_bytes().as_slice())
        .execute(&mut *write.connection)
        .await
        .map_err(taken)?;
        write.done();
        found(changed.rows_affected())
    }

    async fn delete_source(&self, id: SourceId) -> Result<()> {
        let mut write = self.write().await?;
        let gone = sqlx::query("DELETE FROM sources WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        found(gone.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Application, SourceKind, SourceSettings, UnknownTypes},
        seal::{KeySource, MasterKey},
        store::{Resources, Store, StoreError, sqlite::rotate_master_key},
    };

    fn source(application: ApplicationId, name: &str, now: Timestamp) -> Source {
        Source {
            id: SourceId::new(now),
            application,
            name: name.into(),
            settings: SourceSettings {
                kind: SourceKind::Github,
                hmac: None,
                username: None,
                tolerance_seconds: 300,
                event_type: SourceKind::Github.event_type().unwrap(),
                delivery_id: None,
                repetitions: None,
                subject: None,
                unknown_event_types: UnknownTypes::Create,
                pipeline: vec![],
                created_event_types: 0,
            },
            secrets: vec![SourceSecret {
                id: SourceSecretId::new(now),
                text: SecretText::new("It's a Secret to Everybody".into()),
                created_at: now,
                expires_at: Some(now),
            }],
            created_at: now,
            updated_at: now,
        }
    }

    #[tokio::test]
    async fn a_source_comes_back_as_it_went_in_also_under_another_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let application =
            Application { id: ApplicationId::new(now), name: "default".into(), created_at: now };
        store.create_application(&application).await.unwrap();
        let first = source(application.id, "github", now);
        store.create_source(&first).await.unwrap();
        let twin = source(application.id, "github", now);
        assert!(matches!(store.create_source(&twin).await, Err(StoreError::Exists)));
        let used = store.delete_application(application.id).await;
        assert!(matches!(used, Err(StoreError::InUse(1))), "{used:?}");
        let renamed = Source { name: "octocat".into(), secrets: vec![], ..first.clone() };
        store.put_source(&renamed).await.unwrap();
        assert_eq!(store.sources().await.unwrap(), [renamed]);
        store.put_source(&first).await.unwrap();
        let raw: Vec<u8> = sqlx::query_scalar("SELECT settings || sealed FROM sources")
            .fetch_one(&store.readers)
            .await
            .unwrap();
        assert!(!raw.windows(6).any(|six| six == b"Secret"));
        store.close().await;
        drop(store);

        let next = MasterKey::generate().unwrap();
        let file = folder.path().join("next.key");
        next.write(&file).unwrap();
        let done = rotate_master_key(&path, &KeySource::Beside, &next).await.unwrap();
        assert_eq!(done.sources, 1);
        let source = KeySource::from_settings(None, Some(&file)).unwrap();
        let store = SqliteStore::open_with(&path, &source).await.unwrap();
        assert_eq!(store.sources().await.unwrap(), std::slice::from_ref(&first));
        store.delete_source(first.id).await.unwrap();
        assert!(matches!(store.delete_source(first.id).await, Err(StoreError::NotFound)));
    }
}
