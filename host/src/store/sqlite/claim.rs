//! Deliveries out: leasing what is due.

use std::{collections::HashMap, sync::Arc};

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Result, SqliteStore,
    codec::{self, EVENT_COLUMNS, bytes16, millis, timestamp},
    failed,
    history::run_from,
};
use crate::{
    model::{DeliveryId, Event, PipelineId, PipelineRun, SubscriptionId, Timestamp},
    store::{Claimed, Claims, DeliveryKey, Lease},
};

/// Pipeline runs and events that several claimed deliveries share.
#[derive(Default)]
struct Shared {
    events: HashMap<i64, Arc<Event>>,
    runs: HashMap<(i64, i64), Option<Arc<PipelineRun>>>,
}

impl SqliteStore {
    pub(super) async fn claim_due(
        &self,
        wanted: &[(SubscriptionId, u32)],
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claims> {
        let mut claims = Claims::default();
        let mut shared = Shared::default();
        let mut write = self.write().await;
        let mut transaction = write.begin().await?;
        for &(subscription, limit) in wanted {
            let rows = take(&mut transaction, subscription, limit, lease, now).await?;
            for row in rows {
                claims.claimed.push(read(&mut transaction, row, &mut shared).await?);
            }
            let next = next_due(&mut transaction, subscription, lease, now).await?;
            claims.next_due.push((subscription, next));
        }
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(claims)
    }

    pub(super) async fn first_due(&self, owner: i64) -> Result<Vec<(SubscriptionId, Timestamp)>> {
        let rows: Vec<(Vec<u8>, Option<i64>)> = sqlx::query_as(
            "SELECT id, (SELECT due_at FROM deliveries
                         WHERE subscription_id = subscriptions.id AND state < 2
                           AND (state = 0 OR owner <> ?)
                         ORDER BY due_at LIMIT 1)
             FROM subscriptions",
        )
        .bind(owner)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .filter_map(|(id, due)| Some((id, due?)))
            .map(|(id, due)| Ok((SubscriptionId::from_bytes(bytes16(&id)?), timestamp(due)?)))
            .collect()
    }

    pub(super) async fn release_all(&self, owner: i64) -> Result<()> {
        let mut write = self.write().await;
        sqlx::query("UPDATE deliveries SET state = 0, owner = 0, lease_until = 0 WHERE state < 2 AND state = 1 AND owner = ?")
            .bind(owner)
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        Ok(())
    }
}

/// Leases the oldest due deliveries and answers their rows. Another owner's lease is void:
/// this process has the file to itself.
async fn take(
    connection: &mut SqliteConnection,
    subscription: SubscriptionId,
    limit: u32,
    lease: Lease,
    now: Timestamp,
) -> Result<Vec<i64>> {
    let mut rows: Vec<(i64, i64)> = sqlx::query_as(
        "UPDATE deliveries SET state = 1, owner = ?1, lease_until = ?2
         WHERE row IN (SELECT row FROM deliveries
                       WHERE subscription_id = ?3 AND state < 2 AND due_at <= ?4
                         AND (state = 0 OR owner <> ?1 OR lease_until <= ?4)
                       ORDER BY due_at LIMIT ?5)
         RETURNING due_at, row",
    )
    .bind(lease.owner)
    .bind(millis(lease.until))
    .bind(subscription.as_bytes().as_slice())
    .bind(millis(now))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.sort_unstable();
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

async fn next_due(
    connection: &mut SqliteConnection,
    subscription: SubscriptionId,
    lease: Lease,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let due: Option<i64> = sqlx::query_scalar(
        "SELECT due_at FROM deliveries
         WHERE subscription_id = ?1 AND state < 2
           AND (state = 0 OR owner <> ?2 OR lease_until <= ?3)
         ORDER BY due_at LIMIT 1",
    )
    .bind(subscription.as_bytes().as_slice())
    .bind(lease.owner)
    .bind(millis(now))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    due.map(timestamp).transpose()
}

async fn read(connection: &mut SqliteConnection, row: i64, shared: &mut Shared) -> Result<Claimed> {
    let head: (Vec<u8>, i64, Vec<u8>, Option<i64>, i64) = sqlx::query_as(
        "SELECT id, event_row, subscription_id, pipeline_id, attempts FROM deliveries WHERE row = ?",
    )
    .bind(row)
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let (id, event_row, subscription, pipeline, attempts) = head;
    let event = match shared.events.get(&event_row) {
        Some(event) => event.clone(),
        None => {
            let event = Arc::new(read_event(connection, event_row).await?);
            shared.events.insert(event_row, event.clone());
            event
        }
    };
    let run = match pipeline {
        Some(pipeline) => match shared.runs.get(&(event_row, pipeline)) {
            Some(run) => run.clone(),
            None => {
                let run = read_run(connection, event_row, pipeline, &event).await?.map(Arc::new);
                shared.runs.insert((event_row, pipeline), run.clone());
                run
            }
        },
        None => None,
    };
    Ok(Claimed {
        key: DeliveryKey { delivery: row, event: event_row },
        id: DeliveryId::from_bytes(bytes16(&id)?),
        subscription: SubscriptionId::from_bytes(bytes16(&subscription)?),
        event,
        pipeline: pipeline.map(PipelineId),
        attempts: u32::try_from(attempts).map_err(|_| codec::damaged("a number"))?,
        run,
    })
}

async fn read_event(connection: &mut SqliteConnection, row: i64) -> Result<Event> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM events AS e JOIN applications AS a ON a.id = e.application_id \
         WHERE e.row = ?"
    );
    let row =
        sqlx::query(AssertSqlSafe(sql)).bind(row).fetch_one(connection).await.map_err(failed)?;
    codec::event(&row, 0)
}

/// The recorded run of a pipeline over an event.
pub(super) async fn read_run(
    connection: &mut SqliteConnection,
    event_row: i64,
    pipeline: i64,
    event: &Event,
) -> Result<Option<PipelineRun>> {
    let row = sqlx::query(
        "SELECT kind, reason, on_error, content_type, headers, body, steps FROM runs
         WHERE event_row = ? AND pipeline_id = ?",
    )
    .bind(event_row)
    .bind(pipeline)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| run_from(&row, 0, &event.payload)).transpose()
}
