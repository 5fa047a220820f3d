//! The one place that reads the time. Everything else is told what time it is, so tests
//! can drive it.

use std::time::SystemTime;

use jiff::Timestamp;
use tokio::time::Instant;

/// Where the time comes from. Whole milliseconds, the unit the store keeps.
#[derive(Debug, Default, Clone, Copy)]
pub struct Clock(Source);

#[derive(Debug, Default, Clone, Copy)]
enum Source {
    #[default]
    System,
    /// Tokio's clock, which a test may pause and advance, counted from `base`.
    Virtual { base: Timestamp, start: Instant },
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that starts at `base` and moves with tokio's, paused or not.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn starting_at(base: Timestamp) -> Self {
        Self(Source::Virtual { base, start: Instant::now() })
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        let exact = match self.0 {
            Source::System => {
                Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
            }
            Source::Virtual { base, start } => base + start.elapsed(),
        };
        Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
    }

    /// How long until `at`; zero if it has passed.
    pub fn until(&self, at: Timestamp) -> std::time::Duration {
        at.duration_since(self.now()).try_into().unwrap_or_default()
    }

    /// Now in nanoseconds since 1970, for reports only: nothing is kept so finely.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn unix_nanos() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Microseconds of the machine's clock that is never set, for a supervisor: it compares them
    /// with its own.
    pub fn monotonic_micros() -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
        seconds.unwrap_or_default() * 1_000_000 + nanos.unwrap_or_default() / 1_000
    }

    /// A moment to measure a duration from.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// How long something takes. For reports only: nothing may depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock's module")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Since the start.
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}
