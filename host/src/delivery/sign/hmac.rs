//! HMAC signatures of other senders: GitHub's, Stripe's, and whatever a template says.
//!
//! Owns how these look in a header. Never decides which secret signs.

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::{ID, MAX_SIGNATURES, Signed, TIMESTAMP, VerifyError, fresh, key_bytes, mac, text};
use crate::model::{
    Scheme, Secret, Timestamp,
    signing::{Algorithm, Encoding, KeyForm, Piece, Template},
};

/// A scheme's headers; none if nothing of it can be made.
pub(super) fn headers<'a>(
    scheme: &Scheme,
    mut secrets: impl Iterator<Item = &'a Secret>,
    signed: &Signed<'_>,
) -> Vec<(String, String)> {
    let name = scheme.signature_header().into_owned();
    if let Scheme::Stripe(_) = scheme {
        let signatures: String = secrets
            .take(MAX_SIGNATURES)
            .map(|secret| format!(",v1={}", hex::encode(stripe(secret.key(), signed))))
            .collect();
        let value = format!("t={}{signatures}", signed.stamp);
        return if signatures.is_empty() { Vec::new() } else { vec![(name, value)] };
    }
    let Some(template) = template(scheme) else { return Vec::new() };
    // A header has room for one of these signatures, so the newest secret makes it.
    let Some(secret) = secrets.next() else { return Vec::new() };
    let Ok(key) = key_bytes(template.key, &String::from_utf8_lossy(secret.key())) else {
        return Vec::new();
    };
    let Some(signature) = digest(&template, &key, signed) else { return Vec::new() };
    let encoded = match template.encoding {
        Encoding::Hex => hex::encode(signature),
        Encoding::Base64 => STANDARD.encode(signature),
    };
    let mut headers = vec![(name, format!("{}{encoded}", template.prefix))];
    let also = [(&template.timestamp_header, signed.stamp), (&template.id_header, signed.id)];
    headers
        .extend(also.into_iter().filter_map(|(name, value)| Some((name.clone()?, value.into()))));
    headers
}

/// Whether a holder of the key signed the message by this scheme.
pub(super) fn check(
    scheme: &Scheme,
    key: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    tolerance: Option<Duration>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let name = scheme.signature_header();
    let given = text(headers, &name)?;
    let Some(template) = template(scheme) else {
        return check_stripe(&name, given, key, body, tolerance, now);
    };
    let malformed = || VerifyError::Malformed(name.clone().into_owned());
    let encoded = given.strip_prefix(template.prefix.as_str()).ok_or_else(malformed)?;
    let signature = match template.encoding {
        Encoding::Hex => hex::decode(encoded).ok(),
        Encoding::Base64 => STANDARD.decode(encoded).ok(),
    };
    let signature = signature.ok_or_else(malformed)?;
    let pieces =
        Piece::parse(&template.content).map_err(|_| VerifyError::WrongKey(scheme.name().into()))?;
    let told = |wanted, own: &Option<String>, usual: &'static str| {
        let name = own.as_deref().unwrap_or(usual);
        if pieces.contains(&wanted) {
            text(headers, name).map(str::to_owned)
        } else {
            Ok(String::new())
        }
    };
    let stamp = told(Piece::Timestamp, &template.timestamp_header, TIMESTAMP)?;
    let id = told(Piece::Id, &template.id_header, ID)?;
    if pieces.contains(&Piece::Timestamp) {
        let name = template.timestamp_header.as_deref().unwrap_or(TIMESTAMP);
        fresh(&stamp, name, tolerance, now)?;
    }
    let expected = digest(&template, key, &Signed { id: &id, stamp: &stamp, body });
    let matches = expected.is_some_and(|expected| bool::from(expected.ct_eq(&signature)));
    if matches { Ok(()) } else { Err(VerifyError::NoMatch) }
}

/// The template that a scheme of one signature is, GitHub's being fixed; none for Stripe's.
fn template(scheme: &Scheme) -> Option<Cow<'_, Template>> {
    match scheme {
        Scheme::Hmac(template) => Some(Cow::Borrowed(template)),
        Scheme::Github(_) => Some(Cow::Owned(Template {
            name: None,
            header: scheme.signature_header().into_owned(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: "sha256=".into(),
            content: "{body}".into(),
            timestamp_header: None,
            id_header: None,
            key: KeyForm::Text,
            secret: None,
        })),
        Scheme::Stripe(_) | Scheme::Standard(_) | Scheme::StandardAsymmetric(_) => None,
    }
}

fn digest(template: &Template, key: &[u8], signed: &Signed<'_>) -> Option<Vec<u8>> {
    let pieces = Piece::parse(&template.content).ok()?;
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Text(text) => text.as_bytes(),
        Piece::Body => signed.body,
        Piece::Timestamp => signed.stamp.as_bytes(),
        Piece::Id => signed.id.as_bytes(),
    });
    Some(mac(template.algorithm, key, parts))
}

fn stripe(key: &[u8], signed: &Signed<'_>) -> Vec<u8> {
    mac(Algorithm::Sha256, key, [signed.stamp.as_bytes(), b".", signed.body])
}

/// `t=…` once and `v1=…` as often as there are secrets; other members are for others.
fn check_stripe(
    name: &str,
    given: &str,
    key: &[u8],
    body: &[u8],
    tolerance: Option<Duration>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let members = || given.split(',').filter_map(|member| member.trim().split_once('='));
    let stamp = members().find(|(member, _)| *member == "t").map(|(_, value)| value);
    let stamp = stamp.ok_or_else(|| VerifyError::Malformed(name.into()))?;
    fresh(stamp, name, tolerance, now)?;
    let expected = stripe(key, &Signed { id: "", stamp, body });
    let matches = members()
        .filter(|(member, _)| *member == "v1")
        .take(MAX_SIGNATURES)
        .filter_map(|(_, value)| hex::decode(value).ok())
        .any(|signature| bool::from(signature.ct_eq(&expected)));
    if matches { Ok(()) } else { Err(VerifyError::NoMatch) }
}
