//! The CloudEvents webhook handshake: asks an endpoint whether deliveries may be sent to it.
//!
//! Owns the request and the reading of its answer. Never decides what a refusal means for a
//! subscription, never keeps the answer.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use url::Url;

use super::http::{Exchange, Request, Transport};
use crate::model::{AttemptOutcome, Handshake};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");
/// Every origin, or any rate.
const ANY: &str = "*";

/// Asks; answers the requests a minute that are allowed, none for any number, or why sending
/// is not.
pub(super) async fn ask(
    transport: &dyn Transport,
    endpoint: &Url,
    asked: &Handshake,
    timeout: Duration,
) -> Result<Option<u32>, String> {
    let mut headers = HeaderMap::with_capacity(2);
    // A checked DNS name is visible ASCII.
    if let Ok(origin) = HeaderValue::from_str(&asked.origin) {
        headers.insert(REQUEST_ORIGIN, origin);
    }
    if let Some(rate) = asked.rate {
        headers.insert(REQUEST_RATE, HeaderValue::from(rate));
    }
    let (url, body) = (endpoint.clone(), Bytes::new());
    let request = Request {
        url,
        method: Method::OPTIONS,
        headers,
        body,
        timeout,
        connect_timeout: timeout,
        client_cert: None,
    };
    answer(&transport.send(request).await, asked)
}

fn answer(exchange: &Exchange, asked: &Handshake) -> Result<Option<u32>, String> {
    if exchange.outcome != AttemptOutcome::Succeeded {
        let why = exchange.error.as_deref().unwrap_or("it did not answer 2xx");
        return Err(format!("the handshake failed: {why}"));
    }
    let text = |name: HeaderName| exchange.headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(ALLOWED_ORIGIN)
        .ok_or("the endpoint answered OPTIONS without a WebHook-Allowed-Origin header")?;
    if origin != ANY && !origin.eq_ignore_ascii_case(&asked.origin) {
        return Err(format!("the endpoint allows the origin {origin:?}, not {:?}", asked.origin));
    }
    match text(ALLOWED_RATE) {
        None | Some(ANY) => Ok(None),
        Some(rate) => match rate.parse() {
            Ok(rate) if rate > 0 => Ok(Some(rate)),
            _ => Err(format!("the endpoint's WebHook-Allowed-Rate is {rate:?}, no number above 0")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::model::Timings;

    /// Answers once, and keeps what it was asked.
    struct Scripted {
        status: u16,
        headers: Vec<(HeaderName, &'static str)>,
        asked: Mutex<Option<Request>>,
    }

    #[async_trait]
    impl Transport for Scripted {
        async fn send(&self, request: Request) -> Exchange {
            *self.asked.lock().unwrap() = Some(request);
            let is_success = (200..300).contains(&self.status);
            let headers = self.headers.iter().cloned();
            Exchange {
                outcome: if is_success {
                    AttemptOutcome::Succeeded
                } else {
                    AttemptOutcome::HttpStatus
                },
                status: Some(self.status),
                error: (!is_success).then(|| "the endpoint answered no".into()),
                retry_after: None,
                directive: None,
                headers: headers.map(|(name, v)| (name, HeaderValue::from_static(v))).collect(),
                body: None,
                timings: Timings::default(),
            }
        }
    }

    async fn asking(
        status: u16,
        headers: Vec<(HeaderName, &'static str)>,
    ) -> (Result<Option<u32>, String>, Request) {
        let transport = Scripted { status, headers, asked: Mutex::default() };
        let asked = Handshake { origin: "events.example".into(), rate: Some(120) };
        let endpoint: Url = "https://shop.example/hook".parse().unwrap();
        let answer = ask(&transport, &endpoint, &asked, Duration::from_secs(1)).await;
        (answer, transport.asked.into_inner().unwrap().unwrap())
    }

    #[tokio::test]
    async fn a_permission_names_the_origin_or_all() {
        for origin in ["events.example", "Events.Example", "*"] {
            let (answer, request) = asking(200, vec![(ALLOWED_ORIGIN, origin)]).await;
            assert_eq!(answer, Ok(None));
            assert_eq!(request.method, Method::OPTIONS);
            assert_eq!(request.headers[&REQUEST_ORIGIN], "events.example");
            assert_eq!(request.headers[&REQUEST_RATE], "120");
        }
    }

    #[tokio::test]
    async fn the_rate_is_a_number_or_any() {
        for (rate, expected) in
            [("100", Ok(Some(100))), ("*", Ok(None)), ("0", Err(())), ("x", Err(()))]
        {
            let headers = vec![(ALLOWED_ORIGIN, "*"), (ALLOWED_RATE, rate)];
            assert_eq!(asking(204, headers).await.0.map_err(drop), expected, "{rate}");
        }
    }

    #[tokio::test]
    async fn whatever_is_no_permission_says_why() {
        for (status, headers, why) in [
            (200, vec![], "without a WebHook-Allowed-Origin"),
            (200, vec![(ALLOWED_ORIGIN, "other.example")], "allows the origin"),
            (405, vec![(ALLOWED_ORIGIN, "*")], "the handshake failed"),
        ] {
            let refused = asking(status, headers).await.0.unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
