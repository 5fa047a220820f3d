//! Pipelines: order, failures, messages, and what is shared.

use super::{guest::*, *};
use crate::model::{Message, Outcome};

fn sent(run: &PipelineRun) -> &Message {
    match &run.outcome {
        Outcome::Send(message) => message,
        other => panic!("not sent: {other:?}"),
    }
}

/// A filter that reads `/total` and passes.
fn reader(name: &str) -> Vec<u8> {
    filter(
        name,
        "(data (i32.const 3000) \"/total\")",
        "(call $get (local.get $event) (i32.const 3000) (i32.const 6) (i32.const 3100))",
    )
}

/// A filter that drops, for a reason.
fn dropper(name: &str) -> Vec<u8> {
    let answer = lay_out(&[Part::Word(0), Part::Word(1), Part::Text("not today")]);
    filter(name, &answer_data(&answer), "")
}

#[tokio::test]
async fn filters_send_the_very_bytes() {
    let lab = Lab::new();
    let plugin = lab.upload(&reader("reader")).await.unwrap();
    let event = event(r#"{"total":19.90}"#);
    let steps = [step(&plugin, "{}", OnError::Retry), step(&plugin, "{\"a\":1}", OnError::Retry)];
    let run = lab.runtime.run(&event, &pipeline(1, steps)).await;
    let message = sent(&run);
    assert_eq!(message.body.as_ptr(), event.event.payload.as_ptr());
    assert_eq!(message.content_type, "application/json");
    assert_eq!(run.steps.len(), 2);
    assert_eq!(run.steps[0].reads, ["/total"]);
    assert!(!run.steps[0].read_all && run.steps[0].fuel > 0);
    assert_eq!(run.steps[0].memory_bytes, 2 << 16);
}

#[tokio::test]
async fn fuel_is_the_same_every_time() {
    let lab = Lab::with(|settings| settings.learn_bytes = 0);
    let module = reader("reader");
    let first = lab.run(&module).await.steps[0].fuel;
    for _ in 0..5 {
        assert_eq!(lab.run(&module).await.steps[0].fuel, first);
    }
}

#[tokio::test]
async fn a_drop_ends_the_pipeline() {
    let lab = Lab::new();
    let dropper = lab.upload(&dropper("dropper")).await.unwrap();
    let reader = lab.upload(&reader("reader")).await.unwrap();
    let steps = [&dropper, &reader].map(|p| step(p, "{}", OnError::Retry));
    let run = lab.runtime.run(&event("{}"), &pipeline(1, steps)).await;
    assert_eq!(run.outcome, Outcome::Drop { reason: "not today".into() });
    assert_eq!(run.steps.len(), 1);
}

#[tokio::test]
async fn a_transform_s_output_is_the_next_step_s_event() {
    let lab = Lab::new();
    let first =
        edit(&[Edit::Set("/card", "\"***\""), Edit::Header("x-a", "1"), Edit::Remove("/secret")]);
    let first = lab.upload(&transform("first", &first)).await.unwrap();
    let second =
        edit(&[Edit::Set("/seen", "true"), Edit::Header("x-a", "2"), Edit::Header("x-b", "3")]);
    let second = lab.upload(&transform("second", &second)).await.unwrap();
    let steps = [&first, &second].map(|p| step(p, "{}", OnError::Retry));
    let event = event(r#"{ "card":"4111", "n":1.0, "secret":[1,2] }"#);
    let run = lab.runtime.run(&event, &pipeline(1, steps)).await;
    let message = sent(&run);
    assert_eq!(message.body, r#"{ "card":"***", "n":1.0,"seen":true }"#);
    assert_eq!(message.headers, [("x-a".into(), "2".into()), ("x-b".into(), "3".into())]);
    assert_eq!(run.steps[0].verdict, StepVerdict::Edit { edits: 3 });
}

#[tokio::test]
async fn a_message_is_sent_as_it_is_unless_a_step_must_read_it() {
    let lab = Lab::new();
    let deliver = deliver("text/plain", &[("x-kind", "note")], "hello");
    let note = lab.upload(&transform("note", &deliver)).await.unwrap();
    let reader = lab.upload(&reader("reader")).await.unwrap();
    let event = event(r#"{"total":1}"#);

    let alone = pipeline(1, [step(&note, "{}", OnError::Retry)]);
    let run = lab.runtime.run(&event, &alone).await;
    let message = sent(&run);
    assert_eq!((&message.body[..], message.content_type.as_str()), (&b"hello"[..], "text/plain"));
    assert_eq!(message.headers, [("x-kind".into(), "note".into())]);

    let read = step(&reader, "{}", OnError::Retry);
    let followed = pipeline(2, [step(&note, "{}", OnError::Retry), read.clone()]);
    let run = lab.runtime.run(&event, &followed).await;
    assert!(
        matches!(run.steps[0].verdict, StepVerdict::Fault { kind: FailureKind::BadOutput, .. }),
        "{run:?}"
    );
    assert!(run.steps[0].shared, "the transform itself ran once");

    let skipped = pipeline(3, [step(&note, "{}", OnError::Pass), read]);
    let run = lab.runtime.run(&event, &skipped).await;
    assert_eq!(sent(&run).body, event.event.payload);
    assert_eq!(run.steps[1].verdict, StepVerdict::Pass);
}

#[tokio::test]
async fn a_body_that_only_claims_to_be_json_is_found_by_the_next_step() {
    let lab = Lab::new();
    let claim = transform("claim", &deliver("application/json", &[], "{\"a\":"));
    let claim = lab.upload(&claim).await.unwrap();
    let reader = lab.upload(&reader("reader")).await.unwrap();
    let steps = [&claim, &reader].map(|p| step(p, "{}", OnError::Dead));
    let run = lab.runtime.run(&event("{}"), &pipeline(1, steps)).await;
    match &run.outcome {
        Outcome::Fail { on_error: OnError::Dead, reason } => {
            assert!(reason.starts_with("claim@0.1.0: bad-output: "), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(run.steps.len(), 1);
}

#[tokio::test]
async fn reading_everything_is_noted() {
    let body = "(call $raw (local.get $event) (i32.const 3100))";
    let run = Lab::new().run(&filter("whole", "", body)).await;
    assert!(run.steps[0].read_all && run.steps[0].reads.is_empty(), "{run:?}");
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_bad_output() {
    let lab = Lab::new();
    for (i, answer) in [
        edit(&[Edit::Set("total", "1")]),
        edit(&[Edit::Set("/a/b", "1")]),
        edit(&[Edit::Set("/a", "{")]),
        edit(&[Edit::Remove("")]),
        edit(&[Edit::Header("webhook-id", "x")]),
        edit(&[Edit::Header("Host", "x")]),
        deliver("json", &[], "{}"),
        deliver("application/json", &[("content-length", "1")], "{}"),
    ]
    .into_iter()
    .enumerate()
    {
        let (kind, message) = lab.failure(&transform(&format!("bad-{i}"), &answer)).await;
        assert_eq!(kind, FailureKind::BadOutput, "{i}: {message}");
    }
}

#[tokio::test]
async fn on_error_decides() {
    let lab = Lab::new();
    let fault = lay_out(&[Part::Word(1), Part::Word(1), Part::Text("no such currency")]);
    let plugin = lab.upload(&transform("fussy", &fault)).await.unwrap();
    let event = event("{}");
    let run = async |on_error| {
        let pipeline = pipeline(on_error as i64, [step(&plugin, "{}", on_error)]);
        lab.runtime.run(&event, &pipeline).await
    };
    let words = "fussy@0.1.0: invalid-config: no such currency";
    for on_error in [OnError::Retry, OnError::Dead] {
        let expected = Outcome::Fail { on_error, reason: words.into() };
        assert_eq!(run(on_error).await.outcome, expected);
    }
    assert_eq!(sent(&*run(OnError::Pass).await).body, "{}");
    let reason = "fussy@0.1.0 failed: invalid-config: no such currency";
    assert_eq!(run(OnError::Drop).await.outcome, Outcome::Drop { reason: reason.into() });
    let faults = lab.runtime.stats().faults;
    assert!(faults.contains(&(FailureKind::InvalidConfig, 4)), "{faults:?}");
}

#[tokio::test]
async fn what_is_not_loaded_is_unavailable_until_it_is() {
    let lab = Lab::new();
    let plugin = lab.upload(&reader("reader")).await.unwrap();
    let other = Lab::new();
    let pipeline = pipeline(1, [step(&plugin, "{}", OnError::Pass)]);
    let event = event("{}");
    let run = other.runtime.run(&event, &pipeline).await;
    assert!(matches!(run.outcome, Outcome::Fail { on_error: OnError::Retry, .. }), "{run:?}");
    assert!(!run.is_repeatable());
    other.runtime.load(plugin.sha256, plugin.component).await.unwrap();
    let run = other.runtime.run(&event, &pipeline).await;
    assert_eq!(run.steps[0].verdict, StepVerdict::Pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_prefixes_run_once() {
    let lab = Lab::with(|settings| settings.learn_bytes = 0);
    let reader = lab.upload(&reader("reader")).await.unwrap();
    let change = transform("change", &edit(&[Edit::Set("/x", "1")]));
    let change = lab.upload(&change).await.unwrap();
    let before = lab.runtime.stats();
    let event = event(r#"{"total":1}"#);
    let read = step(&reader, "{}", OnError::Retry);
    let pipelines = [
        pipeline(1, [read.clone()]),
        pipeline(2, [read.clone(), step(&change, "{}", OnError::Retry)]),
        pipeline(3, [read.clone(), step(&change, "{\"other\":1}", OnError::Retry)]),
        pipeline(4, [read]),
    ];
    let runs: Vec<_> = (0..40)
        .map(|i| {
            let (runtime, event) = (Arc::clone(&lab.runtime), Arc::clone(&event));
            let pipeline = Arc::clone(&pipelines[i % 4]);
            tokio::spawn(async move { runtime.run(&event, &pipeline).await })
        })
        .collect();
    let mut done = Vec::new();
    for run in runs {
        done.push(run.await.unwrap());
    }
    for run in &done {
        assert!(matches!(run.outcome, Outcome::Send(_)), "{run:?}");
    }
    // The filter once, the transform once for each config.
    assert_eq!(lab.runtime.stats().runs - before.runs, 3);
    assert!(done.iter().enumerate().all(|(i, run)| Arc::ptr_eq(run, &done[i % 4])));
    let first_runs = done[..4].iter().filter(|run| !run.steps[0].shared).count();
    assert_eq!(first_runs, 1, "one pipeline ran the filter, the others shared it");
}

#[tokio::test]
async fn how_long_things_take() {
    let lab = Lab::with(|settings| settings.learn_bytes = 0);
    let plugin = lab.upload(&filter("empty", "", "")).await.unwrap();
    let pipeline = pipeline(1, [step(&plugin, "{}", OnError::Retry)]);
    let mut times = Vec::new();
    for _ in 0..300 {
        let run = lab.runtime.run(&event("{}"), &pipeline).await;
        times.push(run.steps[0].duration_us);
    }
    times.sort_unstable();
    println!("an empty run: median {} us, fastest {} us", times[150], times[0]);
    assert!(times[0] < 10_000);
}
