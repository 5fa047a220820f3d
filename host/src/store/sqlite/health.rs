//! Endpoints that fail, in a table of their own: it has a row only for those that do.

use async_trait::async_trait;

use super::{
    Result, SqliteStore,
    codec::{bytes16, millis, timestamp},
    failed,
};
use crate::{
    model::{FailingSince, SubscriptionId},
    store::Health,
};

#[async_trait]
impl Health for SqliteStore {
    async fn failing(&self) -> Result<Vec<(SubscriptionId, FailingSince)>> {
        let rows: Vec<(Vec<u8>, i64, i64)> =
            sqlx::query_as("SELECT subscription_id, since, attempts FROM failing")
                .fetch_all(&self.readers)
                .await
                .map_err(failed)?;
        rows.into_iter()
            .map(|(id, since, attempts)| {
                let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                let failing = FailingSince { since: timestamp(since)?, attempts };
                Ok((SubscriptionId::from_bytes(bytes16(&id)?), failing))
            })
            .collect()
    }

    async fn put_failing(&self, id: SubscriptionId, failing: Option<FailingSince>) -> Result<()> {
        let mut write = self.write().await?;
        let id = id.as_bytes().as_slice();
        let query = match failing {
            // The subscription may have been deleted meanwhile.
            Some(failing) => sqlx::query(
                "INSERT OR REPLACE INTO failing (subscription_id, since, attempts)
                 SELECT id, ?2, ?3 FROM subscriptions WHERE id = ?1",
            )
            .bind(id)
            .bind(millis(failing.since))
            .bind(i64::from(failing.attempts)),
            None => sqlx::query("DELETE FROM failing WHERE subscription_id = ?").bind(id),
        };
        query.execute(&mut *write.connection).await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn waiting(&self, id: SubscriptionId) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM deliveries WHERE subscription_id = ? AND state < 2",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}
