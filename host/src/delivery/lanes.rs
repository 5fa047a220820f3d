//! Who may start what, and when the store must be asked: the scheduler's state, pure.
//!
//! A subscription has a lane: deliveries in memory, attempts under way, and the time at
//! which the store has more for it. Owns fairness, limits and memory bounds. Never waits,
//! never reads a clock, never talks to the store: it is told, and asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use super::{
    job::Job,
    settings::DeliverySettings,
    turns::{Round, Turns},
};
use crate::model::{SubscriptionId, Timestamp};

/// Most deliveries asked for in one claim, so that one transaction stays short.
const CLAIM: u32 = 2_048;

/// What the store is to be asked for, and by when it must be asked again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How many of each subscription; their places are taken already.
    pub lanes: Vec<(SubscriptionId, u32)>,
    /// The earliest time at which the store has something for a lane with room.
    pub next: Option<Timestamp>,
}

/// Why a lane is not among those whose due time is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// It is.
    On,
    /// The store is being asked.
    Claiming,
    /// It has no room.
    Full,
}

#[derive(Debug)]
struct Lane {
    ready: VecDeque<Job>,
    in_flight: u32,
    limit: u32,
    /// Places in memory: reserved, ready, under way, or waiting for their record.
    places: u32,
    /// When the store has something for it.
    due: Option<Timestamp>,
    watch: Watch,
    /// What became due while the store was being asked.
    woken: Option<Timestamp>,
    /// When the last of the leases given up early ends: the store says nothing of these
    /// until then.
    lapse: Option<Timestamp>,
    /// Where it waits for its turn.
    queued: Option<Round>,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<SubscriptionId, Lane>,
    turns: Turns,
    due: BTreeSet<(Timestamp, SubscriptionId)>,
    full: BTreeSet<SubscriptionId>,
    in_flight: usize,
    ready: usize,
    places: usize,
    stopped: bool,
    /// Whether the timer must look again.
    signal: bool,
    max_in_flight: usize,
    lane_places: u32,
    total_places: usize,
    spare_lease: Duration,
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl Lanes {
    pub(super) fn new(settings: &DeliverySettings) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: Turns::default(),
            due: BTreeSet::new(),
            full: BTreeSet::new(),
            in_flight: 0,
            ready: 0,
            places: 0,
            stopped: false,
            signal: false,
            max_in_flight: settings.max_in_flight,
            lane_places: settings.lane_places,
            total_places: settings.total_places,
            spare_lease: settings.spare_lease(),
        }
    }

    pub(super) fn has(&self, id: SubscriptionId) -> bool {
        self.lanes.contains_key(&id)
    }

    /// Opens a lane with its limit, or sets the limit of an open one. A lane closes by
    /// itself when it holds nothing and nothing is due for it.
    pub(super) fn open(&mut self, id: SubscriptionId, limit: u32) {
        let lane = self.lanes.entry(id).or_insert_with(|| Lane {
            ready: VecDeque::new(),
            in_flight: 0,
            limit,
            places: 0,
            due: None,
            watch: Watch::On,
            woken: None,
            lapse: None,
            queued: None,
        });
        lane.limit = limit;
        self.queue(id);
    }

    /// Takes a place for a new delivery. Not while older ones wait in the store: new ones
    /// line up behind them there, else they would never get a place.
    pub(super) fn reserve(&mut self, id: SubscriptionId, now: Timestamp) -> bool {
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        let due = lane.due.is_some_and(|due| due <= now);
        let backlog = (due && lane.watch != Watch::Claiming) || lane.woken.is_some();
        if self.stopped
            || backlog
            || lane.places >= self.lane_places
            || self.places >= self.total_places
        {
            self.tidy(id);
            return false;
        }
        lane.places += 1;
        self.places += 1;
        true
    }

    /// Puts a delivery that has a place in line.
    pub(super) fn push(&mut self, job: Job) {
        let id = job.subscription;
        let Some(lane) = self.lanes.get_mut(&id) else {
            debug_assert!(false, "a lane with a place taken is open");
            return;
        };
        lane.ready.push_back(job);
        self.ready += 1;
        self.queue(id);
    }

    /// The next delivery to attempt, lane after lane.
    pub(super) fn pick(&mut self, now: Timestamp) -> Option<Job> {
        if self.stopped || self.in_flight >= self.max_in_flight {
            return None;
        }
        while let Some(id) = self.turns.pop(self.scarce()) {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.queued = None;
            if lane.in_flight >= lane.limit {
                continue;
            }
            let Some(job) = lane.ready.pop_front() else { continue };
            lane.in_flight += 1;
            self.in_flight += 1;
            self.ready -= 1;
            if self.may_start(&job, now) {
                self.queue(id);
                return Some(job);
            }
            self.release(id);
            self.lapse(id, job.lease_until);
        }
        None
    }

    /// Whether the lease outlasts an attempt.
    pub(super) fn may_start(&self, job: &Job, now: Timestamp) -> bool {
        job.lease_until.duration_since(now) >= self.spare_lease.try_into().unwrap_or_default()
    }

    /// An attempt is over. Its place stays taken until its record is on disk.
    pub(super) fn release(&mut self, id: SubscriptionId) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            self.queue(id);
        }
    }

    /// Gives a place back.
    pub(super) fn free(&mut self, id: SubscriptionId, places: u32) {
        let crossed = self.places > self.low_total();
        self.places = self.places.saturating_sub(places as usize);
        let room = self.places <= self.low_total();
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.places = lane.places.saturating_sub(places);
        }
        if crossed && room {
            for id in std::mem::take(&mut self.full) {
                self.unfill(id);
            }
        } else if room && self.full.remove(&id) {
            self.unfill(id);
        }
        self.tidy(id);
    }

    /// The store has something at `at`.
    pub(super) fn due(&mut self, id: SubscriptionId, at: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.watch == Watch::Claiming {
            lane.woken = earlier(lane.woken, Some(at));
        } else if lane.due.is_none_or(|due| at < due) {
            self.set_due(id, Some(at));
        }
    }

    /// A delivery leaves memory unattempted: the store gives it back when its lease ends.
    pub(super) fn lapse(&mut self, id: SubscriptionId, until: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.lapse = lane.lapse.max(Some(until));
        }
        self.due(id, until);
        self.free(id, 1);
    }

    /// What the store is to be asked for at `now`. Refills at half, not one by one.
    pub(super) fn wanted(&mut self, now: Timestamp) -> Wanted {
        let mut wanted = Wanted::default();
        let mut left = CLAIM;
        self.signal = false;
        while let Some(&(at, id)) = self.due.first() {
            if at > now || left == 0 || self.stopped {
                wanted.next = Some(at);
                break;
            }
            self.due.pop_first();
            let low_total = self.low_total();
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if lane.places > self.lane_places / 2 || self.places > low_total {
                lane.watch = Watch::Full;
                self.full.insert(id);
                continue;
            }
            let total = u32::try_from(self.total_places - self.places).unwrap_or(u32::MAX);
            let places = (self.lane_places - lane.places).min(total).min(left);
            left -= places;
            lane.watch = Watch::Claiming;
            lane.places += places;
            self.places += places as usize;
            wanted.lanes.push((id, places));
        }
        wanted
    }

    /// The store answered at `now` what was [wanted](Self::wanted).
    pub(super) fn claimed(
        &mut self,
        asked: &[(SubscriptionId, u32)],
        jobs: Vec<Job>,
        next_due: &[(SubscriptionId, Option<Timestamp>)],
        now: Timestamp,
    ) {
        let mut got: BTreeMap<SubscriptionId, u32> = BTreeMap::new();
        for job in jobs {
            *got.entry(job.subscription).or_default() += 1;
            self.push(job);
        }
        let next: HashMap<_, _> = next_due.iter().copied().collect();
        for &(id, places) in asked {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.watch = Watch::On;
            lane.lapse = lane.lapse.filter(|&lapse| lapse > now);
            let due = earlier(next.get(&id).copied().flatten(), lane.woken.take());
            let due = earlier(due, lane.lapse);
            self.set_due(id, due);
            self.free(id, places.saturating_sub(got.get(&id).copied().unwrap_or(0)));
        }
    }

    /// The store did not answer.
    pub(super) fn claim_failed(&mut self, asked: &[(SubscriptionId, u32)], again: Timestamp) {
        for &(id, places) in asked {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.watch = Watch::On;
            lane.woken = None;
            self.set_due(id, Some(again));
            self.free(id, places);
        }
    }

    /// The subscription was deleted: the store has nothing for it any more.
    pub(super) fn forget(&mut self, id: SubscriptionId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            (lane.woken, lane.lapse) = (None, None);
            self.set_due(id, None);
            self.tidy(id);
        }
    }

    /// Starts nothing more, and lets go of what has not started.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.signal = true;
        self.turns.clear();
        self.ready = 0;
        for lane in self.lanes.values_mut() {
            lane.ready.clear();
            lane.queued = None;
        }
    }

    pub(super) const fn stopped(&self) -> bool {
        self.stopped
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) const fn ready(&self) -> usize {
        self.ready
    }

    /// Whether the timer must look again; asked once.
    pub(super) fn take_signal(&mut self) -> bool {
        std::mem::take(&mut self.signal)
    }

    fn low_total(&self) -> usize {
        self.total_places / 4 * 3
    }

    /// Whether the last quarter of slots is being used.
    fn scarce(&self) -> bool {
        self.in_flight >= self.max_in_flight - self.max_in_flight / 4
    }

    /// Lines a lane up that can start something, once, where it belongs.
    fn queue(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.ready.is_empty() || lane.in_flight >= lane.limit {
            return;
        }
        match (lane.queued, Round::of(lane.in_flight)) {
            (None, round) => {
                lane.queued = Some(round);
                self.turns.push(id, round);
            }
            (Some(Round::Greedy), Round::Modest) => {
                lane.queued = Some(Round::Modest);
                self.turns.promote(id);
            }
            (Some(_), _) => {}
        }
    }

    fn set_due(&mut self, id: SubscriptionId, due: Option<Timestamp>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(before) = lane.due.take() {
            self.due.remove(&(before, id));
        }
        lane.due = due;
        if let Some(at) = due
            && lane.watch == Watch::On
        {
            self.due.insert((at, id));
            self.signal |= self.due.first() == Some(&(at, id));
        }
    }

    /// A full lane may have room again. If it has not, it will be found full again.
    fn unfill(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.places > self.lane_places / 2 {
            self.full.insert(id);
            return;
        }
        lane.watch = Watch::On;
        let due = lane.due;
        self.set_due(id, due);
    }

    /// Closes a lane that has nothing and expects nothing.
    fn tidy(&mut self, id: SubscriptionId) {
        let idle = self.lanes.get(&id).is_some_and(|lane| {
            lane.places == 0 && lane.due.is_none() && lane.watch != Watch::Claiming
        });
        if idle {
            self.lanes.remove(&id);
            self.full.remove(&id);
        }
    }
}
