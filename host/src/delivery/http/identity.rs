//! A client certificate: who the server says it is towards an endpoint that asks.
//!
//! Owns its form and whether chain and key belong together. Never stores it, never shows it.

use std::{fmt, sync::Arc};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};

/// A certificate, the chain above it, and its private key.
#[derive(Clone)]
pub struct ClientCert {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<PrivateKeyDer<'static>>,
    fingerprint: [u8; 32],
}

impl ClientCert {
    /// Reads PEM: the certificate, those above it if there are any, and the private key
    /// (PKCS #8, PKCS #1 or SEC 1), in any order of the two.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("has a certificate that cannot be read: {error}"))?;
        if chain.is_empty() {
            return Err("has no certificate; a PEM block \"CERTIFICATE\" is needed".into());
        }
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            "has no private key that can be read; an unencrypted PEM block \"PRIVATE KEY\" is needed"
                .to_owned()
        })?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider())
            .map_err(unusable)?;
        let mut digest = Sha256::new();
        for part in chain.iter().map(AsRef::as_ref).chain([key.secret_der()]) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Ok(Self { chain, key: Arc::new(key), fingerprint: digest.finalize().into() })
    }

    /// The same for the same chain and key, and for no others.
    pub(super) const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

fn unusable(error: rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "has a private key that is not the first certificate's".into()
        }
        error => format!("cannot be used: {error}"),
    }
}

impl fmt::Debug for ClientCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCert").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl PartialEq for ClientCert {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientCert {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["client.example".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn certificate_and_key_come_in_either_order() {
        let (certificate, key) = pair();
        let one = ClientCert::parse(&format!("{certificate}{key}")).unwrap();
        let other = ClientCert::parse(&format!("{key}{certificate}")).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.chain.len(), 1);
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_missing_or_does_not_belong_together_is_said() {
        let ((certificate, key), (_, stranger)) = (pair(), pair());
        let said = |pem: &str| ClientCert::parse(pem).unwrap_err();
        assert!(said(&key).starts_with("has no certificate"));
        assert!(said(&certificate).starts_with("has no private key"));
        let both = said(&format!("{certificate}{stranger}"));
        assert_eq!(both, "has a private key that is not the first certificate's");
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(said(broken).starts_with("has a certificate that cannot be read"));
    }
}
