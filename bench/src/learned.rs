//! One event to ten thousand subscriptions that each filter differently: what learned verdicts
//! are worth.
//!
//! The pipeline stage alone, in this process: no HTTP, no disk.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hookmill::{
    model::{OnError, Pipeline, PipelineId, ResolvedStep},
    plugin::{Compiler, LiveEvent},
};
use serde_json::{Value, json};

use crate::{
    belt::payload,
    plugins::{Guests, check, event},
    report::{Goal, Report},
    server::Places,
};

const SUBSCRIPTIONS: usize = 10_000;
/// Runs asked for at once.
const TASKS: usize = 32;
/// Different events, each of which comes twice: once before anything is measured.
const EVENTS: usize = 8;
const LEARN_BYTES: usize = 32 << 20;

/// A config like no other: the field, the kind of test and the value take turns.
fn config(n: usize) -> Value {
    let condition = match n % 4 {
        0 => json!({"at": "/repository/full_name", "equals": format!("octo/hello-{n}")}),
        1 => json!({"at": "/total", "greater_or_equal": n}),
        2 => json!({"all": [{"at": "/action", "in": ["opened", "closed"]},
            {"at": "/ref", "not_equals": format!("refs/heads/{n}")}]}),
        _ => {
            json!({"any": [{"at": "/repository/id", "equals": n}, {"at": "/ref", "starts_with": "refs/heads/m"}]})
        }
    };
    json!({"pass_if": condition})
}

/// An event whose id no other has, and whose fields some others have too.
fn nth_event(n: usize) -> Value {
    let mut payload = payload(2_048);
    payload["delivery"] = json!(n);
    payload["total"] = json!(100 + n % EVENTS * 1_000);
    payload["action"] = json!(["opened", "closed", "edited"][n % EVENTS % 3]);
    payload["repository"]["full_name"] = json!(format!("octo/hello-{}", n % EVENTS * 4));
    payload["ref"] = json!(["refs/heads/main", "refs/tags/v1"][n % EVENTS % 2]);
    payload
}

/// Time with learned verdicts ÷ time without.
pub async fn run(places: &Places, report: &mut Report) {
    let (without, _) = fan_out(places, 0).await;
    let (with, guests) = fan_out(places, LEARN_BYTES).await;
    let stats = guests.runtime.stats();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (SUBSCRIPTIONS * EVENTS) as f64;
    report.add(
        "learned ÷ run, 10,000 configs",
        with.as_secs_f64() / without.as_secs_f64(),
        "",
        Goal::AtMost(0.05),
        format!(
            "{:.1} ms an event, {:.2} µs a subscription with learned verdicts; {:.1} ms, {:.2} µs without. \
             {TASKS} tasks ask the runtime for the runs of {SUBSCRIPTIONS} field-filters, all configured differently, \
             over {EVENTS} events like {EVENTS} before them; {:.1} MB for {} trees",
            with.as_secs_f64() * 1e3 / EVENTS as f64,
            each(with),
            without.as_secs_f64() * 1e3 / EVENTS as f64,
            each(without),
            stats.learned_bytes as f64 / 1e6,
            stats.learned_trees
        ),
    );
}

/// How long the second half of the events takes.
async fn fan_out(places: &Places, learn_bytes: usize) -> (Duration, Guests) {
    let guests = Guests::with(places, Compiler::Child(places.binary.clone()), learn_bytes);
    let step = guests.pipeline("field-filter", &config(0)).await.steps[0].clone();
    let pipelines: Vec<Arc<Pipeline>> = (0..SUBSCRIPTIONS)
        .map(|n| {
            let config = config(n).to_string().into();
            let step = ResolvedStep { config, on_error: OnError::Dead, ..step.clone() };
            Arc::new(Pipeline { id: PipelineId(n as i64 + 1), steps: vec![step], contract: None })
        })
        .collect();
    for n in 0..EVENTS {
        one(&guests, &pipelines, n).await;
    }
    let (before, start) = (guests.runtime.stats(), Instant::now());
    for n in EVENTS..2 * EVENTS {
        one(&guests, &pipelines, n).await;
    }
    let (took, after) = (start.elapsed(), guests.runtime.stats());
    let (runs, learned) = (after.runs - before.runs, after.learned - before.learned);
    let all = (SUBSCRIPTIONS * EVENTS) as u64;
    let expected = if learn_bytes == 0 { (all, 0) } else { (0, all) };
    assert_eq!((runs, learned), expected, "what was measured is not what was meant");
    (took, guests)
}

/// All pipelines over one event.
async fn one(guests: &Guests, pipelines: &[Arc<Pipeline>], n: usize) {
    let live = LiveEvent::new(Arc::new(event(&nth_event(n))));
    let tasks: Vec<_> = pipelines
        .chunks(pipelines.len().div_ceil(TASKS))
        .map(|chunk| {
            let (chunk, live) = (chunk.to_vec(), Arc::clone(&live));
            let runtime = Arc::clone(&guests.runtime);
            tokio::spawn(async move {
                for pipeline in &chunk {
                    check(&runtime.run(&live, pipeline).await.steps[0].verdict);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no run fails");
    }
}
