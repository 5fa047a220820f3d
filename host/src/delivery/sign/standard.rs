//! Standard Webhooks' signatures: `v1` (HMAC-SHA256) and `v1a` (Ed25519).
//!
//! Owns the signing string `id.timestamp.body` and the header with several signatures. Never
//! chooses secrets.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::{Key, MAX_SIGNATURES, Signed, VerifyError, fresh, mac, text};
use crate::model::{
    Secret, SecretKind, Timestamp,
    signing::{Algorithm, HeaderPrefix},
};

const V1: &str = "v1,";
const V1A: &str = "v1a,";
/// `v1,` and the base64 of 32 bytes.
const SIGNATURE_LENGTH: usize = 3 + 44;

/// The names of the three headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub id: &'static str,
    pub timestamp: &'static str,
    pub signature: &'static str,
}

pub(super) const fn names(prefix: HeaderPrefix) -> Names {
    match prefix {
        HeaderPrefix::Webhook => Names {
            id: "webhook-id",
            timestamp: "webhook-timestamp",
            signature: "webhook-signature",
        },
        HeaderPrefix::Svix => {
            Names { id: "svix-id", timestamp: "svix-timestamp", signature: "svix-signature" }
        }
    }
}

/// The value of the signature header: one signature for every secret of Standard Webhooks.
pub fn sign<'a>(secrets: impl IntoIterator<Item = &'a Secret>, signed: &Signed<'_>) -> String {
    let mut value = String::with_capacity(SIGNATURE_LENGTH);
    for secret in secrets {
        let (version, signature) = match secret.kind() {
            SecretKind::Symmetric => (V1, digest(secret.key(), signed)),
            SecretKind::Asymmetric => match secret.signing_key() {
                Some(key) => (V1A, ed25519(&key, signed)),
                None => continue,
            },
            SecretKind::Named(_) => continue,
        };
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(version);
        STANDARD.encode_string(signature, &mut value);
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
    let key = secret.public_key().map_or_else(|| Key::Hmac(secret.key().to_vec()), Key::Public);
    check(HeaderPrefix::Webhook, &key, headers, body, Some(tolerance), now)
}

/// The same with either kind of key, and no limit of age if none is given.
pub(super) fn check(
    prefix: HeaderPrefix,
    key: &Key,
    headers: &HeaderMap,
    body: &[u8],
    tolerance: Option<Duration>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let names = names(prefix);
    let (id, stamp) = (text(headers, names.id)?, text(headers, names.timestamp)?);
    let signatures = text(headers, names.signature)?;
    fresh(stamp, names.timestamp, tolerance, now)?;
    let signed = Signed { id, stamp, body };
    let matches = match key {
        Key::Hmac(key) => {
            let expected = digest(key, &signed);
            of_version(signatures, V1).any(|one| bool::from(one.ct_eq(&expected)))
        }
        Key::Public(key) => {
            let content = content(&signed);
            of_version(signatures, V1A).any(|one| key.verifies(&content, &one))
        }
    };
    if matches {
        return Ok(());
    }
    let (wanted, other) = match key {
        Key::Hmac(_) => (V1, V1A),
        Key::Public(_) => (V1A, V1),
    };
    let has = |version| signatures.split(' ').any(|one| one.starts_with(version));
    Err(if has(other) && !has(wanted) {
        VerifyError::OtherVersion { wanted: bare(wanted), found: bare(other) }
    } else {
        VerifyError::NoMatch
    })
}

fn bare(version: &'static str) -> &'static str {
    version.trim_end_matches(',')
}

fn of_version(signatures: &str, version: &str) -> impl Iterator<Item = Vec<u8>> {
    signatures
        .split(' ')
        .filter_map(move |signature| signature.strip_prefix(version))
        .take(MAX_SIGNATURES)
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
}

fn digest(key: &[u8], signed: &Signed<'_>) -> Vec<u8> {
    let parts = [signed.id.as_bytes(), b".", signed.stamp.as_bytes(), b".", signed.body];
    mac(Algorithm::Sha256, key, parts)
}

fn ed25519(key: &ed25519_dalek::SigningKey, signed: &Signed<'_>) -> Vec<u8> {
    use ed25519_dalek::Signer;
    key.sign(&content(signed)).to_bytes().to_vec()
}

/// Ed25519 reads what it signs twice, so it has to be in one piece.
fn content(signed: &Signed<'_>) -> Vec<u8> {
    [signed.id.as_bytes(), b".", signed.stamp.as_bytes(), b".", signed.body].concat()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::{
        super::{ID, SIGNATURE, TIMESTAMP, TOLERANCE},
        *,
    };

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

    fn signed<'a>(stamp: &'a str, body: &'a [u8]) -> Signed<'a> {
        Signed { id: MESSAGE, stamp, body }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        assert_eq!(sign([&secret(SECRET)], &signed("1614265330", BODY)), EXPECTED);
    }

    #[test]
    fn both_secrets_of_a_rotation_verify() {
        let (new, old) = (Secret::from_key(vec![1; 32]).unwrap(), secret(SECRET));
        let signature = sign([&new, &old], &signed("1614265330", BODY));
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
        assert_eq!(check(SECONDS + 301), Err(VerifyError::TooOld(301)));
        assert_eq!(check(SECONDS - 300), Ok(()));
        assert_eq!(check(SECONDS - 301), Err(VerifyError::TooNew(301)));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let check =
            |headers: &HeaderMap| verify(&secret(SECRET), headers, BODY, TOLERANCE, at(SECONDS));
        for name in [ID, TIMESTAMP, SIGNATURE] {
            let mut without = headers(MESSAGE, SECONDS, EXPECTED);
            without.remove(name);
            assert_eq!(check(&without), Err(VerifyError::Missing(name.into())));
        }
        let mut odd = headers(MESSAGE, SECONDS, EXPECTED);
        odd.insert(TIMESTAMP, HeaderValue::from_static("yesterday"));
        assert_eq!(check(&odd), Err(VerifyError::Malformed(TIMESTAMP.into())));
        for signature in ["", "v1,", "v1,!!", &EXPECTED[3..]] {
            assert_eq!(check(&headers(MESSAGE, SECONDS, signature)), Err(VerifyError::NoMatch));
        }
    }

    // The example that implementations of v1a share, first in Svix's server.
    #[test]
    fn the_known_v1a_example_is_signed_as_it_says() {
        let key = secret(
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        );
        let public = key.public_key().unwrap().to_string();
        assert_eq!(public, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
        let expected = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(sign([&key], &signed("1614265330", BODY)), expected);
        let headers = headers(MESSAGE, SECONDS, expected);
        assert_eq!(verify(&key, &headers, BODY, TOLERANCE, at(SECONDS)), Ok(()));
    }

    #[test]
    fn of_very_many_signatures_only_the_first_are_looked_at() {
        let key = Secret::from_seed([5; 32]);
        for (secret, version) in [(&key, "v1a,"), (&secret(SECRET), "v1,")] {
            let good = sign([secret], &signed("1614265330", BODY));
            let other = format!("{version}{} ", STANDARD.encode([7; 64]));
            let checked = |others: usize| {
                let headers = headers(MESSAGE, SECONDS, &(other.repeat(others) + &good));
                verify(secret, &headers, BODY, TOLERANCE, at(SECONDS))
            };
            assert_eq!(checked(MAX_SIGNATURES - 1), Ok(()));
            assert_eq!(checked(MAX_SIGNATURES), Err(VerifyError::NoMatch));
        }
    }

    #[test]
    fn both_kinds_of_secret_sign_one_request() {
        let (hmac, pair) = (secret(SECRET), Secret::from_seed([5; 32]));
        let value = sign([&hmac, &pair], &signed("1614265330", BODY));
        assert!(value.starts_with(EXPECTED) && value.contains(" v1a,"), "{value}");
        for holder in [&hmac, &pair] {
            let headers = headers(MESSAGE, SECONDS, &value);
            assert_eq!(verify(holder, &headers, BODY, TOLERANCE, at(SECONDS)), Ok(()));
        }
        let only = headers(MESSAGE, SECONDS, EXPECTED);
        assert_eq!(
            verify(&pair, &only, BODY, TOLERANCE, at(SECONDS)),
            Err(VerifyError::OtherVersion { wanted: "v1a", found: "v1" })
        );
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
            let headers = headers(MESSAGE, SECONDS, &sign([&secret], &signed("1614265330", &body)));
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
