//! The data key: seals each secret for its place, and is itself sealed by the master key.
//!
//! What is sealed is a version, a nonce, and XChaCha20-Poly1305's ciphertext. A nonce has 192
//! random bits, so that none comes twice.

use std::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

use super::{
    MasterKey, SealError,
    key::{KEY_BYTES, random, shown},
};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Where a sealed value stands. It opens there and nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The table and column.
    pub column: &'static str,
    /// The row's key.
    pub row: &'a [u8],
}

impl Place<'_> {
    /// What the seal is bound to. Column names have no zero byte, so that no two places agree.
    fn bound(&self) -> Vec<u8> {
        [self.column.as_bytes(), &[0], self.row].concat()
    }
}

/// Where the data key itself stands.
const DATA_KEY: Place<'static> = Place { column: "installation.value", row: b"data_key" };

/// Seals and opens with the data key of one database.
pub struct Vault {
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Vault {
    /// One with a new data key.
    pub fn generate() -> Result<Self, SealError> {
        Ok(Self { key: random()? })
    }

    /// The data key as the database keeps it: the master key's id, and the key sealed by it.
    pub fn wrapped(&self, master: &MasterKey) -> Result<Vec<u8>, SealError> {
        let mut wrapped = master.id_bytes().to_vec();
        wrapped.extend(seal(master.bytes(), &DATA_KEY, &*self.key)?);
        Ok(wrapped)
    }

    /// The id of the master key that opens a wrapped data key.
    pub fn master_id(wrapped: &[u8]) -> Option<String> {
        wrapped.get(..MasterKey::ID_BYTES).map(shown)
    }

    /// Opens a wrapped data key; none if another master key wrapped it.
    pub fn unwrap(master: &MasterKey, wrapped: &[u8]) -> Result<Option<Self>, SealError> {
        let (id, sealed) = wrapped
            .split_at_checked(MasterKey::ID_BYTES)
            .ok_or(SealError::Damaged(DATA_KEY.column))?;
        if id != master.id_bytes() {
            return Ok(None);
        }
        let opened = open(master.bytes(), &DATA_KEY, sealed)?;
        let key: [u8; KEY_BYTES] =
            opened.as_slice().try_into().map_err(|_| SealError::Damaged(DATA_KEY.column))?;
        Ok(Some(Self { key: Zeroizing::new(key) }))
    }

    /// Seals a secret for its place.
    pub fn seal(&self, place: &Place<'_>, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        seal(&self.key, place, secret)
    }

    /// The secret that was sealed for this place.
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open(&self.key, place, sealed)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(hidden)")
    }
}

fn seal(key: &[u8; KEY_BYTES], place: &Place<'_>, secret: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce = random::<NONCE_BYTES>()?;
    let payload = Payload { msg: secret, aad: &place.bound() };
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(*nonce), payload)
        .map_err(|error| SealError::Unable(error.to_string()))?;
    Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
}

fn open(
    key: &[u8; KEY_BYTES],
    place: &Place<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let damaged = || SealError::Damaged(place.column);
    let (&version, rest) = sealed.split_first().ok_or_else(damaged)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
    if version != VERSION {
        return Err(damaged());
    }
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &place.bound() })
        .map(Zeroizing::new)
        .map_err(|_| damaged())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'static> = Place { column: "subscriptions.sealed", row: b"one" };

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let vault = Vault::generate().unwrap();
        let sealed = vault.seal(&HERE, b"hunter2").unwrap();
        assert_eq!(**vault.open(&HERE, &sealed).unwrap(), *b"hunter2");
        let row = Place { row: b"two", ..HERE };
        let column = Place { column: "subscriptions.other", ..HERE };
        // The same bytes, split elsewhere between column and row.
        let split = Place { column: "subscriptions.seale", row: b"d\0one" };
        for elsewhere in [row, column, split] {
            assert!(vault.open(&elsewhere, &sealed).is_err(), "{elsewhere:?}");
        }
        assert!(Vault::generate().unwrap().open(&HERE, &sealed).is_err(), "another data key");
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let vault = Vault::generate().unwrap();
        let sealed = vault.seal(&HERE, b"hunter2").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(&HERE, &changed).is_err(), "byte {at}");
            assert!(vault.open(&HERE, &sealed[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn the_same_secret_is_never_sealed_the_same() {
        let vault = Vault::generate().unwrap();
        assert_ne!(vault.seal(&HERE, b"a").unwrap(), vault.seal(&HERE, b"a").unwrap());
    }

    #[test]
    fn the_data_key_opens_with_its_master_key_only() {
        let (master, other) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let vault = Vault::generate().unwrap();
        let wrapped = vault.wrapped(&master).unwrap();
        assert_eq!(Vault::master_id(&wrapped), Some(master.id()));
        let again = Vault::unwrap(&master, &wrapped).unwrap().unwrap();
        let sealed = vault.seal(&HERE, b"hunter2").unwrap();
        assert_eq!(**again.open(&HERE, &sealed).unwrap(), *b"hunter2");
        assert!(Vault::unwrap(&other, &wrapped).unwrap().is_none());
        let mut changed = wrapped.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(Vault::unwrap(&master, &changed).is_err());
        assert!(Vault::unwrap(&master, &wrapped[..4]).is_err());
    }
}
