//! Seals secrets for the database, and opens them again.
//!
//! Owns the keys and the form of what is sealed. A master key, which never is in the database,
//! wraps a data key, which is; the data key seals each secret for its place, so that what is
//! moved to another row or column does not open. Never decides what is a secret, never writes
//! to the database.

mod file;
mod key;
mod vault;

pub use file::KeySource;
pub use key::MasterKey;
pub use vault::{Place, Vault};

/// Why something stays closed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A text is no master key.
    #[error(
        "{0} is no master key: 32 bytes in base64 are needed; \
         `hookmill master-key generate` makes one"
    )]
    NoKey(String),
    /// A key file cannot be read or made.
    #[error("the master key file {path} {what}: {error}")]
    File {
        /// Which.
        path: String,
        /// What failed.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// The file that a new key was to be written to is there already.
    #[error("{0} is there already: a key that is in use may be in it, so it is not overwritten")]
    Taken(String),
    /// There is no master key, and what it sealed is there.
    #[error(
        "its secrets are sealed under master key {sealed}, and no master key is given: \
         {looked} is not there. Put that file back, or name the key with master_key_file or \
         HOOKMILL_MASTER_KEY; nothing else opens them"
    )]
    Missing {
        /// The id of the key that is needed.
        sealed: String,
        /// Where it was looked for.
        looked: String,
    },
    /// The master key is another than the one that sealed.
    #[error(
        "its secrets are sealed under master key {sealed}, but {given} has master key {found}. \
         Give the one it was sealed under with master_key_file or HOOKMILL_MASTER_KEY; \
         nothing else opens them"
    )]
    Wrong {
        /// The id of the key that is needed.
        sealed: String,
        /// Where the other came from.
        given: String,
        /// Its id.
        found: String,
    },
    /// It was changed, cut, or moved here from another place.
    #[error("the database holds a sealed {0} that was damaged, changed or moved: it does not open")]
    Damaged(&'static str),
    /// The system gives no random bytes, or the cipher failed.
    #[error("nothing can be sealed: {0}")]
    Unable(String),
}
