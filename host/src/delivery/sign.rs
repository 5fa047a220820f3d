//! Signs messages, and checks signatures, by Standard Webhooks v1 (HMAC-SHA256).
//!
//! Owns the header names and the signing string `id.timestamp.body`. Never chooses
//! secrets, never copies a body.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::model::{Secret, Timestamp};

/// The header that names the message: the delivery's id, the same on every attempt.
pub const ID: &str = "webhook-id";
/// The header that says when the attempt was made, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures, separated by spaces.
pub const SIGNATURE: &str = "webhook-signature";
/// How far a timestamp may be from now, either way, unless one has a reason.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

const VERSION: &str = "v1,";
/// `v1,` and the base64 of 32 bytes.
const SIGNATURE_LENGTH: usize = 3 + 44;

/// Why a message is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is not there.
    #[error("the request has no {0} header")]
    Missing(&'static str),
    /// A header is not what it should be.
    #[error("the {0} header cannot be read")]
    Malformed(&'static str),
    /// It was signed too long ago: perhaps replayed.
    #[error("the message was signed too long ago")]
    TooOld,
    /// It was signed in the future: a clock is wrong.
    #[error("the message was signed in the future: is a clock wrong?")]
    TooNew,
    /// No signature in it was made with this secret over these bytes.
    #[error("no signature matches: the secret is another, or the message was changed")]
    NoMatch,
}

/// The value of the signature header: one signature for every secret.
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    id: &str,
    seconds: i64,
    body: &[u8],
) -> String {
    let mut value = String::with_capacity(SIGNATURE_LENGTH);
    for secret in secrets {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(VERSION);
        STANDARD.encode_string(digest(secret, id, &seconds.to_string(), body), &mut value);
    }
    value
}

/// Whether the message is one that a holder of `secret` signed, about `now`.
pub fn verify(
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    tolerance: Duration,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let (id, stamp) = (text(headers, ID)?, text(headers, TIMESTAMP)?);
    let signatures = text(headers, SIGNATURE)?;
    let seconds: i64 = stamp.parse().map_err(|_| VerifyError::Malformed(TIMESTAMP))?;
    let age = i128::from(now.as_second()) - i128::from(seconds);
    let tolerance = i128::from(tolerance.as_secs());
    if age > tolerance {
        return Err(VerifyError::TooOld);
    }
    if age < -tolerance {
        return Err(VerifyError::TooNew);
    }
    let expected = digest(secret, id, stamp, body);
    let matches = signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix(VERSION))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|signature| bool::from(signature.ct_eq(&expected)));
    if matches { Ok(()) } else { Err(VerifyError::NoMatch) }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, VerifyError> {
    let value = headers.get(name).ok_or(VerifyError::Missing(name))?;
    value.to_str().map_err(|_| VerifyError::Malformed(name))
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length, so no key is refused")]
fn digest(secret: &Secret, id: &str, stamp: &str, body: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.key()).expect("HMAC takes any key");
    for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    // The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const EXPECTED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> Secret {
        text.parse().unwrap()
    }

    fn headers(id: &str, seconds: i64, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ID, HeaderValue::from_str(id).unwrap());
        headers.insert(TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(SIGNATURE, HeaderValue::from_str(signature).unwrap());
        headers
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        assert_eq!(sign([&secret(SECRET)], MESSAGE, SECONDS, BODY), EXPECTED);
    }

    #[test]
    fn both_secrets_of_a_rotation_verify() {
        let (new, old) = (Secret::from_key(vec![1; 32]).unwrap(), secret(SECRET));
        let signature = sign([&new, &old], MESSAGE, SECONDS, BODY);
        let headers = headers(MESSAGE, SECONDS, &signature);
        for holder in [&new, &old] {
            assert_eq!(verify(holder, &headers, BODY, TOLERANCE, at(SECONDS)), Ok(()));
        }
        let other = Secret::from_key(vec![2; 32]).unwrap();
        let refused = verify(&other, &headers, BODY, TOLERANCE, at(SECONDS));
        assert_eq!(refused, Err(VerifyError::NoMatch));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        let check = |now| {
            verify(&secret(SECRET), &headers(MESSAGE, SECONDS, EXPECTED), BODY, TOLERANCE, at(now))
        };
        assert_eq!(check(SECONDS + 300), Ok(()));
        assert_eq!(check(SECONDS + 301), Err(VerifyError::TooOld));
        assert_eq!(check(SECONDS - 300), Ok(()));
        assert_eq!(check(SECONDS - 301), Err(VerifyError::TooNew));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let check =
            |headers: &HeaderMap| verify(&secret(SECRET), headers, BODY, TOLERANCE, at(SECONDS));
        for name in [ID, TIMESTAMP, SIGNATURE] {
            let mut without = headers(MESSAGE, SECONDS, EXPECTED);
            without.remove(name);
            assert_eq!(check(&without), Err(VerifyError::Missing(name)));
        }
        let mut odd = headers(MESSAGE, SECONDS, EXPECTED);
        odd.insert(TIMESTAMP, HeaderValue::from_static("yesterday"));
        assert_eq!(check(&odd), Err(VerifyError::Malformed(TIMESTAMP)));
        for signature in ["", "v1,", "v1,!!", "v1a,abc", &EXPECTED[3..]] {
            assert_eq!(check(&headers(MESSAGE, SECONDS, signature)), Err(VerifyError::NoMatch));
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_any_flipped_bit_does_not(
            key in prop::collection::vec(any::<u8>(), 24..=64),
            body in prop::collection::vec(any::<u8>(), 1..200),
            at_byte in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let secret = Secret::from_key(key).unwrap();
            let headers = headers(MESSAGE, SECONDS, &sign([&secret], MESSAGE, SECONDS, &body));
            prop_assert_eq!(verify(&secret, &headers, &body, TOLERANCE, at(SECONDS)), Ok(()));
            let mut flipped = body.clone();
            flipped[at_byte.index(body.len())] ^= 1 << bit;
            let refused = verify(&secret, &headers, &flipped, TOLERANCE, at(SECONDS));
            prop_assert_eq!(refused, Err(VerifyError::NoMatch));
        }

        #[test]
        fn hostile_headers_are_refused_without_a_panic(value in "[ -~]{0,80}") {
            let headers = headers(MESSAGE, SECONDS, &value);
            prop_assert!(verify(&secret(SECRET), &headers, BODY, TOLERANCE, at(SECONDS)).is_err());
        }
    }
}
