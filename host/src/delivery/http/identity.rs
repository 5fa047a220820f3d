//! Client certificates, as connections are made with them.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// A certificate, those that vouch for it, and its private key. Its `Debug` shows none of it.
pub struct ClientCert {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientCert {
    /// From PEM text with all of them in it; else why not.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let chain = chain.map_err(|_| "has a certificate that is not PEM".to_owned())?;
        if chain.is_empty() {
            return Err("has no certificate in PEM (-----BEGIN CERTIFICATE-----)".into());
        }
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            "has no private key in PEM (-----BEGIN PRIVATE KEY-----), or an encrypted one".to_owned()
        })?;
        Ok(Self { chain, key })
    }
}

impl fmt::Debug for ClientCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCert").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}
