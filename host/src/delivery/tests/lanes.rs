//! The scheduler's state on its own.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::event;
use crate::{
    delivery::{
        DeliverySettings, Ready,
        job::{Job, Pass, SharedEvent},
        lanes::{Lanes, Wanted},
        rules::Rules,
    },
    model::{DeliveryId, SubscriptionId, Timestamp},
    store::DeliveryKey,
};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

pub(super) fn sub(number: u8) -> SubscriptionId {
    SubscriptionId::from_bytes([number; 16])
}

fn lanes(in_flight: usize, lane_places: u32, total_places: usize) -> Lanes {
    Lanes::new(&DeliverySettings {
        max_in_flight: in_flight,
        lane_places,
        total_places,
        attempt_timeout: Duration::from_secs(15),
        ..DeliverySettings::default()
    })
}

/// A job of a subscription under a lease until `until`.
pub(super) fn job(subscription: SubscriptionId, until: i64) -> Job {
    let event = event();
    let ready = Ready {
        key: DeliveryKey::for_tests(1, 1),
        id: DeliveryId::new(event.accepted_at),
        subscription,
        pipeline: None,
    };
    Job::new(ready, SharedEvent::new(Arc::clone(&event)), at(until))
}

fn add(lanes: &mut Lanes, id: SubscriptionId) {
    if !lanes.has(id) {
        lanes.open(id, Rules::only(32));
    }
    assert!(lanes.reserve(id, at(0)));
    lanes.push(job(id, 300));
}

fn picked(lanes: &mut Lanes) -> Option<SubscriptionId> {
    lanes.pick(at(0)).map(|job| job.subscription)
}

#[test]
fn lanes_take_turns() {
    let mut lanes = lanes(10, 100, 100);
    for id in [1, 1, 1, 1, 2, 2, 3] {
        add(&mut lanes, sub(id));
    }
    let order: Vec<_> = std::iter::from_fn(|| picked(&mut lanes)).collect();
    assert_eq!(order, [1, 2, 3, 1, 2, 1, 1].map(sub));
}

#[test]
fn greedy_lanes_leave_the_last_slots_to_modest_ones() {
    let mut lanes = lanes(16, 100, 1000);
    for id in [1, 2] {
        (0..20).for_each(|_| add(&mut lanes, sub(id)));
    }
    // Two slow endpoints get three quarters of the slots, and no more.
    let greedy = std::iter::from_fn(|| picked(&mut lanes)).count();
    assert_eq!(greedy, 12);
    add(&mut lanes, sub(3));
    assert_eq!(picked(&mut lanes), Some(sub(3)));
    // One that has become modest again is served at once, too.
    (0..3).for_each(|_| drop(lanes.release(sub(1), Pass::default(), None, at(0))));
    assert_eq!(picked(&mut lanes), Some(sub(1)));
}

#[test]
fn a_lane_at_its_limit_waits_and_a_raised_limit_lets_it_go_on() {
    let mut lanes = lanes(10, 100, 100);
    lanes.open(sub(1), Rules::only(1));
    (0..4).for_each(|_| add(&mut lanes, sub(1)));
    assert!(picked(&mut lanes).is_some() && picked(&mut lanes).is_none());
    lanes.release(sub(1), Pass::default(), None, at(0));
    assert!(picked(&mut lanes).is_some() && picked(&mut lanes).is_none());
    lanes.open(sub(1), Rules::only(3));
    assert!(picked(&mut lanes).is_some() && picked(&mut lanes).is_some());
}

#[test]
fn the_store_is_asked_when_something_is_due_and_again_when_it_says() {
    let mut lanes = lanes(10, 100, 1000);
    lanes.open(sub(1), Rules::only(32));
    lanes.due(sub(1), at(50));
    assert_eq!(lanes.wanted(at(0)), Wanted { lanes: vec![], next: Some(at(50)) });
    let wanted = lanes.wanted(at(50));
    assert_eq!(wanted, Wanted { lanes: vec![(sub(1), 62)], next: None });
    lanes.claimed(&wanted.lanes, vec![job(sub(1), 400)], &[(sub(1), Some(at(90)))], at(50));
    assert_eq!(lanes.wanted(at(50)).next, Some(at(90)));
    assert!(lanes.pick(at(50)).is_some());
}

#[test]
fn what_becomes_due_while_the_store_is_asked_is_not_forgotten() {
    let mut lanes = lanes(10, 100, 1000);
    lanes.open(sub(1), Rules::only(32));
    lanes.due(sub(1), at(0));
    let wanted = lanes.wanted(at(0)).lanes;
    lanes.due(sub(1), at(1));
    assert_eq!(lanes.wanted(at(1)), Wanted::default());
    lanes.claimed(&wanted, vec![], &[(sub(1), None)], at(0));
    assert_eq!(lanes.wanted(at(1)).lanes.len(), 1);
}

#[test]
fn a_full_lane_is_refilled_when_half_of_it_is_free() {
    let mut lanes = lanes(10, 4, 1000);
    (0..4).for_each(|_| add(&mut lanes, sub(1)));
    lanes.due(sub(1), at(0));
    assert_eq!(lanes.wanted(at(0)), Wanted::default());
    assert!(!lanes.reserve(sub(1), at(0)));
    lanes.free(sub(1), 1);
    assert_eq!(lanes.wanted(at(0)), Wanted::default());
    // A place is free, but older deliveries wait in the store.
    assert!(!lanes.reserve(sub(1), at(0)));
    lanes.free(sub(1), 1);
    assert!(lanes.take_signal());
    assert_eq!(lanes.wanted(at(0)).lanes, [(sub(1), 2)]);
}

#[test]
fn a_lease_about_to_end_is_given_up_and_comes_back() {
    let mut lanes = lanes(10, 100, 1000);
    add(&mut lanes, sub(1));
    assert!(lanes.pick(at(280)).is_none());
    assert_eq!((lanes.in_flight(), lanes.ready()), (0, 0));
    // A claim before the lease's end says nothing of it: it stays in mind.
    lanes.due(sub(1), at(285));
    let wanted = lanes.wanted(at(285)).lanes;
    lanes.claimed(&wanted, vec![], &[(sub(1), None)], at(285));
    assert_eq!(lanes.wanted(at(285)).next, Some(at(300)));
    let wanted = lanes.wanted(at(300)).lanes;
    lanes.claimed(&wanted, vec![], &[(sub(1), None)], at(300));
    assert!(!lanes.has(sub(1)));
}

#[test]
fn an_idle_lane_closes() {
    let mut lanes = lanes(10, 100, 1000);
    add(&mut lanes, sub(1));
    assert!(picked(&mut lanes).is_some());
    lanes.release(sub(1), Pass::default(), None, at(0));
    assert!(lanes.has(sub(1)));
    lanes.free(sub(1), 1);
    assert!(!lanes.has(sub(1)));
}

#[test]
fn a_failed_claim_gives_its_places_back_and_is_repeated() {
    let mut lanes = lanes(10, 100, 100);
    lanes.open(sub(1), Rules::only(1));
    lanes.due(sub(1), at(0));
    let wanted = lanes.wanted(at(0)).lanes;
    lanes.claim_failed(&wanted, at(1));
    assert_eq!(lanes.wanted(at(0)).next, Some(at(1)));
    assert_eq!(lanes.wanted(at(1)).lanes, [(sub(1), 6)]);
}

/// What may happen to the lanes.
#[derive(Debug, Clone)]
enum Op {
    Reserve(u8),
    Pick,
    /// Ends the oldest attempt; whether it is due again.
    End(bool),
    Wake(u8, i64),
    /// Asks the store; it has this many for each lane, and perhaps more later.
    Claim(u32, Option<i64>),
    Tick(i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0u8..4).prop_map(Op::Reserve),
        Just(Op::Pick),
        any::<bool>().prop_map(Op::End),
        (0u8..4, 0i64..100).prop_map(|(id, after)| Op::Wake(id, after)),
        (0u32..8, prop::option::of(0i64..100)).prop_map(|(n, next)| Op::Claim(n, next)),
        (0i64..200).prop_map(Op::Tick),
    ];
    prop::collection::vec(op, 0..200)
}

proptest! {
    /// Whatever happens, bounds hold and nothing leaks: when all is done, all lanes close.
    #[test]
    fn bounds_hold_and_nothing_leaks(ops in ops()) {
        let mut lanes = lanes(3, 6, 12);
        let (mut now, mut under_way) = (0, std::collections::VecDeque::new());
        for op in ops {
            match op {
                Op::Reserve(id) => {
                    lanes.open(sub(id), Rules::only(2));
                    if lanes.reserve(sub(id), at(now)) {
                        lanes.push(job(sub(id), now + 300));
                    }
                }
                Op::Pick => under_way.extend(lanes.pick(at(now)).map(|job| job.subscription)),
                Op::End(again) => if let Some(id) = under_way.pop_front() {
                    lanes.release(id, Pass::default(), None, at(0));
                    if again {
                        lanes.due(id, at(now + 5));
                    }
                    lanes.free(id, 1);
                },
                Op::Wake(id, after) => {
                    lanes.open(sub(id), Rules::only(2));
                    lanes.due(sub(id), at(now + after));
                }
                Op::Claim(most, next) => {
                    let wanted = lanes.wanted(at(now)).lanes;
                    let jobs = wanted.iter().flat_map(|&(id, n)| {
                        (0..n.min(most)).map(move |_| job(id, now + 300))
                    }).collect();
                    let next: Vec<_> =
                        wanted.iter().map(|&(id, _)| (id, next.map(|after| at(now + after)))).collect();
                    lanes.claimed(&wanted, jobs, &next, at(now));
                }
                Op::Tick(seconds) => now += seconds,
            }
            prop_assert!(lanes.in_flight() <= 3 && lanes.in_flight() == under_way.len());
            prop_assert!(lanes.ready() + lanes.in_flight() <= 12);
            for id in 0..4 {
                prop_assert!(under_way.iter().filter(|&&busy| busy == sub(id)).count() <= 2);
            }
        }
        // Everything ends: what is ready is attempted, and the store has nothing more.
        for _ in 0..100 {
            now += 300;
            while let Some(job) = under_way.pop_front().or_else(|| lanes.pick(at(now)).map(|job| job.subscription)) {
                lanes.release(job, Pass::default(), None, at(0));
                lanes.free(job, 1);
            }
            let wanted = lanes.wanted(at(now)).lanes;
            lanes.claimed(&wanted, vec![], &[], at(now));
        }
        for id in 0..4 {
            lanes.free(sub(id), 0);
            prop_assert!(!lanes.has(sub(id)), "{:?}", lanes);
        }
    }
}
