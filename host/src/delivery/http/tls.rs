//! What the client trusts and says in a TLS handshake.
//!
//! Owns the roots and the protocols offered. Never makes a handshake.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use super::identity::ClientCert;

/// Whom to trust: the machine's certificate authorities, and the operator's own.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
}

impl Trust {
    pub(super) fn new(extra: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra.to_vec(), Arc::clone(&provider))?;
        Ok(Self { provider, verifier: Arc::new(verifier) })
    }

    /// The settings of handshakes, under a certificate of our own if the endpoint wants one.
    pub(super) fn config(
        &self,
        identity: Option<&ClientCert>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            // Not to weaken it: it is the library that knows the machine's own authorities.
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificates in a PEM bundle.
pub fn read_authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("has a certificate that cannot be read: {error}"))?;
    if found.is_empty() {
        return Err("has no certificate; PEM blocks \"CERTIFICATE\" are expected".into());
    }
    Ok(found)
}
