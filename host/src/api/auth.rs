//! Who asks, and for whom: admin keys, and the application a request acts for.
//!
//! Owns the keys' form and their comparison. Never stores a key: it knows hashes only.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Api, door, explain, limits,
    problem::{Code, Problem},
};
use crate::model::Application;

/// What an admin key starts with, so leaked ones can be found by searching.
pub const KEY_PREFIX: &str = "hmk_admin_";

/// The header that names the application a request acts for.
pub const APPLICATION_HEADER: &str = "hookmill-application";

/// A new admin key: the prefix and 256 random bits in 43 characters. Fails if the
/// operating system has no randomness to give.
pub fn generate_key() -> Result<String, getrandom::Error> {
    let mut bits = [0u8; 32];
    getrandom::fill(&mut bits)?;
    Ok(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

/// What is stored of a key. Its 256 random bits make a slow hash pointless.
pub fn hash_key(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// A key that is let in.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// What the history calls whoever uses it.
    pub name: Arc<str>,
    /// What is known of the key itself.
    pub hash: [u8; 32],
}

/// The keys that are let in.
#[derive(Clone)]
pub struct Auth(Arc<[KnownKey]>);

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({} keys)", self.0.len())
    }
}

impl Auth {
    /// Lets these keys in.
    pub fn new(keys: Vec<KnownKey>) -> Self {
        Self(keys.into())
    }

    /// Whose key a request carries; refuses one that carries none or a wrong one.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Arc<str>, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Err(unauthorized("The request carries no key", "Bearer realm=\"hookmill\""));
        };
        let key = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim());
        let Some(key) = key else {
            return Err(unauthorized(
                "The Authorization header is not of the form Bearer and a key",
                "Bearer realm=\"hookmill\", error=\"invalid_request\"",
            ));
        };
        self.owner(key).ok_or_else(|| {
            unauthorized(
                "The key is not one of this server's",
                "Bearer realm=\"hookmill\", error=\"invalid_token\"",
            )
        })
    }

    /// Compares with every hash to its end, so time tells nothing of how near a key came.
    fn owner(&self, key: &str) -> Option<Arc<str>> {
        let hash = hash_key(key);
        let compared: Vec<bool> = self.0.iter().map(|key| key.hash.ct_eq(&hash).into()).collect();
        let found = compared.iter().position(|&same| same)?;
        Some(Arc::clone(&self.0[found].name))
    }
}

fn unauthorized(title: &str, challenge: &'static str) -> Problem {
    Problem::new(Code::Unauthorized, title)
        .detail(
            "Send `Authorization: Bearer hmk_admin_…` with the key that `hookmill serve` showed.",
        )
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// A request that carries an admin key, for what belongs to no application.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl FromRequestParts<Arc<Api>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        api.auth.verify(&parts.headers).map(|_| Self)
    }
}

/// A request that carries an admin key, and the application it acts for: the one its header
/// names, else `default`.
#[derive(Debug, Clone)]
pub struct Acting {
    /// The application.
    pub application: Arc<Application>,
    /// Whose key it carries, for the history of changes.
    pub by: Arc<str>,
}

impl FromRequestParts<Arc<Api>> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let by = api.auth.verify(&parts.headers)?;
        let name = named_application(&parts.headers)?;
        match find_application(api, name) {
            Some(application) => {
                if !door::publishes(&parts.method, parts.uri.path()) {
                    limits::request(api, &parts.extensions, &application, &by)?;
                }
                Ok(Self { application, by })
            }
            None => {
                let known = api.catalog.applications();
                Err(Problem::new(
                    Code::UnknownApplication,
                    format!("There is no application {name}"),
                )
                .did_you_mean(explain::closest(name, known.iter().map(|app| app.name.as_str())))
                .detail("The header Hookmill-Application takes an application's name or id."))
            }
        }
    }
}

/// The application of this name or id.
pub fn find_application(api: &Api, name_or_id: &str) -> Option<Arc<Application>> {
    match name_or_id.parse() {
        Ok(id) => api.catalog.application(id),
        Err(_) => api.catalog.application_named(name_or_id),
    }
}

fn named_application(headers: &HeaderMap) -> Result<&str, Problem> {
    match headers.get(APPLICATION_HEADER) {
        None => Ok(Application::DEFAULT),
        Some(value) => value.to_str().map_err(|_| {
            Problem::new(Code::InvalidHeader, "The header Hookmill-Application is not a name or id")
        }),
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse};

    use super::*;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn auth(keys: &[&str]) -> Auth {
        let known =
            |key: &&str| KnownKey { name: Arc::from(&key[key.len() - 1..]), hash: hash_key(key) };
        Auth::new(keys.iter().map(known).collect())
    }

    #[test]
    fn every_known_key_is_let_in_whatever_the_case_of_the_scheme() {
        let auth = auth(&["hmk_admin_a", "hmk_admin_b"]);
        for good in ["Bearer hmk_admin_a", "bearer hmk_admin_b", "BEARER  hmk_admin_a"] {
            assert!(auth.verify(&with(good)).is_ok(), "{good}");
        }
        // The one whose key it was is named, not just any.
        assert_eq!(&*auth.verify(&with("Bearer hmk_admin_b")).unwrap(), "b");
    }

    #[test]
    fn everything_else_is_refused_with_a_challenge() {
        let auth = auth(&["hmk_admin_a"]);
        let refused = [
            HeaderMap::new(),
            with(""),
            with("Bearer"),
            with("Bearer "),
            with("Bearer hmk_admin_b"),
            with("Bearer hmk_admin_a b"),
            with("Basic aG1rX2FkbWluX2E6"),
            with("hmk_admin_a"),
        ];
        for headers in refused {
            let response = auth.verify(&headers).unwrap_err().into_response();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{headers:?}");
            let challenge = response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.starts_with("Bearer realm=\"hookmill\""), "{challenge}");
        }
    }

    #[test]
    fn no_keys_let_nobody_in() {
        let nobody = Auth::new(Vec::new());
        assert!(nobody.verify(&with("Bearer ")).is_err());
        assert!(nobody.verify(&with("Bearer hmk_admin_a")).is_err());
    }

    #[test]
    fn generated_keys_are_long_and_never_the_same() {
        let (one, two) = (generate_key().unwrap(), generate_key().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), KEY_PREFIX.len() + 43);
        assert!(auth(&[&one]).verify(&with(&format!("Bearer {one}"))).is_ok());
        assert!(auth(&[&one]).verify(&with(&format!("Bearer {two}"))).is_err());
    }

    #[test]
    fn without_a_header_a_request_acts_for_default() {
        assert_eq!(named_application(&HeaderMap::new()).unwrap(), "default");
    }
}
