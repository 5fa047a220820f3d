//! The way of notices from where something happens to who tells the operator.
//!
//! Owns the queue and its bound. Never waits: a notice that finds no room is counted and
//! dropped, for no delivery may wait for one.

use tokio::sync::mpsc;

use crate::{model::Notice, tail::Tail};

/// Most notices that wait to be told.
const QUEUE: usize = 1_024;

/// Where notices are handed in, and where those who watch are shown what happens.
#[derive(Debug, Clone)]
pub struct Notices(mpsc::Sender<Notice>, Tail);

impl Notices {
    /// The way in, and the way out.
    pub fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender, Tail::default()), receiver)
    }

    /// What happens, for those who watch.
    pub fn tail(&self) -> &Tail {
        &self.1
    }

    /// Hands a notice in, if there is room and somebody listens.
    pub fn tell(&self, notice: Notice) {
        if let Err(mpsc::error::TrySendError::Full(notice)) = self.0.try_send(notice) {
            metrics::counter!("hookmill_notices_lost_total").increment(1);
            tracing::warn!(notice = notice.as_str(), "a notice was lost: too many wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_and_a_missing_listener_stop_nobody() {
        let (notices, mut out) = Notices::channel();
        for pending in 0..QUEUE as u64 + 3 {
            notices.tell(Notice::BacklogHigh { pending, limit: 1 });
        }
        assert_eq!(out.try_recv().unwrap(), Notice::BacklogHigh { pending: 0, limit: 1 });
        drop(out);
        notices.tell(Notice::BacklogHigh { pending: 0, limit: 1 });
    }
}
