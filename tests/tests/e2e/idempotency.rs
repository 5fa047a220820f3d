//! A repeated request answers as the first time and delivers once; another one with the same
//! key is told so.

use hookmill_tests::{Receiver, Server};
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_repeated_id_or_key_answers_as_the_first_time_also_after_a_crash() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.subscribe(&receiver.url("/i"), &["tick"], &json!([])).await;
    let by_id = json!({"type": "tick", "payload": {"n": 1}, "id": "order-7"});
    let by_key = json!({"type": "tick", "payload": {"n": 2}}).to_string();
    let key = [JSON, ("idempotency-key", "abc")];
    let first = client.post("/v1/events", &by_id).await.expect(202);
    let second = client.send("POST", "/v1/events", &key, by_key.clone()).await.expect(202);
    assert_ne!(first["id"], second["id"]);

    server.kill().await;
    server.restart().await;
    let client = server.client();
    let again = client.post("/v1/events", &by_id).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(202), first);
    let again = client.send("POST", "/v1/events", &key, by_key).await;
    assert_eq!(again.expect(202), second);

    let other = json!({"type": "tick", "payload": {"n": 3}, "id": "order-7"});
    let refused = client.post("/v1/events", &other).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "idempotency-conflict"));
    let refused = client.send("POST", "/v1/events", &key, other.to_string()).await;
    assert_eq!(refused.status, 409);

    let arrived = receiver.wait_until("/i", |found| {
        let ids: std::collections::HashSet<_> =
            found.iter().map(|r| r.header("webhook-id").to_owned()).collect();
        ids.len() == 2
    });
    arrived.await;
    let list = client.get("/v1/deliveries").await.expect(200);
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "each event has one delivery");
}

#[tokio::test]
async fn many_at_once_with_one_key_are_one_event() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let body = json!({"type": "tick", "payload": {}, "id": "same"});
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, body) = (client.clone(), body.clone());
        tasks
            .spawn(async move { client.post("/v1/events", &body).await.expect(202)["id"].clone() });
    }
    let mut ids: Vec<_> = tasks.join_all().await.iter().map(ToString::to_string).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        client.get("/v1/events").await.expect(200)["data"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_repetition_is_recognised_though_a_stricter_schema_would_refuse_it() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let body = json!({"type": "tick", "payload": {"n": 1}, "id": "early"});
    let first = client.post("/v1/events", &body).await.expect(202);
    let stricter = json!({"schema": {"required": ["vat"]}});
    client.post("/v1/event-types/tick/versions", &stricter).await.expect(201);
    let again = client.post("/v1/events", &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(202), first);
    let other = json!({"type": "tick", "payload": {"n": 2}, "id": "early"});
    assert_eq!(client.post("/v1/events", &other).await.status, 409);
    let new = json!({"type": "tick", "payload": {"n": 1}, "id": "late"});
    assert_eq!(client.post("/v1/events", &new).await.status, 422);
}

#[tokio::test]
async fn the_database_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let server = Server::start().await;
    server.client().event_type("tick").await;
    for name in ["hookmill.db", "hookmill.db-wal"] {
        let mode = std::fs::metadata(server.folder().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is {mode:o}");
    }
}
