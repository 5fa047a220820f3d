//! An entry of the audit log that goes to the disk before whatever its change writes first.
//!
//! The entry waits beside the task that makes the change. A store asks for it before it writes, so
//! there is never a change without an entry, and none of a request that is refused before it
//! writes anything. What hands its work to another task hands the entry on, by `carry`.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::model::AuditEntry;

tokio::task_local! {
    static WAITING: Arc<Noted>;
}

/// An entry, and whether it is on the disk.
#[derive(Debug)]
pub struct Noted {
    entry: AuditEntry,
    is_written: AtomicBool,
}

impl Noted {
    /// The entry as it is to be written.
    pub const fn entry(&self) -> &AuditEntry {
        &self.entry
    }

    /// Says that it is on the disk.
    pub fn written(&self) {
        self.is_written.store(true, Ordering::Release);
    }

    fn is_written(&self) -> bool {
        self.is_written.load(Ordering::Acquire)
    }
}

/// Makes a change whose first write is preceded by this entry's. Answers also whether the entry
/// was written.
pub async fn noted<F: Future>(entry: AuditEntry, change: F) -> (F::Output, bool) {
    let noted = Arc::new(Noted { entry, is_written: AtomicBool::new(false) });
    let output = WAITING.scope(Arc::clone(&noted), change).await;
    (output, noted.is_written())
}

/// For a store about to write: the entry that must be on the disk before.
pub fn waiting() -> Option<Arc<Noted>> {
    WAITING.try_with(Arc::clone).ok().filter(|noted| !noted.is_written())
}

/// A future for another task that goes on with this one's change.
pub fn carry<F: Future>(change: F) -> impl Future<Output = F::Output> {
    let noted = WAITING.try_with(Arc::clone).ok();
    async move {
        match noted {
            Some(noted) => WAITING.scope(noted, change).await,
            None => change.await,
        }
    }
}
