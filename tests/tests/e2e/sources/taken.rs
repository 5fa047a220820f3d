//! What becomes of requests that are taken, and of those that cannot be.

use std::collections::{HashMap, HashSet};

use hookmill_tests::{Receiver, Server, github_events, plugin};
use serde_json::{Value, json};

use super::{
    changed, fresh, now, owned,
    parties::{SECRET, github_headers, parties, slack_headers},
    post,
};

#[tokio::test]
async fn githubs_own_payloads_go_through_as_json_and_as_forms() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.subscribe(&receiver.url("/github"), &["github.**"], &json!([])).await;
    // Some of the examples are there twice.
    let made = json!({"name": "github", "kind": "github", "unknown_event_types": "create",
        "repetitions": "id",
        "event_type": {"header": "x-github-event", "prefix": "github", "suffix": "/action"},
        "subject": "/repository/full_name"});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let (source, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let mut expected = HashMap::new();
    for (name, payload) in github_events() {
        let text = payload.to_string();
        let form = expected.len() % 2 == 1;
        let body = if form {
            let bytes = text.bytes().map(|byte| format!("%{byte:02X}"));
            format!("payload={}", bytes.collect::<String>())
        } else {
            text.clone()
        };
        let mut headers = github_headers(secret, 0, fresh(), body.as_bytes());
        headers = changed(&headers, "x-github-event", |_| name["github.".len()..].into());
        if form {
            let kind = |_: &str| "application/x-www-form-urlencoded".into();
            headers = changed(&headers, "content-type", kind);
        }
        let taken = post(&client, source, &headers, body).await.expect(200);
        let action = payload["action"].as_str().map(|action| format!(".{action}"));
        assert_eq!(taken["type"], format!("{name}{}", action.unwrap_or_default()));
        *expected.entry(text.into_bytes()).or_insert(0) += 1;
    }
    let count = expected.values().sum();
    assert!(count > 300, "{count}");
    let mut delivered = HashMap::new();
    for received in receiver.wait("/github", count).await {
        *delivered.entry(received.body.to_vec()).or_insert(0) += 1;
    }
    assert!(delivered == expected, "what was delivered is byte for byte what came in");
}

#[tokio::test]
async fn what_was_answered_with_200_survives_kill_9() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.subscribe(&receiver.url("/hook"), &["github.*"], &json!([])).await;
    let source = parties().remove(0).source(&client).await;
    let mut taken = HashSet::new();
    for _ in 0..5 {
        let mut sending = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (client, source) = (server.client().with_key(None), source.clone());
            sending.spawn(async move {
                let id = fresh();
                let body = format!("{{\"n\":{id}}}");
                let headers = github_headers(SECRET, 0, id, body.as_bytes());
                let headers: Vec<_> =
                    headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let path = format!("/in/{source}");
                let sent = client.try_send("POST", &path, &headers, body).await;
                sent.is_ok_and(|answer| answer.status == 200).then_some(id)
            });
        }
        // Kill it when some are answered and others are not.
        for _ in 0..10 {
            taken.extend(sending.join_next().await.unwrap().unwrap());
        }
        server.kill().await;
        while let Some(done) = sending.join_next().await {
            taken.extend(done.unwrap());
        }
        server.restart().await;
    }
    assert!(taken.len() >= 50, "{}", taken.len());
    let all = |received: &[hookmill_tests::Received]| {
        let arrived: HashSet<_> = received.iter().filter_map(|r| r.json()["n"].as_u64()).collect();
        taken.is_subset(&arrived)
    };
    receiver.wait_until("/hook", all).await;
    // The source and its secret are still there, and so are the ids it took.
    let first = *taken.iter().next().unwrap();
    let body = format!("{{\"n\":{first}}}");
    let headers = github_headers(SECRET, 0, first, body.as_bytes());
    let repeated = post(&server.client(), &source, &headers, body).await.expect(200);
    assert_eq!(repeated["repeated"], true);
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_to_both_sides() {
    let server = Server::start_with(&[("MAX_BODY_BYTES", "10000")]).await;
    let client = server.client();
    let made = json!({"name": "slack", "kind": "slack", "secret": "s"});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let source = made["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sources/{source}");
    let send = async |body: &str, kind: &str| {
        let headers = slack_headers("s", now(), 0, body.as_bytes());
        let headers = changed(&headers, "content-type", |_| kind.into());
        post(&client, &source, &headers, body).await
    };
    let json = "application/json";
    let asked = r#"{"type":"url_verification","challenge":"3eZbrw1aB","token":"x"}"#;
    let challenge = send(asked, json).await;
    assert_eq!((challenge.status, &challenge.body[..]), (200, &b"3eZbrw1aB"[..]));
    let unsigned = post(&client, &source, &owned(&[("content-type", json)]), asked).await;
    assert_eq!(unsigned.problem(), "unverified-request");

    let event = r#"{"type":"event_callback","event_id":"Ev7","event":{"type":"message"}}"#;
    assert_eq!(send(event, json).await.problem(), "unknown-event-type");
    assert_eq!(send("{\"type\":", json).await.problem(), "malformed-payload");
    assert_eq!(send("[]", json).await.problem(), "unmappable-request");
    assert_eq!(send(r#"{"type":"hookmill"}"#, json).await.problem(), "unknown-event-type");
    assert_eq!(send("<a/>", "application/xml").await.problem(), "wrong-content-type");
    assert_eq!(send(&"x".repeat(10_001), json).await.problem(), "body-too-large");
    let form = "application/x-www-form-urlencoded";
    assert_eq!(send("command=%2Fdeploy", form).await.problem(), "wrong-content-type");
    let list = client.get(&format!("{path}/refusals")).await.expect(200);
    assert!(list["since"].is_string(), "{list}");
    let reasons: Vec<_> = list["data"].as_array().unwrap().iter().collect();
    let unknown = reasons.iter().find(|r| r["delivery_id"] == "Ev7").unwrap();
    assert_eq!(unknown["reason"], "unknown_event_type");
    assert_eq!(
        (&unknown["verified"], &unknown["event_type"]),
        (&json!(true), &json!("slack.message"))
    );

    client.patch(&path, &json!({"unknown_event_types": "ignore"})).await.expect(200);
    assert_eq!(send(event, json).await.expect(200)["id"], Value::Null);
    client.event_type("slack.message").await;
    assert!(send(event, json).await.expect(200)["id"].is_string());
    client.patch(&path, &json!({"unknown_event_types": "create"})).await.expect(200);
    let interactive =
        "payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221.2%22%7D";
    assert_eq!(send(interactive, form).await.expect(200)["type"], "slack.block_actions");
    client.get("/v1/event-types/slack.block_actions").await.expect(200);

    // Whoever has no secret cannot tell whether there is such a source.
    let bad = slack_headers("other", now(), 0, event.as_bytes());
    let there = post(&client, &source, &bad, event).await;
    let absent = ["src_01jd8xq3m5e7r9t0v2w4y6z8ab", "x", "evt_01jd8xq3m5e7r9t0v2w4y6z8ab"];
    for absent in absent {
        let not_there = post(&client, absent, &bad, event).await;
        assert_eq!((not_there.status, not_there.json()), (there.status, there.json()));
        assert_eq!(not_there.headers["www-authenticate"], there.headers["www-authenticate"]);
    }
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for outcome in ["accepted", "ignored", "challenge", "no_match", "unknown_event_type"] {
        let series =
            format!("hookmill_source_requests_total{{kind=\"slack\",outcome=\"{outcome}\"}}");
        assert!(text.contains(&series), "{series}: {text}");
    }
}

#[tokio::test]
async fn a_sources_own_plugins_filter_and_transform_what_becomes_an_event() {
    let mut server = Server::start().await;
    let client = server.client();
    client.upload(plugin("field-filter")).await.expect(201);
    client.upload(plugin("redact")).await.expect(201);
    let pipeline = json!([
        {"plugin": "field-filter", "config": {"pass_if": {"at": "/total", "greater": 10}}},
        {"plugin": "redact", "config": {"fields": [{"at": "/email", "action": "remove"}]}}
    ]);
    let made = json!({"name": "shop", "kind": "basic", "username": "shop", "secret": "s",
        "event_type": {"fixed": "shop.order"}, "unknown_event_types": "create",
        "pipeline": [{"plugin": "nothing"}]});
    let mut made = made;
    assert_eq!(client.post("/v1/sources", &made).await.problem(), "unknown-plugin");
    made["pipeline"] = json!([{"plugin": "field-filter", "config": {"pass": 1}}]);
    assert_eq!(client.post("/v1/sources", &made).await.problem(), "invalid-config");
    made["pipeline"] = pipeline;
    let made = client.post("/v1/sources", &made).await.expect(201);
    let source = made["id"].as_str().unwrap();
    let headers =
        owned(&[("authorization", "Basic c2hvcDpz"), ("content-type", "application/json")]);
    for _ in 0..2 {
        let client = server.client();
        let small = post(&client, source, &headers, r#"{"total":9}"#).await.expect(200);
        assert_eq!(small["id"], Value::Null);
        let body = r#"{"total": 19.90, "email":"a@example.com"}"#;
        let large = post(&client, source, &headers, body).await.expect(200);
        let path = format!("/v1/events/{}/payload", large["id"].as_str().unwrap());
        let stored = client.get(&path).await;
        assert_eq!(stored.expect(200), json!({"total": 19.9}));
        // A total that is no number fails the filter: the third party is to try again.
        let odd = post(&client, source, &headers, r#"{"total":"19.90"}"#).await;
        assert_eq!((odd.status, odd.problem().as_str()), (503, "transform-failed"));
        let list = client.get(&format!("/v1/sources/{source}/refusals")).await.expect(200);
        assert_eq!(list["data"][0]["reason"], "transform_failed");
        assert_eq!(client.delete("/v1/plugins/redact").await.problem(), "in-use");
        server.kill().await;
        server.restart().await;
    }
    let client = server.client();
    client.patch(&format!("/v1/sources/{source}"), &json!({"pipeline": []})).await.expect(200);
    client.delete("/v1/plugins/redact").await.expect(204);
    let raw = post(&client, source, &headers, r#"{"total":9}"#).await.expect(200);
    assert!(raw["id"].is_string());
}

#[tokio::test]
async fn a_signature_is_over_the_bytes_that_came_even_if_they_are_compressed() {
    let server = Server::start().await;
    let client = server.client();
    let made = json!({"name": "github", "kind": "github", "secret": SECRET});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, b"{}").expect("it is memory");
    let packed = encoder.finish().expect("it is memory");
    let of_the_packed = github_headers(SECRET, 0, fresh(), &packed);
    let of_the_text = github_headers(SECRET, 0, fresh(), b"{}");
    let id = made["id"].as_str().expect("an id");
    for (mut headers, problem) in
        [(of_the_packed, "wrong-content-type"), (of_the_text, "unverified-request")]
    {
        headers.push(("content-encoding".into(), "gzip".into()));
        assert_eq!(post(&client, id, &headers, packed.clone()).await.problem(), problem);
    }
}
