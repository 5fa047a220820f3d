//! Deliveries that wait for older ones with the same key, on a real file.

use super::tests::{Bench, OWNER, at, lease};
use crate::{
    model::{DeliveryId, DeliveryState, FailingSince, OrderKey},
    store::{Belt, Claimed, Health, History, Lease, NewDelivery, Next, Resources},
};

const A: Option<OrderKey> = Some(OrderKey(1));
const B: Option<OrderKey> = Some(OrderKey(-2));

impl Bench {
    /// Accepts events at these seconds with these keys, in one batch.
    async fn accept(&self, all: &[(i64, Option<OrderKey>)]) -> Vec<DeliveryId> {
        let event = |&(second, order)| {
            let mut new = self.event(second);
            new.deliveries = vec![NewDelivery { order, ..self.delivery(second) }];
            new
        };
        let batch: Vec<_> = all.iter().map(event).collect();
        self.store.append(&batch, lease(60)).await.unwrap();
        batch.iter().map(|new| new.deliveries[0].id).collect()
    }

    /// Claims under a lease that outlasts the test.
    async fn lease_some(&self, owner: i64, second: i64) -> Vec<Claimed> {
        let lease = Lease { owner, until: at(100_000) };
        self.store.claim(&[(self.subscription, 10)], lease, at(second)).await.unwrap().claimed
    }

    async fn ids(&self, second: i64) -> Vec<DeliveryId> {
        self.lease_some(OWNER, second).await.into_iter().map(|claimed| claimed.id).collect()
    }
}

fn the(claimed: &[Claimed], id: DeliveryId) -> &Claimed {
    claimed.iter().find(|claimed| claimed.id == id).unwrap()
}

#[tokio::test]
async fn a_key_has_one_delivery_at_a_time_and_holds_up_no_other() {
    let bench = Bench::new().await;
    let ids = bench.accept(&[(1, A), (1, A), (1, B), (1, None), (1, None)]).await;
    let later = bench.accept(&[(2, A), (2, B)]).await;
    let claimed = bench.lease_some(OWNER, 5).await;
    let got: Vec<_> = claimed.iter().map(|claimed| claimed.id).collect();
    assert_eq!(got, [ids[0], ids[2], ids[3], ids[4]]);
    assert_eq!(bench.ids(6).await, []);
    // A failure holds back its own key, for as long as its retry waits.
    bench.record(the(&claimed, ids[0]), Next::Retry(at(200))).await;
    bench.record(the(&claimed, ids[2]), Next::Succeeded).await;
    assert_eq!(bench.ids(150).await, [later[1]]);
    let again = bench.lease_some(OWNER, 200).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].id, again[0].order), (ids[0], A));
    assert!(again[0].first_attempt_at.is_some());
    // Giving it up lets the next go, and that one the one after it.
    bench.record(&again[0], Next::Dead("no".into())).await;
    let next = bench.lease_some(OWNER, 201).await;
    assert_eq!(next[0].id, ids[1]);
    bench.record(&next[0], Next::Filtered("no".into())).await;
    assert_eq!(bench.ids(202).await, [later[0]]);
}

#[tokio::test]
async fn the_order_outlives_a_restart_and_who_waits_says_so() {
    let bench = Bench::new().await;
    let ids = bench.accept(&[(1, A), (2, A), (3, A)]).await;
    assert_eq!(bench.ids(5).await, [ids[0]]);
    let waiting = bench.store.delivery(bench.application.id, ids[1]).await.unwrap();
    assert_eq!((waiting.state, waiting.next_attempt_at), (DeliveryState::Pending, None));
    assert!(waiting.reason.unwrap().contains("older event"));
    let bench = bench.reopened().await;
    let due = bench.store.due(OWNER + 1).await.unwrap();
    assert_eq!(due, [(bench.subscription, at(1))]);
    let claimed = bench.lease_some(OWNER + 1, 6).await;
    assert_eq!(claimed.len(), 1);
    bench.record(&claimed[0], Next::Succeeded).await;
    assert_eq!(bench.lease_some(OWNER + 1, 101).await[0].id, ids[1]);
}

#[tokio::test]
async fn pausing_and_resuming_keep_the_order() {
    let bench = Bench::new().await;
    let ids = bench.accept(&[(1, A), (2, A), (2, B)]).await;
    bench.store.hold_pending(bench.subscription, "paused").await.unwrap();
    assert_eq!(bench.ids(5).await, []);
    // What comes meanwhile lines up behind what is held.
    let new = bench.accept(&[(6, A)]).await;
    assert_eq!(bench.ids(7).await, []);
    bench.store.resume_held(bench.subscription, at(8)).await.unwrap();
    let claimed = bench.lease_some(OWNER, 9).await;
    let got: Vec<_> = claimed.iter().map(|claimed| claimed.id).collect();
    assert_eq!(got, [ids[0], ids[2]]);
    bench.record(the(&claimed, ids[0]), Next::Succeeded).await;
    let claimed = bench.lease_some(OWNER, 101).await;
    assert_eq!(claimed[0].id, ids[1]);
    bench.record(&claimed[0], Next::Succeeded).await;
    assert_eq!(bench.ids(102).await, new);
}

#[tokio::test]
async fn what_is_retried_by_hand_goes_past_the_order_and_stops_nobody() {
    let bench = Bench::new().await;
    let ids = bench.accept(&[(1, A), (2, A), (3, A)]).await;
    let first = bench.lease_some(OWNER, 5).await;
    bench.record(&first[0], Next::Dead("no".into())).await;
    bench.store.retry(bench.application.id, ids[0], at(101)).await.unwrap();
    let both = bench.lease_some(OWNER, 102).await;
    assert_eq!(both.len(), 2);
    bench.record(the(&both, ids[1]), Next::Succeeded).await;
    assert_eq!(bench.ids(103).await, []);
    bench.record(the(&both, ids[0]), Next::Succeeded).await;
    assert_eq!(bench.ids(104).await, [ids[2]]);
}

#[tokio::test]
async fn since_when_an_endpoint_fails_is_remembered() {
    let bench = Bench::new().await;
    let failing = FailingSince { since: at(3), attempts: 12 };
    bench.store.put_failing(bench.subscription, Some(failing)).await.unwrap();
    let bench = bench.reopened().await;
    assert_eq!(bench.store.failing().await.unwrap(), [(bench.subscription, failing)]);
    bench.store.put_failing(bench.subscription, None).await.unwrap();
    assert_eq!(bench.store.failing().await.unwrap(), []);
    bench.accept(&[(1, None), (1, A), (1, A)]).await;
    assert_eq!(bench.store.waiting(bench.subscription).await.unwrap(), 3);
    bench.store.put_failing(bench.subscription, Some(failing)).await.unwrap();
    bench.store.delete_subscription(bench.subscription, at(9)).await.unwrap();
    assert_eq!(bench.store.failing().await.unwrap(), []);
    // Deleted meanwhile.
    bench.store.put_failing(bench.subscription, Some(failing)).await.unwrap();
    assert_eq!(bench.store.failing().await.unwrap(), []);
}

#[tokio::test]
async fn deleting_a_subscription_cancels_a_long_backlog_in_steps() {
    let bench = Bench::new().await;
    let all: Vec<_> = (0..2_300).map(|n| (1, if n % 3 == 0 { A } else { None })).collect();
    let ids = bench.accept(&all).await;
    let leased = bench.lease_some(OWNER, 5).await;
    bench.store.delete_subscription(bench.subscription, at(9)).await.unwrap();
    assert_eq!(bench.store.waiting(bench.subscription).await.unwrap(), 0);
    for id in [ids[0], ids[1], ids[2_299], leased[3].id] {
        assert_eq!(bench.state(id).await, DeliveryState::Cancelled);
    }
}

/// An event may be matched before a subscription is deleted and stored after that.
#[tokio::test]
async fn what_was_stored_for_a_deleted_subscription_is_cancelled() {
    let bench = Bench::new().await;
    bench.store.delete_subscription(bench.subscription, at(1)).await.unwrap();
    let ids = bench.accept(&[(2, None), (2, A), (2, A)]).await;
    let mut held = bench.event(3);
    held.deliveries[0].held = true;
    bench.store.append(std::slice::from_ref(&held), lease(60)).await.unwrap();
    let bench = bench.reopened().await;
    for id in [ids[0], ids[1], ids[2], held.deliveries[0].id] {
        assert_eq!(bench.state(id).await, DeliveryState::Cancelled);
    }
}
