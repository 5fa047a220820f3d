//! The HTTP client: one request, its response read no further than is kept.
//!
//! Owns connections and time limits. Never follows a redirect, never uses a proxy, never
//! reads an environment variable, never tries twice.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::USER_AGENT};
use reqwest::{Body, redirect};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    classify,
    guard::{Blocked, Guard, GuardedResolver, literal},
    identity::ClientCert,
};
use crate::{
    clock::Clock,
    delivery::settings::DeliverySettings,
    model::{AttemptOutcome, Timings},
};

/// The client cannot be made: no root certificates, or settings that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: {0}")]
pub struct ClientError(String);

/// Sends requests to where the guard permits.
#[derive(Debug)]
pub(in crate::delivery) struct Client {
    http: reqwest::Client,
    guard: Guard,
    clock: Clock,
    capture: usize,
}

/// One request to make.
#[derive(Debug, Clone)]
pub(in crate::delivery) struct Request {
    /// Where to.
    pub url: Url,
    /// Its method.
    pub method: Method,
    /// All its headers but those of the transfer.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How long it may take, the response's body included.
    pub timeout: Duration,
    /// The certificate that the connection is made with.
    pub client_cert: Option<Arc<ClientCert>>,
}

/// What makes requests. The one implementation speaks HTTP; tests script theirs.
#[async_trait]
pub(in crate::delivery) trait Transport: Send + Sync {
    /// Makes one request.
    async fn send(&self, request: Request) -> Exchange;
}

/// A request that is over.
#[derive(Debug)]
pub(in crate::delivery) struct Exchange {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The status, if a response came.
    pub status: Option<u16>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// What a 429 or 503 asked for.
    pub retry_after: Option<Duration>,
    /// The beginning of the response's body.
    pub body: Option<String>,
    /// How long it took.
    pub timings: Timings,
}

/// What is known of a response when time runs out.
#[derive(Default)]
struct Progress {
    response: Option<(http::StatusCode, Option<Duration>)>,
    first_byte: Option<Duration>,
    body: Vec<u8>,
}

impl Client {
    pub(in crate::delivery) fn new(
        settings: &DeliverySettings,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        // Fails if another was installed before: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|error| ClientError(format!("the user agent cannot be sent: {error}")))?;
        let guard = Guard::new(settings.allowed_networks.clone());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .dns_resolver(GuardedResolver(guard.clone()))
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.max_in_flight)
            .tcp_nodelay(true)
            .default_headers(HeaderMap::from_iter([(USER_AGENT, agent)]))
            .build()
            .map_err(|error| ClientError(format!("{error:?}")))?;
        Ok(Self { http, guard, clock, capture: settings.response_capture })
    }
}

#[async_trait]
impl Transport for Client {
    async fn send(&self, request: Request) -> Exchange {
        let start = self.clock.instant();
        let mut progress = Progress::default();
        let end = match literal(&request.url).filter(|&address| !self.guard.permits(address)) {
            Some(address) => Err((AttemptOutcome::BlockedAddress, Blocked(address).to_string())),
            None => {
                let limit = request.timeout;
                let exchange = self.exchange(request, start, &mut progress);
                timeout_at(start + limit, exchange).await.unwrap_or_else(|_| Err(late(limit)))
            }
        };
        let (status, retry_after) = progress.response.unzip();
        let (outcome, error) = match end {
            // A head that says no is an answer, however its body went.
            Err(_) if status.is_some_and(|status| !status.is_success()) => answer(status),
            Err((AttemptOutcome::Timeout, waiting)) if status.is_some() => (
                AttemptOutcome::Timeout,
                Some(format!("{waiting}: the response's body did not end")),
            ),
            Err((AttemptOutcome::Timeout, waiting)) => {
                (AttemptOutcome::Timeout, Some(format!("{waiting}: no response came")))
            }
            Err((outcome, error)) => (outcome, Some(error)),
            Ok(()) => answer(status),
        };
        Exchange {
            outcome,
            status: status.map(|status| status.as_u16()),
            error,
            retry_after: retry_after.flatten(),
            body: status.map(|_| String::from_utf8_lossy(&progress.body).into_owned()),
            timings: Timings {
                first_byte_us: progress.first_byte.map(Timings::micros),
                total_us: Timings::micros(start.elapsed()),
            },
        }
    }
}

impl Client {
    async fn exchange(
        &self,
        given: Request,
        start: Instant,
        progress: &mut Progress,
    ) -> Result<(), (AttemptOutcome, String)> {
        let mut request = reqwest::Request::new(given.method, given.url);
        *request.headers_mut() = given.headers;
        *request.body_mut() = Some(Body::from(given.body));
        let mut response =
            self.http.execute(request).await.map_err(|error| classify::error(&error))?;
        progress.first_byte = Some(start.elapsed());
        let status = response.status();
        let asked = classify::retry_after(status, response.headers(), self.clock.now());
        progress.response = Some((status, asked));
        // Leaving before the end drops the response, and with it an HTTP/1 connection:
        // nobody can make us read on.
        while progress.body.len() < self.capture {
            let Some(chunk) = response.chunk().await.map_err(|error| classify::error(&error))?
            else {
                break;
            };
            let room = self.capture - progress.body.len();
            progress.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(())
    }
}

fn late(limit: Duration) -> (AttemptOutcome, String) {
    (AttemptOutcome::Timeout, format!("not over within {limit:?}"))
}

fn answer(status: Option<http::StatusCode>) -> (AttemptOutcome, Option<String>) {
    status.map_or((AttemptOutcome::Protocol, None), |status| {
        (classify::status(status), classify::complaint(status))
    })
}
