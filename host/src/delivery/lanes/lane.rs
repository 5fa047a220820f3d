//! One subscription's lane: what is in memory of it, and what it waits for.

use std::collections::VecDeque;

use super::super::{hosts::HostId, job::Job, rules::Rules, turns::Round};
use crate::{limits::Bucket, model::Timestamp};

/// Why a lane is not among those whose due time is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// It is.
    On,
    /// The store is being asked.
    Claiming,
    /// It has no room.
    Full,
}

/// Where a lane that has something to start waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For its turn.
    Turn(Round),
    /// For a token.
    Token,
    /// For a place at its host.
    Host,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub ready: VecDeque<Job>,
    pub in_flight: u32,
    pub rules: Rules,
    pub bucket: Option<Bucket>,
    /// Places in memory: reserved, ready, under way, or waiting for their record.
    pub places: u32,
    /// When the store has something for it.
    pub due: Option<Timestamp>,
    /// As when it is listed: not before its breaker lets an attempt through.
    pub listed: Option<Timestamp>,
    pub watch: Watch,
    /// What became due while the store was being asked.
    pub woken: Option<Timestamp>,
    /// When the last of the leases given up early ends: the store says nothing of these
    /// until then.
    pub lapse: Option<Timestamp>,
    /// Where it waits; nowhere if it has nothing to start or may not.
    pub waits: Option<Wait>,
    /// The host that has a place for it.
    pub promised: Option<HostId>,
    /// Whether its subscription was deleted: it closes with the last of its attempts, whatever
    /// these still say of its rules.
    pub gone: bool,
}

impl Lane {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            ready: VecDeque::new(),
            in_flight: 0,
            rules,
            bucket: rules.rate.map(Bucket::new),
            places: 0,
            due: None,
            listed: None,
            watch: Watch::On,
            woken: None,
            lapse: None,
            waits: None,
            promised: None,
            gone: false,
        }
    }

    pub(super) fn set(&mut self, rules: Rules) {
        if self.rules.rate != rules.rate {
            self.bucket = match (self.bucket.take(), rules.rate) {
                (Some(mut bucket), Some(rate)) => {
                    bucket.set(rate);
                    Some(bucket)
                }
                (None, Some(rate)) => Some(Bucket::new(rate)),
                (_, None) => None,
            };
        }
        self.rules = rules;
    }

    /// Whether it can start something, were it its turn.
    pub(super) fn is_able(&self) -> bool {
        !self.ready.is_empty() && self.in_flight < self.rules.limit
    }

    /// Whether it holds nothing and expects nothing. One with a bucket stays: how many
    /// tokens are left must not be forgotten.
    pub(super) const fn is_idle(&self) -> bool {
        self.places == 0
            && self.due.is_none()
            && self.bucket.is_none()
            && !matches!(self.watch, Watch::Claiming)
    }
}
