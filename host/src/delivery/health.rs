//! Which subscriptions' endpoints fail, since when, and what follows from it: a breaker that
//! opens, a subscription to disable. Pure: it is told what happened and when.
//!
//! Only those that fail have an entry here, so those that do not cost nothing.

use std::{collections::HashMap, time::Duration};

use super::{
    breaker::{Breaker, BreakerRules, Permit, Phase, Turn, Verdict},
    rules::Rules,
};
use crate::model::{AttemptOutcome, FailingSince, SubscriptionId, Timestamp};

/// Fewer failed attempts than this disable no subscription, however long they take.
const LEAST_ATTEMPTS: u32 = 10;
/// A time of failures is written down once it has lasted this long, or an eighth of what
/// leads to disabling if that is less: short ones cost no write.
const WORTH_KEEPING: Duration = Duration::from_secs(600);

/// How an attempt ended, as far as it says something of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub outcome: AttemptOutcome,
    pub status: Option<u16>,
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The breaker opened or closed; what its attempts came to.
    pub breaker: Option<(Turn, String)>,
    /// What is to be written down of its failing: none if it fails no more.
    pub keep: Option<Option<FailingSince>>,
    /// It failed for so long that it is to be disabled.
    pub disable: bool,
}

/// What is known of a subscription whose attempts fail.
#[derive(Debug, Clone)]
pub(super) struct Patient {
    pub breaker: Breaker,
    /// Since when there was nothing but failures, and how many; none after a success.
    pub failing: Option<FailingSince>,
    /// The last failure, and how often it came in a row.
    pub last: Option<(Answer, u32)>,
    endpoint: u64,
    kept: bool,
}

/// Every subscription whose attempts fail.
#[derive(Debug, Default)]
pub(super) struct Ward {
    patients: HashMap<SubscriptionId, Patient>,
    rules: BreakerRules,
}

impl Ward {
    /// With what was written down before.
    pub(super) fn new(rules: BreakerRules) -> Self {
        Self { patients: HashMap::new(), rules }
    }

    /// Other rules hold from now on; what is open stays so until its time.
    pub(super) const fn set(&mut self, rules: BreakerRules) {
        self.rules = rules;
    }

    /// Remembers what was written down before.
    pub(super) fn recall(&mut self, id: SubscriptionId, failing: FailingSince, rules: &Rules) {
        let patient = Patient {
            breaker: Breaker::default(),
            failing: Some(failing),
            last: None,
            endpoint: rules.endpoint,
            kept: true,
        };
        self.patients.insert(id, patient);
    }

    pub(super) fn get(&self, id: SubscriptionId) -> Option<&Patient> {
        self.patients.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (SubscriptionId, &Patient)> {
        self.patients.iter().map(|(&id, patient)| (id, patient))
    }

    /// Starts afresh: its endpoint changed, or somebody enabled it.
    pub(super) fn discharge(&mut self, id: SubscriptionId) -> Changes {
        let patient = self.patients.remove(&id);
        let kept = patient.is_some_and(|patient| patient.kept);
        Changes { keep: kept.then_some(None), ..Changes::default() }
    }

    pub(super) fn permit(&self, id: SubscriptionId, now: Timestamp) -> Permit {
        self.patients.get(&id).map_or(Permit::Free, |patient| patient.breaker.permit(now))
    }

    /// Whether its attempts are made one at a time at most.
    pub(super) fn is_wary(&self, id: SubscriptionId) -> bool {
        self.patients.get(&id).is_some_and(|patient| patient.breaker.phase() != Phase::Closed)
    }

    /// The earliest moment at which an attempt due at `due` may begin; none if that is not
    /// known before the probe's end.
    pub(super) fn earliest(&self, id: SubscriptionId, due: Timestamp) -> Option<Timestamp> {
        match self.patients.get(&id).map(|patient| patient.breaker.phase()) {
            None | Some(Phase::Closed | Phase::HalfOpen { probing: false, .. }) => Some(due),
            Some(Phase::Open { until, .. }) => Some(due.max(until)),
            Some(Phase::HalfOpen { .. }) => None,
        }
    }

    pub(super) fn probe(&mut self, id: SubscriptionId) {
        if let Some(patient) = self.patients.get_mut(&id) {
            patient.breaker.probe();
        }
    }

    /// An attempt ended; with no answer nothing was sent.
    pub(super) fn ended(
        &mut self,
        id: SubscriptionId,
        answer: Option<Answer>,
        probe: bool,
        rules: &Rules,
        now: Timestamp,
    ) -> Changes {
        let answer = answer.filter(|answer| answer.outcome != AttemptOutcome::Plugin);
        let failed = answer.filter(|answer| answer.outcome != AttemptOutcome::Succeeded);
        let moved = self.get(id).is_some_and(|patient| patient.endpoint != rules.endpoint);
        let mut changes = if moved { self.discharge(id) } else { Changes::default() };
        if failed.is_some() {
            self.patients.entry(id).or_insert_with(|| Patient {
                breaker: Breaker::default(),
                failing: None,
                last: None,
                endpoint: rules.endpoint,
                kept: false,
            });
        }
        let Some(patient) = self.patients.get_mut(&id) else { return changes };
        let verdict = answer.and_then(|answer| Verdict::of(answer.outcome, answer.status));
        let turn = patient.breaker.ended(verdict, probe, &self.rules, now);
        match (answer, failed) {
            (_, Some(failure)) => patient.fails(failure, rules, now, &mut changes),
            (Some(_), None) => {
                changes.keep = patient.kept.then_some(None).or(changes.keep);
                (patient.failing, patient.last, patient.kept) = (None, None, false);
            }
            (None, None) => {}
        }
        changes.breaker = turn.map(|turn| (turn, patient.complaint()));
        if patient.failing.is_none() && patient.breaker.is_blank(now) {
            self.patients.remove(&id);
        }
        changes
    }
}

impl Patient {
    fn fails(&mut self, failure: Answer, rules: &Rules, now: Timestamp, changes: &mut Changes) {
        let in_a_row = match self.last {
            Some((last, times)) if last == failure => times.saturating_add(1),
            _ => 1,
        };
        self.last = Some((failure, in_a_row));
        let mut failing = self.failing.unwrap_or(FailingSince { since: now, attempts: 0 });
        failing.attempts = failing.attempts.saturating_add(1);
        self.failing = Some(failing);
        let Some(after) = rules.disable_after else { return };
        let lasted = now.duration_since(failing.since).try_into().unwrap_or(Duration::ZERO);
        if !self.kept && lasted >= WORTH_KEEPING.min(after / 8) {
            self.kept = true;
            changes.keep = Some(Some(failing));
        }
        changes.disable = lasted >= after && failing.attempts >= LEAST_ATTEMPTS;
    }

    /// What its attempts came to lately: `503 ×37`.
    pub(super) fn complaint(&self) -> String {
        let Some((failure, times)) = self.last else { return String::new() };
        match failure.status {
            Some(status) => format!("{status} ×{times}"),
            None => format!("{} ×{times}", failure.outcome.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn id() -> SubscriptionId {
        SubscriptionId::from_bytes([1; 16])
    }

    fn rules() -> Rules {
        Rules { disable_after: Some(Duration::from_secs(5 * 86_400)), ..Rules::only(32) }
    }

    const BAD: Answer = Answer { outcome: AttemptOutcome::HttpStatus, status: Some(503) };
    const GOOD: Answer = Answer { outcome: AttemptOutcome::Succeeded, status: Some(200) };

    fn end(ward: &mut Ward, answer: Answer, second: i64) -> Changes {
        ward.ended(id(), Some(answer), false, &rules(), at(second))
    }

    #[test]
    fn days_of_nothing_but_failures_disable() {
        let mut ward = Ward::new(BreakerRules { percent: 0, ..BreakerRules::default() });
        for hour in 0..120 {
            assert!(!end(&mut ward, BAD, hour * 3600).disable);
        }
        assert!(end(&mut ward, BAD, 5 * DAY).disable);
        assert_eq!(ward.get(id()).unwrap().complaint(), "503 ×121");
    }

    #[test]
    fn one_success_or_too_few_attempts_do_not() {
        let mut ward = Ward::default();
        for day in 0..8 {
            assert!(!end(&mut ward, BAD, day * DAY).disable);
        }
        end(&mut ward, GOOD, 8 * DAY);
        assert!(ward.get(id()).is_none());
        let never = Rules { disable_after: None, ..rules() };
        for day in 0..100 {
            assert_eq!(
                ward.ended(id(), Some(BAD), false, &never, at(day * DAY)),
                Changes::default()
            );
        }
    }

    #[test]
    fn failing_is_written_down_when_it_lasts_and_when_it_ends_and_not_else() {
        let mut ward = Ward::default();
        let kept: Vec<_> =
            (0..40).map(|minute| end(&mut ward, BAD, minute * 60).keep.is_some()).collect();
        assert_eq!(kept.iter().position(|&kept| kept), Some(10));
        assert_eq!(kept.iter().filter(|&&kept| kept).count(), 1);
        assert_eq!(end(&mut ward, GOOD, 2400).keep, Some(None));
        end(&mut ward, BAD, 2500);
        assert_eq!(end(&mut ward, GOOD, 2501).keep, None);
    }

    #[test]
    fn what_was_written_down_counts_after_a_restart() {
        let mut ward = Ward::default();
        ward.recall(id(), FailingSince { since: at(0), attempts: 9 }, &rules());
        assert!(end(&mut ward, BAD, 5 * DAY).disable);
    }

    #[test]
    fn another_endpoint_and_enabling_start_afresh() {
        let mut ward = Ward::default();
        ward.recall(id(), FailingSince { since: at(0), attempts: 90 }, &rules());
        let moved = Rules { endpoint: 7, ..rules() };
        let changes = ward.ended(id(), Some(BAD), false, &moved, at(9 * DAY));
        assert_eq!((changes.disable, changes.keep), (false, Some(None)));
        ward.recall(id(), FailingSince { since: at(0), attempts: 90 }, &rules());
        assert_eq!(ward.discharge(id()).keep, Some(None));
        assert!(ward.get(id()).is_none());
    }

    #[test]
    fn a_plugins_failure_says_nothing_of_the_endpoint() {
        let mut ward = Ward::default();
        let plugin = Answer { outcome: AttemptOutcome::Plugin, status: None };
        end(&mut ward, plugin, 0);
        assert!(ward.get(id()).is_none());
    }

    #[test]
    fn the_breaker_opens_with_its_reason_and_bars_the_way() {
        let mut ward = Ward::default();
        let opened = (0..10).find_map(|_| end(&mut ward, BAD, 0).breaker);
        assert_eq!(opened, Some((Turn::Opened, "503 ×10".into())));
        assert!(ward.is_wary(id()));
        assert_eq!(ward.earliest(id(), at(0)), Some(at(30)));
        assert_eq!(ward.permit(id(), at(30)), Permit::Probe);
        ward.probe(id());
        assert_eq!(ward.earliest(id(), at(0)), None);
    }
}
