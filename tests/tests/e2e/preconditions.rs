//! Two people change the same thing: the second is told, and nothing is lost.

use std::collections::HashSet;

use hookmill_tests::{Answer, Client, Server, plugin};
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("it is visible ASCII").to_owned()
}

async fn patch_if(client: &Client, path: &str, tag: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("if-match", tag)];
    client.send("PATCH", path, &headers, body.to_string()).await
}

#[tokio::test]
async fn a_time_is_what_it_is_kept_as_from_the_first_moment_on() {
    let mut server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let path = "/v1/event-types/tick";
    let change = json!({"deprecated": true, "sunset_at": "2027-06-01T00:00:00.123456Z"});
    let told = client.patch(path, &change).await;
    assert_eq!(told.expect(200)["sunset_at"], "2027-06-01T00:00:00.123Z");
    let seen = client.get(path).await;
    assert_eq!(tag(&seen), tag(&told));
    patch_if(&client, path, &tag(&seen), &json!({"mode": "warn"})).await.expect(200);
    let key = json!({"name": "k", "application": "default", "scopes": ["read"],
        "expires_at": "2099-01-01T00:00:00.123456Z"});
    let made = client.post("/v1/keys", &key).await.expect(201);
    let key = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    let before = client.get(&key).await;
    server.stop().await;
    server.restart().await;
    let after = server.client().get(&key).await;
    assert_eq!((tag(&after), after.json()), (tag(&before), before.json()));
}

#[tokio::test]
async fn the_second_editor_is_told_of_the_first() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let given = json!({"endpoint": "http://127.0.0.1:9/", "event_types": ["order.*"]});
    let id = client.post("/v1/subscriptions", &given).await.expect(201)["id"].clone();
    let subscription = format!("/v1/subscriptions/{}", id.as_str().unwrap());
    for path in [subscription.as_str(), "/v1/event-types/order.created"] {
        let seen = tag(&client.get(path).await);
        // Both send at once: whoever comes second changes something else than they saw.
        let (first, second) = (json!({"description": "first"}), json!({"description": "second"}));
        let (first, second) = tokio::join!(
            patch_if(&client, path, &seen, &first),
            patch_if(&client, path, &seen, &second)
        );
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{path}");
        let (done, refused) = if first.status == 200 { (first, second) } else { (second, first) };
        assert_eq!(refused.problem(), "precondition-failed");
        let now = client.get(path).await;
        assert_eq!(now.json()["description"], done.json()["description"]);
        assert_eq!(tag(&now), tag(&done), "the change itself answers the new tag");
        // Told, they look again and change that.
        let again = patch_if(&client, path, &tag(&now), &json!({"description": "both"})).await;
        assert_eq!(again.expect(200)["description"], "both");
        // What was seen is gone for a deletion, too.
        let stale = client.send("DELETE", path, &[("if-match", &seen)], "").await;
        assert_eq!(stale.status, 412);
        let current = client.send("DELETE", path, &[("if-match", &tag(&again))], "").await;
        assert_eq!(current.status, 204);
    }
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let path = "/v1/event-types/order.created";
    let seen = tag(&client.get(path).await);
    let again = client.send("GET", path, &[("if-none-match", &seen)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(tag(&again), seen);
    // A schema is a change, an event is none.
    client.publish("order.created", &json!({"id": 7})).await;
    assert_eq!(client.send("GET", path, &[("if-none-match", &seen)], "").await.status, 304);
    client.post(&format!("{path}/versions"), &json!({"schema": {}})).await.expect(201);
    assert_eq!(client.send("GET", path, &[("if-none-match", &seen)], "").await.status, 200);
    let bad = client.send("GET", path, &[("if-none-match", "no tag")], "").await;
    assert_eq!(bad.problem(), "invalid-header");
    // Nobody has to ask.
    client.patch(path, &json!({"mode": "warn"})).await.expect(200);
}

async fn put_if(client: &Client, path: &str, tag: Option<&str>, body: &Value) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(tag.map(|tag| ("if-match", tag)));
    client.send("PUT", path, &headers, body.to_string()).await
}

async fn send_if(client: &Client, method: &str, path: &str, tag: &str) -> Answer {
    client.send(method, path, &[("if-match", tag)], "").await
}

/// The statuses of two requests that are made at once, the smaller first.
async fn both(
    first: impl Future<Output = Answer>,
    second: impl Future<Output = Answer>,
) -> [u16; 2] {
    let (first, second) = tokio::join!(first, second);
    for refused in [&first, &second].into_iter().filter(|answer| answer.status == 412) {
        assert_eq!(refused.problem(), "precondition-failed");
    }
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    statuses
}

#[tokio::test]
async fn of_two_who_change_a_subscriptions_secrets_one_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let (id, _) = client.subscribe("http://127.0.0.1:9/", &["order.*"], &json!([])).await;
    let path = format!("/v1/subscriptions/{id}");
    let seen = tag(&client.get(&path).await);
    let (add, rotate) = (format!("{path}/secrets"), format!("{path}/rotate-secret"));
    let both_add =
        both(send_if(&client, "POST", &add, &seen), send_if(&client, "POST", &add, &seen));
    assert_eq!(both_add.await, [201, 412]);
    assert_eq!(send_if(&client, "POST", &rotate, &seen).await.status, 412);
    let now = tag(&client.get(&path).await);
    assert_eq!(send_if(&client, "POST", &rotate, &now).await.status, 200);
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_removed_signs_no_more_however_many_go_at_once() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let (id, _) = client.subscribe("http://127.0.0.1:9/", &["order.*"], &json!([])).await;
    let secrets = format!("/v1/subscriptions/{id}/secrets");
    // More at once than there is room for, among them one that is given twice.
    let given = json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    let mut adding = JoinSet::new();
    for n in 0..20 {
        let (client, secrets) = (client.clone(), secrets.clone());
        let body = if n < 2 { given.clone() } else { json!({}) };
        adding.spawn(async move { client.post(&secrets, &body).await });
    }
    let added = adding.join_all().await;
    assert_eq!((count(&added, 201), count(&added, 422)), (10, 10));
    let list = client.get(&secrets).await.expect(200)["data"].clone();
    let all: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["fingerprint"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(all.len(), 11);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 11, "{all:?}");

    // All go at once, each twice: whoever is told that one is gone is told the truth.
    let mut removing = JoinSet::new();
    for one in all.iter().chain(&all) {
        let (client, path) = (client.clone(), format!("{secrets}/{one}"));
        removing.spawn(async move { client.delete(&path).await });
    }
    let removed = removing.join_all().await;
    assert_eq!((count(&removed, 204), count(&removed, 409), count(&removed, 404)), (10, 2, 10));
    let last = client.get(&secrets).await.expect(200)["data"].clone();
    assert_eq!(last.as_array().unwrap().len(), 1);
    let last = last[0]["fingerprint"].as_str().unwrap();
    let refused = client.delete(&format!("{secrets}/{last}")).await;
    assert_eq!(refused.problem(), "in-use");
}

#[tokio::test]
async fn a_name_that_is_anothers_is_refused_alike_when_it_is_made_and_when_it_is_changed() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let given = |name: &str| json!({"name": name, "endpoint": "http://127.0.0.1:9/", "event_types": ["order.*"]});
    client.post("/v1/subscriptions", &given("shop")).await.expect(201);
    let other = client.post("/v1/subscriptions", &given("other")).await.expect(201);
    let made = client.post("/v1/subscriptions", &given("shop")).await;
    let path = format!("/v1/subscriptions/{}", other["id"].as_str().unwrap());
    let changed = client.patch(&path, &json!({"name": "shop"})).await;
    assert_eq!(changed.problem(), "already-exists");
    assert_eq!(changed.json()["errors"][0]["at"], "/name", "{}", changed.json());
    assert_eq!(changed.json(), made.json());
}

#[tokio::test]
async fn of_two_who_change_a_source_one_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let made = json!({"name": "github", "kind": "github"});
    let id = client.post("/v1/sources", &made).await.expect(201)["id"].clone();
    let path = format!("/v1/sources/{}", id.as_str().unwrap());
    let seen = tag(&client.get(&path).await);
    let (first, second) = (json!({"subject": "/a"}), json!({"subject": "/b"}));
    let patches =
        (patch_if(&client, &path, &seen, &first), patch_if(&client, &path, &seen, &second));
    assert_eq!(both(patches.0, patches.1).await, [200, 412]);
    // A secret more is another state.
    let seen = tag(&client.get(&path).await);
    let secrets = format!("{path}/secrets");
    let add = || send_if(&client, "POST", &secrets, &seen);
    assert_eq!(both(add(), add()).await, [201, 412]);
    let now = tag(&client.get(&path).await);
    assert_ne!(now, seen);
    let known = client.send("GET", &path, &[("if-none-match", &now)], "").await;
    assert_eq!(known.status, 304);
    for (tag, status) in [(&seen, 412), (&now, 204)] {
        assert_eq!(send_if(&client, "DELETE", &path, tag).await.status, status);
    }
}

#[tokio::test]
async fn of_two_who_move_live_one_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let wasm = [("content-type", "application/wasm")];
    let uploaded = client.send("POST", "/v1/plugins", &wasm, plugin("field-filter")).await;
    let version = uploaded.expect(201)["version"].as_str().unwrap().to_owned();
    let path = "/v1/plugins/field-filter";
    let live = format!("{path}/live");
    let body = json!({"version": version});
    let put = |tag| put_if(&client, &live, Some(tag), &body);
    let seen = tag(&client.get(path).await);
    assert_eq!(put("\"another\"").await.problem(), "precondition-failed");
    let moved = put(&seen).await;
    assert_eq!((moved.status, tag(&moved)), (200, seen.clone()), "it was live before");
    let known = client.send("GET", path, &[("if-none-match", &seen)], "").await;
    assert_eq!(known.status, 304);
    let one = format!("{path}/versions/{version}");
    let of_version = tag(&client.get(&one).await);
    let delete = |path, tag| send_if(&client, "DELETE", path, tag);
    assert_eq!(delete(&one, &seen).await.status, 412, "it is the plugin's tag");
    // Of two who delete it, the second finds nothing; of what is left the tag is another's.
    let deleted = both(delete(&one, &of_version), delete(&one, &of_version)).await;
    assert_eq!(deleted, [204, 404]);
    assert_eq!(delete(path, &seen).await.status, 404);
}

#[tokio::test]
async fn keys_applications_and_versions_of_schemas_have_tags() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    client.post("/v1/event-types/order.created/versions", &json!({"schema": {}})).await.expect(201);
    let path = "/v1/event-types/order.created/versions/1";
    let seen = tag(&client.get(path).await);
    let sunset =
        |year: u32| json!({"deprecated": true, "sunset_at": format!("{year}-01-01T00:00:00Z")});
    let (first, second) = (sunset(2040), sunset(2041));
    let patches = (patch_if(&client, path, &seen, &first), patch_if(&client, path, &seen, &second));
    assert_eq!(both(patches.0, patches.1).await, [200, 412]);

    let shop = client.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let key = json!({"name": "a", "application": "shop", "scopes": ["read"]});
    let key = client.post("/v1/keys", &key).await.expect(201);
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    let seen = tag(&client.get(&path).await);
    let used = client.with_key(Some(key["key"].as_str().unwrap()));
    used.get("/v1/events").await.expect(200);
    assert_eq!(tag(&client.get(&path).await), seen, "its use is no change of it");
    let rotate = format!("{path}/rotate");
    let rotate = || send_if(&client, "POST", &rotate, &seen);
    assert_eq!(both(rotate(), rotate()).await, [201, 412]);
    let now = tag(&client.get(&path).await);
    for (tag, status) in [(&seen, 412), (&now, 204)] {
        assert_eq!(send_if(&client, "DELETE", &path, tag).await.status, status);
    }

    let path = format!("/v1/applications/{}", shop["id"].as_str().unwrap());
    let seen = tag(&client.get(&path).await);
    let stale = client.send("DELETE", &path, &[("if-match", "\"another\"")], "").await;
    assert_eq!(stale.problem(), "precondition-failed");
    assert_eq!(client.send("DELETE", &path, &[("if-match", &seen)], "").await.status, 204);
}

#[tokio::test]
async fn a_rollout_is_started_and_ended_by_who_knows_how_it_is() {
    let server = Server::start().await;
    let client = server.client();
    for (fixture, live) in [("fixture-triage-1", "true"), ("fixture-triage-2", "false")] {
        let path = format!("/v1/plugins?live={live}");
        let wasm = [("content-type", "application/wasm")];
        client.send("POST", &path, &wasm, plugin(fixture)).await.expect(201);
    }
    let plugins = client.get("/v1/plugins").await.expect(200);
    let found = &plugins["data"][0];
    let newest = found["versions"][0].as_str().unwrap();
    let path = format!("/v1/plugins/{}/rollout", found["name"].as_str().unwrap());
    let canary = |percent: u32| json!({"version": newest, "mode": "canary", "percent": percent});
    let (five, ten, twenty) = (canary(5), canary(10), canary(20));
    let start = |tag, body| put_if(&client, &path, tag, body);
    assert_eq!(start(Some("*"), &five).await.status, 412, "there is none yet");
    let begun = tag(&start(None, &five).await);
    assert_eq!(tag(&client.get(&path).await), begun);
    assert_eq!(both(start(Some(&begun), &ten), start(Some(&begun), &twenty)).await, [200, 412]);
    let stale = client.send("DELETE", &path, &[("if-match", &begun)], "").await;
    assert_eq!(stale.status, 412);
    let now = tag(&client.get(&path).await);
    assert_eq!(client.send("DELETE", &path, &[("if-match", &now)], "").await.status, 204);
}
