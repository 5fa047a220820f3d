//! Two runs over one event, side by side, and what to show of them.

use crate::{
    backtest::{DifferenceKind, difference},
    model::{Outcome, PipelineRun},
};

/// A comparison.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    /// None if they came to the same.
    pub(super) kind: Option<DifferenceKind>,
    pub(super) live: String,
    pub(super) candidate: String,
}

impl Comparison {
    pub(super) fn of(live: &PipelineRun, candidate: &PipelineRun) -> Self {
        Self {
            kind: difference(live, candidate),
            live: shown(&live.outcome),
            candidate: shown(&candidate.outcome),
        }
    }
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
    use super::*;
    use crate::model::{Message, OnError};

    #[test]
    fn what_is_shown_is_bounded() {
        let message = |body: String| Message {
            content_type: "application/json".into(),
            headers: vec![],
            body: body.into(),
        };
        let long = shown(&Outcome::Send(message("é".repeat(5_000))));
        assert!(long.starts_with("sends application/json é") && long.len() < 2_100, "{long}");
        assert_eq!(shown(&Outcome::Drop { reason: "small".into() }), "drops: small");
        let failed = Outcome::Fail { on_error: OnError::Dead, reason: "p@1: trap".into() };
        assert_eq!(shown(&failed), "fails: p@1: trap");
    }
}
