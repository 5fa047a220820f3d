//! Each resource's life by the API: made, read, changed, used, removed.

use hookmill_tests::{Receiver, Server, plugin};
use serde_json::{Value, json};

fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list["data"].as_array().expect("a page has data");
    items.iter().map(|item| item[field].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test]
async fn a_schema_has_versions_and_modes() {
    let server = Server::start().await;
    let client = server.client();
    let first = json!({"required": ["id"]});
    client.post("/v1/event-types", &json!({"name": "a.b", "schema": first})).await.expect(201);
    let second = json!({"required": ["id", "total"]});
    let path = "/v1/event-types/a.b";
    let added =
        client.post(&format!("{path}/versions"), &json!({"schema": second})).await.expect(201);
    assert_eq!(added["version"], 2);
    assert_eq!(client.get(path).await.expect(200)["latest_version"], 2);

    let send = |version: Value, payload: Value| json!({"type": "a.b", "payload": payload, "schema_version": version});
    let newest = client.post("/v1/events", &send(Value::Null, json!({"id": 1}))).await;
    assert_eq!((newest.status, newest.problem().as_str()), (422, "schema-violation"));
    let older = client.post("/v1/events", &send(json!(1), json!({"id": 1}))).await.expect(202);
    assert_eq!(older["schema_version"], 1);

    client.patch(path, &json!({"mode": "warn"})).await.expect(200);
    let warned = client.publish("a.b", &json!({})).await;
    assert_eq!(client.get(path).await.expect(200)["violations"], 1);
    let listed = client.get(&format!("{path}/violations")).await.expect(200);
    assert_eq!(listed["data"][0]["id"], warned["id"]);
    assert_eq!(listed["data"][0]["violations"].as_array().map(Vec::len), Some(2));

    client.patch(path, &json!({"mode": "off"})).await.expect(200);
    client.publish("a.b", &json!("anything")).await;
    assert_eq!(client.get(path).await.expect(200)["violations"], 1);
    let used = client.delete(path).await;
    assert_eq!(
        (used.status, used.problem().as_str()),
        (409, "in-use"),
        "its events name its schemas"
    );
    client.event_type("never.used").await;
    client.delete("/v1/event-types/never.used").await.expect(204);
    assert_eq!(client.get("/v1/event-types/never.used").await.problem(), "not-found");
}

#[tokio::test]
async fn a_plugin_is_uploaded_tried_used_and_removed() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    client.upload(plugin("redact")).await.expect(201);
    client.upload(plugin("redact")).await.expect(200);
    let one = client.get("/v1/plugins/redact").await.expect(200);
    assert_eq!((&one["kind"], &one["live"]), (&json!("transform"), &json!(true)));
    assert!(one["manifest"]["config_schema"]["properties"]["fields"].is_object(), "{one:#}");

    let config = json!({"fields": [{"at": "/card", "action": "keep_last"}]});
    let event = json!({"type": "tick", "payload": {"card": "4242424242424242"}});
    let tried = json!({"config": config, "event": event});
    let run = client.post("/v1/plugins/redact/run", &tried).await.expect(200);
    assert_eq!(run["outcome"], "send");
    assert_eq!(run["sent"]["body"], json!({"card": "************4242"}));
    assert!(run["steps"][0]["fuel"].as_u64().unwrap() > 0);

    let step = json!([{"plugin": "redact@0.1.0", "config": config}]);
    let (id, _) = client.subscribe(&receiver.url("/u"), &["tick"], &step).await;
    let used = client.delete("/v1/plugins/redact").await;
    assert_eq!((used.status, used.problem().as_str()), (409, "in-use"));
    assert!(used.body.windows(id.len()).any(|part| part == id.as_bytes()), "it says by whom");
    client.delete(&format!("/v1/subscriptions/{id}")).await.expect(204);
    client.delete("/v1/plugins/redact").await.expect(204);
    assert_eq!(client.get("/v1/plugins").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn what_an_older_delivery_sends_is_not_changed_by_a_newer_config() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    receiver.reply("/o", [hookmill_tests::Reply::status(500), hookmill_tests::Reply::status(200)]);
    client.event_type("tick").await;
    client.upload(plugin("redact")).await.expect(201);
    let with = |text: &str| json!([{"plugin": "redact", "config": {"fields": [{"at": "/name", "text": text}]}}]);
    let body = json!({"endpoint": receiver.url("/o"), "event_types": ["tick"],
        "pipeline": with("before"), "policy": {"retry": {"schedule": [0, 1]}}});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    client.publish("tick", &json!({"name": "Ada"})).await;
    receiver.wait("/o", 1).await;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    client.patch(&path, &json!({"pipeline": with("after")})).await.expect(200);
    let arrived = receiver.wait("/o", 2).await;
    assert_eq!(arrived[1].json(), json!({"name": "before"}));
    client.publish("tick", &json!({"name": "Ada"})).await;
    assert_eq!(receiver.wait("/o", 3).await[2].json(), json!({"name": "after"}));
}

#[tokio::test]
async fn a_batch_answers_for_each_of_its_events() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let batch = json!({"events": [
        {"type": "tick", "payload": {"n": 1}, "id": "one"},
        {"type": "tock", "payload": {"n": 2}},
        {"type": "tick", "payload": {"n": 1}, "id": "one"},
        {"type": "tick"},
    ]});
    let answer = client.post("/v1/events/batch", &batch).await.expect(200);
    let statuses: Vec<_> = answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [202, 400, 202, 400]);
    assert_eq!(answer["data"][0]["id"], answer["data"][2]["id"]);
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(2)));
    assert_eq!(
        client.get("/v1/events").await.expect(200)["data"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn pages_lead_through_everything_once() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let mut sent = Vec::new();
    for n in 0..7 {
        sent.push(
            client.publish("tick", &json!({"n": n})).await["id"].as_str().unwrap().to_owned(),
        );
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/events?limit=3".to_owned());
    loop {
        let page = client.get(&path).await.expect(200);
        seen.extend(names(&page, "id"));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/events?limit=3&cursor={cursor}");
    }
    let published = sent.clone();
    // Two of the same millisecond are in no order but their ids'.
    sent.sort();
    sent.reverse();
    assert_eq!(seen, sent, "newest first, each once");
    let one = client.get(&format!("/v1/events/{}", seen[0])).await.expect(200);
    let n = published.iter().position(|id| *id == seen[0]).unwrap();
    assert_eq!(one["payload"], json!({"n": n}));
    assert_eq!(one["delivery_states"], json!({}));
}

#[tokio::test]
async fn the_first_start_makes_a_key_and_later_ones_keep_it() {
    let mut server = Server::start_with(&[("ADMIN_KEY", "hmk_admin_from_the_environment_x")]).await;
    let flagged = server.client().get("/v1/events").await;
    assert_eq!(flagged.status, 200, "a flag wins over the environment");
    server.kill().await;
    server.restart().await;
    let strange = server.client().with_key(Some("hmk_admin_from_the_environment_x"));
    assert_eq!(strange.get("/v1/events").await.status, 401);
}

#[tokio::test]
async fn events_are_listed_by_type_or_pattern_and_the_old_name_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    for name in ["order.created", "order.paid", "user.created"] {
        client.event_type(name).await;
    }
    client.subscribe("http://127.0.0.1:9/", &["order.created"], &json!([])).await;
    for name in ["order.created", "user.created", "order.paid", "order.created"] {
        client.publish(name, &json!(1)).await;
    }
    let listed = async |query: &str| {
        let page = client.get(&format!("/v1/events?limit=200&{query}")).await.expect(200);
        let types: Vec<String> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect();
        types.join(" ")
    };
    for (query, wanted) in [
        ("event_type=order.created", "order.created order.created"),
        ("event_type=order.*", "order.created order.paid order.created"),
        ("event_type=**", "order.created order.paid user.created order.created"),
        ("event_type=*.created&undelivered=true", "order.created order.created"),
        ("event_type=user.created&undelivered=true", ""),
        ("event_type=order.*&violating=true", ""),
        ("event_type=never.made", ""),
    ] {
        assert_eq!(listed(query).await, wanted, "{query}");
    }
    // Page by page it is the same list.
    let first = client.get("/v1/events?event_type=order.created&limit=1").await.expect(200);
    let next = first["next_cursor"].as_str().unwrap();
    let rest = format!("event_type=order.created&cursor={next}");
    assert_eq!(listed(&rest).await, "order.created");
    let old = client.get("/v1/events?type=order.created").await;
    assert_eq!(old.problem(), "invalid-query");
    assert_eq!(old.json()["did_you_mean"], "event_type");
    assert_eq!(client.get("/v1/events?event_type=a**").await.problem(), "invalid-query");
}
