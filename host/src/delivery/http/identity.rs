//! Client certificates, as connections are made with them.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// A certificate, those that vouch for it, and its private key.
#[derive(Debug)]
pub struct ClientCert;

impl ClientCert {
    /// From PEM text with all of them in it; else why not.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        if chain.map_err(|_| "has a certificate that is not PEM")?.is_empty() {
            return Err("has no certificate in PEM (-----BEGIN CERTIFICATE-----)".into());
        }
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(
            |_| "has no private key in PEM (-----BEGIN PRIVATE KEY-----), or an encrypted one",
        )?;
        Ok(Self)
    }
}
