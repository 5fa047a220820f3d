//! How far a request has come on the wire, and how long its parts took.
//!
//! Owns the note that a request and the connection made for it share. Never connects.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::model::Timings;

tokio::task_local! {
    /// The note of the request that is being made. The connector is called within its task
    /// and finds it here: the client between them hands nothing through.
    pub(super) static WIRE: Arc<Wire>;
}

/// What a request is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// An answer, or a connection that becomes free.
    Answer,
    /// Its host's addresses.
    Dns,
    /// Its endpoint to take the connection.
    Connect,
    /// The TLS handshake.
    Tls,
}

impl Stage {
    /// What the request was doing, for people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Answer => "waiting for the first byte",
            Self::Dns => "resolving the host's name",
            Self::Connect => "connecting",
            Self::Tls => "in the TLS handshake",
        }
    }
}

/// One request's note. A connection keeps that of the request it was made for, so a request
/// that is answered on a connection with another note found it ready.
#[derive(Debug)]
pub(super) struct Wire {
    /// How long making a connection may take.
    pub connect_limit: Duration,
    stage: AtomicU8,
    dns: OnceLock<Duration>,
    connect: OnceLock<Duration>,
    tls: OnceLock<Duration>,
}

impl Wire {
    pub(super) const fn new(connect_limit: Duration) -> Self {
        Self {
            connect_limit,
            stage: AtomicU8::new(Stage::Answer as u8),
            dns: OnceLock::new(),
            connect: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        let stages = [Stage::Answer, Stage::Dns, Stage::Connect, Stage::Tls];
        let code = self.stage.load(Ordering::Relaxed);
        stages.into_iter().find(|&stage| stage as u8 == code).unwrap_or(Stage::Answer)
    }

    /// The stage that began at `since` is over.
    pub(super) fn passed(&self, stage: Stage, since: Instant) {
        let part = match stage {
            Stage::Answer => return,
            Stage::Dns => &self.dns,
            Stage::Connect => &self.connect,
            Stage::Tls => &self.tls,
        };
        // A second connection for the same request: the first one's figures stay.
        let _ = part.set(since.elapsed());
    }

    /// The parts of making the connection, as far as they went.
    pub(super) fn timings(&self) -> Timings {
        let micros = |part: &OnceLock<Duration>| part.get().copied().map(Timings::micros);
        Timings {
            dns_us: micros(&self.dns),
            connect_us: micros(&self.connect),
            tls_us: micros(&self.tls),
            ..Timings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn only_what_was_passed_has_a_time() {
        let wire = Wire::new(Duration::from_secs(5));
        let since = Clock::system().instant();
        assert_eq!(wire.stage(), Stage::Answer);
        wire.enter(Stage::Connect);
        assert_eq!(wire.stage(), Stage::Connect);
        wire.passed(Stage::Connect, since);
        let timings = wire.timings();
        assert_eq!((timings.dns_us, timings.tls_us), (None, None));
        assert!(timings.connect_us.is_some());
    }
}
