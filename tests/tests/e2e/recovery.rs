//! After an outage: dead letters replayed as jobs, runs with a mended pipeline, what was missed
//! while a subscription was disabled, and the question what has not arrived everywhere.

use std::{collections::HashSet, process::Command};

use hookmill_tests::{ADMIN_KEY, Act, Client, Receiver, Reply, Server, Version, binary};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A server, and a receiver whose `/d` refuses everything.
async fn scene() -> (Server, Receiver, Client) {
    // An endpoint that fails so often would be left alone for a while.
    let server = Server::start_with(&[("BREAKER_PERCENT", "0")]).await;
    let receiver = Receiver::start().await;
    let client = server.client();
    for name in ["order.created", "order.paid", "user.created"] {
        client.event_type(name).await;
    }
    receiver.reply("/d", [Reply::status(503)]);
    (server, receiver, client)
}

/// A subscription that gives up after one attempt; answers its id.
async fn subscribe(client: &Client, endpoint: &str, pipeline: Value) -> String {
    let body = json!({"endpoint": endpoint, "event_types": ["order.**"], "pipeline": pipeline,
        "headers": {"authorization": "Bearer secret"}, "policy": {"retry": {"schedule": [0]}}});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    made["id"].as_str().expect("an id").to_owned()
}

async fn publish(client: &Client, name: &str, count: u64) {
    let events: Vec<Value> =
        (0..count).map(|n| json!({"type": name, "payload": {"n": n}})).collect();
    for batch in events.chunks(200) {
        client.post("/v1/events/batch", &json!({"events": batch})).await;
    }
}

/// Waits until so many deliveries are dead.
async fn dead(client: &Client, subscription: &str, count: usize) {
    let path = format!("/v1/deliveries?state=dead&limit=200&subscription_id={subscription}");
    client.wait_for(&path, |list| list["data"].as_array().map_or(0, Vec::len) >= count).await;
}

async fn start(client: &Client, request: &Value) -> (String, Value) {
    let made = client.post("/v1/replays", request).await.expect(202);
    (format!("/v1/replays/{}", made["id"].as_str().expect("an id")), made)
}

/// A replay once it has taken all and nothing waits.
async fn over(client: &Client, path: &str) -> Value {
    client
        .wait_for(path, |replay| replay["state"] == "done" && replay["progress"]["waiting"] == 0)
        .await
}

fn ids(receiver: &Receiver, path: &str) -> HashSet<String> {
    receiver.at(path).iter().map(|request| request.header("webhook-id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_by_type_and_error_with_the_same_ids() {
    let (_server, receiver, client) = scene().await;
    let subscription = subscribe(&client, &receiver.url("/d"), json!([])).await;
    publish(&client, "order.created", 5).await;
    publish(&client, "order.paid", 3).await;
    dead(&client, &subscription, 8).await;
    let first = ids(&receiver, "/d");
    let open = client.get("/v1/events?undelivered=true").await.expect(200);
    assert_eq!(open["data"].as_array().map(Vec::len), Some(8));
    let event = open["data"][0]["id"].as_str().unwrap().to_owned();
    let shown = client.get(&format!("/v1/events/{event}")).await.expect(200);
    assert_eq!(
        (&shown["fully_delivered"], &shown["delivery_states"]["dead"]),
        (&json!(false), &json!(1))
    );

    let list = |query: &str| format!("/v1/deliveries?state=dead&{query}");
    for (query, expected) in [
        ("event_type=order.paid", 3),
        ("event_type=order.*", 8),
        ("event_type=user.*", 0),
        ("error=http_status", 8),
        ("error=timeout", 0),
        ("error=http_status&event_type=order.created&since=2026-01-01T00:00:00Z", 5),
    ] {
        let found = client.get(&list(query)).await.expect(200);
        assert_eq!(found["data"].as_array().map(Vec::len), Some(expected), "{query}");
    }

    receiver.reply("/d", [Reply::status(200)]);
    let request = json!({"subscription_ids": [subscription], "event_types": ["order.paid"],
        "error": "http_status"});
    let (path, made) = start(&client, &request).await;
    assert_eq!(made["progress"]["total"], 3);
    let done = over(&client, &path).await;
    assert_eq!(done["progress"]["succeeded"], 3, "{done:#}");
    assert_eq!(ids(&receiver, "/d"), first, "the ids are the old ones");
    let none = json!({"error": "timeout"});
    let (path, _) = start(&client, &none).await;
    assert_eq!(over(&client, &path).await["progress"]["total"], 0);
    let (path, _) = start(&client, &json!({})).await;
    let done = over(&client, &path).await;
    assert_eq!((&done["progress"]["taken"], &done["progress"]["failed"]), (&json!(5), &json!(0)));
    client.wait_for("/v1/events?undelivered=true", |list| list["data"] == json!([])).await;
    let shown = client.get(&format!("/v1/events/{event}")).await.expect(200);
    assert_eq!(shown["fully_delivered"], true);
    let all = client.get("/v1/replays").await.expect(200);
    assert_eq!(all["data"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_paused_resumed_and_cancelled_and_its_sums_are_right() {
    let (_server, receiver, client) = scene().await;
    let subscription = subscribe(&client, &receiver.url("/d"), json!([])).await;
    publish(&client, "order.created", 120).await;
    dead(&client, &subscription, 120).await;
    // Half of it is mended: the first sixty succeed, the rest fails again.
    let replies = (0..60).map(|_| Reply::status(200)).chain([Reply::status(500)]);
    receiver.reply("/d", replies);
    let (path, made) = start(&client, &json!({"per_second": 40})).await;
    assert_eq!((&made["state"], &made["progress"]["total"]), (&json!("running"), &json!(120)));
    client.wait_for(&path, |replay| replay["progress"]["taken"].as_u64() >= Some(16)).await;
    let paused = client.post(&format!("{path}/pause"), &json!({})).await.expect(200);
    assert_eq!(paused["state"], "paused");
    let taken = paused["progress"]["taken"].clone();
    assert!(taken.as_u64() < Some(120), "{paused:#}");
    let still = client.wait_for(&path, |replay| replay["progress"]["waiting"] == 0).await;
    assert_eq!(still["progress"]["taken"], taken);
    assert_eq!(still["progress"]["left"].as_u64(), taken.as_u64().map(|taken| 120 - taken));
    client.post(&format!("{path}/resume"), &json!({})).await.expect(200);
    let done = over(&client, &path).await;
    let count = |name: &str| done["progress"][name].as_u64().unwrap();
    assert_eq!((count("taken"), count("succeeded"), count("failed")), (120, 60, 60));
    assert_eq!(count("left") + count("skipped") + count("superseded"), 0);
    let again = client.post(&format!("{path}/pause"), &json!({})).await;
    assert_eq!((again.status, &*again.problem()), (409, "replay-ended"));

    let (path, _) = start(&client, &json!({"per_second": 1})).await;
    client.wait_for(&path, |replay| replay["progress"]["taken"].as_u64() >= Some(1)).await;
    let cancelled = client.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
    assert_eq!(
        (&cancelled["state"], &cancelled["progress"]["total"]),
        (&json!("cancelled"), &json!(60))
    );
    let left = cancelled["progress"]["left"].as_u64().unwrap();
    assert!((1..60).contains(&left), "{cancelled:#}");
    client.wait_for(&path, |replay| replay["progress"]["waiting"] == 0).await;
    let resumed = client.post(&format!("{path}/resume"), &json!({})).await;
    assert_eq!(resumed.problem(), "replay-ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_survives_a_kill_and_takes_each_once() {
    let (mut server, receiver, client) = scene().await;
    let subscription = subscribe(&client, &receiver.url("/d"), json!([])).await;
    publish(&client, "order.created", 200).await;
    dead(&client, &subscription, 200).await;
    receiver.reply("/d", [Reply::status(200)]);
    let (path, _) = start(&client, &json!({"per_second": 100})).await;
    for taken in [20, 60, 120] {
        let client = server.client();
        client.wait_for(&path, |replay| replay["progress"]["taken"].as_u64() >= Some(taken)).await;
        server.kill().await;
        server.restart().await;
    }
    let client = server.client();
    let done = over(&client, &path).await;
    let count = |name: &str| done["progress"][name].as_u64().unwrap();
    assert_eq!((count("total"), count("taken"), count("succeeded")), (200, 200, 200), "{done:#}");
    assert_eq!(count("left") + count("skipped") + count("superseded") + count("failed"), 0);
    assert_eq!(ids(&receiver, "/d").len(), 200);
    client.wait_for("/v1/events?undelivered=true", |list| list["data"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_todays_version_goes_out_under_a_new_id() {
    let (_server, receiver, client) = scene().await;
    let version = |number: &str| Version::new("mark", number, Act::Mark).module();
    client.upload(version("1.0.0")).await.expect(201);
    let subscription = subscribe(&client, &receiver.url("/d"), json!([{"plugin": "mark"}])).await;
    publish(&client, "order.created", 3).await;
    dead(&client, &subscription, 3).await;
    let old = ids(&receiver, "/d");
    client.upload(version("1.1.0")).await.expect(201);
    receiver.reply("/d", [Reply::status(200)]);

    let one = old.iter().next().unwrap();
    let fresh = client.post(&format!("/v1/deliveries/{one}/rerun"), &json!({})).await.expect(202);
    let fresh = fresh["id"].as_str().unwrap().to_owned();
    receiver.wait("/d", 4).await;
    let (path, made) = start(&client, &json!({"mode": "rerun"})).await;
    assert_eq!(made["progress"]["total"], 2, "the first was replaced");
    assert_eq!(over(&client, &path).await["progress"]["succeeded"], 2);
    let arrived = receiver.at("/d");
    let (before, after) = arrived.split_at(3);
    assert!(before.iter().all(|request| request.header("x-made-by") == "1.0.0"));
    assert!(after.iter().all(|request| request.header("x-made-by") == "1.1.0"));
    assert!(after.iter().all(|request| !old.contains(request.header("webhook-id"))));
    assert_eq!(after[0].header("webhook-id"), fresh);
    let replaced = client.get(&format!("/v1/deliveries/{one}")).await.expect(200);
    assert_eq!(replaced["state"], "cancelled");
    assert_eq!(replaced["reason"], format!("run again as {fresh}"));
    client.wait_for("/v1/events?undelivered=true", |list| list["data"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_while_disabled_is_recovered() {
    let (_server, receiver, client) = scene().await;
    let before = client.publish("order.created", &json!({"n": "long before"})).await;
    let subscription = subscribe(&client, &receiver.url("/m"), json!([])).await;
    publish(&client, "order.created", 2).await;
    receiver.wait("/m", 2).await;
    let path = format!("/v1/subscriptions/{subscription}");
    client.post(&format!("{path}/disable"), &json!({})).await.expect(200);
    publish(&client, "order.paid", 4).await;
    publish(&client, "user.created", 2).await;
    let request = json!({"mode": "missing", "subscription_ids": [subscription],
        "since": "2026-01-01T00:00:00Z"});
    let refused = client.post("/v1/replays", &request).await;
    assert_eq!((refused.status, &*refused.problem()), (409, "subscription-inactive"));
    client.post(&format!("{path}/enable"), &json!({})).await.expect(200);
    let (replay, made) = start(&client, &request).await;
    assert_eq!(made["progress"]["total"], 5, "four while disabled, one before it was there");
    assert_eq!(over(&client, &replay).await["progress"]["succeeded"], 5);
    assert_eq!(ids(&receiver, "/m").len(), 7);
    assert_eq!(receiver.at("/m").len(), 7);
    let (replay, _) = start(&client, &request).await;
    assert_eq!(over(&client, &replay).await["progress"]["total"], 0, "nothing is missing now");
    let event = client.get(&format!("/v1/events/{}", before["id"].as_str().unwrap())).await;
    assert_eq!(event.expect(200)["deliveries"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_sent_elsewhere_as_a_test_that_changes_nothing() {
    let (_server, receiver, client) = scene().await;
    let body = json!({"endpoint": receiver.url("/d"), "event_types": ["order.**"],
        "headers": {"authorization": "Bearer secret"}, "policy": {"retry": {"schedule": [0]}}});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    let secret = made["secret"].as_str().unwrap();
    let event = client.publish("order.created", &json!({"n": 1})).await;
    let dead = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    let path = format!("/v1/deliveries/{}", dead["id"].as_str().unwrap());
    let send = format!("{path}/send-to");
    receiver.reply("/test", [Reply::status(418).body("short and stout")]);
    let answer = client.post(&send, &json!({"url": receiver.url("/test")})).await.expect(200);
    assert_eq!((&answer["outcome"], &answer["status"]), (&json!("http_status"), &json!(418)));
    assert_eq!(answer["response_body"], "short and stout");
    assert!(answer["total_us"].as_u64() > Some(0));
    let (sent, tested) = (receiver.at("/d").remove(0), receiver.at("/test").remove(0));
    assert!(tested.verifies(secret));
    assert_eq!(tested.body, sent.body);
    assert_eq!(tested.header("webhook-id"), sent.header("webhook-id"));
    // What may be a credential for the endpoint goes nowhere else.
    assert_eq!(
        (sent.header("authorization"), tested.header("authorization")),
        ("Bearer secret", "")
    );
    assert_eq!(client.get(&path).await.expect(200), dead);
    for (url, code) in [("http://169.254.169.254/latest", 422), ("nonsense", 422)] {
        let refused = client.post(&send, &json!({"url": url})).await;
        assert_eq!((refused.status, &*refused.problem()), (code, "invalid-endpoint"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_mended_by_commands() {
    let (server, receiver, client) = scene().await;
    let subscription = subscribe(&client, &receiver.url("/d"), json!([])).await;
    publish(&client, "order.created", 30).await;
    dead(&client, &subscription, 30).await;
    let run = |arguments: &[&str]| {
        let output = Command::new(binary())
            .args(arguments)
            .env("HOOKMILL_URL", server.url())
            .env("HOOKMILL_KEY", ADMIN_KEY)
            .env("NO_COLOR", "1")
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (_, out, _) = run(&["deliveries", "--dead", "--type", "order.*", "--since", "1h"]);
    assert!(out.contains("http_status"), "{out}");
    let (_, out, _) = run(&["events", "--undelivered", "--limit", "100"]);
    assert_eq!(out.lines().count(), 31, "{out}");
    // The endpoint is still down.
    let (code, out, err) = run(&["retry", "--subscription", &subscription, "--dead"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("30 of 30 taken: 0 succeeded, 30 failed"), "{out}");
    assert!(err.contains("hint: hookmill deliveries --dead --replay rpl_"), "{err}");
    receiver.reply("/d", [Reply::status(200)]);
    let arguments =
        ["retry", "--subscription", &subscription, "--since", "1h", "--dead", "--rate", "100/s"];
    let (code, out, err) = run(&arguments);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("at most 100/s"), "{out}");
    assert!(out.contains("30 of 30 taken: 30 succeeded, 0 failed"), "{out}");
    let (_, out, _) = run(&["replays"]);
    assert_eq!(out.lines().count(), 3, "{out}");
    let (code, _, err) = run(&["retry"]);
    assert_eq!(code, Some(2), "{err}");
    let id = ids(&receiver, "/d").into_iter().next().unwrap();
    let (code, out, _) = run(&["retry", &id, "--to", &receiver.url("/elsewhere")]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with(&id) && out.contains("200"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_watching_and_not_the_replay() {
    let (server, receiver, client) = scene().await;
    let subscription = subscribe(&client, &receiver.url("/d"), json!([])).await;
    publish(&client, "order.created", 30).await;
    dead(&client, &subscription, 30).await;
    let child = tokio::process::Command::new(binary())
        .args(["retry", "--dead", "--rate", "1/s"])
        .env("HOOKMILL_URL", server.url())
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.expect("it runs");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.starts_with("rpl_") && first.contains(" / 30"), "{first}");
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("it runs").success());
    assert_eq!(child.wait().await.expect("it had run").code(), Some(0));
    let mut rest = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest += &line;
    }
    assert!(rest.contains("goes on without you"), "{rest}");
    let list = client.get("/v1/replays").await.expect(200);
    assert_eq!(list["data"][0]["state"], "running");
}
