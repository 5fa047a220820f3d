//! What the store keeps of plugins: their versions, what is done to them, what fails.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Page, Result};
use crate::model::{
    ApplicationId, PluginChange, PluginFailure, PluginVersion, Quarantine, Rollout, Sha256,
};

/// Plugins, their versions and what happens to them. Every change is written with its line
/// of history, in one transaction.
#[async_trait]
pub trait Plugins: Send + Sync {
    /// Adds a version with its component. `Exists` if that version has other bytes;
    /// with the same bytes nothing changes. `live` moves to it if it says so: then `change`
    /// is that line of the history, and a rollout of the plugin ends.
    async fn add_plugin(
        &self,
        version: &PluginVersion,
        component: &Bytes,
        change: Option<&PluginChange>,
    ) -> Result<()>;
    /// All versions of all plugins, every application's and the shared ones.
    async fn plugins(&self) -> Result<Vec<PluginVersion>>;
    async fn component(&self, sha256: &Sha256) -> Result<Bytes>;
    /// Moves `live` as the change says; a rollout of the plugin ends.
    async fn set_live(&self, change: &PluginChange) -> Result<()>;
    /// One version, or all with none.
    async fn delete_plugin(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: Option<&str>,
    ) -> Result<()>;

    /// What was done to a plugin, newest first, each with its place in the list.
    async fn plugin_history(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<(i64, PluginChange)>>;

    async fn rollouts(&self) -> Result<Vec<Rollout>>;
    /// Starts a rollout in place of the plugin's former one, if there was one.
    async fn start_rollout(&self, rollout: &Rollout, change: &PluginChange) -> Result<()>;
    async fn end_rollout(&self, change: &PluginChange) -> Result<()>;

    async fn quarantines(&self) -> Result<Vec<Quarantine>>;
    async fn quarantine(&self, quarantine: &Quarantine, change: &PluginChange) -> Result<()>;
    async fn release_quarantine(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
        change: &PluginChange,
    ) -> Result<()>;

    /// Adds failures, and forgets all but the last `keep` of each version and application.
    async fn add_failures(&self, failures: &[PluginFailure], keep: u32) -> Result<()>;
    /// The last failures of a version, newest first, each with its place in the list.
    async fn failures(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<(i64, PluginFailure)>>;
}
