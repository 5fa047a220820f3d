//! The demo's endpoint: takes what arrives, verifies it, and writes it down.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{Request, StatusCode},
};
use tokio::{net::TcpListener, time::Instant};

use crate::{
    cli::{listen::TOLERANCE, output::Failure},
    clock::Clock,
    delivery::sign,
    model::{Secret, Sha256},
};

/// Longest body taken.
const MAX_BODY: usize = 8 << 20;

/// One delivery, as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    /// When it first arrived.
    pub(super) at: Instant,
    /// Which subscription's path it came to.
    pub(super) route: usize,
    /// Why its signature does not hold, if it does not.
    pub(super) unverified: Option<String>,
    /// Of the body.
    pub(super) sha256: Sha256,
}

#[derive(Debug, Default)]
struct Book {
    /// By route.
    secrets: HashMap<usize, Secret>,
    /// By `webhook-id`.
    arrivals: HashMap<String, Arrival>,
}

/// A receiver that listens until the process ends.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    shared: Arc<Shared>,
    base: String,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    book: Mutex<Book>,
    requests: AtomicU64,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic while it was held leaves whole entries: inserts are single calls.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    pub(super) async fn start() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("cannot start the receiver: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let base = format!("http://{}", listener.local_addr().map_err(failed)?);
        let shared = Arc::new(Shared {
            clock: Clock::system(),
            book: Mutex::default(),
            requests: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/{route}", axum::routing::post(take))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { shared, base })
    }

    /// The endpoint of a subscription.
    pub(super) fn endpoint(&self, route: usize) -> String {
        format!("{}/{route}", self.base)
    }

    /// Tells it what a subscription signs with.
    pub(super) fn trust(&self, route: usize, secret: Secret) {
        self.shared.book().secrets.insert(route, secret);
    }

    /// Requests so far, repetitions included.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Everything that arrived, by delivery.
    pub(super) fn arrivals(&self) -> HashMap<String, Arrival> {
        self.shared.book().arrivals.clone()
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Path(route): Path<usize>,
    request: Request<Body>,
) -> StatusCode {
    let at = shared.clock.instant();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let Some(id) = id.map(ToOwned::to_owned) else { return StatusCode::BAD_REQUEST };
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let Some(secret) = shared.book().secrets.get(&route).cloned() else {
        return StatusCode::NOT_FOUND;
    };
    let verified = sign::verify(&secret, &head.headers, &body, TOLERANCE, shared.clock.now());
    let sha256 = Sha256::of(&body);
    let ok = verified.is_ok();
    let unverified = verified.err().map(|error| error.to_string());
    // The first arrival counts; a repetition under the same id is allowed.
    shared.book().arrivals.entry(id).or_insert(Arrival { at, route, unverified, sha256 });
    if ok { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}
