//! Signing secrets in their Standard Webhooks form, `whsec_` and base64.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use zeroize::Zeroize;

/// A symmetric signing secret. Its `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: Vec<u8>,
    /// When it was given; none for those from before this was kept.
    pub created_at: Option<Timestamp>,
    /// When it stops signing; none for the current secret.
    pub expires_at: Option<Timestamp>,
}

/// Why a text is not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and the base64 of 24 to 64 bytes")]
pub struct SecretError;

impl Secret {
    const PREFIX: &'static str = "whsec_";

    /// From raw key bytes, 24 to 64 of them.
    pub fn from_key(key: Vec<u8>) -> Result<Self, SecretError> {
        if (24..=64).contains(&key.len()) {
            Ok(Self { key, created_at: None, expires_at: None })
        } else {
            Err(SecretError)
        }
    }

    /// The key that signs.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The text a subscriber gives to their Standard Webhooks library.
    pub fn reveal(&self) -> String {
        format!("{}{}", Self::PREFIX, STANDARD.encode(&self.key))
    }

    /// What tells it from others: the first 16 digits of the SHA-256 of its text.
    pub fn fingerprint(&self) -> String {
        super::Sha256::of(self.reveal().as_bytes()).to_string()[..16].to_owned()
    }

    /// Whether it still signs at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(Self::PREFIX).ok_or(SecretError)?;
        Self::from_key(STANDARD.decode(encoded).map_err(|_| SecretError)?)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(hidden, expires_at: {:?})", self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_bounds_hold() {
        let secret = Secret::from_key(vec![7; 24]).unwrap();
        assert_eq!(secret.reveal().parse(), Ok(secret));
        assert_eq!(Secret::from_key(vec![0; 23]), Err(SecretError));
        assert_eq!(Secret::from_key(vec![0; 65]), Err(SecretError));
        assert_eq!("whsec_!".parse::<Secret>(), Err(SecretError));
        assert_eq!("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse::<Secret>(), Err(SecretError));
    }

    #[test]
    fn debug_never_shows_the_key() {
        let secret = Secret::from_key(b"abcdefghijklmnopqrstuvwxyz".to_vec()).unwrap();
        assert!(!format!("{secret:?}").contains("abc"));
    }
}
