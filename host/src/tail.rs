//! What happens, as it happens, for those who watch.
//!
//! Owns the bounded ring that watchers read from. Never waits: a watcher who is too slow
//! misses what the ring no longer holds and is told how much; with nobody watching nothing is
//! even written down.

use std::{fmt, sync::Arc};

use serde::Serialize;
use tokio::sync::broadcast::{self, Receiver};
use utoipa::ToSchema;

use crate::model::{
    ApplicationId, AttemptOutcome, DeliveryId, DeliveryState, EventId, EventTypeName,
    SubscriptionId, Timestamp,
};

/// Most that a watcher may be behind.
const RING: usize = 4_096;
/// Most who watch at once.
const WATCHERS: usize = 64;

/// Something that happened to an application's events.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Whose.
    pub application: ApplicationId,
    /// The event's type.
    pub event_type: EventTypeName,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// An event is on disk.
    Event {
        /// Which.
        event_id: EventId,
        /// When.
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
        /// What it is about.
        subject: Option<String>,
        /// How many subscriptions it goes to.
        deliveries: usize,
    },
    /// A delivery was attempted, or went somewhere else without.
    Delivery {
        /// Which.
        delivery_id: DeliveryId,
        /// The event.
        event_id: EventId,
        /// Who it is for.
        subscription_id: SubscriptionId,
        /// When.
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
        /// What the delivery is from here on.
        state: DeliveryState,
        /// The attempt, if one was made.
        attempt: Option<Tried>,
        /// Why it is dead, filtered or held.
        reason: Option<String>,
        /// When it is tried again.
        #[schema(value_type = Option<String>, format = DateTime)]
        next_attempt_at: Option<Timestamp>,
    },
}

/// An attempt in short.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Tried {
    /// From 1.
    pub number: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// What went wrong, for people.
    pub error: Option<String>,
}

/// What watchers read; nothing is the end.
pub type Next = Option<Arc<Happened>>;

/// The ring.
#[derive(Clone)]
pub struct Tail(broadcast::Sender<Next>);

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({} watch)", self.0.receiver_count())
    }
}

impl Default for Tail {
    fn default() -> Self {
        Self(broadcast::Sender::new(RING))
    }
}

impl Tail {
    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Shows what happened to whoever watches.
    pub fn show(&self, happened: impl FnOnce() -> Happened) {
        if self.is_watched() {
            // The last watcher may have gone this moment.
            let _nobody = self.0.send(Some(Arc::new(happened())));
        }
    }

    /// Watches what happens from now on; none if as many do as may.
    pub fn watch(&self) -> Option<Receiver<Next>> {
        // Two who come at once may both be let in: the bound is there to be near, not exact.
        (self.0.receiver_count() < WATCHERS).then(|| self.0.subscribe())
    }

    /// Tells watchers that nothing more comes.
    pub fn end(&self) {
        let _nobody = self.0.send(None);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    fn accepted(deliveries: usize) -> Happened {
        let at = Timestamp::UNIX_EPOCH;
        let event_id = EventId::first_of(at);
        Happened {
            application: ApplicationId::first_of(at),
            event_type: "a".parse().unwrap(),
            what: What::Event { event_id, at, subject: None, deliveries },
        }
    }

    #[tokio::test]
    async fn who_is_slow_is_told_how_much_is_missing() {
        let tail = Tail::default();
        let mut watcher = tail.watch().unwrap();
        for index in 0..RING + 3 {
            tail.show(|| accepted(index));
        }
        assert_eq!(watcher.recv().await, Err(RecvError::Lagged(3)));
        assert_eq!(watcher.recv().await.unwrap(), Some(Arc::new(accepted(3))));
    }

    #[tokio::test]
    async fn nothing_is_written_down_for_nobody() {
        let tail = Tail::default();
        tail.show(|| unreachable!("nobody watches"));
        let mut watcher = tail.watch().unwrap();
        tail.end();
        assert_eq!(watcher.recv().await, Ok(None));
    }

    #[test]
    fn only_so_many_watch() {
        let tail = Tail::default();
        let watchers: Vec<_> = (0..WATCHERS).map(|_| tail.watch().unwrap()).collect();
        assert!(tail.watch().is_none());
        drop(watchers);
        assert!(tail.watch().is_some() && !tail.is_watched());
    }
}
