//! Who may start what, and when the store must be asked: the scheduler's state, pure.
//!
//! A subscription has a lane: deliveries in memory, attempts under way, and the time at
//! which the store has more for it. Owns fairness, limits and memory bounds. Never waits,
//! never reads a clock, never talks to the store: it is told, and asked.

mod claims;
mod gates;
mod lane;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

pub(super) use self::claims::Wanted;
use self::lane::{Lane, Watch};
use super::{
    health::{Changes, Ward},
    hosts::Hosts,
    job::Job,
    rules::Rules,
    settings::DeliverySettings,
    turns::Turns,
};
use crate::model::{FailingSince, SubscriptionId, Timestamp};

/// A lane may have this share of the places that are still free. So however many endpoints
/// are slow, together they leave places for those that are not.
const SHARE: usize = 16;

/// How far ahead a lane with a rate takes deliveries into memory.
const AHEAD: Duration = Duration::from_secs(60);

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<SubscriptionId, Lane>,
    /// Those whose attempts fail.
    ward: Ward,
    hosts: Hosts,
    turns: Turns,
    due: BTreeSet<(Timestamp, SubscriptionId)>,
    /// Those that wait for a token, and when it comes.
    tokens: BTreeSet<(Timestamp, SubscriptionId)>,
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
            ward: Ward::new(settings.breaker),
            hosts: Hosts::new(settings.host_concurrency),
            turns: Turns::default(),
            due: BTreeSet::new(),
            tokens: BTreeSet::new(),
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

    /// Other settings hold from now on.
    pub(super) fn set(&mut self, settings: &DeliverySettings) {
        self.ward.set(settings.breaker);
        self.spare_lease = settings.spare_lease();
        for (host, next) in self.hosts.set(settings.host_concurrency) {
            self.promise(host, next);
        }
    }

    pub(super) fn has(&self, id: SubscriptionId) -> bool {
        self.lanes.contains_key(&id)
    }

    /// Opens a lane with its rules, or sets the rules of an open one. A lane closes by
    /// itself when it holds nothing and nothing is due for it.
    pub(super) fn open(&mut self, id: SubscriptionId, rules: Rules) {
        let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(rules));
        if lane.rules != rules && !lane.gone {
            lane.set(rules);
        }
        self.queue(id);
    }

    /// Takes a place for a new delivery. Not while older ones wait in the store: new ones
    /// line up behind them there, else they would never get a place.
    pub(super) fn reserve(&mut self, id: SubscriptionId, now: Timestamp) -> bool {
        let most = self.most(id);
        let wary = self.ward.is_wary(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        let due = lane.due.is_some_and(|due| due <= now);
        let backlog = (due && lane.watch != Watch::Claiming) || lane.woken.is_some();
        if self.stopped
            || backlog
            || wary
            || lane.places >= most
            || self.places >= self.total_places
        {
            self.tidy(id);
            return false;
        }
        lane.places += 1;
        self.places += 1;
        true
    }

    /// How many deliveries a lane may be given from the store; none while it is full.
    fn room(&self, id: SubscriptionId) -> u32 {
        let Some(lane) = self.lanes.get(&id) else { return 0 };
        let places = lane.places;
        let free = u32::try_from(self.total_places - self.places).unwrap_or(u32::MAX);
        if self.ward.is_wary(id) {
            // For a probe, unless one is there already.
            return if lane.ready.is_empty() { free.min(1) } else { 0 };
        }
        let most = self.most(id);
        if places > most / 2 { 0 } else { (most - places).min(free) }
    }

    /// Most places for a lane, as things are.
    fn most(&self, id: SubscriptionId) -> u32 {
        let share = ((self.total_places - self.places) / SHARE).max(1);
        let share = u32::try_from(share).unwrap_or(u32::MAX).min(self.lane_places);
        match self.lanes.get(&id) {
            Some(lane) if lane.bucket.is_some() => share.min(lane.rules.worth_having(AHEAD)),
            _ => share,
        }
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

    /// Whether the lease outlasts an attempt.
    pub(super) fn may_start(&self, job: &Job, now: Timestamp) -> bool {
        job.lease_until.duration_since(now) >= self.spare_lease.try_into().unwrap_or_default()
    }

    /// Gives a place back.
    pub(super) fn free(&mut self, id: SubscriptionId, places: u32) {
        let (high, packed) =
            (self.places > self.low_total(), places > 0 && self.places >= self.total_places);
        self.places = self.places.saturating_sub(places as usize);
        let crossed = high && self.places <= self.low_total();
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.places = lane.places.saturating_sub(places);
        }
        if crossed || packed {
            for id in std::mem::take(&mut self.full) {
                self.unfill(id);
            }
        } else if self.full.remove(&id) {
            self.unfill(id);
        }
        self.tidy(id);
    }

    /// A delivery leaves memory unattempted: the store gives it back when its lease ends.
    pub(super) fn lapse(&mut self, id: SubscriptionId, until: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.lapse = lane.lapse.max(Some(until));
        }
        self.due(id, until);
        self.free(id, 1);
    }

    /// The subscription was deleted: the store has nothing for it any more.
    pub(super) fn forget(&mut self, id: SubscriptionId) {
        self.close(id);
        if let Some(lane) = self.lanes.get_mut(&id) {
            (lane.woken, lane.lapse) = (None, None);
            self.set_due(id, None);
            self.tidy(id);
        }
    }

    /// The subscription is gone, but the store may still have something to cancel for it.
    pub(super) fn close(&mut self, id: SubscriptionId) {
        self.ward.discharge(id);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.set(Rules { rate: None, ..lane.rules });
            lane.gone = true;
        }
    }

    /// What failed before says nothing of what comes.
    pub(super) fn renew(&mut self, id: SubscriptionId) -> Changes {
        let changes = self.ward.discharge(id);
        self.relist(id);
        changes
    }

    /// What was known of a failing subscription before a restart.
    pub(super) fn recall(&mut self, id: SubscriptionId, failing: FailingSince, rules: &Rules) {
        self.ward.recall(id, failing, rules);
    }

    /// Those whose attempts fail.
    pub(super) const fn ward(&self) -> &Ward {
        &self.ward
    }

    /// Starts nothing more, and lets go of what has not started.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.signal = true;
        self.turns.clear();
        self.tokens.clear();
        self.ready = 0;
        for lane in self.lanes.values_mut() {
            lane.ready.clear();
            lane.waits = None;
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

    /// A full lane may have room again. If it has not, it will be found full again.
    fn unfill(&mut self, id: SubscriptionId) {
        if self.room(id) == 0 {
            self.full.insert(id);
            return;
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.watch = Watch::On;
        self.relist(id);
    }

    /// Closes a lane that has nothing and expects nothing.
    fn tidy(&mut self, id: SubscriptionId) {
        if self.lanes.get(&id).is_some_and(Lane::is_idle) {
            self.lanes.remove(&id);
            self.full.remove(&id);
        }
    }
}
