//! Versions that keep failing, and outputs that break their contract.

use hookmill_tests::{Act, Client, Receiver, Server, Version};
use serde_json::{Value, json};

fn version(version: &str, act: Act) -> Vec<u8> {
    Version::new("mark", version, act).module()
}

/// A server on which `mark` 1.0.0 does `act`, three failures are enough for a quarantine, and
/// a subscription follows it.
async fn scene(act: Act) -> (Server, Receiver, Client, String) {
    let server = Server::start_with(&[("QUARANTINE_FAILURES", "3")]).await;
    let (receiver, client) = (Receiver::start().await, server.client());
    client.event_type("tick").await;
    client.upload(version("1.0.0", act)).await.expect(201);
    let pipeline = json!([{"plugin": "mark", "on_error": "dead"}]);
    let (id, _) = client.subscribe(&receiver.url("/q"), &["tick"], &pipeline).await;
    (server, receiver, client, id)
}

async fn quarantined(client: &Client, failures: u32) -> Value {
    for n in 0..failures {
        let event = client.publish("tick", &json!({"n": n})).await;
        client.delivery_in(event["id"].as_str().expect("an id"), &["dead"]).await;
    }
    client
        .wait_for("/v1/plugins/mark/versions/1.0.0/stats", |stats| stats["quarantine"].is_object())
        .await
}

#[tokio::test]
async fn deliveries_wait_for_a_quarantined_version_until_a_fixed_one_is_live() {
    let (mut server, receiver, client, _) = scene(Act::Trap).await;
    let stats = quarantined(&client, 3).await;
    assert_eq!(stats["quarantine"]["reason"], "3 runs in a row failed");
    assert_eq!((&stats["runs"], &stats["failed"]), (&json!(3), &json!(3)));
    assert_eq!(stats["faults"], json!([{"kind": "trap", "count": 3}]));
    let event = client.publish("tick", &json!({"n": 3})).await;
    let event = event["id"].as_str().unwrap();
    let held = client.delivery_in(event, &["held"]).await;
    assert_eq!(held["reason"], "mark@1.0.0 is quarantined: 3 runs in a row failed");
    let metrics = client.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("hookmill_plugins_quarantined 1"), "{metrics}");
    let line =
        r#"hookmill_plugin_version_faults_total{plugin="mark",version="1.0.0",kind="trap"} 3"#;
    assert!(metrics.contains(line), "{metrics}");

    // It stays so over a restart.
    server.kill().await;
    server.restart().await;
    let client = server.client();
    client.delivery_in(event, &["held"]).await;
    client.upload(version("1.0.1", Act::Mark)).await.expect(201);
    client.delivery_in(event, &["succeeded"]).await;
    assert_eq!(receiver.wait("/q", 1).await[0].header("x-made-by"), "1.0.1");
    let list = client.get("/v1/plugins/mark/history").await.expect(200);
    let actions: Vec<_> = list["data"].as_array().unwrap().iter().map(|c| &c["action"]).collect();
    assert_eq!(actions, ["upload", "quarantine", "upload"]);
}

#[tokio::test]
async fn a_released_version_runs_again_and_may_be_quarantined_again() {
    let (_server, _receiver, client, _) = scene(Act::Fail).await;
    quarantined(&client, 3).await;
    let event = client.publish("tick", &json!({})).await;
    let event = event["id"].as_str().unwrap();
    client.delivery_in(event, &["held"]).await;
    let release = "/v1/plugins/mark/versions/1.0.0/release";
    client.post(release, &json!({})).await.expect(204);
    let dead = client.delivery_in(event, &["dead"]).await;
    assert_eq!(dead["reason"], "mark@1.0.0: failed: out of ideas");
    client.post(release, &json!({})).await.expect(404);
    // One of three failures is there already.
    quarantined(&client, 2).await;
    let failures = client.get("/v1/plugins/mark/versions/1.0.0/failures").await.expect(200);
    let last = &failures["data"][0];
    assert_eq!((&last["kind"], &last["message"]), (&json!("failed"), &json!("out of ideas")));
    assert_eq!(last["config"], "{}");
}

#[tokio::test]
async fn what_breaks_the_output_schema_is_never_sent() {
    let (_server, receiver, client, id) = scene(Act::Text).await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let path = format!("/v1/subscriptions/{id}");
    client.patch(&path, &json!({"output_schema": schema})).await.expect(200);
    let event = client.publish("tick", &json!({"n": 1})).await;
    let dead = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    let reason = dead["reason"].as_str().unwrap();
    assert_eq!(reason, "mark@1.0.0: contract-violation: /n: \"one\" is not of type \"integer\"");
    assert!(receiver.at("/q").is_empty());
    let stats = client.get("/v1/plugins/mark/versions/1.0.0/stats").await.expect(200);
    assert_eq!(stats["faults"], json!([{"kind": "contract-violation", "count": 1}]));
    // A version that keeps it takes the same delivery through.
    client.upload(version("1.0.1", Act::Mark)).await.expect(201);
    let retry = format!("/v1/deliveries/{}/retry", dead["id"].as_str().unwrap());
    client.post(&retry, &json!({})).await.expect(202);
    assert_eq!(receiver.wait("/q", 1).await[0].json(), json!({"n": 1}));
    client.patch(&path, &json!({"output_schema": {"type": 7}})).await.expect(422);
    let bare = client.patch(&path, &json!({"output_schema": null})).await.expect(200);
    assert_eq!(bare["output_schema"], Value::Null);
}

#[tokio::test]
async fn a_contract_holds_without_any_plugin() {
    let (_server, receiver, client, id) = scene(Act::Mark).await;
    let path = format!("/v1/subscriptions/{id}");
    let schema = json!({"required": ["n"]});
    let change =
        json!({"pipeline": [], "output_schema": schema, "policy": {"retry": {"schedule": [0]}}});
    client.patch(&path, &change).await.expect(200);
    let bad = client.publish("tick", &json!({"m": 1})).await;
    let dead = client.delivery_in(bad["id"].as_str().unwrap(), &["dead"]).await;
    assert!(dead["reason"].as_str().unwrap().contains("the event: contract-violation"), "{dead:#}");
    client.publish("tick", &json!({"n": 1})).await;
    assert_eq!(receiver.wait("/q", 1).await[0].json(), json!({"n": 1}));
}
