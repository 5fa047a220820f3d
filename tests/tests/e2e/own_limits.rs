//! The limits that somebody has of their own: who sets them, who changes them at once with
//! another, and what becomes of them when their holder is replaced or goes.

use hookmill_tests::{
    ADMIN_KEY, Answer, Client, Server,
    hardship::{hookmill, said},
};
use serde_json::{Value, json};

/// So slow that no token comes back while a test runs.
fn three() -> Value {
    json!({"events": {"per_second": 0.01, "burst": 3}})
}

async fn scene() -> (Server, Client) {
    let server = Server::start().await;
    let admin = server.client();
    admin.event_type("tick").await;
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    (server, admin)
}

/// A key of the application `shop`: its id, and a client with it.
async fn key(admin: &Client, scopes: &[&str]) -> (String, Client) {
    let body = json!({"name": "a key", "application": "shop", "scopes": scopes});
    let made = admin.post("/v1/keys", &body).await.expect(201);
    (made["id"].as_str().expect("it has an id").to_owned(), admin.with_key(made["key"].as_str()))
}

/// How many of five events are accepted.
async fn accepted(client: &Client) -> usize {
    let mut count = 0;
    for n in 0..5 {
        let event = json!({"type": "tick", "payload": n});
        count += usize::from(client.post("/v1/events", &event).await.status == 202);
    }
    count
}

#[tokio::test]
async fn a_key_has_limits_of_its_own_which_its_successor_inherits() {
    let (mut server, admin) = scene().await;
    let (id, publisher) = key(&admin, &["publish"]).await;
    let (_, manager) = key(&admin, &["manage"]).await;
    let (_, other) = key(&admin, &["publish"]).await;
    let path = format!("/v1/keys/{id}/limits");
    // The operator sets them; who manages the application sees them.
    assert_eq!(manager.put(&path, &three()).await.problem(), "admin-needed");
    admin.put(&path, &three()).await.expect(200);
    assert_eq!(manager.get(&path).await.expect(200)["own"], three());
    assert_eq!(publisher.get(&path).await.problem(), "insufficient-scope");
    assert_eq!(accepted(&publisher).await, 3);
    assert_eq!(accepted(&other).await, 5);
    let refused = publisher.post("/v1/events", &json!({"type": "tick", "payload": 1})).await;
    assert_eq!(
        (refused.problem(), refused.json()["limit"].clone()),
        ("rate-limited".into(), json!("key-events"))
    );
    // Whoever rotates a key does not get out of its limits.
    let rotated = manager.post(&format!("/v1/keys/{id}/rotate"), &json!({})).await;
    // It may not make one that publishes; the operator may.
    assert_eq!(rotated.problem(), "invalid-key");
    let rotated = admin.post(&format!("/v1/keys/{id}/rotate"), &json!({})).await.expect(201);
    let successor = admin.with_key(rotated["key"].as_str());
    assert_eq!(accepted(&successor).await, 3);
    server.stop().await;
    server.restart().await;
    let admin = server.client();
    let next = format!("/v1/keys/{}/limits", rotated["id"].as_str().unwrap());
    assert_eq!(admin.get(&next).await.expect(200)["own"], three());
    let successor = admin.with_key(rotated["key"].as_str());
    assert_eq!(accepted(&successor).await, 3);
    // Cleared, what holds is the server's default.
    admin.put(&next, &json!({})).await.expect(200);
    assert_eq!(accepted(&successor).await, 5);
    let wrong = admin.put(&next, &json!({"subscriptions": 1, "stored_bytes": 1})).await;
    let at: Vec<_> =
        wrong.expect(400)["errors"].as_array().unwrap().iter().map(|e| e["at"].clone()).collect();
    assert_eq!(json!(at), json!(["/subscriptions", "/stored_bytes"]));
    let nobodys = format!("/v1/keys/{}zzzzzz/limits", &id[..id.len() - 6]);
    admin.get(&nobodys).await.expect(404);
    admin.put(&nobodys, &three()).await.expect(404);
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("it is visible ASCII").to_owned()
}

async fn put_if(client: &Client, path: &str, tag: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("if-match", tag)];
    client.send("PUT", path, &headers, body.to_string()).await
}

#[tokio::test]
async fn of_two_who_set_limits_at_once_one_is_refused() {
    let (_server, admin) = scene().await;
    let (id, _) = key(&admin, &["publish"]).await;
    for path in [
        "/v1/applications/shop/limits".to_owned(),
        "/v1/event-types/tick/limits".to_owned(),
        format!("/v1/keys/{id}/limits"),
    ] {
        let seen = tag(&admin.get(&path).await);
        let known = admin.send("GET", &path, &[("if-none-match", &seen)], "").await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        let of = |per_second: f64| json!({"events": {"per_second": per_second}});
        let (one, other) = (of(1.0), of(2.0));
        let (first, second) =
            tokio::join!(put_if(&admin, &path, &seen, &one), put_if(&admin, &path, &seen, &other));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{path}");
        let (done, refused) = if first.status == 200 { (first, second) } else { (second, first) };
        assert_eq!(refused.problem(), "precondition-failed");
        let now = admin.get(&path).await;
        assert_eq!((now.json(), tag(&now)), (done.json(), tag(&done)), "{path}");
        put_if(&admin, &path, &tag(&now), &json!({})).await.expect(200);
        assert_eq!(tag(&admin.get(&path).await), seen, "it is as it was: {path}");
    }
}

#[tokio::test]
async fn a_change_of_limits_is_in_the_audit_log_as_what_they_were_and_are() {
    let (_server, admin) = scene().await;
    let (id, manager) = key(&admin, &["manage"]).await;
    admin.put("/v1/applications/shop/limits", &three()).await.expect(200);
    admin.put(&format!("/v1/keys/{id}/limits"), &three()).await.expect(200);
    for action in ["set_application_limits", "set_key_limits"] {
        let log = admin.get(&format!("/v1/audit?action={action}")).await.expect(200);
        let entry = &log["data"][0];
        assert_eq!(entry["before"]["own"], json!({}), "{entry}");
        assert_eq!(entry["after"]["own"], three(), "{entry}");
    }
    // What concerns an application's key is for its own eyes, too.
    let own = manager.get("/v1/audit?action=set_key_limits").await.expect(200);
    assert_eq!(own["data"][0]["resource_id"], json!(id));
}

#[tokio::test]
async fn nothing_is_left_of_the_limits_of_what_is_gone() {
    let (mut server, admin) = scene().await;
    let (id, _) = key(&admin, &["publish"]).await;
    for path in [
        "/v1/applications/shop/limits".to_owned(),
        "/v1/event-types/tick/limits".to_owned(),
        format!("/v1/keys/{id}/limits"),
    ] {
        admin.put(&path, &three()).await.expect(200);
    }
    admin.delete("/v1/applications/shop").await.expect(204);
    admin.delete("/v1/event-types/tick").await.expect(204);
    admin.get(&format!("/v1/keys/{id}/limits")).await.expect(404);
    // Names that are used again begin anew, also after a restart.
    for round in 0..2 {
        if round > 0 {
            server.stop().await;
            server.restart().await;
        }
        let admin = server.client();
        if round == 0 {
            admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
            admin.event_type("tick").await;
        }
        for path in ["/v1/applications/shop/limits", "/v1/event-types/tick/limits"] {
            assert_eq!(admin.get(path).await.expect(200)["own"], json!({}), "{path}");
        }
    }
}

#[tokio::test]
async fn commands_show_limits_and_change_only_what_is_named() {
    let (server, admin) = scene().await;
    let (id, _) = key(&admin, &["publish"]).await;
    let url = server.url().to_owned();
    let run = async |arguments: &[&str]| {
        let output = hookmill(&[arguments, &["--url", &url, "--key", ADMIN_KEY]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let limits = ["application", "limits", "shop"];
    let flags = ["--events", "100/s:500", "--stored-bytes", "10GiB", "--subscriptions", "5"];
    let shown = run(&[&limits[..], &flags].concat()).await;
    assert!(shown.contains("100/s, 500 at once"), "{shown}");
    assert!(shown.contains("10,737,418,240 (10.0 GiB)"), "{shown}");
    let path = "/v1/applications/shop/limits";
    let own = json!({"events": {"per_second": 100.0, "burst": 500}, "subscriptions": 5,
        "stored_bytes": 10_737_418_240_u64});
    assert_eq!(admin.get(path).await.expect(200)["own"], own);
    run(&[&limits[..], &["--subscriptions", "default", "--requests", "6/m"]].concat()).await;
    let own = json!({"events": {"per_second": 100.0, "burst": 500},
        "requests": {"per_second": 0.1}, "stored_bytes": 10_737_418_240_u64});
    assert_eq!(admin.get(path).await.expect(200)["own"], own);
    // Shown, nothing is changed; as JSON it is what the API says.
    let shown: Value =
        serde_json::from_str(&run(&[&limits[..], &["--json"]].concat()).await).unwrap();
    assert_eq!(shown, admin.get(path).await.expect(200));
    run(&[&limits[..], &["--clear"]].concat()).await;
    assert_eq!(admin.get(path).await.expect(200)["own"], json!({}));

    run(&["key", "limits", &id, "--requests", "10/s"]).await;
    let own = admin.get(&format!("/v1/keys/{id}/limits")).await.expect(200)["own"].clone();
    assert_eq!(own, json!({"requests": {"per_second": 10.0}}));
    let shown = run(&["event-type", "limits", "tick", "--max-payload-bytes", "64KiB"]).await;
    assert!(shown.contains("65,536 (64.0 KiB)"), "{shown}");
    let usage = run(&["application", "usage", "shop"]).await;
    assert!(usage.contains("stored_bytes"), "{usage}");
    let usage: Value =
        serde_json::from_str(&run(&["application", "usage", "shop", "--json"]).await).unwrap();
    assert_eq!(usage["events"], 0);
    let absent = ["application", "usage", "nobody", "--url", &url, "--key", ADMIN_KEY];
    assert_eq!(hookmill(&absent).await.status.code(), Some(4));
}

#[tokio::test]
async fn a_file_declares_limits_and_an_export_has_them() {
    let (server, admin) = scene().await;
    let file = server.folder().join("limits.yaml");
    let text = "version: 1\napplications:\n  - name: shop\n    limits: { stored_bytes: 1000, subscriptions: 2 }\n  \
        - name: bakery\n    limits: { events: { per_second: 5 } }\nevent_types:\n  - name: tick\n    \
        limits: { max_payload_bytes: 100 }\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let url = server.url().to_owned();
    let run = async |arguments: &[&str]| {
        hookmill(&[arguments, &["--url", &url, "--key", ADMIN_KEY]].concat()).await
    };
    let applied = run(&["apply", "-f", file, "--yes"]).await;
    assert!(applied.status.success(), "{}", said(&applied));
    assert!(said(&applied).contains("limits.stored_bytes  (none) -> 1000"), "{}", said(&applied));
    let own = async |path: &str| admin.get(path).await.expect(200)["own"].clone();
    let shop = "/v1/applications/shop/limits";
    assert_eq!(own(shop).await, json!({"stored_bytes": 1000, "subscriptions": 2}));
    assert_eq!(own("/v1/applications/bakery/limits").await, json!({"events": {"per_second": 5.0}}));
    assert_eq!(own("/v1/event-types/tick/limits").await, json!({"max_payload_bytes": 100}));
    let again = run(&["apply", "-f", file, "--check"]).await;
    assert!(again.status.success(), "{}", said(&again));
    admin.put(shop, &json!({"stored_bytes": 7, "subscriptions": 2})).await.expect(200);
    let drift = run(&["apply", "-f", file, "--check"]).await;
    assert_eq!(drift.status.code(), Some(2));
    assert!(said(&drift).contains("limits.stored_bytes  7 -> 1000"), "{}", said(&drift));
    let exported = run(&["export", "--json"]).await;
    assert!(exported.status.success(), "{}", said(&exported));
    let exported: Value = serde_json::from_slice(&exported.stdout).unwrap();
    let named = |section: &str, name: &str| {
        let list = exported[section].as_array().unwrap().clone();
        list.into_iter().find(|item| item["name"] == name).unwrap()
    };
    assert_eq!(named("applications", "shop")["limits"]["stored_bytes"], 7);
    assert!(named("applications", "default").get("limits").is_none());
    assert_eq!(named("event_types", "tick")["limits"], json!({"max_payload_bytes": 100}));
}
