//! What the store keeps of requests that are safe to repeat: that they were begun, and what they
//! were answered, sealed: an answer may show a secret that nobody is shown twice.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::Result;
use crate::model::{ApplicationId, Timestamp};

/// What names a request under a key: a hash of who asked and the key.
pub type AskedId = [u8; 32];

/// A request under a key.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name.
    pub id: AskedId,
    /// The application it is for; none for the platform.
    pub scope: Option<ApplicationId>,
    /// A hash of the request itself.
    pub fingerprint: [u8; 32],
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// What is known of a request that is about to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: it is written down now.
    First,
    /// It was answered so, if it was.
    Known(Option<Zeroizing<Vec<u8>>>),
    /// Its key was used for another request.
    Other,
    /// Its scope has as many as it may, which is so many.
    TooMany(u32),
}

/// See the module.
#[async_trait]
pub trait Answers: Send + Sync {
    /// Writes down that a request is about to be carried out, unless its key is known or its scope
    /// has `most` already.
    async fn begin_answer(&self, asked: &Asked, most: u32, now: Timestamp) -> Result<Begun>;
    /// Adds what it was answered.
    async fn end_answer(&self, id: &AskedId, answer: &[u8]) -> Result<()>;
    /// Takes back a request that came to nothing.
    async fn drop_answer(&self, id: &AskedId) -> Result<()>;
}
