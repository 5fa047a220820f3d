//! The server keeps what its OpenAPI document promises: schemathesis makes requests of every
//! operation from the document alone, good and bad, and checks every answer.

use std::{process::Stdio, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hookmill_tests::{ADMIN_KEY, Client, Server, plugin, python_with, repository};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

/// How long schemathesis makes requests, in seconds. It says itself what it did not come to.
const SECONDS: &str = "75";
/// Its own start and report come on top.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_server_does_what_its_document_says() {
    // Endpoints that schemathesis makes up are never found, nor is anything but loopback allowed.
    let server = Server::start_with(&[("DNS_SERVERS", "127.0.0.1:9")]).await;
    let made = make(&server.client()).await;
    let folder = repository().join("tests/schemathesis");
    let python = tokio::task::spawn_blocking(|| python_with("schemathesis")).await.unwrap();
    let component = server.folder().join("component.wasm");
    std::fs::write(&component, plugin("field-filter")).unwrap();
    let run = Command::new(python.with_file_name("schemathesis"))
        .args(["--config-file", "schemathesis.toml", "run"])
        .arg(format!("{}/openapi.json", server.url()))
        .args(["--checks", "all", "--max-time", SECONDS, "--no-color"])
        .current_dir(&folder)
        .envs(made)
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .env("HOOKMILL_COMPONENT", &component)
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = timeout(PATIENCE, run).await.expect("schemathesis ends in time").unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{report}\n{}", String::from_utf8_lossy(&run.stderr));
    // A run that reached nothing would find nothing either.
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(report.contains(&format!("✅ {phase}")), "{phase}\n{report}");
    }
    assert_eq!(server.client().get("/readyz").await.status, 200);
}

/// One of everything that a path can name, for schemathesis to ask for.
async fn make(client: &Client) -> Vec<(&'static str, String)> {
    let id = |made: &Value| made["id"].as_str().expect("it is a text").to_owned();
    let post =
        async |path: &str, body: Value, status: u16| client.post(path, &body).await.expect(status);
    post("/v1/event-types", json!({"name": "order.created"}), 201).await;
    let headers = [("content-type", "application/wasm")];
    let uploaded = client.send("POST", "/v1/plugins", &headers, plugin("field-filter")).await;
    let version = uploaded.expect(201)["version"].as_str().expect("it is a text").to_owned();
    let subscription = json!({"endpoint": "http://127.0.0.1:9/", "event_types": ["order.*"]});
    let subscription = id(&post("/v1/subscriptions", subscription, 201).await);
    let event = json!({"type": "order.created", "payload": {"total": 7}});
    let event = id(&post("/v1/events", event, 202).await);
    let deliveries = client.get("/v1/deliveries").await.expect(200);
    let replay = post("/v1/replays", json!({}), 202).await;
    let backtest = json!({
        "version": version,
        "subscription_id": subscription,
        "config": {"pass_if": {}},
    });
    let backtest = post("/v1/plugins/field-filter/backtests", backtest, 202).await;
    post("/v1/applications", json!({"name": "shop"}), 201).await;
    let key = json!({"name": "a key", "application": "shop", "scopes": ["read"]});
    let key = post("/v1/keys", key, 201).await;
    let github = json!({"name": "github", "kind": "github", "unknown_event_types": "create"});
    let github = post("/v1/sources", github, 201).await;
    let till = json!({
        "name": "till",
        "kind": "basic",
        "username": "till",
        "secret": "paper-roll",
        "event_type": {"fixed": "order.created"},
    });
    let till = post("/v1/sources", till, 201).await;
    vec![
        ("KEY_ID", id(&key)),
        ("SOURCE_ID", id(&github)),
        ("SOURCE_SECRET_ID", id(&github["secrets"][0])),
        ("INBOUND_ID", id(&till)),
        ("INBOUND_PASSWORD", format!("Basic {}", STANDARD.encode("till:paper-roll"))),
        ("EVENT_ID", event),
        ("DELIVERY_ID", id(&deliveries["data"][0])),
        ("SUBSCRIPTION_ID", subscription),
        ("REPLAY_ID", id(&replay)),
        ("BACKTEST_ID", id(&backtest)),
        ("PLUGIN_VERSION", version),
    ]
}
