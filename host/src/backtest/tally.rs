//! Adds comparisons up: counts, fuel, and the differences worth keeping.
//!
//! Owns the bounds of what a job remembers.

use std::collections::{BTreeMap, HashMap};

use super::report::{Counts, Difference, DifferenceKind, Fuel, SubscriptionCounts};
use crate::model::SubscriptionId;

/// Differences kept whatever they are.
const MAX_DIFFERENCES: usize = 100;
/// Differences kept of each kind though there are as many of other kinds: one failure among
/// ten thousand changes is what one wants to see.
const OF_EACH_KIND: usize = 10;
/// Subscriptions whose counts are kept.
const MAX_SUBSCRIPTIONS: usize = 100;
/// Ratios of fuel are counted in hundredths up to this; what is larger counts as this.
const MAX_HUNDREDTHS: u64 = 10_000;

/// What the comparisons came to so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) subscriptions: Vec<SubscriptionCounts>,
    pub(super) differences: Vec<Difference>,
    kept: HashMap<DifferenceKind, usize>,
    fuel: Fuel,
    /// How often each ratio was met, in hundredths.
    ratios: BTreeMap<u64, u64>,
}

impl Counts {
    fn add(&mut self, kind: Option<DifferenceKind>, slower: bool, times: u64) {
        self.compared += times;
        *match kind {
            None | Some(DifferenceKind::Slower) => &mut self.same,
            Some(DifferenceKind::Changed) => &mut self.changed,
            Some(DifferenceKind::NewlyDropped) => &mut self.newly_dropped,
            Some(DifferenceKind::NewlyPassed) => &mut self.newly_passed,
            Some(DifferenceKind::Failed) => &mut self.failed,
            Some(DifferenceKind::Fixed) => &mut self.fixed,
            Some(DifferenceKind::Undecided) => &mut self.undecided,
        } += times;
        if slower {
            self.slower += times;
        }
    }
}

impl Tally {
    pub(super) fn new(subscriptions: &[SubscriptionId]) -> Self {
        let first = subscriptions.iter().take(MAX_SUBSCRIPTIONS);
        let subscriptions = first
            .map(|&subscription_id| SubscriptionCounts {
                subscription_id,
                counts: Counts::default(),
            })
            .collect();
        Self { subscriptions, ..Self::default() }
    }

    /// Adds one comparison, which holds for these subscriptions.
    pub(super) fn add(
        &mut self,
        kind: Option<DifferenceKind>,
        slower: bool,
        fuels: Option<(u64, u64)>,
        subscriptions: &[usize],
    ) {
        self.counts.add(kind, slower, subscriptions.len() as u64);
        for &index in subscriptions {
            if let Some(part) = self.subscriptions.get_mut(index) {
                part.counts.add(kind, slower, 1);
            }
        }
        let Some((baseline, candidate)) = fuels else { return };
        self.fuel.baseline += baseline;
        self.fuel.candidate += candidate;
        if baseline > 0 {
            let ratio = candidate as f64 / baseline as f64;
            self.fuel.max_ratio = Some(self.fuel.max_ratio.map_or(ratio, |max| max.max(ratio)));
            // A ratio is positive and what is too large for an integer saturates.
            let hundredths = ((ratio * 100.0).round() as u64).min(MAX_HUNDREDTHS);
            *self.ratios.entry(hundredths).or_default() += 1;
        }
    }

    /// Whether one more difference of this kind would be kept.
    pub(super) fn wants(&self, kind: DifferenceKind) -> bool {
        self.differences.len() < MAX_DIFFERENCES
            || self.kept.get(&kind).is_none_or(|&kept| kept < OF_EACH_KIND)
    }

    pub(super) fn keep(&mut self, difference: Difference) {
        *self.kept.entry(difference.kind).or_default() += 1;
        self.differences.push(difference);
    }

    pub(super) fn fuel(&self) -> Fuel {
        let total: u64 = self.ratios.values().sum();
        let mut below = 0;
        let middle = self.ratios.iter().find(|(_, count)| {
            below += **count;
            below * 2 >= total
        });
        let median_ratio = middle.map(|(&hundredths, _)| hundredths as f64 / 100.0);
        Fuel { median_ratio, ..self.fuel }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backtest::report::{Ended, Side},
        model::{EventId, Timestamp},
    };

    fn difference(kind: DifferenceKind) -> Difference {
        let now = Timestamp::UNIX_EPOCH;
        let side = Side { outcome: Ended::Send, reason: None, fault: None, size: None, fuel: 0 };
        Difference {
            event_id: EventId::new(now),
            event_type: "a.b".into(),
            subscription_id: SubscriptionId::new(now),
            subscriptions: 1,
            kind,
            slower: false,
            baseline: side.clone(),
            candidate: side,
            content_type: None,
            headers: vec![],
            body_differs: false,
            body: vec![],
            more: false,
        }
    }

    #[test]
    fn kept_differences_are_bounded_and_a_rare_kind_has_its_place() {
        let mut tally = Tally::default();
        let mut offer = |kind, times| {
            for _ in 0..times {
                if tally.wants(kind) {
                    tally.keep(difference(kind));
                }
            }
            tally.differences.iter().filter(|d| d.kind == kind).count()
        };
        assert_eq!(offer(DifferenceKind::Changed, 10_000), MAX_DIFFERENCES);
        assert_eq!(offer(DifferenceKind::Failed, 10_000), OF_EACH_KIND);
    }

    #[test]
    fn every_comparison_is_counted_once_and_for_each_subscription() {
        let now = Timestamp::UNIX_EPOCH;
        let ids: Vec<_> = (0..150).map(|_| SubscriptionId::new(now)).collect();
        let mut tally = Tally::new(&ids);
        assert_eq!(tally.subscriptions.len(), MAX_SUBSCRIPTIONS);
        tally.add(None, true, None, &[0, 149]);
        tally.add(Some(DifferenceKind::NewlyDropped), false, None, &[0]);
        let (all, first) = (tally.counts, tally.subscriptions[0].counts);
        assert_eq!((all.compared, all.same, all.newly_dropped, all.slower), (3, 2, 1, 2));
        assert_eq!((first.compared, first.same, first.newly_dropped, first.slower), (2, 1, 1, 1));
    }

    #[test]
    fn the_median_of_fuel_is_the_middle_ratio() {
        let mut tally = Tally::default();
        assert_eq!(tally.fuel(), Fuel::default());
        for (baseline, candidate) in [(100, 100), (100, 110), (100, 100_000_000), (0, 5)] {
            tally.add(None, false, Some((baseline, candidate)), &[]);
        }
        let fuel = tally.fuel();
        assert_eq!((fuel.median_ratio, fuel.max_ratio), (Some(1.1), Some(1_000_000.0)));
        assert_eq!((fuel.baseline, fuel.candidate), (300, 100_000_215));
    }
}
