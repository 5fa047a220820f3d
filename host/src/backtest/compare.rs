//! What two runs over one event are to each other. Pure functions of the runs.

use super::{
    diff,
    report::{Change, DifferenceKind, Ended, Fault, HeaderChange, PointerChange, Side},
};
use crate::model::{FailureKind, Message, Outcome, PipelineRun, StepReport, StepVerdict};

/// Most headers listed in a difference.
const MAX_HEADERS: usize = 20;
/// Longest sentence kept of a reason or a fault, in bytes.
const MAX_WORDS: usize = 500;
/// Fuel that a candidate may use beyond the baseline's without being called slower: noise of
/// another build, not a cost that anybody would feel.
const FREE_FUEL: u64 = 10_000;

/// What the candidate's run is, seen from the baseline's; none if it is the same.
///
/// A fault counts whatever the step's `on_error` makes of it: that an event is sent because its
/// filter broke is not what anybody wants to call the same. Reasons of drops are not compared:
/// they are for people.
pub fn kind(baseline: &PipelineRun, candidate: &PipelineRun) -> Option<DifferenceKind> {
    if !(baseline.is_repeatable() && candidate.is_repeatable()) {
        return Some(DifferenceKind::Undecided);
    }
    match (fault(baseline), fault(candidate)) {
        (None, Some(_)) => Some(DifferenceKind::Failed),
        (Some(_), None) => Some(DifferenceKind::Fixed),
        (Some((_, before, _)), Some((_, after, _))) if before != after => {
            Some(DifferenceKind::Changed)
        }
        _ => outcomes(&baseline.outcome, &candidate.outcome),
    }
}

fn outcomes(baseline: &Outcome, candidate: &Outcome) -> Option<DifferenceKind> {
    match (baseline, candidate) {
        (Outcome::Send(before), Outcome::Send(after)) => {
            (!is_same(before, after)).then_some(DifferenceKind::Changed)
        }
        (Outcome::Send(_), Outcome::Drop { .. }) => Some(DifferenceKind::NewlyDropped),
        (Outcome::Drop { .. }, Outcome::Send(_)) => Some(DifferenceKind::NewlyPassed),
        (Outcome::Drop { .. }, Outcome::Drop { .. }) => None,
        (Outcome::Fail { on_error: before, .. }, Outcome::Fail { on_error: after, .. }) => {
            (before != after).then_some(DifferenceKind::Changed)
        }
        (Outcome::Fail { .. }, _) | (_, Outcome::Fail { .. }) => Some(DifferenceKind::Changed),
    }
}

fn is_same(before: &Message, after: &Message) -> bool {
    before.body == after.body
        && before.content_type == after.content_type
        && headers(before, after).is_empty()
}

/// The headers that differ, by name.
fn headers(before: &Message, after: &Message) -> Vec<HeaderChange> {
    let value = |message: &Message, name: &str| {
        message.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let all = before.headers.iter().chain(&after.headers).map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = all.collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let change = Change { before: value(before, name), after: value(after, name) };
            let differs = change.before != change.after;
            differs.then(|| HeaderChange { name: name.to_owned(), change })
        })
        .collect()
}

/// The first step that failed.
fn fault(run: &PipelineRun) -> Option<(&StepReport, FailureKind, &str)> {
    run.steps.iter().find_map(|step| match &step.verdict {
        StepVerdict::Fault { kind, message, .. } => Some((step, *kind, message.as_str())),
        _ => None,
    })
}

/// Fuel of the steps on trial, as far as the run got.
pub(super) fn fuel(run: &PipelineRun, tested: &[usize]) -> u64 {
    tested.iter().filter_map(|&index| run.steps.get(index)).map(|step| step.fuel).sum()
}

/// Fuel of both, of those steps on trial that ran in both; none if there are none such, as
/// when the step is only tried out.
pub(super) fn fuels(
    baseline: &PipelineRun,
    candidate: &PipelineRun,
    tested: &[usize],
) -> Option<(u64, u64)> {
    let mut pairs = tested
        .iter()
        .filter_map(|&index| Some((baseline.steps.get(index)?, candidate.steps.get(index)?)))
        .map(|(before, after)| (before.fuel, after.fuel))
        .peekable();
    pairs.peek()?;
    Some(pairs.fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1)))
}

/// Whether that much more fuel is worth a word: over a quarter more, and over the noise.
pub(super) fn is_slower((baseline, candidate): (u64, u64)) -> bool {
    let more = candidate.saturating_sub(baseline);
    more > FREE_FUEL && more.saturating_mul(4) > baseline
}

/// One run, as a difference shows it.
pub(super) fn side(run: &PipelineRun, tested: &[usize]) -> Side {
    let (outcome, reason, size) = match &run.outcome {
        Outcome::Send(message) => (Ended::Send, None, Some(message.body.len())),
        Outcome::Drop { reason } => (Ended::Drop, Some(reason), None),
        Outcome::Fail { reason, .. } => (Ended::Fail, Some(reason), None),
    };
    let fault = fault(run).map(|(step, kind, message)| Fault {
        plugin: format!("{}@{}", step.plugin, step.version),
        kind,
        message: diff::cut(message, MAX_WORDS),
    });
    let reason = reason.map(|reason| diff::cut(reason, MAX_WORDS));
    Side { outcome, reason, fault, size, fuel: fuel(run, tested) }
}

/// What differs between two messages.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) content_type: Option<Change>,
    pub(super) headers: Vec<HeaderChange>,
    pub(super) body_differs: bool,
    pub(super) body: Vec<PointerChange>,
    pub(super) more: bool,
}

/// Where the messages of two runs differ; nothing if not both send one.
pub(super) fn parts(baseline: &PipelineRun, candidate: &PipelineRun) -> Parts {
    let (Outcome::Send(before), Outcome::Send(after)) = (&baseline.outcome, &candidate.outcome)
    else {
        return Parts::default();
    };
    let mut parts = Parts { headers: headers(before, after), ..Parts::default() };
    if before.content_type != after.content_type {
        let [before, after] =
            [before, after].map(|m| Some(diff::cut(&m.content_type, diff::MAX_VALUE)));
        parts.content_type = Some(Change { before, after });
    }
    parts.more = parts.headers.len() > MAX_HEADERS;
    parts.headers.truncate(MAX_HEADERS);
    for HeaderChange { change, .. } in &mut parts.headers {
        for value in [&mut change.before, &mut change.after].into_iter().flatten() {
            *value = diff::cut(value, diff::MAX_VALUE);
        }
    }
    if before.body != after.body {
        parts.body_differs = true;
        let (body, more) = diff::json(&before.body, &after.body);
        parts.body = body;
        parts.more |= more;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OnError;

    fn send(body: &'static str) -> Outcome {
        let body = body.into();
        Outcome::Send(Message { content_type: "application/json".into(), headers: vec![], body })
    }

    fn drop() -> Outcome {
        Outcome::Drop { reason: "no".into() }
    }

    fn fail(on_error: OnError) -> Outcome {
        Outcome::Fail { on_error, reason: "broken".into() }
    }

    fn run(outcome: Outcome, fault: Option<FailureKind>, fuel: u64) -> PipelineRun {
        let verdict = match fault {
            Some(kind) => StepVerdict::Fault { kind, message: "x".into(), backtrace: vec![] },
            None => StepVerdict::Pass,
        };
        // By JSON, so that a field more in a report is no matter here.
        let mut step = serde_json::json!({"plugin": "p", "version": "1.0.0", "fuel": fuel,
            "duration_us": 1, "memory_bytes": 0});
        let verdict = serde_json::to_value(verdict).unwrap();
        step.as_object_mut().unwrap().extend(verdict.as_object().unwrap().clone());
        PipelineRun { outcome, steps: vec![serde_json::from_value(step).unwrap()] }
    }

    #[test]
    fn each_pair_of_runs_has_its_word() {
        use DifferenceKind::{Changed, Failed, Fixed, NewlyDropped, NewlyPassed, Undecided};
        use FailureKind::{OutOfFuel, Timeout, Trap};
        let ok = |outcome| run(outcome, None, 1);
        let bad = |outcome, kind| run(outcome, Some(kind), 1);
        for (before, after, expected) in [
            (ok(send("1")), ok(send("1")), None),
            (ok(send("1")), ok(send("2")), Some(Changed)),
            (ok(send("1")), ok(drop()), Some(NewlyDropped)),
            (ok(drop()), ok(send("1")), Some(NewlyPassed)),
            (ok(drop()), ok(Outcome::Drop { reason: "other words".into() }), None),
            (ok(send("1")), bad(fail(OnError::Dead), Trap), Some(Failed)),
            // It is sent as before, but only because its step broke and says so.
            (ok(send("1")), bad(send("1"), Trap), Some(Failed)),
            (ok(drop()), bad(drop(), Trap), Some(Failed)),
            (bad(fail(OnError::Dead), Trap), ok(drop()), Some(Fixed)),
            (bad(fail(OnError::Dead), Trap), bad(fail(OnError::Dead), Trap), None),
            (bad(fail(OnError::Dead), Trap), bad(fail(OnError::Dead), OutOfFuel), Some(Changed)),
            (bad(send("1"), Trap), bad(send("2"), Trap), Some(Changed)),
            (ok(send("1")), bad(fail(OnError::Retry), Timeout), Some(Undecided)),
            (bad(fail(OnError::Retry), Timeout), ok(send("1")), Some(Undecided)),
        ] {
            assert_eq!(kind(&before, &after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn slower_is_a_quarter_more_and_not_noise() {
        assert!(!is_slower((100, 10_100)));
        assert!(is_slower((100, 10_101)));
        assert!(!is_slower((1_000_000, 1_250_000)));
        assert!(is_slower((1_000_000, 1_250_001)));
        assert!(!is_slower((1_000_000, 10)));
        assert!(is_slower((0, u64::MAX)));
    }

    #[test]
    fn fuel_is_compared_of_steps_that_ran_in_both() {
        let (one, two) = (run(send("1"), None, 7), run(send("1"), None, 9));
        assert_eq!(fuels(&one, &two, &[0]), Some((7, 9)));
        assert_eq!(fuels(&one, &two, &[1]), None);
        assert_eq!(fuels(&one, &two, &[]), None);
        assert_eq!(fuel(&two, &[0, 5]), 9);
    }

    #[test]
    fn headers_and_content_types_are_told_apart() {
        let message = |kind: &str, headers: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let headers = headers.iter().map(own).collect();
            ok_run(Message { content_type: kind.into(), headers, body: "1".into() })
        };
        fn ok_run(message: Message) -> PipelineRun {
            PipelineRun { outcome: Outcome::Send(message), steps: vec![] }
        }
        let one = message("text/plain", &[("x-a", "1"), ("x-b", "2")]);
        let two = message("text/plain", &[("x-b", "2"), ("x-a", "1")]);
        assert_eq!(kind(&one, &two), None, "the order of headers is no difference");
        let long = "é".repeat(500);
        let three = message("text/csv", &[("x-b", &long), ("x-c", "3")]);
        let parts = parts(&one, &three);
        assert_eq!(parts.content_type.unwrap().after.as_deref(), Some("text/csv"));
        let names: Vec<_> = parts.headers.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["x-a", "x-b", "x-c"]);
        assert!(parts.headers[1].change.after.as_ref().unwrap().len() <= diff::MAX_VALUE + 3);
        assert!(!parts.body_differs && !parts.more);
    }
}
