//! A 2xx survives `kill -9`: shown by killing the real process, again and again, under load.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hookmill_tests::{Receiver, Server, plugin};
use serde_json::{Value, json};
use tokio::time::timeout;

const ROUNDS: u64 = 20;
const PRODUCERS: u64 = 8;

/// A number that looks random but is the same in every run for the same round.
fn scrambled(round: u64) -> u64 {
    (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) % 250
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_delivered_though_the_server_is_killed_20_times() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.upload(plugin("cloudevents")).await.expect(201);
    let pipeline = json!([{"plugin": "cloudevents", "config": {"source": "/crash-test"}}]);
    let (_, secret) = client.subscribe(&receiver.url("/c"), &["tick"], &pipeline).await;

    let acknowledged: Arc<Mutex<HashMap<u64, String>>> = Arc::default();
    let numbers = Arc::new(AtomicU64::new(0));
    for round in 0..ROUNDS {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut producers = tokio::task::JoinSet::new();
        for _ in 0..PRODUCERS {
            let (client, stopping) = (server.client(), stopping.clone());
            let (numbers, acknowledged) = (numbers.clone(), acknowledged.clone());
            producers.spawn(async move {
                let json = [("content-type", "application/json")];
                while !stopping.load(Ordering::Relaxed) {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let body = json!({"type": "tick", "payload": {"n": number}}).to_string();
                    let sent = timeout(
                        Duration::from_secs(5),
                        client.try_send("POST", "/v1/events", &json, body),
                    );
                    let Ok(Ok(answer)) = sent.await else { break };
                    if answer.status == 202 {
                        let id = answer.json()["id"].as_str().unwrap().to_owned();
                        acknowledged.lock().unwrap().insert(number, id);
                    }
                }
            });
        }
        // Kill at a moment of the load, counted in acknowledged events rather than in time.
        let target = acknowledged.lock().unwrap().len() as u64 + 5 + scrambled(round);
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while (acknowledged.lock().unwrap().len() as u64) < target && !producers.is_empty() {
            ticks.tick().await;
        }
        server.kill().await;
        stopping.store(true, Ordering::Relaxed);
        producers.join_all().await;
        server.restart().await;
    }

    let acknowledged = acknowledged.lock().unwrap().clone();
    let numbers_of = |found: &[hookmill_tests::Received]| -> HashSet<u64> {
        found.iter().filter_map(|r| r.json()["data"]["n"].as_u64()).collect()
    };
    let arrived = receiver
        .wait_until("/c", |found| {
            let seen = numbers_of(found);
            acknowledged.keys().all(|number| seen.contains(number))
        })
        .await;
    assert!(acknowledged.len() as u64 > ROUNDS * 5, "there was load");
    let mut ids: HashMap<u64, HashSet<String>> = HashMap::new();
    let mut bodies: HashMap<String, HashSet<Vec<u8>>> = HashMap::new();
    for request in &arrived {
        assert!(request.verifies(&secret));
        let id = request.header("webhook-id").to_owned();
        let number = request.json()["data"]["n"].as_u64().unwrap();
        ids.entry(number).or_default().insert(id.clone());
        bodies.entry(id).or_default().insert(request.body.to_vec());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "duplicates have the same id");
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "and the same bytes");
    println!(
        "{} acknowledged, {} requests arrived ({} duplicates), 0 lost, {ROUNDS} kills",
        acknowledged.len(),
        arrived.len(),
        arrived.len() - ids.len(),
    );
    let client = server.client();
    let pending = client
        .wait_for("/v1/deliveries?state=pending", |list| list["data"] == Value::Array(vec![]))
        .await;
    assert_eq!(pending["next_cursor"], Value::Null);
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_exits_0() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.subscribe(&receiver.url("/g"), &["tick"], &json!([])).await;
    for n in 0..50 {
        client.publish("tick", &json!({"n": n})).await;
    }
    let status = server.stop().await;
    assert_eq!(status.code(), Some(0));
    server.restart().await;
    receiver.wait("/g", 50).await;
    let ids: HashSet<_> =
        receiver.at("/g").iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 50);
    assert_eq!(receiver.at("/g").len(), 50, "a graceful stop makes no duplicates");
}
