//! When the store must be asked for which lanes, and what its answers change.

use std::collections::{BTreeMap, HashMap};

use super::{
    super::job::Job,
    Lanes, earlier,
    lane::{Lane, Watch},
};
use crate::model::{SubscriptionId, Timestamp};

/// Most deliveries asked for in one claim, so that one transaction stays short.
const CLAIM: u32 = 2_048;

/// What the store is to be asked for, and by when it must be asked again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// How many of each subscription; their places are taken already.
    pub lanes: Vec<(SubscriptionId, u32)>,
    /// The earliest time at which the store has something for a lane with room, or a lane
    /// has a token again.
    pub next: Option<Timestamp>,
}

impl Lanes {
    /// What the store is to be asked for at `now`. Refills at half, not one by one.
    pub(crate) fn wanted(&mut self, now: Timestamp) -> Wanted {
        self.open_gates(now);
        let mut wanted = Wanted::default();
        let mut left = CLAIM;
        self.signal = false;
        while let Some(&(at, id)) = self.due.first() {
            if at > now || left == 0 || self.stopped {
                wanted.next = Some(at);
                break;
            }
            self.due.pop_first();
            let places = self.room(id).min(left);
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.listed = None;
            if places == 0 {
                lane.watch = Watch::Full;
                self.full.insert(id);
                continue;
            }
            left -= places;
            lane.watch = Watch::Claiming;
            lane.places += places;
            self.places += places as usize;
            wanted.lanes.push((id, places));
        }
        wanted.next = earlier(wanted.next, self.tokens.first().map(|&(at, _)| at));
        wanted
    }

    /// The store answered at `now` what was [wanted](Self::wanted).
    pub(crate) fn claimed(
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
    pub(crate) fn claim_failed(&mut self, asked: &[(SubscriptionId, u32)], again: Timestamp) {
        for &(id, places) in asked {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.watch = Watch::On;
            lane.woken = None;
            self.set_due(id, Some(again));
            self.free(id, places);
        }
    }

    /// The store has something at `at`.
    pub(crate) fn due(&mut self, id: SubscriptionId, at: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.watch == Watch::Claiming {
            lane.woken = earlier(lane.woken, Some(at));
        } else if lane.due.is_none_or(|due| at < due) {
            self.set_due(id, Some(at));
        }
    }

    pub(super) fn set_due(&mut self, id: SubscriptionId, due: Option<Timestamp>) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.due = due;
            self.relist(id);
        }
    }

    /// Lists a lane where it belongs: when the store has something for it, but not before its
    /// breaker lets an attempt through.
    pub(super) fn relist(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(before) = lane.listed.take() {
            self.due.remove(&(before, id));
        }
        let Lane { due: Some(due), watch: Watch::On, .. } = *lane else { return };
        let Some(at) = self.ward.earliest(id, due) else { return };
        lane.listed = Some(at);
        self.due.insert((at, id));
        self.signal |= self.due.first() == Some(&(at, id));
    }
}
