//! How versions of schemas end, in their rows.

use async_trait::async_trait;

use super::{Result, SqliteStore, codec::millis, failed, resources::found};
use crate::{
    model::{EventTypeName, Lifecycle},
    store::Evolution,
};

#[async_trait]
impl Evolution for SqliteStore {
    async fn set_schema_lifecycle(
        &self,
        name: &EventTypeName,
        version: u32,
        lifecycle: Lifecycle,
    ) -> Result<()> {
        let mut write = self.write().await?;
        let changed = sqlx::query(
            "UPDATE schemas SET deprecated_at = ?, sunset_at = ? WHERE event_type = ? AND version = ?",
        )
        .bind(lifecycle.deprecated_at.map(millis))
        .bind(lifecycle.sunset_at.map(millis))
        .bind(name.as_str())
        .bind(i64::from(version))
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        found(changed.rows_affected())
    }
}
