//! How many requests may publish at once while more come than can be taken. Pure: it is told
//! the time, and how long requests took.
//!
//! A queue is good for a burst and bad for anything that lasts: once more comes than can be
//! stored, a longer queue stores nothing more and makes everybody wait. So while refusals go
//! on, or a queue stands (not even the luckiest is quick), the number at work follows from how
//! long a request takes, by Little's law: twice as long as wanted means twice as many as there
//! should be.

use std::time::Duration;

/// How long a request should take at the most, on average, if it takes less when it is alone.
const TARGET: Duration = Duration::from_millis(3);
/// And at the most whatever it takes alone: a disk that stood still for a while is no measure.
const LONGEST: Duration = Duration::from_millis(100);
/// What it may take otherwise, as a multiple of what it takes alone. A request waits for the
/// transaction under way and for its own, each of which has a fixed cost and one for each of
/// its events: twice would leave no room for the events of others, however slow the disk.
const TIMES_ALONE: f64 = 3.0;
/// A queue stands if nobody took less, as a multiple of what a request should take: most would
/// rather wait for less than that than be sent away.
const STANDING: f64 = 50.0;
/// For so long.
const STANDS: Duration = Duration::from_millis(250);
/// Refusals that go on for so long are no burst.
pub(super) const LASTING: Duration = Duration::from_millis(30);
/// A refusal after a longer time than this belongs to another burst.
pub(super) const GAP: Duration = Duration::from_millis(100);
/// After so long without a refusal, the next is the first of a burst.
pub(super) const CALM: Duration = Duration::from_secs(1);
/// How often the number is thought over, at the most.
const TICK: Duration = Duration::from_millis(10);
/// And of how many requests it takes the mean, at the least.
const ENOUGH: u32 = 8;
/// Fewer are never let in at once: transactions of few events are dear, and of so few there is
/// no mean.
const LEAST: usize = 2;

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// When its body was there, counted from some moment that all have in common.
    pub(super) begun: Duration,
    /// When it was answered.
    pub(super) ended: Duration,
    /// Whether no other was at work when it came.
    pub(super) alone: bool,
}

/// What is going on meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// How many may be at work.
    pub(super) limit: usize,
    /// How many are.
    pub(super) at_work: usize,
    /// How long refusals have been going on; none if there are none.
    pub(super) refusing: Option<Duration>,
}

/// What is known of how long requests take.
#[derive(Debug)]
pub(super) struct Pressure {
    most: usize,
    /// Seconds a request takes alone.
    alone: f64,
    /// Since when requests are counted: those begun before saw another limit.
    since: Duration,
    /// Seconds all of them took.
    sum: f64,
    count: u32,
    /// Since when the quickest is looked for, and the seconds it took.
    looking: Duration,
    quickest: f64,
}

impl Pressure {
    /// Of a server that lets at most `most` in.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            alone: 0.0,
            since: Duration::ZERO,
            sum: 0.0,
            count: 0,
            looking: Duration::ZERO,
            quickest: f64::MAX,
        }
    }

    /// At most `most` are let in from now on.
    pub(super) const fn set(&mut self, most: usize) {
        self.most = most;
    }

    /// Takes note of a request; answers how many may be at work from now on.
    pub(super) fn served(&mut self, served: Served, now: Now) -> usize {
        let took = served.ended.saturating_sub(served.begun).as_secs_f64();
        self.learn(took, served.alone);
        let stands = self.stands(took, served.ended);
        if !stands && served.begun < self.since {
            return now.limit;
        }
        self.sum += took;
        self.count += 1;
        if !stands && (self.count < ENOUGH || served.ended < self.since + TICK) {
            return now.limit;
        }
        let mean = self.sum / f64::from(self.count);
        (self.since, self.sum, self.count) = (served.ended, 0.0, 0);
        self.next(mean, stands, now)
    }

    /// Whether not even the quickest of the last while was quick.
    fn stands(&mut self, took: f64, ended: Duration) -> bool {
        self.quickest = self.quickest.min(took);
        if ended < self.looking + STANDS {
            return false;
        }
        let quickest = std::mem::replace(&mut self.quickest, f64::MAX);
        let looked = ended.saturating_sub(std::mem::replace(&mut self.looking, ended));
        // One after a long silence says nothing.
        looked < 2 * STANDS && quickest > self.target() * STANDING
    }

    /// None is quicker than one that is alone: those that are show that a first guess, made when
    /// nothing was warm, was too high. It grows only by those that were alone, and slowly: a
    /// disk that has become slow shows, and one slow sync does not.
    fn learn(&mut self, took: f64, alone: bool) {
        let share = match self.alone {
            unknown if unknown <= 0.0 && alone => 1.0,
            known if took < known => 0.05,
            _ if alone => 0.02,
            _ => 0.0,
        };
        self.alone += (took - self.alone) * share;
    }

    fn next(&self, mean: f64, stands: bool, now: Now) -> usize {
        let target = self.target();
        let shedding = now.limit < self.most;
        match now.refusing {
            // Nobody is turned away: there is no saying what a higher limit would do.
            None if !stands => now.limit,
            None => self.wanted(target, mean, now),
            Some(since) if !shedding && (since < LASTING || mean <= target) => now.limit,
            // Down at once.
            Some(_) if !shedding => self.wanted(target, mean, now),
            Some(_) => {
                // With care from then on, as the mean of a few is a rough guess.
                let change = (target / mean.max(1e-6)).clamp(0.5, 1.25);
                self.bounded(now.limit as f64 * change)
            }
        }
    }

    /// How many of those at work there should be. The limit says nothing of how many there are
    /// while it is not what turns others away.
    fn wanted(&self, target: f64, mean: f64, now: Now) -> usize {
        self.bounded(now.at_work.min(now.limit) as f64 * target / mean.max(1e-6))
    }

    fn bounded(&self, wanted: f64) -> usize {
        (wanted.round() as usize).clamp(LEAST.min(self.most), self.most)
    }

    /// How many seconds a request should take.
    fn target(&self) -> f64 {
        (self.alone * TIMES_ALONE).clamp(TARGET.as_secs_f64(), LONGEST.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store whose transactions cost `fixed` and `each` for every event, under clients who
    /// take every place there is; answers the limit and the time a request takes at last.
    fn settle(pressure: &mut Pressure, start: usize, fixed: f64, each: f64) -> (usize, f64) {
        let (mut limit, mut clock, mut took) = (start, Duration::from_secs(1), 0.0);
        for _ in 0..2_000 {
            // Half of those at work are in the transaction under way, half wait for the next.
            let transaction = fixed + each * limit as f64 / 2.0;
            took = 2.0 * transaction;
            clock += Duration::from_secs_f64(transaction);
            for _ in 0..limit.div_ceil(2) {
                let served = Served {
                    begun: clock.saturating_sub(Duration::from_secs_f64(took)),
                    ended: clock,
                    alone: false,
                };
                let now = Now { limit, at_work: limit, refusing: Some(clock) };
                limit = pressure.served(served, now);
            }
        }
        (limit, took)
    }

    #[test]
    fn under_lasting_overload_requests_take_about_as_long_as_wanted() {
        let (limit, took) = settle(&mut Pressure::new(256), 256, 0.001, 0.000_1);
        assert!((0.0025..0.004).contains(&took), "{took} s with {limit}");
        assert!((5..20).contains(&limit), "{limit}");
    }

    #[test]
    fn a_slow_disk_is_no_overload() {
        let mut pressure = Pressure::new(256);
        let alone = Served {
            begun: Duration::from_millis(100),
            ended: Duration::from_millis(120),
            alone: true,
        };
        pressure.served(alone, Now { limit: 256, at_work: 1, refusing: None });
        let (limit, took) = settle(&mut pressure, 256, 0.020, 0.000_1);
        assert!((0.04..0.08).contains(&took) && limit > 100, "{took} s with {limit}");
    }

    #[test]
    fn a_queue_that_stands_is_shortened_though_nobody_was_turned_away_yet() {
        let mut pressure = Pressure::new(1_024);
        let mut limit = 1_024;
        for n in 1..2_000 {
            let ended = Duration::from_millis(n);
            let begun = ended.saturating_sub(Duration::from_millis(300));
            let served = Served { begun, ended, alone: false };
            limit = pressure.served(served, Now { limit, at_work: 300, refusing: None });
        }
        assert!((LEAST..=10).contains(&limit), "{limit}");
    }

    #[test]
    fn a_queue_that_somebody_passes_quickly_does_not_stand() {
        let mut pressure = Pressure::new(1_024);
        for n in 1..2_000 {
            let ended = Duration::from_millis(n);
            let took = if n % 100 == 0 { 100 } else { 900 };
            let begun = ended.saturating_sub(Duration::from_millis(took));
            let now = Now { limit: 1_024, at_work: 900, refusing: None };
            assert_eq!(pressure.served(Served { begun, ended, alone: false }, now), 1_024);
        }
    }

    #[test]
    fn overload_is_met_at_once_though_far_fewer_are_at_work_than_might_be() {
        let (mut pressure, mut limit) = (Pressure::new(1_024), 1_024);
        for n in 0..u64::from(ENOUGH) {
            let ended = Duration::from_millis(100 + n);
            let served = Served { begun: ended - Duration::from_millis(60), ended, alone: false };
            let now = Now { limit, at_work: 80, refusing: Some(LASTING) };
            limit = pressure.served(served, now);
        }
        assert_eq!(limit, 4, "80 are at work, and take 20 times too long");
    }

    #[test]
    fn a_short_limit_grows_again_when_requests_are_quick() {
        let (limit, _) = settle(&mut Pressure::new(256), 8, 0.000_5, 0.000_01);
        assert!(limit > 150, "{limit}");
    }

    #[test]
    fn a_burst_and_a_crowd_that_nobody_is_refused_for_change_nothing() {
        let mut pressure = Pressure::new(256);
        for refusing in [None, Some(LASTING / 2)] {
            let now = Now { limit: 256, at_work: 256, refusing };
            for n in 1..100 {
                let ended = Duration::from_millis(100 * n);
                let served =
                    Served { begun: ended - Duration::from_millis(90), ended, alone: false };
                assert_eq!(pressure.served(served, now), 256);
            }
        }
    }
}
