//! How many notices become events: a storm of them helps nobody, and may be a tenant's doing.
//!
//! Owns the windows and their bound. Never reads a clock.

use std::{collections::HashMap, time::Duration};

use crate::model::{ApplicationId, Notice, SubscriptionId, Timestamp};

/// Most notices of a kind about the same thing within a window.
const MOST: u32 = 10;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);
/// Most things remembered at once.
const WINDOWS: usize = 10_000;

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum About {
    Subscription(SubscriptionId),
    Plugin(ApplicationId, String),
    Server,
}

impl About {
    fn of(notice: &Notice) -> Self {
        match notice {
            Notice::SubscriptionDisabled { subscription, .. }
            | Notice::DeliveryDead { subscription, .. }
            | Notice::BreakerOpened { subscription, .. }
            | Notice::BreakerClosed { subscription, .. } => Self::Subscription(*subscription),
            Notice::PluginQuarantined { application, plugin, .. } => {
                Self::Plugin(*application, plugin.clone())
            }
            Notice::BacklogHigh { .. } => Self::Server,
        }
    }
}

#[derive(Debug)]
struct Window {
    ends: Timestamp,
    told: u32,
    suppressed: u64,
}

/// Counts what was told of lately.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    windows: HashMap<(&'static str, About), Window>,
    /// Suppressed where no window could be kept.
    elsewhere: u64,
}

impl Limiter {
    /// Whether one more is told: if so, how many were not, of this kind about the same, since
    /// the last that was.
    pub(super) fn admit(&mut self, notice: &Notice, now: Timestamp) -> Option<u64> {
        let key = (notice.as_str(), About::of(notice));
        let ends = now.checked_add(WINDOW).unwrap_or(now);
        if !self.windows.contains_key(&key) && self.windows.len() >= WINDOWS {
            self.windows.retain(|_, window| window.ends > now);
            if self.windows.len() >= WINDOWS {
                self.elsewhere += 1;
                return None;
            }
        }
        let window = self.windows.entry(key).or_insert(Window { ends, told: 0, suppressed: 0 });
        if window.ends <= now {
            *window = Window { ends, told: 0, ..*window };
        }
        if window.told >= MOST {
            window.suppressed += 1;
            return None;
        }
        window.told += 1;
        let untold = std::mem::take(&mut window.suppressed);
        Some(untold + std::mem::take(&mut self.elsewhere))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn high(pending: u64) -> Notice {
        Notice::BacklogHigh { pending, limit: 1 }
    }

    fn opened(now: Timestamp) -> Notice {
        Notice::BreakerOpened {
            application: ApplicationId::new(now),
            subscription: SubscriptionId::new(now),
            endpoint: "http://127.0.0.1/".parse().unwrap(),
            reason: "it fails".to_owned(),
        }
    }

    #[test]
    fn a_storm_is_told_of_ten_times_a_minute_and_what_was_left_out_is_counted() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let mut limiter = Limiter::default();
        let told = (0..1_000).filter(|n| limiter.admit(&high(*n), start).is_some()).count();
        assert_eq!(told, 10);
        // Another kind about something else is not held up by it.
        assert_eq!(limiter.admit(&opened(start), start), Some(0));
        let later = start + WINDOW;
        assert_eq!(limiter.admit(&high(1), later), Some(990));
        assert_eq!(limiter.admit(&high(1), later), Some(0));
    }

    #[test]
    fn memory_is_bounded() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let mut limiter = Limiter::default();
        let told =
            (0..WINDOWS + 5).filter(|_| limiter.admit(&opened(start), start).is_some()).count();
        assert_eq!((told, limiter.windows.len()), (WINDOWS, WINDOWS));
        assert_eq!(limiter.admit(&opened(start), start + WINDOW), Some(5));
        assert_eq!(limiter.windows.len(), 1);
    }
}
