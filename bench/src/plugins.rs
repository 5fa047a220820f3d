//! Plugin runs alone, in this process: no HTTP, no disk.

use std::{hint::black_box, sync::Arc, time::Instant};

use hookmill::{
    model::{
        ApplicationId, Event, EventId, FailureKind, Kept, OnError, Outcome, Pipeline, PipelineId,
        ResolvedStep, StepVerdict, Timestamp,
    },
    plugin::{Compiler, LiveEvent, PluginSettings, Runtime},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::Places,
};

const RUNS: usize = 3_000;
const INSTANCES: u32 = 20_000;

/// A runtime with plugins in it.
pub struct Guests {
    pub runtime: Arc<Runtime>,
    places: Places,
    _cache: TempDir,
}

impl Guests {
    /// Without learned verdicts: every run is one.
    pub fn new(places: &Places) -> Self {
        Self::with(places, Compiler::Child(places.binary.clone()), 0)
    }

    /// With so much memory for learned verdicts.
    pub fn with(places: &Places, compiler: Compiler, learn_bytes: usize) -> Self {
        let cache = TempDir::new().expect("a temporary folder can be made");
        let mut settings = PluginSettings::new(cache.path(), [7; 32], compiler);
        settings.learn_bytes = learn_bytes;
        let runtime = Runtime::start(settings).expect("the runtime starts");
        Self { runtime, places: places.clone(), _cache: cache }
    }

    /// A pipeline of one step, of a built plugin.
    pub async fn pipeline(&self, name: &str, config: &Value) -> Arc<Pipeline> {
        self.pipeline_of(name, self.places.plugin(name), config).await
    }

    /// A pipeline of one step, of this component.
    pub async fn pipeline_of(&self, name: &str, wasm: Vec<u8>, config: &Value) -> Arc<Pipeline> {
        let inspected = self.runtime.inspect(wasm.into()).await;
        let inspected = inspected.unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
        let step = ResolvedStep {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            sha256: inspected.sha256,
            config: config.to_string().into(),
            on_error: OnError::Dead,
            kept: Kept::default(),
        };
        Arc::new(Pipeline { id: PipelineId(1), steps: vec![step], contract: None })
    }

    /// Mean microseconds of a run by itself, and with its hand-over to the plugin's thread
    /// and back.
    pub async fn time(&self, pipeline: &Arc<Pipeline>, payload: &Value) -> (f64, f64) {
        let event = Arc::new(event(payload));
        let (mut inside, mut around) = (0.0, 0.0);
        for n in 0..RUNS + 100 {
            // Every run has an event of its own: a second run over the same one is shared.
            let live = LiveEvent::new(event.clone());
            let start = Instant::now();
            let run = self.runtime.run(&live, pipeline).await;
            let took = start.elapsed().as_secs_f64() * 1e6;
            check(&run.steps[0].verdict);
            black_box(matches!(run.outcome, Outcome::Send(_)));
            if n >= 100 {
                around += took;
                // Whole microseconds, rounded down: half of one is missing on average.
                inside += run.steps[0].duration_us as f64 + 0.5;
            }
        }
        (inside / RUNS as f64, around / RUNS as f64)
    }
}

/// A figure of runs that failed would be none.
#[track_caller]
pub fn check(verdict: &StepVerdict) {
    if let StepVerdict::Fault { kind, message, .. } = verdict {
        let name = FailureKind::as_str(*kind);
        panic!("the plugin failed: {name}: {message}");
    }
}

/// An event with this payload.
pub fn event(payload: &Value) -> Event {
    let now = Timestamp::UNIX_EPOCH;
    Event {
        id: EventId::new(now),
        application: ApplicationId::new(now),
        application_name: "default".into(),
        event_type: "github.push".parse().expect("a name"),
        schema_version: 1,
        subject: None,
        occurred_at: now,
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        channels: vec![],
        payload: payload.to_string().into(),
    }
}

/// Mean microseconds of `work`.
fn native(mut work: impl FnMut()) -> f64 {
    for _ in 0..100 {
        work();
    }
    let start = Instant::now();
    for _ in 0..RUNS {
        work();
    }
    start.elapsed().as_secs_f64() * 1e6 / RUNS as f64
}

/// One run of a transform that parses, changes and writes, against the same natively; and
/// the fixed cost of a run that does nothing.
pub async fn run(places: &Places, report: &mut Report) {
    let guests = Guests::new(places);
    let pipeline =
        guests.pipeline("bench-reshape-raw", &json!({"at": "/repository/full_name"})).await;
    for (bytes, goal) in [(2_048, Goal::None), (20_480, Goal::AtMost(3.0))] {
        let payload = payload(bytes);
        let (inside, around) = guests.time(&pipeline, &payload).await;
        let text = payload.to_string();
        let least = native(|| {
            let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
            value["repository"]["full_name"] = Value::Null;
            black_box(serde_json::to_vec(&value).expect("it is JSON"));
        });
        report.add(
            &format!("plugin, {} KB", bytes / 1024),
            inside / least,
            "",
            goal,
            format!("{inside:.0} µs a run ({around:.0} with the hand-over); native {least:.0} µs"),
        );
    }
    let empty = guests.pipeline("bench-empty-filter", &json!({})).await;
    let (inside, around) = guests.time(&empty, &payload(2_048)).await;
    report.add(
        "plugin, an empty run",
        inside,
        " µs",
        Goal::AtMost(10.0),
        format!("instantiate, call, drop; {around:.0} µs with the hand-over"),
    );
    let sha256 = empty.steps[0].sha256;
    guests.runtime.instantiate(&sha256, 1_000).await;
    let took =
        guests.runtime.instantiate(&sha256, INSTANCES).await.expect("it can be instantiated");
    report.add(
        "plugin, instantiation alone",
        took.as_secs_f64() * 1e6 / f64::from(INSTANCES),
        " µs",
        Goal::None,
        format!("mean of {INSTANCES}: a store with its limits, an instance of the empty plugin, both dropped; nothing is called"),
    );
}

/// Reads through the host against parsing in the plugin, and edits against native work.
pub async fn pointer(places: &Places, report: &mut Report) {
    let guests = Guests::new(places);
    let payload = payload(20_480);
    let two = json!({"first": "/action", "second": "/repository/id"});
    let get = guests.pipeline("bench-get-filter", &two).await;
    let raw = guests.pipeline("bench-raw-filter", &two).await;
    let (get, _) = guests.time(&get, &payload).await;
    let (raw, _) = guests.time(&raw, &payload).await;
    report.add(
        "pointer, two fields at 20 KB",
        get / raw,
        "",
        Goal::AtMost(0.2),
        format!("{get:.0} µs through get, {raw:.0} µs parsing raw"),
    );
    let fields = ["/repository/full_name", "/commits/0/author/email", "/commits/1/author/email"];
    let rules: Vec<Value> = fields.iter().map(|at| json!({"at": at, "text": "***"})).collect();
    let redact = guests.pipeline("redact", &json!({"fields": rules})).await;
    let (edit, _) = guests.time(&redact, &payload).await;
    let text = payload.to_string();
    let least = native(|| {
        let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
        for at in fields {
            *value.pointer_mut(at).expect("it is there") = Value::String("***".to_owned());
        }
        black_box(serde_json::to_vec(&value).expect("it is JSON"));
    });
    report.add(
        "pointer, redacting three fields at 20 KB",
        edit / least,
        "",
        Goal::AtMost(1.0),
        format!("{edit:.0} µs by edits; {least:.0} µs natively (parse, change, write)"),
    );
}
