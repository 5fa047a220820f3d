//! What happens in a seed: subscriptions and their rules, the moods of their endpoints, and
//! what befalls the server. Everything follows from the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::model::{Ordering, Policy, RateLimit, RetryPolicy};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// One seed's story.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub seed: u64,
    pub subscribers: Vec<Subscriber>,
    /// In the order of their times.
    pub actions: Vec<(Duration, Action)>,
    /// From here on every endpoint is well and nothing else happens.
    pub heal: Duration,
    pub max_in_flight: usize,
    pub lane_places: u32,
    pub total_places: usize,
    pub lease: Duration,
    pub linger: Duration,
    /// Most attempts under way to the one host of all endpoints; 0 for no bound.
    pub host_concurrency: u32,
    /// After how long of failures a subscription is disabled; zero for never.
    pub disable_after: Duration,
}

/// A subscription and its endpoint.
#[derive(Debug, Clone)]
pub(super) struct Subscriber {
    pub policy: Policy,
    /// Until when the endpoint is how.
    pub moods: Vec<(Duration, Mood)>,
    /// How long it takes to answer, at most.
    pub slowness: Duration,
}

/// How an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Well,
    Status(u16),
    /// 429 with a `Retry-After`.
    Throttling(Duration),
    Silent,
    Refusing,
    Resetting,
    /// Fails this share of requests.
    Flapping(f64),
    Gone,
}

/// What befalls the server and its subscriptions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// So many events at once, of one of few subjects.
    Publish {
        to: usize,
        count: usize,
        subject: u32,
    },
    Pause(usize),
    Resume(usize),
    Delete(usize),
    StoreStumbles {
        records: u32,
        claims: u32,
    },
    /// SIGKILL, and a new start.
    Kill,
    /// SIGTERM, and a new start.
    Stop,
}

fn between(rng: &mut Rng, least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(rng.f64())
}

fn retry(rng: &mut Rng) -> RetryPolicy {
    match rng.u32(0..10) {
        0 => RetryPolicy::standard(),
        1..=5 => {
            let waits = rng.usize(1..8);
            let mut schedule = vec![if rng.u32(0..4) == 0 { rng.u32(1..60) } else { 0 }];
            schedule.extend((0..waits).map(|_| rng.u32(0..7_200)));
            RetryPolicy::Schedule(schedule)
        }
        _ => RetryPolicy::Exponential {
            attempts: rng.u32(1..12),
            first: rng.u32(0..120),
            factor: 1.0 + 2.0 * rng.f64(),
            cap: rng.u32(60..14_400),
        },
    }
}

fn mood(rng: &mut Rng) -> Mood {
    match rng.u32(0..20) {
        0..=6 => Mood::Well,
        7..=9 => Mood::Status([400, 404, 500, 502, 503][rng.usize(0..5)]),
        10..=11 => Mood::Throttling(between(rng, Duration::ZERO, 2 * HOUR)),
        12..=13 => Mood::Silent,
        14..=15 => Mood::Refusing,
        16 => Mood::Resetting,
        17..=18 => Mood::Flapping(rng.f64()),
        _ => Mood::Gone,
    }
}

fn subscriber(rng: &mut Rng, span: Duration) -> Subscriber {
    let mut moods = Vec::new();
    let mut until = Duration::ZERO;
    while until < span {
        until += between(rng, MINUTE, span / 2);
        moods.push((until, mood(rng)));
    }
    let ordering = match rng.u32(0..8) {
        0 => Ordering::Strict,
        1..=2 => Ordering::BySubject,
        _ => Ordering::None,
    };
    let patient = ordering.is_none() || rng.bool();
    let policy = Policy {
        retry: Some(retry(rng)),
        concurrency: rng.bool().then(|| rng.u32(1..6)),
        rate_limit: (rng.u32(0..4) == 0).then(|| RateLimit {
            per_second: 0.02 + rng.f64() * 5.0,
            burst: rng.bool().then(|| rng.u32(1..10)),
        }),
        max_age_seconds: (rng.u32(0..6) == 0).then(|| rng.u64(60..100_000)),
        ordering,
        ordering_patience_seconds: (!patient).then(|| rng.u64(60..20_000)),
        ..Policy::default()
    };
    let most = if rng.bool() { 100 } else { 20_000 };
    let slowness = Duration::from_millis(rng.u64(1..most));
    Subscriber { policy, moods, slowness }
}

fn action(rng: &mut Rng, subscribers: usize) -> Action {
    let to = rng.usize(0..subscribers);
    match rng.u32(0..40) {
        0..=27 => {
            let count = if rng.u32(0..6) == 0 { 20 } else { 1 };
            Action::Publish { to, count, subject: rng.u32(0..3) }
        }
        28..=29 => Action::Pause(to),
        30..=32 => Action::Resume(to),
        33 => Action::Delete(to),
        34..=35 => Action::StoreStumbles { records: rng.u32(0..8), claims: rng.u32(0..4) },
        36..=38 => Action::Kill,
        _ => Action::Stop,
    }
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let span = between(&mut rng, 5 * MINUTE, 48 * HOUR);
        let subscribers: Vec<_> =
            (0..rng.usize(1..5)).map(|_| subscriber(&mut rng, span)).collect();
        let mut actions: Vec<_> = (0..rng.usize(5..40))
            .map(|_| (between(&mut rng, Duration::ZERO, span), action(&mut rng, subscribers.len())))
            .collect();
        actions.sort_by_key(|&(at, _)| at);
        Self {
            seed,
            subscribers,
            actions,
            heal: span,
            max_in_flight: rng.usize(2..40),
            lane_places: rng.u32(1..30),
            total_places: rng.usize(2..80),
            // Long, so that what is in memory is what was handed out and not recorded.
            lease: if rng.bool() { Duration::from_secs(300) } else { 12 * HOUR },
            linger: Duration::from_millis(rng.u64(0..3) * 10),
            host_concurrency: if rng.bool() { rng.u32(1..8) } else { 0 },
            disable_after: if rng.bool() { 12 * HOUR } else { Duration::ZERO },
        }
    }

    /// How a subscriber's endpoint is at `at`.
    pub(super) fn mood(&self, subscriber: usize, at: Duration) -> Mood {
        if at >= self.heal {
            return Mood::Well;
        }
        let moods = &self.subscribers[subscriber].moods;
        moods.iter().find(|&&(until, _)| at < until).map_or(Mood::Well, |&(_, mood)| mood)
    }
}
