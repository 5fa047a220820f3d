//! Limits: one row for each holder that has its own.

use async_trait::async_trait;

use super::{
    Result, SqliteStore,
    codec::{col, damaged, from_json, json},
    failed,
};
use crate::{
    model::{ApplicationId, Holder, Limits, Usage},
    store::LimitDocuments,
};

#[async_trait]
impl LimitDocuments for SqliteStore {
    async fn put_limits(&self, holder: &Holder, limits: &Limits) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query("INSERT OR REPLACE INTO limits (kind, name, document) VALUES (?, ?, ?)")
            .bind(holder.kind())
            .bind(holder.to_string())
            .bind(json(limits)?)
            .execute(&mut *write.connection)
            .await
            .map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn limits(&self) -> Result<Vec<(Holder, Limits)>> {
        let rows = sqlx::query("SELECT kind, name, document FROM limits")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let holder = Holder::from_parts(col(row, 0)?, col(row, 1)?)
                    .ok_or_else(|| damaged("a holder of limits"))?;
                Ok((holder, from_json(col(row, 2)?)?))
            })
            .collect()
    }

    fn usage(&self, application: ApplicationId) -> Usage {
        self.usages.of(application)
    }
}
