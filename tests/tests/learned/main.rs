//! Learned verdicts are exact: with and without them, the same events through the same filters
//! come to the same, byte for byte and in every number of the report.
//!
//! Two runtimes in this process, one that learns and one that doesn't, over all of GitHub's
//! example payloads and over a million made-up events.

mod generated;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use hookmill::{
    model::{
        ApplicationId, Event, EventId, Kept, OnError, Pipeline, PipelineId, PipelineRun,
        ResolvedStep, StepReport, Timestamp,
    },
    plugin::{Compiler, LiveEvent, PluginSettings, Runtime},
};
use hookmill_tests::{github_payloads, plugin};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// A runtime that learns, one that doesn't, and pipelines for both.
struct Bed {
    learning: Arc<Runtime>,
    plain: Arc<Runtime>,
    pipelines: Vec<Arc<Pipeline>>,
    compared: AtomicU64,
    _cache: tempfile::TempDir,
}

/// A step: the plugin, its config, what its failure leads to.
type Step = (&'static str, Value, OnError);

impl Bed {
    async fn new(learn_bytes: usize, pipelines: Vec<Vec<Step>>) -> Arc<Self> {
        let cache = tempfile::tempdir().expect("a temporary folder can be made");
        let runtime = |learn_bytes| {
            let mut settings = PluginSettings::new(cache.path(), [7; 32], Compiler::InProcess);
            settings.learn_bytes = learn_bytes;
            // The clock must not be what ends a run: the machine may be busy.
            settings.lean.wall = std::time::Duration::from_secs(60);
            Runtime::start(settings).expect("the runtime starts")
        };
        let (learning, plain) = (runtime(learn_bytes), runtime(0));
        let mut resolved = Vec::new();
        for (number, steps) in pipelines.into_iter().enumerate() {
            let mut pipeline = Vec::new();
            for (name, config, on_error) in steps {
                let component = Bytes::from(plugin(name));
                let inspected = learning.inspect(component.clone()).await.expect("a plugin");
                plain.inspect(component).await.expect("a plugin");
                pipeline.push(ResolvedStep {
                    name: name.to_owned(),
                    version: inspected.manifest.version,
                    sha256: inspected.sha256,
                    config: config.to_string().into(),
                    on_error,
                    kept: Kept::default(),
                });
            }
            let id = PipelineId(number as i64 + 1);
            resolved.push(Arc::new(Pipeline { id, steps: pipeline, contract: None }));
        }
        let compared = AtomicU64::new(0);
        Arc::new(Self { learning, plain, pipelines: resolved, compared, _cache: cache })
    }

    /// Runs a pipeline over an event in both runtimes; answers whether anything was learned.
    async fn compare(&self, live: [&Arc<LiveEvent>; 2], pipeline: &Arc<Pipeline>) -> bool {
        let learned = self.learning.run(live[0], pipeline).await;
        let ran = self.plain.run(live[1], pipeline).await;
        self.compared.fetch_add(1, Relaxed);
        let any = learned.steps.iter().any(|step| step.learned);
        assert!(ran.steps.iter().all(|step| !step.learned));
        if !same(&learned, &ran) {
            let payload = String::from_utf8_lossy(&live[0].event.payload);
            panic!("{learned:#?}\nis not\n{ran:#?}\nfor {pipeline:#?}\nover {payload}");
        }
        any
    }
}

/// Whether two runs are the same but for how long they took and whose they were.
fn same(left: &PipelineRun, right: &PipelineRun) -> bool {
    let same_step = |(left, right): (&StepReport, &StepReport)| {
        let StepReport { duration_us, shared, learned, .. } = *right;
        StepReport { duration_us, shared, learned, ..left.clone() } == *right
    };
    left.outcome == right.outcome
        && left.steps.len() == right.steps.len()
        && left.steps.iter().zip(&right.steps).all(same_step)
}

fn event(event_type: &str, payload: &str) -> Arc<Event> {
    let now = Timestamp::UNIX_EPOCH;
    Arc::new(Event {
        id: EventId::new(now),
        application: ApplicationId::new(now),
        application_name: "default".into(),
        event_type: event_type.parse().expect("a name"),
        schema_version: 1,
        subject: None,
        occurred_at: now,
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    })
}

/// GitHub's example payloads, of its service and of all its servers, as they are spelt.
fn corpus() -> Vec<(String, Box<RawValue>)> {
    #[derive(Deserialize)]
    struct Examples {
        name: String,
        examples: Vec<Box<RawValue>>,
    }
    let folders = fs::read_dir(github_payloads()).expect("the payloads are there");
    let mut indices: Vec<PathBuf> = folders
        .map(|entry| entry.expect("a folder's entry").path().join("index.json"))
        .filter(|index| index.is_file())
        .collect();
    indices.sort();
    let mut all = Vec::new();
    for index in indices {
        let text = fs::read_to_string(index).expect("the payloads can be read");
        let named: Vec<Examples> = serde_json::from_str(&text).expect("the payloads are JSON");
        for Examples { name, examples } in named {
            let name = format!("github.{name}");
            all.extend(examples.into_iter().map(|payload| (name.clone(), payload)));
        }
    }
    all
}

/// A filter with a condition.
fn field(condition: &Value) -> Step {
    ("field-filter", json!({"pass_if": condition}), OnError::Dead)
}

/// Pipelines for GitHub's payloads: every kind of test, fields that are missing, of another
/// type, long, whole objects; several steps; a filter behind a transform.
fn github_pipelines() -> Vec<Vec<Step>> {
    let opened = || field(&json!({"at": "/action", "equals": "opened"}));
    let conditions = [
        json!({"at": "/action", "in": ["opened", "closed", "created"]}),
        json!({"at": "/action", "not_equals": "created"}),
        json!({"at": "/action", "exists": true}),
        json!({"at": "/ref", "starts_with": "refs/heads/"}),
        json!({"at": "/ref", "matches": "refs/*/[a-m]*"}),
        json!({"at": "/repository/private", "equals": false}),
        json!({"at": "/repository/full_name", "matches": "Codertocat/*"}),
        json!({"at": "/repository/size", "greater": 0}),
        json!({"at": "/repository/pushed_at", "greater": "2019-05-15T15:20:00Z"}),
        json!({"at": "/repository/topics", "contains": "x"}),
        json!({"at": "/repository", "not_equals": {}}),
        json!({"at": "/repository/license", "equals": null}),
        json!({"at": "/sender/login", "equals": "Codertocat"}),
        json!({"at": "/sender/site_admin", "in": [false, null]}),
        json!({"at": "/sender/id", "less_or_equal": 21_031_067}),
        json!({"at": "/issue/body", "contains": "spelling"}),
        json!({"at": "/issue/number", "greater_or_equal": 1, "less": 2}),
        json!({"at": "/pull_request/head/ref", "equals": "changes"}),
        json!({"at": "/commits", "exists": false}),
        json!({"at": "/commits/0/added/0", "exists": true}),
        json!({"at": "", "exists": true}),
        json!({"at": "/installation", "exists": true}),
        json!({"all": [{"at": "/action", "equals": "opened"}, {"at": "/issue", "exists": true}]}),
        json!({"any": [{"at": "/forced", "equals": true}, {"not": {"at": "/sender/type", "equals": "User"}},
            {"all": [{"at": "/action", "exists": true}, {"at": "/repository/fork", "equals": true}]}]}),
    ];
    let mut pipelines: Vec<Vec<Step>> = conditions.map(|condition| vec![field(&condition)]).into();
    for on_error in [OnError::Pass, OnError::Drop, OnError::Retry] {
        let mistaken = json!({"pass_if": {"at": "/sender", "greater": 1}});
        pipelines.push(vec![("field-filter", mistaken, on_error), opened()]);
    }
    let redact = || ("redact", json!({"fields": [{"at": "/sender/login"}]}), OnError::Dead);
    pipelines.extend([
        vec![opened(), field(&json!({"at": "/issue/title", "exists": true}))],
        vec![field(&json!({"at": "/sender/login", "exists": true})), redact()],
        vec![redact(), field(&json!({"at": "/sender/login", "equals": "Codertocat"}))],
        vec![("bench-get-filter", json!({"first": "/action", "second": "/sender"}), OnError::Dead)],
        vec![("bench-raw-filter", json!({"first": "/action", "second": "/sender"}), OnError::Dead)],
    ]);
    pipelines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_s_payloads_come_to_the_same_with_and_without() {
    let corpus = corpus();
    assert!(corpus.len() >= 329, "only {} payloads", corpus.len());
    let bed = Bed::new(32 << 20, github_pipelines()).await;
    let mut learned = 0_u64;
    for _round in 0..2 {
        for (event_type, payload) in &corpus {
            let event = event(event_type, payload.get());
            let live = [LiveEvent::new(Arc::clone(&event)), LiveEvent::new(event)];
            for pipeline in &bed.pipelines {
                learned += u64::from(bed.compare([&live[0], &live[1]], pipeline).await);
            }
        }
    }
    let (compared, stats) = (bed.compared.load(Relaxed), bed.learning.stats());
    println!(
        "{} payloads, {} pipelines: {compared} compared, {learned} of them learned; {stats:?}",
        corpus.len(),
        bed.pipelines.len()
    );
    // At the least all that can be learned is, the second time.
    assert!(learned > compared / 2, "{learned} of {compared}");
    assert_eq!(bed.plain.stats().learned, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_made_up_events_come_to_the_same_with_and_without() {
    const EVENTS: u64 = 1_000_000;
    const TASKS: u64 = 32;
    // So little memory that trees come and go.
    let bed = Bed::new(1 << 20, generated::pipelines()).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move {
                let mut dice = generated::Dice::new(task);
                let mut learned = 0_u64;
                for _ in 0..EVENTS / TASKS {
                    let event = event("made.up", &generated::payload(&mut dice));
                    let live = [LiveEvent::new(Arc::clone(&event)), LiveEvent::new(event)];
                    let pipeline = &bed.pipelines[dice.below(bed.pipelines.len())];
                    learned += u64::from(bed.compare([&live[0], &live[1]], pipeline).await);
                }
                learned
            })
        })
        .collect();
    let mut learned = 0;
    for task in tasks {
        learned += task.await.expect("no difference");
    }
    let stats = bed.learning.stats();
    println!("{} compared, {learned} of them learned; {stats:?}", bed.compared.load(Relaxed));
    assert_eq!(bed.compared.load(Relaxed), EVENTS);
    assert!(learned > EVENTS / 4, "only {learned} were learned");
    assert!(stats.runs > 1_000 && stats.learned_bytes <= 1 << 20, "{stats:?}");
}
