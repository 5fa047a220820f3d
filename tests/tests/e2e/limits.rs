//! Limits: rates, sizes, quotas, and refusals at the door.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use hookmill_tests::{Answer, Client, Server};
use serde_json::{Value, json};

/// The problem an answer must be.
fn refused(answer: &Answer, status: u16, slug: &str) -> Value {
    let body = answer.expect(status);
    let kind = body["type"].as_str().unwrap_or_default();
    assert!(kind.ends_with(&format!("/{slug}")), "{body}");
    body
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().expect("a text"))
}

fn event(name: &str) -> Value {
    json!({"type": name, "payload": {"n": 1}})
}

async fn scene(settings: &[(&str, &str)]) -> (Server, Client) {
    let server = Server::start_with(settings).await;
    let client = server.client();
    client.event_type("tick").await;
    (server, client)
}

#[tokio::test]
async fn an_applications_rate_is_told_and_kept_to() {
    let (_server, client) = scene(&[]).await;
    let answer = client.post("/v1/events", &event("tick")).await;
    assert!(header(&answer, "ratelimit").is_none(), "nobody has a limit");
    answer.expect(202);
    // So slow that no token comes back while the test runs.
    let limits = json!({"events": {"per_second": 0.01, "burst": 3}});
    client.put("/v1/applications/default/limits", &limits).await.expect(200);
    let answer = client.post("/v1/events", &event("tick")).await;
    assert_eq!(header(&answer, "ratelimit-policy"), Some("\"application-events\";q=3;w=300"));
    assert_eq!(header(&answer, "ratelimit"), Some("\"application-events\";r=2;t=100"));
    answer.expect(202);
    // A batch that does not fit is refused whole, and takes nothing.
    let batch = json!([event("tick"), event("tick"), event("tick")]);
    let refused = client.post("/v1/events/batch", &batch).await;
    assert!(header(&refused, "retry-after").is_some());
    self::refused(&refused, 429, "rate-limited");
    let batch = json!([event("tick"), event("tick")]);
    let taken = client.post("/v1/events/batch", &batch).await.expect(200);
    assert_eq!(taken["accepted"], 2);
    let refused = client.post("/v1/events", &event("tick")).await;
    let problem = self::refused(&refused, 429, "rate-limited");
    assert_eq!(problem["limit"], "application-events");
    // Other requests have no limit; and without one, events have none either.
    client.get("/v1/events").await.expect(200);
    client.put("/v1/applications/default/limits", &json!({})).await.expect(200);
    client.post("/v1/events", &event("tick")).await.expect(202);
}

#[tokio::test]
async fn an_event_type_has_a_rate_and_a_size_of_its_own_and_they_survive_a_restart() {
    let (mut server, client) = scene(&[]).await;
    client.event_type("tock").await;
    let limits = json!({"events": {"per_second": 0.01, "burst": 1}, "max_payload_bytes": 10});
    client.put("/v1/event-types/tick/limits", &limits).await.expect(200);
    server.stop().await;
    server.restart().await;
    let client = server.client();
    let large = json!({"type": "tick", "payload": "more than ten bytes"});
    let problem = refused(&client.post("/v1/events", &large).await, 413, "body-too-large");
    assert_eq!(problem["limit_bytes"], 10);
    let batch = json!([event("tick"), event("tick"), event("tock")]);
    let answer = client.post("/v1/events/batch", &batch).await.expect(200);
    let statuses: Vec<_> =
        answer["data"].as_array().unwrap().iter().map(|i| &i["status"]).collect();
    assert_eq!(json!(statuses), json!([202, 429, 202]));
    for (body, at) in [
        (json!({"subscriptions": 1}), "/subscriptions"),
        (json!({"events": {"per_second": 0}}), "/events/per_second"),
    ] {
        let answer = client.put("/v1/event-types/tick/limits", &body).await;
        let problem = refused(&answer, 400, "invalid-field");
        assert_eq!(problem["errors"][0]["at"], at);
    }
}

#[tokio::test]
async fn what_one_limit_refuses_takes_nothing_from_the_others() {
    let (_server, client) = scene(&[]).await;
    let slow = |burst: u32| json!({"events": {"per_second": 0.01, "burst": burst}});
    client.put("/v1/applications/default/limits", &slow(10)).await.expect(200);
    client.put("/v1/event-types/tick/limits", &slow(1)).await.expect(200);
    client.event_type("tock").await;
    client.post("/v1/events", &event("tick")).await.expect(202);
    for _ in 0..3 {
        let answer = client.post("/v1/events", &event("tick")).await;
        assert_eq!(refused(&answer, 429, "rate-limited")["limit"], "event-type-events");
        let standing = header(&answer, "ratelimit").unwrap();
        assert!(standing.contains("\"application-events\";r=9;"), "{standing}");
    }
    let batch = json!([event("tick"), event("tock"), event("tick")]);
    let answer = client.post("/v1/events/batch", &batch).await;
    assert_eq!(answer.expect(200)["accepted"], 1);
    let answer = client.post("/v1/events", &event("tock")).await;
    let standing = header(&answer, "ratelimit").unwrap();
    assert!(standing.contains("\"application-events\";r=7;"), "{standing}");
}

#[tokio::test]
async fn what_was_accepted_stays_so_though_its_type_takes_no_more_as_large_ones() {
    let (_server, client) = scene(&[]).await;
    let large = json!({"type": "tick", "id": "p1", "payload": "more than ten bytes"});
    let first = client.post("/v1/events", &large).await.expect(202);
    let limits = json!({"max_payload_bytes": 10});
    client.put("/v1/event-types/tick/limits", &limits).await.expect(200);
    let again = client.post("/v1/events", &large).await.expect(202);
    assert_eq!(again["id"], first["id"]);
    let other = json!({"type": "tick", "id": "p2", "payload": "more than ten bytes"});
    refused(&client.post("/v1/events", &other).await, 413, "body-too-large");
    let too_much = json!({"max_payload_bytes": 99_999_999_999_u64});
    let answer = client.put("/v1/event-types/tick/limits", &too_much).await;
    assert_eq!(refused(&answer, 400, "invalid-field")["errors"][0]["at"], "/max_payload_bytes");
}

#[tokio::test]
async fn requests_and_subscriptions_have_defaults_for_all() {
    let settings = [("KEY_REQUESTS_PER_SECOND", "0.01"), ("APPLICATION_SUBSCRIPTIONS", "1")];
    let (_server, client) = scene(&settings).await;
    client.get("/v1/subscriptions").await.expect(200);
    let problem = refused(&client.get("/v1/subscriptions").await, 429, "rate-limited");
    assert_eq!(problem["limit"], "key-requests");
    // Publishing is counted apart, and what belongs to the platform not at all.
    client.post("/v1/events", &event("tick")).await.expect(202);
    let usage = client.get("/v1/applications/default/usage").await.expect(200);
    assert_eq!(
        (&usage["subscriptions"], &usage["limits"]["subscriptions"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn one_subscription_more_than_the_quota_is_refused() {
    let (_server, client) = scene(&[("APPLICATION_SUBSCRIPTIONS", "1")]).await;
    let body = json!({"endpoint": "http://127.0.0.1:9/hook", "event_types": ["tick"]});
    client.post("/v1/subscriptions", &body).await.expect(201);
    let problem = refused(&client.post("/v1/subscriptions", &body).await, 403, "quota-exceeded");
    assert_eq!(problem["quota"], "subscriptions");
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(1), &json!(1)));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("it is memory");
    encoder.finish().expect("it is memory")
}

#[tokio::test]
async fn what_a_source_takes_counts_against_its_application_and_its_event_type() {
    let (_server, client) = scene(&[]).await;
    let source = json!({"name": "old", "kind": "basic", "username": "acme", "secret": "pass word",
        "event_type": {"fixed": "tick"}});
    let source = client.post("/v1/sources", &source).await.expect(201);
    let path = source["path"].as_str().unwrap();
    let send = async |password: &str, body: &str| {
        let credentials = STANDARD.encode(format!("acme:{password}"));
        let basic = format!("Basic {credentials}");
        let headers = [("content-type", "application/json"), ("authorization", &basic)];
        client.with_key(None).send("POST", path, &headers, body.to_owned()).await
    };
    let limits = json!({"max_payload_bytes": 20});
    client.put("/v1/event-types/tick/limits", &limits).await.expect(200);
    let limits = json!({"events": {"per_second": 0.01, "burst": 3}});
    client.put("/v1/applications/default/limits", &limits).await.expect(200);
    // Who cannot sign takes nothing from anybody.
    for _ in 0..9 {
        send("another", "1").await.expect(401);
    }
    send("pass word", "1").await.expect(200);
    refused(&send("pass word", &format!("\"{}\"", "x".repeat(20))).await, 413, "body-too-large");
    client.post("/v1/events", &event("tick")).await.expect(202);
    let answer = send("pass word", "2").await;
    assert!(header(&answer, "retry-after").is_some());
    let problem = refused(&answer, 429, "rate-limited");
    assert_eq!(problem["limit"], "application-events");
    let id = source["id"].as_str().unwrap();
    let listed = client.get(&format!("/v1/sources/{id}/refusals")).await.expect(200);
    assert_eq!(listed["data"][0]["reason"], "rate_limited");
    assert_eq!(listed["data"][1]["reason"], "too_large");
}

#[tokio::test]
async fn a_change_is_one_request_and_one_too_many_writes_nothing() {
    let (_server, admin) = scene(&[]).await;
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let key = json!({"name": "x", "application": "shop", "scopes": ["manage"]});
    let key = admin.post("/v1/keys", &key).await.expect(201);
    let shop = admin.with_key(key["key"].as_str());
    let body = json!({"endpoint": "http://127.0.0.1:9/hook", "event_types": ["tick"]});
    let id = shop.post("/v1/subscriptions", &body).await.expect(201)["id"].clone();
    let path = format!("/v1/subscriptions/{}", id.as_str().unwrap());
    let limits = json!({"requests": {"per_second": 0.01, "burst": 4}});
    admin.put("/v1/applications/shop/limits", &limits).await.expect(200);
    shop.patch(&path, &json!({"description": "one"})).await.expect(200);
    shop.patch(&path, &json!({"endpoint": "nowhere"})).await;
    // Whatever it is that an application asks for, and whatever comes of it.
    shop.get("/v1/keys").await.expect(200);
    shop.get("/v1/applications").await.expect(403);
    refused(&shop.get("/v1/keys").await, 429, "rate-limited");
    let answer = shop.patch(&path, &json!({"description": "two"})).await;
    refused(&answer, 429, "rate-limited");
    let log = admin.get("/v1/audit?action=change_subscription").await.expect(200);
    let log = log["data"].as_array().unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["after"]["description"], "one");
    assert!(log[0]["before"].is_object());
}

#[tokio::test]
async fn what_a_body_inflates_to_is_weighed() {
    let (_server, client) = scene(&[("MAX_BODIES_BYTES", "1048576")]).await;
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let batch = |bytes: usize| {
        let payload = "x".repeat(bytes);
        gzip(json!([{"type": "tick", "payload": payload}]).to_string().as_bytes())
    };
    let body = batch(4 << 20);
    assert!(body.len() < 100_000);
    let answer = client.send("POST", "/v1/events/batch", &packed, body).await;
    assert_eq!(refused(&answer, 503, "overloaded")["reason"], "memory");
    let small = batch(100_000);
    let taken = client.send("POST", "/v1/events/batch", &packed, small).await.expect(200);
    assert_eq!(taken["accepted"], 1);
    // Nothing is left of what was refused.
    for _ in 0..20 {
        let twice = [("content-type", "application/json"), ("content-encoding", "gzip, gzip")];
        let answer = client.send("POST", "/v1/events", &twice, batch(10)).await;
        refused(&answer, 415, "unknown-encoding");
        client.send("POST", "/v1/events/batch", &packed, batch(100_000)).await.expect(200);
    }
}
