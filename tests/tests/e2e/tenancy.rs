//! No tenant reaches another: each route of the API's own description is called without a key,
//! with keys that lack its scope, and with another tenant's key and real ids.

use std::collections::BTreeMap;

use hookmill_tests::{Answer, Client, Receiver, Server, plugin};
use serde_json::{Value, json};

/// What another tenant's key with every scope comes to.
enum Row {
    /// It is refused: an admin key is needed.
    Admin,
    /// Not there, by the same words as what never was; sent with this body.
    Foreign(Value),
    /// A list of its own, without anything of the victim's.
    Own,
    /// It acts for its own application; what it then does is tried elsewhere.
    Acts,
}

fn row(operation: &str) -> Option<Row> {
    Some(match operation {
        "create_application"
        | "list_applications"
        | "get_application"
        | "delete_application"
        | "create_event_type"
        | "change_event_type"
        | "delete_event_type"
        | "add_schema_version"
        | "check_schema_version"
        | "change_schema_version"
        | "get_application_limits"
        | "set_application_limits"
        | "get_application_usage"
        | "get_event_type_limits"
        | "set_event_type_limits"
        | "set_key_limits"
        | "make_backup" => Row::Admin,
        "list_events" | "list_deliveries" | "list_replays" | "list_subscriptions"
        | "list_plugins" | "list_backtests" | "list_violations" | "list_keys" | "list_audit"
        | "list_sources" => Row::Own,
        "publish_event"
        | "publish_batch"
        | "upload_plugin"
        | "start_replay"
        | "create_subscription"
        | "create_source"
        | "tail"
        | "create_key"
        | "create_portal_token"
        | "revoke_portal_tokens"
        | "list_event_types"
        | "get_event_type"
        | "list_schema_versions"
        | "get_schema_version" => Row::Acts,
        "change_source" => Row::Foreign(json!({"name": "taken-over"})),
        "match_subscription" => {
            Row::Foreign(json!({"event": {"type": "order.paid", "payload": {}}}))
        }
        "change_subscription" => Row::Foreign(json!({"description": "taken over"})),
        "roll_back" => Row::Foreign(json!({})),
        "set_live_version" => Row::Foreign(json!({"version": "1.0.0"})),
        "start_rollout" => Row::Foreign(json!({"version": "1.0.0", "mode": "shadow"})),
        "start_backtest" => Row::Foreign(json!({"version": "1.0.0"})),
        "run_plugin" => Row::Foreign(json!({"event": {"type": "order.paid", "payload": {}}})),
        "send_delivery_to" => Row::Foreign(json!({"url": "http://127.0.0.1:9/"})),
        "get_event"
        | "get_event_payload"
        | "get_delivery"
        | "get_delivery_inputs"
        | "retry_delivery"
        | "rerun_delivery"
        | "get_replay"
        | "pause_replay"
        | "resume_replay"
        | "cancel_replay"
        | "get_subscription"
        | "delete_subscription"
        | "subscription_health"
        | "pause_subscription"
        | "resume_subscription"
        | "enable_subscription"
        | "disable_subscription"
        | "test_subscription"
        | "rotate_secret"
        | "get_source"
        | "delete_source"
        | "list_refusals"
        | "add_source_secret"
        | "remove_source_secret"
        | "get_handshake"
        | "ask_for_leave"
        | "list_secrets"
        | "add_secret"
        | "remove_secret"
        | "get_plugin"
        | "delete_plugin"
        | "list_plugin_versions"
        | "get_plugin_version"
        | "delete_plugin_version"
        | "list_plugin_history"
        | "get_rollout"
        | "end_rollout"
        | "plugin_version_stats"
        | "list_plugin_failures"
        | "release_plugin_version"
        | "get_plugin_component"
        | "get_backtest"
        | "cancel_backtest"
        | "get_key"
        | "get_key_limits"
        | "revoke_key"
        | "rotate_key" => Row::Foreign(Value::Null),
        _ => return None,
    })
}

/// One operation of the API's description.
struct Operation {
    method: String,
    path: String,
    id: String,
    scopes: Vec<String>,
}

async fn operations(client: &Client) -> Vec<Operation> {
    let document = client.get("/openapi.json").await.expect(200);
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("it is an object") {
        for (method, operation) in methods.as_object().expect("it is an object") {
            if !["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                continue;
            }
            let security = operation["security"][0]["bearer"].as_array();
            assert_eq!(security.is_some(), path.starts_with("/v1/"), "{method} {path}");
            let Some(scopes) = security else { continue };
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                id: operation["operationId"].as_str().expect("it is a text").to_owned(),
                scopes: scopes
                    .iter()
                    .map(|s| s.as_str().expect("it is a text").to_owned())
                    .collect(),
            });
        }
    }
    found
}

async fn key(admin: &Client, application: Option<&str>, scopes: &[&str]) -> Client {
    let body = json!({"name": "a key", "application": application, "scopes": scopes});
    let made = admin.post("/v1/keys", &body).await.expect(201);
    admin.with_key(made["key"].as_str())
}

async fn call(client: &Client, operation: &Operation, path: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    let (headers, body) =
        if body.is_null() { (&json[..0], String::new()) } else { (&json[..], body.to_string()) };
    client.send(&operation.method, path, headers, body).await
}

fn fill(template: &str, ids: &BTreeMap<&str, String>) -> String {
    let collection = template.split('/').nth(2).expect("the path has so many parts");
    let parts = template.split('/').map(|part| match part {
        "{id}" | "{name}" | "{application}" => ids[collection].clone(),
        "{secret}" => ids["secrets"].clone(),
        "{version}" => "1.0.0".to_owned(),
        "{fingerprint}" => "0123456789abcdef".to_owned(),
        other => other.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_asks_for_a_key_with_its_scope() {
    let server = Server::start().await;
    let admin = server.client();
    admin.post("/v1/applications", &json!({"name": "b"})).await.expect(201);
    let mut keys = Vec::new();
    for scope in ["read", "publish", "manage"] {
        keys.push((
            scope,
            key(&admin, Some("b"), &[scope]).await,
            key(&admin, None, &[scope]).await,
        ));
    }
    for operation in operations(&admin).await {
        let mut path = operation.path.replace(['{', '}'], "");
        if operation.id == "tail" {
            // It would be answered on and on.
            path.push_str("?state=none");
        }
        let what = format!("{} {path}", operation.method);
        let none = call(&admin.with_key(None), &operation, &path, &Value::Null).await;
        assert_eq!((none.status, none.problem().as_str()), (401, "unauthorized"), "{what}");
        let needed = operation.scopes.iter().filter(|scope| *scope != "admin");
        for (scope, of_b, of_all) in &keys {
            let enough = |need: &str| *scope == need || (*scope == "manage" && need == "read");
            let lacking = needed.clone().find(|need| !enough(need));
            for client in [of_b, of_all] {
                let answer = call(client, &operation, &path, &Value::Null).await;
                let lacks = answer.problem() == "insufficient-scope";
                let shown = answer.json();
                assert_eq!(lacks, lacking.is_some(), "{what} with {scope}: {shown}");
                if let Some(needed) = lacking {
                    assert_eq!((answer.status, &answer.json()["scope"]), (403, &json!(needed)));
                    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                    assert!(challenge.ends_with(&format!("scope=\"{needed}\"")), "{challenge}");
                }
            }
        }
    }
}

#[tokio::test]
async fn no_route_shows_or_changes_what_is_anothers() {
    let server = Server::start().await;
    let admin = server.client();
    let receiver = Receiver::start().await;
    for name in ["victim", "other"] {
        admin.post("/v1/applications", &json!({"name": name})).await.expect(201);
    }
    admin.event_type("order.paid").await;
    let all = ["read", "publish", "manage"];
    let victim = key(&admin, Some("victim"), &all).await;
    let other = key(&admin, Some("other"), &all).await;

    let uploaded = victim.upload(plugin("redact")).await.expect(201);
    let version = uploaded["version"].as_str().unwrap().to_owned();
    let (subscription, _) =
        victim.subscribe(&receiver.url("/victim"), &["order.*"], &json!([])).await;
    let secret =
        json!({"type": "order.paid", "payload": {"marker": "only-the-victims"}, "id": "order-7"});
    let event =
        victim.post("/v1/events", &secret).await.expect(202)["id"].as_str().unwrap().to_owned();
    let delivery =
        victim.delivery_in(&event, &["succeeded"]).await["id"].as_str().unwrap().to_owned();
    let replay = victim
        .post("/v1/replays", &json!({"subscription_ids": [subscription], "states": ["dead"]}))
        .await
        .expect(202)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let source = json!({"name": "github", "kind": "github", "secret": "only-the-victims"});
    let source = victim.post("/v1/sources", &source).await.expect(201);
    let sources_secret = source["secrets"][0]["id"].as_str().unwrap().to_owned();
    let source = source["id"].as_str().unwrap().to_owned();
    let victims_key =
        victim.get("/v1/keys").await.expect(200)["data"][0]["id"].as_str().unwrap().to_owned();

    let absent = |real: &str| format!("{}{}", &real[..real.len() - 6], "zzzzzz");
    let real: BTreeMap<&str, String> = [
        ("events", event.clone()),
        ("deliveries", delivery.clone()),
        ("replays", replay.clone()),
        ("subscriptions", subscription.clone()),
        ("plugins", "redact".to_owned()),
        // One of a kind whose real ones are gone with their job.
        ("backtests", format!("bkt_{}", &subscription[4..])),
        ("keys", victims_key.clone()),
        ("sources", source.clone()),
        ("secrets", sources_secret),
        ("event-types", "order.paid".to_owned()),
        ("applications", "victim".to_owned()),
    ]
    .into();
    let mut none = real.clone();
    for (collection, id) in &mut none {
        *id = if id.contains('_') { absent(id) } else { format!("{}x", &id[..id.len() - 1]) };
        assert_ne!(*id, real[collection]);
    }
    let look = async || {
        let mut seen = Vec::new();
        for path in [
            format!("/v1/subscriptions/{subscription}"),
            format!("/v1/subscriptions/{subscription}/secrets"),
            format!("/v1/events/{event}"),
            format!("/v1/sources/{source}"),
            format!("/v1/deliveries/{delivery}"),
            "/v1/deliveries".to_owned(),
            "/v1/events".to_owned(),
            "/v1/plugins".to_owned(),
            "/v1/plugins/redact/history".to_owned(),
        ] {
            seen.push(victim.get(&path).await.expect(200));
        }
        seen
    };
    let before = look().await;
    let fresh = |text: &str, ids: &BTreeMap<&str, String>, path: &str| {
        let id = &ids[path.split('/').nth(2).unwrap()];
        text.replace(id, "ID").replace(&version, "V")
    };
    for operation in operations(&admin).await {
        let what = format!("{} {} ({})", operation.method, operation.path, operation.id);
        let row = row(&operation.id).unwrap_or_else(|| {
            panic!("{what} is new: say here what another tenant's key comes to")
        });
        let path = fill(&operation.path, &real).replace("1.0.0", &version);
        match row {
            Row::Acts => {}
            Row::Admin => {
                assert!(operation.scopes.contains(&"admin".to_owned()), "{what}");
                let answer = call(&other, &operation, &path, &Value::Null).await;
                assert_eq!(
                    (answer.status, answer.problem().as_str()),
                    (403, "admin-needed"),
                    "{what}"
                );
            }
            Row::Own => {
                let answer = call(&other, &operation, &path, &Value::Null).await;
                let text = answer.expect(200).to_string();
                for theirs in [&event, &delivery, &replay, &subscription, &source, &victims_key] {
                    assert!(!text.contains(theirs.as_str()), "{what}: {text}");
                }
                assert!(!text.contains("redact") && !text.contains("only-the-victims"), "{what}");
            }
            Row::Foreign(body) => {
                let absent = fill(&operation.path, &none).replace("1.0.0", &version);
                let theirs = call(&other, &operation, &path, &body).await;
                let nobodys = call(&other, &operation, &absent, &body).await;
                assert_eq!(
                    (theirs.status, nobodys.status),
                    (404, 404),
                    "{what}: {}",
                    theirs.json()
                );
                assert_eq!(
                    fresh(&String::from_utf8_lossy(&theirs.body), &real, &path),
                    fresh(&String::from_utf8_lossy(&nobodys.body), &none, &absent),
                    "{what}"
                );
                assert!(theirs.json()["did_you_mean"].is_null(), "{what}");
            }
        }
        // Another application's name is refused whether it exists or not, by the same words.
        let named = async |name: &str| {
            let headers = [("hookmill-application", name)];
            let answer = other.send(&operation.method, &path, &headers, "").await;
            assert_eq!(answer.problem(), "foreign-application", "{what}");
            answer.body
        };
        assert_eq!(named("victim").await, named("nobody").await, "{what}");
    }
    assert_eq!(look().await, before, "what is the victim's was changed");
}

#[tokio::test]
async fn what_is_named_in_bodies_and_filters_is_ones_own_too() {
    let server = Server::start().await;
    let admin = server.client();
    let receiver = Receiver::start().await;
    for name in ["victim", "other"] {
        admin.post("/v1/applications", &json!({"name": name})).await.expect(201);
    }
    admin.event_type("order.paid").await;
    let all = ["read", "publish", "manage"];
    let victim = key(&admin, Some("victim"), &all).await;
    let other = key(&admin, Some("other"), &all).await;
    let (subscription, _) =
        victim.subscribe(&receiver.url("/victim"), &["order.*"], &json!([])).await;
    let event = json!({"type": "order.paid", "payload": {"n": 1}, "id": "order-7"});
    let first = victim.post("/v1/events", &event).await.expect(202);
    // The same producer's id is another event for another application, and goes nowhere else.
    let second = other.post("/v1/events", &event).await.expect(202);
    assert_ne!(first["id"], second["id"]);
    assert_eq!(second["deliveries"], 0);

    let path = format!("/v1/deliveries?subscription_id={subscription}");
    assert_eq!(other.get(&path).await.expect(200)["data"], json!([]));
    let path = format!("/v1/deliveries?event_id={}", first["id"].as_str().unwrap());
    assert_eq!(other.get(&path).await.expect(200)["data"], json!([]));
    let replay = other.post("/v1/replays", &json!({"subscription_ids": [subscription]})).await;
    let absent = format!("{}zzzzzz", &subscription[..subscription.len() - 6]);
    let nobodys = other.post("/v1/replays", &json!({"subscription_ids": [absent]})).await;
    assert_eq!(replay.status, nobodys.status);
    assert_eq!(
        String::from_utf8_lossy(&replay.body).replace(&subscription, "ID"),
        String::from_utf8_lossy(&nobodys.body).replace(&absent, "ID")
    );
    // Shared plugins are the platform's; a name may be one's own and another's.
    let wasm = [("content-type", "application/wasm")];
    let shared = other.send("POST", "/v1/plugins?shared=true", &wasm, plugin("redact")).await;
    assert_eq!(shared.problem(), "admin-needed");
    victim.upload(plugin("redact")).await.expect(201);
    other.upload(plugin("redact")).await.expect(201);
    admin.send("POST", "/v1/plugins?shared=true", &wasm, plugin("reshape")).await.expect(201);
    let deleted = other.send("DELETE", "/v1/plugins/reshape?shared=true", &[], "").await;
    assert_eq!(deleted.problem(), "admin-needed");
    let typo = other.get("/v1/plugins/reshap").await;
    assert_eq!(typo.json()["did_you_mean"], "reshape", "what is shared may be named");
    // Event types are the platform's, whoever's source would create them.
    let creates = json!({"name": "a", "kind": "github", "unknown_event_types": "create"});
    assert_eq!(other.post("/v1/sources", &creates).await.problem(), "admin-needed");
    let refuses = json!({"name": "a", "kind": "github"});
    let made = other.post("/v1/sources", &refuses).await.expect(201);
    let path = format!("/v1/sources/{}", made["id"].as_str().unwrap());
    let create = json!({"unknown_event_types": "create"});
    assert_eq!(other.patch(&path, &create).await.problem(), "admin-needed");
    let as_other = [("content-type", "application/json"), ("hookmill-application", "other")];
    admin.send("PATCH", &path, &as_other, create.to_string()).await.expect(200);
    other.patch(&path, &json!({"name": "b"})).await.expect(200);
    let elsewhere = json!({"event_type": {"fixed": "order.refunded"}});
    assert_eq!(other.patch(&path, &elsewhere).await.problem(), "admin-needed");
    other.patch(&path, &json!({"unknown_event_types": "refuse"})).await.expect(200);
    other.patch(&path, &elsewhere).await.expect(200);
    // Keys are made for oneself, and with no more than one has.
    let for_victim = json!({"name": "x", "application": "victim", "scopes": ["read"]});
    assert_eq!(other.post("/v1/keys", &for_victim).await.problem(), "foreign-application");
    let manager = key(&admin, Some("other"), &["manage"]).await;
    let more = json!({"name": "x", "scopes": ["publish"]});
    assert_eq!(manager.post("/v1/keys", &more).await.problem(), "invalid-key");
    let same =
        manager.post("/v1/keys", &json!({"name": "x", "scopes": ["read"]})).await.expect(201);
    assert!(
        same["key"].as_str().unwrap().starts_with("hmk_app_") && same["application"].is_string()
    );
    // An application that is gone takes its keys with it.
    admin.post("/v1/applications", &json!({"name": "brief"})).await.expect(201);
    let brief = key(&admin, Some("brief"), &all).await;
    brief.get("/v1/subscriptions").await.expect(200);
    admin.delete("/v1/applications/brief").await.expect(204);
    assert_eq!(brief.get("/v1/subscriptions").await.status, 401);
}
