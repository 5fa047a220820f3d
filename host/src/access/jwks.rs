//! The keys of an identity provider: read from a file or a URL, kept, and read again.
//!
//! A key that is asked for and not known is looked for at most every so often, whoever asks.
//! While the provider cannot be reached, or answers with what is no key set, the keys known before
//! stay good. A key set that can be read is the truth, though nothing in it can be used: that is how
//! a provider takes its keys back.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::StreamExt;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncReadExt, sync::Mutex, time::Instant};
use url::Url;

use crate::clock::Clock;

/// Largest document.
const MAX_BYTES: usize = 256 * 1024;
/// Most keys in one.
const MAX_KEYS: usize = 100;
/// What only private and shared keys have (RFC 7518).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// How long the provider has to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// Behind an `https` or `http` URL.
    Url(Url),
}

impl From<&str> for JwksSource {
    fn from(text: &str) -> Self {
        match Url::parse(text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Self::Url(url),
            _ => Self::File(text.into()),
        }
    }
}

/// One of the provider's keys.
#[derive(Debug)]
pub(super) struct ProviderKey {
    pub key: DecodingKey,
    /// The only algorithm it is for, if it says so.
    algorithm: Option<String>,
    /// The curve, if it lies on one.
    curve: Option<EllipticCurve>,
}

impl ProviderKey {
    fn read(jwk: &Jwk) -> Option<Self> {
        let curve = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(parameters) => Some(parameters.curve.clone()),
            AlgorithmParameters::OctetKeyPair(parameters) => Some(parameters.curve.clone()),
            AlgorithmParameters::RSA(_) => None,
            // A shared secret has no place in a public document.
            _ => return None,
        };
        if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let operations = jwk.common.key_operations.as_ref();
        if operations.is_some_and(|for_these| !for_these.contains(&KeyOperations::Verify)) {
            return None;
        }
        Some(Self {
            key: DecodingKey::from_jwk(jwk).ok()?,
            algorithm: jwk.common.key_algorithm.map(|algorithm| algorithm.to_string()),
            curve,
        })
    }

    /// Whether it may check what is signed by this algorithm.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match algorithm {
            Algorithm::ES256 => self.curve == Some(EllipticCurve::P256),
            Algorithm::ES384 => self.curve == Some(EllipticCurve::P384),
            Algorithm::EdDSA => self.curve == Some(EllipticCurve::Ed25519),
            other => other.family() == AlgorithmFamily::Rsa && self.curve.is_none(),
        };
        let named = format!("{algorithm:?}");
        fits && self.algorithm.as_ref().is_none_or(|only| *only == named)
    }
}

/// The keys by their ids.
type Keys = HashMap<String, Arc<ProviderKey>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Jwks {
    source: JwksSource,
    http: reqwest::Client,
    /// The shortest time between two looks.
    gap: Duration,
    clock: Clock,
    known: RwLock<Arc<Keys>>,
    /// When it was last read, or tried to be; held while it is.
    looked: Mutex<Option<Instant>>,
    text: Mutex<Vec<u8>>,
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is new.
    Same,
    /// The document is another one.
    Changed,
}

impl Jwks {
    pub(super) fn new(source: JwksSource, gap: Duration, clock: Clock) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            source,
            http,
            gap,
            clock,
            known: RwLock::default(),
            looked: Mutex::default(),
            text: Mutex::default(),
        })
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<ProviderKey>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Looks again unless that was done a moment ago.
    pub(super) async fn look_for_more(&self) -> Look {
        self.look_after(self.gap).await
    }

    /// Looks again.
    pub(super) async fn look_again(&self) -> Look {
        self.look_after(Duration::ZERO).await
    }

    async fn look_after(&self, age: Duration) -> Look {
        let mut looked = self.looked.lock().await;
        let now = self.clock.instant();
        if looked.is_some_and(|at| now.saturating_duration_since(at) < age) {
            return Look::Same;
        }
        *looked = Some(now);
        match self.read().await {
            Ok(look) => look,
            Err(error) => {
                tracing::warn!(%error, "the identity provider's keys cannot be read; those known before stay good");
                Look::Same
            }
        }
    }

    /// Reads the keys now.
    pub(super) async fn read(&self) -> Result<Look, String> {
        let read = match &self.source {
            JwksSource::File(path) => read_file(path)
                .await
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
            JwksSource::Url(url) => self.fetch(url.clone()).await?,
        };
        let mut text = self.text.lock().await;
        if *text == read {
            return Ok(Look::Same);
        }
        let keys = parse(&read)?;
        if keys.is_empty() {
            tracing::warn!(
                "the identity provider's key set has no key with a `kid` that can check signatures: no token is let in"
            );
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        *text = read;
        Ok(Look::Changed)
    }

    async fn fetch(&self, url: Url) -> Result<Vec<u8>, String> {
        let response = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("the answer is {}", response.status()));
        }
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| error.to_string())?;
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("the answer is larger than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// No more of a file than shows that it is too large: it may be anything that can be opened.
async fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).await?;
    Ok(text)
}

/// The usable keys of a document. Those of kinds that nobody here knows are left out.
fn parse(text: &[u8]) -> Result<Keys, String> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    if text.len() > MAX_BYTES {
        return Err(format!("the key set is larger than {MAX_BYTES} bytes"));
    }
    let document: Document =
        serde_json::from_slice(text).map_err(|error| format!("this is no key set: {error}"))?;
    let mut keys = Keys::new();
    for value in document.keys.into_iter().take(MAX_KEYS) {
        // Whoever read it can sign: it proves nothing any more.
        if PRIVATE.iter().any(|member| value.get(member).is_some()) {
            tracing::warn!(
                kid = value["kid"].as_str().unwrap_or_default(),
                "the key set has a private key in it, which is not used"
            );
            continue;
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        let Some(id) = jwk.common.key_id.clone() else { continue };
        let Some(key) = ProviderKey::read(&jwk) else { continue };
        keys.insert(id, Arc::new(key));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn usable(more: &Value) -> bool {
        let mut key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": X});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(json!({"keys": [key]}).to_string().as_bytes()).is_ok_and(|keys| !keys.is_empty())
    }

    #[test]
    fn only_public_keys_that_check_signatures_are_taken() {
        // As `jsonwebtoken` needs to be told before it reads a key.
        super::super::ring::install();
        for (more, expected) in [
            (json!({}), true),
            (json!({"use": "sig"}), true),
            (json!({"use": "enc"}), false),
            (json!({"use": "other"}), false),
            (json!({"key_ops": ["verify"]}), true),
            (json!({"key_ops": ["verify", "sign"]}), true),
            (json!({"key_ops": ["encrypt"]}), false),
            (json!({"key_ops": []}), false),
            (json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}), false),
            (json!({"kty": "oct", "k": "c2VjcmV0"}), false),
            (json!({"kty": "oct"}), false),
            (json!({"kid": null}), false),
            (json!({"x": "AA=="}), false),
            (json!({"crv": "Ed448"}), false),
        ] {
            assert_eq!(usable(&more), expected, "{more}");
        }
    }

    #[test]
    fn a_key_is_for_its_own_algorithms_only() {
        super::super::ring::install();
        let all = [
            Algorithm::RS256,
            Algorithm::PS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
            Algorithm::HS256,
        ];
        let (n, e) = ("AQAB".repeat(86), "AQAB");
        let (x, y) = ("A".repeat(43), "A".repeat(43));
        for (key, expected) in [
            (json!({"kty": "OKP", "crv": "Ed25519", "x": X}), vec![Algorithm::EdDSA]),
            (json!({"kty": "RSA", "n": n, "e": e}), vec![Algorithm::RS256, Algorithm::PS512]),
            (json!({"kty": "RSA", "n": n, "e": e, "alg": "RS256"}), vec![Algorithm::RS256]),
            (json!({"kty": "RSA", "n": n, "e": e, "alg": "ES256"}), vec![]),
            (json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}), vec![Algorithm::ES256]),
        ] {
            let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
            let read = ProviderKey::read(&jwk).unwrap();
            let fits: Vec<_> =
                all.into_iter().filter(|algorithm| read.is_for(*algorithm)).collect();
            assert_eq!(fits, expected, "{key}");
        }
    }

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[tokio::test]
    async fn a_key_set_that_can_be_read_is_the_truth_even_if_it_is_empty() {
        crate::access::ring::install();
        // As the server does when it starts; a second call changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        let source = JwksSource::File(file.clone());
        let jwks = Jwks::new(source, Duration::ZERO, Clock::system()).unwrap();
        let unusable = r#"{"kty":"oct","kid":"b","k":"AAAA"}"#;
        for emptied in [r#"{"keys":[]}"#.to_owned(), format!(r#"{{"keys":[{unusable}]}}"#)] {
            std::fs::write(&file, format!(r#"{{"keys":[{KEY}]}}"#)).unwrap();
            assert_eq!(jwks.read().await, Ok(Look::Changed));
            assert!(jwks.find("a").is_some());
            // What is no key set says nothing of any key.
            for broken in ["", "<html>", "{}", r#"{"keys":{}}"#] {
                std::fs::write(&file, broken).unwrap();
                assert!(jwks.read().await.is_err(), "{broken}");
                assert!(jwks.find("a").is_some());
            }
            // Sparse: that it is too large is known after the first few bytes of it.
            std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
            assert!(jwks.read().await.is_err_and(|error| error.contains("larger")));
            std::fs::write(&file, &emptied).unwrap();
            assert_eq!(jwks.read().await, Ok(Look::Changed));
            assert!(jwks.find("a").is_none(), "{emptied}");
        }
    }
}
