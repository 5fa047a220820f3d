//! Every change leaves an entry: who, what, before and after, and never a secret.

use hookmill_tests::{ADMIN_KEY, Receiver, Server};
use serde_json::{Value, json};

#[tokio::test]
async fn a_change_is_written_down_with_what_was_and_is() {
    let mut server = Server::start().await;
    let admin = server.client();
    let receiver = Receiver::start().await;
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let scopes = json!(["read", "manage"]);
    let key = json!({"name": "backend", "application": "shop", "scopes": scopes});
    let made = admin.post("/v1/keys", &key).await.expect(201);
    let shop = admin.with_key(made["key"].as_str());
    let (id, secret) = shop.subscribe(&receiver.url("/"), &["**"], &json!([])).await;
    let rename = [("content-type", "application/json"), ("x-request-id", "rename-1")];
    let path = format!("/v1/subscriptions/{id}");
    shop.send("PATCH", &path, &rename, r#"{"description":"new"}"#).await.expect(200);
    shop.post(&format!("{path}/rotate-secret"), &Value::Null).await;
    // What is refused is no change.
    shop.patch(&path, &json!({"endpoint": "nowhere"})).await;
    shop.delete(&path).await.expect(204);

    let all = shop.get("/v1/audit").await.expect(200);
    let actions: Vec<_> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions.last(), Some(&"create_key"), "{actions:?}");
    assert_eq!(actions[0], "delete_subscription");
    assert_eq!(actions.iter().filter(|action| **action == "change_subscription").count(), 1);
    let change = &shop.get("/v1/audit?action=change_subscription").await.expect(200)["data"][0];
    assert_eq!(change["actor"], made["id"]);
    assert_eq!(change["actor_name"], "backend");
    assert_eq!(change["resource"], "subscription");
    assert_eq!(change["resource_id"], json!(id));
    assert_eq!(change["request_id"], "rename-1");
    assert_eq!(change["outcome"], "done");
    assert_eq!(
        (&change["before"]["description"], &change["after"]["description"]),
        (&Value::Null, &json!("new"))
    );
    let gone = &all["data"][0];
    assert!(gone["before"].is_object() && gone["after"].is_null());
    let made_entry = shop.get("/v1/audit?action=create_subscription").await.expect(200);
    assert_eq!(made_entry["data"][0]["resource_id"], json!(id));

    // The platform's is for admins; secrets are for nobody.
    let everything = admin.get("/v1/audit?limit=200").await.expect(200);
    let actors = everything["data"].as_array().unwrap();
    assert!(actors.iter().any(|entry| entry["action"] == "create_application"));
    let text = everything.to_string();
    for hidden in [made["key"].as_str().unwrap(), &secret, ADMIN_KEY, "whsec_"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    assert!(!actions.contains(&"create_application"));
    // Pages cover it once, and it outlives a crash.
    let page = admin.get("/v1/audit?limit=2").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = admin.get(&format!("/v1/audit?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(next["data"][0], actors[2]);
    server.kill().await;
    server.restart().await;
    assert_eq!(server.client().get("/v1/audit?limit=200").await.expect(200), everything);
}

#[tokio::test]
async fn what_is_refused_for_what_it_says_costs_the_disk_nothing() {
    let server = Server::start().await;
    let admin = server.client();
    let receiver = Receiver::start().await;
    admin.event_type("order.paid").await;
    let (id, _) = admin.subscribe(&receiver.url("/"), &["**"], &json!([])).await;
    let path = format!("/v1/subscriptions/{id}");
    let log =
        || server.folder().join("hookmill.db-wal").metadata().expect("the log is there").len();
    let before = log();
    for _ in 0..3 {
        for (path, body) in [
            ("/v1/subscriptions", json!({"endpoint": "nowhere", "event_types": []})),
            ("/v1/event-types", json!({"name": "A b"})),
            ("/v1/event-types", json!({"name": "x.y", "schema": {"type": 7}})),
            ("/v1/keys", json!({"name": "k", "scopes": ["all"]})),
            ("/v1/applications", json!({"name": "A b"})),
            ("/v1/sources", json!({"name": "s", "kind": "hmac"})),
            ("/v1/replays", json!({"mode": "nothing"})),
        ] {
            let refused = admin.post(path, &body).await;
            assert!((400..500).contains(&refused.status), "{path} {body}: {}", refused.status);
        }
        assert_eq!(admin.patch(&path, &json!({"filter": {"no": 1}})).await.status, 422);
        assert_eq!(
            admin.delete("/v1/subscriptions/sub_01jd8xq3m5e7r9t0v2w4y6z8ab").await.status,
            404
        );
    }
    assert_eq!(log(), before, "something was written");
    // What is done writes its entry, the change and how it ended.
    admin.patch(&path, &json!({"description": "new"})).await.expect(200);
    assert!(log() > before);
    let entries = admin.get("/v1/audit").await.expect(200);
    assert_eq!(entries["data"][0]["action"], "change_subscription");
    assert_eq!(entries["data"][0]["outcome"], "done");
    // What was so already is written down, too.
    admin.post(&format!("{path}/enable"), &Value::Null).await;
    let entries = admin.get("/v1/audit").await.expect(200);
    assert_eq!(entries["data"][0]["action"], "enable_subscription");
}

#[tokio::test]
async fn an_entry_shows_the_part_that_was_changed_and_names_what_was_made() {
    let server = Server::start().await;
    let admin = server.client();
    let last = async || admin.get("/v1/audit?limit=1").await.expect(200)["data"][0].clone();
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    admin.event_type("order.created").await;

    let rate = json!({"events": {"per_second": 5.0}});
    admin.put("/v1/applications/shop/limits", &rate).await.expect(200);
    let entry = last().await;
    assert_eq!(entry["resource_id"], "shop");
    assert_eq!((&entry["before"]["own"], &entry["after"]["own"]), (&json!({}), &rate));
    let size = json!({"max_payload_bytes": 1000});
    admin.put("/v1/event-types/order.created/limits", &size).await.expect(200);
    let entry = last().await;
    assert_eq!((&entry["before"]["own"], &entry["after"]["own"]), (&json!({}), &size));

    let versions = "/v1/event-types/order.created/versions";
    admin.post(versions, &json!({"schema": {"type": "object"}})).await.expect(201);
    let entry = last().await;
    assert_eq!(entry["after"]["schema"], json!({"type": "object"}));
    assert!(entry["after"].get("made").is_none(), "{entry}");
    admin.patch(&format!("{versions}/1"), &json!({"deprecated": true})).await.expect(200);
    let entry = last().await;
    assert_eq!(entry["resource_id"], "order.created");
    assert_eq!(entry["before"]["deprecated_at"], Value::Null);
    assert!(entry["after"]["deprecated_at"].is_string(), "{entry}");

    // Who acts later is found by what made them.
    let key = json!({"name": "backend", "application": "shop", "scopes": ["read", "manage"]});
    let old = admin.post("/v1/keys", &key).await.expect(201);
    let path = format!("/v1/keys/{}/rotate", old["id"].as_str().unwrap());
    let new = admin.post(&path, &json!({})).await.expect(201);
    let entry = last().await;
    assert_eq!(entry["resource_id"], old["id"]);
    assert_eq!(entry["after"]["made"], new["id"]);
    assert!(entry["after"]["expires_at"].is_string(), "{entry}");
    let shop = admin.with_key(new["key"].as_str());
    let token = shop.post("/v1/portal-tokens", &json!({"read_only": true})).await.expect(201);
    let entry = last().await;
    assert_eq!(
        (&entry["action"], &entry["resource_id"]),
        (&json!("create_portal_token"), &token["actor"])
    );
    assert_eq!(entry["after"], json!({"expires_at": token["expires_at"], "read_only": true}));

    let receiver = Receiver::start().await;
    let (id, _) = shop.subscribe(&receiver.url("/"), &["**"], &json!([])).await;
    shop.post(&format!("/v1/subscriptions/{id}/rotate-secret"), &json!({})).await.expect(200);
    let entry = last().await;
    assert_eq!((&entry["action"], &entry["resource_id"]), (&json!("rotate_secret"), &json!(id)));
    let prints = |shown: &Value| shown["data"].as_array().unwrap().len();
    assert_eq!((prints(&entry["before"]), prints(&entry["after"])), (1, 2), "{entry}");
    let text = admin.get("/v1/audit?limit=200").await.expect(200).to_string();
    for hidden in ["hmk_", "whsec_"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
}
