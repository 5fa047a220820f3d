//! What a request costs is bounded by what it asks: a name that is none, a violation's place,
//! a list.

use hookmill_tests::{PATIENCE, Server};
use serde_json::{Value, json};
use tokio::time::timeout;

#[tokio::test]
async fn a_name_of_a_megabyte_is_refused_as_quickly_as_a_short_one() {
    let server = Server::start().await;
    let client = server.client();
    for number in 0..50 {
        client.event_type(&format!("order.created{number}")).await;
    }
    let short = client.post("/v1/events", &json!({"type": "order.craeted1", "payload": 1})).await;
    assert_eq!(short.problem(), "unknown-event-type");
    assert_eq!(short.json()["did_you_mean"], "order.created1");

    let long_ones = async {
        let long = json!({"type": "z".repeat(1_000_000), "payload": 1});
        let refused = client.post("/v1/events", &long).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "unknown-event-type"));
        let many: Vec<Value> = (0..60)
            .map(|number| json!({"type": format!("{}{number}", "z".repeat(15_000)), "payload": 1}))
            .collect();
        let answer = client.post("/v1/events/batch", &json!(many)).await.expect(200);
        assert_eq!(answer["refused"], 60);
        let name = "z".repeat(30_000);
        assert_eq!(client.get(&format!("/v1/event-types/{name}")).await.status, 404);
    };
    timeout(PATIENCE, long_ones).await.expect("comparing them with the fifty names takes minutes");
}

#[tokio::test]
async fn a_violation_in_a_place_with_a_long_name_is_told_in_few_bytes() {
    let server = Server::start().await;
    let client = server.client();
    let schema = json!({"additionalProperties": {"additionalProperties": {"type": "string"}}});
    client.post("/v1/event-types", &json!({"name": "deep", "schema": schema})).await.expect(201);
    let members: serde_json::Map<String, Value> =
        (0..25).map(|number| (format!("m{number}"), json!(1))).collect();
    let event = json!({"type": "deep", "payload": {"k".repeat(1_000_000): members}});

    let refused = client.post("/v1/events", &event).await;
    assert_eq!((refused.status, refused.problem().as_str()), (422, "schema-violation"));
    assert!(refused.body.len() < 20_000, "{} bytes", refused.body.len());
    let at = refused.json()["errors"][0]["at"].as_str().expect("a place").to_owned();
    assert!(at.starts_with("/kkk") && at.ends_with('…'), "{at}");

    client.patch("/v1/event-types/deep", &json!({"mode": "warn"})).await.expect(200);
    client.post("/v1/events", &event).await.expect(202);
    let listed = client.get("/v1/event-types/deep/violations").await;
    assert!(listed.body.len() < 20_000, "{} bytes", listed.body.len());
    assert!(listed.expect(200)["data"][0]["violations"].as_array().is_some_and(|v| v.len() > 3));
}

#[tokio::test]
async fn a_list_of_large_events_does_not_read_their_payloads() {
    const COUNT: usize = 200;
    let server = Server::start().await;
    let client = server.client();
    client.post("/v1/event-types", &json!({"name": "big", "content_types": ["*/*"]})).await;
    let payload = vec![b'x'; 1_000_000];
    let kind = [("content-type", "application/octet-stream")];
    for _ in 0..COUNT {
        client.send("POST", "/v1/events?type=big", &kind, payload.clone()).await.expect(202);
    }
    forget_peak(server.pid());
    let before = peak(server.pid());
    for path in ["/v1/events?limit=200", "/v1/events?limit=200&event_type=big"] {
        let listed = client.get(path).await.expect(200);
        let listed = listed["data"].as_array().expect("a list");
        assert_eq!(listed.len(), COUNT);
        assert!(listed.iter().all(|event| event["payload_bytes"] == 1_000_000));
        assert!(listed.iter().all(|event| event["content_type"] == "application/octet-stream"));
    }
    let grown = peak(server.pid()).saturating_sub(before);
    // A reader keeps pages of them, as many as it may; the payloads themselves are twice that.
    assert!(grown < 120_000, "the server took {grown} kB more for lists of {COUNT} MB");
}

/// The most memory a process had, in kilobytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

/// Lets the kernel count the most from now on.
fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("it is ours");
}
