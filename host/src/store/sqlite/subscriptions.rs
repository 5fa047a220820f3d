//! Subscriptions, and what their pausing, resuming and deletion does to deliveries.

use jiff::Timestamp;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use url::Url;

use super::{
    Result, SqliteStore,
    codec::{bytes16, col, col_time, damaged, from_json, from_word, json, millis, word},
    counts::moved as count_moved,
    credentials, failed, order,
    resources::found,
    taken,
};
use crate::{
    model::{ApplicationId, DeliveryState, FilterText, Subscription, SubscriptionId},
    seal::Vault,
};

fn subscription(vault: &Vault, row: &SqliteRow) -> Result<Subscription> {
    let (secrets, sealed) = credentials::open(vault, col(row, 0)?, col(row, 9)?)?;
    Ok(Subscription {
        id: SubscriptionId::from_bytes(bytes16(col(row, 0)?)?),
        application: ApplicationId::from_bytes(bytes16(col(row, 1)?)?),
        description: col(row, 2)?,
        endpoint: Url::parse(col(row, 3)?).map_err(|_| damaged("a URL"))?,
        event_types: from_json(col(row, 4)?)?,
        pipeline: from_json(col(row, 5)?)?,
        headers: from_json(col(row, 6)?)?,
        policy: from_json(col(row, 7)?)?,
        state: from_word(col(row, 8)?)?,
        secrets,
        credentials: sealed,
        created_at: col_time(row, 10)?,
        updated_at: col_time(row, 11)?,
        output_schema: col::<Option<&str>>(row, 12)?.map(from_json).transpose()?,
        channels: from_json(col(row, 13)?)?,
        filter: col::<Option<&str>>(row, 14)?.map(from_json).transpose()?,
        name: col(row, 15)?,
    })
}

pub(super) async fn all(store: &SqliteStore) -> Result<Vec<Subscription>> {
    let rows = sqlx::query(
        "SELECT id, application_id, description, endpoint, event_types, pipeline, headers, policy,
                state, sealed, created_at, updated_at, output_schema, channels, filter, name
         FROM subscriptions ORDER BY id DESC",
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| subscription(&store.vault, row)).collect()
}

pub(super) async fn create(store: &SqliteStore, subscription: &Subscription) -> Result<()> {
    let mut write = store.write().await?;
    sqlx::query(
        "INSERT INTO subscriptions (id, application_id, description, endpoint, event_types, pipeline,
             headers, policy, state, sealed, created_at, updated_at, output_schema, channels, filter, name)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(subscription.id.as_bytes().as_slice())
    .bind(subscription.application.as_bytes().as_slice())
    .bind(subscription.description.as_deref())
    .bind(subscription.endpoint.as_str())
    .bind(json(&subscription.event_types)?)
    .bind(json(&subscription.pipeline)?)
    .bind(json(&subscription.headers)?)
    .bind(json(&subscription.policy)?)
    .bind(word(&subscription.state)?)
    .bind(credentials::seal(&store.vault, subscription)?)
    .bind(millis(subscription.created_at))
    .bind(millis(subscription.updated_at))
    .bind(subscription.output_schema.as_ref().map(json).transpose()?)
    .bind(json(&subscription.channels)?)
    .bind(subscription.filter.as_ref().map(FilterText::as_str))
    .bind(subscription.name.as_deref())
    .execute(&mut *write.connection)
    .await
    .map_err(taken)?;
    write.done();
    Ok(())
}

pub(super) async fn put(store: &SqliteStore, subscription: &Subscription) -> Result<()> {
    let mut write = store.write().await?;
    let changed = sqlx::query(
        "UPDATE subscriptions SET description = ?, endpoint = ?, event_types = ?, pipeline = ?,
             headers = ?, policy = ?, state = ?, sealed = ?, updated_at = ?,
             output_schema = ?, channels = ?, filter = ?, name = ?
         WHERE id = ?",
    )
    .bind(subscription.description.as_deref())
    .bind(subscription.endpoint.as_str())
    .bind(json(&subscription.event_types)?)
    .bind(json(&subscription.pipeline)?)
    .bind(json(&subscription.headers)?)
    .bind(json(&subscription.policy)?)
    .bind(word(&subscription.state)?)
    .bind(credentials::seal(&store.vault, subscription)?)
    .bind(millis(subscription.updated_at))
    .bind(subscription.output_schema.as_ref().map(json).transpose()?)
    .bind(json(&subscription.channels)?)
    .bind(subscription.filter.as_ref().map(FilterText::as_str))
    .bind(subscription.name.as_deref())
    .bind(subscription.id.as_bytes().as_slice())
    .execute(&mut *write.connection)
    .await
    .map_err(taken)?;
    write.done();
    found(changed.rows_affected())
}

/// Cancels what is open a little at a time, and the rest with the subscription. Those that wait
/// in their order come first: whatever ends this half-way, none is left waiting for nothing.
pub(super) async fn delete(store: &SqliteStore, id: SubscriptionId, now: Timestamp) -> Result<()> {
    for open in OPEN {
        while cancel(store, id, open, now).await? == MOVED_AT_ONCE.unsigned_abs() {}
    }
    let mut write = store.write().await?;
    let mut transaction = write.begin().await?;
    let gone = sqlx::query("DELETE FROM subscriptions WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let mut cancelled = 0;
    for open in OPEN {
        cancelled += cancel_some(&mut transaction, id, open, -1, now).await?;
    }
    transaction.commit().await.map_err(failed)?;
    write.done();
    count_moved(DeliveryState::Cancelled, cancelled);
    found(gone.rows_affected())
}

/// What is open, in two parts, so that each finds its partial index.
const OPEN: [&str; 2] = ["state < 2 ORDER BY due_at DESC", "state = 5"];

async fn cancel(
    store: &SqliteStore,
    id: SubscriptionId,
    open: &str,
    now: Timestamp,
) -> Result<u64> {
    let mut write = store.write().await?;
    let changed = cancel_some(&mut write.connection, id, open, MOVED_AT_ONCE, now).await?;
    write.done();
    count_moved(DeliveryState::Cancelled, changed);
    Ok(changed)
}

async fn cancel_some(
    connection: &mut SqliteConnection,
    id: SubscriptionId,
    open: &str,
    most: i64,
    now: Timestamp,
) -> Result<u64> {
    let sql = format!(
        "UPDATE deliveries SET state = 6, owner = 0, lease_until = 0, finished_at = ?1,
                reason = 'its subscription was deleted'
         WHERE row IN (SELECT row FROM deliveries WHERE subscription_id = ?2 AND {open}
                       LIMIT ?3)"
    );
    let changed = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(millis(now))
        .bind(id.as_bytes().as_slice())
        .bind(most)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(changed.rows_affected())
}

/// Deliveries that change their state in one transaction: a pause or its end may be about a
/// million of them, and events must not wait for that.
const MOVED_AT_ONCE: i64 = 1_000;

pub(super) async fn resume_held(
    store: &SqliteStore,
    id: SubscriptionId,
    now: Timestamp,
) -> Result<u64> {
    let mut moved = 0;
    loop {
        let mut write = store.write().await?;
        let mut transaction = write.begin().await?;
        let changed = sqlx::query(
            "UPDATE deliveries SET state = 0, due_at = ?1, reason = NULL WHERE row IN
                 (SELECT row FROM deliveries WHERE subscription_id = ?2 AND state = 5 LIMIT ?3)",
        )
        .bind(millis(now))
        .bind(id.as_bytes().as_slice())
        .bind(MOVED_AT_ONCE)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?
        .rows_affected();
        order::line_up_all(&mut transaction, id).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        count_moved(DeliveryState::Pending, changed);
        moved += changed;
        if changed < MOVED_AT_ONCE.unsigned_abs() {
            return Ok(moved);
        }
    }
}

/// Leased ones are left to whoever holds them: they see the subscription's state themselves.
pub(super) async fn hold_pending(
    store: &SqliteStore,
    id: SubscriptionId,
    reason: &str,
) -> Result<u64> {
    let mut moved = 0;
    loop {
        let mut write = store.write().await?;
        let changed = sqlx::query(
            "UPDATE deliveries SET state = 5, reason = ?1 WHERE row IN
                 (SELECT row FROM deliveries WHERE subscription_id = ?2 AND state < 2 AND state = 0 LIMIT ?3)",
        )
        .bind(reason)
        .bind(id.as_bytes().as_slice())
        .bind(MOVED_AT_ONCE)
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?
        .rows_affected();
        write.done();
        count_moved(DeliveryState::Held, changed);
        moved += changed;
        if changed < MOVED_AT_ONCE.unsigned_abs() {
            return Ok(moved);
        }
    }
}
