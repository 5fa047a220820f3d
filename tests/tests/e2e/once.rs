//! `Idempotency-Key` on requests that change something: asked twice, done once, whatever happens in
//! between.

use std::collections::{HashMap, HashSet};

use hookmill_tests::{Answer, Client, Server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn keyed(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    client.send("POST", path, &headers, body.to_string()).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

fn subscription(description: &str) -> Value {
    json!({
        "endpoint": "http://127.0.0.1:9/", "event_types": ["order.*"], "description": description,
    })
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_was_and_changes_nothing() {
    let mut server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    client.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let github = json!({"name": "github", "kind": "github"});
    let key = json!({"name": "k", "application": "shop", "scopes": ["manage"]});
    let creations = [
        ("/v1/subscriptions", subscription("one")),
        ("/v1/sources", github),
        ("/v1/keys", key),
        ("/v1/applications", json!({"name": "other"})),
        ("/v1/event-types", json!({"name": "order.paid"})),
        ("/v1/portal-tokens", json!({})),
        ("/v1/replays", json!({})),
    ];
    let mut firsts = Vec::new();
    for (index, (path, body)) in creations.iter().enumerate() {
        firsts.push(keyed(&client, path, &format!("\"key {index}\""), body).await);
    }
    // One key stands for one request.
    let other = keyed(&client, "/v1/subscriptions", "\"key 0\"", &subscription("two")).await;
    assert_eq!(other.problem(), "idempotency-conflict");
    let audited = client.get("/v1/audit?limit=200").await.expect(200)["data"].clone();
    // It is remembered across a restart, secrets and all.
    server.stop().await;
    server.restart().await;
    let client = server.client();
    for (index, (path, body)) in creations.iter().enumerate() {
        let first = &firsts[index];
        assert!(
            [201, 202].contains(&first.status) && !is_replayed(first),
            "{path}: {}",
            first.json()
        );
        let again = keyed(&client, path, &format!("\"key {index}\""), body).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
        assert!(is_replayed(&again), "{path}");
        for name in ["location", "content-type"] {
            assert_eq!(again.headers.get(name), first.headers.get(name), "{path}");
        }
    }
    assert_eq!(client.get("/v1/audit?limit=200").await.expect(200)["data"], audited);
    let listed = client.get("/v1/subscriptions").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_is_its_owners_and_a_refused_request_leaves_none() {
    let server = Server::start().await;
    let admin = server.client();
    admin.event_type("order.created").await;
    let mut clients = Vec::new();
    for name in ["red", "blue"] {
        admin.post("/v1/applications", &json!({"name": name})).await.expect(201);
        let key = json!({"name": name, "application": name, "scopes": ["manage"]});
        let key = admin.post("/v1/keys", &key).await.expect(201);
        clients.push(admin.with_key(Some(key["key"].as_str().unwrap())));
    }
    // What another asked under the same key is neither given nor told of.
    let body = subscription("mine");
    let red = keyed(&clients[0], "/v1/subscriptions", "k", &body).await;
    let blue = keyed(&clients[1], "/v1/subscriptions", "k", &body).await;
    assert_ne!(red.expect(201)["secret"], blue.expect(201)["secret"]);
    let second = json!({"name": "x", "application": "red", "scopes": ["manage"]});
    let second = admin.post("/v1/keys", &second).await.expect(201);
    let second = admin.with_key(Some(second["key"].as_str().unwrap()));
    let own = keyed(&second, "/v1/subscriptions", "k", &subscription("other")).await;
    assert!(own.status == 201 && !is_replayed(&own));
    // Refused, corrected, and asked again under its key.
    let bad = json!({"endpoint": "http://127.0.0.1:9/", "event_types": []});
    assert_eq!(keyed(&clients[0], "/v1/subscriptions", "fix", &bad).await.status, 422);
    keyed(&clients[0], "/v1/subscriptions", "fix", &body).await.expect(201);
    let bad = keyed(&clients[0], "/v1/subscriptions", "\"", &body).await;
    assert_eq!(bad.problem(), "invalid-header");
    // Who may not ask leaves nothing either.
    let reads = json!({"name": "r", "application": "red", "scopes": ["read"]});
    let reads = admin.post("/v1/keys", &reads).await.expect(201);
    let reads = admin.with_key(Some(reads["key"].as_str().unwrap()));
    for _ in 0..2 {
        let refused = keyed(&reads, "/v1/subscriptions", "k", &body).await;
        assert_eq!(refused.problem(), "insufficient-scope");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_done_and_all_are_answered_so() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let mut all = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        all.spawn(async move {
            keyed(&client, "/v1/subscriptions", "race", &subscription("one")).await
        });
    }
    let answers = all.join_all().await;
    let ids: HashSet<String> =
        answers.iter().map(|answer| answer.expect(201)["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_twice_though_the_server_is_killed() {
    let mut server = Server::start().await;
    server.client().event_type("order.created").await;
    let mut answered: HashMap<String, Value> = HashMap::new();
    let mut asked = Vec::new();
    for round in 0..6 {
        let mut makers = JoinSet::new();
        for maker in 0..4 {
            let client = server.client();
            makers.spawn(async move {
                let mut made = Vec::new();
                for n in 0.. {
                    let key = format!("{round}-{maker}-{n}");
                    let headers =
                        [("content-type", "application/json"), ("idempotency-key", key.as_str())];
                    let body = subscription(&key).to_string();
                    let sent = client.try_send("POST", "/v1/subscriptions", &headers, body).await;
                    let answer = sent.ok().map(|answer| answer.expect(201)["id"].clone());
                    let is_last = answer.is_none();
                    made.push((key, answer));
                    if is_last {
                        break;
                    }
                }
                made
            });
        }
        let known = asked.len();
        let wanted = 5 + round;
        let count = |list: &Value| list["data"].as_array().map_or(0, Vec::len);
        server
            .client()
            .wait_for("/v1/subscriptions?limit=200", |list| {
                count(list) >= (known + wanted).min(200)
            })
            .await;
        server.kill().await;
        for (key, answer) in makers.join_all().await.into_iter().flatten() {
            if let Some(id) = answer {
                answered.insert(key.clone(), id);
            }
            asked.push(key);
        }
        server.restart().await;
    }
    // Each is asked once more. Nobody is answered by a second one.
    let client = server.client();
    let mut unknown = 0;
    for key in &asked {
        let again = keyed(&client, "/v1/subscriptions", key, &subscription(key)).await;
        match answered.get(key) {
            // A client that was answered was so after that was written down.
            Some(id) => assert_eq!(&again.expect(201)["id"], id),
            None if again.status == 409 => {
                assert_eq!(again.problem(), "outcome-unknown", "{}", again.json());
                unknown += 1;
            }
            None => drop(again.expect(201)),
        }
    }
    let mut made: HashMap<String, u32> = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/subscriptions?limit=200{cursor}")).await.expect(200);
        for one in page["data"].as_array().unwrap() {
            *made.entry(one["description"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(made.values().all(|&count| count == 1), "{made:?}");
    assert!(answered.keys().all(|key| made.contains_key(key)));
    println!("{} asked, {} answered, {unknown} of which nobody knows", asked.len(), answered.len());
}
