//! Tokens of an identity provider: JSON Web Tokens, checked against its published keys.
//!
//! Owns which claims count and how. A token that was found good is remembered until it ends,
//! so that its signature is checked once, or until the provider's keys change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    Caller, Kind, Reach,
    jwks::{Jwks, JwksSource, Look},
    ring,
    token::{self, Token},
};
use crate::{
    clock::Clock,
    model::{KeyScope, Scopes, Timestamp},
};

/// Longest token that is looked at.
const MAX_TOKEN: usize = 8 * 1024;
/// Most tokens that are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// What tokens may say they are. Others are for other purposes: to log out, to prove a key.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];
/// Longest subject, in bytes.
const MAX_SUBJECT: usize = 200;

/// Which tokens are accepted.
#[derive(Debug, Clone)]
pub struct JwtSettings {
    /// Where the provider's keys are.
    pub jwks: JwksSource,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or have among others.
    pub audience: String,
    /// The algorithms that tokens may be signed by.
    pub algorithms: Vec<String>,
    /// The claim that names the application.
    pub application_claim: String,
    /// The claim with the scopes: a text with spaces, or a list.
    pub scope_claim: String,
    /// What this server's scopes begin with there.
    pub scope_prefix: String,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// How long the provider's keys are good without another look.
    pub refresh: Duration,
    /// The shortest time between two looks for an unknown key.
    pub refetch: Duration,
}

/// Why a token is not accepted. Each says what is wrong, and nothing of what would be right
/// that its bearer does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("it is no JSON Web Token, or its `alg` is one that nobody accepts")]
    Malformed,
    #[error("its `alg` is not one that this server accepts")]
    Algorithm,
    #[error("its header has `crit`, which this server does not understand")]
    Critical,
    #[error("its `typ` is not that of an access token")]
    Type,
    #[error("its header has no `kid`")]
    NoKeyId,
    #[error("its `kid` is not one of the provider's keys")]
    UnknownKey,
    #[error("the key of its `kid` is not for its `alg`")]
    KeyMismatch,
    #[error("its signature does not hold")]
    Signature,
    #[error("it has no `{0}`")]
    Missing(String),
    #[error("its `{0}` cannot be read")]
    Unreadable(String),
    #[error("it has expired (`exp`)")]
    Expired,
    #[error("it is not valid yet (`nbf`)")]
    NotYet,
    #[error("its `iss` is not the provider that this server trusts")]
    Issuer,
    #[error("its `aud` is not this server")]
    Audience,
    #[error("it names no application and has no admin scope")]
    Nobody,
}

impl From<jsonwebtoken::errors::Error> for JwtError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        match error.into_kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::MissingRequiredClaim(claim) => Self::Missing(claim),
            ErrorKind::InvalidClaimFormat(claim) => Self::Unreadable(claim),
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYet,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Self::Algorithm,
            _ => Self::Malformed,
        }
    }
}

/// Whether a text has a token's three parts.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|&byte| byte == b'.').count() == 2
}

/// Whether a header asks for nothing that this server would pass over.
fn check_header(header: &Map<String, Value>) -> Result<(), JwtError> {
    // What must be understood is not; RFC 7515 has no empty list of it either.
    if header.contains_key("crit") {
        return Err(JwtError::Critical);
    }
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(of)) if TYPES.iter().any(|known| known.eq_ignore_ascii_case(of)) => {
            Ok(())
        }
        Some(_) => Err(JwtError::Type),
    }
}

/// The tokens that were found good.
#[derive(Default)]
struct Memory {
    tokens: HashMap<[u8; 32], Remembered>,
    /// Which key set they were checked by, counted.
    generation: u64,
}

struct Remembered {
    caller: Arc<Caller>,
    until: Timestamp,
}

/// See the module.
pub struct Jwts {
    settings: JwtSettings,
    algorithms: Vec<Algorithm>,
    jwks: Jwks,
    remembered: Mutex<Memory>,
}

impl std::fmt::Debug for Jwts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The algorithms of these names; fails on one that is never accepted.
fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    let known = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    let named = |name: &String| {
        known.into_iter().find(|algorithm| format!("{algorithm:?}") == *name).ok_or_else(|| {
            format!("{name} is no algorithm that tokens may be signed by; there are {known:?}")
        })
    };
    names.iter().map(named).collect()
}

impl Jwts {
    /// Reads the provider's keys. A file must be readable; a URL may answer later.
    pub async fn start(settings: JwtSettings, clock: Clock) -> Result<Self, String> {
        ring::install();
        let algorithms = algorithms(&settings.algorithms)?;
        let jwks = Jwks::new(settings.jwks.clone(), settings.refetch, clock)?;
        match (jwks.read().await, &settings.jwks) {
            (Err(error), JwksSource::File(_)) => return Err(error),
            (Err(error), JwksSource::Url(_)) => {
                tracing::warn!(%error, "the identity provider's keys cannot be read yet");
            }
            (Ok(_), _) => {}
        }
        Ok(Self { settings, algorithms, jwks, remembered: Mutex::default() })
    }

    /// Whose token this is.
    pub(super) async fn identify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Caller>, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::Malformed);
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let generation = match self.recall(&hash, now) {
            Ok(caller) => return Ok(caller),
            Err(generation) => generation,
        };
        let (caller, until) = self.check(token).await?;
        let caller = Arc::new(Caller { until: Some(until), ..caller });
        let remembered = Remembered { caller: Arc::clone(&caller), until };
        self.remember(hash, remembered, generation, now);
        Ok(caller)
    }

    /// Reads the provider's keys again and again, until it is dropped.
    pub(super) async fn keep(&self) {
        let mut round = tokio::time::interval(self.settings.refresh);
        round.tick().await;
        loop {
            round.tick().await;
            if self.jwks.look_again().await == Look::Changed {
                self.forget();
            }
        }
    }

    async fn check(&self, token: &str) -> Result<(Caller, Timestamp), JwtError> {
        let header = decode_header(token).map_err(|_| JwtError::Malformed)?;
        let said = token::read(token).ok_or(JwtError::Malformed)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(JwtError::Algorithm);
        }
        check_header(&said.header)?;
        let id = header.kid.ok_or(JwtError::NoKeyId)?;
        let key = match self.jwks.find(&id) {
            Some(key) => key,
            None => {
                if self.jwks.look_for_more().await == Look::Changed {
                    self.forget();
                }
                self.jwks.find(&id).ok_or(JwtError::UnknownKey)?
            }
        };
        if !key.is_for(header.alg) {
            return Err(JwtError::KeyMismatch);
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.settings.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        decode::<IgnoredAny>(token, &key.key, &validation)?;
        let Token { claims, .. } = said;
        // The crate takes a list of issuers for one of them.
        if !matches!(claims.get("iss"), Some(Value::String(issuer)) if *issuer == self.settings.issuer)
        {
            return Err(JwtError::Issuer);
        }
        let end = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
        // What is remembered ends with the token; the leeway is for the first look.
        // It has not passed: one out of range lies beyond all times that can be told.
        let until = Timestamp::from_second(end as i64).unwrap_or(Timestamp::MAX);
        Ok((self.caller(&claims)?, until))
    }

    fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, JwtError> {
        let words: Vec<&str> = match claims.get(&self.settings.scope_claim) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(JwtError::Unreadable(self.settings.scope_claim.clone())),
        };
        let ours: Vec<&str> = words
            .iter()
            .filter_map(|word| word.strip_prefix(&*self.settings.scope_prefix))
            .collect();
        let scopes: Scopes = ours.iter().filter_map(|word| word.parse::<KeyScope>().ok()).collect();
        // Whoever is bound to an application stays so, whatever else the token says.
        let (reach, scopes) = match claims.get(&self.settings.application_claim) {
            Some(Value::String(name)) => (Reach::Claimed(name.as_str().into()), scopes),
            Some(Value::Null) | None if ours.contains(&"admin") => (Reach::Platform, Scopes::ALL),
            Some(Value::Null) | None => return Err(JwtError::Nobody),
            Some(_) => return Err(JwtError::Unreadable(self.settings.application_claim.clone())),
        };
        // Two people must never be taken for one: it is there, whole, or the token is not accepted.
        let subject = claims.get("sub").ok_or_else(|| JwtError::Missing("sub".into()))?;
        let subject = subject
            .as_str()
            .filter(|text| {
                (1..=MAX_SUBJECT).contains(&text.len()) && !text.contains(char::is_control)
            })
            .ok_or_else(|| JwtError::Unreadable("sub".into()))?;
        Ok(Caller {
            id: format!("jwt:{subject}").into(),
            name: subject.into(),
            kind: Kind::Jwt,
            reach,
            scopes,
            until: None,
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Whole between any two statements that change it.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token it is, if that is known; else by which key set it would be checked now.
    fn recall(&self, hash: &[u8; 32], now: Timestamp) -> Result<Arc<Caller>, u64> {
        let memory = self.memory();
        let found = memory.tokens.get(hash).filter(|found| now < found.until);
        found.map(|found| Arc::clone(&found.caller)).ok_or(memory.generation)
    }

    /// Not, if the key set changed while the token was checked: its key may be gone.
    fn remember(&self, hash: [u8; 32], new: Remembered, generation: u64, now: Timestamp) {
        let mut memory = self.memory();
        if memory.generation != generation {
            return;
        }
        if memory.tokens.len() >= MAX_REMEMBERED {
            memory.tokens.retain(|_, found| now < found.until);
        }
        if memory.tokens.len() >= MAX_REMEMBERED {
            memory.tokens.clear();
        }
        memory.tokens.insert(hash, new);
    }

    /// What was signed by a key that has gone is good no more.
    fn forget(&self) {
        let mut memory = self.memory();
        memory.generation += 1;
        memory.tokens.clear();
    }
}

#[cfg(test)]
mod tests;
