//! What uploads that are slow to compile do to everybody else.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::json;

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::{KEY, Places, Server},
    wire::{Load, load, request},
};

/// Few, so that a quiet server is not a busy one.
const CONNECTIONS: usize = 4;
const EVENTS: usize = 4_000;
/// Rounds of both; the median ratio counts.
const ROUNDS: usize = 3;

/// Latency of event POSTs while plugins are compiled ÷ latency while nothing is, in turn.
pub async fn run(places: &Places, report: &mut Report) {
    let server = Arc::new(Server::start(places).await);
    server.event_type("push", None).await;
    let event = json!({"type": "push", "payload": payload(2048)}).to_string();
    let bytes = request(server.process.address, "/v1/events", KEY, event.as_bytes());
    let post = || load(server.process.address, CONNECTIONS, EVENTS, bytes.clone());
    let wasm = heavy();
    let uploads = Arc::new(AtomicUsize::new(0));
    post().await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let quiet = post().await;
        let stop = Arc::new(AtomicBool::new(false));
        let uploading = {
            let (server, stop, uploads) = (server.clone(), stop.clone(), uploads.clone());
            let wasm = wasm.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(server.try_upload(wasm.clone()).await, 422);
                    uploads.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let busy = post().await;
        assert!(!uploading.is_finished(), "plugins were compiled all the while");
        stop.store(true, Ordering::Relaxed);
        uploading.await.expect("uploads are refused in order");
        rounds.push((quiet, busy));
    }
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let time = |load: &Load| load.percentile(share).as_secs_f64();
        let mut ratios: Vec<_> =
            rounds.iter().map(|(quiet, busy)| time(busy) / time(quiet)).collect();
        ratios.sort_by(f64::total_cmp);
        let (quiet, busy) = &rounds[ROUNDS - 1];
        report.add(
            &format!("uploads, {name} of events meanwhile ÷ quiet"),
            ratios[ROUNDS / 2],
            "",
            Goal::AtMost(2.0),
            format!(
                "{:.2} ms against {:.2} ms over {CONNECTIONS} connections; {} uploads in {ROUNDS} rounds",
                time(busy) * 1e3,
                time(quiet) * 1e3,
                uploads.load(Ordering::Relaxed)
            ),
        );
    }
}

/// A component that keeps the compiler busy, and is refused in the end: its function for
/// events is of another type.
fn heavy() -> Vec<u8> {
    let mut body = String::new();
    for n in 0..4_000_u32 {
        let (a, b, c) = (n % 200 + 1, n * 7 % 200 + 1, n * 13 % 200 + 1);
        // Writing to a string cannot fail.
        let _written = write!(
            body,
            "(if (local.get 0) (then (local.set {a} (i64.add (local.get {b}) (local.get {c})))))"
        );
    }
    let function = format!("(func (param i32) {} {body})", "(local i64)".repeat(200));
    let text = format!(
        r#"(component
            (import "hookmill:plugin/types@0.1.0" (instance))
            (core module {})
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (export "filter" (func $f))
            (export "describe" (func $f)))"#,
        function.repeat(20)
    );
    wat::parse_str(text).expect("the text is WebAssembly")
}
