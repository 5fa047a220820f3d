//! One event to a thousand subscriptions: what sharing runs is worth.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::{KEY, Places, Server},
    wire::{Receiver, load, request},
};

const SUBSCRIPTIONS: usize = 1_000;
const EVENTS: usize = 20;

/// Time of fan-outs with few distinct pipelines ÷ time with all of them different.
pub async fn run(places: &Places, report: &mut Report) {
    let (shared, shared_runs) = fan_out(places, |n| n % 3).await;
    let (separate, separate_runs) = fan_out(places, |n| n).await;
    report.add(
        "fan-out, 3 pipelines ÷ 1,000",
        shared / separate,
        "",
        Goal::None,
        format!(
            "{:.1} ms and {shared_runs:.0} plugin runs an event for 1,000 deliveries through 3 pipelines; \
             {:.1} ms and {separate_runs:.0} runs through 1,000 different ones",
            shared * 1e3,
            separate * 1e3
        ),
    );
}

/// Seconds and plugin runs for each event.
async fn fan_out(places: &Places, variant: impl Fn(usize) -> usize) -> (f64, f64) {
    let receiver = Receiver::start().await;
    let server = Server::start(places).await;
    server.event_type("push", None).await;
    server.upload(places.plugin("redact")).await;
    for n in 0..SUBSCRIPTIONS {
        let text = format!("hidden {}", variant(n));
        let pipeline: Value = json!([{"plugin": "redact",
            "config": {"fields": [{"at": "/repository/full_name", "action": "mask", "text": text}]}}]);
        server.subscribe(&receiver.url(), "push", &pipeline).await;
    }
    let event = json!({"type": "push", "payload": payload(2048)}).to_string();
    let bytes = request(server.process.address, "/v1/events", KEY, event.as_bytes());
    let runs = server.metric("hookmill_plugin_runs_total").await;
    let start = Instant::now();
    load(server.process.address, 1, EVENTS, bytes).await;
    let elapsed = receiver.wait(SUBSCRIPTIONS * EVENTS).await - start;
    let runs = server.metric("hookmill_plugin_runs_total").await - runs;
    (elapsed.as_secs_f64() / EVENTS as f64, runs / EVENTS as f64)
}
