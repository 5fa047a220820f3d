//! What an operator sees: metrics, traces, request ids; and that dashboard and alerts ask for
//! what there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use hookmill::telemetry::catalogue::{Kind, METRICS};
use hookmill_tests::{Act, Client, Receiver, Reply, Server, Version};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStderr, Command},
};

type Lines = tokio::io::Lines<BufReader<ChildStderr>>;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Publishes within a trace; answers the event's id.
async fn publish_traced(client: &Client, kind: &str, parent: &str) -> String {
    let headers =
        [("content-type", "application/json"), ("traceparent", parent), ("tracestate", "vendor=1")];
    let body = json!({"type": kind, "payload": {}}).to_string();
    let receipt = client.send("POST", "/v1/events", &headers, body).await.expect(202);
    receipt["id"].as_str().expect("an id").to_owned()
}

async fn metrics(client: &Client) -> String {
    String::from_utf8_lossy(&client.get("/metrics").await.body).into_owned()
}

/// The value of a series, written as in `/metrics`; 0 if it is not there.
async fn metric(client: &Client, series: &str) -> f64 {
    let text = metrics(client).await;
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Waits until a series has a value.
async fn wait_for_metric(client: &Client, series: &str, wanted: f64) {
    let deadline = tokio::time::Instant::now() + hookmill_tests::PATIENCE;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
    while metric(client, series).await != wanted {
        let text = metrics(client).await;
        assert!(tokio::time::Instant::now() < deadline, "{series} never was {wanted}: {text}");
        ticks.tick().await;
    }
}

#[tokio::test]
async fn a_producers_trace_reaches_the_endpoint_on_every_attempt() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    client.event_type("order.created").await;
    receiver.reply("/hook", [Reply::status(500), Reply::status(200)]);
    let body = json!({"endpoint": receiver.url("/hook"), "event_types": ["order.*"],
        "headers": {"traceparent": "a subscription's own"}, "policy": {"retry": {"schedule": [0, 0]}}});
    client.post("/v1/subscriptions", &body).await.expect(201);
    publish_traced(&client, "order.created", PARENT).await;
    for attempt in receiver.wait("/hook", 2).await {
        assert_eq!(attempt.header("traceparent"), PARENT);
        assert_eq!(attempt.header("tracestate"), "vendor=1");
    }

    // In a batch each event is part of it, and what is no trace is ignored.
    let batch = json!({"events": [{"type": "order.created", "payload": 1}]}).to_string();
    let headers = [("content-type", "application/json"), ("traceparent", PARENT)];
    client.send("POST", "/v1/events/batch", &headers, batch).await.expect(200);
    let third = receiver.wait("/hook", 3).await.remove(2);
    assert_eq!((third.header("traceparent"), third.header("tracestate")), (PARENT, ""));
    publish_traced(&client, "order.created", "00-nonsense").await;
    let fourth = receiver.wait("/hook", 4).await.remove(3);
    assert_eq!(fourth.header("traceparent"), "a subscription's own");
}

/// All spans that a collector got so far, by name.
fn spans(requests: &[hookmill_tests::Received]) -> Vec<Value> {
    let of = |request: &hookmill_tests::Received| {
        let body = request.json();
        assert_eq!(
            body["resourceSpans"][0]["resource"]["attributes"][0],
            json!({"key": "service.name", "value": {"stringValue": "hookmill"}})
        );
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default()
    };
    requests.iter().flat_map(of).collect()
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a str {
    let all = span["attributes"].as_array().expect("attributes");
    let found = all.iter().find(|attribute| attribute["key"] == name);
    found.and_then(|found| found["value"]["stringValue"].as_str()).unwrap_or_default()
}

#[tokio::test]
async fn spans_of_an_event_reach_the_collector_under_the_producers() {
    let (collector, receiver) = (Receiver::start().await, Receiver::start().await);
    let endpoint = collector.url("");
    let settings = [("OTLP_ENDPOINT", endpoint.as_str()), ("OTLP_HEADERS", "x-collector-key: k7")];
    let mut server = Server::start_with(&settings).await;
    let client = server.client();
    client.event_type("order.created").await;
    client.subscribe(&receiver.url("/hook"), &["order.*"], &json!([])).await;
    let event = publish_traced(&client, "order.created", PARENT).await;
    let arrived = receiver.wait("/hook", 1).await.remove(0);
    client.delivery_in(&event, &["succeeded"]).await;
    // Stopping sends what waits.
    assert!(server.stop().await.success());

    let requests = collector.at("/v1/traces");
    assert!(requests.iter().all(|request| request.header("x-collector-key") == "k7"));
    let spans = spans(&requests);
    let find = |name: &str| {
        let is_it = |span: &&Value| span["name"] == name && span["traceId"] == TRACE;
        spans.iter().find(is_it).unwrap_or_else(|| panic!("no span {name}: {spans:#?}")).clone()
    };
    let (request, publish, attempt) = (find("request"), find("publish"), find("attempt"));
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(publish["parentSpanId"], request["spanId"]);
    assert_eq!(attempt["parentSpanId"], publish["spanId"]);
    for span in [&publish, &attempt] {
        assert_eq!(attribute(span, "hookmill.event.id"), event);
        assert_eq!(span["traceState"], "vendor=1");
    }
    assert_eq!(attribute(&attempt, "hookmill.outcome"), "succeeded");
    let named = format!("00-{TRACE}-{}-01", attempt["spanId"].as_str().expect("an id"));
    assert_eq!(arrived.header("traceparent"), named);
}

#[tokio::test]
async fn what_is_not_sampled_is_passed_on_and_not_recorded() {
    let (collector, receiver) = (Receiver::start().await, Receiver::start().await);
    let endpoint = collector.url("/otel");
    let settings = [("OTLP_ENDPOINT", endpoint.as_str()), ("OTLP_SAMPLE_RATIO", "0")];
    let mut server = Server::start_with(&settings).await;
    let client = server.client();
    client.event_type("order.created").await;
    client.subscribe(&receiver.url("/hook"), &["order.*"], &json!([])).await;
    let left_out = PARENT.replace("-01", "-00");
    publish_traced(&client, "order.created", &left_out).await;
    assert_eq!(receiver.wait("/hook", 1).await[0].header("traceparent"), left_out);
    client.publish("order.created", &json!({})).await;
    assert_eq!(receiver.wait("/hook", 2).await[1].header("traceparent"), "");
    assert!(server.stop().await.success());
    assert_eq!(spans(&collector.at("/otel/v1/traces")), Vec::<Value>::new());
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::start().await;
    let client = server.client();
    let given = client.send("GET", "/v1/events", &[("x-request-id", "r-7")], "").await;
    assert_eq!(given.headers["x-request-id"], "r-7");
    for path in ["/v1/events", "/nowhere", "/healthz"] {
        let made = client.get(path).await;
        assert_eq!(made.headers["x-request-id"].len(), 36, "{path}");
    }
}

#[tokio::test]
async fn moves_without_an_attempt_are_counted_and_the_backlog_is_shown() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    client.event_type("tick").await;
    let (id, _) = client.subscribe(&receiver.url("/hook"), &["tick"], &json!([])).await;
    let path = format!("/v1/subscriptions/{id}");
    client.post(&format!("{path}/pause"), &json!({})).await.expect(200);
    let event = client.publish("tick", &json!({})).await;
    wait_for_metric(&client, "hookmill_backlog_deliveries{state=\"held\"}", 1.0).await;
    client.post(&format!("{path}/resume"), &json!({})).await.expect(200);
    client.delivery_in(event["id"].as_str().expect("an id"), &["succeeded"]).await;
    let moved = |state| format!("hookmill_deliveries_total{{state=\"{state}\"}}");
    assert_eq!(metric(&client, &moved("pending")).await, 1.0);
    client.post(&format!("{path}/pause"), &json!({})).await.expect(200);
    client.publish("tick", &json!({})).await;
    client.delete(&path).await.expect(204);
    assert_eq!(metric(&client, &moved("cancelled")).await, 1.0);
    assert_eq!(metric(&client, "hookmill_deliveries_created_total").await, 2.0);
    client.send("POST", "/v1/events", &[], "").await;
    let refused = "hookmill_events_rejected_total{reason=\"wrong-content-type\"}";
    assert_eq!(metric(&client, refused).await, 1.0);
}

/// Uses as much of a server as its metrics speak of: events that are refused, deliveries that
/// succeed and die, a plugin that fails, a collector that is not there.
async fn exercise() -> (Server, BTreeMap<String, String>) {
    let settings = [
        ("QUARANTINE_FAILURES", "3"),
        ("OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("MAX_IN_FLIGHT", "64"),
    ];
    let (server, receiver) = (Server::start_with(&settings).await, Receiver::start().await);
    let client = server.client();
    for kind in ["tick", "boom"] {
        client.event_type(kind).await;
    }
    client.upload(Version::new("mark", "1.0.0", Act::Trap).module()).await.expect(201);
    let pipeline = json!([{"plugin": "mark", "on_error": "dead"}]);
    client.subscribe(&receiver.url("/boom"), &["boom"], &pipeline).await;
    for _ in 0..3 {
        let event = client.publish("boom", &json!({})).await;
        client.delivery_in(event["id"].as_str().expect("an id"), &["dead"]).await;
    }
    receiver.reply("/gone", [Reply::status(400)]);
    let body = json!({"endpoint": receiver.url("/gone"), "event_types": ["tick"],
        "policy": {"retry": {"schedule": [0]}}});
    client.post("/v1/subscriptions", &body).await.expect(201);
    client.subscribe(&receiver.url("/fine"), &["tick"], &json!([])).await;
    for _ in 0..12 {
        client.publish("tick", &json!({})).await;
    }
    receiver.wait("/fine", 12).await;
    client.post("/v1/events", &json!({"type": "nothing", "payload": 1})).await.expect(400);
    let suppressed = "hookmill_notices_suppressed_total{kind=\"delivery_dead\"}";
    wait_for_metric(&client, suppressed, 2.0).await;
    client.wait_for("/v1/plugins/mark/versions/1.0.0/stats", |s| s["quarantine"].is_object()).await;
    wait_for_metric(&client, "hookmill_backlog_deliveries{state=\"dead\"}", 15.0).await;
    let text = metrics(&client).await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    for metric in METRICS.iter().filter(|metric| text.contains(&format!("# TYPE {} ", metric.name)))
    {
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}: no help", metric.name);
    }
    (server, types)
}

/// What a text in PromQL, or one with such texts, names.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics =
        words.filter(|word| word.starts_with("hookmill_") || word.starts_with("process_"));
    let name = |word: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| word.strip_suffix(part));
        let is_histogram = |name: &&str| {
            METRICS.iter().any(|m| m.name == *name && matches!(m.kind, Kind::Histogram(_)))
        };
        whole.filter(is_histogram).unwrap_or(word).to_owned()
    };
    metrics.map(name).collect()
}

/// Whether every bracket that is opened is closed by its own kind, outside of texts.
fn is_balanced(query: &str) -> bool {
    let (mut open, mut is_text) = (Vec::new(), false);
    for c in query.chars() {
        match c {
            '"' => is_text ^= true,
            _ if is_text => {}
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty() && !is_text
}

/// Every query of the dashboard.
fn dashboard() -> Vec<String> {
    let text = include_str!("../../../packaging/grafana/hookmill.json");
    let dashboard: Value = serde_json::from_str(text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

/// Every query of the alerts, those over several lines as one.
fn alerts() -> Vec<String> {
    let text = include_str!("../../../packaging/prometheus/alerts.yaml");
    let mut queries: Vec<String> = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if let Some(query) = line.trim_start().strip_prefix("expr: ") {
            is_block = query == "|";
            queries.push(if is_block { String::new() } else { query.to_owned() });
        } else if is_block && line.starts_with("          ") {
            queries.last_mut().expect("one was begun").push_str(line);
        } else {
            is_block = false;
        }
    }
    queries
}

#[tokio::test]
async fn dashboard_and_alerts_name_metrics_that_a_server_has() {
    let (_server, exported) = exercise().await;
    // What is exported is as the catalogue says.
    for (name, kind) in &exported {
        let listed = METRICS.iter().find(|metric| metric.name == name);
        assert_eq!(listed.map(|metric| metric.kind.as_str()), Some(kind.as_str()), "{name}");
    }
    let (dashboard, alerts) = (dashboard(), alerts());
    assert!(dashboard.len() > 50 && alerts.len() == 16, "{} {}", dashboard.len(), alerts.len());
    for query in dashboard.iter().chain(&alerts) {
        assert!(is_balanced(query), "{query}");
        for name in names(query) {
            assert!(METRICS.iter().any(|metric| metric.name == name), "{name} in {query}");
            assert!(exported.contains_key(&name), "{name} is not exported, but asked for: {query}");
        }
    }
    assert!(alerts.iter().all(|query| !names(query).is_empty() || query.starts_with("up{")));
}

/// A server that logs everything of its own as JSON, and its log.
async fn talkative() -> (tokio::process::Child, tempfile::TempDir, Client, Lines) {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let mut child = Command::new(hookmill_tests::binary())
        .arg("serve")
        .args(["--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"])
        .args(["--admin-key", hookmill_tests::ADMIN_KEY, "--database"])
        .arg(folder.path().join("hookmill.db"))
        .env("RUST_LOG", "hookmill=debug")
        .env("HOOKMILL_LOG_FORMAT", "json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let first = said.next_line().await.expect("it is text").expect("it says where it listens");
    let (_, url) = first.split_once("listening on ").expect("it says where it listens");
    let client = Client::new(url.trim(), Some(hookmill_tests::ADMIN_KEY));
    (child, folder, client, log)
}

#[tokio::test]
async fn lines_of_a_request_and_an_attempt_say_which() {
    let receiver = Receiver::start().await;
    let (_child, _folder, client, mut log) = talkative().await;
    client.event_type("tick").await;
    let (subscription, _) = client.subscribe(&receiver.url("/hook"), &["tick"], &json!([])).await;
    let headers =
        [("content-type", "application/json"), ("x-request-id", "r-7"), ("traceparent", PARENT)];
    let body = json!({"type": "tick", "payload": {"secret": "of the payload"}}).to_string();
    let receipt = client.send("POST", "/v1/events", &headers, body).await.expect(202);
    let (mut accepted, mut attempted) = (Value::Null, Value::Null);
    let reading = async {
        while accepted.is_null() || attempted.is_null() {
            let line = log.next_line().await.expect("it is text").expect("the server goes on");
            assert!(!line.contains("of the payload") && !line.contains("hmk_admin"), "{line}");
            let line: Value = serde_json::from_str(&line).expect("it is JSON");
            match line["fields"]["message"].as_str() {
                Some("accepted") => accepted = line,
                Some("an attempt ended") => attempted = line,
                _ => {}
            }
        }
    };
    tokio::time::timeout(hookmill_tests::PATIENCE, reading).await.expect("both are logged");
    let request = &accepted["span"];
    assert_eq!((&request["request_id"], &request["path"]), (&json!("r-7"), &json!("/v1/events")));
    assert_eq!((&request["trace_id"], &request["method"]), (&json!(TRACE), &json!("POST")));
    assert_eq!(accepted["fields"]["event_id"], receipt["id"]);
    let attempt = &attempted["span"];
    assert_eq!(attempt["event_id"], receipt["id"]);
    assert_eq!(attempt["subscription_id"], subscription);
    assert_eq!((&attempt["attempt"], &attempt["trace_id"]), (&json!(1), &json!(TRACE)));
    let delivery = receiver.wait("/hook", 1).await.remove(0);
    assert_eq!(attempt["delivery_id"], delivery.header("webhook-id"));
    let fields = &attempted["fields"];
    assert_eq!((&fields["outcome"], &fields["state"]), (&json!("succeeded"), &json!("succeeded")));
}
