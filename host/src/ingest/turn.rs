//! The order of what is accepted together: events of one batch are stored in its order, however
//! long each takes to check, and only a few of them are checked at once. Never says whether one is
//! stored.

use std::{convert::Infallible, sync::Arc, thread::available_parallelism};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// When an event came, and after which others it is stored.
#[derive(Debug)]
pub struct Turn {
    pub(super) at: Timestamp,
    /// Of the batch; the first is 0.
    pub(super) place: u32,
    before: Option<oneshot::Receiver<Infallible>>,
    after: Option<oneshot::Sender<Infallible>>,
    /// Places for long checks that the batch has: more would keep others waiting, and be no sooner
    /// done.
    room: Option<Arc<Semaphore>>,
}

impl Turn {
    /// Of an event that came alone.
    pub const fn alone(at: Timestamp) -> Self {
        Self { at, place: 0, before: None, after: None, room: None }
    }

    /// Of the events of a batch, from the first on.
    pub fn each(at: Timestamp) -> impl Iterator<Item = Self> {
        let mut last = None;
        let room = Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from)));
        (0..).map(move |place| {
            let (after, next) = oneshot::channel();
            let room = Some(Arc::clone(&room));
            Self { at, place, before: last.replace(next), after: Some(after), room }
        })
    }

    /// Waits until few others of the batch are being checked, and counts as one of them from then
    /// on. None for one that came alone.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(self.room.as_ref()?).acquire_owned().await.ok()
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
        assert_eq!([first.place, second.place, third.place], [0, 1, 2]);
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
        assert!(Turn::alone(Timestamp::UNIX_EPOCH).room().await.is_none());
    }

    #[tokio::test]
    async fn one_alone_waits_for_none() {
        Turn::alone(Timestamp::UNIX_EPOCH).end().await;
    }
}
