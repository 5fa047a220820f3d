//! `cargo xtask bench`: every figure a ratio against a floor measured in the same run.
//!
//! Never a test: it asserts that what it measured happened, not how fast.

mod backlog;
mod backtest;
mod belt;
mod bulkhead;
mod bytes;
mod fan_out;
mod flat;
mod floor;
mod languages;
mod learned;
mod matching;
mod overload;
mod plugins;
mod process;
mod report;
mod server;
mod uploads;
mod versions;
mod wire;

use std::path::PathBuf;

use report::Report;
use server::Places;

const USAGE: &str = "usage: hookmill-bench --binary FILE --plugins DIR [--rust FILE]
    [--javascript FILE] [--python FILE] [FIGURE …]
figures: ingest deliver belt plugin pointer languages learned versions fan-out memory restart
    backtest uploads bulkhead flat backlog bytes match overload (all if none is named)";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("an async runtime can be made");
    runtime.block_on(async {
        let mut arguments = std::env::args().skip(1).peekable();
        if arguments.next_if(|first| first == "floor").is_some() {
            floor::run(arguments).await;
        } else {
            measure(arguments).await;
        }
    });
}

async fn measure(mut arguments: impl Iterator<Item = String>) {
    // Fails only if one was installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let (mut binary, mut plugins, mut wanted) = (None, None, Vec::new());
    let mut guests = languages::guests();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--binary" => binary = arguments.next().map(PathBuf::from),
            "--plugins" => plugins = arguments.next().map(PathBuf::from),
            _ => match guests.iter_mut().find(|guest| guest.flag == argument) {
                Some(guest) => guest.given = arguments.next().map(PathBuf::from),
                None => wanted.push(argument),
            },
        }
    }
    let (Some(binary), Some(plugins)) = (binary, plugins) else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let places = Places { binary, plugins };
    let wants = |figure: &str| wanted.is_empty() || wanted.iter().any(|name| name == figure);
    let mut report = Report::new();
    if wants("ingest") {
        belt::ingest(&places, &mut report).await;
    }
    if wants("deliver") {
        belt::deliver(&places, &mut report).await;
    }
    if wants("belt") {
        belt::belt(&places, &mut report).await;
        belt::alone(&places, &mut report).await;
    }
    if wants("plugin") {
        plugins::run(&places, &mut report).await;
    }
    if wants("pointer") {
        plugins::pointer(&places, &mut report).await;
    }
    if wants("languages") {
        languages::run(&places, &guests, &mut report).await;
    }
    if wants("learned") {
        learned::run(&places, &mut report).await;
    }
    if wants("versions") {
        versions::run(&places, &mut report).await;
    }
    if wants("fan-out") {
        fan_out::run(&places, &mut report).await;
    }
    if wants("memory") {
        process::memory(&places, &mut report).await;
    }
    if wants("restart") {
        process::restart(&places, &mut report).await;
    }
    if wants("backtest") {
        backtest::run(&places, &mut report).await;
    }
    if wants("uploads") {
        uploads::run(&places, &mut report).await;
    }
    if wants("bulkhead") {
        bulkhead::run(&places, &mut report).await;
    }
    if wants("flat") {
        flat::run(&places, &mut report).await;
    }
    if wants("backlog") {
        backlog::run(&places, &mut report).await;
    }
    if wants("bytes") {
        bytes::run(&places, &mut report).await;
    }
    if wants("match") {
        matching::run(&mut report);
    }
    if wants("overload") {
        overload::run(&places, &mut report).await;
    }
    report.print();
}
