//! Schemas that must fit the last, types and versions that end.

use hookmill_tests::{Answer, Client, Server};
use serde_json::{Value, json};

/// The body of a problem that must be this one.
#[track_caller]
fn refused(answer: &Answer, status: u16, problem: &str) -> Value {
    let body = answer.expect(status);
    assert_eq!(answer.problem(), problem, "{body}");
    body
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn schema(required: &[&str], total: &str) -> Value {
    json!({"type": "object", "required": required,
        "properties": {"id": {"type": "integer"}, "total": {"type": total}}})
}

async fn scene() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client();
    let body = json!({"name": "order.paid", "compatibility": "backward", "schema": schema(&["id"], "integer")});
    client.post("/v1/event-types", &body).await.expect(201);
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_breaks_what_is_promised_is_refused_with_the_report() {
    let (_server, client) = scene().await;
    for total in [1, 2, 3] {
        let payload =
            if total == 3 { json!({"id": 3}) } else { json!({"id": total, "total": total}) };
        client
            .post("/v1/events", &json!({"type": "order.paid", "payload": payload}))
            .await
            .expect(202);
    }
    let path = "/v1/event-types/order.paid/versions";
    let strict = schema(&["id", "total"], "integer");
    let report =
        client.post(&format!("{path}/check"), &json!({"schema": strict})).await.expect(200);
    assert_eq!((&report["compatible"], &report["against"]), (&json!(false), &json!(1)));
    assert_eq!(report["findings"][0]["new"], "/required");
    assert_eq!(
        (&report["events"]["tried"], &report["events"]["satisfied"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(report["events"]["violating"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["events"]["complete"], true);

    let problem =
        refused(&client.post(path, &json!({"schema": strict})).await, 409, "incompatible-schema");
    assert_eq!(problem["findings"], report["findings"]);
    let accept = json!({"schema": strict, "accept_unknown": true});
    refused(&client.post(path, &accept).await, 409, "incompatible-schema");

    let loose = schema(&["id"], "number");
    client.post(path, &json!({"schema": loose})).await.expect(201);
    let both = json!({"schema": schema(&["id"], "integer"), "compatibility": "forward"});
    client.post(path, &both).await.expect(201);
    let unknown = json!({"not": {"required": ["x"]}, "type": "object", "required": ["id"],
        "properties": {"id": {"type": "integer"}, "total": {"type": "integer"}}});
    refused(&client.post(path, &json!({"schema": unknown})).await, 409, "incompatible-schema");
    client.post(path, &json!({"schema": unknown, "accept_unknown": true})).await.expect(201);
    client.patch("/v1/event-types/order.paid", &json!({"compatibility": "none"})).await.expect(200);
    client.post(path, &json!({"schema": false})).await.expect(201);
    refused(
        &client.post(&format!("{path}/check"), &json!({"schema": {}, "last": 1001})).await,
        400,
        "invalid-field",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deprecation_is_told_and_an_archived_type_takes_nothing() {
    let (_server, client) = scene().await;
    let path = "/v1/event-types/order.paid";
    client
        .post(&format!("{path}/versions"), &json!({"schema": schema(&["id"], "number")}))
        .await
        .expect(201);
    let end = json!({"deprecated": true, "sunset_at": "2027-01-01T00:00:00Z"});
    let changed = client.patch(&format!("{path}/versions/1"), &end).await.expect(200);
    assert!(changed["deprecated_at"].is_string(), "{changed}");
    refused(&client.patch(&format!("{path}/versions/9"), &end).await, 404, "not-found");
    let event = json!({"type": "order.paid", "payload": {"id": 1}});
    let mut old = event.clone();
    old["schema_version"] = 1.into();
    let fresh = client.post("/v1/events", &event).await;
    assert_eq!(header(&fresh, "deprecation"), "");
    let warned = client.post("/v1/events", &old).await;
    assert!(header(&warned, "deprecation").starts_with('@'));
    assert_eq!(header(&warned, "sunset"), "Fri, 01 Jan 2027 00:00:00 GMT");

    let archived = client.patch(path, &json!({"archived": true})).await.expect(200);
    assert!(archived["archived_at"].is_string());
    refused(&client.post("/v1/events", &event).await, 409, "archived-event-type");
    let kept = client.get("/v1/events?event_type=order.paid").await.expect(200);
    assert_eq!(kept["data"].as_array().map(Vec::len), Some(2));
    client.patch(path, &json!({"archived": false})).await.expect(200);
    client.post("/v1/events", &event).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_deprecated_has_an_end() {
    let (_server, client) = scene().await;
    let end = "2030-01-01T00:00:00Z";
    for path in ["/v1/event-types/order.paid", "/v1/event-types/order.paid/versions/1"] {
        let before = client.get(path).await.expect(200);
        for wrong in [json!({"sunset_at": end}), json!({"sunset_at": end, "deprecated": false})] {
            let answer = client.patch(path, &wrong).await;
            refused(&answer, 400, "invalid-field");
            let error = &answer.json()["errors"][0];
            assert_eq!(error["at"], "/sunset_at");
            assert!(error["message"].as_str().unwrap().contains("\"deprecated\": true"), "{error}");
        }
        assert_eq!(client.get(path).await.expect(200), before, "nothing was changed");
        client.patch(path, &json!({"sunset_at": null})).await.expect(200);
        client.patch(path, &json!({"deprecated": true})).await.expect(200);
        let changed = client.patch(path, &json!({"sunset_at": end})).await.expect(200);
        assert_eq!(changed["sunset_at"], end);
        let undone = client.patch(path, &json!({"deprecated": false})).await.expect(200);
        assert_eq!((&undone["deprecated_at"], &undone["sunset_at"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn a_change_holds_whole_or_not_at_all_though_the_server_is_killed() {
    let mut server = Server::start().await;
    server.client().event_type("order.created").await;
    let path = "/v1/event-types/order.created";
    let state = |n: u32| {
        let odd = n % 2 == 1;
        json!({
            "description": format!("change {n}"),
            "mode": if odd { "warn" } else { "off" },
            "archived": odd,
            "deprecated": odd,
            "compatibility": if odd { "full" } else { "none" },
        })
    };
    let number = |now: &Value| -> Option<u32> {
        now["description"].as_str()?.strip_prefix("change ")?.parse().ok()
    };
    for round in 0..8 {
        let client = server.client();
        let changing = tokio::spawn(async move {
            let json = [("content-type", "application/json")];
            for n in 1_000 * round.. {
                let body = state(n).to_string();
                if client.try_send("PATCH", path, &json, body).await.is_err() {
                    return;
                }
            }
        });
        // In the midst of it, a little later each time.
        let wanted = 1_000 * round + 3 + round;
        server.client().wait_for(path, |now| number(now).is_some_and(|n| n >= wanted)).await;
        server.kill().await;
        changing.await.unwrap();
        server.restart().await;
        let now = server.client().get(path).await.expect(200);
        let whole = state(number(&now).expect("it was changed"));
        assert_eq!(now["mode"], whole["mode"], "{now}");
        assert_eq!(now["compatibility"], whole["compatibility"], "{now}");
        for (at, is) in [("archived_at", "archived"), ("deprecated_at", "deprecated")] {
            assert_eq!(now[at].is_string(), whole[is] == true, "{at}: {now}");
        }
    }
    // One that is refused changes nothing of what else it brought.
    let before = server.client().get(path).await.expect(200);
    let bad = json!({"mode": "enforce", "content_types": ["text"]});
    assert_eq!(server.client().patch(path, &bad).await.problem(), "invalid-field");
    assert_eq!(server.client().get(path).await.expect(200), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_reads_so_much_and_says_when_there_is_more() {
    let (_server, client) = scene().await;
    client.post("/v1/event-types", &json!({"name": "note.written"})).await.expect(201);
    let text = "x".repeat(1_000_000);
    for _ in 0..35 {
        let event = json!({"type": "note.written", "payload": text});
        client.post("/v1/events", &event).await.expect(202);
    }
    let schema = json!({"type": "string"});
    let path = "/v1/event-types/note.written/versions/check";
    let few = client.post(path, &json!({"schema": schema, "last": 30})).await.expect(200);
    assert_eq!((&few["events"]["tried"], &few["events"]["complete"]), (&json!(30), &json!(true)));
    let all = client.post(path, &json!({"schema": schema, "last": 35})).await.expect(200);
    assert_eq!((&all["events"]["tried"], &all["events"]["complete"]), (&json!(33), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_very_many_patterns_is_refused_wherever_it_is_given() {
    let (_server, client) = scene().await;
    let patterns: serde_json::Map<String, Value> =
        (0..20_000).map(|n| (format!("^[a-z]{{1,50}}{n}"), json!({}))).collect();
    let schema = json!({"patternProperties": patterns});
    for (path, body) in [
        ("/v1/event-types", json!({"name": "note.written", "schema": schema})),
        ("/v1/event-types/order.paid/versions", json!({"schema": schema})),
        ("/v1/event-types/order.paid/versions/check", json!({"schema": schema})),
    ] {
        let problem = refused(&client.post(path, &body).await, 422, "unusable-schema");
        let why = problem["errors"][0].to_string();
        assert!(why.contains("20000 patterns"), "{path}: {why}");
    }
}
