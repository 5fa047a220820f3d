//! What is counted: how much waits, how transactions go, where deliveries moved.

use async_trait::async_trait;

use super::{Result, SqliteStore, codec::timestamp, failed};
use crate::{
    clock::Stopwatch,
    model::DeliveryState,
    store::{Backlog, Counts},
};

#[async_trait]
impl Counts for SqliteStore {
    async fn backlog(&self) -> Result<Backlog> {
        // Each part finds a partial index that holds nothing else.
        let (pending, held, dead, first_due): (i64, i64, i64, Option<i64>) = sqlx::query_as(
            "SELECT waiting.n, (SELECT count(*) FROM deliveries WHERE state = 5),
                    (SELECT count(*) FROM deliveries WHERE state = 3), waiting.first
             FROM (SELECT count(*) AS n, min(due_at) AS first FROM deliveries WHERE state < 2)
                  AS waiting",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        let number = |count: i64| u64::try_from(count).unwrap_or_default();
        Ok(Backlog {
            pending: number(pending),
            held: number(held),
            dead: number(dead),
            first_due: first_due.map(timestamp).transpose()?,
        })
    }

    async fn used_bytes(&self) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT (pages.page_count - free.freelist_count) * size.page_size
             FROM pragma_page_count AS pages, pragma_freelist_count AS free,
                  pragma_page_size AS size",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }
}

/// A transaction of the belt, from its wait for the writer on.
pub(super) struct Timed {
    operation: &'static str,
    watch: Stopwatch,
}

impl Timed {
    pub(super) fn start(operation: &'static str) -> Self {
        Self { operation, watch: Stopwatch::start() }
    }

    /// It is over, with so much in it.
    pub(super) fn done(self, size: usize) {
        metrics::histogram!("hookmill_store_seconds", "operation" => self.operation)
            .record(self.watch.elapsed());
        metrics::histogram!("hookmill_store_batch_size", "operation" => self.operation)
            .record(size as f64);
    }
}

/// Deliveries moved otherwise than by an attempt.
pub(super) fn moved(to: DeliveryState, count: u64) {
    if count > 0 {
        metrics::counter!("hookmill_deliveries_total", "state" => to.as_str()).increment(count);
    }
}
