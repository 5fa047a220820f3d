//! What happens, as it happens, for those who watch.
//!
//! Owns a bounded ring for each application that is watched, and keeps it for a while after its
//! last watcher has gone, so that one whose connection broke gets what it missed. Never waits: a
//! watcher who is too slow misses what the ring no longer holds and is told how much; of an
//! application that nobody watched nothing is even written down.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::model::{
    ApplicationId, AttemptOutcome, DeliveryId, DeliveryState, EventId, EventTypeName,
    SubscriptionId, Timestamp,
};

/// Most that a watcher may be behind, connected or not.
const RING: usize = 2_048;
/// Most who watch at once.
const WATCHERS: usize = 64;
/// Most of them for one application: the others are to find places, too.
const OF_ONE: usize = 16;
/// Places that are kept for those applications that have none yet.
const FOR_OTHERS: usize = 32;
/// Most rings, watched or kept. As many as can be watched, so that a watcher always finds room.
const RINGS: usize = WATCHERS;
/// How long a ring is kept for watchers to come back.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// Something that happened to an application's events.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Whose.
    pub application: ApplicationId,
    /// The event's type.
    pub event_type: EventTypeName,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// An event is on disk.
    Event {
        /// Which.
        event_id: EventId,
        /// When.
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
        /// What it is about.
        subject: Option<String>,
        /// How many subscriptions it goes to.
        deliveries: usize,
    },
    /// A delivery was attempted, or went somewhere else without.
    Delivery {
        /// Which.
        delivery_id: DeliveryId,
        /// The event.
        event_id: EventId,
        /// Who it is for.
        subscription_id: SubscriptionId,
        /// When.
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
        /// What the delivery is from here on.
        state: DeliveryState,
        /// The attempt, if one was made.
        attempt: Option<Tried>,
        /// Why it is dead, filtered or held.
        reason: Option<String>,
        /// When it is tried again.
        #[schema(value_type = Option<String>, format = DateTime)]
        next_attempt_at: Option<Timestamp>,
    },
}

impl What {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Event { at, .. } | Self::Delivery { at, .. } => *at,
        }
    }
}

/// An attempt in short.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Tried {
    /// From 1.
    pub number: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// What went wrong, for people.
    pub error: Option<String>,
}

/// A place in what happened to one application: how much was written down of it before, in this
/// ring. It says nothing of other applications, and is known to no other ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    ring: u64,
    count: u64,
}

impl Place {
    /// One that no ring knows.
    pub const UNKNOWN: Self = Self { ring: 0, count: u64::MAX };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.ring, self.count)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ring, count) = text.split_once('-').ok_or(())?;
        let ring = u64::from_str_radix(ring, 16).map_err(|_| ())?;
        Ok(Self { ring, count: count.parse().map_err(|_| ())? })
    }
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// This happened.
    Happened(Arc<Happened>),
    /// So much happened that the ring no longer holds; none if nobody knows how much.
    Missed(Option<u64>),
    /// Nothing more comes.
    End,
}

/// What happened to one application's events, the latest of it.
struct Ring {
    /// Tells its places from those of any other ring, of this run or another.
    id: u64,
    held: VecDeque<Arc<Happened>>,
    /// How much was written down in all; watchers wait for it to grow.
    written: watch::Sender<u64>,
    watchers: usize,
    /// When the first thing happened that nobody watched, since somebody did.
    alone_since: Option<Timestamp>,
}

impl Ring {
    fn new() -> Self {
        // The keys of a hasher are random, and others each time.
        let id = RandomState::new().build_hasher().finish();
        Self {
            id,
            held: VecDeque::new(),
            written: watch::Sender::new(0),
            watchers: 0,
            alone_since: None,
        }
    }

    /// How much is no longer held.
    fn gone(&self) -> u64 {
        *self.written.borrow() - self.held.len() as u64
    }

    fn push(&mut self, happened: Happened) {
        if self.held.len() == RING {
            self.held.pop_front();
        }
        self.held.push_back(Arc::new(happened));
        self.written.send_modify(|written| *written += 1);
    }

    /// Whether it has been kept for long enough, at a time when something happens.
    fn is_over(&mut self, now: Timestamp) -> bool {
        if self.watchers > 0 {
            self.alone_since = None;
            return false;
        }
        let since = *self.alone_since.get_or_insert(now);
        now.duration_since(since).unsigned_abs() > KEPT_FOR
    }
}

#[derive(Default)]
struct Rings {
    of: HashMap<ApplicationId, Ring>,
    watchers: usize,
    ended: bool,
}

impl Rings {
    /// Makes room for one more ring: the one that is longest without a watcher goes.
    fn make_room(&mut self) {
        if self.of.len() < RINGS {
            return;
        }
        let unwatched = self.of.iter().filter(|(_, ring)| ring.watchers == 0);
        // One without a time has had nothing happen since it was left.
        let longest = unwatched.min_by_key(|(_, ring)| ring.alone_since.unwrap_or(Timestamp::MAX));
        if let Some(id) = longest.map(|(id, _)| *id) {
            self.of.remove(&id);
        }
    }
}

#[derive(Default)]
struct Shared {
    rings: Mutex<Rings>,
    /// How many there are, for who only asks whether any is.
    count: AtomicUsize,
}

impl Shared {
    /// The rings are whole between any two statements that change them.
    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, rings: &Rings) {
        self.count.store(rings.of.len(), Ordering::Relaxed);
    }
}

/// The rings.
#[derive(Clone, Default)]
pub struct Tail(Arc<Shared>);

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({} rings)", self.0.count.load(Ordering::Relaxed))
    }
}

/// Somebody who watches, until it is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    application: ApplicationId,
    ring: u64,
    /// How much of the ring it has been told or told to have missed.
    seen: u64,
    /// Whether it comes from a ring that is no more.
    is_lost: bool,
    written: watch::Receiver<u64>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watcher({} of {})", self.place(), self.application)
    }
}

impl Watcher {
    /// Where it is: what a watcher who comes back names.
    pub const fn place(&self) -> Place {
        Place { ring: self.ring, count: self.seen }
    }

    /// What happens next.
    pub async fn recv(&mut self) -> Told {
        if std::mem::take(&mut self.is_lost) {
            return Told::Missed(None);
        }
        loop {
            if let Some(told) = self.next() {
                return told;
            }
            if self.written.changed().await.is_err() {
                return Told::End;
            }
        }
    }

    fn next(&mut self) -> Option<Told> {
        // Before the ring is looked at: what is written from here on wakes.
        self.written.mark_unchanged();
        let rings = self.shared.lock();
        let Some(ring) = rings.of.get(&self.application).filter(|ring| ring.id == self.ring) else {
            return Some(Told::End);
        };
        let gone = ring.gone();
        if self.seen < gone {
            let missed = gone - self.seen;
            self.seen = gone;
            return Some(Told::Missed(Some(missed)));
        }
        let index = usize::try_from(self.seen - gone).unwrap_or(usize::MAX);
        if let Some(happened) = ring.held.get(index) {
            self.seen += 1;
            return Some(Told::Happened(Arc::clone(happened)));
        }
        rings.ended.then_some(Told::End)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut rings = self.shared.lock();
        rings.watchers -= 1;
        if let Some(ring) = rings.of.get_mut(&self.application) {
            ring.watchers -= 1;
        }
    }
}

impl Tail {
    /// Whether anybody watches, or may come back to.
    pub fn is_watched(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) > 0
    }

    /// Shows what happened to whoever watches.
    pub fn show(&self, happened: impl FnOnce() -> Happened) {
        if !self.is_watched() {
            return;
        }
        let happened = happened();
        let now = happened.what.at();
        let mut rings = self.0.lock();
        if let Some(ring) = rings.of.get_mut(&happened.application) {
            ring.push(happened);
        }
        // Few, and most of them watched.
        let before = rings.of.len();
        rings.of.retain(|_, ring| !ring.is_over(now));
        if rings.of.len() < before {
            self.0.changed(&rings);
        }
    }

    /// Watches an application's events: from a place on, as far as it is known, or from now on;
    /// none if as many watch as may.
    pub fn watch(&self, application: ApplicationId, from: Option<Place>) -> Option<Watcher> {
        let mut rings = self.0.lock();
        let watched = rings.of.get(&application).map_or(0, |ring| ring.watchers);
        let kept = if watched > 0 { FOR_OTHERS } else { 0 };
        if rings.watchers + kept >= WATCHERS || watched >= OF_ONE {
            return None;
        }
        if !rings.of.contains_key(&application) {
            rings.make_room();
        }
        rings.watchers += 1;
        let ring = rings.of.entry(application).or_insert_with(Ring::new);
        ring.watchers += 1;
        ring.alone_since = None;
        let (id, written) = (ring.id, ring.written.subscribe());
        let now = *written.borrow();
        // A place that this ring has not come to is none of its own.
        let known = from.filter(|place| place.ring == id && place.count <= now);
        let watcher = Watcher {
            shared: Arc::clone(&self.0),
            application,
            ring: id,
            seen: known.map_or(now, |place| place.count),
            is_lost: from.is_some() && known.is_none(),
            written,
        };
        self.0.changed(&rings);
        Some(watcher)
    }

    /// Tells watchers that nothing more comes.
    pub fn end(&self) {
        let mut rings = self.0.lock();
        rings.ended = true;
        for ring in rings.of.values() {
            ring.written.send_modify(|_| ());
        }
    }
}

#[cfg(test)]
mod tests;
