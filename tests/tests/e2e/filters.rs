//! Subscriptions that take some events of a type only: by channel, and by what they say.

use hookmill_tests::{Answer, Client, Receiver, Server};
use serde_json::{Value, json};

/// The body of a problem that must be this one.
#[track_caller]
fn refused(answer: &Answer, status: u16, problem: &str) -> Value {
    let body = answer.expect(status);
    assert_eq!(answer.problem(), problem, "{body}");
    body
}

async fn scene() -> (Server, Receiver, Client) {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    for name in ["order.created", "order.paid"] {
        client.event_type(name).await;
    }
    (server, receiver, client)
}

async fn subscribe(client: &Client, endpoint: String, more: Value) -> String {
    let mut body = json!({"endpoint": endpoint, "event_types": ["order.*"]});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    made["id"].as_str().expect("an id").to_owned()
}

async fn publish(client: &Client, body: &Value) -> u64 {
    let answer = client.post("/v1/events", body).await.expect(202);
    answer["deliveries"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_to_those_whose_filter_and_channels_it_passes() {
    let (_server, receiver, client) = scene().await;
    let large =
        json!({"filter": {"all": [{"exact": {"/currency": "EUR"}}, {"gt": {"/total": 100}}]}});
    subscribe(&client, receiver.url("/large"), large).await;
    subscribe(&client, receiver.url("/eu"), json!({"channels": ["eu"]})).await;
    subscribe(&client, receiver.url("/all"), json!({})).await;
    let event = |total: u32, channels: Value| {
        json!({"type": "order.created", "channels": channels,
            "payload": {"currency": "EUR", "total": total}})
    };
    assert_eq!(publish(&client, &event(50, json!([]))).await, 1);
    assert_eq!(publish(&client, &event(150, json!([]))).await, 2);
    assert_eq!(publish(&client, &event(150, json!(["eu", "vip"]))).await, 3);
    receiver.wait("/all", 3).await;
    receiver.wait("/large", 2).await;
    receiver.wait("/eu", 1).await;
    let listed = client.get("/v1/events").await.expect(200);
    assert_eq!(listed["data"][0]["channels"], json!(["eu", "vip"]));
    assert!(listed["data"][1].get("channels").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_changed_removed_and_refused_with_its_place() {
    let (_server, receiver, client) = scene().await;
    let id = subscribe(&client, receiver.url("/"), json!({})).await;
    let path = format!("/v1/subscriptions/{id}");
    let big = "12345678901234567890123";
    let filter: Value = serde_json::from_str(&format!(r#"{{"gte":{{"/n":"{big}"}}}}"#)).unwrap();
    let saved = client.patch(&path, &json!({"filter": filter})).await.expect(200);
    assert_eq!(saved["filter"], filter);
    assert_eq!(publish(&client, &json!({"type": "order.paid", "payload": {"n": 1}})).await, 0);
    client.patch(&path, &json!({"filter": null})).await.expect(200);
    assert_eq!(publish(&client, &json!({"type": "order.paid", "payload": {"n": 1}})).await, 1);
    let wrong = json!({"filter": {"all": [{"exakt": {"/a": 1}}]}, "channels": ["a b"]});
    let problem = refused(&client.patch(&path, &wrong).await, 422, "invalid-subscription");
    assert_eq!(problem["errors"][0]["at"], "/channels/0");
    assert_eq!(problem["errors"][1]["at"], "/filter/all/0/exakt");
    assert!(problem["errors"][1]["message"].as_str().unwrap().contains("did you mean `exact`"));
    let many: Vec<String> = (0..11).map(|n| format!("c{n}")).collect();
    let event = json!({"type": "order.paid", "payload": 1, "channels": many});
    refused(&client.post("/v1/events", &event).await, 400, "invalid-field");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_is_explained_for_stored_and_for_imagined_events() {
    let (_server, receiver, client) = scene().await;
    let more = json!({"channels": ["eu"], "filter": {"gt": {"/total": 100}}});
    let id = subscribe(&client, receiver.url("/"), more).await;
    let path = format!("/v1/subscriptions/{id}/match");
    let event = json!({"type": "order.paid", "payload": {"total": 50}, "channels": ["eu"]});
    let told = client.post(&path, &json!({"event": event})).await.expect(200);
    assert_eq!((&told["matches"], &told["channels"]["matches"]), (&json!(false), &json!(true)));
    assert_eq!(told["filter"]["at"], "/gt/~1total");
    assert_eq!(told["filter"]["why"], "/total is 50, which is not above 100");
    let stored = client.post("/v1/events", &event).await.expect(202);
    let told = client.post(&path, &json!({"event_id": stored["id"]})).await.expect(200);
    assert_eq!(told["matches"], false);
    let other = json!({"event": {"type": "user.created", "payload": {"total": 500}}});
    let told = client.post(&path, &other).await.expect(200);
    assert_eq!(
        (&told["event_type"]["matches"], &told["filter"]["matches"]),
        (&json!(false), &json!(true))
    );
    refused(&client.post(&path, &json!({})).await, 400, "invalid-field");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_replayed_by_the_filter() {
    let (_server, receiver, client) = scene().await;
    for total in 0..20 {
        publish(&client, &json!({"type": "order.paid", "payload": {"total": total}})).await;
    }
    let more = json!({"filter": {"gte": {"/total": 15}}});
    let id = subscribe(&client, receiver.url("/late"), more).await;
    let request =
        json!({"mode": "missing", "subscription_ids": [id], "since": "2026-01-01T00:00:00Z"});
    let made = client.post("/v1/replays", &request).await.expect(202);
    let path = format!("/v1/replays/{}", made["id"].as_str().unwrap());
    let done = client
        .wait_for(&path, |replay| replay["state"] == "done" && replay["progress"]["waiting"] == 0)
        .await;
    assert_eq!((&done["progress"]["taken"], &done["progress"]["total"]), (&json!(5), &json!(5)));
    receiver.wait("/late", 5).await;
}
