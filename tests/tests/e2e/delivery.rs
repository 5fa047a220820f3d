//! What endpoints can do, and what becomes of deliveries.

use hookmill_tests::{Receiver, Reply, Server};
use serde_json::{Value, json};

/// A server, a receiver and an event type `tick`.
async fn scene() -> (Server, Receiver) {
    let server = Server::start().await;
    server.client().event_type("tick").await;
    (server, Receiver::start().await)
}

async fn subscribe(server: &Server, body: &Value) -> (String, String) {
    let made = server.client().post("/v1/subscriptions", body).await.expect(201);
    let text = |field: &str| made[field].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_with_the_same_id_and_bytes() {
    let (server, receiver) = scene().await;
    receiver.reply("/x", [Reply::status(503).body("busy"), Reply::status(200)]);
    let body = json!({"endpoint": receiver.url("/x"), "event_types": ["tick"], "policy": {"retry": {"schedule": [0, 0, 0]}}});
    let (_, secret) = subscribe(&server, &body).await;
    let event = server.client().publish("tick", &json!({"n": 1})).await;
    let arrived = receiver.wait("/x", 2).await;
    assert_eq!(arrived[0].header("webhook-id"), arrived[1].header("webhook-id"));
    assert_eq!(arrived[0].body, arrived[1].body);
    assert!(arrived.iter().all(|r| r.verifies(&secret)));
    let delivery = server.client().delivery_in(event["id"].as_str().unwrap(), &["succeeded"]).await;
    assert_eq!(delivery["attempts"][0]["outcome"], "http_status");
    assert_eq!(delivery["attempts"][0]["status"], 503);
    assert_eq!(delivery["attempts"][0]["response_body"], "busy");
    assert_eq!(delivery["attempts"][1]["outcome"], "succeeded");
}

#[tokio::test]
async fn attempts_run_out_and_a_dead_delivery_can_be_retried() {
    let (server, receiver) = scene().await;
    receiver.reply("/d", [Reply::status(500), Reply::status(500), Reply::status(200)]);
    let body = json!({"endpoint": receiver.url("/d"), "event_types": ["tick"], "policy": {"retry": {"schedule": [0, 0]}}});
    subscribe(&server, &body).await;
    let client = server.client();
    let event = client.publish("tick", &json!({})).await;
    let event = event["id"].as_str().unwrap();
    let dead = client.delivery_in(event, &["dead"]).await;
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(2));
    let id = dead["id"].as_str().unwrap();
    client.post(&format!("/v1/deliveries/{id}/retry"), &json!({})).await.expect(202);
    client.delivery_in(event, &["succeeded"]).await;
}

#[tokio::test]
async fn gone_disables_the_subscription() {
    let (server, receiver) = scene().await;
    receiver.reply("/gone", [Reply::status(410)]);
    let body = json!({"endpoint": receiver.url("/gone"), "event_types": ["tick"]});
    let (id, _) = subscribe(&server, &body).await;
    let client = server.client();
    let event = client.publish("tick", &json!({})).await;
    let delivery = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    assert_eq!(delivery["attempts"][0]["outcome"], "gone");
    let path = format!("/v1/subscriptions/{id}");
    client.wait_for(&path, |subscription| subscription["state"] == "disabled").await;
    assert_eq!(client.publish("tick", &json!({})).await["deliveries"], 0);
    client.post(&format!("{path}/enable"), &json!({})).await.expect(200);
    assert_eq!(client.publish("tick", &json!({})).await["deliveries"], 1);
}

#[tokio::test]
async fn redirects_are_failures_and_are_not_followed() {
    let (server, receiver) = scene().await;
    let elsewhere = receiver.url("/elsewhere");
    receiver.reply("/from", [Reply::status(302).header("location", &elsewhere)]);
    let body = json!({"endpoint": receiver.url("/from"), "event_types": ["tick"], "policy": {"retry": {"schedule": [0]}}});
    subscribe(&server, &body).await;
    let client = server.client();
    let event = client.publish("tick", &json!({})).await;
    let delivery = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    assert_eq!(delivery["attempts"][0]["outcome"], "redirect");
    assert!(receiver.at("/elsewhere").is_empty());
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (server, receiver) = scene().await;
    receiver.reply("/later", [Reply::status(429).header("retry-after", "3600")]);
    let body = json!({"endpoint": receiver.url("/later"), "event_types": ["tick"], "policy": {"retry": {"schedule": [0, 1]}}});
    subscribe(&server, &body).await;
    let client = server.client();
    let event = client.publish("tick", &json!({})).await;
    let path = format!("/v1/deliveries?event_id={}", event["id"].as_str().unwrap());
    let list = client.wait_for(&path, |list| list["data"][0]["attempts"] == 1).await;
    let field = |name: &str| list["data"][0][name].as_str().unwrap().to_owned();
    assert_eq!(field("state"), "pending");
    let at = |name: &str| field(name).parse::<jiff::Timestamp>().unwrap().as_second();
    let wait = at("next_attempt_at") - at("created_at");
    // Up to a fifth more, so that many waiting deliveries do not come back at once.
    assert!((3600..=3600 + 720 + 10).contains(&wait), "{wait} s");
}

#[tokio::test]
async fn a_silent_endpoint_times_out_and_delays_nobody_else() {
    let server = Server::start_with(&[("ATTEMPT_TIMEOUT_SECONDS", "2")]).await;
    let client = server.client();
    client.event_type("tick").await;
    let receiver = Receiver::start().await;
    receiver.reply("/silent", [Reply::never()]);
    let retry = json!({"schedule": [0]});
    let silent = json!({"endpoint": receiver.url("/silent"), "event_types": ["tick"], "policy": {"retry": retry}});
    subscribe(&server, &silent).await;
    let healthy = json!({"endpoint": receiver.url("/healthy"), "event_types": ["tick"]});
    subscribe(&server, &healthy).await;
    let mut events = Vec::new();
    for n in 0..100 {
        events.push(client.publish("tick", &json!({"n": n})).await);
    }
    receiver.wait("/healthy", 100).await;
    let first = events[0]["id"].as_str().unwrap();
    let path = format!("/v1/deliveries?event_id={first}&state=dead");
    let list = client.wait_for(&path, |list| list["data"][0]["id"].is_string()).await;
    let id = list["data"][0]["id"].as_str().unwrap();
    let delivery = client.get(&format!("/v1/deliveries/{id}")).await.expect(200);
    assert_eq!(delivery["attempts"][0]["outcome"], "timeout");
}

#[tokio::test]
async fn a_refused_connection_has_its_name() {
    let (server, _receiver) = scene().await;
    // A port that was free a moment ago, with nobody behind it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let body = json!({"endpoint": endpoint, "event_types": ["tick"], "policy": {"retry": {"schedule": [0]}}});
    subscribe(&server, &body).await;
    let client = server.client();
    let event = client.publish("tick", &json!({})).await;
    let delivery = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    assert_eq!(delivery["attempts"][0]["outcome"], "refused");
}

#[tokio::test]
async fn a_huge_response_is_cut() {
    let (server, receiver) = scene().await;
    receiver.reply("/big", [Reply::status(200).body(vec![b'x'; 4 << 20])]);
    let body = json!({"endpoint": receiver.url("/big"), "event_types": ["tick"]});
    subscribe(&server, &body).await;
    let client = server.client();
    let event = client.publish("tick", &json!({})).await;
    let delivery = client.delivery_in(event["id"].as_str().unwrap(), &["succeeded"]).await;
    let kept = delivery["attempts"][0]["response_body"].as_str().unwrap().len();
    assert!(kept <= 16 << 10, "{kept} bytes were kept");
}

#[tokio::test]
async fn a_private_address_is_refused_unless_allowed() {
    let (server, _receiver) = scene().await;
    let client = server.client();
    for endpoint in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::1]/",
        "http://192.168.0.1:80/",
    ] {
        let body = json!({"endpoint": endpoint, "event_types": ["tick"]});
        let refused = client.post("/v1/subscriptions", &body).await;
        assert_eq!(refused.status, 422, "{endpoint}");
        assert_eq!(refused.json()["errors"][0]["at"], "/endpoint");
    }
    // A name that resolves to loopback by IPv6 only could pass the literal check; the
    // connection is what counts.
    let body = json!({"endpoint": "http://localhost:1/", "event_types": ["tick"], "policy": {"retry": {"schedule": [0]}}});
    subscribe(&server, &body).await;
    let event = client.publish("tick", &json!({})).await;
    let delivery = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    let outcome = delivery["attempts"][0]["outcome"].as_str().unwrap();
    assert!(["refused", "blocked_address"].contains(&outcome), "{outcome}");
}
