//! Requests with an id and a key: each of the two is looked at, and each is remembered.

use hookmill_tests::Server;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn publish(
    client: &hookmill_tests::Client,
    body: &Value,
    key: &str,
) -> hookmill_tests::Answer {
    client.send("POST", "/v1/events", &[JSON, ("idempotency-key", key)], body.to_string()).await
}

#[tokio::test]
async fn a_key_that_came_with_a_repetition_is_remembered_also_under_a_stricter_schema() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let event = json!({"type": "tick", "payload": {"n": 1}, "id": "a"});
    let first = client.post("/v1/events", &event).await.expect(202);
    assert_eq!(publish(&client, &event, "k1").await.expect(202), first);
    let other = json!({"type": "tick", "payload": {"n": 2}});
    let refused = publish(&client, &other, "k1").await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "idempotency-conflict"));

    let stricter = json!({"schema": {"required": ["vat"]}});
    client.post("/v1/event-types/tick/versions", &stricter).await.expect(201);
    assert_eq!(publish(&client, &event, "k2").await.expect(202), first);
    let other = json!({"type": "tick", "payload": {"vat": 1}});
    assert_eq!(publish(&client, &other, "k2").await.status, 409);
    publish(&client, &other, "k3").await.expect(202);
    assert_eq!(publish(&client, &event, "k3").await.status, 409);
}

#[tokio::test]
async fn the_key_of_another_event_is_refused_by_its_name() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let a = json!({"type": "tick", "payload": 1, "id": "a"});
    client.post("/v1/events", &a).await.expect(202);
    let b = json!({"type": "tick", "payload": 2, "id": "b"});
    publish(&client, &b, "kb").await.expect(202);
    let fresh = json!({"type": "tick", "payload": 2, "id": "fresh"});
    for (event, what) in [(&a, "an event that is known by its id"), (&fresh, "one that is new")] {
        let refused = publish(&client, event, "kb").await;
        assert_eq!(refused.status, 409, "{what}");
        assert_eq!(refused.json()["title"], "The key kb was used for another event", "{what}");
    }
}

#[tokio::test]
async fn a_batchs_keys_are_its_own() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let plain = json!({"type": "tick", "payload": 1});
    let named = |id: &str| json!({"type": "tick", "payload": 1, "id": id});
    let batch = async |events: Value| {
        let headers = [JSON, ("idempotency-key", "k")];
        client.send("POST", "/v1/events/batch", &headers, events.to_string()).await.expect(200)
    };
    let first = batch(json!([plain, plain, named("a"), named("b")])).await;
    assert_eq!(first["accepted"], 4);
    let single = publish(&client, &plain, "k#1").await;
    assert!(single.headers.get("idempotency-replayed").is_none());
    single.expect(202);
    // What has an id may move, what has none may not.
    let again = batch(json!([plain, plain, named("b"), named("a")])).await;
    let ids = |answer: &Value, order: [usize; 4]| order.map(|i| answer["data"][i]["id"].clone());
    assert_eq!(ids(&again, [0, 1, 2, 3]), ids(&first, [0, 1, 3, 2]));
    let moved = batch(json!([named("c"), {"type": "tick", "payload": 2}])).await;
    assert_eq!(
        (&moved["data"][0]["status"], &moved["data"][1]["status"]),
        (&json!(202), &json!(409))
    );
    let title = &moved["data"][1]["problem"]["title"];
    assert_eq!(title, "The key k#1 was used for another event");
}

#[tokio::test]
async fn a_cloudevent_sent_again_in_another_trace_or_mode_is_the_same() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let structured = [("content-type", "application/cloudevents+json")];
    let body = |trace: &str| {
        json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "tick", "data": 1, "n": 5,
            "datacontenttype": "application/json", "traceparent": trace})
        .to_string()
    };
    let trace = |last: u8| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{last}-01");
    let first = client.send("POST", "/v1/events", &structured, body(&trace(1))).await.expect(202);
    let again = client.send("POST", "/v1/events", &structured, body(&trace(2))).await;
    assert_eq!(again.expect(202), first);
    let headers = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "tick"),
        ("ce-n", "5"),
    ];
    let binary = client.send("POST", "/v1/events", &headers, "1").await;
    assert_eq!(binary.expect(202), first);
    let other = body(&trace(1)).replace("\"n\":5", "\"n\":6");
    assert_eq!(client.send("POST", "/v1/events", &structured, other).await.status, 409);
}
