//! The order of what is accepted together: events of one batch are stored in its order, however
//! long each takes to check, and only a few of them are checked at once. What the server has no room
//! for ends the batch: what is stored of it is its beginning. Never says whether one is stored.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::available_parallelism,
};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// When an event came, and after which others it is stored.
#[derive(Debug)]
pub struct Turn {
    pub(super) at: Timestamp,
    before: Option<oneshot::Receiver<Infallible>>,
    after: Option<oneshot::Sender<Infallible>>,
    batch: Option<Arc<Batch>>,
}

/// What the events of a batch share.
#[derive(Debug)]
struct Batch {
    /// Places for long checks: more would keep others waiting, and be no sooner done.
    room: Arc<Semaphore>,
    /// Whether one of them was there to be checked for long.
    has_come: AtomicBool,
    /// Whether there was no room for one of them.
    is_ended: AtomicBool,
}

impl Turn {
    /// Of an event that came alone.
    pub const fn alone(at: Timestamp) -> Self {
        Self { at, before: None, after: None, batch: None }
    }

    /// Of the events of a batch, from the first on.
    pub fn each(at: Timestamp) -> impl Iterator<Item = Self> {
        let mut last = None;
        let places = available_parallelism().map_or(1, usize::from);
        let batch = Arc::new(Batch {
            room: Arc::new(Semaphore::new(places)),
            has_come: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
        });
        std::iter::repeat_with(move || {
            let (after, next) = oneshot::channel();
            let batch = Some(Arc::clone(&batch));
            Self { at, before: last.replace(next), after: Some(after), batch }
        })
    }

    /// Waits until few others of the batch are being checked, and counts as one of them from then
    /// on. None for one that came alone.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.batch.as_ref()?.room).acquire_owned().await.ok()
    }

    /// Whether it is the first of its batch to ask so: the others come along with it.
    pub(super) fn is_first(&self) -> bool {
        self.batch.as_ref().is_none_or(|batch| !batch.has_come.swap(true, Relaxed))
    }

    /// There was no room for it: neither is there for those after it.
    pub(super) fn end_batch(&self) {
        if let Some(batch) = &self.batch {
            batch.is_ended.store(true, Relaxed);
        }
    }

    /// Whether there was no room for another of the batch.
    pub(super) fn is_ended(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.is_ended.load(Relaxed))
    }

    /// Waits until all before it are over.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // Nothing is ever sent: the other end is dropped.
            let _over = before.await;
        }
    }

    /// Lets the next one go: it has come, and its event is on the way to the store.
    pub(super) fn pass(&mut self) {
        self.after = None;
    }

    /// The same of one whose event was refused, or is stored by now.
    pub async fn end(mut self) {
        self.come().await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_all_before_it_are_over_in_whatever_order_they_end() {
        let mut turns = Turn::each(Timestamp::UNIX_EPOCH);
        let [mut first, second, mut third] = std::array::from_fn(|_| turns.next().unwrap());
        let (mut second, mut third) = (pin!(second.end()), pin!(third.come()));
        assert!(poll!(second.as_mut()).is_pending());
        assert!(poll!(third.as_mut()).is_pending());
        first.come().await;
        first.pass();
        assert!(poll!(third.as_mut()).is_pending());
        assert!(poll!(second).is_ready());
        assert!(poll!(third).is_ready());
    }

    #[tokio::test]
    async fn a_batch_has_as_many_places_as_there_are_processors() {
        let places = available_parallelism().map_or(1, usize::from);
        let mut turns = Turn::each(Timestamp::UNIX_EPOCH);
        let mut held = Vec::new();
        for turn in turns.by_ref().take(places) {
            held.push(turn.room().await.unwrap());
        }
        let next = turns.next().unwrap();
        let mut waiting = pin!(next.room());
        assert!(poll!(waiting.as_mut()).is_pending());
        held.pop();
        assert!(poll!(waiting).is_ready());
    }

    #[test]
    fn a_batch_comes_once_and_ends_for_all() {
        let mut turns = Turn::each(Timestamp::UNIX_EPOCH);
        let [one, other] = std::array::from_fn(|_| turns.next().unwrap());
        assert!(other.is_first() && !one.is_first() && !one.is_ended());
        other.end_batch();
        assert!(one.is_ended() && other.is_ended());
    }

    #[tokio::test]
    async fn one_alone_waits_for_none_and_ends_none() {
        let alone = Turn::alone(Timestamp::UNIX_EPOCH);
        assert!(alone.is_first() && alone.is_first() && alone.room().await.is_none());
        alone.end_batch();
        assert!(!alone.is_ended());
        alone.end().await;
    }
}
