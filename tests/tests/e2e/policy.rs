//! When attempts are made: rates, order, breakers, age, endpoints that keep failing.

use std::collections::BTreeMap;

use hookmill_tests::{ADMIN_KEY, Client, Received, Receiver, Reply, Server, binary};
use serde_json::{Value, json};

/// A server, a receiver and an event type `tick`.
async fn scene(settings: &[(&str, &str)]) -> (Server, Receiver) {
    let server = Server::start_with(settings).await;
    server.client().event_type("tick").await;
    (server, Receiver::start().await)
}

async fn subscribe(client: &Client, endpoint: &str, policy: &Value) -> String {
    let body = json!({"endpoint": endpoint, "event_types": ["tick"], "policy": policy});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    made["id"].as_str().expect("a text").to_owned()
}

/// Publishes `{"n": n}` about a subject; answers the event's id.
async fn publish(client: &Client, subject: Option<&str>, n: usize) -> String {
    let body = json!({"type": "tick", "subject": subject, "payload": {"of": subject, "n": n}});
    let receipt = client.post("/v1/events", &body).await.expect(202);
    receipt["id"].as_str().expect("an id").to_owned()
}

/// What `hookmill` prints, of a command that must succeed.
fn hookmill(server: &Server, arguments: &[&str]) -> String {
    let output = std::process::Command::new(binary())
        .args(arguments)
        .env("HOOKMILL_URL", server.url())
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .env("NO_COLOR", "1")
        .output()
        .expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The numbers of each subject, in the order of their first arrival.
fn orders(arrived: &[Received]) -> BTreeMap<String, Vec<u64>> {
    let mut orders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in arrived {
        let (of, n) =
            (request.json()["of"].clone(), request.json()["n"].as_u64().expect("a number"));
        let order = orders.entry(of.as_str().unwrap_or_default().to_owned()).or_default();
        if !order.contains(&n) {
            order.push(n);
        }
    }
    orders
}

#[tokio::test]
async fn a_rate_limit_is_never_exceeded_at_the_receiver() {
    let (server, receiver) = scene(&[]).await;
    let client = server.client();
    let policy = json!({"rate_limit": {"per_second": 4, "burst": 2}});
    subscribe(&client, &receiver.url("/rate"), &policy).await;
    for n in 0..14 {
        publish(&client, None, n).await;
    }
    let arrived = receiver.wait("/rate", 14).await;
    let second =
        |request: &Received| -> i64 { request.header("webhook-timestamp").parse().unwrap() };
    for (i, first) in arrived.iter().enumerate() {
        for (n, last) in arrived[i..].iter().enumerate() {
            // Whole seconds: the stretch is up to one longer than their difference.
            let most = 2 + 4 * (second(last) - second(first) + 1);
            assert!((n as i64) < most, "{} within {most}", n + 1);
        }
    }
    assert!(second(&arrived[13]) - second(&arrived[0]) >= 2);
}

#[tokio::test]
async fn order_by_subject_holds_back_only_a_failing_subject_and_survives_a_kill() {
    let (mut server, receiver) = scene(&[]).await;
    let client = server.client();
    // The very first request fails: that of the first event about `a`.
    receiver.reply("/o", [Reply::status(500), Reply::status(200)]);
    let policy = json!({"ordering": "by_subject", "retry": {"schedule": [0, 3, 3]}});
    subscribe(&client, &receiver.url("/o"), &policy).await;
    let first = publish(&client, Some("a"), 0).await;
    receiver.wait("/o", 1).await;
    for n in 1..4 {
        publish(&client, Some("a"), n).await;
        publish(&client, Some("b"), n).await;
        publish(&client, None, n).await;
    }
    let flowing = |found: &[Received]| found.iter().filter(|r| r.json()["of"] != "a").count() >= 6;
    let arrived = receiver.wait_until("/o", flowing).await;
    assert_eq!(orders(&arrived)["a"], [0], "younger ones wait for it");
    assert_eq!(orders(&arrived)["b"], [1, 2, 3]);
    server.kill().await;
    server.restart().await;
    let all = |found: &[Received]| orders(found)["a"].len() == 4;
    let arrived = receiver.wait_until("/o", all).await;
    assert_eq!(orders(&arrived)["a"], [0, 1, 2, 3]);
    let delivery = server.client().delivery_in(&first, &["succeeded"]).await;
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn strict_order_goes_on_when_an_event_is_given_up() {
    let (server, receiver) = scene(&[]).await;
    let client = server.client();
    receiver.reply("/s", [Reply::status(422), Reply::status(422), Reply::status(200)]);
    let policy = json!({"ordering": "strict", "ordering_patience_seconds": 60,
        "retry": {"schedule": [0, 0, 3600]}});
    subscribe(&client, &receiver.url("/s"), &policy).await;
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(publish(&client, None, n).await);
    }
    let dead = client.delivery_in(&events[0], &["dead"]).await;
    let reason = dead["reason"].as_str().unwrap();
    assert!(reason.contains("others must not wait for it longer than 60 s"), "{reason}");
    receiver.wait("/s", 6).await;
    assert_eq!(orders(&receiver.at("/s"))[""], [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn an_open_breaker_waits_without_burning_attempts_and_closes() {
    let settings = [("BREAKER_MINIMUM", "5"), ("BREAKER_OPEN_SECONDS", "2")];
    let (server, receiver) = scene(&settings).await;
    let client = server.client();
    receiver.reply("/b", [Reply::status(503)]);
    let policy = json!({"concurrency": 1, "retry": {"schedule": vec![0; 50]}});
    let id = subscribe(&client, &receiver.url("/b"), &policy).await;
    let mut events = Vec::new();
    for n in 0..12 {
        events.push(publish(&client, None, n).await);
    }
    let health = format!("/v1/subscriptions/{id}/health");
    let open = client.wait_for(&health, |health| health["breaker"] == "open").await;
    assert_eq!((&open["last_status"], &open["waiting"]), (&json!(503), &json!(12)));
    let list = client.get("/v1/subscriptions?failing=true").await.expect(200);
    assert_eq!(list["data"][0]["health"]["breaker"], "open");
    let shown = hookmill(&server, &["subscriptions", "--failing"]);
    assert!(shown.contains("503 ×") && shown.contains("12 waiting"), "{shown}");
    let metrics = client.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("hookmill_breakers{state=\"open\"}"), "{metrics}");
    let while_open = receiver.at("/b").len();
    assert!(while_open <= 7, "{while_open} attempts");

    receiver.reply("/b", [Reply::status(200)]);
    let closed = |health: &Value| health["breaker"] == "closed" && health["waiting"] == 0;
    let health = client.wait_for(&health, closed).await;
    assert_eq!(health["failing_since"], Value::Null);
    let mut attempts = 0;
    for event in &events {
        let delivery = client.delivery_in(event, &["succeeded"]).await;
        attempts += delivery["attempts"].as_array().map_or(0, Vec::len);
    }
    assert!(attempts <= 12 + 9, "{attempts} attempts for 12 deliveries");
    let list = client.get("/v1/subscriptions?failing=true").await.expect(200);
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn nothing_is_attempted_beyond_its_age() {
    let (server, receiver) = scene(&[]).await;
    let client = server.client();
    receiver.reply("/age", [Reply::status(500)]);
    let policy = json!({"max_age_seconds": 60, "retry": {"schedule": [0, 0, 120]}});
    subscribe(&client, &receiver.url("/age"), &policy).await;
    let event = publish(&client, None, 1).await;
    let dead = client.delivery_in(&event, &["dead"]).await;
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(2));
    assert!(dead["reason"].as_str().unwrap().contains("limit of age"), "{dead}");
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_disabled_and_can_be_enabled() {
    let (server, receiver) = scene(&[("DISABLE_AFTER_SECONDS", "1")]).await;
    let client = server.client();
    receiver.reply("/f", [Reply::status(400)]);
    let policy = json!({"concurrency": 1, "retry": {"exponential":
        {"attempts": 50, "first": 1, "factor": 1.0, "cap": 1}}});
    let id = subscribe(&client, &receiver.url("/f"), &policy).await;
    let never = json!({"disable_after_seconds": 0, "retry": {"schedule": vec![0; 20]}});
    let other = subscribe(&client, &receiver.url("/f"), &never).await;
    for n in 0..8 {
        publish(&client, None, n).await;
    }
    let path = format!("/v1/subscriptions/{id}");
    client.wait_for(&path, |subscription| subscription["state"] == "disabled").await;
    let other = client.get(&format!("/v1/subscriptions/{other}")).await.expect(200);
    assert_eq!(other["state"], "active");
    receiver.reply("/f", [Reply::status(200)]);
    client.post(&format!("{path}/enable"), &json!({})).await.expect(200);
    let health = format!("{path}/health");
    client.wait_for(&health, |health| health["waiting"] == 0).await;
    assert_eq!(client.get(&path).await.expect(200)["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_changed_part_by_part() {
    let (server, receiver) = scene(&[]).await;
    let id = subscribe(&server.client(), &receiver.url("/p"), &json!({"concurrency": 3})).await;
    let flags = ["--rate-limit", "600/m", "--max-age", "6h", "--ordering", "by-subject"];
    let change = |more: &[&str]| {
        let arguments = [&["subscription", "policy", &*id, "--json"], more].concat();
        serde_json::from_str::<Value>(&hookmill(&server, &arguments)).unwrap()
    };
    let expected = json!({"concurrency": 3, "rate_limit": {"per_second": 10.0},
        "max_age_seconds": 21600, "ordering": "by_subject"});
    assert_eq!(change(&flags), expected);
    let fewer = change(&["--default", "max-age", "--default", "rate-limit"]);
    assert_eq!(fewer, json!({"concurrency": 3, "ordering": "by_subject"}));
    assert_eq!(change(&[]), fewer);
    let refused = server
        .client()
        .patch(
            &format!("/v1/subscriptions/{id}"),
            &json!({"policy": {"max_age_seconds": 1u64 << 40}}),
        )
        .await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["errors"][0]["at"], "/policy/max_age_seconds");
}
