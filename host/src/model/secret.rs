//! Signing secrets in their text forms: Standard Webhooks' `whsec_` and `whsk_`, and those of
//! other schemes, as their owner wrote them.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use zeroize::Zeroize;

/// What a request is signed with. Its `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    kind: SecretKind,
    key: Vec<u8>,
    /// When it was given; none for those from before this was kept.
    pub created_at: Option<Timestamp>,
    /// When it stops signing; none for the current secret.
    pub expires_at: Option<Timestamp>,
}

/// Which scheme a secret belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretKind {
    /// Standard Webhooks' HMAC, `whsec_`: both sides have it.
    Symmetric,
    /// Standard Webhooks' Ed25519, `whsk_`: only the server has it.
    Asymmetric,
    /// Another scheme's of a subscription, by that scheme's name.
    Named(String),
}

/// Why a text is not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not a `whsec_` secret, nor one of the forms below.
    #[error("a signing secret is `whsec_` and the base64 of 24 to 64 bytes")]
    Symmetric,
    /// Not a private key.
    #[error(
        "an Ed25519 private key is `whsk_` and the base64 of its 32 bytes, or of these and its public key's 32"
    )]
    Asymmetric,
    /// Not a text another scheme could sign with.
    #[error("a secret has 1 to {} bytes", Secret::MAX_NAMED)]
    Named,
}

impl Secret {
    const SYMMETRIC: &'static str = "whsec_";
    const ASYMMETRIC: &'static str = "whsk_";
    /// Between a scheme's name and its secret.
    const NAMED: char = ':';
    /// Longest text that a scheme of another kind signs with.
    pub const MAX_NAMED: usize = 512;
    /// Bytes of an Ed25519 private key.
    pub const SEED: usize = 32;

    /// From raw key bytes, 24 to 64 of them.
    pub fn from_key(key: Vec<u8>) -> Result<Self, SecretError> {
        if (24..=64).contains(&key.len()) {
            Ok(Self { kind: SecretKind::Symmetric, key, created_at: None, expires_at: None })
        } else {
            Err(SecretError::Symmetric)
        }
    }

    /// An Ed25519 key from the random bytes that are its private half.
    pub fn from_seed(seed: [u8; Self::SEED]) -> Self {
        Self {
            kind: SecretKind::Asymmetric,
            key: seed.to_vec(),
            created_at: None,
            expires_at: None,
        }
    }

    /// The secret of another scheme, as its owner wrote it.
    pub fn named(scheme: &str, text: &str) -> Result<Self, SecretError> {
        if (1..=Self::MAX_NAMED).contains(&text.len()) {
            let kind = SecretKind::Named(scheme.to_owned());
            Ok(Self { kind, key: text.as_bytes().to_vec(), created_at: None, expires_at: None })
        } else {
            Err(SecretError::Named)
        }
    }

    /// Which scheme it belongs to.
    pub fn kind(&self) -> &SecretKind {
        &self.kind
    }

    /// The key that signs; of a named one, its text's bytes.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The key that makes Ed25519 signatures, if it is one.
    pub fn signing_key(&self) -> Option<SigningKey> {
        let seed: &[u8; Self::SEED] = self.key.as_slice().try_into().ok()?;
        (self.kind == SecretKind::Asymmetric).then(|| SigningKey::from_bytes(seed))
    }

    /// What verifies its signatures, if it is asymmetric.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.signing_key().map(|key| PublicKey(key.verifying_key()))
    }

    /// Its text. A symmetric one's is what a subscriber gives to their Standard Webhooks
    /// library; that of the others is only ever stored.
    pub fn reveal(&self) -> String {
        match &self.kind {
            SecretKind::Symmetric => {
                format!("{}{}", Self::SYMMETRIC, STANDARD.encode(&self.key))
            }
            SecretKind::Asymmetric => {
                let public = self.public_key().map(|key| *key.0.as_bytes()).unwrap_or_default();
                let pair = [self.key.as_slice(), &public].concat();
                format!("{}{}", Self::ASYMMETRIC, STANDARD.encode(pair))
            }
            SecretKind::Named(scheme) => {
                format!("{scheme}{}{}", Self::NAMED, String::from_utf8_lossy(&self.key))
            }
        }
    }

    /// What tells it from others: the first 16 digits of the SHA-256 of its text.
    pub fn fingerprint(&self) -> String {
        super::Sha256::of(self.reveal().as_bytes()).to_string()[..16].to_owned()
    }

    /// Whether it still signs at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    fn asymmetric(encoded: &str) -> Option<Self> {
        let bytes = STANDARD.decode(encoded).ok()?;
        let (seed, public) = bytes.split_at_checked(Self::SEED)?;
        let secret = Self::from_seed(seed.try_into().ok()?);
        let own = secret.public_key()?;
        (public.is_empty() || public == own.0.as_bytes()).then_some(secret)
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if let Some(encoded) = text.strip_prefix(Self::ASYMMETRIC) {
            return Self::asymmetric(encoded).ok_or(SecretError::Asymmetric);
        }
        if let Some((scheme, text)) = text.split_once(Self::NAMED) {
            return Self::named(scheme, text);
        }
        let encoded = text.strip_prefix(Self::SYMMETRIC).ok_or(SecretError::Symmetric)?;
        Self::from_key(STANDARD.decode(encoded).map_err(|_| SecretError::Symmetric)?)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?}, hidden, expires_at: {:?})", self.kind, self.expires_at)
    }
}

/// What verifies Ed25519 signatures: `whpk_` and the base64 of 32 bytes. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A text is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is `whpk_` and the base64 of the 32 bytes of an Ed25519 key")]
pub struct PublicKeyError;

impl PublicKey {
    const PREFIX: &'static str = "whpk_";

    /// Whether the signature is one that the private key's holder made over these bytes.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        // The strict way refuses keys and signatures that fit more than one message.
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(signed, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, STANDARD.encode(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let encoded = text.strip_prefix(Self::PREFIX).ok_or(PublicKeyError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| PublicKeyError)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| PublicKeyError)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| PublicKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_bounds_hold() {
        let secret = Secret::from_key(vec![7; 24]).unwrap();
        assert_eq!(secret.reveal().parse(), Ok(secret));
        assert_eq!(Secret::from_key(vec![0; 23]), Err(SecretError::Symmetric));
        assert_eq!(Secret::from_key(vec![0; 65]), Err(SecretError::Symmetric));
        for bad in ["whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""] {
            assert_eq!(bad.parse::<Secret>(), Err(SecretError::Symmetric), "{bad}");
        }
    }

    #[test]
    fn a_private_key_is_written_with_its_public_half_and_read_with_or_without() {
        let secret = Secret::from_seed([9; 32]);
        let text = secret.reveal();
        assert!(text.starts_with("whsk_") && text.len() == 5 + 88, "{}", text.len());
        assert_eq!(text.parse(), Ok(secret.clone()));
        assert_eq!(format!("whsk_{}", STANDARD.encode([9; 32])).parse(), Ok(secret.clone()));
        let mut wrong = STANDARD.decode(&text[5..]).unwrap();
        wrong[63] ^= 1;
        for bytes in [&wrong[..], &wrong[..31], &[]] {
            let refused = format!("whsk_{}", STANDARD.encode(bytes)).parse::<Secret>();
            assert_eq!(refused, Err(SecretError::Asymmetric));
        }
        let public = secret.public_key().unwrap();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert!("whpk_AAAA".parse::<PublicKey>().is_err());
    }

    #[test]
    fn a_named_secret_is_any_text_and_keeps_its_scheme() {
        for text in ["It's a Secret to Everybody", "a:b", "whsec_x", "é"] {
            let secret = Secret::named("github", text).unwrap();
            assert_eq!(secret.key(), text.as_bytes());
            assert_eq!(secret.reveal().parse(), Ok(secret));
        }
        assert_eq!(Secret::named("github", ""), Err(SecretError::Named));
        assert_eq!(Secret::named("github", &"s".repeat(513)), Err(SecretError::Named));
    }

    // RFC 8032, section 7.1, test 2: one byte signed.
    #[test]
    fn ed25519_is_that_of_its_rfc() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let secret = Secret::from_seed(seed.unwrap().try_into().unwrap());
        let public = secret.public_key().unwrap();
        let expected = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(hex::encode(public.0.as_bytes()), expected);
        let signature = hex::decode(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        )
        .unwrap();
        assert!(public.verifies(&[0x72], &signature));
        assert!(!public.verifies(&[0x73], &signature));
        assert!(!public.verifies(&[0x72], &signature[1..]));
    }

    #[test]
    fn debug_never_shows_the_key() {
        let secret = Secret::from_key(b"abcdefghijklmnopqrstuvwxyz".to_vec()).unwrap();
        assert!(!format!("{secret:?}").contains("abc"));
        assert!(!format!("{:?}", Secret::named("github", "hunter2").unwrap()).contains("hunter"));
    }
}
