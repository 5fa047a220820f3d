//! Guests with WASI: what it tells them, and what they cannot do with it.

use wit_parser::Resolve;

use super::{super::Limits, *};

/// The component of `tests/fixtures/wasi-guest`.
fn wasi_guest() -> Vec<u8> {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/wasi-guest");
    let mut module = wat::parse_file(format!("{fixture}/guest.wat")).unwrap();
    let mut resolve = Resolve::default();
    resolve.push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
    let world = std::fs::read_to_string(format!("{fixture}/world.wit")).unwrap();
    let package = resolve.push_str("world.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    module
}

async fn run(lab: &Lab, event: &Arc<LiveEvent>, word: &str) -> PipelineRun {
    let inspected = lab.upload(&wasi_guest()).await.unwrap();
    let step = step(&inspected, &format!(r#"{{"do":"{word}"}}"#), OnError::Retry);
    (*lab.runtime.run(event, &pipeline(1, [step])).await).clone()
}

async fn trap(word: &str) -> (FailureKind, String, Vec<crate::model::Log>) {
    let run = run(&Lab::new(), &event("{}"), word).await;
    match &run.steps[0].verdict {
        StepVerdict::Fault { kind, message, .. } => {
            (*kind, message.clone(), run.steps[0].log.clone())
        }
        other => panic!("it did not fail: {other:?}"),
    }
}

/// What the guest sends: 64 bytes.
fn sent(run: &PipelineRun) -> Vec<u8> {
    match &run.outcome {
        crate::model::Outcome::Send(message) => message.body.to_vec(),
        other => panic!("nothing is sent: {other:?}"),
    }
}

fn number(body: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(body[at..at + 8].try_into().unwrap())
}

#[tokio::test]
async fn clock_and_dice_follow_from_the_event() {
    let (one, other) = (Lab::new(), Lab::new());
    let mut facts = (*event("{}").event).clone();
    let at: Timestamp = "2026-03-04T05:06:07.5Z".parse().unwrap();
    facts.occurred_at = at;
    let event = LiveEvent::new(facts.into());
    let first = run(&one, &event, "answer").await;
    let body = sent(&first);
    assert_eq!(number(&body, 0), u64::try_from(at.as_second()).unwrap());
    assert_eq!(u128::from(number(&body, 16)), u128::try_from(at.as_nanosecond()).unwrap());
    // Four different random numbers; no arguments, no directories.
    let random: std::collections::BTreeSet<u64> =
        [24, 32, 40, 48].map(|at| number(&body, at)).into();
    assert_eq!(random.len(), 4);
    assert_eq!(number(&body, 56), 0);
    // Another server, the same event: the same bytes.
    assert_eq!(sent(&run(&other, &LiveEvent::new(event.event.clone()), "answer").await), body);
    let mut next = (*event.event).clone();
    next.id = crate::model::EventId::new(at);
    assert_ne!(sent(&run(&one, &LiveEvent::new(next.into()), "answer").await), body);
    // What it depended on cannot be listed.
    assert!(first.steps[0].read_all);
}

#[tokio::test]
async fn output_becomes_notes() {
    let run = run(&Lab::new(), &event("{}"), "answer").await;
    let log: Vec<(&str, &str)> =
        run.steps[0].log.iter().map(|note| (&*note.level, &*note.message)).collect();
    let expected = [("info", "first"), ("warn", "first"), ("info", "second"), ("warn", "second")];
    assert_eq!(log, expected);
}

#[tokio::test]
async fn what_is_not_there_is_a_trap_that_says_so() {
    let (kind, message, _) = trap("exit").await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("it called exit (failure)"), "{message}");
    let (kind, message, _) = trap("sockets").await;
    assert_eq!(kind, FailureKind::Trap);
    let absent = "wasi:sockets/instance-network@0.2.3 instance-network is not there for plugins";
    assert!(message.contains(absent), "{message}");
}

#[tokio::test]
async fn handles_and_random_bytes_come_to_an_end() {
    let (kind, message, _) = trap("handles").await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("at most 10000 handles"), "{message}");
    let (kind, message, _) = trap("random").await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("at most 1048576 random bytes"), "{message}");
}

#[tokio::test]
async fn output_comes_to_an_end_and_its_notes_before() {
    let (kind, message, log) = trap("output").await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("at most 1048576 bytes"), "{message}");
    let kept: usize = log.iter().map(|note| note.message.len()).sum();
    assert!(kept <= Limits::LEAN.log_bytes + 100, "{kept}");
}
