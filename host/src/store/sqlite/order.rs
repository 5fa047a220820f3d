//! Deliveries that wait for older ones with the same key: which, until when, and what ends
//! their wait.
//!
//! A key's oldest open delivery is its head; the others are due at the end of time, so that
//! claims neither find them nor step over them. What ends a head makes the next one due, in
//! the same transaction, so the order needs nobody's memory.

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Result,
    codec::{json, millis},
    failed,
};
use crate::{
    model::{OrderKey, SubscriptionId, Timestamp},
    store::{Next, Record},
};

/// When a delivery is due that waits for another: in the year 9999.
pub(super) const NEVER: i64 = 253_402_200_000_000;

/// Why it waits.
const REASON: &str = "waits until an older event of its order is delivered or given up";

/// What the index of open deliveries with a key is made for. Held ones keep their place.
const OPEN: &str = "order_key IS NOT NULL AND (state < 2 OR state = 5)";

/// Whether a row of `deliveries` has an older open one before it.
const BEHIND: &str = "EXISTS (SELECT 1 FROM deliveries AS older
                 WHERE older.subscription_id = deliveries.subscription_id
                   AND older.order_key = deliveries.order_key
                   AND older.order_key IS NOT NULL AND (older.state < 2 OR older.state = 5)
                   AND older.row < deliveries.row)";

/// Makes new rows wait that have an older one before them.
pub(super) async fn line_up(connection: &mut SqliteConnection, rows: &[i64]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE deliveries SET due_at = {NEVER}, reason = '{REASON}'
         WHERE row IN (SELECT value FROM json_each(?)) AND state = 0 AND {BEHIND}"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(json(&rows)?);
    query.execute(connection).await.map_err(failed)?;
    Ok(())
}

/// The same for all pending ones of a subscription, after they were made due together.
pub(super) async fn line_up_all(
    connection: &mut SqliteConnection,
    subscription: SubscriptionId,
) -> Result<()> {
    let sql = format!(
        "UPDATE deliveries SET due_at = {NEVER}, reason = '{REASON}'
         WHERE subscription_id = ? AND {OPEN} AND state = 0 AND {BEHIND}"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(subscription.as_bytes().as_slice());
    query.execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Makes those due that waited for what a batch brought to its end.
pub(super) async fn move_up(connection: &mut SqliteConnection, batch: &[Record]) -> Result<()> {
    for record in batch {
        let over = !matches!(record.next, Next::Retry(_) | Next::Held(_));
        if let Some(OrderKey(key)) = record.order.filter(|_| over) {
            let sql = format!(
                "UPDATE deliveries SET due_at = ?1, reason = NULL
                 WHERE due_at = {NEVER} AND state = 0 AND row =
                     (SELECT row FROM deliveries
                      WHERE subscription_id =
                                (SELECT subscription_id FROM deliveries WHERE row = ?2)
                        AND order_key = ?3 AND {OPEN}
                      ORDER BY row LIMIT 1)"
            );
            sqlx::query(AssertSqlSafe(sql))
                .bind(millis(record.at))
                .bind(record.delivery.delivery)
                .bind(key)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes the one due that comes first among those that a delivery, which was ended by other
/// means than an attempt, had in common with.
pub(super) async fn move_up_after(
    connection: &mut SqliteConnection,
    ended: i64,
    now: Timestamp,
) -> Result<()> {
    let sql = format!(
        "UPDATE deliveries SET due_at = ?1, reason = NULL
         WHERE due_at = {NEVER} AND state = 0 AND row =
             (SELECT next.row FROM deliveries AS ended JOIN deliveries AS next
                  ON next.subscription_id = ended.subscription_id
                     AND next.order_key = ended.order_key
              WHERE ended.row = ?2 AND next.order_key IS NOT NULL
                AND (next.state < 2 OR next.state = 5)
              ORDER BY next.row LIMIT 1)"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(millis(now))
        .bind(ended)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Makes heads due that wait for nothing, whoever took away what they waited for.
pub(super) async fn mend(connection: &mut SqliteConnection) -> Result<()> {
    let sql = format!(
        "UPDATE deliveries SET due_at = created_at, reason = NULL
         WHERE {OPEN} AND state = 0 AND due_at = {NEVER} AND NOT {BEHIND}"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Cancels what is open for subscriptions that are gone: stored after the deletion, by a server
/// that was killed before it saw that. Steps from one subscription to the next in the index.
pub(super) async fn bury(connection: &mut SqliteConnection) -> Result<()> {
    for open in ["state < 2", "state = 5"] {
        let sql = format!(
            "WITH RECURSIVE owner (id) AS (
                 SELECT min(subscription_id) FROM deliveries WHERE {open}
                 UNION ALL
                 SELECT (SELECT min(subscription_id) FROM deliveries
                         WHERE {open} AND subscription_id > owner.id)
                 FROM owner WHERE owner.id IS NOT NULL)
             UPDATE deliveries SET state = 6, owner = 0, lease_until = 0, finished_at = created_at,
                    reason = 'its subscription was deleted'
             WHERE {open} AND subscription_id IN
                 (SELECT id FROM owner WHERE id NOT IN (SELECT id FROM subscriptions))"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// A due time, unless it is the end of time.
pub(super) fn known(due: i64) -> Option<i64> {
    (due < NEVER).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_time_is_a_time() {
        assert!(crate::model::Timestamp::from_millisecond(NEVER).is_ok());
        assert_eq!((known(NEVER), known(NEVER - 1)), (None, Some(NEVER - 1)));
    }
}
