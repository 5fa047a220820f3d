//! Who is let in to publish: as many at once as can be served in time, as long as there is
//! memory for what they send and room for what they leave.
//!
//! Asked before anything of a request is read but its head, so one that is refused costs next
//! to nothing. A place is held to the answer, and given up when the answer is dropped.

use std::{
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use metrics::Counter;
use tokio::time::Instant;

use super::pressure::{CALM, GAP, Now, Pressure, Served};
use crate::clock::Clock;

/// Bounds of what comes in.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionSettings {
    /// Most requests that may publish at once.
    pub publishing: usize,
    /// Most bytes of bodies in memory that are still being read or answered.
    pub body_bytes: usize,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self { publishing: 1_024, body_bytes: 256 << 20 }
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// More requests come than can be stored in time.
    Busy,
    /// Requests' bodies take all the memory they may.
    Memory,
    /// More is there already than the operator allows.
    Closed(Closed),
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Deliveries that are not done.
    Backlog,
    /// Bytes of the database.
    Database,
}

impl Shed {
    /// Every reason there is.
    pub const ALL: [Self; 4] =
        [Self::Busy, Self::Memory, Self::Closed(Closed::Backlog), Self::Closed(Closed::Database)];

    /// The word for it in metrics and problems.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Memory => "memory",
            Self::Closed(Closed::Backlog) => "backlog",
            Self::Closed(Closed::Database) => "database",
        }
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Busy => 0,
            Self::Memory => 1,
            Self::Closed(Closed::Backlog) => 2,
            Self::Closed(Closed::Database) => 3,
        }
    }
}

/// The one who lets in: cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("settings", &self.0.settings())
            .field("at_work", &self.at_work())
            .field("limit", &self.limit())
            .finish()
    }
}

struct Shared {
    settings: ArcSwap<AdmissionSettings>,
    clock: Clock,
    /// What durations are counted from.
    start: Instant,
    at_work: AtomicUsize,
    limit: AtomicUsize,
    bytes: AtomicUsize,
    /// An index into [`Shed::ALL`], or 0 if publishing is open.
    closed: AtomicU8,
    /// Nanoseconds after `start` of the last refusal, and of the first of those that followed
    /// each other until then.
    refused_last: AtomicU64,
    refused_first: AtomicU64,
    pressure: Mutex<Pressure>,
    shed: [Counter; 4],
}

impl Admission {
    /// Lets nobody in yet, and has refused nobody.
    pub fn new(settings: AdmissionSettings, clock: Clock) -> Self {
        let most = settings.publishing.max(1);
        Self(Arc::new(Shared {
            settings: ArcSwap::from_pointee(AdmissionSettings { publishing: most, ..settings }),
            clock,
            start: clock.instant(),
            at_work: AtomicUsize::new(0),
            limit: AtomicUsize::new(most),
            bytes: AtomicUsize::new(0),
            closed: AtomicU8::new(0),
            refused_last: AtomicU64::new(0),
            refused_first: AtomicU64::new(0),
            pressure: Mutex::new(Pressure::new(most)),
            shed: Shed::ALL.map(
                |why| metrics::counter!("hookmill_publish_shed_total", "reason" => why.as_str()),
            ),
        }))
    }

    /// Other bounds hold from now on.
    pub fn set(&self, settings: AdmissionSettings) {
        let most = settings.publishing.max(1);
        let before = self.0.settings();
        self.0.settings.store(Arc::new(AdmissionSettings { publishing: most, ..settings }));
        self.0.pressure.lock().unwrap_or_else(PoisonError::into_inner).set(most);
        // What overload has made of the old one stays, within the new one.
        let limit = self.0.limit.load(Relaxed);
        let next = if limit == before.publishing { most } else { limit.min(most) };
        self.0.limit.store(next, Relaxed);
    }

    /// How many publish now.
    pub fn at_work(&self) -> usize {
        self.0.at_work.load(Relaxed)
    }

    /// How many may.
    pub fn limit(&self) -> usize {
        self.0.limit(self.0.elapsed())
    }

    /// Whether more comes than can be taken, and for longer than a burst lasts.
    pub fn is_shedding(&self) -> bool {
        self.limit() < self.0.settings().publishing
    }

    /// Counts one that is turned away although it was let in.
    pub fn turn_away(&self) -> Shed {
        self.0.note_refusal(self.0.elapsed());
        self.0.shed[Shed::Busy.index()].increment(1);
        Shed::Busy
    }

    /// How many bytes of bodies are in memory.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Refuses everything from now on, or nothing more for that reason.
    pub fn close(&self, why: Option<Closed>) {
        let index = why.map_or(0, |why| Shed::Closed(why).index());
        self.0.closed.store(u8::try_from(index).unwrap_or(0), Relaxed);
    }

    /// Lets a request in to publish, or says why not.
    pub fn admit(&self) -> Result<Pass, Shed> {
        let admitted = self.0.admit();
        match admitted {
            Ok(others) => Ok(Pass {
                weight: self.weight(),
                begun: AtomicU64::new(self.0.elapsed()),
                counted: AtomicBool::new(true),
                alone: others == 0,
                served: AtomicBool::new(false),
            }),
            Err(why) => {
                self.0.shed[why.index()].increment(1);
                Err(why)
            }
        }
    }

    /// What a body weighs whose request is let in whatever happens.
    pub fn weight(&self) -> Weight {
        Weight { shared: Arc::clone(&self.0), bytes: AtomicUsize::new(0), over: false.into() }
    }
}

impl Shared {
    fn settings(&self) -> AdmissionSettings {
        **self.settings.load()
    }

    fn elapsed(&self) -> u64 {
        nanos(self.clock.instant().saturating_duration_since(self.start))
    }

    /// How many others are at work.
    fn admit(&self) -> Result<usize, Shed> {
        let closed = usize::from(self.closed.load(Relaxed));
        if closed != 0 {
            return Err(Shed::ALL[closed]);
        }
        if self.bytes.load(Relaxed) >= self.settings().body_bytes {
            return Err(Shed::Memory);
        }
        let others = self.at_work.fetch_add(1, Relaxed);
        if others < self.limit.load(Relaxed) || self.is_calm(others) {
            return Ok(others);
        }
        self.at_work.fetch_sub(1, Relaxed);
        Err(Shed::Busy)
    }

    /// Whether one too many is the first for a while: then there is no overload any more, and
    /// all the places there are may be taken.
    fn is_calm(&self, others: usize) -> bool {
        if !self.note_refusal(self.elapsed()) {
            return false;
        }
        self.limit.store(self.settings().publishing, Relaxed);
        others < self.settings().publishing
    }

    /// Notes that one is refused, or would be; answers whether it is the first for a while. What
    /// comes in bursts is refused in bursts: only those that follow each other closely last.
    fn note_refusal(&self, now: u64) -> bool {
        let last = self.refused_last.swap(now, Relaxed);
        let since = now.saturating_sub(last);
        if last == 0 || since >= nanos(GAP) {
            self.refused_first.store(now, Relaxed);
        }
        last == 0 || since >= nanos(CALM)
    }

    /// How many may be at work: a limit that was lowered is over once refusals are, though the
    /// next who is one too many finds that out.
    fn limit(&self, now: u64) -> usize {
        let calm = self.refusing(now).is_none();
        if calm { self.settings().publishing } else { self.limit.load(Relaxed) }
    }

    /// Whether somebody was refused a short while ago.
    fn is_refusing(&self, now: u64) -> bool {
        let last = self.refused_last.load(Relaxed);
        last != 0 && now.saturating_sub(last) < nanos(CALM)
    }

    /// How long refusals have been going on.
    fn refusing(&self, now: u64) -> Option<Duration> {
        let (last, first) = (self.refused_last.load(Relaxed), self.refused_first.load(Relaxed));
        self.is_refusing(now).then(|| Duration::from_nanos(last.saturating_sub(first)))
    }

    fn served(&self, begun: u64, alone: bool) {
        let ended = self.elapsed();
        // One of those who end at the same moment is enough.
        let mut pressure = match self.pressure.try_lock() {
            Ok(pressure) => pressure,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        // With this one, which has left.
        let (limit, at_work) = (self.limit(ended), self.at_work.load(Relaxed) + 1);
        let next = pressure.served(
            Served {
                begun: Duration::from_nanos(begun),
                ended: Duration::from_nanos(ended),
                alone,
            },
            Now { limit, at_work, refusing: self.refusing(ended) },
        );
        if next < limit {
            // Those who are turned away from now on are not the first of a burst.
            if self.refusing(ended).is_none() {
                self.refused_first.store(ended, Relaxed);
            }
            self.refused_last.store(ended, Relaxed);
        }
        if next != limit {
            self.limit.store(next, Relaxed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A place among those who publish, held to the answer.
#[derive(Debug)]
pub struct Pass {
    weight: Weight,
    /// Nanoseconds after the start at which its body was there.
    begun: AtomicU64,
    /// Whether it takes a place at the moment.
    counted: AtomicBool,
    alone: bool,
    served: AtomicBool,
}

impl Pass {
    /// Gives up the place while the client sends its body: a slow one is in nobody's way.
    pub fn wait(&self) {
        if self.counted.swap(false, Relaxed) {
            self.weight.shared.at_work.fetch_sub(1, Relaxed);
        }
    }

    /// Takes the place again. There may be one too many then: who has sent all of a body is
    /// not sent away for that, and the queue for the store has a bound of its own.
    pub fn resume(&self) {
        if !self.counted.swap(true, Relaxed) {
            let shared = &self.weight.shared;
            shared.at_work.fetch_add(1, Relaxed);
            self.begun.store(shared.elapsed(), Relaxed);
        }
    }

    /// The request was served as it was meant to be, so how long it took means something.
    pub fn served(&self) {
        self.served.store(true, Relaxed);
    }

    /// What its body weighs.
    pub const fn weight(&self) -> &Weight {
        &self.weight
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if *self.counted.get_mut() {
            self.weight.shared.at_work.fetch_sub(1, Relaxed);
        }
        if *self.served.get_mut() {
            self.weight.shared.served(*self.begun.get_mut(), self.alone);
        }
    }
}

/// The bytes of a body that are in memory, for as long as its request lasts.
pub struct Weight {
    shared: Arc<Shared>,
    bytes: AtomicUsize,
    over: AtomicBool,
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Weight").field(&self.bytes).finish()
    }
}

impl Weight {
    /// Counts bytes that came; false if they are too many, all bodies taken together.
    pub fn add(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Relaxed);
        let all = self.shared.bytes.fetch_add(bytes, Relaxed) + bytes;
        if all <= self.shared.settings().body_bytes {
            return true;
        }
        if !self.over.swap(true, Relaxed) {
            self.shared.shed[Shed::Memory.index()].increment(1);
        }
        false
    }

    /// Whether they were ever too many.
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(*self.bytes.get_mut(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pressure::LASTING, *};

    fn admission(publishing: usize, body_bytes: usize) -> Admission {
        Admission::new(AdmissionSettings { publishing, body_bytes }, Clock::system())
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_are_let_in_as_there_are_places() {
        let admission = admission(2, 100);
        let (one, _two) = (admission.admit().unwrap(), admission.admit().unwrap());
        assert_eq!(admission.admit().unwrap_err(), Shed::Busy);
        drop(one);
        let _third = admission.admit().unwrap();
        assert_eq!((admission.at_work(), admission.limit()), (2, 2));
    }

    #[test]
    fn who_still_sends_is_in_nobodys_way() {
        let admission = admission(1, 100);
        let slow = admission.admit().unwrap();
        slow.wait();
        slow.wait();
        let quick = admission.admit().unwrap();
        slow.resume();
        slow.resume();
        assert_eq!(admission.at_work(), 2);
        drop(quick);
        assert_eq!(admission.admit().unwrap_err(), Shed::Busy);
        slow.wait();
        drop(slow);
        assert_eq!(admission.at_work(), 0);
    }

    #[test]
    fn bodies_share_what_memory_there_is() {
        let admission = admission(9, 100);
        let (one, other) = (admission.admit().unwrap(), admission.weight());
        assert!(one.weight().add(60) && other.add(40));
        assert_eq!(admission.admit().unwrap_err(), Shed::Memory);
        assert!(!other.add(1) && other.is_over() && !one.weight().is_over());
        drop(other);
        assert_eq!(admission.bytes(), 60);
        assert!(admission.admit().is_ok());
        drop(one);
        assert_eq!(admission.bytes(), 0);
    }

    #[test]
    fn bounds_may_change_while_it_runs() {
        let admission = admission(1, 100);
        let one = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), Shed::Busy);
        admission.set(AdmissionSettings { publishing: 3, body_bytes: 10 });
        assert_eq!(admission.limit(), 3);
        let two = admission.admit().unwrap();
        assert!(one.weight().add(10) && !two.weight().add(1));
        drop(two);
        assert_eq!(admission.admit().unwrap_err(), Shed::Memory);
        admission.set(AdmissionSettings { publishing: 0, body_bytes: 100 });
        assert_eq!(admission.limit(), 1, "somebody is let in whatever is set");
        assert!(!admission.is_shedding());
        drop(one);
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn what_is_closed_lets_nobody_in_until_it_is_opened() {
        let admission = admission(9, 100);
        for why in [Closed::Backlog, Closed::Database] {
            admission.close(Some(why));
            assert_eq!(admission.admit().unwrap_err(), Shed::Closed(why));
        }
        admission.close(None);
        assert!(admission.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_was_lowered_is_forgotten_once_refusals_are_over() {
        let admission = admission(64, 100);
        let places: Vec<Pass> = (0..64).map(|_| admission.admit().unwrap()).collect();
        for _ in 0..5 {
            tokio::time::advance(LASTING).await;
            assert!(admission.admit().is_err());
        }
        places.iter().for_each(Pass::served);
        drop(places);
        assert!(admission.limit() < 64, "{admission:?}");
        let few: Vec<Pass> = std::iter::from_fn(|| admission.admit().ok()).take(100).collect();
        assert_eq!(few.len(), admission.limit());
        tokio::time::advance(CALM).await;
        assert_eq!(admission.limit(), 64);
        assert!(admission.admit().is_ok());
        assert_eq!(admission.limit(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn bursts_that_come_again_and_again_are_no_lasting_overload() {
        let admission = admission(64, 100);
        for _ in 0..9 {
            let places: Vec<Pass> = (0..64).map(|_| admission.admit().unwrap()).collect();
            assert!(admission.admit().is_err());
            tokio::time::advance(Duration::from_millis(200)).await;
            places.iter().for_each(Pass::served);
            drop(places);
            assert_eq!(admission.limit(), 64);
            tokio::time::advance(Duration::from_millis(700)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_is_turned_away_after_a_calm_time_begins_a_burst() {
        let admission = admission(64, 100);
        for _ in 0..2 {
            tokio::time::advance(CALM).await;
            admission.turn_away();
            assert_eq!(admission.0.refusing(admission.0.elapsed()), Some(Duration::ZERO));
            tokio::time::advance(LASTING).await;
            admission.turn_away();
            assert_eq!(admission.0.refusing(admission.0.elapsed()), Some(LASTING));
        }
    }

    #[test]
    fn every_reason_knows_its_place() {
        for (index, why) in Shed::ALL.into_iter().enumerate() {
            assert_eq!(why.index(), index);
        }
    }
}
