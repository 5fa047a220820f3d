//! Plugins that mean harm end in their named outcome, within their budget, while others are
//! served.

use hookmill_tests::{Hostile, Receiver, Server};
use serde_json::json;

#[tokio::test]
async fn each_hostile_plugin_ends_in_its_named_outcome_while_others_are_served() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    // What runs for ever meets its fuel's end, or on a machine busy with other tests the wall
    // clock's before that.
    let guests: [(Hostile, &[&str]); 7] = [
        (Hostile::EndlessLoop, &["out-of-fuel", "timeout"]),
        (Hostile::Recursion, &["stack-overflow"]),
        (Hostile::MemoryBomb, &["out-of-memory"]),
        (Hostile::TableBomb, &["out-of-memory"]),
        (Hostile::HugeOutput, &["output-too-large"]),
        (Hostile::EndlessLogging, &["out-of-fuel", "timeout"]),
        (Hostile::Trap, &["trap"]),
    ];
    let mut expected = std::collections::HashMap::new();
    client.event_type("harm").await;
    client.event_type("good").await;
    client.upload(Hostile::Harmless.module()).await.expect(201);
    let harmless = json!([{"plugin": Hostile::Harmless.name()}]);
    client.subscribe(&receiver.url("/good"), &["**"], &harmless).await;
    for (guest, kinds) in guests {
        client.upload(guest.module()).await.expect(201);
        let pipeline = json!([{"plugin": guest.name(), "on_error": "dead"}]);
        let (id, _) = client.subscribe(&receiver.url("/never"), &["harm"], &pipeline).await;
        expected.insert(id, (guest, kinds));
    }
    let harm = client.publish("harm", &json!({"n": 1})).await;
    assert_eq!(harm["deliveries"], guests.len() + 1);
    for n in 0..100 {
        client.publish("good", &json!({"n": n})).await;
    }
    receiver.wait("/good", 101).await;

    let path = format!("/v1/deliveries?event_id={}&state=dead", harm["id"].as_str().unwrap());
    let dead = client
        .wait_for(&path, |list| list["data"].as_array().is_some_and(|d| d.len() == guests.len()))
        .await;
    for delivery in dead["data"].as_array().unwrap() {
        let id = delivery["id"].as_str().unwrap();
        let delivery = client.get(&format!("/v1/deliveries/{id}")).await.expect(200);
        let (guest, kinds) = expected[delivery["subscription_id"].as_str().unwrap()];
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["outcome"], "plugin");
        let error = attempt["error"].as_str().unwrap();
        let named = |kind: &&str| error.starts_with(&format!("{}@0.1.0: {kind}", guest.name()));
        assert!(kinds.iter().any(named), "{guest:?}: {error}");
        // Ten times the wall clock's budget, for a machine that is busy with other tests.
        assert!(attempt["total_us"].as_u64().unwrap() < 500_000, "{attempt:#}");
        let log = delivery["steps"][0]["log"].as_array().cloned().unwrap_or_default();
        let noted: usize = log.iter().map(|l| l["message"].as_str().unwrap().len()).sum();
        assert!(noted <= 17 << 10, "{noted} bytes of log");
    }
    assert!(receiver.at("/never").is_empty());
}

#[tokio::test]
async fn what_cannot_be_a_plugin_is_refused_at_upload() {
    let server = Server::start().await;
    let client = server.client();
    let core = wat::parse_str("(module (func (export \"run\")))").unwrap();
    let wasi = wat::parse_str(
        "(component (import \"wasi:cli/environment@0.2.0\" (instance (export \"x\" (func)))))",
    )
    .unwrap();
    let env =
        wat::parse_str("(component (import \"env:files/read\" (instance (export \"x\" (func)))))")
            .unwrap();
    let refused = [
        (b"hello".to_vec(), "not-wasm"),
        (env, "forbidden-import"),
        (Hostile::TrapInStart.module(), "bad-manifest"),
        (Hostile::ManyFunctions.module(), "too-complex"),
        (core, "unknown-world"),
        // WASI may be imported, but there is nothing in it, so it alone makes no plugin.
        (wasi, "unknown-world"),
    ];
    for (upload, problem) in refused {
        let answer = client.upload(upload).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (422, problem),
            "{:#}",
            answer.json()
        );
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 20));
    }
    assert_eq!(client.get("/v1/plugins").await.expect(200)["data"], json!([]));
}
