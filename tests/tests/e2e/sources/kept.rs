//! Sources as things that are made, changed and owned.

use std::process::Command;

use hookmill_tests::{ADMIN_KEY, Server, binary};
use serde_json::{Value, json};

use super::{
    fresh, now,
    parties::{SECRET, WHSEC, parties, stripe_headers},
    post,
};

#[tokio::test]
async fn a_secret_is_rotated_without_a_request_lost() {
    let server = Server::start().await;
    let client = server.client();
    let party = parties().remove(0);
    let source = party.source(&client).await;
    let send = async |secret: &str| {
        let id = fresh();
        let body = (party.body)(id);
        let headers = (party.sign)(secret, now(), id, body.as_bytes());
        post(&client, &source, &headers, body).await.status
    };
    let path = format!("/v1/sources/{source}/secrets");
    assert_eq!((send(SECRET).await, send("second").await), (200, 401));
    let add = json!({"secret": "second", "others_expire_in_seconds": 3600});
    let second = client.post(&path, &add).await.expect(201);
    assert_eq!((send(SECRET).await, send("second").await), (200, 200));
    let shown = client.get(&format!("/v1/sources/{source}")).await.expect(200);
    assert_eq!(shown["secrets"].as_array().unwrap().len(), 2);
    assert!(shown["secrets"][1]["expires_at"].is_string());
    let third = client.post(&path, &json!({"others_expire_in_seconds": 0})).await.expect(201);
    let made = third["secret"].as_str().unwrap();
    assert_eq!((send(SECRET).await, send("second").await, send(made).await), (401, 401, 200));
    let gone = format!("{path}/{}", second["id"].as_str().unwrap());
    client.delete(&gone).await.expect(404);
    client.delete(&format!("{path}/{}", third["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(send(made).await, 401);
    let refusals = client.get(&format!("/v1/sources/{source}/refusals")).await.expect(200);
    assert_eq!(refusals["data"][0]["reason"], "no_secret");
}

#[tokio::test]
async fn a_source_belongs_to_its_application() {
    let server = Server::start().await;
    let client = server.client();
    client.post("/v1/applications", &json!({"name": "other"})).await.expect(201);
    let source = parties().remove(0).source(&client).await;
    let path = format!("/v1/sources/{source}");
    let other = [("hookmill-application", "other"), ("content-type", "application/json")];
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("PATCH", path.clone(), "{}"),
        ("DELETE", path.clone(), ""),
        ("GET", format!("{path}/refusals"), ""),
        ("POST", format!("{path}/secrets"), "{}"),
        ("DELETE", format!("{path}/secrets/ssc_01jd8xq3m5e7r9t0v2w4y6z8ab"), ""),
    ] {
        let answer = client.send(method, &path, &other, body).await;
        assert_eq!(answer.problem(), "not-found", "{method} {path}");
    }
    let listed = client.send("GET", "/v1/sources", &other, "").await.expect(200);
    assert_eq!(listed["data"], json!([]));
    let twin = json!({"name": "github", "kind": "github"});
    assert_eq!(client.post("/v1/sources", &twin).await.problem(), "already-exists");
    client.send("POST", "/v1/sources", &other, twin.to_string()).await.expect(201);
    assert_eq!(client.delete("/v1/applications/other").await.problem(), "in-use");
    client.delete(&path).await.expect(204);
    client.get(&path).await.expect(404);
    let bad = json!({"name": "A b", "kind": "hmac", "username": "x", "tolerance_seconds": 0,
        "hmac": {"header": "a b", "content": "{id}", "timestamp_header": "x-time"},
        "event_type": {"fixed": "hookmill.x", "prefix": "a"}, "delivery_id": {}, "subject": "x"});
    let refused = client.post("/v1/sources", &bad).await;
    assert_eq!(refused.problem(), "invalid-source");
    let refused = refused.json();
    let places: Vec<_> =
        refused["errors"].as_array().unwrap().iter().map(|e| e["at"].as_str().unwrap()).collect();
    let expected = [
        "/name",
        "/tolerance_seconds",
        "/hmac/content",
        "/hmac/header",
        "/hmac/timestamp_header",
        "/username",
        "/event_type/fixed",
        "/event_type",
        "/delivery_id",
        "/subject",
    ];
    assert_eq!(places, expected);
}

#[tokio::test]
async fn the_command_line_makes_and_changes_sources() {
    let server = Server::start().await;
    let folder = server.folder().to_owned();
    std::fs::write(folder.join("whsec.txt"), format!("{WHSEC}\n")).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(binary())
            .args(arguments)
            .current_dir(&folder)
            .env("HOOKMILL_URL", server.url())
            .env("HOOKMILL_KEY", ADMIN_KEY)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let create = [
        "source",
        "create",
        "pay",
        "--kind",
        "stripe",
        "--secret",
        "@whsec.txt",
        "--unknown-types",
        "create",
        "--type-prefix",
        "pay",
    ];
    let made = run(&create);
    let id = made.split_whitespace().next().unwrap();
    assert!(made.contains(&format!("/in/{id}")) && !made.contains("whsec_"), "{made}");
    let body = r#"{"id":"evt_1","type":"charge.succeeded"}"#;
    let headers = stripe_headers(WHSEC, now(), 0, body.as_bytes());
    let taken = post(&server.client(), id, &headers, body).await.expect(200);
    assert_eq!(taken["type"], "pay.charge.succeeded");
    run(&["source", "update", id, "--type-suffix", "/livemode", "--subject", "/id"]);
    let shown = run(&["source", "show", id]);
    assert!(shown.contains("/livemode") && shown.contains("\"prefix\":\"pay\""), "{shown}");
    let added = run(&[
        "--json",
        "source",
        "add-secret",
        id,
        "--secret",
        "other",
        "--others-expire-in",
        "0",
    ]);
    let added: Value = serde_json::from_str(&added).unwrap();
    assert_eq!(post(&server.client(), id, &headers, body).await.status, 401);
    run(&["source", "remove-secret", id, added["id"].as_str().unwrap()]);
    assert!(run(&["source", "refusals", id]).contains("no_match"));
    assert!(run(&["source", "list"]).contains("stripe"));
    run(&["source", "delete", id]);
}
