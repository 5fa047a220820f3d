//! A circuit breaker: an endpoint of which too many attempts fail is left alone for a while,
//! then tried with one attempt at a time. Pure: it is told the time.
//!
//! One for each subscription, not for each URL: a subscription's own headers, credentials and
//! payloads are often why its attempts fail, and those of another must not wait for that.

use std::time::Duration;

use crate::model::{AttemptOutcome, Timestamp};

/// Parts of the window in which attempts are counted.
const SLOTS: usize = 6;
/// Seconds of one part.
const SLOT_SECONDS: i64 = 10;
/// Probes in a row that must succeed before the breaker closes.
const PROBES: u32 = 3;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// It opens when this percentage of the last minute's attempts failed; 0 for never.
    pub percent: u32,
    /// But not before so many attempts.
    pub minimum: u32,
    /// How long it stays open at first; each failed probe doubles it.
    pub open: Duration,
    /// How long it stays open at most.
    pub longest: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            percent: 50,
            minimum: 10,
            open: Duration::from_secs(30),
            longest: Duration::from_secs(600),
        }
    }
}

/// What an attempt says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers. Also when it refuses: a 4xx is about one event or the subscription's
    /// settings, and is cheap for both sides.
    Well,
    /// It is not there, broken or overloaded.
    Ill,
}

impl Verdict {
    /// None for a plugin's failure: nothing was sent.
    pub(super) const fn of(outcome: AttemptOutcome, status: Option<u16>) -> Option<Self> {
        match outcome {
            AttemptOutcome::Plugin => None,
            AttemptOutcome::HttpStatus => match status {
                Some(408 | 429 | 500..=599) => Some(Self::Ill),
                _ => Some(Self::Well),
            },
            AttemptOutcome::Succeeded | AttemptOutcome::Redirect | AttemptOutcome::Gone => {
                Some(Self::Well)
            }
            _ => Some(Self::Ill),
        }
    }
}

/// What a breaker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Attempts are made as ever.
    Closed,
    /// No attempt is made before then.
    Open { since: Timestamp, until: Timestamp },
    /// One attempt at a time is made.
    HalfOpen { since: Timestamp, probing: bool, succeeded: u32 },
}

/// Whether an attempt may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    Free,
    /// As the one probe.
    Probe,
    /// Not before then; or, with none, not before the probe has ended.
    Wait(Option<Timestamp>),
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Opened,
    Closed,
}

/// Attempts in a part of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: i64,
    all: u32,
    ill: u32,
}

/// A subscription's breaker.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    phase: Phase,
    window: [Slot; SLOTS],
    /// Openings since it was closed last.
    openings: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { phase: Phase::Closed, window: [Slot::default(); SLOTS], openings: 0 }
    }
}

impl Breaker {
    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether an attempt may begin now.
    pub(super) fn permit(&self, now: Timestamp) -> Permit {
        match self.phase {
            Phase::Closed => Permit::Free,
            Phase::Open { until, .. } if now < until => Permit::Wait(Some(until)),
            Phase::HalfOpen { probing: true, .. } => Permit::Wait(None),
            Phase::Open { .. } | Phase::HalfOpen { .. } => Permit::Probe,
        }
    }

    /// The permitted probe begins.
    pub(super) const fn probe(&mut self) {
        match self.phase {
            Phase::Closed => {}
            Phase::Open { since, .. } => {
                self.phase = Phase::HalfOpen { since, probing: true, succeeded: 0 };
            }
            Phase::HalfOpen { since, succeeded, .. } => {
                self.phase = Phase::HalfOpen { since, probing: true, succeeded };
            }
        }
    }

    /// An attempt ended, as a probe or not; no verdict if it says nothing of its endpoint.
    pub(super) fn ended(
        &mut self,
        verdict: Option<Verdict>,
        probe: bool,
        rules: &BreakerRules,
        now: Timestamp,
    ) -> Option<Turn> {
        match self.phase {
            Phase::Closed => {
                self.count(verdict?, now);
                self.is_ill(rules, now).then(|| {
                    self.open(now, rules, now);
                    Turn::Opened
                })
            }
            // What began before it opened says nothing new.
            Phase::Open { .. } => None,
            Phase::HalfOpen { since, succeeded, .. } if probe => match verdict {
                None => {
                    self.phase = Phase::HalfOpen { since, probing: false, succeeded };
                    None
                }
                Some(Verdict::Ill) => {
                    self.open(since, rules, now);
                    None
                }
                Some(Verdict::Well) if succeeded + 1 < PROBES => {
                    self.phase =
                        Phase::HalfOpen { since, probing: false, succeeded: succeeded + 1 };
                    None
                }
                Some(Verdict::Well) => {
                    *self = Self::default();
                    Some(Turn::Closed)
                }
            },
            Phase::HalfOpen { .. } => None,
        }
    }

    /// Whether it remembers nothing that counts.
    pub(super) fn is_blank(&self, now: Timestamp) -> bool {
        self.phase == Phase::Closed && self.recent(now).all(|slot| slot.ill == 0)
    }

    fn open(&mut self, since: Timestamp, rules: &BreakerRules, now: Timestamp) {
        let growth = 2u32.saturating_pow(self.openings.min(31));
        let rest = rules.open.saturating_mul(growth).min(rules.longest.max(rules.open));
        // Out of range only in a year past 9999.
        let until = now.checked_add(rest).unwrap_or(Timestamp::MAX);
        self.openings = self.openings.saturating_add(1);
        self.phase = Phase::Open { since, until };
    }

    fn count(&mut self, verdict: Verdict, now: Timestamp) {
        let number = now.as_second().div_euclid(SLOT_SECONDS);
        let slot = &mut self.window[number.rem_euclid(SLOTS as i64) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.all = slot.all.saturating_add(1);
        slot.ill = slot.ill.saturating_add(u32::from(verdict == Verdict::Ill));
    }

    fn recent(&self, now: Timestamp) -> impl Iterator<Item = &Slot> {
        let number = now.as_second().div_euclid(SLOT_SECONDS);
        let recent = number - SLOTS as i64 + 1..=number;
        self.window.iter().filter(move |slot| recent.contains(&slot.number))
    }

    fn is_ill(&self, rules: &BreakerRules, now: Timestamp) -> bool {
        let (mut all, mut ill) = (0u64, 0u64);
        for slot in self.recent(now) {
            all += u64::from(slot.all);
            ill += u64::from(slot.ill);
        }
        rules.percent > 0
            && ill > 0
            && all >= u64::from(rules.minimum)
            && ill * 100 >= all * u64::from(rules.percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: BreakerRules = BreakerRules {
        percent: 50,
        minimum: 10,
        open: Duration::from_secs(30),
        longest: Duration::from_secs(100),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn end(breaker: &mut Breaker, verdict: Verdict, second: i64) -> Option<Turn> {
        breaker.ended(Some(verdict), false, &RULES, at(second))
    }

    fn probe(breaker: &mut Breaker, verdict: Verdict, second: i64) -> Option<Turn> {
        assert_eq!(breaker.permit(at(second)), Permit::Probe);
        breaker.probe();
        assert_eq!(breaker.permit(at(second)), Permit::Wait(None));
        breaker.ended(Some(verdict), true, &RULES, at(second))
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        (0..9).for_each(|_| assert_eq!(end(&mut breaker, Verdict::Ill, 0), None));
        assert_eq!(end(&mut breaker, Verdict::Ill, 0), Some(Turn::Opened));
        breaker
    }

    #[test]
    fn it_opens_on_a_rate_of_enough_attempts_within_a_minute() {
        opened();
        let mut mixed = Breaker::default();
        for _ in 0..9 {
            end(&mut mixed, Verdict::Well, 0);
            end(&mut mixed, Verdict::Ill, 1);
        }
        assert_ne!(mixed.phase(), Phase::Closed);
        let mut mostly_well = Breaker::default();
        for _ in 0..50 {
            end(&mut mostly_well, Verdict::Well, 0);
            end(&mut mostly_well, Verdict::Well, 0);
            assert_eq!(end(&mut mostly_well, Verdict::Ill, 0), None);
        }
        let mut rare = Breaker::default();
        (0..100).for_each(|minute| assert_eq!(end(&mut rare, Verdict::Ill, minute * 60), None));
        let off = BreakerRules { percent: 0, ..RULES };
        let mut never = Breaker::default();
        for _ in 0..100 {
            assert_eq!(never.ended(Some(Verdict::Ill), false, &off, at(0)), None);
        }
    }

    #[test]
    fn it_probes_one_at_a_time_and_rests_longer_after_each_that_fails() {
        let mut breaker = opened();
        assert_eq!(breaker.permit(at(29)), Permit::Wait(Some(at(30))));
        assert_eq!(probe(&mut breaker, Verdict::Ill, 30), None);
        assert_eq!(breaker.permit(at(30)), Permit::Wait(Some(at(90))));
        assert_eq!(probe(&mut breaker, Verdict::Ill, 90), None);
        assert_eq!(breaker.permit(at(90)), Permit::Wait(Some(at(190))), "no longer than the cap");
    }

    #[test]
    fn it_closes_after_three_successes_and_forgets() {
        let mut breaker = opened();
        assert_eq!(probe(&mut breaker, Verdict::Well, 30), None);
        assert_eq!(probe(&mut breaker, Verdict::Well, 30), None);
        assert_eq!(probe(&mut breaker, Verdict::Well, 30), Some(Turn::Closed));
        assert!(breaker.is_blank(at(30)));
        assert_eq!(breaker.permit(at(30)), Permit::Free);
    }

    #[test]
    fn a_probe_that_came_to_nothing_is_made_again() {
        let mut breaker = opened();
        assert_eq!(breaker.permit(at(30)), Permit::Probe);
        breaker.probe();
        assert_eq!(breaker.ended(None, true, &RULES, at(31)), None);
        assert_eq!(breaker.permit(at(31)), Permit::Probe);
    }

    #[test]
    fn what_ends_late_neither_closes_nor_prolongs_it() {
        let mut breaker = opened();
        let before = breaker.phase();
        assert_eq!(end(&mut breaker, Verdict::Well, 1), None);
        assert_eq!(end(&mut breaker, Verdict::Ill, 1), None);
        assert_eq!(breaker.phase(), before);
    }

    #[test]
    fn only_the_endpoints_own_failures_count() {
        use AttemptOutcome::{
            Gone, HttpStatus, Plugin, Redirect, Refused, Succeeded, Timeout, Tls,
        };
        for status in [400, 401, 403, 404, 409, 413, 422] {
            assert_eq!(Verdict::of(HttpStatus, Some(status)), Some(Verdict::Well), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(Verdict::of(HttpStatus, Some(status)), Some(Verdict::Ill), "{status}");
        }
        for outcome in [Refused, Timeout, Tls] {
            assert_eq!(Verdict::of(outcome, None), Some(Verdict::Ill), "{outcome:?}");
        }
        for outcome in [Succeeded, Redirect, Gone] {
            assert_eq!(Verdict::of(outcome, None), Some(Verdict::Well), "{outcome:?}");
        }
        assert_eq!(Verdict::of(Plugin, None), None);
    }

    proptest! {
        /// Whatever ends whenever: never two probes at once, and it always lets one through
        /// again within its longest rest.
        #[test]
        fn it_always_comes_back(
            ends in prop::collection::vec((prop::option::of(any::<bool>()), 0i64..20), 1..300)
        ) {
            let (mut breaker, mut now, mut probing) = (Breaker::default(), 0, false);
            for (well, step) in ends {
                now += step;
                let verdict = well.map(|well| if well { Verdict::Well } else { Verdict::Ill });
                match breaker.permit(at(now)) {
                    Permit::Probe => {
                        prop_assert!(!probing);
                        breaker.probe();
                        probing = true;
                    }
                    Permit::Wait(Some(until)) => prop_assert!(until <= at(now + 100)),
                    Permit::Wait(None) => prop_assert!(probing),
                    Permit::Free => prop_assert!(!probing),
                }
                breaker.ended(verdict, probing, &RULES, at(now));
                probing = false;
            }
            prop_assert_ne!(breaker.permit(at(now + 100)), Permit::Wait(None));
        }
    }
}
