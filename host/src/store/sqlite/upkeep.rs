//! The store's upkeep as the trait has it; the work is in `retention.rs` and `backup.rs`.

use std::fs::File;

use async_trait::async_trait;

use super::{Result, SqliteStore};
use crate::{
    model::Timestamp,
    store::{PurgeStep, Purged, Swept, Upkeep},
};

#[async_trait]
impl Upkeep for SqliteStore {
    async fn purge(&self, step: &PurgeStep) -> Result<Purged> {
        self.purge_step(step).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        self.sweep_rest(now).await
    }

    async fn snapshot(&self) -> Result<File> {
        self.copy().await
    }
}
