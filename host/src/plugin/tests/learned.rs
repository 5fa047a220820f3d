//! Learned verdicts against real runs: what is learned, what never is, and that neither the
//! outcome nor the report says anything else.

use super::{guest::*, *};
use crate::model::{Outcome, StepReport};

/// A filter that reads `pointer` and passes, after running `body`.
fn reads(name: &str, pointer: &str, body: &str) -> Vec<u8> {
    let items = format!("(data (i32.const 3000) \"{pointer}\")");
    let len = pointer.len();
    let get = format!(
        "(call $get (local.get $event) (i32.const 3000) (i32.const {len}) (i32.const 3100))"
    );
    filter(name, &items, &format!("{get} {body}"))
}

/// A single step of a plugin over events.
struct Bed {
    lab: Lab,
    pipeline: Arc<Pipeline>,
}

impl Bed {
    async fn new(plugin: &[u8], change: impl FnOnce(&mut PluginSettings)) -> Self {
        let lab = Lab::with(change);
        let plugin = lab.upload(plugin).await.unwrap();
        let pipeline = pipeline(1, [step(&plugin, "{}", OnError::Retry)]);
        Self { lab, pipeline }
    }

    async fn run(&self, payload: &str) -> Arc<PipelineRun> {
        self.lab.runtime.run(&event(payload), &self.pipeline).await
    }

    /// Whether nothing ran for this payload.
    async fn knows(&self, payload: &str) -> bool {
        let before = self.lab.runtime.stats();
        let run = self.run(payload).await;
        let after = self.lab.runtime.stats();
        let learned = run.steps[0].learned;
        assert_eq!(after.learned - before.learned, u64::from(learned));
        assert_eq!(after.runs - before.runs, u64::from(!learned));
        learned
    }
}

#[tokio::test]
async fn what_looks_the_same_is_not_run_again() {
    let bed = Bed::new(&reads("reader", "/total", ""), |_| {}).await;
    let first = bed.run(r#"{"total":1,"id":1}"#).await;
    let again = bed.run(r#"{ "id":2, "total":1 }"#).await;
    let told = StepReport { learned: true, duration_us: 0, ..first.steps[0].clone() };
    assert_eq!(again.steps, [told]);
    match &again.outcome {
        Outcome::Send(message) => assert_eq!(message.body, r#"{ "id":2, "total":1 }"#),
        other => panic!("{other:?}"),
    }
    assert!(!bed.knows(r#"{"total":1.0}"#).await, "another spelling is another value");
    assert!(!bed.knows(r#"{"total":"1"}"#).await);
    assert!(!bed.knows(r#"{"total":null}"#).await);
    assert!(!bed.knows("{}").await);
    assert!(bed.knows("{}").await && bed.knows(r#"{"total":null}"#).await);
    let long = |tail: char| format!(r#"{{"total":"{}{tail}"}}"#, "x".repeat(100));
    assert!(!bed.knows(&long('a')).await && !bed.knows(&long('b')).await);
    assert!(bed.knows(&long('a')).await && bed.knows(&long('b')).await);
    let stats = bed.lab.runtime.stats();
    assert_eq!(stats.learned_trees, 1);
    assert!(stats.learned_bytes > 0 && stats.learned_bytes < 10_000, "{stats:?}");
    bed.lab.runtime.unload(&bed.pipeline.steps[0].sha256);
    let stats = bed.lab.runtime.stats();
    assert_eq!((stats.learned_trees, stats.learned_bytes), (0, 0));
    assert!(matches!(bed.run("{}").await.outcome, Outcome::Fail { .. }), "it is not loaded");
}

#[tokio::test]
async fn nothing_is_learned_when_it_is_switched_off() {
    let bed = Bed::new(&reads("reader", "/total", ""), |s| s.learn_bytes = 0).await;
    assert!(!bed.knows("{}").await && !bed.knows("{}").await);
    assert_eq!(bed.lab.runtime.stats().learned_trees, 0);
}

#[tokio::test]
async fn what_depends_on_more_than_can_be_compared_is_never_learned() {
    for (name, body) in [
        ("whole", "(call $raw (local.get $event) (i32.const 3100))"),
        ("id", "(call $id (local.get $event) (i32.const 3100))"),
        ("time", "(call $occurred (local.get $event) (i32.const 3100))"),
    ] {
        let bed = Bed::new(&filter(name, "", body), |_| {}).await;
        assert!(!bed.knows("{}").await && !bed.knows("{}").await, "{name}");
        assert_eq!(bed.lab.runtime.stats().learned_trees, 0, "{name}");
    }
}

#[tokio::test]
async fn facts_are_questions_too() {
    let body = "(call $subject (local.get $event) (i32.const 3100))";
    let bed = Bed::new(&filter("subject", "", body), |_| {}).await;
    let about = |subject: Option<&str>| {
        let mut about = (*event("{}").event).clone();
        about.subject = subject.map(Into::into);
        LiveEvent::new(Arc::new(about))
    };
    for (subject, learned) in
        [(None, false), (Some(""), false), (Some("a"), false), (Some("a"), true), (None, true)]
    {
        let run = bed.lab.runtime.run(&about(subject), &bed.pipeline).await;
        assert_eq!(run.steps[0].learned, learned, "{subject:?}");
    }
}

#[tokio::test]
async fn failures_are_never_learned() {
    let fault = lay_out(&[Part::Word(1), Part::Word(0), Part::Text("not mine")]);
    for (plugin, expected) in [
        (filter("fussy", &answer_data(&fault), ""), FailureKind::InvalidEvent),
        (reads("trap", "/a", "unreachable"), FailureKind::Trap),
        (reads("loop", "/a", "(loop (br 0))"), FailureKind::OutOfFuel),
    ] {
        let bed = Bed::new(&plugin, |_| {}).await;
        for _ in 0..2 {
            let run = bed.run("{}").await;
            assert!(!run.steps[0].learned);
            match &run.steps[0].verdict {
                StepVerdict::Fault { kind, .. } => assert_eq!(*kind, expected),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bed.lab.runtime.stats().learned_trees, 0);
    }
}

#[tokio::test]
async fn a_run_that_the_clock_ended_is_never_learned() {
    let plugin = reads("loop", "/a", "(loop (br 0))");
    let bed = Bed::new(&plugin, |settings| {
        settings.lean.fuel = u64::MAX / 2;
        settings.lean.wall = Duration::from_millis(20);
    });
    let bed = bed.await;
    for _ in 0..2 {
        let run = bed.run("{}").await;
        assert!(
            matches!(run.steps[0].verdict, StepVerdict::Fault { kind: FailureKind::Timeout, .. }),
            "{run:?}"
        );
    }
    assert_eq!(bed.lab.runtime.stats().learned_trees, 0);
}

#[tokio::test]
async fn a_smaller_event_has_less_fuel() {
    // Counts down from 50,000: more than what an event of a few bytes allows.
    let body = "(local.set $len (i32.const 50000))
        (loop (br_if 0 (local.tee $len (i32.sub (local.get $len) (i32.const 1)))))";
    let bed = Bed::new(&reads("busy", "/a", body), |settings| settings.lean.fuel = 20_000).await;
    let large = format!(r#"{{"a":1,"pad":"{}"}}"#, "x".repeat(10_000));
    assert!(!bed.knows(&large).await && bed.knows(&large).await);
    for _ in 0..2 {
        let run = bed.run(r#"{"a":1}"#).await;
        assert!(
            matches!(run.steps[0].verdict, StepVerdict::Fault { kind: FailureKind::OutOfFuel, .. }),
            "{run:?}"
        );
    }
    assert!(bed.knows(&large).await);
}

#[tokio::test]
async fn a_smaller_event_has_less_room_for_many_answers() {
    // Asks for `/a` a thousand times in one call.
    let list: String = (0..1_000).map(|_| "\\b8\\0b\\00\\00\\02\\00\\00\\00").collect();
    let items = format!("(data (i32.const 3000) \"/a\") (data (i32.const 8192) \"{list}\")");
    let body = "(call $many (local.get $event) (i32.const 8192) (i32.const 1000) (i32.const 3100))";
    let bed = Bed::new(&filter("greedy", &items, body), |_| {}).await;
    let value = "v".repeat(100);
    let large = format!(r#"{{"a":"{value}","pad":"{}"}}"#, "x".repeat(50_000));
    let run = bed.run(&large).await;
    assert_eq!(run.steps[0].verdict, StepVerdict::Pass, "{run:?}");
    assert!(bed.knows(&large).await);
    for _ in 0..2 {
        let run = bed.run(&format!(r#"{{"a":"{value}"}}"#)).await;
        assert!(
            matches!(run.steps[0].verdict, StepVerdict::Fault { kind: FailureKind::Trap, .. }),
            "{run:?}"
        );
    }
}

#[tokio::test]
async fn a_filter_after_a_transform_sees_what_the_transform_made() {
    let lab = Lab::new();
    let change = transform("change", &edit(&[Edit::Set("/total", "1")]));
    let change = lab.upload(&change).await.unwrap();
    let reader = lab.upload(&reads("reader", "/total", "")).await.unwrap();
    let steps = [&change, &reader].map(|plugin| step(plugin, "{}", OnError::Retry));
    let both = pipeline(1, steps.clone());
    let alone = pipeline(2, [steps[1].clone()]);
    let run = async |payload: &str, pipeline| lab.runtime.run(&event(payload), pipeline).await;
    assert!(!run(r#"{"total":5}"#, &both).await.steps[1].learned);
    // Not of the event's own 5, but of the 1 that the transform put there.
    assert!(!run(r#"{"total":5}"#, &alone).await.steps[0].learned);
    assert!(run(r#"{"total":1}"#, &alone).await.steps[0].learned);
    let run = run(r#"{"total":6}"#, &both).await;
    assert!(!run.steps[0].learned && run.steps[1].learned, "{run:?}");
    assert!(matches!(&run.outcome, Outcome::Send(m) if m.body == r#"{"total":1}"#), "{run:?}");
}

#[tokio::test]
async fn a_large_event_is_looked_up_on_a_plugin_thread() {
    let bed = Bed::new(&reads("reader", "/a", ""), |_| {}).await;
    let large = |id: u32| format!(r#"{{"id":{id},"a":1,"pad":"{}"}}"#, "x".repeat(100_000));
    assert!(!bed.knows(&large(1)).await);
    assert!(bed.knows(&large(2)).await && bed.knows(r#"{"a":1}"#).await);
}
