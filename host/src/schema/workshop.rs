//! Where schemas are compiled, compared and tried on stored events: on threads of their own, few
//! at once, and no longer than somebody waits for it.
//!
//! Such work may take seconds, and events are not to wait for it. Never says what is done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use crate::clock::Clock;

/// Most that wait for a place: each holds a schema of up to some megabytes.
const WAITING: usize = 32;
/// How long one piece of work may take, if it can be interrupted.
const LONGEST: Duration = Duration::from_secs(5);

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Half of the processors: the others are for events.
    places: Arc<Semaphore>,
    /// For those who wait and those who work.
    door: Arc<Semaphore>,
    clock: Clock,
}

/// Why a piece of work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// Too many wait already.
    #[error("too many schemas are waiting to be looked at")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// Tells a piece of work when to stop.
#[derive(Debug, Clone)]
pub struct Stop {
    gone: Arc<AtomicBool>,
    until: Instant,
    clock: Clock,
}

impl Stop {
    fn new(clock: Clock) -> Self {
        Self { gone: Arc::default(), until: clock.instant() + LONGEST, clock }
    }

    /// Nobody waits for it any more, or it took too long.
    pub fn is_over(&self) -> bool {
        self.gone.load(Relaxed) || self.clock.instant() > self.until
    }
}

/// Says so when nobody waits any more.
struct Waiter(Arc<AtomicBool>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Workshop {
    /// With a place for every second processor.
    pub fn new(clock: Clock) -> Self {
        let most = available_parallelism().map_or(1, |count| (count.get() / 2).max(1));
        let door = Arc::new(Semaphore::new(most + WAITING));
        Self { places: Arc::new(Semaphore::new(most)), door, clock }
    }

    /// What `work` comes to. It is told when to stop.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let entered = Arc::clone(&self.door).try_acquire_owned().map_err(|_| Undone::Busy)?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Undone::Stopping)?;
        let stop = Stop::new(self.clock);
        let _waiter = Waiter(Arc::clone(&stop.gone));
        let working = tokio::task::spawn_blocking(move || {
            // Held although the caller may be gone.
            let _held = (entered, place);
            work(&stop)
        });
        working.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Undone::Stopping,
        })
    }
}

#[cfg(test)]
impl Stop {
    /// One that never tells to.
    pub(super) fn never() -> Self {
        Self::new(Clock::system())
    }

    /// One that tells to at once.
    pub(super) fn now() -> Self {
        let stop = Self::never();
        stop.gone.store(true, Relaxed);
        stop
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn small() -> Workshop {
        let (places, door) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(2)));
        Workshop { places, door, clock: Clock::system() }
    }

    #[tokio::test]
    async fn work_is_done_on_another_thread_and_never_more_than_there_is_room_for() {
        let workshop = small();
        let here = std::thread::current().id();
        assert_ne!(workshop.run(|_| std::thread::current().id()).await.unwrap(), here);
        let (go, wait) = mpsc::sync_channel::<()>(1);
        let first = {
            let workshop = workshop.clone();
            tokio::spawn(async move { workshop.run(move |_| wait.recv().is_ok()).await })
        };
        let second = {
            let workshop = workshop.clone();
            tokio::spawn(async move { workshop.run(|_| true).await })
        };
        while workshop.door.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workshop.run(|_| ()).await, Err(Undone::Busy));
        assert!(!second.is_finished());
        go.send(()).unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(true), Ok(true)));
        assert_eq!(workshop.run(|_| ()).await, Ok(()));
    }

    #[tokio::test]
    async fn work_is_told_when_nobody_waits_for_it_any_more() {
        let workshop = small();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (told, tells) = tokio::sync::oneshot::channel();
        let waiter = {
            let workshop = workshop.clone();
            tokio::spawn(async move {
                workshop
                    .run(move |stop| {
                        let before = stop.is_over();
                        begun.send(before).unwrap();
                        while !stop.is_over() {
                            std::thread::yield_now();
                        }
                        let early = stop.clock.instant() < stop.until;
                        told.send(early).unwrap();
                    })
                    .await
            })
        };
        assert!(!begins.await.unwrap());
        waiter.abort();
        assert!(tells.await.unwrap(), "it ended before its time was over");
    }
}
