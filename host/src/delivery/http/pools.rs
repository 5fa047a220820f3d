//! Pools of connections: one for everybody, and one for each client certificate.
//!
//! Owns that no request leaves on a connection that was opened under another identity.
//! Never makes a request.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use ipnet::IpNet;

use super::{
    connect::{Connector, Ways},
    identity::ClientCert,
    tls::Trust,
};

/// Most pools kept for client certificates; the one longest unused goes first.
const MOST_IDENTITIES: usize = 256;
/// Largest head of a response.
const MAX_HEAD: usize = 64 * 1024;

/// A pool of connections.
pub(super) type Pool = legacy::Client<Connector, Full<Bytes>>;

/// All pools.
pub(super) struct Pools {
    kept: Mutex<Kept>,
    ways: Arc<Ways>,
    trust: Trust,
    idle: Idle,
}

/// Pools whose connections were made while these networks were allowed.
struct Kept {
    allowed: Arc<Vec<IpNet>>,
    open: Pool,
    /// Those of certificates, the one last used at the end.
    certified: VecDeque<([u8; 32], Pool)>,
}

/// How many unused connections are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub most: usize,
    pub timeout: Duration,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").field("ways", &self.ways).finish_non_exhaustive()
    }
}

impl Pools {
    pub(super) fn new(ways: Ways, trust: Trust, idle: Idle) -> Result<Self, rustls::Error> {
        let ways = Arc::new(ways);
        let allowed = ways.guard.allowed();
        let open = pool(Connector { ways: Arc::clone(&ways), tls: trust.config(None)? }, idle);
        let kept = Mutex::new(Kept { allowed, open, certified: VecDeque::new() });
        Ok(Self { kept, ways, trust, idle })
    }

    /// The pools, without those of connections to where nothing may go any more.
    fn kept(&self) -> Result<MutexGuard<'_, Kept>, rustls::Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = self.ways.guard.allowed();
        if !Arc::ptr_eq(&kept.allowed, &allowed) {
            let tls = self.trust.config(None)?;
            let open = pool(Connector { ways: Arc::clone(&self.ways), tls }, self.idle);
            *kept = Kept { allowed, open, certified: VecDeque::new() };
        }
        Ok(kept)
    }

    /// The pool for requests under `identity`.
    pub(super) fn under(&self, identity: Option<&ClientCert>) -> Result<Pool, rustls::Error> {
        let mut kept = self.kept()?;
        let Some(identity) = identity else { return Ok(kept.open.clone()) };
        let print = identity.fingerprint();
        let known = &mut kept.certified;
        let at = known.iter().position(|(other, _)| *other == print);
        if let Some(found) = at.and_then(|at| known.remove(at)) {
            let pool = found.1.clone();
            known.push_back(found);
            return Ok(pool);
        }
        let tls = self.trust.config(Some(identity))?;
        let made = pool(Connector { ways: Arc::clone(&self.ways), tls }, self.idle);
        if known.len() >= MOST_IDENTITIES {
            known.pop_front();
        }
        known.push_back((print, made.clone()));
        Ok(made)
    }
}

fn pool(connector: Connector, idle: Idle) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(idle.timeout)
        .pool_max_idle_per_host(idle.most)
        .http1_max_buf_size(MAX_HEAD)
        .http2_max_header_list_size(MAX_HEAD as u32)
        .build(connector)
}
