//! Brings to the directory what must be remembered of failing endpoints over a restart.
//!
//! Owns the queue, so that what is said last of a subscription is written last. Never waits
//! on behalf of an attempt: what finds no room is dropped, and said again by a later failure
//! after the next restart.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::board::Board;
use crate::model::{FailingSince, SubscriptionId};

/// Most changes that wait to be written.
const QUEUE: usize = 1_024;

type Change = (SubscriptionId, Option<FailingSince>);

/// The way in.
#[derive(Debug, Clone)]
pub(super) struct Keeper(mpsc::Sender<Change>);

impl Keeper {
    /// Starts a task that ends when the last handle on it is gone.
    pub(super) fn start(board: Arc<Board>) -> Self {
        let (sender, mut changes) = mpsc::channel::<Change>(QUEUE);
        tokio::spawn(async move {
            while let Some((id, failing)) = changes.recv().await {
                board.directory.keep_failing(id, failing).await;
            }
        });
        Self(sender)
    }

    pub(super) fn keep(&self, id: SubscriptionId, failing: Option<FailingSince>) {
        if self.0.try_send((id, failing)).is_err() {
            tracing::warn!(subscription = %id, "since when it fails was not written down");
        }
    }
}
