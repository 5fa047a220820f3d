//! Whether a request is one that a source's third party made.
//!
//! Owns which headers that takes and their bounds. A pure function of request, secrets and time.
//! Every secret is compared to the end, whichever fits.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::refusal::{Reason, Refusal};
use crate::{
    delivery::sign::{self, Key, VerifyError},
    model::{
        Scheme, Source, SourceKind, Timestamp,
        signing::{
            Algorithm, Encoding, HeaderPrefix, KeyForm, Preset, Standard, StandardAsymmetric,
            Template,
        },
    },
};

/// The prefix of Standard Webhooks' public keys.
const PUBLIC_KEY: &str = "whpk_";

/// Whether one of the source's secrets made the request's signature, about `now`.
pub(super) fn verify(
    source: &Source,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Refusal> {
    let kind = source.settings.kind;
    let active: Vec<&str> = source
        .secrets
        .iter()
        .filter(|secret| secret.is_active(now))
        .map(|secret| secret.text.reveal())
        .collect();
    if active.is_empty() {
        return Err(Refusal::new(Reason::NoSecret, "the source has no secret to verify it with"));
    }
    if kind == SourceKind::Basic {
        let username = source.settings.username.as_deref().unwrap_or_default();
        return basic(username, &active, headers);
    }
    let prefix = header_prefix(headers);
    for name in signed_headers(source, prefix) {
        once(headers, &name)?;
    }
    if matches!(kind, SourceKind::Github | SourceKind::Stripe | SourceKind::Slack) {
        lower_case(headers, &signature_header(source, prefix))?;
    }
    let tolerance = Some(Duration::from_secs(source.settings.tolerance_seconds.into()));
    let mut found = Err(Refusal::new(Reason::NoMatch, VerifyError::NoMatch.to_string()));
    for secret in active {
        let Some(scheme) = scheme(source, prefix, secret) else { continue };
        let Ok(key) = Key::parse(&scheme, secret) else { continue };
        let checked = sign::check(&scheme, &key, headers, body, tolerance, now);
        match checked {
            Ok(()) => found = Ok(()),
            Err(error) if found.is_err() => found = Err(refusal(&error)),
            Err(_) => {}
        }
    }
    found
}

/// Whether a source of this kind could verify anything with the text; else what it should be.
pub fn check_secret(source: &Source, text: &str) -> Result<(), String> {
    const MOST: usize = 512;
    if text.is_empty() || text.len() > MOST {
        return Err(format!("has {} bytes; 1 to {MOST} are allowed", text.len()));
    }
    let is_odd = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || c.is_control());
    if is_odd(text.chars().next()) || is_odd(text.chars().next_back()) {
        return Err("begins or ends with white space, which is no part of a secret".into());
    }
    if source.settings.kind == SourceKind::Basic {
        return Ok(());
    }
    match scheme(source, HeaderPrefix::Webhook, text) {
        Some(scheme) => Key::parse(&scheme, text).map(drop),
        None => Ok(()),
    }
}

fn refusal(error: &VerifyError) -> Refusal {
    let reason = match error {
        VerifyError::Missing(_) => Reason::MissingHeader,
        VerifyError::Malformed(_) => Reason::MalformedHeader,
        VerifyError::TooOld(_) => Reason::TooOld,
        VerifyError::TooNew(_) => Reason::TooNew,
        VerifyError::OtherVersion { .. } | VerifyError::NoMatch | VerifyError::WrongKey(_) => {
            Reason::NoMatch
        }
    };
    Refusal::new(reason, error.to_string())
}

/// Standard Webhooks come under two sets of names.
fn header_prefix(headers: &HeaderMap) -> HeaderPrefix {
    let svix = headers.contains_key("svix-signature") && !headers.contains_key("webhook-signature");
    if svix { HeaderPrefix::Svix } else { HeaderPrefix::Webhook }
}

/// The header with the id that Standard Webhooks sign.
pub(super) fn standard_id(headers: &HeaderMap) -> &'static str {
    match header_prefix(headers) {
        HeaderPrefix::Webhook => "webhook-id",
        HeaderPrefix::Svix => "svix-id",
    }
}

/// The scheme by which a third party of this kind signs with this secret.
fn scheme(source: &Source, header_prefix: HeaderPrefix, secret: &str) -> Option<Scheme> {
    Some(match source.settings.kind {
        SourceKind::Github => Scheme::Github(Preset::default()),
        SourceKind::Stripe => Scheme::Stripe(Preset::default()),
        SourceKind::Shopify => Scheme::Hmac(Template {
            encoding: Encoding::Base64,
            ..template("x-shopify-hmac-sha256", "", "{body}", None)
        }),
        SourceKind::Slack => Scheme::Hmac(template(
            "x-slack-signature",
            "v0=",
            "v0:{timestamp}:{body}",
            Some("x-slack-request-timestamp"),
        )),
        SourceKind::StandardWebhooks if secret.starts_with(PUBLIC_KEY) => {
            Scheme::StandardAsymmetric(StandardAsymmetric { header_prefix, secret: None })
        }
        SourceKind::StandardWebhooks => Scheme::Standard(Standard { header_prefix }),
        SourceKind::Hmac => Scheme::Hmac(source.settings.hmac.as_ref()?.template()),
        SourceKind::Basic => return None,
    })
}

fn template(header: &str, prefix: &str, content: &str, timestamp_header: Option<&str>) -> Template {
    Template {
        name: None,
        header: header.into(),
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        prefix: prefix.into(),
        content: content.into(),
        timestamp_header: timestamp_header.map(Into::into),
        id_header: None,
        key: KeyForm::Text,
        secret: None,
    }
}

fn signature_header(source: &Source, prefix: HeaderPrefix) -> String {
    let scheme = scheme(source, prefix, "");
    scheme.map(|scheme| scheme.signature_header().into_owned()).unwrap_or_default()
}

/// Every header that the signature is in or is made over.
fn signed_headers(source: &Source, prefix: HeaderPrefix) -> Vec<String> {
    let mut names = vec![signature_header(source, prefix)];
    match scheme(source, prefix, "") {
        Some(Scheme::Hmac(template)) => {
            names.extend([template.timestamp_header, template.id_header].into_iter().flatten());
        }
        Some(Scheme::Standard(_)) => {
            let start = if prefix == HeaderPrefix::Svix { "svix" } else { "webhook" };
            names.extend([format!("{start}-id"), format!("{start}-timestamp")]);
        }
        _ => {}
    }
    names
}

/// Of a header that is there twice, two readers may take different ones.
pub(super) fn once(headers: &HeaderMap, name: &str) -> Result<(), Refusal> {
    if headers.get_all(name).iter().count() > 1 {
        let why = format!("the request has more than one {name} header");
        return Err(Refusal::new(Reason::RepeatedHeader, why));
    }
    Ok(())
}

/// These third parties write lower-case hexadecimal, and nobody else's request is wanted.
fn lower_case(headers: &HeaderMap, name: &str) -> Result<(), Refusal> {
    let value = headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    if value.iter().any(u8::is_ascii_uppercase) {
        let why = format!("the {name} header has upper-case letters");
        return Err(Refusal::new(Reason::MalformedHeader, why));
    }
    Ok(())
}

fn basic(username: &str, passwords: &[&str], headers: &HeaderMap) -> Result<(), Refusal> {
    let name = header::AUTHORIZATION.as_str();
    once(headers, name)?;
    let Some(value) = headers.get(name) else {
        return Err(refusal(&VerifyError::Missing(name.into())));
    };
    let given = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
    let Some(given) = given else {
        return Err(refusal(&VerifyError::Malformed(name.into())));
    };
    // Digests have one length, so the time to compare them tells nothing of that of the text.
    let given = Sha256::digest(&given);
    let matching = passwords.iter().fold(subtle::Choice::from(0), |found, password| {
        found | Sha256::digest(format!("{username}:{password}")).ct_eq(&given)
    });
    if matching.into() {
        return Ok(());
    }
    Err(Refusal::new(Reason::NoMatch, "the user name or the password is another"))
}
