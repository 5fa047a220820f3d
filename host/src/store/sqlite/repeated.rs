//! Requests that come again: what an event's keys say of it, and how they are remembered.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    Result, SqliteStore,
    bulk::Bulk,
    codec::{bytes16, col, col_u32, millis},
    failed,
};
use crate::{
    model::{ApplicationId, EventId, Timestamp},
    store::{Idempotency, Receipt, Used},
};

static KEYS: Bulk = Bulk::new(
    "INSERT OR REPLACE INTO idempotency (application_id, key, fingerprint, event_id, \
         schema_version, deliveries, expires_at) VALUES",
    "(?, ?, ?, ?, ?, ?, ?)",
    "",
);

/// Expired keys removed with each batch that brings keys: more than it can bring.
const EXPIRED_AT_ONCE: i64 = 1_000;

/// Keys of a batch's own events so far: by application and key, the print and the answer.
pub(super) type Seen<'a> = HashMap<(ApplicationId, &'a str), (&'a [u8; 32], Receipt)>;

/// A key, and what whoever uses it again is answered.
pub(super) struct Remembered<'a> {
    pub(super) application: ApplicationId,
    pub(super) idempotency: &'a Idempotency,
    pub(super) receipt: Receipt,
}

/// What an event's keys say of it.
pub(super) enum Verdict<'a> {
    /// None of them was used.
    Fresh,
    /// Some were, by the same request; the others were not.
    Repeated(Receipt, Vec<&'a Idempotency>),
    /// This one was, by another.
    Conflict(String),
}

/// Looks at all of an event's keys: that one of them names it says nothing of the others.
pub(super) async fn look<'a>(
    connection: &mut SqliteConnection,
    seen: &Seen<'_>,
    application: ApplicationId,
    keys: &'a [Idempotency],
    now: Timestamp,
) -> Result<Verdict<'a>> {
    let (mut first, mut unused) = (None, Vec::new());
    for key in keys {
        let before = match seen.get(&(application, key.key.as_str())) {
            Some((fingerprint, receipt)) => {
                Some((**fingerprint == key.fingerprint, receipt.clone()))
            }
            None => find(connection, application, key, now).await?,
        };
        match before {
            None => unused.push(key),
            Some((true, receipt)) => first = first.or(Some(receipt)),
            Some((false, _)) => return Ok(Verdict::Conflict(key.key.clone())),
        }
    }
    Ok(first.map_or(Verdict::Fresh, |receipt| Verdict::Repeated(receipt, unused)))
}

async fn find(
    connection: &mut SqliteConnection,
    application: ApplicationId,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Option<(bool, Receipt)>> {
    let row = sqlx::query(
        "SELECT fingerprint, event_id, schema_version, deliveries FROM idempotency
         WHERE application_id = ? AND key = ? AND expires_at > ?",
    )
    .bind(application.as_bytes().as_slice())
    .bind(idempotency.key.as_str())
    .bind(millis(now))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let same = col::<&[u8]>(&row, 0)? == idempotency.fingerprint;
    let receipt = Receipt {
        id: EventId::from_bytes(bytes16(col(&row, 1)?)?),
        schema_version: col_u32(&row, 2)?,
        deliveries: col_u32(&row, 3)?,
    };
    Ok(Some((same, receipt)))
}

/// Writes keys down, and forgets some whose time is over.
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    keys: &[Remembered<'_>],
    now: Timestamp,
) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM idempotency WHERE (application_id, key) IN
         (SELECT application_id, key FROM idempotency WHERE expires_at <= ? LIMIT ?)",
    )
    .bind(millis(now))
    .bind(EXPIRED_AT_ONCE)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    KEYS.execute(connection, keys, |row, Remembered { application, idempotency, receipt }| {
        row.put(application.as_bytes().as_slice())
            .put(idempotency.key.as_str())
            .put(idempotency.fingerprint.as_slice())
            .put(receipt.id.as_bytes().as_slice())
            .put(i64::from(receipt.schema_version))
            .put(i64::from(receipt.deliveries))
            .put(millis(idempotency.expires_at));
    })
    .await
}

impl SqliteStore {
    /// See [`crate::store::History::repeated`].
    pub(super) async fn used(
        &self,
        application: ApplicationId,
        keys: &[Idempotency],
        now: Timestamp,
    ) -> Result<Option<Used>> {
        let verdict = {
            let mut reader = self.readers.acquire().await.map_err(failed)?;
            look(&mut reader, &Seen::new(), application, keys, now).await?
        };
        match verdict {
            Verdict::Fresh => Ok(None),
            Verdict::Conflict(key) => Ok(Some(Used::ByAnother(key))),
            Verdict::Repeated(receipt, unused) if unused.is_empty() => {
                Ok(Some(Used::BySame(receipt)))
            }
            Verdict::Repeated(..) => self.remember_rest(application, keys, now).await,
        }
    }

    /// The same once more, for the keys may have been used meanwhile; what is new is remembered.
    async fn remember_rest(
        &self,
        application: ApplicationId,
        keys: &[Idempotency],
        now: Timestamp,
    ) -> Result<Option<Used>> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let verdict = look(&mut transaction, &Seen::new(), application, keys, now).await?;
        let (receipt, unused) = match verdict {
            Verdict::Fresh => return Ok(None),
            Verdict::Conflict(key) => return Ok(Some(Used::ByAnother(key))),
            Verdict::Repeated(receipt, unused) => (receipt, unused),
        };
        let rest: Vec<_> = unused
            .into_iter()
            .map(|idempotency| Remembered { application, idempotency, receipt: receipt.clone() })
            .collect();
        remember(&mut transaction, &rest, now).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(Some(Used::BySame(receipt)))
    }
}
