//! The process as a whole: its memory, and how long it takes to be there.

use std::time::Duration;

use serde_json::json;

use crate::{
    belt::{payload, pipeline, schema},
    report::{Goal, Report},
    server::{KEY, Places, Server},
    wire::{Receiver, load, request},
};

/// Real plugins under names of their own, so that there are enough of them: a name has the
/// same length as the one it replaces, and occurs in the code as plain text.
fn twenty_plugins(places: &Places) -> Vec<(String, Vec<u8>)> {
    let names = ["field-filter", "redact", "reshape", "slack-message", "cloudevents"];
    let mut all = Vec::new();
    for name in names {
        let bytes = places.plugin(name);
        for copy in 0..4 {
            let mut renamed = name.to_owned();
            renamed.replace_range(name.len() - 1.., &copy.to_string());
            all.push((renamed.clone(), replace(&bytes, name.as_bytes(), renamed.as_bytes())));
        }
    }
    all
}

/// A copy of `bytes` with `to` wherever `from` was; both have the same length.
pub fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= changed.len() {
        if changed[at..].starts_with(from) {
            changed[at..at + to.len()].copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    changed
}

async fn with_plugins(places: &Places, receiver: &Receiver) -> Server {
    let server = Server::start(places).await;
    server.event_type("push", Some(&schema())).await;
    let plugins = twenty_plugins(places);
    for (_, wasm) in plugins {
        server.upload(wasm).await;
    }
    // Each in use by a subscription, so that each is loaded; to a type nobody publishes.
    for (name, config) in [
        ("field-filte", json!({"pass_if": {"at": "/total", "exists": true}})),
        ("redac", json!({"fields": [{"at": "/total"}]})),
        ("reshap", json!({"template": {"n": {"$": "/total"}}})),
        ("slack-messag", json!({})),
        ("cloudevent", json!({"source": "/bench"})),
    ] {
        for copy in 0..4 {
            let step = json!([{"plugin": format!("{name}{copy}"), "config": config}]);
            server.subscribe(&receiver.url(), "other.type", &step).await;
        }
    }
    server
}

/// Resident memory at idle and under load.
pub async fn memory(places: &Places, report: &mut Report) {
    const COUNT: usize = 10_000;
    let receiver = Receiver::start().await;
    let mut server = with_plugins(places, &receiver).await;
    server.restart().await;
    let idle = server.process.resident();
    for name in ["field-filter", "redact"] {
        server.upload(places.plugin(name)).await;
    }
    server.subscribe(&receiver.url(), "push", &pipeline()).await;
    let event = json!({"type": "push", "payload": payload(2048)}).to_string();
    let bytes = request(server.process.address, "/v1/events", KEY, event.as_bytes());
    let sending = load(server.process.address, 64, COUNT, bytes);
    let watching = async {
        let mut most = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while receiver.count() < COUNT {
            ticks.tick().await;
            most = most.max(server.process.resident());
        }
        most
    };
    let (_, most) = tokio::join!(sending, watching);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    report.add(
        "memory, idle with 20 plugins",
        megabytes(idle),
        " MB",
        Goal::AtMost(100.0),
        format!("resident; at most {:.0} MB while delivering 10,000 events", megabytes(most)),
    );
}

/// From exec to ready with a filled database.
pub async fn restart(places: &Places, report: &mut Report) {
    const EVENTS: usize = 100_000;
    let receiver = Receiver::start().await;
    let mut server = with_plugins(places, &receiver).await;
    let event = json!({"type": "push", "payload": payload(2048)}).to_string();
    let bytes = request(server.process.address, "/v1/events", KEY, event.as_bytes());
    load(server.process.address, 64, EVENTS, bytes).await;
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(server.restart().await);
    }
    times.sort_unstable();
    let compiled = server.metric("hookmill_plugin_compiled_total").await;
    let loaded = server.metric("hookmill_plugins_loaded").await;
    report.add(
        "restart to ready",
        times[2].as_secs_f64(),
        " s",
        Goal::AtMost(1.0),
        format!("20 plugins ({loaded:.0} loaded, {compiled:.0} compiled), {EVENTS} stored events"),
    );
}
