//! A candidate on trial: its runs against those of the live version.

use std::collections::VecDeque;

use serde::Serialize;
use utoipa::ToSchema;

use super::compare::Comparison;
use crate::{
    backtest::DifferenceKind,
    model::{EventId, RolloutLimits, StepReport, StepVerdict},
};

/// Differences of a shadow that are kept, the newest.
const KEPT: usize = 20;

/// How a candidate does beside the live version, since the rollout or the server started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Trial {
    /// The candidate's runs.
    pub candidate: Side,
    /// The live version's runs meanwhile.
    pub live: Side,
    /// Shadow: deliveries for which the candidate would have done the same.
    pub same: u64,
    /// Shadow: both send, but not the same.
    pub changed: u64,
    /// Shadow: the candidate would have dropped what was sent.
    pub newly_dropped: u64,
    /// Shadow: the candidate would have sent what was dropped.
    pub newly_passed: u64,
    /// Shadow: the candidate failed where the live version did not.
    pub failed: u64,
    /// Shadow: the live version failed, the candidate did not.
    pub fixed: u64,
    /// Shadow: not compared, because the server was busy or a run was ended by the wall clock.
    pub left_out: u64,
    /// Shadow: the newest differences.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    #[schema(value_type = Vec<TrialDifference>)]
    pub differences: VecDeque<TrialDifference>,
}

/// One version's runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Side {
    /// Runs.
    pub runs: u64,
    /// Of them, those that failed by the plugin's fault.
    pub failed: u64,
    /// Fuel of all runs.
    pub fuel: u64,
}

/// Where a shadow differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrialDifference {
    /// The event.
    pub event_id: EventId,
    /// `changed`, `newly_dropped`, `newly_passed`, `failed` or `fixed`.
    pub kind: &'static str,
    /// What the live version came to, cut to 1,000 characters.
    pub live: String,
    /// What the candidate came to, cut to 1,000 characters.
    pub candidate: String,
}

impl Side {
    pub(super) fn count(&mut self, report: &StepReport) {
        self.runs += 1;
        self.fuel = self.fuel.saturating_add(report.fuel);
        self.failed += u64::from(
            matches!(&report.verdict, StepVerdict::Fault { kind, .. } if kind.is_the_plugins()),
        );
    }

    fn failed_percent(&self) -> f64 {
        if self.runs == 0 { 0.0 } else { 100.0 * self.failed as f64 / self.runs as f64 }
    }

    fn mean_fuel(&self) -> f64 {
        if self.runs == 0 { 0.0 } else { self.fuel as f64 / self.runs as f64 }
    }
}

impl Trial {
    /// Why the candidate must go back, if it must.
    pub(super) fn verdict(&self, limits: &RolloutLimits) -> Option<String> {
        let (candidate, live) = (&self.candidate, &self.live);
        if candidate.runs < limits.runs {
            return None;
        }
        let (failed, before) = (candidate.failed_percent(), live.failed_percent());
        if failed > before + limits.fault_percent {
            return Some(format!(
                "{failed:.1} % of its {} runs failed, against {before:.1} % of the live version's; \
                 {} points more are allowed",
                candidate.runs, limits.fault_percent
            ));
        }
        let (fuel, usual) = (candidate.mean_fuel(), live.mean_fuel());
        if live.runs >= limits.runs && fuel > usual * limits.fuel_ratio {
            return Some(format!(
                "it uses {fuel:.0} fuel a run, {:.1} times the live version's {usual:.0}; {} times \
                 are allowed",
                fuel / usual.max(1.0),
                limits.fuel_ratio
            ));
        }
        None
    }

    pub(super) fn compare(&mut self, event: EventId, comparison: &Comparison) {
        let Some(kind) = comparison.kind else {
            self.same += 1;
            return;
        };
        *match kind {
            DifferenceKind::Changed | DifferenceKind::Slower => &mut self.changed,
            DifferenceKind::NewlyDropped => &mut self.newly_dropped,
            DifferenceKind::NewlyPassed => &mut self.newly_passed,
            DifferenceKind::Failed => &mut self.failed,
            DifferenceKind::Fixed => &mut self.fixed,
            DifferenceKind::Undecided => {
                self.left_out += 1;
                return;
            }
        } += 1;
        if self.differences.len() >= KEPT {
            self.differences.pop_back();
        }
        self.differences.push_front(TrialDifference {
            event_id: event,
            kind: kind.as_str(),
            live: comparison.live.clone(),
            candidate: comparison.candidate.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(candidate: (u64, u64, u64), live: (u64, u64, u64)) -> Trial {
        let side = |(runs, failed, fuel)| Side { runs, failed, fuel };
        Trial { candidate: side(candidate), live: side(live), ..Trial::default() }
    }

    #[test]
    fn nothing_is_concluded_from_a_few_runs() {
        let limits = RolloutLimits::default();
        assert_eq!(trial((19, 19, 0), (1_000, 0, 0)).verdict(&limits), None);
        assert!(trial((20, 20, 0), (1_000, 0, 0)).verdict(&limits).is_some());
    }

    #[test]
    fn failures_that_the_live_version_has_as_well_are_no_reason() {
        let limits = RolloutLimits::default();
        assert_eq!(trial((100, 10, 0), (100, 10, 0)).verdict(&limits), None);
        let why = trial((100, 12, 0), (100, 10, 0)).verdict(&limits).unwrap();
        assert!(why.starts_with("12.0 % of its 100 runs failed, against 10.0 %"), "{why}");
    }

    #[test]
    fn more_fuel_than_allowed_is_a_reason_once_both_have_run() {
        let limits = RolloutLimits::default();
        assert_eq!(trial((50, 0, 5_000), (19, 0, 190)).verdict(&limits), None);
        assert_eq!(trial((50, 0, 1_000), (50, 0, 500)).verdict(&limits), None);
        let why = trial((50, 0, 1_050), (50, 0, 500)).verdict(&limits).unwrap();
        assert!(why.contains("2.1 times the live version's 10"), "{why}");
    }
}
