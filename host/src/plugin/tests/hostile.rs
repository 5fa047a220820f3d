//! Guests that mean harm: each has its name and the outcome that stops it.

use super::{guest::*, *};
use crate::model::Outcome;

#[tokio::test]
async fn endless_loop() {
    let (kind, message) = Lab::new().failure(&filter("x", "", "(loop (br 0))")).await;
    assert_eq!(kind, FailureKind::OutOfFuel, "{message}");
}

#[tokio::test]
async fn endless_loop_against_the_clock() {
    let lab = Lab::with(|settings| {
        settings.lean.fuel = u64::MAX / 2;
        settings.lean.wall = Duration::from_millis(20);
    });
    let plugin = lab.upload(&filter("x", "", "(loop (br 0))")).await.unwrap();
    let event = event("{}");
    for on_error in [OnError::Retry, OnError::Pass, OnError::Drop] {
        let pipeline = pipeline(1, [step(&plugin, "{}", on_error)]);
        let run = lab.runtime.run(&event, &pipeline).await;
        assert!(
            matches!(run.steps[0].verdict, StepVerdict::Fault { kind: FailureKind::Timeout, .. }),
            "{run:?}"
        );
        // Neither let through nor lost because the machine was slow.
        assert!(matches!(run.outcome, Outcome::Fail { on_error: OnError::Retry, .. }), "{run:?}");
        assert!(!run.is_repeatable());
        // Nor remembered.
        let again = lab.runtime.run(&event, &pipeline).await;
        assert!(!Arc::ptr_eq(&run, &again));
        assert!(!again.steps[0].shared);
    }
}

#[tokio::test]
async fn unbounded_recursion() {
    let body = "(drop (call $main (local.get $event) (local.get $config) (local.get $len)))";
    let (kind, message) = Lab::new().failure(&filter("x", "", body)).await;
    assert_eq!(kind, FailureKind::StackOverflow, "{message}");
}

#[tokio::test]
async fn memory_bomb() {
    let body = "(loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) unreachable";
    let run = Lab::new().run(&filter("x", "", body)).await;
    assert!(
        matches!(run.steps[0].verdict, StepVerdict::Fault { kind: FailureKind::OutOfMemory, .. }),
        "{run:?}"
    );
    assert!(run.steps[0].memory_bytes <= 16 << 20, "{run:?}");
}

#[tokio::test]
async fn table_bomb() {
    let body = "(loop (br_if 0 (i32.ne (i32.const -1) \
                (table.grow $t (ref.null func) (i32.const 4096))))) unreachable";
    let lab = Lab::new();
    let (kind, message) = lab.failure(&filter("x", "(table $t 1 funcref)", body)).await;
    assert_eq!(kind, FailureKind::OutOfMemory, "{message}");
}

#[tokio::test]
async fn huge_output() {
    let lab = Lab::new();
    let grown = |world, name, parts: &[Part<'_>]| {
        let body = format!(
            "(drop (memory.grow (i32.const 200))) (call $drop (local.get $event)) \
             (i32.const {ANSWER})"
        );
        guest(world, name, &answer_data(&lay_out(parts)), &body)
    };
    // A reason of ten megabytes: more than one call may hand over at all.
    let parts = [Part::Word(0), Part::Word(1), Part::Word(0), Part::Word(10 << 20)];
    let (kind, message) = lab.failure(&grown("filter", "reason", &parts)).await;
    assert_eq!(kind, FailureKind::OutputTooLarge, "{message}");
    // A body of one and a half: handed over, but not sent.
    let parts = [
        Part::Word(0),
        Part::Word(0),
        Part::Text("text/plain"),
        Part::List(0, vec![]),
        Part::Word(0),
        Part::Word(3 << 19),
    ];
    let (kind, message) = lab.failure(&grown("transform", "body", &parts)).await;
    assert_eq!(kind, FailureKind::OutputTooLarge, "{message}");
}

#[tokio::test]
async fn endless_logging() {
    let body = "(loop (call $log (i32.const 1) (i32.const 1100) (i32.const 20)) (br 0))";
    let run = Lab::new().run(&filter("x", "", body)).await;
    let step = &run.steps[0];
    assert!(
        matches!(step.verdict, StepVerdict::Fault { kind: FailureKind::OutOfFuel, .. }),
        "{run:?}"
    );
    let kept: usize = step.log.iter().map(|note| note.message.len()).sum();
    assert!(kept <= (16 << 10) + 100, "{kept}");
    assert!(step.log.last().unwrap().message.contains("(cut"), "{:?}", step.log.last());
}

#[tokio::test]
async fn one_huge_note() {
    let body = "(drop (memory.grow (i32.const 200))) \
                (call $log (i32.const 1) (i32.const 0) (i32.const 10000000))";
    let (kind, message) = Lab::new().failure(&filter("x", "", body)).await;
    assert_eq!(kind, FailureKind::OutputTooLarge, "{message}");
}

#[tokio::test]
async fn trap_in_start_function() {
    let module = filter("x", "(func $boom unreachable) (start $boom)", "");
    let rejection = Lab::new().upload(&module).await.unwrap_err();
    assert_eq!(rejection.code, "bad-manifest");
    assert!(rejection.detail.contains("trap") && rejection.detail.contains("boom"), "{rejection}");
}

#[tokio::test]
async fn endless_start_function() {
    let module = filter("x", "(func $forever (loop (br 0))) (start $forever)", "");
    let rejection = Lab::new().upload(&module).await.unwrap_err();
    assert!(rejection.detail.contains("out-of-fuel"), "{rejection}");
}

#[tokio::test]
async fn a_trap_names_its_functions() {
    let items = "(func $_ZN4shop5total17h0123456789abcdefE unreachable)";
    let body = "(call $_ZN4shop5total17h0123456789abcdefE)";
    let run = Lab::new().run(&filter("x", items, body)).await;
    let StepVerdict::Fault { kind, message, backtrace } = &run.steps[0].verdict else {
        panic!("it did not fail: {run:?}")
    };
    assert_eq!(*kind, FailureKind::Trap);
    assert!(message.contains("unreachable") && !message.contains("shop"), "{message}");
    assert_eq!(backtrace[..2], ["shop::total", "main"], "{backtrace:?}");
}

#[tokio::test]
async fn a_panic_is_told_in_its_own_words() {
    let note = "panicked at src/lib.rs:12:5:\nindex out of bounds";
    let items = format!("(data (i32.const 5000) \"{}\")", note.replace('\n', "\\0a"));
    let says = |level| {
        let length = note.len();
        format!("(call $log (i32.const {level}) (i32.const 5000) (i32.const {length}))")
    };
    let lab = Lab::new();
    let (kind, message) =
        lab.failure(&filter("x", &items, &format!("{} unreachable", says(3)))).await;
    assert_eq!(kind, FailureKind::Trap);
    assert_eq!(message, "panicked at src/lib.rs:12:5: index out of bounds");
    // Only what the SDK would have said, and only of a trap that a panic ends in.
    let (_, message) = lab.failure(&filter("y", &items, &format!("{} unreachable", says(1)))).await;
    assert!(message.contains("unreachable"), "{message}");
    let reads = format!("{} (drop (i32.load (i32.const -8)))", says(3));
    let (_, message) = lab.failure(&filter("z", &items, &reads)).await;
    assert!(message.contains("out of bounds memory access"), "{message}");
}

#[tokio::test]
async fn out_of_bounds_and_lying_answers() {
    let lab = Lab::new();
    let reads = "(drop (i32.load (i32.const -8)))";
    assert_eq!(lab.failure(&filter("bounds", "", reads)).await.0, FailureKind::Trap);
    // An answer at an address that is not there, and one of a case that is not there.
    let nowhere = guest("filter", "nowhere", "", "(call $drop (local.get $event)) (i32.const -16)");
    assert_eq!(lab.failure(&nowhere).await.0, FailureKind::Trap);
    let case = filter("case", &answer_data(&[0, 0, 0, 0, 9]), "");
    assert_eq!(lab.failure(&case).await.0, FailureKind::Trap);
    // The event kept beyond the call.
    let keeps = guest("filter", "keeps", "", &format!("(i32.const {ANSWER})"));
    assert_eq!(lab.failure(&keeps).await.0, FailureKind::Trap);
}

#[tokio::test]
async fn no_state_survives_a_run() {
    let items = "(global $runs (mut i32) (i32.const 0))";
    let body = "(if (global.get $runs) (then unreachable)) \
                (if (i32.load (i32.const 60000)) (then unreachable)) \
                (global.set $runs (i32.const 1)) (i32.store (i32.const 60000) (i32.const 1))";
    let lab = Lab::new();
    let module = filter("x", items, body);
    for _ in 0..20 {
        assert_eq!(lab.run(&module).await.steps[0].verdict, StepVerdict::Pass);
    }
}
