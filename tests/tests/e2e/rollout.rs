//! Versions in service: promotion, rollback, canaries and shadows.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use hookmill_tests::{Act, Client, Receiver, Server, Version};
use serde_json::{Value, json};

/// A server with the plugin `mark` at version 1.0.0, and a subscription that follows it.
async fn scene() -> (Server, Receiver, Client) {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    client.event_type("tick").await;
    client.upload(version("1.0.0", Act::Mark)).await.expect(201);
    client.subscribe(&receiver.url("/m"), &["tick"], &json!([{"plugin": "mark"}])).await;
    (server, receiver, client)
}

fn version(version: &str, act: Act) -> Vec<u8> {
    Version::new("mark", version, act).module()
}

async fn publish(client: &Client, count: u64) {
    let events: Vec<Value> =
        (0..count).map(|n| json!({"type": "tick", "payload": {"n": n}})).collect();
    for batch in events.chunks(200) {
        client.post("/v1/events/batch", &json!({"events": batch})).await;
    }
}

fn made_by(receiver: &Receiver, version: &str) -> usize {
    receiver.at("/m").iter().filter(|request| request.header("x-made-by") == version).count()
}

/// `action from>to` of a plugin's history, newest first.
async fn history(client: &Client) -> Vec<String> {
    let list = client.get("/v1/plugins/mark/history").await.expect(200);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |item: &Value| {
        format!("{} {}>{}", text(&item["action"]), text(&item["from"]), text(&item["to"]))
    };
    list["data"].as_array().expect("a list").iter().map(line).collect()
}

#[tokio::test]
async fn live_moves_forward_and_back_and_the_history_tells() {
    let (mut server, receiver, client) = scene().await;
    client.upload_candidate(version("1.1.0", Act::Mark)).await.expect(201);
    client.put("/v1/plugins/mark/live", &json!({"version": "1.1.0"})).await.expect(200);
    client.publish("tick", &json!({})).await;
    receiver.wait("/m", 1).await;
    let back = client.post("/v1/plugins/mark/rollback", &json!({})).await.expect(200);
    assert_eq!((&back["version"], &back["live"]), (&json!("1.0.0"), &json!(true)));
    client.publish("tick", &json!({})).await;
    let arrived = receiver.wait("/m", 2).await;
    assert_eq!(
        [arrived[0].header("x-made-by"), arrived[1].header("x-made-by")],
        ["1.1.0", "1.0.0"]
    );
    let further = client.post("/v1/plugins/mark/rollback", &json!({})).await;
    assert_eq!((further.status, &*further.problem()), (409, "no-previous-version"));
    let told = ["rollback 1.1.0>1.0.0", "promote 1.0.0>1.1.0", "upload ->1.0.0"];
    assert_eq!(history(&client).await, told);
    let list = client.get("/v1/plugins/mark/history?limit=1").await.expect(200);
    assert_eq!(list["data"][0]["by"], "configured-key");
    assert!(list["next_cursor"].is_string());
    server.kill().await;
    server.restart().await;
    assert_eq!(history(&server.client()).await, told);
}

#[tokio::test]
async fn a_promotion_that_breaks_configs_is_refused_unless_forced() {
    let (_server, _receiver, client) = scene().await;
    let strict = Version::new("mark", "2.0.0", Act::Mark)
        .with_schema(r#"{"type":"object","required":["at_least"]}"#);
    client.upload_candidate(strict.module()).await.expect(201);
    let refused = client.put("/v1/plugins/mark/live", &json!({"version": "2.0.0"})).await;
    assert_eq!((refused.status, &*refused.problem()), (409, "breaks-configs"));
    assert_eq!(refused.json()["subscriptions"].as_array().map(Vec::len), Some(1));
    let rollout = json!({"version": "2.0.0", "mode": "canary", "percent": 10});
    let refused = client.put("/v1/plugins/mark/rollout", &rollout).await;
    assert_eq!(refused.problem(), "breaks-configs");
    let forced = json!({"version": "2.0.0", "force": true});
    client.put("/v1/plugins/mark/live", &forced).await.expect(200);
    let list = client.get("/v1/plugins/mark/history?limit=1").await.expect(200);
    assert_eq!(list["data"][0]["forced"], true);
}

#[tokio::test]
async fn a_canary_takes_its_share_of_the_events() {
    const EVENTS: u64 = 3_000;
    let (_server, receiver, client) = scene().await;
    client.upload_candidate(version("1.1.0", Act::Mark)).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "canary", "percent": 10});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(200);
    publish(&client, EVENTS).await;
    receiver.wait("/m", EVENTS as usize).await;
    let canary = made_by(&receiver, "1.1.0");
    // 10 % of 3,000 is 300, with a standard deviation of 16.4: four of them to each side.
    assert!((234..=366).contains(&canary), "{canary}");
    assert_eq!(made_by(&receiver, "1.0.0"), EVENTS as usize - canary);
    let shown = client
        .wait_for("/v1/plugins/mark/rollout", |r| r["trial"]["candidate"]["runs"] == json!(canary))
        .await;
    assert_eq!(shown["trial"]["live"]["runs"], json!(EVENTS as usize - canary));
    client.delete("/v1/plugins/mark/rollout").await.expect(204);
    publish(&client, 100).await;
    receiver.wait("/m", EVENTS as usize + 100).await;
    assert_eq!(made_by(&receiver, "1.1.0"), canary, "it is over");
    assert_eq!(history(&client).await[..2], ["canary-end 1.1.0>1.0.0", "canary-start 1.0.0>1.1.0"]);
    client.get("/v1/plugins/mark/rollout").await.expect(404);
}

#[tokio::test]
async fn a_failing_canary_goes_back_by_itself_and_costs_no_delivery() {
    let (_server, receiver, client) = scene().await;
    client.upload_candidate(version("1.1.0", Act::Trap)).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "canary", "percent": 50});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(200);
    publish(&client, 400).await;
    receiver.wait("/m", 400).await;
    assert_eq!(made_by(&receiver, "1.0.0"), 400);
    client.wait_for("/v1/plugins/mark/rollout", |answer| answer["status"] == 404).await;
    let list = client.get("/v1/plugins/mark/history").await.expect(200);
    let stop = list["data"].as_array().unwrap().iter().find(|c| c["action"] == "canary-stop");
    let stop = stop.expect("it went back");
    assert_eq!(stop["by"], "server");
    let note = stop["note"].as_str().unwrap();
    assert!(note.contains("% of its") && note.contains("runs failed"), "{note}");
    let retried = client.get("/v1/deliveries?state=pending").await.expect(200);
    assert_eq!(retried["data"], json!([]), "nobody waited for a retry");
    let path = "/v1/plugins/mark/versions/1.1.0/failures";
    let failures = client.wait_for(path, |list| list["data"][0].is_object()).await;
    assert_eq!(failures["data"][0]["kind"], "trap");
    // Runs that were under way when it went back are no reason to take it out of service.
    let list = client.get("/v1/plugins/mark/history").await.expect(200);
    let all = list["data"].as_array().unwrap();
    assert!(all.iter().all(|change| change["action"] != "quarantine"), "{list:#}");
}

#[tokio::test]
async fn a_canary_that_costs_too_much_goes_back() {
    let (_server, receiver, client) = scene().await;
    client.upload_candidate(version("1.1.0", Act::Spin(100_000))).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "canary", "percent": 50});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(200);
    publish(&client, 200).await;
    receiver.wait("/m", 200).await;
    client.wait_for("/v1/plugins/mark/rollout", |answer| answer["status"] == 404).await;
    let list = client.get("/v1/plugins/mark/history?limit=1").await.expect(200);
    assert!(list["data"][0]["note"].as_str().unwrap().contains("fuel a run"), "{list:#}");
}

#[tokio::test]
async fn a_shadow_is_compared_and_never_delivered() {
    let (_server, receiver, client) = scene().await;
    client.upload_candidate(version("1.1.0", Act::Drop)).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "shadow"});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(200);
    publish(&client, 40).await;
    receiver.wait("/m", 40).await;
    assert_eq!(made_by(&receiver, "1.0.0"), 40);
    let compared = |trial: &Value| {
        ["same", "changed", "newly_dropped", "left_out"]
            .iter()
            .map(|kind| trial[kind].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    let shown = client.wait_for("/v1/plugins/mark/rollout", |r| compared(&r["trial"]) == 40).await;
    let trial = &shown["trial"];
    assert_eq!((&trial["same"], &trial["changed"]), (&json!(0), &json!(0)));
    assert!(trial["newly_dropped"].as_u64().unwrap() > 0);
    let difference = &trial["differences"][0];
    assert_eq!(difference["kind"], "newly_dropped");
    assert_eq!(difference["candidate"], "drops: not wanted");
}

#[tokio::test]
async fn rollouts_that_make_no_sense_are_refused() {
    let (_server, _receiver, client) = scene().await;
    let rollout = json!({"version": "1.0.0", "mode": "shadow"});
    let live = client.put("/v1/plugins/mark/rollout", &rollout).await;
    assert_eq!((live.status, &*live.problem()), (409, "candidate-is-live"));
    let rollout = json!({"version": "9.0.0", "mode": "shadow"});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(404);
    client.upload_candidate(version("1.1.0", Act::Mark)).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "canary", "percent": 101});
    let refused = client.put("/v1/plugins/mark/rollout", &rollout).await;
    assert_eq!((refused.status, &*refused.problem()), (422, "invalid-rollout"));
    client.delete("/v1/plugins/mark/rollout").await.expect(404);
}

#[tokio::test]
async fn a_candidate_on_trial_is_not_deleted() {
    let (_server, _receiver, client) = scene().await;
    client.upload_candidate(version("1.1.0", Act::Mark)).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "canary", "percent": 100});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(200);
    let refused = client.delete("/v1/plugins/mark/versions/1.1.0").await;
    assert_eq!((refused.status, &*refused.problem()), (409, "in-use"));
    client.delete("/v1/plugins/mark/rollout").await.expect(204);
    client.delete("/v1/plugins/mark/versions/1.1.0").await.expect(204);
}

#[tokio::test]
async fn a_canary_that_breaks_the_output_schema_goes_back() {
    let (_server, receiver, client) = scene().await;
    let list = client.get("/v1/subscriptions").await.expect(200);
    let path = format!("/v1/subscriptions/{}", list["data"][0]["id"].as_str().unwrap());
    let schema = json!({"properties": {"n": {"type": "integer"}}});
    client.patch(&path, &json!({"output_schema": schema})).await.expect(200);
    client.upload_candidate(version("1.1.0", Act::Text)).await.expect(201);
    let rollout = json!({"version": "1.1.0", "mode": "canary", "percent": 50});
    client.put("/v1/plugins/mark/rollout", &rollout).await.expect(200);
    publish(&client, 400).await;
    receiver.wait("/m", 400).await;
    assert_eq!(made_by(&receiver, "1.0.0"), 400);
    client.wait_for("/v1/plugins/mark/rollout", |answer| answer["status"] == 404).await;
    let told = history(&client).await;
    assert!(told.contains(&"canary-stop 1.1.0>1.0.0".to_owned()), "{told:?}");
}

#[tokio::test]
async fn an_application_s_own_plugin_is_not_replaced_by_a_shared_one_of_its_name() {
    let (mut server, receiver, client) = scene().await;
    let shared = async |client: &Client, version: &str| {
        let wasm = self::version(version, Act::Mark);
        let headers = [("content-type", "application/wasm")];
        client.send("POST", "/v1/plugins?shared=true", &headers, wasm).await.expect(201);
    };
    shared(&client, "7.0.0").await;
    shared(&client, "8.0.0").await;
    let live = json!({"version": "7.0.0"});
    client.put("/v1/plugins/mark/live?shared=true", &live).await.expect(200);
    let rollout = json!({"version": "8.0.0", "mode": "canary", "percent": 100});
    client.put("/v1/plugins/mark/rollout?shared=true", &rollout).await.expect(200);
    publish(&client, 3).await;
    receiver.wait("/m", 3).await;
    assert_eq!(made_by(&receiver, "1.0.0"), 3);
    // What is not on record yet would be sent again.
    let done = |list: &Value| list["data"].as_array().is_some_and(|data| data.len() == 3);
    client.wait_for("/v1/deliveries?state=succeeded", done).await;
    server.kill().await;
    server.restart().await;
    publish(&server.client(), 3).await;
    receiver.wait("/m", 6).await;
    assert_eq!(made_by(&receiver, "1.0.0"), 6);
}

#[tokio::test]
async fn a_rollback_under_load_fails_no_delivery() {
    let (_server, receiver, client) = scene().await;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let producer = tokio::spawn({
        let (client, stop, sent) = (client.clone(), Arc::clone(&stop), Arc::clone(&sent));
        async move {
            while !stop.load(Relaxed) {
                client.publish("tick", &json!({"n": sent.fetch_add(1, Relaxed)})).await;
            }
        }
    });
    receiver.wait("/m", 20).await;
    client.upload_candidate(version("1.1.0", Act::Mark)).await.expect(201);
    client.put("/v1/plugins/mark/live", &json!({"version": "1.1.0"})).await.expect(200);
    receiver
        .wait_until("/m", |all| {
            all.iter().filter(|r| r.header("x-made-by") == "1.1.0").count() > 20
        })
        .await;
    client.post("/v1/plugins/mark/rollback", &json!({})).await.expect(200);
    let before = made_by(&receiver, "1.0.0");
    receiver
        .wait_until("/m", |all| {
            all.iter().filter(|r| r.header("x-made-by") == "1.0.0").count() > before + 20
        })
        .await;
    stop.store(true, Relaxed);
    producer.await.unwrap();
    let sent = sent.load(Relaxed) as usize;
    receiver.wait("/m", sent).await;
    for state in ["dead", "held"] {
        let list = client.get(&format!("/v1/deliveries?state={state}")).await.expect(200);
        assert_eq!(list["data"], json!([]), "{state}");
    }
    assert_eq!(receiver.at("/m").len(), sent);
    // After the rollback nothing is accepted for the version that was taken back.
    let newest = receiver.at("/m").iter().map(|r| r.header("x-made-by").to_owned()).next_back();
    assert_eq!(newest.as_deref(), Some("1.0.0"));
}
