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

/// Latency of event POSTs while plugins are compiled ÷ latency while nothing is.
pub async fn run(places: &Places, report: &mut Report) {
    let server = Arc::new(Server::start(places).await);
    server.event_type("push", None).await;
    let event = json!({"type": "push", "payload": payload(2048)}).to_string();
    let bytes = request(server.process.address, "/v1/events", KEY, event.as_bytes());
    let post = || load(server.process.address, CONNECTIONS, EVENTS, bytes.clone());
    post().await;
    let quiet = post().await;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let uploads = {
        let (server, stop, refused) = (server.clone(), stop.clone(), refused.clone());
        tokio::spawn(async move {
            let wasm = heavy();
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(server.try_upload(wasm.clone()).await, 422);
                refused.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let compiled = server.metric("hookmill_plugin_compiled_total").await;
    let busy = post().await;
    let under_way = !uploads.is_finished();
    stop.store(true, Ordering::Relaxed);
    uploads.await.expect("uploads are refused in order");
    assert!(under_way, "plugins were compiled all the while");
    let compiled = server.metric("hookmill_plugin_compiled_total").await - compiled;
    let ratio = |share: f64| {
        let time = |load: &Load| load.percentile(share).as_secs_f64();
        (time(&busy) / time(&quiet), time(&busy) * 1e3, time(&quiet) * 1e3)
    };
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (ratio, busy, quiet) = ratio(share);
        report.add(
            &format!("uploads, {name} of events meanwhile ÷ quiet"),
            ratio,
            "",
            Goal::AtMost(2.0),
            format!(
                "{busy:.2} ms against {quiet:.2} ms over {CONNECTIONS} connections; {} uploads, \
                 {compiled:.0} compilations",
                refused.load(Ordering::Relaxed)
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
