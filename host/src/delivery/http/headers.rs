//! Which headers a subscription or a plugin may set, and the request's headers as a whole.
//!
//! Owns the list of the reserved. Never signs.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Longest name, and longest value, in bytes.
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 4096;

/// Names that say how the message travels, or what it is: the server's to set.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "via",
];
/// Families of such names.
const RESERVED_PREFIXES: [&str; 3] = ["hookmill-", "proxy-", "webhook-"];

/// Why a header cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// The name is not one.
    #[error("is not a header name of at most {MAX_NAME} bytes")]
    Name,
    /// The server sets it.
    #[error("is set by the server and cannot be replaced")]
    Reserved,
    /// The value has line breaks, control characters or letters beyond ASCII, or is too long.
    #[error("has a value that is not visible ASCII of at most {MAX_VALUE} bytes")]
    Value,
}

/// Whether a subscription or a plugin may set the header. `user-agent` it may.
pub fn check_header(name: &str, value: &str) -> Result<(), HeaderProblem> {
    parse(name, value).map(drop)
}

fn parse(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HeaderProblem> {
    if name.len() > MAX_NAME {
        return Err(HeaderProblem::Name);
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderProblem::Name)?;
    let reserved = RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
    if reserved {
        return Err(HeaderProblem::Reserved);
    }
    let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if value.len() > MAX_VALUE || !visible {
        return Err(HeaderProblem::Value);
    }
    let value = HeaderValue::from_str(value).map_err(|_| HeaderProblem::Value)?;
    Ok((name, value))
}

/// Sets the headers that may be set. One that may not was refused where it came in; should
/// it have slipped through, it is left out rather than the delivery given up.
pub(in crate::delivery) fn set<'a>(
    headers: &mut HeaderMap,
    wanted: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    for (name, value) in wanted {
        if let Ok((name, value)) = parse(name, value) {
            headers.insert(name, value);
        }
    }
}

/// Most of a response's headers that are kept, and the longest value.
const MAX_TOLD: usize = 16;
const MAX_TOLD_VALUE: usize = 256;

/// What an endpoint's answer says to whoever sends webhooks: its `webhook-` headers.
pub(super) fn told(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, value)| {
            name.as_str().starts_with("webhook-") && value.len() <= MAX_TOLD_VALUE
        })
        .take(MAX_TOLD)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_sets_is_reserved_in_any_case() {
        for name in [
            "Host",
            "content-length",
            "Content-Type",
            "CONNECTION",
            "transfer-encoding",
            "te",
            "upgrade",
            "Proxy-Authorization",
            "webhook-id",
            "Webhook-Signature",
            "hookmill-x",
        ] {
            assert_eq!(check_header(name, "x"), Err(HeaderProblem::Reserved), "{name}");
        }
        for name in ["Authorization", "x-team", "user-agent"] {
            assert_eq!(check_header(name, "Bearer x"), Ok(()), "{name}");
        }
    }

    #[test]
    fn nothing_can_be_smuggled_in() {
        for name in ["", "a b", "a:b", "a\r\nb", "ä", &"n".repeat(129)] {
            assert_eq!(check_header(name, "x"), Err(HeaderProblem::Name), "{name}");
        }
        for value in ["a\r\nb: c", "a\nb", "\0", "ä", &"v".repeat(4097)] {
            assert_eq!(check_header("x", value), Err(HeaderProblem::Value), "{value}");
        }
    }

    #[test]
    fn of_an_answer_only_what_is_meant_for_the_sender_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        headers.insert("webhook-allowed-origin", HeaderValue::from_static("*"));
        let long = HeaderValue::from_str(&"v".repeat(257)).unwrap();
        headers.insert("webhook-long", long);
        let kept = told(&headers);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept["webhook-allowed-origin"], "*");
    }

    #[test]
    fn later_headers_replace_earlier_ones_and_reserved_ones_are_left_out() {
        let mut headers = HeaderMap::new();
        set(&mut headers, [("x-a", "1"), ("X-A", "2"), ("host", "evil")]);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-a"], "2");
    }
}
