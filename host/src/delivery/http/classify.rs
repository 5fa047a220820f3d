//! Names what went wrong, and what a response means.
//!
//! Owns the translation from statuses and errors to outcomes. Never sends.

use std::{error::Error, io, time::Duration};

use http::{HeaderMap, HeaderName, StatusCode, header::RETRY_AFTER};

use super::{client::Directive, connect::ConnectError};
use crate::model::{AttemptOutcome, Timestamp};

/// The header by which an endpoint asks for more than its status can say.
const DIRECTIVE: HeaderName = HeaderName::from_static("webhook-delivery");

/// What a status means.
pub(super) fn status(status: StatusCode) -> AttemptOutcome {
    match status.as_u16() {
        200..=299 => AttemptOutcome::Succeeded,
        300..=399 => AttemptOutcome::Redirect,
        410 => AttemptOutcome::Gone,
        _ => AttemptOutcome::HttpStatus,
    }
}

/// A status in words, if it is a failure.
pub(super) fn complaint(status: StatusCode) -> Option<String> {
    let said = status.canonical_reason().map_or_else(
        || format!("the endpoint answered {}", status.as_u16()),
        |reason| format!("the endpoint answered {} {reason}", status.as_u16()),
    );
    match self::status(status) {
        AttemptOutcome::Succeeded => None,
        AttemptOutcome::Redirect => Some(format!("{said}; redirects are not followed")),
        _ => Some(said),
    }
}

/// How long a 429 or 503 asks to be left alone: seconds, or a date.
pub(super) fn retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // More digits than fit is longer than any cap.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(date.duration_since(now).try_into().unwrap_or_default())
}

/// What a response's header `webhook-delivery` asks for, whatever its status.
pub(super) fn directive(headers: &HeaderMap) -> Option<Directive> {
    let asked = headers.get(&DIRECTIVE)?.to_str().ok()?.trim();
    let known = [("disable", Directive::Disable), ("abort-message", Directive::AbortMessage)];
    known.into_iter().find_map(|(word, it)| word.eq_ignore_ascii_case(asked).then_some(it))
}

/// What an error of the client means, and its story for people.
pub(super) fn error(error: &(dyn Error + 'static)) -> (AttemptOutcome, String) {
    (outcome(error), story(error))
}

fn outcome(error: &(dyn Error + 'static)) -> AttemptOutcome {
    if let Some(connecting) = find::<ConnectError>(error) {
        return connecting.outcome();
    }
    // An endpoint that wants a certificate says so after its side of the handshake.
    if find::<rustls::Error>(error).is_some() {
        return AttemptOutcome::Tls;
    }
    if let Some(error) = find::<h2::Error>(error) {
        let broken = error.is_io() || error.is_remote();
        return if broken { AttemptOutcome::Reset } else { AttemptOutcome::Protocol };
    }
    let spoken = find::<hyper::Error>(error);
    if spoken.is_some_and(hyper::Error::is_parse_too_large) {
        return AttemptOutcome::Oversized;
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => AttemptOutcome::Timeout,
        // What hyper says of chunks that are none.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => AttemptOutcome::Protocol,
        Some(_) => AttemptOutcome::Reset,
        // No I/O failed, so what came was not HTTP, or stopped in the middle of it.
        None => match spoken {
            Some(error) if error.is_incomplete_message() || error.is_closed() => {
                AttemptOutcome::Reset
            }
            Some(error) if error.is_canceled() => AttemptOutcome::Reset,
            _ => AttemptOutcome::Protocol,
        },
    }
}

/// The error and what caused it. An `io::Error` that wraps another error is asked for that
/// one: its `source` would pass over it.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// The innermost error of a type.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).filter_map(|error| error.downcast_ref::<E>()).last()
}

/// The error and its causes in one line.
fn story(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in chain(error).map(ToString::to_string) {
        let known = parts.iter().any(|earlier| earlier.contains(&part));
        // The client's own says only that it failed.
        if !known && !part.starts_with("client error (") {
            parts.push(part);
        }
    }
    if parts.is_empty() { "the request failed".into() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(status: u16, value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        retry_after(StatusCode::from_u16(status).unwrap(), &headers, now).map(|d| d.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(asked(429, "120"), Some(120));
        assert_eq!(asked(503, " 0 "), Some(0));
        assert_eq!(asked(429, "Sat, 21 Nov 2026 10:01:00 GMT"), Some(60));
        assert_eq!(asked(429, "Sat, 21 Nov 2026 09:00:00 GMT"), Some(0));
        assert_eq!(asked(429, "99999999999999999999999"), Some(u64::from(u32::MAX)));
        for bad in ["", "-1", "1.5", "soon", "Sat, 99 Nov 2026 10:01:00 GMT"] {
            assert_eq!(asked(429, bad), None, "{bad}");
        }
        assert_eq!(asked(500, "120"), None);
    }

    #[test]
    fn a_directive_is_one_of_two_words() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DIRECTIVE, HeaderValue::from_str(value).unwrap());
            directive(&headers)
        };
        assert_eq!(asked("disable"), Some(Directive::Disable));
        assert_eq!(asked(" Abort-Message "), Some(Directive::AbortMessage));
        assert_eq!(asked("abort"), None);
        assert_eq!(directive(&HeaderMap::new()), None);
    }

    #[test]
    fn statuses_have_their_outcomes_and_words() {
        let of = |code| status(StatusCode::from_u16(code).unwrap());
        assert_eq!([of(200), of(204), of(299)], [AttemptOutcome::Succeeded; 3]);
        assert_eq!([of(301), of(304), of(399)], [AttemptOutcome::Redirect; 3]);
        assert_eq!(of(410), AttemptOutcome::Gone);
        assert_eq!([of(400), of(429), of(500), of(999)], [AttemptOutcome::HttpStatus; 4]);
        let words = |code| complaint(StatusCode::from_u16(code).unwrap());
        assert_eq!(words(200), None);
        assert_eq!(words(502).unwrap(), "the endpoint answered 502 Bad Gateway");
        assert_eq!(words(599).unwrap(), "the endpoint answered 599");
    }
}
