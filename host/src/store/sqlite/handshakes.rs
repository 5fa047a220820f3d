//! Handshakes: one row for each subscription whose endpoint was asked.

use async_trait::async_trait;
use url::Url;

use super::{
    Result, SqliteStore,
    codec::{col, col_time, damaged, millis},
    failed,
};
use crate::{
    model::{HandshakeRecord, SubscriptionId},
    store::Handshakes,
};

#[async_trait]
impl Handshakes for SqliteStore {
    async fn put_handshake(&self, id: SubscriptionId, record: &HandshakeRecord) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO handshakes
                 (subscription_id, endpoint, origin, at, rate, refused, waiting)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_bytes().as_slice())
        .bind(record.endpoint.as_str())
        .bind(&record.origin)
        .bind(millis(record.at))
        .bind(record.rate)
        .bind(record.refused.as_deref())
        .bind(record.waiting)
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn handshake(&self, id: SubscriptionId) -> Result<Option<HandshakeRecord>> {
        let row = sqlx::query(
            "SELECT endpoint, origin, at, rate, refused, waiting FROM handshakes
             WHERE subscription_id = ?",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        row.map(|row| {
            Ok(HandshakeRecord {
                endpoint: Url::parse(col(&row, 0)?).map_err(|_| damaged("a URL"))?,
                origin: col(&row, 1)?,
                at: col_time(&row, 2)?,
                rate: col(&row, 3)?,
                refused: col(&row, 4)?,
                waiting: col(&row, 5)?,
            })
        })
        .transpose()
    }
}
