//! Where an event is checked: at once if that is quick, and otherwise on a thread of its own,
//! as many at once as there are processors.
//!
//! A long check among the tasks that speak with the network would hold all of them up: those
//! that deliver, and those that tell producers to come back later. Never says what is right.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, yield_now},
    time::timeout,
};

use super::{Rejected, Turn};
use crate::{catalog::Cost, clock::Clock, limits::Admission, model::Timestamp, nice};

/// What is done at once: not much longer than a task's turn takes otherwise.
const QUICK: Duration = Duration::from_micros(250);
/// What takes longer lets others go first when many are at work.
const SHORT: Duration = Duration::from_micros(50);
/// Who has waited for so long while others are turned away is turned away too: it was let in
/// before it was known that more comes than can be taken.
const TOO_LONG: Duration = Duration::from_millis(50);

/// More work than this is not queued: a burst is done within it, and what would take longer comes
/// back when the rest is done.
const BURST: Duration = Duration::from_millis(100);
/// So many may be queued whatever a check is thought to take: a machine that does other things
/// makes everything look dear.
const FEW: usize = 32;

/// The places for checks that take long.
pub struct Desk {
    places: Arc<Semaphore>,
    threads: Threads,
    /// How many they are.
    most: usize,
    /// Whether more than a burst is turned away: strangers could so keep each other out.
    is_bounded: bool,
    queue: Arc<Queue>,
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
        Self::of(available_parallelism().map_or(1, usize::from), true, admission, clock)
    }

    /// For what anybody may send: half of the processors at most, and none of the places of
    /// those who are known.
    pub fn for_strangers(admission: Admission, clock: Clock) -> Self {
        let most = available_parallelism().map_or(1, usize::from);
        Self::of(most.div_ceil(2), false, admission, clock)
    }

    fn of(most: usize, is_bounded: bool, admission: Admission, clock: Clock) -> Self {
        let (places, threads) = (Arc::new(Semaphore::new(most)), Threads::start(most));
        Self { places, threads, most, is_bounded, queue: Arc::default(), admission, clock }
    }

    /// What `check` finds of a payload of so many bytes, which costs about `cost`.
    pub async fn examine<T: Send + 'static>(
        &self,
        cost: &Cost,
        bytes: usize,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Rejected> {
        self.examine_in(&Turn::alone(Timestamp::UNIX_EPOCH), cost, bytes, check).await
    }

    /// The same in the turn of a batch's event. Whether there is room is asked for the first that
    /// takes long; the others come along, two or so at a time, or go with it.
    pub(super) async fn examine_in<T: Send + 'static>(
        &self,
        turn: &Turn,
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
        let room = turn.room().await;
        if turn.is_ended() {
            return Err(Rejected::overloaded());
        }
        let queued = Queue::enter(&self.queue, guess);
        let is_first = turn.is_first();
        if self.is_bounded && is_first && self.queue.is_long(self.most) {
            return Err(self.turn_away(turn));
        }
        let Some(place) = self.place(is_first).await else { return Err(self.turn_away(turn)) };
        let clock = self.clock;
        let checking = self.threads.run(move || {
            // Held although the caller may be gone.
            let _held = (place, queued, room);
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

    /// A place for a long check, once there is one. None if that takes too long for who may be
    /// turned away.
    async fn place(&self, may_end: bool) -> Option<OwnedSemaphorePermit> {
        let mut place = pin!(Arc::clone(&self.places).acquire_owned());
        loop {
            match timeout(TOO_LONG, place.as_mut()).await {
                // It is never closed.
                Ok(place) => return place.ok(),
                Err(_) if may_end && self.admission.is_shedding() => return None,
                Err(_) => {}
            }
        }
    }

    fn turn_away(&self, turn: &Turn) -> Rejected {
        self.admission.turn_away();
        turn.end_batch();
        Rejected::overloaded()
    }
}

/// The checks that wait or are made; of a batch, those that have room.
#[derive(Default)]
struct Queue {
    count: AtomicUsize,
    /// How long they take, as far as is known.
    nanos: AtomicU64,
}

impl Queue {
    fn enter(queue: &Arc<Self>, guess: Duration) -> Queued {
        let nanos = u64::try_from(guess.as_nanos()).unwrap_or(u64::MAX);
        queue.count.fetch_add(1, Relaxed);
        queue.nanos.fetch_add(nanos, Relaxed);
        Queued { queue: Arc::clone(queue), nanos }
    }

    /// Whether it is more than a burst for so many threads.
    fn is_long(&self, threads: usize) -> bool {
        let all = Duration::from_nanos(self.nanos.load(Relaxed));
        self.count.load(Relaxed) > FEW && all.div_f64(threads as f64) > BURST
    }
}

/// One of them, until it is made or its sender is gone.
struct Queued {
    queue: Arc<Queue>,
    nanos: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.count.fetch_sub(1, Relaxed);
        self.queue.nanos.fetch_sub(self.nanos, Relaxed);
    }
}

/// Threads that give way to those that speak with the network and with the disk: a check is
/// one event's, and what they do is everybody's.
struct Threads(Option<Runtime>);

impl Threads {
    fn start(most: usize) -> Self {
        let mut threads = Builder::new_current_thread();
        threads.thread_name("hookmill-check").max_blocking_threads(most);
        // Without a runtime of their own, checks are made among what else takes long.
        Self(threads.on_thread_start(nice::give_way).build().ok())
    }

    fn run<T: Send + 'static>(&self, check: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn_blocking(check),
            None => tokio::task::spawn_blocking(check),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for what is under way is not for whoever lets go of the desk.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, task::Poll};

    use super::*;
    use crate::limits::AdmissionSettings;

    fn admission(publishing: usize) -> Admission {
        Admission::new(AdmissionSettings { publishing, body_bytes: 9 }, Clock::system())
    }

    fn desk() -> Desk {
        Desk::new(admission(9), Clock::system())
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
        let places = desk.most;
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

    /// Lets more come, for longer than a burst lasts, than can be taken.
    async fn overload(admission: &Admission, most: usize) {
        let places: Vec<_> = (0..most).map(|_| admission.admit().unwrap()).collect();
        for _ in 0..9 {
            tokio::time::advance(Duration::from_millis(20)).await;
            assert!(admission.admit().is_err());
        }
        places.iter().for_each(|place| place.served());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_long_is_turned_away_if_others_are_and_only_then() {
        let admission = admission(64);
        let desk = Arc::new(Desk::new(admission.clone(), Clock::system()));
        let most = u32::try_from(desk.most).unwrap();
        let taken = Arc::clone(&desk.places).acquire_many_owned(most).await.unwrap();
        let waiting = {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.examine(&dear(), 1, || ()).await.is_ok() })
        };
        for _ in 0..50 {
            tokio::time::advance(TOO_LONG).await;
        }
        assert!(!waiting.is_finished());
        overload(&admission, 64).await;
        assert!(admission.is_shedding());
        assert!(!waiting.await.unwrap());
        let late = desk.examine(&dear(), 1, || ()).await;
        assert!(matches!(late, Err(Rejected::Overloaded { .. })));
        drop(taken);
        assert!(desk.examine(&dear(), 1, || ()).await.is_ok());
    }

    /// A desk all of whose places are taken for as long as the permit lives.
    async fn closed(admission: Admission) -> (Desk, OwnedSemaphorePermit) {
        let desk = Desk::new(admission, Clock::system());
        let most = u32::try_from(desk.most).unwrap();
        let taken = Arc::clone(&desk.places).acquire_many_owned(most).await.unwrap();
        (desk, taken)
    }

    /// How many wait until one is turned away; the others leave then.
    async fn most_waiting(desk: &Desk, cost: &Cost) -> usize {
        let mut waiting = Vec::new();
        loop {
            let mut check = Box::pin(desk.examine(cost, 1, || ()));
            match futures_util::poll!(check.as_mut()) {
                Poll::Pending => waiting.push(check),
                Poll::Ready(answer) => {
                    assert!(matches!(answer, Err(Rejected::Overloaded { .. })));
                    // The rest of a batch waits with its first, or goes with it.
                    let mut turns = Turn::each(Timestamp::UNIX_EPOCH);
                    let [first, rest] = std::array::from_fn(|_| turns.next().unwrap());
                    assert!(first.is_first());
                    let mut check = Box::pin(desk.examine_in(&rest, cost, 1, || ()));
                    assert!(futures_util::poll!(check.as_mut()).is_pending());
                    first.end_batch();
                    assert!(desk.examine_in(&rest, cost, 1, || ()).await.is_err());
                    return waiting.len();
                }
            }
        }
    }

    #[tokio::test]
    async fn no_more_is_queued_than_a_burst_is_done_in_and_few_are_whatever_they_take() {
        let (desk, _taken) = closed(admission(10_000)).await;
        let cost = Cost::default();
        (0..1_000).for_each(|_| cost.learn(1, Duration::from_millis(1)));
        // The guess is near what was learnt.
        let (burst, found) = (desk.most * 100, most_waiting(&desk, &cost).await);
        assert!((burst * 9 / 10..=burst * 11 / 10).contains(&found), "{found} of {burst}");
        // They are gone, and so is what they would have taken.
        assert_eq!(most_waiting(&desk, &dear()).await, FEW);
        assert_eq!(most_waiting(&desk, &cost).await, found);
    }

    #[tokio::test]
    async fn those_whose_checks_are_quick_are_in_no_ones_way() {
        let admission = admission(10_000);
        let (desk, _taken) = closed(admission.clone()).await;
        let _others: Vec<_> = (0..10_000).map(|_| admission.admit().unwrap()).collect();
        assert_eq!(most_waiting(&desk, &dear()).await, FEW);
    }

    #[tokio::test]
    async fn strangers_wait_for_each_other_and_turn_nobody_away() {
        let desk = Desk::for_strangers(admission(9), Clock::system());
        let most = u32::try_from(desk.most).unwrap();
        let _taken = Arc::clone(&desk.places).acquire_many_owned(most).await.unwrap();
        let cost = dear();
        let mut all: Vec<_> =
            (0..10 * FEW).map(|_| Box::pin(desk.examine(&cost, 1, || ()))).collect();
        for check in &mut all {
            assert!(futures_util::poll!(check.as_mut()).is_pending());
        }
    }
}
