//! What happens, as it happens, for those who watch.
//!
//! Owns the bounded ring that watchers read from. Never waits: a watcher who is too slow
//! misses what the ring no longer holds and is told how much; with nobody watching nothing is
//! even written down.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::broadcast::{self, Receiver, error::RecvError};
use utoipa::ToSchema;

use crate::model::{
    ApplicationId, AttemptOutcome, DeliveryId, DeliveryState, EventId, EventTypeName,
    SubscriptionId, Timestamp,
};

/// Most that a watcher may be behind.
const RING: usize = 4_096;
/// Most who watch at once.
const WATCHERS: usize = 64;
/// Most of them for one application: the others are to find places, too.
const OF_ONE: usize = 16;
/// Places that are kept for those applications that have none yet.
const FOR_OTHERS: usize = 32;

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
pub struct Tail {
    ring: broadcast::Sender<Next>,
    /// How many watch for each application.
    watching: Watching,
}

type Watching = Arc<Mutex<HashMap<ApplicationId, usize>>>;

/// The map is whole between any two statements that change it.
fn locked(watching: &Watching) -> MutexGuard<'_, HashMap<ApplicationId, usize>> {
    watching.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who watches, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    ring: Receiver<Next>,
    application: ApplicationId,
    watching: Watching,
}

impl Watcher {
    /// What happens next.
    pub async fn recv(&mut self) -> Result<Next, RecvError> {
        self.ring.recv().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watching = locked(&self.watching);
        if let Some(count) = watching.get_mut(&self.application) {
            *count -= 1;
            if *count == 0 {
                watching.remove(&self.application);
            }
        }
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({} watch)", self.ring.receiver_count())
    }
}

impl Default for Tail {
    fn default() -> Self {
        Self { ring: broadcast::Sender::new(RING), watching: Watching::default() }
    }
}

impl Tail {
    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.ring.receiver_count() > 0
    }

    /// Shows what happened to whoever watches.
    pub fn show(&self, happened: impl FnOnce() -> Happened) {
        if self.is_watched() {
            // The last watcher may have gone this moment.
            let _nobody = self.ring.send(Some(Arc::new(happened())));
        }
    }

    /// Watches what happens from now on, for an application; none if as many do as may.
    pub fn watch(&self, application: ApplicationId) -> Option<Watcher> {
        let mut watching = locked(&self.watching);
        let free = WATCHERS.saturating_sub(watching.values().sum());
        let of_its = watching.get(&application).copied().unwrap_or_default();
        let kept = if of_its > 0 { FOR_OTHERS } else { 0 };
        if free <= kept || of_its >= OF_ONE {
            return None;
        }
        watching.insert(application, of_its + 1);
        let (ring, watching) = (self.ring.subscribe(), Arc::clone(&self.watching));
        Some(Watcher { ring, application, watching })
    }

    /// Tells watchers that nothing more comes.
    pub fn end(&self) {
        let _nobody = self.ring.send(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(n: usize) -> ApplicationId {
        ApplicationId::first_of(Timestamp::from_second(i64::try_from(n).unwrap()).unwrap())
    }

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
        let mut watcher = tail.watch(application(0)).unwrap();
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
        let mut watcher = tail.watch(application(0)).unwrap();
        tail.end();
        assert_eq!(watcher.recv().await, Ok(None));
    }

    #[test]
    fn only_so_many_watch() {
        let tail = Tail::default();
        let mut watchers = Vec::new();
        let shared = WATCHERS - FOR_OTHERS;
        for one in 0..shared / OF_ONE {
            let application = application(one);
            watchers.extend((0..OF_ONE).map(|_| tail.watch(application).unwrap()));
            assert!(tail.watch(application).is_none(), "one takes the places of others");
        }
        // However few have taken those, there are places for others: one each.
        for other in shared..WATCHERS {
            watchers.push(tail.watch(application(other)).unwrap());
            assert!(tail.watch(application(other)).is_none(), "it has one");
        }
        assert!(tail.watch(application(99)).is_none());
        watchers.pop();
        assert!(tail.watch(application(99)).is_some());
        drop(watchers);
        assert!(!tail.is_watched() && locked(&tail.watching).is_empty());
    }
}
