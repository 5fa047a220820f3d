//! Whose turn it is: lanes that can start something, in two rounds.
//!
//! A lane with little under way stands in the modest round, others in the greedy one, which
//! is served after it and not at all when slots are scarce. So many slow endpoints together
//! cannot take all slots: who needs but a few always finds one. Pure state.

use std::collections::VecDeque;

use crate::model::SubscriptionId;

/// Attempts under way with which a lane is still modest.
const MODEST: u32 = 4;

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Modest,
    Greedy,
}

impl Round {
    /// Where a lane with so many attempts under way belongs.
    pub(super) const fn of(in_flight: u32) -> Self {
        if in_flight < MODEST { Self::Modest } else { Self::Greedy }
    }
}

/// The two rounds. Who stands where is each lane's to remember.
#[derive(Debug, Default)]
pub(super) struct Turns {
    modest: VecDeque<SubscriptionId>,
    greedy: VecDeque<SubscriptionId>,
}

impl Turns {
    /// Lines a lane up that stands nowhere.
    pub(super) fn push(&mut self, id: SubscriptionId, round: Round) {
        match round {
            Round::Modest => self.modest.push_back(id),
            Round::Greedy => self.greedy.push_back(id),
        }
    }

    /// Takes out the next.
    pub(super) fn pop(&mut self, scarce: bool) -> Option<SubscriptionId> {
        self.modest.pop_front().or_else(|| if scarce { None } else { self.greedy.pop_front() })
    }

    /// Moves a lane to the modest round. Lanes in the greedy one have several attempts
    /// under way each, so they are few, and looking for one is quick.
    pub(super) fn promote(&mut self, id: SubscriptionId) {
        self.greedy.retain(|&other| other != id);
        self.modest.push_back(id);
    }

    /// Sends everyone home.
    pub(super) fn clear(&mut self) {
        self.modest.clear();
        self.greedy.clear();
    }
}
