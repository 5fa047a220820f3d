//! The HTTP client: one request, its response read no further than is kept.
//!
//! Owns connections and time limits. Never follows a redirect, never uses a proxy, never
//! reads an environment variable, never tries twice.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Uri,
    header::{ACCEPT, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    classify,
    connect::Ways,
    headers,
    identity::ClientCert,
    name_servers::NameServers,
    pools::{Idle, Pools},
    resolve::{self, Resolve},
    tls::Trust,
    wire::{Stage, WIRE, Wire},
};
use crate::{
    clock::Clock,
    delivery::settings::DeliverySettings,
    model::{Attempt, AttemptOutcome, Timestamp, Timings},
};

/// The client cannot be made: no root certificates, or settings that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: {0}")]
pub struct ClientError(String);

/// Sends requests to where the guard permits.
#[derive(Debug)]
pub(in crate::delivery) struct Client {
    pools: Pools,
    agent: HeaderValue,
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
    /// How much of that making a connection may take.
    pub connect_timeout: Duration,
    /// Who it comes from, towards an endpoint that asks for a certificate.
    pub client_cert: Option<Arc<ClientCert>>,
}

/// What makes requests. The one implementation speaks HTTP; tests script theirs.
#[async_trait]
pub(in crate::delivery) trait Transport: Send + Sync {
    /// Makes one request.
    async fn send(&self, request: Request) -> Exchange;
}

/// What an endpoint asks for in a response's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::delivery) enum Directive {
    /// No more deliveries at all.
    Disable,
    /// No more attempts of this one.
    AbortMessage,
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
    /// What the endpoint asked for besides.
    pub directive: Option<Directive>,
    /// The response's `webhook-` headers: what the endpoint says to the sender.
    pub headers: HeaderMap,
    /// The beginning of the response's body.
    pub body: Option<String>,
    /// How long it took.
    pub timings: Timings,
}

impl Exchange {
    /// As it is put on record.
    pub(in crate::delivery) fn into_attempt(self, number: u32, started_at: Timestamp) -> Attempt {
        Attempt {
            number,
            started_at,
            outcome: self.outcome,
            status: self.status,
            error: self.error,
            response_body: self.body,
            timings: self.timings,
        }
    }
}

/// What is known of a response when time runs out.
#[derive(Default)]
struct Progress {
    response: Option<Head>,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What a response's head says.
struct Head {
    status: http::StatusCode,
    retry_after: Option<Duration>,
    directive: Option<Directive>,
    first_byte: Duration,
    /// The connection was there already.
    reused: bool,
}

type Failure = (AttemptOutcome, String);

impl Client {
    pub(in crate::delivery) fn new(
        settings: &DeliverySettings,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let resolver: Box<dyn Resolve> = match settings.dns_servers.as_slice() {
            [] => Box::new(resolve::System),
            servers => Box::new(NameServers(servers.to_vec())),
        };
        Self::resolving(settings, clock, resolver)
    }

    /// A client that asks `resolver` for addresses.
    pub(super) fn resolving(
        settings: &DeliverySettings,
        clock: Clock,
        resolver: Box<dyn Resolve>,
    ) -> Result<Self, ClientError> {
        let agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|error| ClientError(format!("the user agent cannot be sent: {error}")))?;
        let guard = settings.guard.clone();
        let unusable = |error: rustls::Error| ClientError(error.to_string());
        let trust = Trust::new(&settings.extra_authorities).map_err(unusable)?;
        let idle = Idle { most: settings.max_in_flight, timeout: settings.idle_timeout };
        let pools = Pools::new(Ways { guard, resolver, clock }, trust, idle).map_err(unusable)?;
        Ok(Self { pools, agent, clock, capture: settings.response_capture })
    }
}

#[async_trait]
impl Transport for Client {
    async fn send(&self, request: Request) -> Exchange {
        let start = self.clock.instant();
        let limit = request.timeout;
        let wire = Arc::new(Wire::new(request.connect_timeout.min(limit)));
        let mut progress = Progress::default();
        let exchange = self.exchange(request, start, &wire, &mut progress);
        let exchange = WIRE.scope(Arc::clone(&wire), exchange);
        let end = timeout_at(start + limit, exchange).await;
        let total = start.elapsed();
        let head = progress.response;
        let (outcome, error) = match end.unwrap_or_else(|_| Err(late(limit, &wire, head.as_ref())))
        {
            // A head that says no is an answer, however its body went.
            Err(_) if head.as_ref().is_some_and(|head| !head.status.is_success()) => {
                answer(head.as_ref())
            }
            Err((outcome, error)) => (outcome, Some(error)),
            Ok(()) => answer(head.as_ref()),
        };
        let reused = head.as_ref().is_some_and(|head| head.reused);
        let parts = if reused { Timings::default() } else { wire.timings() };
        Exchange {
            outcome,
            status: head.as_ref().map(|head| head.status.as_u16()),
            error,
            retry_after: head.as_ref().and_then(|head| head.retry_after),
            directive: head.as_ref().and_then(|head| head.directive),
            headers: progress.headers,
            body: head.as_ref().map(|_| String::from_utf8_lossy(&progress.body).into_owned()),
            timings: Timings {
                first_byte_us: head.map(|head| Timings::micros(head.first_byte)),
                total_us: Timings::micros(total),
                ..parts
            },
        }
    }
}

impl Client {
    async fn exchange(
        &self,
        given: Request,
        start: Instant,
        wire: &Arc<Wire>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let pool = self
            .pools
            .under(given.client_cert.as_deref())
            .map_err(|error| (AttemptOutcome::Tls, format!("the client certificate: {error}")))?;
        let request = self.request(given)?;
        let mut response = pool.request(request).await.map_err(|error| classify::error(&error))?;
        let made_for = response.extensions().get::<Arc<Wire>>();
        let (status, headers) = (response.status(), response.headers());
        progress.response = Some(Head {
            status,
            retry_after: classify::retry_after(status, headers, self.clock.now()),
            directive: classify::directive(headers),
            first_byte: start.elapsed(),
            reused: made_for.is_none_or(|other| !Arc::ptr_eq(other, wire)),
        });
        progress.headers = headers::told(headers);
        // Leaving before the end drops the response, and with it an HTTP/1 connection:
        // nobody can make us read on.
        while progress.body.len() < self.capture {
            let Some(frame) = response.body_mut().frame().await else { break };
            let frame = frame.map_err(|error| classify::error(&error))?;
            if let Some(chunk) = frame.data_ref() {
                let room = self.capture - progress.body.len();
                progress.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
        }
        Ok(())
    }

    fn request(&self, given: Request) -> Result<http::Request<Full<Bytes>>, Failure> {
        let target: Uri = given.url.as_str().parse().map_err(|error| {
            (AttemptOutcome::Protocol, format!("the endpoint cannot be asked for: {error}"))
        })?;
        let mut request = http::Request::new(Full::new(given.body));
        *request.method_mut() = given.method;
        *request.uri_mut() = target;
        *request.headers_mut() = given.headers;
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert_with(|| self.agent.clone());
        headers.entry(ACCEPT).or_insert(const { HeaderValue::from_static("*/*") });
        Ok(request)
    }
}

/// What running out of time means, by what the request was waiting for.
fn late(limit: Duration, wire: &Wire, head: Option<&Head>) -> Failure {
    let (outcome, waiting) = match (head, wire.stage()) {
        (Some(_), _) => (AttemptOutcome::Timeout, "reading the response's body"),
        (None, Stage::Answer) => (AttemptOutcome::Timeout, Stage::Answer.words()),
        (None, Stage::Dns) => (AttemptOutcome::Dns, Stage::Dns.words()),
        (None, stage) => (AttemptOutcome::ConnectTimeout, stage.words()),
    };
    (outcome, format!("not over within {limit:?}: {waiting}"))
}

fn answer(head: Option<&Head>) -> (AttemptOutcome, Option<String>) {
    head.map_or((AttemptOutcome::Protocol, None), |head| {
        (classify::status(head.status), classify::complaint(head.status))
    })
}
