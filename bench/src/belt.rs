//! The belt end to end: ingestion, delivery, and both together.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    report::{Goal, Report},
    server::{KEY, Places, Process, Server},
    wire::{Load, Receiver, load, request},
};

/// Connections of the generator in every figure that does not say otherwise.
const CONNECTIONS: usize = 64;
/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 3;

/// A payload of about 2 KB, the size of a small real push event.
pub fn payload(bytes: usize) -> Value {
    let mut commits = Vec::new();
    let mut value = json!({"ref": "refs/heads/main", "action": "opened", "total": 150,
        "repository": {"id": 1_296_269, "full_name": "octo/hello", "private": false}});
    while value.to_string().len() < bytes {
        let n = commits.len();
        commits.push(json!({"id": format!("{n:040x}"), "message": format!("Change number {n}, with a few words"),
            "author": {"name": "Mona", "email": "mona@example.com"}, "added": ["a.rs", "b.rs"], "distinct": true}));
        value["commits"] = Value::Array(commits.clone());
    }
    value
}

/// The schema every event of these figures is checked against.
pub fn schema() -> Value {
    json!({"type": "object", "required": ["ref", "repository", "commits"], "properties": {
        "ref": {"type": "string", "pattern": "^refs/"},
        "total": {"type": "number", "minimum": 0},
        "repository": {"type": "object", "required": ["id", "full_name"],
            "properties": {"id": {"type": "integer"}, "full_name": {"type": "string"}, "private": {"type": "boolean"}}},
        "commits": {"type": "array", "items": {"type": "object", "required": ["id", "message"], "properties": {
            "id": {"type": "string", "minLength": 40}, "message": {"type": "string"},
            "author": {"type": "object"}, "added": {"type": "array", "items": {"type": "string"}}}}}}})
}

/// A filter and a transform, as a subscriber would set them up.
pub fn pipeline() -> Value {
    json!([
        {"plugin": "field-filter", "config": {"pass_if": {"at": "/total", "greater_or_equal": 100}}},
        {"plugin": "redact", "config": {"fields": [{"at": "/repository/full_name", "action": "remove"}]}},
    ])
}

fn event() -> Vec<u8> {
    json!({"type": "push", "payload": payload(2048)}).to_string().into_bytes()
}

async fn plugins(server: &Server, places: &Places) {
    for name in ["field-filter", "redact"] {
        server.upload(places.plugin(name)).await;
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn show(load: &Load) -> String {
    format!(
        "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
        load.rate(),
        load.percentile(0.5).as_secs_f64() * 1e3,
        load.percentile(0.99).as_secs_f64() * 1e3
    )
}

/// Durable single-event POSTs against a server that only parses and answers.
pub async fn ingest(places: &Places, report: &mut Report) {
    const COUNT: usize = 30_000;
    let floor = Process::floor(&["parse"]).await;
    let server = Server::start(places).await;
    server.event_type("push", Some(&schema())).await;
    let (mut ratios, mut shown) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let least = request(floor.address, "/v1/events", KEY, &event());
        let least = load(floor.address, CONNECTIONS, COUNT, least).await;
        let ours = request(server.process.address, "/v1/events", KEY, &event());
        let before = server.process.cpu();
        let ours = load(server.process.address, CONNECTIONS, COUNT, ours).await;
        let cpu = (server.process.cpu() - before).as_secs_f64() / COUNT as f64 * 1e6;
        ratios.push(ours.rate() / least.rate());
        shown = format!(
            "{} at {cpu:.0} µs of processor time each; floor {}",
            show(&ours),
            show(&least)
        );
    }
    report.add("ingest", median(ratios), "", Goal::AtLeast(0.5), shown);
}

/// Draining stored events to one subscription against a bare reqwest loop.
pub async fn deliver(places: &Places, report: &mut Report) {
    const COUNT: usize = 20_000;
    let receiver = Receiver::start().await;
    let (mut ratios, mut shown) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let server = Server::start(places).await;
        server.event_type("push", None).await;
        plugins(&server, places).await;
        let id = server.subscribe(&receiver.url(), "push", &pipeline()).await;
        server.post(&format!("/v1/subscriptions/{id}/pause"), &json!({})).await;
        let bytes = request(server.process.address, "/v1/events", KEY, &event());
        load(server.process.address, CONNECTIONS, COUNT, bytes).await;
        receiver.reset();
        let before = server.process.cpu();
        let start = Instant::now();
        server.post(&format!("/v1/subscriptions/{id}/resume"), &json!({})).await;
        let ours = (receiver.wait(COUNT).await - start).as_secs_f64();
        let cpu = (server.process.cpu() - before).as_secs_f64() / COUNT as f64 * 1e6;

        // The same bytes that arrived: the payload without the redacted field.
        let mut sent = payload(2048);
        if let Some(repository) = sent["repository"].as_object_mut() {
            repository.shift_remove("full_name");
        }
        let file = server.folder().join("body.json");
        std::fs::write(&file, sent.to_string()).expect("the folder can be written");
        server.process.kill().await;
        receiver.reset();
        let least = bare_loop(&receiver, COUNT, &file).await;
        ratios.push(least / ours);
        shown = format!(
            "{:.0}/s at {cpu:.0} µs of processor time each; bare reqwest loop {:.0}/s",
            COUNT as f64 / ours,
            COUNT as f64 / least
        );
    }
    report.add("deliver", median(ratios), "", Goal::AtLeast(0.4), shown);
}

/// Seconds a bare reqwest loop in a process of its own takes for the same.
async fn bare_loop(receiver: &Receiver, count: usize, body: &std::path::Path) -> f64 {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["floor", "post", &receiver.url(), &count.to_string(), &CONNECTIONS.to_string()])
        .arg(body)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the floor starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    lines.next_line().await.expect("it prints text");
    let start = Instant::now();
    let took = (receiver.wait(count).await - start).as_secs_f64();
    child.wait().await.expect("the floor ends");
    took
}

/// From POST to arrival, everything on, against a handler that forwards and keeps nothing.
pub async fn belt(places: &Places, report: &mut Report) {
    const COUNT: usize = 20_000;
    let receiver = Receiver::start().await;
    let floor = Process::floor(&["forward", &receiver.url()]).await;
    let (mut ratios, mut shown) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        receiver.reset();
        let bytes = request(floor.address, "/v1/events", KEY, &event());
        let least = load(floor.address, CONNECTIONS, COUNT, bytes).await;

        let server = Server::start(places).await;
        server.event_type("push", Some(&schema())).await;
        plugins(&server, places).await;
        server.subscribe(&receiver.url(), "push", &pipeline()).await;
        receiver.reset();
        let before = server.process.cpu();
        let start = Instant::now();
        let bytes = request(server.process.address, "/v1/events", KEY, &event());
        let accepted = load(server.process.address, CONNECTIONS, COUNT, bytes).await;
        let rate = COUNT as f64 / (receiver.wait(COUNT).await - start).as_secs_f64();
        let cpu = (server.process.cpu() - before).as_secs_f64() / COUNT as f64 * 1e6;
        let batches = server.metric("hookmill_ingest_batch_size_count").await;
        ratios.push(rate / least.rate());
        shown = format!(
            "{rate:.0}/s delivered at {cpu:.0} µs of processor time each, {:.0} events to a transaction, \
             accepted {}; forwarder {}",
            COUNT as f64 / batches,
            show(&accepted),
            show(&least)
        );
        server.process.kill().await;
    }
    report.add("belt", median(ratios), "", Goal::AtLeast(0.5), shown);
}

/// One connection: how long from POST to acceptance and to arrival, beside one fdatasync.
pub async fn alone(places: &Places, report: &mut Report) {
    const COUNT: usize = 1_000;
    let receiver = Receiver::start().await;
    let server = Server::start(places).await;
    server.event_type("push", Some(&schema())).await;
    plugins(&server, places).await;
    server.subscribe(&receiver.url(), "push", &pipeline()).await;
    let bytes = request(server.process.address, "/v1/events", KEY, &event());
    let mut arrivals = Vec::with_capacity(COUNT);
    let mut accepted = Vec::with_capacity(COUNT);
    let mut line = crate::wire::Line::open(server.process.address).await;
    for n in 1..=COUNT {
        let start = Instant::now();
        accepted.push(line.exchange(&bytes).await);
        arrivals.push(receiver.wait(n).await.saturating_duration_since(start));
    }
    arrivals.sort_unstable();
    accepted.sort_unstable();
    let p50 = |sorted: &[Duration]| crate::wire::percentile(sorted, 0.5).as_secs_f64() * 1e3;
    let sync = fdatasync(server.folder());
    report.add(
        "belt, one connection: p50 from POST to arrival",
        p50(&arrivals),
        " ms",
        Goal::AtMost(2.5),
        format!("accepted after {:.2} ms; one fdatasync of 4 KB: {sync:.2} ms", p50(&accepted)),
    );
}

/// The median time of one fdatasync of 4 KB, in milliseconds.
fn fdatasync(folder: &std::path::Path) -> f64 {
    use std::io::Write;
    let mut file = std::fs::File::create(folder.join("sync")).expect("the folder can be written");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            file.write_all(&[7; 4096]).expect("the disk has room");
            let start = Instant::now();
            file.sync_data().expect("the disk syncs");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[100].as_secs_f64() * 1e3
}
