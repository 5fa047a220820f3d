//! How many recorded events a second a backtest compares.

use std::time::Duration;

use serde_json::json;

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::{Places, Server},
};

const EVENTS: usize = 5_000;

/// One subscription, a plugin that edits, two versions of it that differ in their config alone,
/// so that nothing is shared.
pub async fn run(places: &Places, report: &mut Report) {
    let server = Server::start(places).await;
    server.event_type("push", None).await;
    server.upload(places.plugin("redact")).await;
    for some in (0..EVENTS).collect::<Vec<_>>().chunks(500) {
        let event = |_| json!({"type": "push", "payload": payload(2048)});
        let events: Vec<_> = some.iter().map(event).collect();
        server.post("/v1/events/batch", &json!({"events": events})).await;
    }
    let hide = |at: &str| json!({"fields": [{"at": at, "action": "remove"}]});
    let pipeline = json!([{"plugin": "redact", "config": hide("/repository/full_name")}]);
    // Nothing is sent there: the events were before it.
    let id = server.subscribe("http://127.0.0.1:9/", "push", &pipeline).await;
    let request = json!({"version": "0.1.0", "subscription_id": id, "last": EVENTS,
        "config": hide("/repository/id")});
    let started = server.post("/v1/plugins/redact/backtests", &request).await;
    let path = format!("/v1/backtests/{}", started["id"].as_str().expect("an id"));
    let done = loop {
        let found = server.get(&path).await;
        if found["state"] != "running" {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(done["counts"]["changed"], EVENTS, "{done:#}");
    let time = |field: &str| {
        let text = done[field].as_str().expect("a time");
        text.parse::<jiff::Timestamp>().expect("a time")
    };
    let took = time("finished_at").duration_since(time("created_at")).as_secs_f64();
    report.add(
        "backtest, events a second",
        EVENTS as f64 / took,
        "/s",
        Goal::None,
        format!("{EVENTS} events of 2 KB, two runs each, while nothing else happens"),
    );
}
