//! What pipelines come to, and what becomes of the delivery.

use bytes::Bytes;

use super::{
    World,
    belt::{At, Row},
    endpoint::{Endpoint, Reply},
    run, settings,
};
use crate::{
    delivery::DeliverySettings,
    model::{
        AttemptOutcome, FailureKind, Message, OnError, Outcome, PipelineId, PipelineRun,
        RetryPolicy, StepReport, StepVerdict,
    },
    store::Next,
};

fn message(body: &'static str) -> Outcome {
    Outcome::Send(Message {
        content_type: "text/plain".into(),
        headers: vec![("x-plugin".into(), "yes".into()), ("host".into(), "evil".into())],
        body: Bytes::from_static(body.as_bytes()),
    })
}

fn failure(on_error: OnError) -> Outcome {
    Outcome::Fail { on_error, reason: "redact@1.0.0: trap: unreachable".into() }
}

/// A run that the wall clock ended, whatever it came to.
fn timed_out(outcome: Outcome) -> PipelineRun {
    let kind = FailureKind::Timeout;
    let verdict = StepVerdict::Fault { kind, message: "50 ms".into(), backtrace: vec![] };
    let step = StepReport {
        plugin: "redact".into(),
        version: "1.0.0".into(),
        verdict,
        fuel: 0,
        duration_us: 0,
        memory_bytes: 0,
        shared: false,
        learned: false,
        read_all: false,
        reads: vec![],
        log: vec![],
    };
    PipelineRun { outcome, steps: vec![step] }
}

async fn deliver(
    answers: Vec<PipelineRun>,
    script: impl IntoIterator<Item = Reply>,
) -> (Row, Endpoint, World) {
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    *world.pipelines.answers.lock().unwrap() = answers;
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, Some(PipelineId(7)));
    (world.belt.done(key).await, endpoint, world)
}

#[tokio::test]
async fn a_transformed_message_is_sent_and_recorded_once_and_retried_without_a_run() {
    let answers = vec![run(message("first")), run(message("second"))];
    let script = [Reply::Status(500), Reply::Status(200)];
    let (row, endpoint, world) = deliver(answers, script).await;
    assert_eq!(*world.pipelines.runs.lock().unwrap(), 1);
    for request in endpoint.requests() {
        assert_eq!(request.body, "first");
        assert_eq!(request.headers["content-type"], "text/plain");
        assert_eq!(request.headers["x-plugin"], "yes");
        assert_ne!(request.headers["host"], "evil");
    }
    assert_eq!(row.records[0].run.as_ref().unwrap().0, PipelineId(7));
    assert!(row.records[1].run.is_none());
}

#[tokio::test]
async fn a_drop_is_filtered_without_an_attempt() {
    let answers = vec![run(Outcome::Drop { reason: "too small".into() })];
    let (row, endpoint, _) = deliver(answers, [Reply::Status(200)]).await;
    assert_eq!(row.at, At::Final(Next::Filtered("too small".into())));
    assert!(row.records[0].attempt.is_none() && row.records[0].run.is_some());
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_failing_plugin_is_run_again_by_the_schedule() {
    let answers = vec![run(failure(OnError::Retry)), run(message("recovered"))];
    let (row, endpoint, _) = deliver(answers, [Reply::Status(200)]).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    let first = row.records[0].attempt.as_ref().unwrap();
    assert_eq!(first.outcome, AttemptOutcome::Plugin);
    assert_eq!(first.error.as_deref(), Some("redact@1.0.0: trap: unreachable"));
    assert_eq!(row.last().number, 2);
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_kills_the_delivery_in_the_end() {
    let (row, endpoint, _) =
        deliver(vec![run(failure(OnError::Retry))], [Reply::Status(200)]).await;
    assert_eq!(row.attempts(), 3);
    let why = "all 3 attempts failed, the last: redact@1.0.0: trap: unreachable";
    assert_eq!(row.at, At::Final(Next::Dead(why.into())));
    // The failure is recorded once, not again with every repetition.
    assert_eq!(row.records.iter().filter(|record| record.run.is_some()).count(), 1);
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_plugin_may_ask_to_give_up_at_once() {
    let (row, ..) = deliver(vec![run(failure(OnError::Dead))], [Reply::Status(200)]).await;
    assert_eq!(row.attempts(), 1);
    assert_eq!(row.at, At::Final(Next::Dead("redact@1.0.0: trap: unreachable".into())));
}

#[tokio::test]
async fn a_run_that_the_wall_clock_ended_is_never_recorded() {
    let answers = vec![timed_out(failure(OnError::Retry)), run(message("in time"))];
    let (row, ..) = deliver(answers, [Reply::Status(200)]).await;
    assert!(row.records[0].run.is_none());
    assert!(row.records[1].run.is_some());
}

#[tokio::test]
async fn a_pipeline_that_cannot_be_loaded_is_tried_again() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    *world.directory.pipeline_problem.lock().unwrap() = Some("no such component".into());
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
    let row = world.belt.done(key).await;
    assert_eq!(row.attempts(), 3);
    assert_eq!(row.last().error.as_deref(), Some("unavailable: no such component"));
}

#[tokio::test]
async fn where_a_candidate_fails_what_is_live_decides_at_once() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    *world.pipelines.answers.lock().unwrap() =
        vec![run(failure(OnError::Dead)), run(message("live"))];
    *world.directory.current.lock().unwrap() = Some(Some(PipelineId(1)));
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, Some(PipelineId(2)));
    let row = world.belt.done(key).await;
    assert_eq!((row.at.clone(), row.attempts()), (At::Final(Next::Succeeded), 1));
    assert_eq!(row.records[0].run.as_ref().unwrap().0, PipelineId(1));
    assert_eq!(endpoint.requests()[0].body, "live");
}

#[tokio::test]
async fn what_failed_goes_through_the_pipeline_its_subscription_has_by_then() {
    let script = [Reply::Status(200)];
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    *world.pipelines.answers.lock().unwrap() =
        vec![run(failure(OnError::Dead)), run(message("mended"))];
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
    assert!(matches!(world.belt.done(key).await.at, At::Final(Next::Dead(_))));
    *world.directory.current.lock().unwrap() = Some(Some(PipelineId(2)));
    world.belt.again(key);
    dispatcher.wake(subscription, crate::clock::Clock::system().now());
    let row = world.belt.done(key).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    assert_eq!(row.records[1].run.as_ref().unwrap().0, PipelineId(2));
}

#[tokio::test]
async fn what_a_quarantined_version_would_decide_is_held_unless_the_subscription_moved_on() {
    for (current, expected) in [(1, "held"), (2, "sent")] {
        let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
        *world.pipelines.answers.lock().unwrap() = vec![run(message("sent"))];
        *world.directory.current.lock().unwrap() = Some(Some(PipelineId(current)));
        world.directory.quarantined.lock().unwrap().push(PipelineId(1));
        let dispatcher = world.start(settings(), 1).await;
        let subscription = world.subscribe(&endpoint.url);
        let key = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
        let row = world.belt.done(key).await;
        let found = match &row.at {
            At::Final(Next::Held(reason)) => {
                assert!(reason.starts_with("p@1 is quarantined"), "{reason}");
                "held"
            }
            At::Final(Next::Succeeded) => "sent",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_payload_sent_in_place_of_what_failed_is_what_every_attempt_sends() {
    let script = [Reply::Status(500), Reply::Status(200)];
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    *world.pipelines.answers.lock().unwrap() =
        vec![run(failure(OnError::Dead)), run(message("something else"))];
    // The subscription has lost its pipeline since the event was matched.
    *world.directory.current.lock().unwrap() = Some(None);
    let settings = DeliverySettings { retry: RetryPolicy::Schedule(vec![0]), ..settings() };
    let dispatcher = world.start(settings, 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
    assert!(matches!(world.belt.done(key).await.at, At::Final(Next::Dead(_))));
    *world.directory.current.lock().unwrap() = Some(Some(PipelineId(2)));
    world.belt.again(key);
    dispatcher.wake(subscription, crate::clock::Clock::system().now());
    let row = world.belt.done(key).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    let bodies: Vec<_> = endpoint.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [r#"{"order":42}"#, r#"{"order":42}"#]);
}

#[tokio::test]
async fn a_crash_after_sending_what_took_a_pipelines_place_changes_no_bytes() {
    for current in [Some(PipelineId(2)), None] {
        let script = [Reply::Status(200)];
        let (world, endpoint) = (World::default(), Endpoint::start(script).await);
        // The third answer is what the named pipeline would make of the event once mended.
        *world.pipelines.answers.lock().unwrap() = match current {
            Some(_) => vec![run(failure(OnError::Retry)), run(message("b")), run(message("a"))],
            None => vec![run(failure(OnError::Retry)), run(message("a"))],
        };
        *world.directory.current.lock().unwrap() = Some(current);
        let dispatcher = world.start(settings(), 1).await;
        let subscription = world.subscribe(&endpoint.url);
        // What was sent is never recorded by this run of the server.
        world.belt.state.lock().unwrap().record_failures = u32::MAX;
        let key = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
        let sent = |state: &super::belt::State| state.record_failures < u32::MAX;
        world.belt.until("a record", sent).await;
        drop(dispatcher);
        world.belt.state.lock().unwrap().record_failures = 0;
        let _next = world.start(settings(), 2).await;
        world.belt.done(key).await;
        let bodies: Vec<_> = endpoint.requests().into_iter().map(|request| request.body).collect();
        assert!(bodies.len() >= 2, "{bodies:?}");
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_a_pipelines_place_until_that_is_noted() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    *world.pipelines.answers.lock().unwrap() = vec![
        run(failure(OnError::Retry)),
        run(message("b")),
        run(failure(OnError::Retry)),
        run(message("b")),
    ];
    *world.directory.current.lock().unwrap() = Some(Some(PipelineId(2)));
    world.belt.state.lock().unwrap().switch_failures = 1;
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, Some(PipelineId(1)));
    let row = world.belt.done(key).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    assert_eq!((row.attempts(), endpoint.requests().len()), (1, 1));
    assert_eq!(row.pipeline, Some(PipelineId(2)));
    assert_eq!(world.belt.state.lock().unwrap().switch_failures, 0, "it was tried");
}
