//! What stands before an attempt, on the scheduler's state alone: rates, hosts, breakers.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::lanes::{at, job, sub};
use crate::{
    delivery::{
        BreakerRules, DeliverySettings,
        health::{Answer, Changes},
        hosts::HostId,
        job::{Job, Pass},
        lanes::Lanes,
        rules::Rules,
    },
    model::{AttemptOutcome, RateLimit, SubscriptionId},
};

const GOOD: Answer = Answer { outcome: AttemptOutcome::Succeeded, status: Some(200) };
const BAD: Answer = Answer { outcome: AttemptOutcome::HttpStatus, status: Some(503) };
/// The end of leases that outlast every test.
const FAR: i64 = 1_000_000_000;

fn host() -> HostId {
    HostId::of(&"https://shop.example".parse().unwrap())
}

fn lanes() -> Lanes {
    Lanes::new(&DeliverySettings {
        max_in_flight: 6,
        host_concurrency: 2,
        total_places: 400,
        breaker: BreakerRules {
            percent: 50,
            minimum: 3,
            open: Duration::from_secs(10),
            longest: Duration::from_secs(40),
        },
        ..DeliverySettings::default()
    })
}

fn add(lanes: &mut Lanes, id: SubscriptionId, rules: Rules) {
    lanes.open(id, rules);
    assert!(lanes.reserve(id, at(0)));
    lanes.push(job(id, FAR));
}

fn end(lanes: &mut Lanes, job: &Job, answer: Answer, second: i64) -> Changes {
    let changes = lanes.release(job.subscription, job.pass, Some(answer), at(second));
    lanes.free(job.subscription, 1);
    changes
}

fn slow() -> Rules {
    Rules { rate: Some(RateLimit { per_second: 0.5, burst: Some(2) }), ..Rules::only(32) }
}

#[test]
fn a_rate_lets_a_burst_through_and_then_one_after_another() {
    let mut lanes = lanes();
    (0..4).for_each(|_| add(&mut lanes, sub(1), slow()));
    assert!(lanes.pick(at(0)).is_some() && lanes.pick(at(0)).is_some());
    assert!(lanes.pick(at(0)).is_none());
    // The timer knows when to look again, and others are not held up meanwhile.
    assert_eq!(lanes.wanted(at(0)).next, Some(at(2)));
    add(&mut lanes, sub(2), Rules::only(1));
    assert_eq!(lanes.pick(at(0)).unwrap().subscription, sub(2));
    assert!(lanes.pick(at(1)).is_none());
    assert!(lanes.pick(at(2)).is_some() && lanes.pick(at(2)).is_none());
}

#[test]
fn a_lane_with_a_rate_keeps_its_count_while_it_has_nothing() {
    let mut lanes = lanes();
    for _ in 0..2 {
        add(&mut lanes, sub(1), slow());
        let job = lanes.pick(at(0)).unwrap();
        end(&mut lanes, &job, GOOD, 0);
    }
    add(&mut lanes, sub(1), slow());
    assert!(lanes.pick(at(1)).is_none());
    let job = lanes.pick(at(2)).unwrap();
    end(&mut lanes, &job, GOOD, 2);
    lanes.forget(sub(1));
    assert!(!lanes.has(sub(1)));
}

#[test]
fn a_host_has_few_attempts_and_its_subscriptions_take_turns() {
    let mut lanes = lanes();
    let rules = Rules { host: Some(host()), ..Rules::only(32) };
    for id in [1, 1, 1, 1, 2, 3] {
        add(&mut lanes, sub(id), rules);
    }
    let first: Vec<_> = std::iter::from_fn(|| lanes.pick(at(0))).collect();
    assert_eq!(first.len(), 2);
    let mut order = Vec::new();
    let mut under_way = std::collections::VecDeque::from(first);
    while let Some(job) = under_way.pop_front() {
        order.push(job.subscription);
        end(&mut lanes, &job, GOOD, 0);
        under_way.extend(lanes.pick(at(0)));
        assert!(lanes.pick(at(0)).is_none(), "no more than two at once");
    }
    assert_eq!(order, [1, 2, 3, 1, 1, 1].map(sub));
}

#[test]
fn deliveries_wait_for_an_open_breaker_without_an_attempt() {
    let mut lanes = lanes();
    (0..5).for_each(|_| add(&mut lanes, sub(1), Rules::only(3)));
    let three: Vec<_> = std::iter::from_fn(|| lanes.pick(at(0))).collect();
    let opened = three.iter().find_map(|job| end(&mut lanes, job, BAD, 0).breaker);
    assert_eq!(opened.unwrap().1, "503 ×3");
    // Those in memory go back to the store, new ones do not come into it.
    for _ in 0..2 {
        let job = lanes.pick(at(1)).unwrap();
        assert!(job.pass.put_back);
        lanes.release(job.subscription, job.pass, None, at(1));
        lanes.due(sub(1), at(0));
        lanes.free(sub(1), 1);
    }
    assert!(lanes.pick(at(1)).is_none());
    assert!(!lanes.reserve(sub(1), at(1)));
    let wanted = lanes.wanted(at(1));
    assert_eq!((wanted.lanes, wanted.next), (vec![], Some(at(10))));
    // One is asked for, as a probe; its failure makes the rest wait longer.
    let wanted = lanes.wanted(at(10)).lanes;
    assert_eq!(wanted, [(sub(1), 1)]);
    lanes.claimed(&wanted, vec![job(sub(1), FAR)], &[(sub(1), Some(at(0)))], at(10));
    let probe = lanes.pick(at(10)).unwrap();
    assert!(probe.pass.probe);
    assert_eq!(lanes.wanted(at(10)), super::super::lanes::Wanted::default());
    end(&mut lanes, &probe, BAD, 11);
    assert_eq!(lanes.wanted(at(11)).next, Some(at(31)));
    // Enabling the subscription, or another endpoint, ends it at once.
    lanes.renew(sub(1));
    assert_eq!(lanes.wanted(at(11)).lanes[0].0, sub(1));
}

#[test]
fn one_probe_is_taken_from_the_store_however_often_it_is_asked() {
    let mut lanes = lanes();
    let rules = Rules { host: Some(host()), ..Rules::only(3) };
    (0..2).for_each(|_| add(&mut lanes, sub(2), Rules { host: Some(host()), ..Rules::only(2) }));
    let busy: Vec<_> = std::iter::from_fn(|| lanes.pick(at(0))).collect();
    assert_eq!(busy.len(), 2);
    lanes.open(sub(1), rules);
    for _ in 0..3 {
        lanes.release(sub(1), Pass::default(), Some(BAD), at(0));
    }
    lanes.due(sub(1), at(0));
    let wanted = lanes.wanted(at(10)).lanes;
    assert_eq!(wanted, [(sub(1), 1)]);
    lanes.claimed(&wanted, vec![job(sub(1), FAR)], &[(sub(1), Some(at(0)))], at(10));
    // Its host has no place, so it cannot begin; no second one is asked for meanwhile.
    assert!(lanes.pick(at(10)).is_none());
    assert_eq!(lanes.wanted(at(10)).lanes, []);
    end(&mut lanes, &busy[0], GOOD, 11);
    assert!(lanes.pick(at(11)).unwrap().pass.probe);
}

/// What may happen.
#[derive(Debug, Clone)]
enum Op {
    Add(u8),
    Pick,
    End(usize, bool),
    Tick(i64),
}

/// Subscriptions with every kind of gate, and a store that holds what is not in memory.
struct Scene {
    lanes: Lanes,
    now: i64,
    stored: HashMap<SubscriptionId, u32>,
    under_way: Vec<Job>,
    begun: HashMap<SubscriptionId, Vec<i64>>,
}

impl Scene {
    fn rules(id: SubscriptionId) -> Rules {
        let mut rules = Rules::only(3);
        if id == sub(0) {
            rules.rate = Some(RateLimit { per_second: 0.5, burst: Some(2) });
        }
        rules.host = (id != sub(3)).then(host);
        rules
    }

    fn add(&mut self, id: SubscriptionId) {
        self.lanes.open(id, Self::rules(id));
        if self.lanes.reserve(id, at(self.now)) {
            self.lanes.push(job(id, FAR));
        } else {
            self.store(id, 0);
        }
    }

    fn store(&mut self, id: SubscriptionId, after: i64) {
        *self.stored.entry(id).or_default() += 1;
        self.lanes.open(id, Self::rules(id));
        self.lanes.due(id, at(self.now + after));
    }

    fn claim(&mut self) {
        let wanted = self.lanes.wanted(at(self.now)).lanes;
        let (mut jobs, mut next) = (Vec::new(), Vec::new());
        for &(id, most) in &wanted {
            let stored = self.stored.entry(id).or_default();
            let got = most.min(*stored);
            *stored -= got;
            jobs.extend((0..got).map(|_| job(id, FAR)));
            next.push((id, (*stored > 0).then(|| at(self.now))));
        }
        self.lanes.claimed(&wanted, jobs, &next, at(self.now));
    }

    fn pick(&mut self) -> bool {
        let Some(job) = self.lanes.pick(at(self.now)) else { return false };
        let id = job.subscription;
        if job.pass.put_back {
            self.lanes.release(id, job.pass, None, at(self.now));
            self.store(id, 0);
            self.lanes.free(id, 1);
        } else {
            self.begun.entry(id).or_default().push(self.now);
            self.under_way.push(job);
        }
        true
    }

    fn end(&mut self, index: usize, good: bool) {
        let job = self.under_way.remove(index);
        let answer = if good { GOOD } else { BAD };
        self.lanes.release(job.subscription, job.pass, Some(answer), at(self.now));
        if !good {
            self.store(job.subscription, 5);
        }
        self.lanes.free(job.subscription, 1);
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let busy = |test: &dyn Fn(&Job) -> bool| self.under_way.iter().filter(|j| test(j)).count();
        prop_assert!(busy(&|job| job.subscription != sub(3)) <= 2, "the host's bound");
        for id in [0, 1, 2, 3].map(sub) {
            prop_assert!(busy(&|job| job.subscription == id) <= 3);
            prop_assert!(busy(&|job| job.subscription == id && job.pass.probe) <= 1);
        }
        let begun = self.begun.get(&sub(0)).map(Vec::as_slice).unwrap_or_default();
        for (i, first) in begun.iter().enumerate() {
            for (n, last) in begun[i..].iter().enumerate() {
                prop_assert!((n + 1) as f64 <= 2.0 + (last - first) as f64 * 0.5, "the rate");
            }
        }
        Ok(())
    }
}

proptest! {
    /// Whatever happens in whatever order, the gates hold; and once endpoints are well,
    /// everything gets through them.
    #[test]
    fn gates_hold_and_let_everything_through_in_the_end(
        ops in prop::collection::vec(prop_oneof![
            3 => (0u8..4).prop_map(Op::Add),
            4 => Just(Op::Pick),
            3 => (0usize..6, any::<bool>()).prop_map(|(index, good)| Op::End(index, good)),
            1 => (0i64..15).prop_map(Op::Tick),
        ], 0..300)
    ) {
        let mut scene = Scene {
            lanes: lanes(), now: 0, stored: HashMap::new(), under_way: vec![], begun: HashMap::new(),
        };
        for op in ops {
            match op {
                Op::Add(id) => scene.add(sub(id)),
                Op::Pick => { scene.pick(); }
                Op::End(index, good) if index < scene.under_way.len() => scene.end(index, good),
                Op::End(..) => {}
                Op::Tick(seconds) => { scene.now += seconds; scene.claim(); }
            }
            scene.check()?;
        }
        for _ in 0..2_000 {
            scene.claim();
            while scene.pick() {
                scene.check()?;
            }
            while !scene.under_way.is_empty() {
                scene.end(0, true);
            }
            scene.now += 1;
        }
        prop_assert!(scene.stored.values().all(|&stored| stored == 0), "{:?}", scene.lanes);
        prop_assert_eq!((scene.lanes.ready(), scene.lanes.in_flight()), (0, 0));
    }
}

#[test]
fn a_pass_gives_back_what_it_took() {
    let mut lanes = lanes();
    let rules = Rules { host: Some(host()), ..Rules::only(1) };
    add(&mut lanes, sub(1), rules);
    let job = lanes.pick(at(0)).unwrap();
    assert_eq!(job.pass, Pass { host: Some(host()), probe: false, put_back: false });
    // Its endpoint moves while it is under way: what it took is given back all the same.
    lanes.open(sub(1), Rules::only(1));
    end(&mut lanes, &job, GOOD, 0);
    for id in [2, 3] {
        add(&mut lanes, sub(id), rules);
        assert!(lanes.pick(at(0)).is_some());
    }
}

/// Nothing is left of a deleted subscription, though its last attempt ends after that and brings
/// the rules it began with.
#[test]
fn what_ends_after_its_subscription_was_deleted_leaves_no_trace() {
    let mut lanes = lanes();
    let rules = Rules { disable_after: Some(Duration::from_secs(1)), ..slow() };
    add(&mut lanes, sub(1), rules);
    let job = lanes.pick(at(0)).unwrap();
    lanes.forget(sub(1));
    lanes.open(sub(1), rules);
    assert_eq!(end(&mut lanes, &job, BAD, 5), Changes::default());
    assert!(!lanes.has(sub(1)), "its lane is closed");
    assert!(lanes.ward().get(sub(1)).is_none(), "nobody remembers that it failed");
}
