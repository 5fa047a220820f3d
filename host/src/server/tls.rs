//! HTTPS: the certificate the server shows, and who may connect with one of their own.
//!
//! Owns the handshake's bounds and taking over new files while connections are open. Never
//! looks at what is asked.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use notify::{RecursiveMode, Watcher};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{clock::Clock, config::Config};

/// How long a client has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once: each costs a signature, and waits for a client that may not answer.
const HANDSHAKES: usize = 256;
/// A certificate and its key are two files: how long after a change both are read.
const SETTLE: Duration = Duration::from_millis(300);
/// What remains of a certificate when the log begins to warn.
const SOON: i64 = 14 * 86_400;

/// The files of the settings.
#[derive(Debug, Clone, PartialEq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// What connections are encrypted with.
pub(super) struct Tls {
    files: Files,
    current: ArcSwap<Shown>,
    /// Why the files were not taken over when they were last read. What else happens in their
    /// folder would have it told again and again.
    refused: ArcSwapOption<String>,
    handshakes: Semaphore,
    clock: Clock,
}

/// One reading of the files.
struct Shown {
    config: Arc<ServerConfig>,
    /// What the files held, to tell whether they changed.
    read: Vec<Vec<u8>>,
    /// Seconds since 1970.
    expires: i64,
}

impl Tls {
    /// Of the settings' files; none if the server is to speak plain HTTP.
    pub(super) fn from_settings(
        config: &Config,
        clock: Clock,
    ) -> Result<Option<Arc<Self>>, String> {
        let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: config.tls_client_ca.clone(),
        };
        let shown = files.load()?;
        let handshakes = Semaphore::new(HANDSHAKES);
        let tls = Self {
            files,
            current: ArcSwap::from_pointee(shown),
            refused: ArcSwapOption::empty(),
            handshakes,
            clock,
        };
        tls.tell_expiry();
        Ok(Some(Arc::new(tls)))
    }

    /// The encrypted connection; none if the client did not manage in time.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let handshake = async {
            let _place = self.handshakes.acquire().await.ok()?;
            let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().config));
            acceptor
                .accept(stream)
                .await
                .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
                .ok()
        };
        timeout(HANDSHAKE, handshake).await.ok().flatten()
    }

    /// Reads the files again. What cannot be used changes nothing. Connections that are open
    /// stay as they are.
    pub(super) fn reload(&self) {
        let shown = match self.files.load() {
            Ok(shown) => shown,
            Err(why) => {
                let why = Arc::new(why);
                if self.refused.swap(Some(Arc::clone(&why))).as_ref() != Some(&why) {
                    tracing::error!("the new certificate is not used, the old one stays: {why}");
                }
                return;
            }
        };
        self.refused.store(None);
        if shown.read != self.current.load().read {
            self.current.store(Arc::new(shown));
            tracing::info!("the certificate was read again");
            self.tell_expiry();
        }
    }

    fn tell_expiry(&self) {
        let expires = self.current.load().expires;
        metrics::gauge!("hookmill_tls_certificate_expiry_timestamp_seconds").set(expires as f64);
        let left = expires - self.clock.now().as_second();
        let file = self.files.certificate.display();
        if left <= 0 {
            tracing::error!("the certificate in {file} has expired");
        } else if left < SOON {
            tracing::warn!("the certificate in {file} expires in {} days", left / 86_400);
        }
    }

    /// Reads the files again whenever they change, until the task is aborted.
    pub(super) async fn follow(self: Arc<Self>) {
        let changed = Arc::new(Notify::new());
        let told = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading them is an event, too: that would never end.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                told.notify_one();
            }
        });
        let folders = self.files.folders();
        let watching = watcher.and_then(|mut watcher| {
            // The folders: files are replaced, also by way of links, and a watch would stay
            // with the old one.
            for folder in &folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let _watching = match watching {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "certificates are not watched; SIGHUP reads them again");
                return;
            }
        };
        loop {
            changed.notified().await;
            sleep(SETTLE).await;
            self.reload();
        }
    }
}

impl Files {
    fn folders(&self) -> Vec<PathBuf> {
        let all = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let folder = |file: &PathBuf| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut folders: Vec<_> = all.into_iter().flatten().map(folder).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    fn load(&self) -> Result<Shown, String> {
        let pem = read("tls_certificate", &self.certificate)?;
        let chain = certificates("tls_certificate", &self.certificate, &pem)?;
        let key_pem = read("tls_key", &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| {
            let file = self.key.display();
            format!("tls_key {file} has no private key; a PEM block \"PRIVATE KEY\" is expected")
        })?;
        let expires = chain.first().map(expiry).transpose()?.unwrap_or(i64::MAX);
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut read_files = vec![pem, key_pem];
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let pem = read("tls_client_ca", file)?;
                let mut roots = RootCertStore::empty();
                for authority in certificates("tls_client_ca", file, &pem)? {
                    roots.add(authority).map_err(|error| {
                        format!("tls_client_ca {} cannot be used: {error}", file.display())
                    })?;
                }
                read_files.push(pem);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| format!("tls_client_ca {}: {error}", file.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "tls_key {} is not the key of the certificate in {}",
                self.key.display(),
                self.certificate.display()
            ),
            other => format!("tls_certificate and tls_key cannot be used: {other}"),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Shown { config: Arc::new(config), read: read_files, expires })
    }
}

fn read(setting: &str, file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file)
        .map_err(|error| format!("cannot read {setting} {}: {error}", file.display()))
}

fn certificates(
    setting: &str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    crate::delivery::read_authorities(pem)
        .map_err(|why| format!("{setting} {} {why}", file.display()))
}

/// When it ends to be good, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    x509_parser::parse_x509_certificate(certificate)
        .map(|(_, parsed)| parsed.validity().not_after.timestamp())
        .map_err(|error| format!("tls_certificate cannot be read: {error}"))
}
