//! Places for work that takes long, and who waits for one. Never does the work.
//!
//! Who came first goes first, unless they have waited for long: then more comes than can be
//! done, and of those who wait only the latest can still be served in time. The others have
//! their turn when it is over, or are told to come back by whoever asked for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::clock::Clock;

/// A wait that is long. Less than this is a burst's.
const LONG: Duration = Duration::from_millis(50);

/// So many places.
pub(super) struct Places {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Oldest first. Some have gone without a place; they go from here when they are the oldest.
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    since: Instant,
    place: oneshot::Sender<Place>,
}

/// A place, until it is dropped.
pub(super) struct Place(Option<Arc<Places>>);

/// Waits for a place. May be polled again and again, and dropped at any time.
pub(super) type Waiting = oneshot::Receiver<Place>;

impl Places {
    pub(super) fn new(most: usize, clock: Clock) -> Arc<Self> {
        let state = State { free: most, waiting: VecDeque::new() };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    /// A place, or a wait for one.
    pub(super) fn take(self: &Arc<Self>) -> Result<Place, Waiting> {
        let mut state = self.state();
        if let Some(less) = state.free.checked_sub(1) {
            state.free = less;
            return Ok(Place(Some(Arc::clone(self))));
        }
        let (place, waiting) = oneshot::channel();
        state.waiting.push_back(Waiter { since: self.clock.instant(), place });
        Err(waiting)
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.state().free
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has the next place, if anybody waits; else it is free.
    fn next(&self) -> Option<oneshot::Sender<Place>> {
        let mut state = self.state();
        while state.waiting.front().is_some_and(|oldest| oldest.place.is_closed()) {
            state.waiting.pop_front();
        }
        let oldest = state.waiting.front().map(|oldest| self.clock.instant() - oldest.since);
        let next = match oldest {
            Some(waited) if waited > LONG => state.waiting.pop_back(),
            _ => state.waiting.pop_front(),
        };
        if next.is_none() {
            state.free += 1;
        }
        next.map(|waiter| waiter.place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.0.take() else { return };
        while let Some(next) = places.next() {
            match next.send(Self(Some(Arc::clone(&places)))) {
                Ok(()) => return,
                // Whoever it was has gone: the place is still here, and this is not its end.
                Err(mut place) => place.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (Arc<Places>, Place) {
        let places = Places::new(1, Clock::system());
        let place = places.take().ok().unwrap();
        (places, place)
    }

    fn wait(places: &Arc<Places>) -> Waiting {
        places.take().err().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_goes_first() {
        let (places, place) = one();
        let (mut first, mut second) = (wait(&places), wait(&places));
        tokio::time::advance(LONG).await;
        drop(place);
        assert!(second.try_recv().is_err());
        drop(first.try_recv().unwrap());
        drop(second.try_recv().unwrap());
        assert_eq!(places.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn once_waits_are_long_the_latest_goes_first_and_the_others_afterwards() {
        let (places, place) = one();
        let (mut first, mut second) = (wait(&places), wait(&places));
        tokio::time::advance(LONG + Duration::from_millis(1)).await;
        let mut latest = wait(&places);
        drop(place);
        assert!(first.try_recv().is_err() && second.try_recv().is_err());
        drop(latest.try_recv().unwrap());
        drop(second.try_recv().unwrap());
        drop(first.try_recv().unwrap());
        assert_eq!(places.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_not_lost_with_whoever_waits_for_it() {
        let (places, place) = one();
        let (gone, given, mut last) = (wait(&places), wait(&places), wait(&places));
        drop(gone);
        drop(place);
        assert!(last.try_recv().is_err());
        // It has its place and never learns of it.
        drop(given);
        drop(last.try_recv().unwrap());
        assert_eq!(places.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_those_who_have_gone() {
        let (places, mut place) = one();
        for _ in 0..1_000 {
            let (_left, mut latest) = (wait(&places), wait(&places));
            tokio::time::advance(2 * LONG).await;
            drop(place);
            place = latest.try_recv().unwrap();
        }
        drop(place);
        assert_eq!((places.free(), places.waiting()), (1, 0));
    }
}
