//! Lets go of what was kept for long enough, a little at a time.
//!
//! Owns when and how much. What may go is the store's to say: nothing of an event with a
//! delivery that has not ended. Never holds the store's writer for longer than a few
//! milliseconds, and leaves it to others for longer than it held it.

mod walk;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    clock::Clock,
    model::SubscriptionId,
    store::{Old, SharedStore},
};
use walk::{Tallies, Walk};

/// The longest time between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// The shortest.
const SOON: Duration = Duration::from_millis(100);

/// How long things are kept; none for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Events' payloads.
    pub payloads: Option<Duration>,
    /// Attempts.
    pub attempts: Option<Duration>,
    /// Events with all that belongs to them.
    pub events: Option<Duration>,
    /// Deliveries that have not ended: after so long they are cancelled. Counts only for
    /// events that are older than `events`, too.
    pub unfinished: Option<Duration>,
}

impl RetentionSettings {
    /// How long `what` is kept. What goes no earlier than its event needs no walk of its own.
    fn keep(&self, what: Old) -> Option<Duration> {
        let keep = match what {
            Old::Payloads => self.payloads,
            Old::Attempts => self.attempts,
            Old::Events => return self.events,
        };
        keep.filter(|keep| self.events.is_none_or(|events| *keep < events))
    }

    /// How often to look: often enough that little is kept for much longer than it should.
    fn round(&self) -> Duration {
        let shortest = Old::ALL.iter().filter_map(|&what| self.keep(what)).min();
        shortest.map_or(ROUND, |keep| (keep / 10).clamp(SOON, ROUND))
    }
}

/// The task that lets go.
#[derive(Debug)]
pub struct Retention {
    task: JoinHandle<()>,
    settings: watch::Sender<RetentionSettings>,
}

impl Retention {
    /// Starts it. `wake` is told whose deliveries may be due because those before them in their
    /// order were cancelled.
    pub fn start(
        settings: RetentionSettings,
        store: SharedStore,
        clock: Clock,
        wake: impl Fn(SubscriptionId) + Send + Sync + 'static,
    ) -> Self {
        let (settings, told) = watch::channel(settings);
        let task = tokio::spawn(async move { run(told, store, clock, &wake).await });
        Self { task, settings }
    }

    /// Other times hold from now on.
    pub fn set(&self, new: RetentionSettings) {
        self.settings.send_if_modified(|settings| std::mem::replace(settings, new) != new);
    }

    /// Stops it. A transaction that is under way is rolled back.
    pub fn stop(&self) {
        self.task.abort();
    }
}

async fn run(
    mut told: watch::Receiver<RetentionSettings>,
    store: SharedStore,
    clock: Clock,
    wake: &(impl Fn(SubscriptionId) + Sync),
) {
    let tallies = Arc::new(Tallies::new());
    loop {
        let settings = *told.borrow_and_update();
        let mut walks: Vec<Walk> = Old::ALL
            .into_iter()
            .filter_map(|what| Some(Walk::new(what, settings.keep(what)?, settings.unfinished)))
            .collect();
        loop {
            for walk in &mut walks {
                walk.go(&store, clock, &tallies, wake).await;
            }
            sweep(&store, clock, &tallies).await;
            match timeout(settings.round(), told.changed()).await {
                Err(_) => {}
                Ok(Ok(())) => break,
                // Whoever could change them has gone, and with them this task.
                Ok(Err(_)) => return,
            }
        }
    }
}

/// What goes whatever the settings say.
async fn sweep(store: &SharedStore, clock: Clock, tallies: &Tallies) {
    loop {
        match store.sweep(clock.now()).await {
            Ok(swept) if swept.is_empty() => return,
            Ok(swept) => tallies.swept(&swept),
            Err(error) => return tallies.failed(&error),
        }
        // Others first.
        sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_goes_with_its_event_has_no_walk_of_its_own() {
        let settings = RetentionSettings {
            payloads: Some(DAY),
            attempts: Some(30 * DAY),
            events: Some(30 * DAY),
            unfinished: None,
        };
        assert_eq!(settings.keep(Old::Payloads), Some(DAY));
        assert_eq!(settings.keep(Old::Attempts), None);
        assert_eq!(settings.keep(Old::Events), Some(30 * DAY));
        let events = RetentionSettings { events: None, ..settings };
        assert_eq!(events.keep(Old::Attempts), Some(30 * DAY));
    }

    #[test]
    fn a_short_time_is_looked_after_more_often() {
        let keep = |events| RetentionSettings { events, ..RetentionSettings::default() }.round();
        assert_eq!(keep(None), ROUND);
        assert_eq!(keep(Some(30 * DAY)), ROUND);
        assert_eq!(keep(Some(Duration::from_secs(100))), Duration::from_secs(10));
        assert_eq!(keep(Some(Duration::from_millis(1))), SOON);
    }
}
