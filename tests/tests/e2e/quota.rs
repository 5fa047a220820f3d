//! The quota of stored bytes: kept to the byte, freed by retention, right after any crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hookmill_tests::{
    Answer, Client, Server,
    hardship::{beside, hookmill, said},
};
use serde_json::{Value, json};
use tokio::time::timeout;

const USAGE: &str = "/v1/applications/default/usage";

/// An event whose payload has so many bytes.
fn event(bytes: usize) -> Value {
    json!({"type": "tick", "payload": "x".repeat(bytes - 2)})
}

fn refused(answer: &Answer) -> Value {
    let problem = answer.expect(403);
    assert_eq!(answer.problem(), "quota-exceeded");
    assert_eq!(problem["quota"], "stored_bytes");
    problem
}

async fn used(client: &Client) -> (u64, u64) {
    let usage = client.get(USAGE).await.expect(200);
    (usage["events"].as_u64().expect("a number"), usage["stored_bytes"].as_u64().expect("a number"))
}

#[tokio::test]
async fn what_an_application_stores_is_bounded_to_the_byte() {
    let mut server = Server::start_with(&[("APPLICATION_STORED_BYTES", "1000")]).await;
    let client = server.client();
    client.event_type("tick").await;
    let first = json!({"type": "tick", "payload": "x".repeat(598), "id": "first"});
    let accepted = client.post("/v1/events", &first).await.expect(202);
    let problem = refused(&client.post("/v1/events", &event(401)).await);
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(1000), &json!(600)));
    // Each event of a batch by itself, in their order.
    let batch = json!([event(300), event(101), event(100), event(3)]);
    let answer = client.post("/v1/events/batch", &batch).await.expect(200);
    let statuses: Vec<_> =
        answer["data"].as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(json!(statuses), json!([202, 403, 202, 403]));
    assert_eq!(answer["data"][1]["problem"]["quota"], "stored_bytes");
    assert_eq!(used(&client).await, (3, 1000));
    // What was accepted once is answered as then, and what the server has to say goes on.
    let again = client.post("/v1/events", &first).await;
    assert_eq!(again.expect(202)["id"], accepted["id"]);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let body = json!({"endpoint": "http://127.0.0.1:9/hook", "event_types": ["tick"]});
    let id = client.post("/v1/subscriptions", &body).await.expect(201)["id"].clone();
    let test = format!("/v1/subscriptions/{}/test", id.as_str().unwrap());
    client.send("POST", &test, &[], "").await.expect(202);
    // Another application has its own, and the operator may allow more.
    client.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let headers = [("content-type", "application/json"), ("hookmill-application", "shop")];
    client.send("POST", "/v1/events", &headers, event(900).to_string()).await.expect(202);
    server.kill().await;
    server.restart().await;
    let client = server.client();
    let (events, bytes) = used(&client).await;
    assert_eq!(events, 4);
    refused(&client.post("/v1/events", &event(3)).await);
    let limits = json!({"stored_bytes": bytes + 3});
    client.put("/v1/applications/default/limits", &limits).await.expect(200);
    client.post("/v1/events", &event(3)).await.expect(202);
    refused(&client.post("/v1/events", &event(3)).await);
}

#[tokio::test]
async fn requests_at_the_same_moment_do_not_overstep_it() {
    let server = Server::start_with(&[("APPLICATION_STORED_BYTES", "5000")]).await;
    let client = server.client();
    client.event_type("tick").await;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        senders.spawn(async move { client.post("/v1/events", &event(100)).await.status });
    }
    let statuses = senders.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 50);
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 50);
    assert_eq!(used(&client).await, (50, 5000));
}

#[tokio::test]
async fn what_retention_empties_and_deletes_counts_no_more() {
    // A little less than a second.
    let server = Server::start_with(&[("RETAIN_PAYLOAD_DAYS", "0.00001")]).await;
    let client = server.client();
    client.event_type("tick").await;
    client.put("/v1/applications/default/limits", &json!({"stored_bytes": 100})).await.expect(200);
    client.post("/v1/events", &event(100)).await.expect(202);
    let usage = client.wait_for(USAGE, |usage| usage["stored_bytes"] == 0).await;
    assert_eq!(usage["events"], 1, "the event is still there: {usage}");
    client.post("/v1/events", &event(100)).await.expect(202);
}

#[tokio::test]
async fn a_source_is_refused_like_a_producer_and_its_owner_reads_why() {
    let server = Server::start_with(&[("APPLICATION_STORED_BYTES", "10")]).await;
    let client = server.client();
    client.event_type("tick").await;
    let source = json!({"name": "old", "kind": "basic", "username": "acme", "secret": "pass word",
        "event_type": {"fixed": "tick"}});
    let source = client.post("/v1/sources", &source).await.expect(201);
    let basic = format!("Basic {}", STANDARD.encode("acme:pass word"));
    let headers = [("content-type", "application/json"), ("authorization", &basic)];
    let path = source["path"].as_str().unwrap();
    client.with_key(None).send("POST", path, &headers, "12345678").await.expect(200);
    let answer = client.with_key(None).send("POST", path, &headers, "123").await;
    assert_eq!(refused(&answer)["used"], 8);
    let list = format!("/v1/sources/{}/refusals", source["id"].as_str().unwrap());
    assert_eq!(client.get(&list).await.expect(200)["data"][0]["reason"], "quota_exceeded");
}

const BYTES: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_under_load_the_count_is_what_is_in_the_database() {
    let mut server = Server::start_with(&[("RETAIN_EVENTS_DAYS", "0.00001")]).await;
    server.client().event_type("tick").await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    for round in 1..=6 {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut producers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (client, stopping) = (server.client(), Arc::clone(&stopping));
            let acknowledged = Arc::clone(&acknowledged);
            producers.spawn(async move {
                let json = [("content-type", "application/json")];
                let body = event(BYTES).to_string();
                while !stopping.load(Ordering::Relaxed) {
                    let sent = client.try_send("POST", "/v1/events", &json, body.clone());
                    let Ok(Ok(answer)) = timeout(Duration::from_secs(5), sent).await else { break };
                    acknowledged.fetch_add(u64::from(answer.status == 202), Ordering::Relaxed);
                }
            });
        }
        // At a moment of the load, counted in events rather than in time.
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while acknowledged.load(Ordering::Relaxed) < round * 150 && !producers.is_empty() {
            ticks.tick().await;
        }
        server.kill().await;
        stopping.store(true, Ordering::Relaxed);
        producers.join_all().await;
        let database = beside(server.folder(), "");
        let check = ["check", "--json", "--database", database.to_str().unwrap()];
        let checked = hookmill(&check).await;
        assert!(checked.status.success(), "round {round}: {}", said(&checked));
        let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(checked["ok"], true);
        server.restart().await;
        let (events, bytes) = used(&server.client()).await;
        assert_eq!(bytes, events * BYTES as u64, "round {round}");
        assert!(events <= checked["events"].as_u64().unwrap(), "round {round}");
    }
    assert!(acknowledged.load(Ordering::Relaxed) >= 900, "there was load");
    // Without load all of it goes, and nothing is left of the count.
    server.client().wait_for(USAGE, |usage| usage["events"] == 0).await;
    assert_eq!(used(&server.client()).await, (0, 0));
}
