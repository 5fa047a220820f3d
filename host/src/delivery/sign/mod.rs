//! Signs requests, and checks signatures, by every scheme a subscription may have.
//!
//! Owns which headers a list of schemes comes to. Never chooses schemes, never keeps secrets.

mod hmac;
mod standard;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ::hmac::{Hmac, KeyInit, Mac};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

pub use self::standard::{sign, verify};
use crate::model::{
    PublicKey, Scheme, Secret, SecretKind, Timestamp,
    signing::{Algorithm, HeaderPrefix, KeyForm},
};

/// The header that names the message: the delivery's id, the same on every attempt.
pub const ID: &str = standard::names(HeaderPrefix::Webhook).id;
/// The header that says when the attempt was made, in seconds since 1970.
pub const TIMESTAMP: &str = standard::names(HeaderPrefix::Webhook).timestamp;
/// The header with the signatures, separated by spaces.
pub const SIGNATURE: &str = standard::names(HeaderPrefix::Webhook).signature;
/// How far a timestamp may be from now, either way, unless one has a reason.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Signatures of one scheme that a request has at most: those of secrets in grace. What more
/// there are nobody looks at, for each costs time.
pub const MAX_SIGNATURES: usize = 11;

/// Why a message is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is not there.
    #[error("the request has no {0} header")]
    Missing(String),
    /// A header is not what it should be.
    #[error("the {0} header cannot be read")]
    Malformed(String),
    /// It was signed too long ago: perhaps replayed.
    #[error("the message was signed too long ago: {0} s")]
    TooOld(i128),
    /// It was signed in the future: a clock is wrong.
    #[error("the message was signed {0} s in the future: is a clock wrong?")]
    TooNew(i128),
    /// The key is for signatures of another version.
    #[error("the signature is of version {found}, and the key for {wanted}")]
    OtherVersion {
        /// What the key verifies.
        wanted: &'static str,
        /// What the header has.
        found: &'static str,
    },
    /// No signature in it was made with this secret over these bytes.
    #[error("no signature matches: the secret is another, or the message was changed")]
    NoMatch,
    /// The scheme cannot be used with this key, or at all.
    #[error("the scheme {0} cannot be checked with this key")]
    WrongKey(String),
}

/// What is signed: a message as it is sent at a certain moment.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Seconds since 1970.
    pub stamp: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// What a signature is checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    /// What both sides have.
    Hmac(Vec<u8>),
    /// What only the sender has the other half of.
    Public(PublicKey),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hmac(_) => f.write_str("Hmac(hidden)"),
            Self::Public(key) => write!(f, "Public({key})"),
        }
    }
}

impl Key {
    /// The key that checks signatures of `scheme`, from the text its holder has; else what
    /// the text should be.
    pub fn parse(scheme: &Scheme, text: &str) -> Result<Self, String> {
        let secret = || text.parse::<Secret>().map_err(|error| error.to_string());
        match scheme {
            Scheme::Standard(_) => match secret()? {
                secret if *secret.kind() == SecretKind::Symmetric => {
                    Ok(Self::Hmac(secret.key().to_vec()))
                }
                _ => Err("is no whsec_ secret".into()),
            },
            Scheme::StandardAsymmetric(_) if text.starts_with("whsk_") => {
                let public = secret()?.public_key();
                public.map(Self::Public).ok_or_else(|| "is no whsk_ key".into())
            }
            Scheme::StandardAsymmetric(_) => text
                .parse()
                .map(Self::Public)
                .map_err(|error: crate::model::PublicKeyError| error.to_string()),
            Scheme::Github(_) | Scheme::Stripe(_) => Ok(Self::Hmac(text.as_bytes().to_vec())),
            Scheme::Hmac(template) => key_bytes(template.key, text).map(Self::Hmac),
        }
    }
}

fn key_bytes(form: KeyForm, text: &str) -> Result<Vec<u8>, String> {
    match form {
        KeyForm::Text => Ok(text.as_bytes().to_vec()),
        KeyForm::Hex => hex::decode(text).map_err(|_| "is not hexadecimal".into()),
        KeyForm::Base64 => STANDARD.decode(text).map_err(|_| "is not base64".into()),
    }
}

/// Sets the headers of all schemes, in their order, with the secrets that are active.
pub(in crate::delivery) fn set(
    headers: &mut HeaderMap,
    schemes: &[Scheme],
    secrets: &[Secret],
    signed: &Signed<'_>,
    now: Timestamp,
) {
    for prefix in [HeaderPrefix::Webhook, HeaderPrefix::Svix] {
        let wanted: Vec<_> = schemes.iter().filter_map(|scheme| kind(scheme, prefix)).collect();
        let signing =
            secrets.iter().filter(|secret| wanted.contains(secret.kind()) && secret.is_active(now));
        let value = sign(signing, signed);
        if value.is_empty() {
            continue;
        }
        let names = standard::names(prefix);
        put(headers, names.id, signed.id);
        put(headers, names.timestamp, signed.stamp);
        put(headers, names.signature, &value);
    }
    for scheme in schemes.iter().filter(|scheme| scheme.has_own_secret()) {
        let own = secrets.iter().filter(|secret| {
            matches!(secret.kind(), SecretKind::Named(name) if name == scheme.name())
                && secret.is_active(now)
        });
        for (name, value) in hmac::headers(scheme, own, signed) {
            put(headers, &name, &value);
        }
    }
}

/// The kind of secret that makes a scheme's signatures under these header names.
fn kind(scheme: &Scheme, prefix: HeaderPrefix) -> Option<SecretKind> {
    match scheme {
        Scheme::Standard(own) if own.header_prefix == prefix => Some(SecretKind::Symmetric),
        Scheme::StandardAsymmetric(own) if own.header_prefix == prefix => {
            Some(SecretKind::Asymmetric)
        }
        _ => None,
    }
}

/// Names were checked when the scheme was saved, and values are visible ASCII.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) =
        (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
    {
        headers.insert(name, value);
    }
}

/// Whether the message is one that a holder of the scheme's secret signed: about `now`, if
/// there is a tolerance and the scheme signs a time.
pub fn check(
    scheme: &Scheme,
    key: &Key,
    headers: &HeaderMap,
    body: &[u8],
    tolerance: Option<Duration>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    match (scheme, key) {
        (Scheme::Standard(own), Key::Hmac(_)) => {
            standard::check(own.header_prefix, key, headers, body, tolerance, now)
        }
        (Scheme::StandardAsymmetric(own), Key::Public(_)) => {
            standard::check(own.header_prefix, key, headers, body, tolerance, now)
        }
        (Scheme::Github(_) | Scheme::Stripe(_) | Scheme::Hmac(_), Key::Hmac(key)) => {
            hmac::check(scheme, key, headers, body, tolerance, now)
        }
        _ => Err(VerifyError::WrongKey(scheme.name().into())),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, VerifyError> {
    let value = headers.get(name).ok_or_else(|| VerifyError::Missing(name.into()))?;
    value.to_str().map_err(|_| VerifyError::Malformed(name.into()))
}

/// Whether a timestamp is near enough to now.
fn fresh(
    stamp: &str,
    name: &str,
    tolerance: Option<Duration>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let seconds: i64 = stamp.parse().map_err(|_| VerifyError::Malformed(name.into()))?;
    let Some(tolerance) = tolerance else { return Ok(()) };
    let age = i128::from(now.as_second()) - i128::from(seconds);
    let tolerance = i128::from(tolerance.as_secs());
    if age > tolerance {
        return Err(VerifyError::TooOld(age));
    }
    if age < -tolerance {
        return Err(VerifyError::TooNew(-age));
    }
    Ok(())
}

/// The HMAC of the parts in a row.
fn mac<'a>(algorithm: Algorithm, key: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha1 => mac_of::<Hmac<Sha1>>(key, parts),
        Algorithm::Sha256 => mac_of::<Hmac<Sha256>>(key, parts),
        Algorithm::Sha512 => mac_of::<Hmac<Sha512>>(key, parts),
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length, so no key is refused")]
fn mac_of<'a, M: KeyInit + Mac>(key: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
