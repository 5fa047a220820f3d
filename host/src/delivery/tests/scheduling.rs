//! Who is served when: limits, bulkheads, overflow, restarts, failures of the store.

use std::time::Duration;

use super::{
    World,
    belt::At,
    endpoint::{Endpoint, Reply},
    hasty, settings,
};
use crate::{
    delivery::DeliverySettings,
    model::{PipelineId, RetryPolicy},
    store::{DeliveryKey, Next},
};

fn succeeded(at: &At) -> bool {
    *at == At::Final(Next::Succeeded)
}

#[tokio::test]
async fn a_subscriptions_concurrency_is_never_exceeded() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Gated]).await);
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe_with(&endpoint.url, |s| s.policy.concurrency = Some(3));
    for _ in 0..12 {
        world.publish(&dispatcher, subscription, None);
    }
    endpoint.until_busy(3).await;
    endpoint.open(12);
    world.belt.until("all", |state| state.rows.values().all(|row| succeeded(&row.at))).await;
    assert_eq!(endpoint.most(), 3);
    assert_eq!(endpoint.requests().len(), 12);
}

#[tokio::test]
async fn a_slow_endpoint_delays_nobody_else() {
    let world = World::default();
    let slow = Endpoint::start([Reply::Gated]).await;
    let quick = Endpoint::start([Reply::Status(200)]).await;
    let dispatcher = world.start(DeliverySettings { max_in_flight: 8, ..settings() }, 1).await;
    let stuck = world.subscribe_with(&slow.url, |s| s.policy.concurrency = Some(4));
    let lively = world.subscribe(&quick.url);
    for _ in 0..40 {
        world.publish(&dispatcher, stuck, None);
    }
    slow.until_busy(4).await;
    let keys: Vec<DeliveryKey> =
        (0..40).map(|_| world.publish(&dispatcher, lively, None)).collect();
    let served = |state: &super::belt::State| keys.iter().all(|key| succeeded(&state.rows[key].at));
    world.belt.until("the quick ones", served).await;
    assert_eq!(slow.requests().len(), 4);
}

#[tokio::test]
async fn what_has_no_room_waits_in_the_store() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let few = DeliverySettings { lane_places: 4, ..settings() };
    let dispatcher = world.start(few, 1).await;
    let subscription = world.subscribe_with(&endpoint.url, |s| s.policy.concurrency = Some(1));
    for _ in 0..100 {
        world.publish(&dispatcher, subscription, None);
    }
    world.belt.until("all", |state| state.rows.values().all(|row| succeeded(&row.at))).await;
    let state = world.belt.state.lock().unwrap();
    assert!(state.most_leased <= 4, "{}", state.most_leased);
    assert!(state.claims >= 24, "{}", state.claims);
}

#[tokio::test]
async fn the_total_in_memory_is_bounded_and_every_lane_gets_its_turn() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let few = DeliverySettings { total_places: 6, ..settings() };
    let dispatcher = world.start(few, 1).await;
    let subscriptions: Vec<_> = (0..10).map(|_| world.subscribe(&endpoint.url)).collect();
    for _ in 0..20 {
        for &subscription in &subscriptions {
            world.publish(&dispatcher, subscription, None);
        }
    }
    world.belt.until("all", |state| state.rows.values().all(|row| succeeded(&row.at))).await;
    assert!(world.belt.state.lock().unwrap().most_leased <= 6);
}

#[tokio::test]
async fn a_restart_resumes_what_was_under_way_and_what_waited() {
    let world = World::default();
    let endpoint = Endpoint::start([Reply::Gated, Reply::Status(200)]).await;
    let one = DeliverySettings { concurrency: 1, lane_places: 3, ..settings() };
    let first = world.start(one.clone(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    for _ in 0..10 {
        world.publish(&first, subscription, None);
    }
    endpoint.until_busy(1).await;
    // The first server is no more: it starts nothing, and says nothing to the store.
    drop(first);
    let second = world.start(one, 2).await;
    world.belt.until("all", |state| state.rows.values().all(|row| succeeded(&row.at))).await;
    second.shutdown().await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_gives_back_the_rest() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Hang]).await);
    let dispatcher = world.start(hasty(), 1).await;
    let subscription = world.subscribe_with(&endpoint.url, |s| s.policy.concurrency = Some(1));
    for _ in 0..5 {
        world.publish(&dispatcher, subscription, None);
    }
    endpoint.until_busy(1).await;
    dispatcher.shutdown().await;
    let state = world.belt.state.lock().unwrap();
    let attempted = state.rows.values().filter(|row| row.attempts() == 1).count();
    let pending = state.rows.values().filter(|row| matches!(row.at, At::Pending(_))).count();
    assert_eq!((attempted, pending), (1, 4));
    drop(state);
    assert!(!dispatcher.reserve(subscription));
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_loses_nothing() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    world.belt.state.lock().unwrap().record_failures = 5;
    for _ in 0..20 {
        world.publish(&dispatcher, subscription, None);
    }
    world.belt.until("all", |state| state.rows.values().all(|row| succeeded(&row.at))).await;
    let state = world.belt.state.lock().unwrap();
    assert!(state.rows.values().all(|row| row.records.len() == 1));
}

#[tokio::test]
async fn a_record_that_the_store_cannot_take_does_not_hold_up_others() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let ill = world.publish(&dispatcher, subscription, None);
    world.belt.state.lock().unwrap().poison = Some(ill);
    let mut well = Vec::new();
    for _ in 0..20 {
        well.push(world.publish(&dispatcher, subscription, None));
    }
    for key in well {
        assert!(succeeded(&world.belt.done(key).await.at));
    }
    assert!(matches!(world.belt.row(ill).at, At::Leased(_)));
}

#[tokio::test]
async fn a_claim_that_fails_is_repeated() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    world.belt.state.lock().unwrap().claim_failures = 1;
    let subscription = world.subscribe(&endpoint.url);
    world.belt.add(&super::event(), subscription, None, None);
    let _dispatcher = world.start(settings(), 1).await;
    world.belt.until("all", super::belt::State::all_final).await;
}

#[tokio::test]
async fn a_schedule_that_begins_with_a_wait_is_waited_for() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let dispatcher = world.start(settings(), 1).await;
    let later = Some(RetryPolicy::Schedule(vec![3600, 0]));
    let subscription = world.subscribe_with(&endpoint.url, |s| s.policy.retry = later);
    let key = world.publish(&dispatcher, subscription, None);
    world.belt.until("the record", |state| state.rows[&key].records.len() == 1).await;
    let row = world.belt.row(key);
    let At::Pending(due) = row.at else { panic!("{row:?}") };
    assert_eq!(due.duration_since(row.event.accepted_at).unsigned_abs(), Duration::from_secs(3600));
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_retry_comes_by_itself_when_it_is_due() {
    let script = [Reply::Status(500), Reply::Status(200)];
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    let dispatcher = world.start(settings(), 1).await;
    let soon = Some(RetryPolicy::Schedule(vec![0, 1]));
    let subscription = world.subscribe_with(&endpoint.url, |s| s.policy.retry = soon);
    let row = world.belt.done(world.publish(&dispatcher, subscription, None)).await;
    let between = row.records[1].at.duration_since(row.records[0].at);
    assert!(between.as_secs_f64() >= 1.0, "{between:?}");
    assert_eq!(world.belt.state.lock().unwrap().claims, 1, "the store was polled");
}

#[tokio::test]
async fn a_panic_costs_only_its_own_delivery_a_delay() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let dispatcher = world.start(DeliverySettings { max_in_flight: 1, ..settings() }, 1).await;
    let subscription = world.subscribe(&endpoint.url);
    // No answer is scripted for its pipeline, so running it panics.
    let ill = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
    let well = world.publish(&dispatcher, subscription, None);
    assert!(succeeded(&world.belt.done(well).await.at));
    // It stays leased, and comes back when the lease ends.
    assert!(matches!(world.belt.row(ill).at, At::Leased(_)));
}
