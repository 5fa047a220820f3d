//! `hookmill listen`: receives webhooks on this machine, verifies and prints them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode},
};
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{
    output::{self, Failure},
    trust::{Check, Trust},
};
use crate::{clock::Clock, delivery::sign};

/// Longest body taken.
const MAX_BODY: usize = 32 << 20;
/// How old or early a message may be: Standard Webhooks' five minutes.
pub(super) const TOLERANCE: Duration = Duration::from_secs(300);

const EXAMPLES: &str = "\
Examples:
  hookmill listen 9000 --secret whsec_…
  hookmill listen 9000 --secret whsec_… --forward http://localhost:3000/hook
  hookmill listen 9000 --status 503        see how deliveries are retried";

/// Receive webhooks on this machine, verify and print them
///
/// Answers 401 to what does not verify, unless --status says what to answer.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Listen {
    /// The port to listen on
    port: u16,
    // Without a secret nothing is verified.
    #[command(flatten)]
    trust: Trust,
    /// Pass each verified request on, and answer what is answered there
    #[arg(long, value_name = "URL", conflicts_with = "status")]
    forward: Option<Url>,
    /// Answer with this status
    #[arg(long, value_name = "CODE", value_parser = status)]
    status: Option<StatusCode>,
    /// Print one JSON object a request
    #[arg(from_global)]
    json: bool,
}

fn status(text: &str) -> Result<StatusCode, String> {
    text.parse().map_err(|_| "write a status code, 100 to 999".into())
}

struct Receiver {
    listen: Listen,
    check: Option<Check>,
    http: reqwest::Client,
}

impl Listen {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let check = self.trust.read()?;
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))?;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::failed(format!("cannot make an HTTP client: {error}")))?;
        let address = listener.local_addr().unwrap_or(address);
        output::say(format_args!("listening on http://{address}  (end with Ctrl-C)"));
        if check.is_none() {
            output::say("hint: without --secret signatures are not verified");
        }
        let router = Router::new().fallback(receive).with_state(Arc::new(Receiver {
            listen: self,
            check,
            http,
        }));
        let stopped = async {
            // An error means that there is no Ctrl-C to wait for; then nothing ends it.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        axum::serve(listener, router)
            .with_graceful_shutdown(stopped)
            .await
            .map_err(|error| Failure::failed(format!("the receiver failed: {error}")))
    }
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    request: Request<Body>,
) -> (StatusCode, String) {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, String::new());
    };
    let now = Clock::system().now();
    let listen = &receiver.listen;
    let verified = receiver.check.as_ref().map(|check| {
        let scheme = check.scheme(&head.headers);
        sign::check(&scheme, &check.key, &head.headers, &body, Some(TOLERANCE), now)
    });
    let refused = verified.as_ref().and_then(|verified| verified.as_ref().err());
    let answer = match (&listen.forward, listen.status, refused) {
        (_, Some(status), _) => (status, String::new()),
        (_, None, Some(error)) => (StatusCode::UNAUTHORIZED, error.to_string()),
        (None, None, None) => (StatusCode::OK, String::new()),
        (Some(url), None, None) => {
            receiver.forward(url, head.method.clone(), &head.headers, body.clone()).await
        }
    };
    let word = match &verified {
        None => "unverified".to_owned(),
        Some(Ok(())) => "verified".to_owned(),
        Some(Err(error)) => format!("NOT VERIFIED: {error}"),
    };
    let text = String::from_utf8_lossy(&body);
    if listen.json {
        let headers: serde_json::Map<String, Value> = head
            .headers
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
            })
            .collect();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(&*text));
        output::data(json!({
            "at": now, "path": head.uri.path(), "verified": verified.map(|v| v.is_ok()),
            "answered": answer.0.as_u16(), "headers": headers, "body": body,
        }));
    } else {
        let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or("-");
        output::data(format_args!(
            "{}  {id}  {word}  {}  {}  → {}",
            now.strftime("%H:%M:%SZ"),
            head.uri.path(),
            output::file_size(body.len() as u64),
            answer.0.as_u16()
        ));
        output::data(&*text);
    }
    answer
}

impl Receiver {
    /// Passes a request on and gives the answer back, its body as text.
    async fn forward(
        &self,
        url: &Url,
        method: reqwest::Method,
        headers: &HeaderMap,
        body: bytes::Bytes,
    ) -> (StatusCode, String) {
        let mut request = self.http.request(method, url.clone()).body(body);
        for (name, value) in headers {
            // These belong to one connection; the client sets its own.
            if !matches!(
                name.as_str(),
                "host" | "content-length" | "connection" | "transfer-encoding"
            ) {
                request = request.header(name, value);
            }
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                output::say(format_args!("error: {url} did not answer: {error}"));
                return (StatusCode::BAD_GATEWAY, String::new());
            }
        };
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_BODY {
                break;
            }
        }
        (response.status(), String::from_utf8_lossy(&text).into_owned())
    }
}
