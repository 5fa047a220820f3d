//! What stands before an attempt: its lane's turn and limit, its breaker, its rate, its host.
//!
//! The cheapest come first, and a token is taken last, when nothing else is in the way.

use super::{
    super::{
        breaker::Permit,
        health::{Answer, Changes},
        hosts::HostId,
        job::{Job, Pass},
        turns::Round,
    },
    Lanes,
    lane::Wait,
};
use crate::model::{SubscriptionId, Timestamp};

impl Lanes {
    /// The next delivery to attempt, lane after lane; or one to put back into the store, for
    /// it may not be attempted for a while.
    pub(crate) fn pick(&mut self, now: Timestamp) -> Option<Job> {
        self.open_gates(now);
        if self.stopped || self.in_flight >= self.max_in_flight {
            return None;
        }
        while let Some(id) = self.turns.pop(self.scarce()) {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.waits = None;
            let promised = lane.promised.take();
            match self.pass(id, promised, now) {
                Some(pass) => {
                    let Some(job) = self.start(id, pass, now) else { continue };
                    return Some(job);
                }
                None => self.leave(promised),
            }
        }
        None
    }

    /// Takes what an attempt of a lane needs; none if the lane must wait, or has nothing.
    fn pass(
        &mut self,
        id: SubscriptionId,
        promised: Option<HostId>,
        now: Timestamp,
    ) -> Option<Pass> {
        let lane = self.lanes.get_mut(&id)?;
        if !lane.is_able() {
            return None;
        }
        let permit = self.ward.permit(id, now);
        if let Permit::Wait(_) = permit {
            self.leave(promised);
            return Some(Pass { put_back: true, ..Pass::default() });
        }
        if let Some(at) = lane.bucket.as_ref().and_then(|bucket| bucket.wait(now)) {
            lane.waits = Some(Wait::Token);
            self.tokens.insert((at, id));
            self.signal |= self.tokens.first() == Some(&(at, id));
            return None;
        }
        let mut host = promised;
        if promised != lane.rules.host {
            // Its endpoint has moved to another host meanwhile, or there was no promise.
            if let Some(wanted) = lane.rules.host
                && !self.hosts.enter(wanted, id)
            {
                lane.waits = Some(Wait::Host);
                return None;
            }
            host = lane.rules.host;
            self.leave(promised);
        }
        Some(Pass { host, probe: permit == Permit::Probe, put_back: false })
    }

    /// Starts a lane's first delivery, if its lease outlasts an attempt.
    fn start(&mut self, id: SubscriptionId, pass: Pass, now: Timestamp) -> Option<Job> {
        let lane = self.lanes.get_mut(&id)?;
        let mut job = lane.ready.pop_front()?;
        lane.in_flight += 1;
        self.in_flight += 1;
        self.ready -= 1;
        job.pass = pass;
        if !pass.put_back && !self.may_start(&job, now) {
            self.end(id, Pass { probe: false, ..pass });
            self.lapse(id, job.lease_until);
            return None;
        }
        let bucket = self.lanes.get_mut(&id).and_then(|lane| lane.bucket.as_mut());
        if let Some(bucket) = bucket.filter(|_| !pass.put_back) {
            bucket.take(now);
        }
        if pass.probe {
            self.ward.probe(id);
            self.relist(id);
        }
        self.queue(id);
        Some(job)
    }

    /// An attempt is over. Its place stays taken until its record is on disk.
    pub(crate) fn release(
        &mut self,
        id: SubscriptionId,
        pass: Pass,
        answer: Option<Answer>,
        now: Timestamp,
    ) -> Changes {
        let mut changes = Changes::default();
        if let Some(lane) = self.lanes.get(&id).filter(|lane| !lane.gone) {
            let (rules, wary) = (lane.rules, self.ward.is_wary(id));
            changes = self.ward.ended(id, answer, pass.probe, &rules, now);
            if wary || changes.breaker.is_some() {
                self.relist(id);
            }
        }
        self.end(id, pass);
        changes
    }

    fn end(&mut self, id: SubscriptionId, pass: Pass) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            self.queue(id);
        }
        self.leave(pass.host);
    }

    /// Gives a place at a host to the first in line that can use it.
    fn leave(&mut self, host: Option<HostId>) {
        let Some(host) = host else { return };
        while let Some(next) = self.hosts.leave(host) {
            if self.hand_over(host, next) {
                return;
            }
        }
    }

    /// Gives a place at a host, which is taken, to who waited for it; to the next if that one
    /// has no use for it.
    pub(super) fn promise(&mut self, host: HostId, next: SubscriptionId) {
        if !self.hand_over(host, next) {
            self.leave(Some(host));
        }
    }

    fn hand_over(&mut self, host: HostId, next: SubscriptionId) -> bool {
        let Some(lane) = self.lanes.get_mut(&next) else { return false };
        lane.waits = None;
        self.queue(next);
        match self.lanes.get_mut(&next) {
            Some(lane) if lane.waits.is_some() => {
                lane.promised = Some(host);
                true
            }
            _ => false,
        }
    }

    /// Lines up those for whom a token has come.
    pub(super) fn open_gates(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.tokens.first() {
            if at > now {
                return;
            }
            self.tokens.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.waits = None;
                self.queue(id);
            }
        }
    }

    /// Lines a lane up that can start something, once, where it belongs.
    pub(super) fn queue(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.is_able() {
            return;
        }
        match (lane.waits, Round::of(lane.in_flight)) {
            (None, round) => {
                lane.waits = Some(Wait::Turn(round));
                self.turns.push(id, round);
            }
            (Some(Wait::Turn(Round::Greedy)), Round::Modest) => {
                lane.waits = Some(Wait::Turn(Round::Modest));
                self.turns.promote(id);
            }
            (Some(_), _) => {}
        }
    }
}
