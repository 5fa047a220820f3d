//! What every request leaves behind: its id, a line's context in the log, a span, a count.
//!
//! Never decides what a request is answered.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, field};
use uuid::Uuid;

use super::problem::Code;
use crate::telemetry::trace::{self, Kind};

/// The header with a request's id, the client's or one that is made here.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over, in bytes.
const MAX_ID: usize = 128;
/// Most of a path that is logged, in bytes.
const MAX_PATH: usize = 256;
/// Where events come in.
const INGEST: [&str; 2] = ["/v1/events", "/v1/events/batch"];

/// A request's id, for what is written down about it.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub String);

/// Wraps every request.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    let path = request.uri().path();
    let is_api = path.starts_with("/v1/");
    // At this level so that the lines within say which it was, however few are written.
    let log = tracing::error_span!(
        "request",
        request_id = id.to_str().unwrap_or_default(),
        method,
        path = &path[..path.floor_char_boundary(MAX_PATH)],
        trace_id = field::Empty,
    );
    request.extensions_mut().insert(RequestId(id.to_str().unwrap_or_default().to_owned()));
    let parent = trace::extract(request.headers());
    // Probes and scrapes would drown everything else.
    let mut span = is_api.then(|| trace::span("request", Kind::Server, parent));
    let context = span.as_ref().and_then(trace::Span::context);
    if let Some(context) = &context {
        log.record("trace_id", context.trace_id());
    }
    let answering = async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    };
    let mut response = trace::within(context, answering.instrument(log)).await;
    let status = response.status();
    if let Some(span) = &mut span {
        span.set("http.request.method", || method);
        span.set("http.route", || route.clone());
        span.set("http.response.status_code", || u32::from(status.as_u16()));
        if status.is_server_error() {
            span.failed(status.as_str());
        }
    }
    if INGEST.contains(&route.as_str())
        && method == "POST"
        && let Some(code) = response.extensions().get::<Code>()
    {
        rejected(*code);
    }
    let labels =
        [("method", method.to_owned()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!("hookmill_api_requests_total", &labels).increment(1);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Counts an event, or a batch, that was refused.
pub(super) fn rejected(code: Code) {
    metrics::counter!("hookmill_events_rejected_total", "reason" => code.slug()).increment(1);
}

/// The client's id for the request, if it is fit for a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |value: &&HeaderValue| {
        (1..=MAX_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let made = || HeaderValue::from_str(&Uuid::new_v4().to_string());
    match headers.get(REQUEST_ID).filter(fit) {
        Some(given) => given.clone(),
        None => made().unwrap_or(HeaderValue::from_static("-")),
    }
}

/// A method's name; methods that nobody knows share one.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_kept_if_it_is_fit_for_a_log() {
        let with = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers)
        };
        assert_eq!(with(b"order-7/retry=2"), "order-7/retry=2");
        for bad in [&b""[..], b"two words", b"\xff", &[b'x'; 129]] {
            assert_eq!(with(bad).len(), 36);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
