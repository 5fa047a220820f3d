//! What applications' events take: counted in the transactions that store events and let go of
//! them, and kept in memory for whoever asks.
//!
//! The table is the truth. Memory takes over what a transaction made of it, once that is
//! committed.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use sqlx::SqliteConnection;

use super::{Result, begin, codec::bytes16, failed};
use crate::model::{ApplicationId, Usage};

/// Every application's, as the table has it.
#[derive(Debug, Default)]
pub(super) struct Usages(RwLock<HashMap<ApplicationId, Usage>>);

impl Usages {
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        let rows: Vec<(Vec<u8>, i64, i64)> =
            sqlx::query_as("SELECT application_id, events, bytes FROM usage")
                .fetch_all(connection)
                .await
                .map_err(failed)?;
        let all = rows.iter().map(|(id, events, bytes)| {
            Ok((ApplicationId::from_bytes(bytes16(id)?), usage(*events, *bytes)))
        });
        Ok(Self(RwLock::new(all.collect::<Result<_>>()?)))
    }

    pub(super) fn of(&self, application: ApplicationId) -> Usage {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&application).copied().unwrap_or_default()
    }

    /// Takes over what a transaction that is committed made of them.
    pub(super) fn take_over(&self, counted: Counted) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(counted.0);
    }

    /// Forgets an application that is gone.
    pub(super) fn forget(&self, application: ApplicationId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&application);
    }
}

/// A count below nothing is a damaged one: `check` tells of it, and nobody is refused for it.
fn usage(events: i64, bytes: i64) -> Usage {
    let count = |number| u64::try_from(number).unwrap_or_default();
    Usage { events: count(events), stored_bytes: count(bytes) }
}

/// What applications take by a transaction that is not committed yet.
#[derive(Debug, Default)]
#[must_use = "memory takes it over after the commit"]
pub(super) struct Counted(HashMap<ApplicationId, Usage>);

impl Counted {
    /// Adds events and bytes to what an application takes.
    async fn add(
        &mut self,
        connection: &mut SqliteConnection,
        application: ApplicationId,
        (events, bytes): (i64, i64),
    ) -> Result<()> {
        let (events, bytes): (i64, i64) = sqlx::query_as(
            "INSERT INTO usage (application_id, events, bytes) VALUES (?, ?, ?)
             ON CONFLICT (application_id) DO UPDATE SET events = events + excluded.events,
                 bytes = bytes + excluded.bytes
             RETURNING events, bytes",
        )
        .bind(application.as_bytes().as_slice())
        .bind(events)
        .bind(bytes)
        .fetch_one(connection)
        .await
        .map_err(failed)?;
        self.0.insert(application, usage(events, bytes));
        Ok(())
    }

    /// Adds new events by the bytes of their payloads.
    pub(super) async fn come(
        &mut self,
        connection: &mut SqliteConnection,
        payloads: impl Iterator<Item = (ApplicationId, usize)>,
    ) -> Result<()> {
        let mut sums: HashMap<ApplicationId, (i64, i64)> = HashMap::new();
        for (application, bytes) in payloads {
            let sum = sums.entry(application).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes as i64);
        }
        for (application, sum) in sums {
            self.add(connection, application, sum).await?;
        }
        Ok(())
    }

    /// Takes off what events of a JSON list of rows take that are about to lose their payloads,
    /// or to go.
    pub(super) async fn go(
        &mut self,
        connection: &mut SqliteConnection,
        rows: &str,
        what: Going,
    ) -> Result<()> {
        // The length of a payload stands before it: none is read for this.
        let sums: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(
            "SELECT application_id, count(*), sum(length(payload)) FROM events
             WHERE row IN (SELECT value FROM json_each(?)) GROUP BY application_id",
        )
        .bind(rows)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        for (application, events, bytes) in sums {
            let events = if what == Going::Whole { -events } else { 0 };
            let application = ApplicationId::from_bytes(bytes16(&application)?);
            self.add(connection, application, (events, -bytes)).await?;
        }
        Ok(())
    }
}

/// What goes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    /// Its payload.
    Payload,
    /// All of it.
    Whole,
}

/// Where the count is not what there is: an application, and a text that says so. One pass
/// over the events; no payload is read.
pub(super) const MISCOUNTED: &str = "
    SELECT application_id, counted || ' events of ' || events || ', ' || counted_bytes || ' bytes of ' || bytes
    FROM (SELECT application_id, sum(counted) AS counted, sum(counted_bytes) AS counted_bytes,
                 sum(events) AS events, sum(bytes) AS bytes
          FROM (SELECT application_id, events AS counted, bytes AS counted_bytes, 0 AS events, 0 AS bytes
                FROM usage
                UNION ALL
                SELECT application_id, 0, 0, count(*), sum(length(payload)) FROM events GROUP BY application_id)
          GROUP BY application_id)
    WHERE counted <> events OR counted_bytes <> bytes";

/// Counts anew; answers for how many applications the count was wrong.
pub(super) async fn recount(connection: &mut SqliteConnection) -> Result<u64> {
    let mut transaction = begin(connection).await?;
    let wrong = sqlx::query(MISCOUNTED).fetch_all(&mut *transaction).await.map_err(failed)?;
    if !wrong.is_empty() {
        sqlx::query("DELETE FROM usage").execute(&mut *transaction).await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO usage (application_id, events, bytes)
             SELECT application_id, count(*), sum(length(payload)) FROM events GROUP BY application_id",
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(wrong.len() as u64)
}
