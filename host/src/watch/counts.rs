//! What a version's runs come to.

use hdrhistogram::Histogram;
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{FailureKind, StepReport, StepVerdict, Timestamp};

/// Slices of the window over which the rate of failures is taken.
const SLICES: usize = 6;
/// Failures of one version that are kept, a second.
const KEPT_A_SECOND: u32 = 5;

/// What the runs of a version came to since the server started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct VersionStats {
    /// Runs, those answered from what earlier runs taught included.
    pub runs: u64,
    /// Of them, verdicts that were known without running.
    pub learned: u64,
    /// Runs that let the event through, as it was or changed.
    pub passed: u64,
    /// Runs that dropped the event.
    pub dropped: u64,
    /// Runs without an answer.
    pub failed: u64,
    /// The same, by failure; those that did not occur are left out.
    pub faults: Vec<Faults>,
    /// Runs that ended at a limit: fuel, wall clock, memory, stack, output.
    pub exhausted: u64,
    /// Mean fuel of a run.
    pub fuel_mean: u64,
    /// Most fuel of a run.
    pub fuel_max: u64,
    /// Most memory of a run, in bytes.
    pub memory_max: u64,
    /// Half of the runs took at most this long, in microseconds. Verdicts known without running
    /// took no time and do not count; null if there was nothing else.
    pub p50_us: Option<u64>,
    /// 99 of 100 runs took at most this long, in microseconds; null as above.
    pub p99_us: Option<u64>,
    /// Failures since the last run that did not fail.
    pub failed_in_a_row: u32,
}

/// Runs that failed in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Faults {
    /// The failure's name.
    pub kind: FailureKind,
    /// How often.
    pub count: u64,
}

/// The counts behind it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) runs: u64,
    learned: u64,
    passed: u64,
    dropped: u64,
    faults: [u64; FailureKind::ALL.len()],
    fuel: u64,
    fuel_max: u64,
    memory_max: u64,
    duration: Option<Histogram<u32>>,
    in_a_row: u32,
    window: [(i64, u32, u32); SLICES],
    kept: (i64, u32),
}

/// What a run means for the version's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Failures since the last run that did not fail.
    pub(super) in_a_row: u32,
    /// Runs and failures of the last window.
    pub(super) recent: (u32, u32),
}

impl Counts {
    /// Counts a run that took place at `now`.
    pub(super) fn count(&mut self, report: &StepReport, now: Timestamp, window: i64) -> Standing {
        self.runs += 1;
        self.learned += u64::from(report.learned);
        self.fuel = self.fuel.saturating_add(report.fuel);
        self.fuel_max = self.fuel_max.max(report.fuel);
        self.memory_max = self.memory_max.max(report.memory_bytes);
        if !report.learned {
            // Two digits, and no more than a minute: about 10 KB a version. The bounds are
            // within what the histogram allows; were they not, there would be no quantiles.
            if self.duration.is_none() {
                self.duration = Histogram::new_with_max(60_000_000, 2).ok();
            }
            if let Some(histogram) = &mut self.duration {
                histogram.saturating_record(report.duration_us);
            }
        }
        match &report.verdict {
            StepVerdict::Pass | StepVerdict::Deliver | StepVerdict::Edit { .. } => self.passed += 1,
            StepVerdict::Drop { .. } => self.dropped += 1,
            StepVerdict::Fault { kind, .. } => return self.failed(*kind, now, window),
        }
        self.in_a_row = 0;
        self.recent(now, window, false)
    }

    /// Counts a failure of a run that is counted already, or is being counted.
    pub(super) fn failed(&mut self, kind: FailureKind, now: Timestamp, window: i64) -> Standing {
        if let Some(at) = FailureKind::ALL.iter().position(|&known| known == kind) {
            self.faults[at] += 1;
        }
        if kind.is_the_plugins() {
            self.in_a_row += 1;
        }
        self.recent(now, window, kind.is_the_plugins())
    }

    fn recent(&mut self, now: Timestamp, window: i64, failed: bool) -> Standing {
        let slice = now.as_second() / (window / SLICES as i64).max(1);
        let at = slice.rem_euclid(SLICES as i64) as usize;
        if self.window[at].0 != slice {
            self.window[at] = (slice, 0, 0);
        }
        self.window[at].1 += 1;
        self.window[at].2 += u32::from(failed);
        let fresh = self.window.iter().filter(|(when, ..)| slice - when < SLICES as i64);
        let recent = fresh.fold((0, 0), |sum, (_, runs, failed)| (sum.0 + runs, sum.1 + failed));
        Standing { in_a_row: self.in_a_row, recent }
    }

    /// Begins anew to judge whether the version is fit.
    pub(super) fn forgive(&mut self) {
        self.in_a_row = 0;
        self.window = Default::default();
    }

    /// Whether one more failure of this second is worth keeping.
    pub(super) fn keeps(&mut self, now: Timestamp) -> bool {
        let second = now.as_second();
        if self.kept.0 != second {
            self.kept = (second, 0);
        }
        self.kept.1 += 1;
        self.kept.1 <= KEPT_A_SECOND
    }

    /// Adds these counts to `stats`, which may have others'.
    pub(super) fn add_to(&self, all: &mut Self) {
        all.runs += self.runs;
        all.learned += self.learned;
        all.passed += self.passed;
        all.dropped += self.dropped;
        for (sum, count) in all.faults.iter_mut().zip(self.faults) {
            *sum += count;
        }
        all.fuel = all.fuel.saturating_add(self.fuel);
        all.fuel_max = all.fuel_max.max(self.fuel_max);
        all.memory_max = all.memory_max.max(self.memory_max);
        all.in_a_row = all.in_a_row.max(self.in_a_row);
        match (&mut all.duration, &self.duration) {
            (Some(sum), Some(mine)) => {
                // The same bounds, so they fit.
                if let Err(error) = sum.add(mine) {
                    tracing::debug!(%error, "durations cannot be added up");
                }
            }
            (none, mine) => *none = none.take().or_else(|| mine.clone()),
        }
    }

    pub(super) fn stats(&self) -> VersionStats {
        let at = |quantile| self.duration.as_ref().map(|h| h.value_at_quantile(quantile));
        let faults = FailureKind::ALL.into_iter().zip(self.faults);
        VersionStats {
            runs: self.runs,
            learned: self.learned,
            passed: self.passed,
            dropped: self.dropped,
            failed: self.faults.iter().sum(),
            exhausted: faults.clone().filter(|(kind, _)| is_a_limit(*kind)).map(|(_, n)| n).sum(),
            faults: faults
                .filter(|(_, count)| *count > 0)
                .map(|(kind, count)| Faults { kind, count })
                .collect(),
            fuel_mean: self.fuel.checked_div(self.runs).unwrap_or(0),
            fuel_max: self.fuel_max,
            memory_max: self.memory_max,
            p50_us: at(0.5),
            p99_us: at(0.99),
            failed_in_a_row: self.in_a_row,
        }
    }
}

const fn is_a_limit(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::OutOfFuel
            | FailureKind::Timeout
            | FailureKind::OutOfMemory
            | FailureKind::StackOverflow
            | FailureKind::OutputTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: i64 = 60;

    fn report(verdict: &str) -> StepReport {
        serde_json::from_str(&format!(
            r#"{{"plugin":"p","version":"1","verdict":{verdict},"fuel":100,"duration_us":50,
                "memory_bytes":7}}"#
        ))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn fault(kind: &str) -> StepReport {
        report(&format!(r#""fault","kind":"{kind}","message":"m""#))
    }

    #[test]
    fn runs_are_counted_by_what_they_came_to() {
        let mut counts = Counts::default();
        for report in [report(r#""pass""#), report(r#""drop","reason":"r""#), fault("trap")] {
            counts.count(&report, at(0), WINDOW);
        }
        counts.count(&fault("out-of-fuel"), at(0), WINDOW);
        let stats = counts.stats();
        assert_eq!((stats.runs, stats.passed, stats.dropped, stats.failed), (4, 1, 1, 2));
        assert_eq!((stats.exhausted, stats.failed_in_a_row), (1, 2));
        assert_eq!((stats.fuel_mean, stats.p50_us, stats.memory_max), (100, Some(50), 7));
        assert_eq!(stats.faults[0], Faults { kind: FailureKind::Trap, count: 1 });
    }

    #[test]
    fn what_was_known_without_running_took_no_time_at_all() {
        let learned = StepReport { learned: true, duration_us: 0, ..report(r#""pass""#) };
        let mut counts = Counts::default();
        counts.count(&learned, at(0), WINDOW);
        assert_eq!((counts.stats().p50_us, counts.stats().p99_us), (None, None));
        counts.count(&report(r#""pass""#), at(0), WINDOW);
        counts.count(&learned, at(0), WINDOW);
        assert_eq!((counts.stats().p50_us, counts.stats().p99_us), (Some(50), Some(50)));
    }

    #[test]
    fn only_what_speaks_against_the_plugin_counts_against_it() {
        let mut counts = Counts::default();
        counts.count(&fault("trap"), at(0), WINDOW);
        let standing = counts.count(&fault("invalid-event"), at(0), WINDOW);
        assert_eq!(standing, Standing { in_a_row: 1, recent: (2, 1) });
        assert_eq!(counts.count(&report(r#""pass""#), at(0), WINDOW).in_a_row, 0);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut counts = Counts::default();
        for second in [0, 15, 59] {
            counts.count(&fault("trap"), at(second), WINDOW);
        }
        let standing = counts.count(&fault("trap"), at(65), WINDOW);
        assert_eq!(standing.recent, (3, 3), "the first slice is over");
        let standing = counts.count(&report(r#""pass""#), at(1_000), WINDOW);
        assert_eq!(standing.recent, (1, 0));
    }

    #[test]
    fn failures_that_come_too_fast_are_not_all_kept() {
        let mut counts = Counts::default();
        let kept = (0..100).filter(|_| counts.keeps(at(0))).count();
        assert_eq!(kept, KEPT_A_SECOND as usize);
        assert!(counts.keeps(at(1)));
    }

    #[test]
    fn counts_of_several_applications_add_up() {
        let (mut one, mut two, mut all) = <(Counts, Counts, Counts)>::default();
        one.count(&fault("trap"), at(0), WINDOW);
        two.count(&report(r#""pass""#), at(0), WINDOW);
        one.add_to(&mut all);
        two.add_to(&mut all);
        let stats = all.stats();
        assert_eq!((stats.runs, stats.failed, stats.passed, stats.p99_us), (2, 1, 1, Some(50)));
    }
}
