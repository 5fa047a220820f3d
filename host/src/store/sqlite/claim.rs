//! Deliveries out: leasing what is due.

use std::{collections::HashMap, sync::Arc};

use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteRow};

use super::{
    Result, SqliteStore,
    codec::{self, EVENT_COLUMNS, bytes16, col, col_u32, json, millis, timestamp},
    failed,
    history::run_from,
    order,
};
use crate::{
    model::{DeliveryId, Event, OrderKey, PipelineId, PipelineRun, SubscriptionId, Timestamp},
    store::{Claimed, Claims, DeliveryKey, Lease},
};

impl SqliteStore {
    pub(super) async fn claim_due(
        &self,
        wanted: &[(SubscriptionId, u32)],
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claims> {
        let mut claims = Claims::default();
        let mut rows = Vec::new();
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        for &(subscription, limit) in wanted {
            rows.append(&mut take(&mut transaction, subscription, limit, lease, now).await?);
            let next = next_due(&mut transaction, subscription, lease, now).await?;
            claims.next_due.push((subscription, next));
        }
        claims.claimed = read(&mut transaction, &rows).await?;
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
            .filter_map(|(id, due)| Some((id, order::known(due?)?)))
            .map(|(id, due)| Ok((SubscriptionId::from_bytes(bytes16(&id)?), timestamp(due)?)))
            .collect()
    }

    pub(super) async fn release_all(&self, owner: i64) -> Result<()> {
        let mut write = self.write().await?;
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
    due.and_then(order::known).map(timestamp).transpose()
}

/// The deliveries in these rows, in their order, each event once however many share it.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    wanted: &[i64],
) -> Result<Vec<Claimed>> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, d.row, d.id, d.event_row, d.subscription_id, d.pipeline_id, d.attempts, \
                d.due_at, d.order_key, CASE WHEN d.order_key IS NOT NULL AND d.attempts > 0 THEN \
                    (SELECT started_at FROM attempts WHERE delivery_row = d.row \
                     ORDER BY rowid LIMIT 1) END, \
                r.kind, r.reason, r.on_error, r.content_type, r.headers, r.body, r.steps \
         FROM json_each(?) AS wanted \
         JOIN deliveries AS d ON d.row = wanted.value \
         JOIN events AS e ON e.row = d.event_row \
         JOIN applications AS a ON a.id = e.application_id \
         LEFT JOIN runs AS r ON r.event_row = d.event_row AND r.pipeline_id = d.pipeline_id \
         ORDER BY wanted.key"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(json(&wanted)?)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let mut events: HashMap<i64, Arc<Event>> = HashMap::new();
    rows.iter().map(|row| claimed(row, &mut events)).collect()
}

fn claimed(row: &SqliteRow, events: &mut HashMap<i64, Arc<Event>>) -> Result<Claimed> {
    const DELIVERY: usize = codec::EVENT_WIDTH;
    const RUN: usize = DELIVERY + 9;
    let event_row = col(row, DELIVERY + 2)?;
    let event = match events.get(&event_row) {
        Some(event) => event.clone(),
        None => {
            let event = Arc::new(codec::event(row, 0)?);
            events.insert(event_row, event.clone());
            event
        }
    };
    let has_run = col::<Option<i64>>(row, RUN)?.is_some();
    let run = if has_run { Some(Arc::new(run_from(row, RUN, &event.payload)?)) } else { None };
    Ok(Claimed {
        key: DeliveryKey { delivery: col(row, DELIVERY)?, event: event_row },
        id: DeliveryId::from_bytes(bytes16(col(row, DELIVERY + 1)?)?),
        subscription: SubscriptionId::from_bytes(bytes16(col(row, DELIVERY + 3)?)?),
        event,
        pipeline: col::<Option<i64>>(row, DELIVERY + 4)?.map(PipelineId),
        order: col::<Option<i64>>(row, DELIVERY + 7)?.map(OrderKey),
        due_at: timestamp(col(row, DELIVERY + 6)?)?,
        attempts: col_u32(row, DELIVERY + 5)?,
        first_attempt_at: col::<Option<i64>>(row, DELIVERY + 8)?.map(timestamp).transpose()?,
        run,
    })
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
