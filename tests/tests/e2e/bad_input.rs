//! Every bad input gets its problem: a status, a stable type, the offending field, what to do.

use hookmill_tests::{Client, Hostile, Server, plugin};
use serde_json::{Value, json};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// One bad request and what makes it bad.
struct Case {
    name: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn case(
    name: &'static str,
    method: &'static str,
    path: impl Into<String>,
    body: impl Into<Vec<u8>>,
) -> Case {
    Case { name, method, path: path.into(), headers: JSON.to_vec(), body: body.into() }
}

fn post(name: &'static str, path: impl Into<String>, body: &Value) -> Case {
    case(name, "POST", path, body.to_string())
}

/// What a case came to, as a person would read it.
async fn answer(client: &Client, case: Case) -> String {
    let answer = client.send(case.method, &case.path, &case.headers, case.body).await;
    assert!(
        (400..500).contains(&answer.status),
        "{}: {} {:?}",
        case.name,
        answer.status,
        answer.body
    );
    assert!(!answer.problem().is_empty(), "{}: {:?}", case.name, answer.body);
    let body = serde_json::to_string_pretty(&answer.json()).expect("a problem is JSON");
    format!("## {}\n{} {}\n{body}\n", case.name, case.method, case.path)
}

async fn scene() -> (Server, Client) {
    let server = Server::start_with(&[("MAX_BODY_BYTES", "65536")]).await;
    let client = server.client();
    let schema =
        json!({"type": "object", "required": ["id"], "properties": {"total": {"type": "string"}}});
    client
        .post("/v1/event-types", &json!({"name": "order.created", "schema": schema}))
        .await
        .expect(201);
    client.upload(plugin("redact")).await.expect(201);
    (server, client)
}

#[tokio::test]
async fn events() {
    let (_server, client) = scene().await;
    let deep = format!(
        "{{\"type\":\"order.created\",\"payload\":{}{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let mut plain = post("not declared as JSON", "/v1/events", &json!({}));
    plain.headers = vec![("content-type", "text/plain")];
    let mut long_key = post(
        "idempotency key too long",
        "/v1/events",
        &json!({"type": "order.created", "payload": {}}),
    );
    long_key.headers.push(("idempotency-key", Box::leak("k".repeat(300).into_boxed_str())));
    let cases = [
        case(
            "malformed JSON",
            "POST",
            "/v1/events",
            "{\"type\": \"order.created\", \"payload\": {\"id\": }}",
        ),
        case(
            "truncated JSON",
            "POST",
            "/v1/events",
            "{\"type\": \"order.created\", \"payload\": {\"id\": 1",
        ),
        case(
            "invalid UTF-8",
            "POST",
            "/v1/events",
            b"{\"type\":\"order.created\",\"payload\":\"\xff\"}".to_vec(),
        ),
        case(
            "a lone surrogate",
            "POST",
            "/v1/events",
            r#"{"type":"order.created","payload":{"id":"\ud800"}}"#,
        ),
        case("nested too deeply", "POST", "/v1/events", deep),
        case("not an object", "POST", "/v1/events", "[1]"),
        case("empty", "POST", "/v1/events", ""),
        case(
            "too large",
            "POST",
            "/v1/events",
            format!("{{\"type\":\"order.created\",\"payload\":\"{}\"}}", "x".repeat(70_000)),
        ),
        plain,
        post("no type", "/v1/events", &json!({"payload": {}})),
        post("no payload", "/v1/events", &json!({"type": "order.created"})),
        post(
            "an unknown field",
            "/v1/events",
            &json!({"type": "order.created", "payload": {}, "paylod": 1}),
        ),
        post("an unknown type", "/v1/events", &json!({"type": "order.craeted", "payload": {}})),
        post(
            "a schema violation",
            "/v1/events",
            &json!({"type": "order.created", "payload": {"total": 19.9}}),
        ),
        post(
            "an unknown schema version",
            "/v1/events",
            &json!({"type": "order.created", "payload": {"id": 1}, "schema_version": 9}),
        ),
        post(
            "a time that is none",
            "/v1/events",
            &json!({"type": "order.created", "payload": {"id": 1}, "occurred_at": "yesterday"}),
        ),
        long_key,
        case("an id that is none", "GET", "/v1/events/order-7", ""),
        case("an id of another kind", "GET", "/v1/events/sub_01jd8xq3m5e7r9t0v2w4y6z8ab", ""),
        case("an unknown id", "GET", "/v1/events/evt_01jd8xq3m5e7r9t0v2w4y6z8ab", ""),
        case("a bad cursor", "GET", "/v1/events?cursor=nonsense", ""),
        case("a bad limit", "GET", "/v1/events?limit=0", ""),
        case("an unknown query parameter", "GET", "/v1/events?typ=order.created", ""),
    ];
    let mut answers = Vec::new();
    for case in cases {
        answers.push(answer(&client, case).await);
    }
    insta::assert_snapshot!(answers.join("\n"));
}

#[tokio::test]
async fn subscriptions() {
    let (_server, client) = scene().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"endpoint": "http://127.0.0.1:9/", "event_types": ["order.*"]});
        body[field] = value;
        body
    };
    let path = "/v1/subscriptions";
    let cases = [
        post("no endpoint", path, &json!({"event_types": ["order.*"]})),
        post("not a URL", path, &with("endpoint", json!("shop.example/hooks"))),
        post("not http", path, &with("endpoint", json!("ftp://shop.example/"))),
        post("a password in the URL", path, &with("endpoint", json!("https://a:b@shop.example/"))),
        post("a metadata address", path, &with("endpoint", json!("http://169.254.169.254/"))),
        post("no event types", path, &with("event_types", json!([]))),
        post("a bad pattern", path, &with("event_types", json!(["order.created", "**.x"]))),
        post("a reserved header", path, &with("headers", json!({"webhook-id": "1"}))),
        post("a bad header name", path, &with("headers", json!({"x y": "1"}))),
        post("a bad header value", path, &with("headers", json!({"x-y": "a\nb"}))),
        post("an unknown plugin", path, &with("pipeline", json!([{"plugin": "redcat"}]))),
        post("an unknown version", path, &with("pipeline", json!([{"plugin": "redact@9.9.9"}]))),
        post(
            "a config that does not match",
            path,
            &with("pipeline", json!([{"plugin": "redact", "config": {"ruels": []}}])),
        ),
        post(
            "an unknown step field",
            path,
            &with("pipeline", json!([{"plugin": "redact", "on_eror": "drop"}])),
        ),
        post("a bad retry schedule", path, &with("policy", json!({"retry": {"schedule": []}}))),
        post("too much concurrency", path, &with("policy", json!({"concurrency": 1_000_000}))),
        post("a bad secret", path, &with("secret", json!("hunter2"))),
        post("an unknown field", path, &with("endpiont", json!("x"))),
        case("an unknown id", "GET", "/v1/subscriptions/sub_01jd8xq3m5e7r9t0v2w4y6z8ab", ""),
        case(
            "an unknown id to delete",
            "DELETE",
            "/v1/subscriptions/sub_01jd8xq3m5e7r9t0v2w4y6z8ab",
            "",
        ),
    ];
    let mut answers = Vec::new();
    for case in cases {
        answers.push(answer(&client, case).await);
    }
    insta::assert_snapshot!(answers.join("\n"));
}

#[tokio::test]
async fn event_types_plugins_and_the_rest() {
    let (_server, client) = scene().await;
    let wasm = |name, body: Vec<u8>| Case {
        headers: vec![("content-type", "application/wasm")],
        ..case(name, "POST", "/v1/plugins", body)
    };
    let mut other_app = case("an unknown application", "GET", "/v1/events", "");
    other_app.headers = vec![("hookmill-application", "nobody")];
    let cases = [
        post("a duplicate event type", "/v1/event-types", &json!({"name": "order.created"})),
        post("a bad event type name", "/v1/event-types", &json!({"name": "order..created"})),
        post("a bad mode", "/v1/event-types", &json!({"name": "x", "mode": "strict"})),
        post(
            "a schema that is none",
            "/v1/event-types",
            &json!({"name": "x", "schema": {"type": "strnig"}}),
        ),
        post(
            "a remote reference",
            "/v1/event-types",
            &json!({"name": "x", "schema": {"$ref": "https://example.com/x"}}),
        ),
        case("an unknown event type", "GET", "/v1/event-types/order.paid", ""),
        post("a duplicate application", "/v1/applications", &json!({"name": "default"})),
        post("a bad application name", "/v1/applications", &json!({"name": "No Good"})),
        case("the default application cannot go", "DELETE", "/v1/applications/default", ""),
        other_app,
        wasm("not WebAssembly", b"hello".to_vec()),
        wasm("no known world", wat::parse_str("(module)").expect("valid text")),
        wasm("too many functions", Hostile::ManyFunctions.module()),
        case("an unknown plugin", "GET", "/v1/plugins/redcat", ""),
        post(
            "an unknown plugin to run",
            "/v1/plugins/redcat/run",
            &json!({"event": {"type": "order.created", "payload": {}}}),
        ),
        case("no such route", "GET", "/v1/evnets", ""),
        case("a method that is not there", "PUT", "/v1/events", ""),
        case(
            "an unknown delivery",
            "POST",
            "/v1/deliveries/dlv_01jd8xq3m5e7r9t0v2w4y6z8ab/retry",
            "",
        ),
        post(
            "a replay of what cannot be taken",
            "/v1/replays",
            &json!({"mode": "missing", "states": ["held"], "per_second": 0}),
        ),
        case("an unknown replay", "GET", "/v1/replays/rpl_01jd8xq3m5e7r9t0v2w4y6z8ab", ""),
    ];
    let mut answers = Vec::new();
    for case in cases {
        answers.push(answer(&client, case).await);
    }
    for (name, key) in [("no key", None), ("a wrong key", Some("hmk_admin_wrong"))] {
        answers.push(answer(&client.with_key(key), case(name, "GET", "/v1/events", "")).await);
    }
    insta::assert_snapshot!(answers.join("\n"));
}
