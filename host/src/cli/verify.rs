//! Verifies Standard Webhooks signatures, as a receiver does.
//!
//! Owns what a receiver checks and how it says what is wrong. Never signs, never reads a clock.

use std::time::Duration;

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use crate::model::{Secret, Timestamp};

/// How old or early a message may be: Standard Webhooks' five minutes.
pub(super) const TOLERANCE: Duration = Duration::from_secs(300);

/// Why a request is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unverified {
    /// A header that carries the signature is missing or no text.
    #[error("the header {0} is missing")]
    Header(&'static str),
    /// The timestamp is not a number of seconds.
    #[error("webhook-timestamp is not a number of seconds")]
    Timestamp,
    /// The timestamp is too far from now.
    #[error("webhook-timestamp is {0} s from now, more than {tolerance} s", tolerance = TOLERANCE.as_secs())]
    Stale(u64),
    /// No signature in the list is right.
    #[error("no signature matches the secret")]
    Mismatch,
}

/// Checks a request's headers and body against a secret.
pub(super) fn request(
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Unverified> {
    let header = |name: &'static str| {
        headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Unverified::Header(name))
    };
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    verify(secret, id, timestamp, header("webhook-signature")?, body, now, TOLERANCE)
}

fn verify(
    secret: &Secret,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Unverified> {
    let seconds: i64 = timestamp.parse().map_err(|_| Unverified::Timestamp)?;
    let distance = now.as_second().abs_diff(seconds);
    if distance > tolerance.as_secs() {
        return Err(Unverified::Stale(distance));
    }
    let expected = mac(secret, id, timestamp, body).ok_or(Unverified::Mismatch)?;
    let matches = signatures
        .split(' ')
        .filter_map(|part| part.strip_prefix("v1,"))
        .any(|found| STANDARD.decode(found).is_ok_and(|found| found.ct_eq(&expected).into()));
    if matches { Ok(()) } else { Err(Unverified::Mismatch) }
}

/// HMAC-SHA256 of `id.timestamp.body`; none only if the key cannot be one.
fn mac(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.key()).ok()?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn check(signatures: &str, body: &[u8], now: i64) -> Result<(), Unverified> {
        let now = Timestamp::from_second(now).unwrap();
        verify(&SECRET.parse().unwrap(), ID, TIMESTAMP, signatures, body, now, TOLERANCE)
    }

    #[test]
    fn the_specifications_example_verifies() {
        assert_eq!(check(SIGNATURE, BODY, 1_614_265_330), Ok(()));
        let several = format!("v1a,xx v1,AAAA {SIGNATURE}");
        assert_eq!(check(&several, BODY, 1_614_265_330 + 300), Ok(()));
    }

    #[test]
    fn what_was_changed_or_is_old_does_not() {
        assert_eq!(check(SIGNATURE, b"{}", 1_614_265_330), Err(Unverified::Mismatch));
        assert_eq!(check("v1,", BODY, 1_614_265_330), Err(Unverified::Mismatch));
        assert_eq!(check(SIGNATURE, BODY, 1_614_265_330 - 301), Err(Unverified::Stale(301)));
    }

    #[test]
    fn a_missing_header_is_named() {
        let result =
            request(&SECRET.parse().unwrap(), &HeaderMap::new(), BODY, Timestamp::UNIX_EPOCH);
        assert_eq!(result, Err(Unverified::Header("webhook-id")));
    }
}
