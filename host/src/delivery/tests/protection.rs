//! Breakers, order, age and failing endpoints, through the whole dispatcher.

use std::time::Duration;

use super::{
    World,
    belt::{At, State},
    endpoint::{Endpoint, Reply},
    event, settings,
};
use crate::{
    clock::Clock,
    delivery::{BreakerRules, BreakerState, DeliverySettings, Dispatcher},
    model::{DisabledReason, OrderKey, RetryPolicy, SubscriptionId},
    store::{DeliveryKey, Next},
};

/// A breaker that opens after three attempts, for a moment.
fn touchy() -> DeliverySettings {
    let breaker = BreakerRules {
        percent: 50,
        minimum: 3,
        open: Duration::from_millis(30),
        longest: Duration::from_millis(60),
    };
    DeliverySettings {
        breaker,
        concurrency: 1,
        retry: RetryPolicy::Schedule(vec![0; 20]),
        jitter: 0.0,
        ..settings()
    }
}

fn order(
    world: &World,
    dispatcher: &Dispatcher,
    id: SubscriptionId,
    keys: &[i64],
) -> Vec<DeliveryKey> {
    let add = |&key: &i64| {
        let added = world.belt.add_ordered(&event(), id, OrderKey(key));
        dispatcher.wake(id, Clock::system().now());
        added
    };
    keys.iter().map(add).collect()
}

fn all_succeeded(state: &State) -> bool {
    state.rows.values().all(|row| row.at == At::Final(Next::Succeeded))
}

#[tokio::test]
async fn an_open_breaker_costs_no_attempts_and_everything_arrives_afterwards() {
    let mut script = vec![Reply::Status(503); 5];
    script.push(Reply::Status(200));
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    let dispatcher = world.start(touchy(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    for _ in 0..30 {
        world.publish(&dispatcher, subscription, None);
    }
    world.belt.until("all", all_succeeded).await;
    // Five failures, three of which opened it and two of which were probes: nothing more.
    assert_eq!(endpoint.requests().len(), 35);
    let state = world.belt.state.lock().unwrap();
    assert_eq!(state.rows.values().map(super::belt::Row::attempts).sum::<usize>(), 35);
}

#[tokio::test]
async fn the_health_of_a_failing_endpoint_can_be_seen() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(503)]).await);
    let open = BreakerRules { open: Duration::from_secs(900), ..touchy().breaker };
    let dispatcher = world.start(DeliverySettings { breaker: open, ..touchy() }, 1).await;
    let subscription = world.subscribe(&endpoint.url);
    assert_eq!(dispatcher.health(subscription), None);
    world.publish(&dispatcher, subscription, None);
    world
        .belt
        .until("the breaker", |_| {
            dispatcher
                .health(subscription)
                .is_some_and(|health| health.breaker == BreakerState::Open)
        })
        .await;
    let health = dispatcher.health(subscription).unwrap();
    assert_eq!((health.last_status, health.in_a_row, health.failures), (Some(503), 3, 3));
    assert!(health.next_probe_at.is_some() && health.is_bad());
    assert_eq!(dispatcher.failing().len(), 1);
    dispatcher.renew(subscription);
    assert_eq!(dispatcher.health(subscription), None);
}

#[tokio::test]
async fn a_key_is_delivered_in_order_and_a_failure_holds_back_only_its_own() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Gated]).await);
    let patient = DeliverySettings { retry: RetryPolicy::Schedule(vec![0]), ..settings() };
    let dispatcher = world.start(patient, 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let keys = order(&world, &dispatcher, subscription, &[1, 2, 1, 2, 1, 3]);
    endpoint.until_busy(3).await;
    endpoint.open(6);
    world.belt.until("all", all_succeeded).await;
    let state = world.belt.state.lock().unwrap();
    let when = |index: usize| {
        let attempt = state.rows[&keys[index]].records[0].clone();
        (attempt.attempt.unwrap().started_at, attempt.at)
    };
    for (older, younger) in [(0, 2), (2, 4), (1, 3)] {
        assert!(when(older).1 <= when(younger).0, "{older} ends before {younger} begins");
    }
}

#[tokio::test]
async fn a_dead_delivery_lets_its_key_go_on() {
    let script = [Reply::Status(500), Reply::Status(500), Reply::Status(200)];
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    let twice = DeliverySettings { retry: RetryPolicy::Schedule(vec![0, 0]), ..settings() };
    let dispatcher = world.start(twice, 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let keys = order(&world, &dispatcher, subscription, &[1, 1]);
    assert!(matches!(world.belt.done(keys[0]).await.at, At::Final(Next::Dead(_))));
    assert_eq!(world.belt.done(keys[1]).await.attempts(), 1);
}

#[tokio::test]
async fn what_is_too_old_is_given_up_without_an_attempt() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(500)]).await);
    let short = RetryPolicy::Schedule(vec![0, 3600]);
    let dispatcher = world.start(DeliverySettings { retry: short, ..settings() }, 1).await;
    let subscription = world.subscribe_with(&endpoint.url, |s| {
        s.policy.max_age_seconds = Some(60);
    });
    let row = world.belt.done(world.publish(&dispatcher, subscription, None)).await;
    assert_eq!(row.attempts(), 1);
    assert!(matches!(row.at, At::Final(Next::Dead(why)) if why.contains("60 s")));
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_disabled() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(404)]).await);
    let soon = DeliverySettings {
        disable_after: Duration::from_nanos(1),
        retry: RetryPolicy::Schedule(vec![0; 50]),
        ..settings()
    };
    let dispatcher = world.start(soon, 1).await;
    let subscription = world.subscribe_with(&endpoint.url, |s| s.policy.concurrency = Some(1));
    let key = world.publish(&dispatcher, subscription, None);
    let row = world.belt.done(key).await;
    assert!(matches!(row.at, At::Final(Next::Held(_))), "{row:?}");
    assert!(row.attempts() >= 10);
    assert_eq!(*world.directory.disabled.lock().unwrap(), [subscription]);
    assert_eq!(*world.directory.reasons.lock().unwrap(), [DisabledReason::Failing]);
}
