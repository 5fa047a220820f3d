//! Master keys: their text form and their ids.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealError;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;

/// The key that opens a database's data key. Its `Debug` shows its id only.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl MasterKey {
    /// Bytes of an id.
    pub(super) const ID_BYTES: usize = 8;

    /// A new one, from the system's generator.
    pub fn generate() -> Result<Self, SealError> {
        random().map(Self)
    }

    /// The base64 text that settings and key files have.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }

    /// What tells it from other keys and gives nothing of it away.
    pub fn id(&self) -> String {
        shown(&self.id_bytes())
    }

    pub(super) fn id_bytes(&self) -> [u8; Self::ID_BYTES] {
        let digest = Sha256::new().chain_update(b"hookmill master key id\0").chain_update(*self.0);
        let mut id = [0; Self::ID_BYTES];
        id.copy_from_slice(&digest.finalize()[..Self::ID_BYTES]);
        id
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key that a text is, blaming `source` if it is none. The text is never repeated.
    pub fn parse(text: &str, source: &str) -> Result<Self, SealError> {
        text.parse().map_err(|_| SealError::NoKey(source.to_owned()))
    }
}

/// An id, for people.
pub(super) fn shown(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key's worth of random bytes.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SealError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| SealError::Unable(error.to_string()))?;
    Ok(bytes)
}

impl FromStr for MasterKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| ())?);
        let bytes: [u8; KEY_BYTES] = decoded.as_slice().try_into().map_err(|_| ())?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_round_trips_and_nothing_else_is_a_key() {
        let key = MasterKey::generate().unwrap();
        let read: MasterKey = format!(" {}\n", &*key.text()).parse().unwrap();
        assert_eq!(read.bytes(), key.bytes());
        assert_eq!(read.id(), key.id());
        for bad in ["", "AAAA", "hunter2", &STANDARD.encode([0; 33])] {
            let error = MasterKey::parse(bad, "the setting").unwrap_err().to_string();
            assert!(error.starts_with("the setting is no master key"), "{error}");
        }
    }

    #[test]
    fn an_id_tells_keys_apart_and_debug_shows_no_more() {
        let (one, other) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        assert_ne!(one.id(), other.id());
        assert_eq!(format!("{one:?}"), format!("MasterKey({})", one.id()));
    }
}
