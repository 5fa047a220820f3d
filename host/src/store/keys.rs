//! What the store keeps of access: keys by their hashes, portal epochs, the audit log.

use async_trait::async_trait;

use super::{Page, Result};
use crate::model::{ApiKey, ApplicationId, AuditEntry, AuditFilter, AuditId, KeyId, Timestamp};

/// An API key, as stored: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// What is known of it.
    pub key: ApiKey,
    /// SHA-256 of the key's text. Keys carry 256 random bits, so no slow hash is needed.
    pub hash: [u8; 32],
}

/// Who is let in.
#[async_trait]
pub trait Keys: Send + Sync {
    async fn create_key(&self, key: &StoredKey) -> Result<()>;
    /// All of them, the oldest first.
    async fn keys(&self) -> Result<Vec<StoredKey>>;
    /// Adds a key in place of another, which ends at `end`, with its limits, in one transaction.
    async fn replace_key(&self, old: KeyId, end: Timestamp, new: &StoredKey) -> Result<()>;
    async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<()>;
    /// Deletes keys for good.
    async fn delete_keys(&self, ids: &[KeyId]) -> Result<()>;
    /// Notes when keys were last used.
    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<()>;

    /// The applications whose portal tokens were ever revoked, with their epochs.
    async fn portal_epochs(&self) -> Result<Vec<(ApplicationId, u64)>>;
    /// Begins an application's next epoch; answers its number.
    async fn next_portal_epoch(&self, application: ApplicationId) -> Result<u64>;
}

/// Who changed what.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Writes down what is about to be changed, or was.
    async fn begin_audit(&self, entry: &AuditEntry) -> Result<()>;
    /// Completes an entry: what it concerns and how that is now.
    async fn end_audit(&self, entry: &AuditEntry) -> Result<()>;
    /// Takes back an entry of a change that was refused.
    async fn drop_audit(&self, id: AuditId) -> Result<()>;
    /// A page of entries, the newest first.
    async fn audit(
        &self,
        filter: &AuditFilter,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Page<AuditEntry>>;
    /// Deletes at most `limit` entries from before `before`; answers how many.
    async fn purge_audit(&self, before: Timestamp, limit: u32) -> Result<u64>;
}
