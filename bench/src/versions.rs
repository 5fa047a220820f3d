//! A thousand plugin versions in one runtime: what they take, and whether runs notice.

use std::{sync::Arc, time::Instant};

use hookmill::{
    model::{Event, Pipeline},
    plugin::{Compiler, LiveEvent},
};
use serde_json::json;

use crate::{
    belt::payload,
    plugins::{Guests, check, event},
    process::replace,
    report::{Goal, Report},
    server::{Places, resident},
};

const VERSIONS: usize = 1_000;
const RUNS: usize = 30_000;
/// Runs asked for at once.
const TASKS: usize = 32;

/// Throughput over a thousand versions in turn ÷ that of one.
pub async fn run(places: &Places, report: &mut Report) {
    // Compiled here: a child process for each would be most of the time.
    let guests = Guests::with(places, Compiler::InProcess, 0);
    let name = "bench-empty-filter";
    let wasm = places.plugin(name);
    let pipelines = [guests.pipeline_of(name, wasm.clone(), &json!({})).await];
    let event = Arc::new(event(&payload(2_048)));
    let one = throughput(&guests, &event, &pipelines).await;
    let (before, mut pipelines) = (resident("self"), Vec::with_capacity(VERSIONS));
    for n in 0..VERSIONS {
        // Of the same length; it occurs in the code as plain text.
        let other = format!("bench-empty-{n:06}");
        let wasm = replace(&wasm, name.as_bytes(), other.as_bytes());
        pipelines.push(guests.pipeline_of(&other, wasm, &json!({})).await);
    }
    let memory = resident("self").saturating_sub(before);
    let loaded = guests.runtime.stats().loaded;
    assert!(loaded as usize > VERSIONS, "only {loaded} versions are loaded");
    let many = throughput(&guests, &event, &pipelines).await;
    report.add(
        "plugin, 1,000 versions ÷ one",
        many / one,
        "",
        Goal::None,
        format!(
            "{many:.0} runs a second over {VERSIONS} versions of the empty filter in turn, {one:.0} over one; \
             {:.1} MB more resident with them, {:.0} KB each, what compiling them in this process left included",
            memory as f64 / 1e6,
            memory as f64 / 1e3 / VERSIONS as f64
        ),
    );
}

/// Runs a second, the pipelines taking turns.
async fn throughput(guests: &Guests, event: &Arc<Event>, pipelines: &[Arc<Pipeline>]) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (runtime, event) = (Arc::clone(&guests.runtime), Arc::clone(event));
            let pipelines = pipelines.to_vec();
            tokio::spawn(async move {
                for n in 0..RUNS / TASKS {
                    // An event of its own, or the second run would be shared.
                    let live = LiveEvent::new(Arc::clone(&event));
                    let pipeline = &pipelines[(n * TASKS + task) % pipelines.len()];
                    check(&runtime.run(&live, pipeline).await.steps[0].verdict);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no run fails");
    }
    RUNS as f64 / start.elapsed().as_secs_f64()
}
