//! Two runs over one event, side by side.

use crate::model::{FailureKind, Outcome, PipelineRun, StepVerdict};

/// How a candidate's run differs from the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It does not.
    Same,
    /// Both send, but not the same.
    Changed,
    /// Live sends, the candidate drops.
    NewlyDropped,
    /// Live drops, the candidate sends.
    NewlyPassed,
    /// The candidate fails where live does not.
    Failed,
    /// Live fails, the candidate does not.
    Fixed,
    /// One of them was ended by the wall clock or could not be loaded: it says nothing.
    Undecided,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::NewlyDropped => "newly_dropped",
            Self::NewlyPassed => "newly_passed",
            Self::Failed => "failed",
            Self::Fixed => "fixed",
            Self::Undecided => "undecided",
        }
    }
}

/// A comparison, and what to show of it.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) kind: Kind,
    pub(super) live: String,
    pub(super) candidate: String,
}

impl Comparison {
    pub(super) fn of(live: &PipelineRun, candidate: &PipelineRun) -> Self {
        Self {
            kind: kind(live, candidate),
            live: shown(&live.outcome),
            candidate: shown(&candidate.outcome),
        }
    }
}

fn kind(live: &PipelineRun, candidate: &PipelineRun) -> Kind {
    if !live.is_repeatable() || !candidate.is_repeatable() {
        return Kind::Undecided;
    }
    match (&live.outcome, &candidate.outcome) {
        (Outcome::Send(a), Outcome::Send(b)) if a == b => Kind::Same,
        (Outcome::Send(_), Outcome::Send(_)) => Kind::Changed,
        (Outcome::Send(_), Outcome::Drop { .. }) => Kind::NewlyDropped,
        (Outcome::Drop { .. }, Outcome::Send(_)) => Kind::NewlyPassed,
        (Outcome::Drop { reason: a }, Outcome::Drop { reason: b }) => {
            if a == b {
                Kind::Same
            } else {
                Kind::Changed
            }
        }
        (Outcome::Fail { .. }, Outcome::Fail { .. }) => {
            if fault(live) == fault(candidate) {
                Kind::Same
            } else {
                Kind::Changed
            }
        }
        (_, Outcome::Fail { .. }) => Kind::Failed,
        (Outcome::Fail { .. }, _) => Kind::Fixed,
    }
}

/// The words of a failure name its version; its kind is what can be compared.
fn fault(run: &PipelineRun) -> Option<FailureKind> {
    run.steps.iter().find_map(|step| match step.verdict {
        StepVerdict::Fault { kind, .. } => Some(kind),
        _ => None,
    })
}

fn shown(outcome: &Outcome) -> String {
    const MOST: usize = 1_000;
    let text = match outcome {
        Outcome::Send(message) => {
            let head = &message.body[..message.body.len().min(MOST)];
            format!("sends {} {}", message.content_type, String::from_utf8_lossy(head))
        }
        Outcome::Drop { reason } => format!("drops: {reason}"),
        Outcome::Fail { reason, .. } => format!("fails: {reason}"),
    };
    text.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Message, OnError};

    fn run(outcome: Outcome) -> PipelineRun {
        PipelineRun { outcome, steps: vec![] }
    }

    fn send(body: &'static str) -> PipelineRun {
        let content_type = "application/json".into();
        run(Outcome::Send(Message { content_type, headers: vec![], body: Bytes::from(body) }))
    }

    #[test]
    fn every_pair_of_outcomes_has_its_name() {
        let drop = || run(Outcome::Drop { reason: "small".into() });
        let fail = || run(Outcome::Fail { on_error: OnError::Retry, reason: "trap".into() });
        for (live, candidate, expected) in [
            (send("1"), send("1"), Kind::Same),
            (send("1"), send("2"), Kind::Changed),
            (send("1"), drop(), Kind::NewlyDropped),
            (drop(), send("1"), Kind::NewlyPassed),
            (drop(), drop(), Kind::Same),
            (fail(), fail(), Kind::Same),
            (send("1"), fail(), Kind::Failed),
            (drop(), fail(), Kind::Failed),
            (fail(), send("1"), Kind::Fixed),
        ] {
            assert_eq!(Comparison::of(&live, &candidate).kind, expected);
        }
    }

    #[test]
    fn a_run_that_the_clock_ended_proves_nothing() {
        let slow = PipelineRun {
            outcome: Outcome::Fail { on_error: OnError::Retry, reason: "slow".into() },
            steps: vec![
                serde_json::from_str(
                    r#"{"plugin":"p","version":"1","verdict":"fault","kind":"timeout",
                        "message":"slow","fuel":1,"duration_us":1,"memory_bytes":1}"#,
                )
                .unwrap(),
            ],
        };
        assert_eq!(Comparison::of(&send("1"), &slow).kind, Kind::Undecided);
    }
}
