//! Where an event is checked: at once if that is quick, and otherwise on a thread of its own,
//! as many at once as there are processors.
//!
//! A long check among the tasks that speak with the network would hold all of them up: those
//! that deliver, and those that tell producers to come back later. Never says what is right.

use std::{fmt, sync::Arc, thread::available_parallelism, time::Duration};

use tokio::{sync::Semaphore, task::yield_now};

use super::Rejected;
use crate::{catalog::Cost, clock::Clock, limits::Admission};

/// What is done at once: not much longer than a task's turn takes otherwise.
const QUICK: Duration = Duration::from_micros(250);
/// What takes longer lets others go first when many are at work.
const SHORT: Duration = Duration::from_micros(50);
/// Who has waited for so long while others are turned away is turned away too: it was let in
/// before it was known that more comes than can be taken.
const TOO_LONG: Duration = Duration::from_millis(100);

/// The places for checks that take long.
pub struct Desk {
    places: Arc<Semaphore>,
    /// How many they are.
    most: usize,
    admission: Admission,
    clock: Clock,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({} places)", self.most)
    }
}

impl Desk {
    /// With a place for each processor.
    pub(super) fn new(admission: Admission, clock: Clock) -> Self {
        Self::of(available_parallelism().map_or(1, usize::from), admission, clock)
    }

    /// For what anybody may send: half of the processors at most, and none of the places of
    /// those who are known.
    pub fn for_strangers(admission: Admission, clock: Clock) -> Self {
        let most = available_parallelism().map_or(1, usize::from);
        Self::of(most.div_ceil(2), admission, clock)
    }

    fn of(most: usize, admission: Admission, clock: Clock) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most, admission, clock }
    }

    /// What `check` finds of a payload of so many bytes, which costs about `cost`.
    pub async fn examine<T: Send + 'static>(
        &self,
        cost: &Cost,
        bytes: usize,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Rejected> {
        let guess = cost.of(bytes);
        if guess <= QUICK {
            if guess > SHORT && self.admission.at_work() > self.most {
                // Others first: of all who have come, those whom there is no place for are
                // told so before the rest are looked at, and the time they wait is seen.
                yield_now().await;
            }
            let start = self.clock.instant();
            let found = check();
            cost.learn(bytes, self.clock.instant() - start);
            return Ok(found);
        }
        let start = self.clock.instant();
        // The semaphore is never closed: there is always a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        if self.admission.is_shedding() && self.clock.instant() - start > TOO_LONG {
            return Err(Rejected::Overloaded { retry_after: Duration::from_secs(1) });
        }
        let clock = self.clock;
        let checking = tokio::task::spawn_blocking(move || {
            // Held although the caller may be gone.
            let _place = place;
            let start = clock.instant();
            let found = check();
            (found, clock.instant() - start)
        });
        match checking.await {
            Ok((found, took)) => {
                cost.learn(bytes, took);
                Ok(found)
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Rejected::stopping()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::limits::AdmissionSettings;

    fn desk() -> Desk {
        let settings = AdmissionSettings { publishing: 9, body_bytes: 9 };
        Desk::new(Admission::new(settings, Clock::system()), Clock::system())
    }

    fn dear() -> Cost {
        let cost = Cost::default();
        (0..100).for_each(|_| cost.learn(1, Duration::from_secs(1)));
        cost
    }

    #[tokio::test]
    async fn a_quick_check_is_made_at_once_and_a_long_one_on_a_thread_of_its_own() {
        let here = std::thread::current().id();
        let thread = || std::thread::current().id();
        let desk = desk();
        assert_eq!(desk.examine(&Cost::default(), 9, thread).await.unwrap(), here);
        assert_ne!(desk.examine(&dear(), 9, thread).await.unwrap(), here);
        // Thousands of blocks take long whatever they are.
        assert_ne!(desk.examine(&Cost::default(), 8 << 20, thread).await.unwrap(), here);
    }

    #[tokio::test]
    async fn what_is_dear_is_known_after_the_fact() {
        let (desk, cost) = (desk(), dear());
        let before = cost.of(1);
        desk.examine(&cost, 1, || ()).await.unwrap();
        assert!(cost.of(1) < before);
    }

    #[tokio::test]
    async fn no_more_are_made_at_once_than_there_are_places() {
        let desk = Arc::new(desk());
        let places = desk.places.available_permits();
        let (go, wait) = mpsc::sync_channel::<()>(places + 1);
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let checks: Vec<_> = (0..places + 1)
            .map(|n| {
                let (desk, wait) = (Arc::clone(&desk), Arc::clone(&wait));
                tokio::spawn(async move {
                    let check = move || wait.lock().map(|wait| wait.recv().is_ok()).is_ok();
                    desk.examine(&dear(), n, check).await.is_ok()
                })
            })
            .collect();
        while desk.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(checks.iter().all(|check| !check.is_finished()));
        (0..=places).for_each(|_| go.send(()).unwrap());
        for check in checks {
            assert!(check.await.unwrap());
        }
        assert_eq!(desk.places.available_permits(), places);
    }

    #[tokio::test]
    #[should_panic(expected = "at the desk")]
    async fn a_panic_is_the_callers() {
        let _never = desk().examine(&dear(), 1, || panic!("at the desk")).await;
    }
}
