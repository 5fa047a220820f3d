//! The header `Idempotency-Key`, as the IETF's draft has it.
//!
//! Owns how a key is written. Never remembers one.

use std::borrow::Cow;

use axum::http::HeaderMap;

use super::{
    envelope::MAX_TEXT,
    problem::{Code, Problem},
};

/// The header that makes a request safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that says an answer was given before.
pub const REPLAYED: &str = "idempotency-replayed";

/// The request's idempotency key, if it has one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let refused = |why: &str| {
        Problem::new(Code::InvalidHeader, "The Idempotency-Key cannot be used").detail(why)
    };
    let key = value.to_str().ok().filter(|key| key.bytes().all(|b| (b' '..=b'~').contains(&b)));
    let key = key.ok_or_else(|| refused("It has other characters than visible ASCII."))?;
    let key = unquoted(key).ok_or_else(|| {
        refused("It begins with a quotation mark, and is no string as RFC 9651 writes one.")
    })?;
    if key.is_empty() || key.len() > MAX_TEXT {
        return Err(refused("It must have 1 to 255 characters."));
    }
    if headers.get_all(IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(refused("It is there more than once."));
    }
    Ok(Some(key.into_owned()))
}

/// A key as it is meant: a string of RFC 9651 without its quotation marks, as the IETF's draft
/// of the header has it, or a bare word as most clients send it. None for a string that has no
/// end or something after it.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = text.strip_prefix('"') else { return Some(text.into()) };
    let mut key = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(key.into()),
            '\\' => key.push(letters.next().filter(|letter| matches!(letter, '"' | '\\'))?),
            letter => key.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_keys_are_short_and_visible() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, axum::http::HeaderValue::from_bytes(value).unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(with(b"abc").unwrap().as_deref(), Some("abc"));
        assert_eq!(with(b"\"abc\"").unwrap().as_deref(), Some("abc"));
        assert_eq!(with(br#""a\"b\\c""#).unwrap().as_deref(), Some(r#"a"b\c"#));
        for bad in [&b"\""[..], b"\"\"", b"\"a\"b", b"\"a\\x\"", b"\"a\\\"", b"a\tb"] {
            assert_eq!(with(bad).unwrap_err().code(), Code::InvalidHeader, "{bad:?}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        for bad in [&b""[..], b"\xff", &[b'x'; 256]] {
            assert_eq!(with(bad).unwrap_err().code(), Code::InvalidHeader);
        }
    }
}
