//! How many attempts are under way to each host, over all subscriptions, and who waits for
//! one of them to end. Pure state.
//!
//! A place that becomes free belongs to the subscription that waited longest, so that none
//! with many attempts can take them all.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use url::Url;

use crate::model::SubscriptionId;

/// A host, in short. Two that happen to share a number share a bound: no harm is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HostId(u64);

impl HostId {
    /// The host of a URL, whatever the port.
    pub(super) fn of(url: &Url) -> Self {
        let mut hasher = DefaultHasher::new();
        url.host_str().hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[derive(Debug, Default)]
struct Host {
    /// Attempts under way, and places promised to those who waited.
    taken: u32,
    waiting: VecDeque<SubscriptionId>,
}

/// All hosts to which attempts are under way.
#[derive(Debug)]
pub(super) struct Hosts {
    most: u32,
    hosts: HashMap<HostId, Host>,
}

impl Hosts {
    /// With so many places each; 0 for no bound.
    pub(super) fn new(most: u32) -> Self {
        Self { most: bound(most), hosts: HashMap::new() }
    }

    /// Sets how many places each host has. Answers who waited and has one now: theirs to use or
    /// to give back.
    pub(super) fn set(&mut self, most: u32) -> Vec<(HostId, SubscriptionId)> {
        let most = bound(most);
        self.most = most;
        let mut promised = Vec::new();
        for (id, host) in &mut self.hosts {
            while host.taken < most
                && let Some(next) = host.waiting.pop_front()
            {
                host.taken += 1;
                promised.push((*id, next));
            }
        }
        promised
    }

    /// Takes a place, or lines up for one.
    pub(super) fn enter(&mut self, host: HostId, id: SubscriptionId) -> bool {
        let host = self.hosts.entry(host).or_default();
        if host.taken < self.most {
            host.taken += 1;
            return true;
        }
        host.waiting.push_back(id);
        false
    }

    /// Gives a place back. If somebody waits, it is theirs now: use it or give it back.
    pub(super) fn leave(&mut self, id: HostId) -> Option<SubscriptionId> {
        let host = self.hosts.get_mut(&id)?;
        // There may be fewer places than there were.
        let next = if host.taken > self.most { None } else { host.waiting.pop_front() };
        if next.is_none() {
            host.taken = host.taken.saturating_sub(1);
            if host.taken == 0 {
                self.hosts.remove(&id);
            }
        }
        next
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

const fn bound(most: u32) -> u32 {
    if most == 0 { u32::MAX } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(number: u8) -> SubscriptionId {
        SubscriptionId::from_bytes([number; 16])
    }

    fn host(url: &str) -> HostId {
        HostId::of(&url.parse().unwrap())
    }

    #[test]
    fn a_host_is_its_name() {
        assert_eq!(host("https://shop.example/a"), host("http://SHOP.example:8080/b"));
        assert_ne!(host("https://shop.example"), host("https://shop2.example"));
    }

    #[test]
    fn a_freed_place_goes_to_who_waited_longest() {
        let (mut hosts, shop) = (Hosts::new(2), host("https://shop.example"));
        assert!(hosts.enter(shop, sub(1)) && hosts.enter(shop, sub(1)));
        assert!(!hosts.enter(shop, sub(2)) && !hosts.enter(shop, sub(3)));
        assert_eq!(hosts.leave(shop), Some(sub(2)));
        // It is promised: nobody else gets it.
        assert!(!hosts.enter(shop, sub(1)));
        assert!(hosts.enter(host("https://other.example"), sub(1)));
        assert_eq!(hosts.leave(shop), Some(sub(3)));
        assert_eq!(hosts.leave(shop), Some(sub(1)));
        assert_eq!((hosts.leave(shop), hosts.leave(shop)), (None, None));
        assert_eq!(hosts.leave(host("https://other.example")), None);
        assert!(hosts.is_empty());
    }

    #[test]
    fn places_may_become_more_or_fewer() {
        let (mut hosts, shop) = (Hosts::new(1), host("https://shop.example"));
        assert!(hosts.enter(shop, sub(1)));
        for waiting in 2..=5 {
            assert!(!hosts.enter(shop, sub(waiting)));
        }
        assert_eq!(hosts.set(3), [(shop, sub(2)), (shop, sub(3))]);
        assert!(!hosts.enter(shop, sub(6)));
        assert_eq!(hosts.set(1), []);
        // Those who are too many leave before somebody follows.
        assert_eq!((hosts.leave(shop), hosts.leave(shop)), (None, None));
        assert_eq!(hosts.leave(shop), Some(sub(4)));
        assert_eq!(hosts.set(0), [(shop, sub(5)), (shop, sub(6))]);
        assert!(hosts.enter(shop, sub(7)), "there is no bound any more");
    }
}
