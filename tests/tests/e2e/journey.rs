//! The main path: event type, plugins, subscription, event, arrival.

use hookmill_tests::{Receiver, Server, plugin};
use serde_json::json;

#[tokio::test]
async fn an_event_is_validated_filtered_transformed_signed_and_delivered() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;

    let schema = json!({"type": "object", "required": ["id", "total"],
        "properties": {"total": {"type": "number"}}});
    let kind = json!({"name": "order.created", "schema": schema});
    client.post("/v1/event-types", &kind).await.expect(201);
    for name in ["field-filter", "redact"] {
        let uploaded = client.upload(plugin(name)).await.expect(201);
        assert_eq!(uploaded["name"], name);
        assert_eq!(uploaded["live"], true);
    }
    let pipeline = json!([
        {"plugin": "field-filter", "config": {"pass_if": {"at": "/total", "greater_or_equal": 100}}},
        {"plugin": "redact", "config": {"fields": [{"at": "/customer/email", "action": "remove"}]}},
    ]);
    let (subscription, secret) =
        client.subscribe(&receiver.url("/hook"), &["order.*"], &pipeline).await;

    let small = client.publish("order.created", &json!({"id": 1, "total": 5})).await;
    let large =
        json!({"id": 2, "total": 250, "customer": {"name": "Ada", "email": "ada@example.com"}});
    let large = client.publish("order.created", &large).await;
    assert_eq!(large["deliveries"], 1);
    assert_eq!(large["schema_version"], 1);

    let arrived = receiver.wait("/hook", 1).await.remove(0);
    assert!(arrived.verifies(&secret));
    assert!(!arrived.verifies("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert_eq!(arrived.json(), json!({"id": 2, "total": 250, "customer": {"name": "Ada"}}));
    assert_eq!(arrived.header("content-type"), "application/json");

    let event = large["id"].as_str().unwrap();
    let delivery = client.delivery_in(event, &["succeeded"]).await;
    assert_eq!(delivery["id"], arrived.header("webhook-id"));
    assert_eq!(delivery["subscription_id"], subscription);
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(delivery["steps"][0]["verdict"], "pass");
    assert_eq!(delivery["steps"][0]["reads"], json!(["/total"]));
    assert_eq!(delivery["steps"][1]["verdict"], "edit");

    let filtered = client.delivery_in(small["id"].as_str().unwrap(), &["filtered"]).await;
    assert!(filtered["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{filtered:#}");
    assert_eq!(receiver.at("/hook").len(), 1);
}

#[tokio::test]
async fn what_no_plugin_touches_arrives_byte_for_byte() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("odd.json").await;
    let (_, secret) = client.subscribe(&receiver.url("/raw"), &["**"], &json!([])).await;
    let payload =
        "{ \"b\" : 1.10, \"a\":12345678901234567890123,\n\t\"c\": \"\\u00e9\\/é\" , \"z\":[ ] }";
    let body = format!("{{\"type\":\"odd.json\",\"payload\":{payload}}}");
    let json = [("content-type", "application/json")];
    client.send("POST", "/v1/events", &json, body).await.expect(202);
    let arrived = receiver.wait("/raw", 1).await.remove(0);
    assert_eq!(arrived.body, payload.as_bytes());
    assert!(arrived.verifies(&secret));
}

#[tokio::test]
async fn a_secret_is_rotated_with_both_signing_for_a_while() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let (id, old) = client.subscribe(&receiver.url("/r"), &["tick"], &json!([])).await;
    let path = format!("/v1/subscriptions/{id}/rotate-secret");
    let rotated = client.post(&path, &json!({})).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    client.publish("tick", &json!({})).await;
    let arrived = receiver.wait("/r", 1).await.remove(0);
    assert!(arrived.verifies(&old) && arrived.verifies(new));

    client.post(&path, &json!({"grace_seconds": 0})).await.expect(200);
    client.publish("tick", &json!({})).await;
    let arrived = receiver.wait("/r", 2).await.remove(1);
    assert!(
        !arrived.verifies(&old) && !arrived.verifies(new),
        "without grace only the newest signs"
    );
}

#[tokio::test]
async fn a_paused_subscription_holds_and_a_resumed_one_delivers() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let (id, _) = client.subscribe(&receiver.url("/p"), &["tick"], &json!([])).await;
    client.post(&format!("/v1/subscriptions/{id}/pause"), &json!({})).await.expect(200);
    let event = client.publish("tick", &json!({"n": 1})).await;
    let held = client.delivery_in(event["id"].as_str().unwrap(), &["held"]).await;
    assert_eq!(held["attempts"], json!([]));
    client.post(&format!("/v1/subscriptions/{id}/resume"), &json!({})).await.expect(200);
    receiver.wait("/p", 1).await;

    client.delete(&format!("/v1/subscriptions/{id}")).await.expect(204);
    let unmatched = client.publish("tick", &json!({"n": 2})).await;
    assert_eq!(unmatched["deliveries"], 0);
}

#[tokio::test]
async fn a_test_event_tries_the_endpoint_past_its_pipeline() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    let (id, secret) = client.subscribe(&receiver.url("/t"), &["never.sent"], &json!([])).await;
    client.post(&format!("/v1/subscriptions/{id}/test"), &json!({})).await.expect(202);
    let arrived = receiver.wait("/t", 1).await.remove(0);
    assert!(arrived.verifies(&secret));
    assert_eq!(arrived.header("hookmill-event-type"), "hookmill.test");
}

#[tokio::test]
async fn subscriptions_that_share_a_pipeline_share_its_run() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    client.upload(plugin("cloudevents")).await.expect(201);
    let pipeline = json!([{"plugin": "cloudevents", "config": {"source": "/shop"}}]);
    for _ in 0..10 {
        client.subscribe(&receiver.url("/s"), &["tick"], &pipeline).await;
    }
    let event = client.publish("tick", &json!({"n": 1})).await;
    assert_eq!(event["deliveries"], 10);
    let arrived = receiver.wait("/s", 10).await;
    assert!(arrived.iter().all(|r| r.body == arrived[0].body), "all get the same bytes");
    let metrics = String::from_utf8(client.get("/metrics").await.body.to_vec()).unwrap();
    let runs = metrics.lines().find_map(|line| line.strip_prefix("hookmill_plugin_runs_total "));
    assert_eq!(runs, Some("1"), "{metrics}");
}

#[tokio::test]
async fn an_event_that_looks_the_same_to_a_filter_needs_no_run() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    client.upload(plugin("field-filter")).await.expect(201);
    let pipeline = json!([{"plugin": "field-filter",
        "config": {"pass_if": {"at": "/kind", "equals": "wanted"}}}]);
    client.subscribe(&receiver.url("/f"), &["tick"], &pipeline).await;
    let mut steps = Vec::new();
    for n in 1..=2 {
        for (kind, state) in [("wanted", "succeeded"), ("unwanted", "filtered")] {
            let event = client.publish("tick", &json!({"n": n, "kind": kind})).await;
            let delivery = client.delivery_in(event["id"].as_str().unwrap(), &[state]).await;
            assert_eq!(delivery["steps"][0]["reads"], json!(["/kind"]), "{delivery}");
            steps.push(delivery["steps"][0].clone());
        }
    }
    for (ran, learned) in [(0, 2), (1, 3)] {
        assert_eq!(steps[ran]["learned"], json!(null), "{steps:?}");
        assert_eq!(steps[learned]["learned"], true, "{steps:?}");
        for field in ["verdict", "reason", "fuel", "memory_bytes"] {
            assert_eq!(steps[ran][field], steps[learned][field], "{steps:?}");
        }
    }
    assert_eq!(receiver.wait("/f", 2).await.len(), 2);
    let metrics = String::from_utf8(client.get("/metrics").await.body.to_vec()).unwrap();
    for line in ["hookmill_plugin_runs_total 2", "hookmill_plugin_learned_total 2"] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert!(metrics.contains("hookmill_plugin_learned_trees 1\n"), "{metrics}");
}

#[tokio::test]
async fn an_application_is_a_world_of_its_own() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    client.post("/v1/applications", &json!({"name": "acme"})).await.expect(201);
    let acting = [("content-type", "application/json"), ("hookmill-application", "acme")];
    let body = json!({"endpoint": receiver.url("/acme"), "event_types": ["tick"]}).to_string();
    let made = client.send("POST", "/v1/subscriptions", &acting, body).await.expect(201);
    let elsewhere = client.publish("tick", &json!({})).await;
    assert_eq!(elsewhere["deliveries"], 0, "default's event is not acme's");
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.status, 404);
    let body = json!({"type": "tick", "payload": {}}).to_string();
    let sent = client.send("POST", "/v1/events", &acting, body).await.expect(202);
    assert_eq!(sent["deliveries"], 1);
    receiver.wait("/acme", 1).await;
}
