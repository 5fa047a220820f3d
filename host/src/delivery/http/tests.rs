//! Tests of the client against scripted names and endpoints that ask who is there.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::{Client, ClientCert, Exchange, Guard, Request, Transport, resolve::Resolve};
use crate::{clock::Clock, delivery::DeliverySettings, model::AttemptOutcome};

/// Answers look-ups in turn.
#[derive(Debug)]
struct Script(Mutex<VecDeque<Vec<IpAddr>>>);

#[async_trait]
impl Resolve for Script {
    async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, String> {
        self.0.lock().unwrap().pop_front().ok_or_else(|| "nobody asked for more".into())
    }
}

fn settings() -> DeliverySettings {
    DeliverySettings {
        guard: Guard::new(vec!["127.0.0.0/8".parse().unwrap()]),
        ..DeliverySettings::default()
    }
}

fn client(look_ups: &[&[&str]]) -> Client {
    let parse = |addresses: &&[&str]| addresses.iter().map(|one| one.parse().unwrap()).collect();
    let script = Script(Mutex::new(look_ups.iter().map(parse).collect()));
    Client::resolving(&settings(), Clock::system(), Box::new(script)).unwrap()
}

async fn ask(client: &Client, url: &str, identity: Option<&Arc<ClientCert>>) -> Exchange {
    client
        .send(Request {
            url: url.parse().unwrap(),
            method: Method::POST,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            client_cert: identity.cloned(),
        })
        .await
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n{}") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(())
}

/// An endpoint that answers, and closes each connection after so many requests.
async fn endpoint(each: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for left in (0..each).rev() {
                if read_request(&mut stream).await.is_none() {
                    break;
                }
                let more = if left == 0 { "connection: close\r\n" } else { "" };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{more}\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    port
}

#[tokio::test]
async fn a_name_is_judged_at_every_connection() {
    let url = format!("http://name.example:{}/", endpoint(1).await);
    let client = client(&[&["127.0.0.1"], &["10.0.0.1"], &["10.0.0.1", "127.0.0.1"], &[]]);
    let outcomes = [(); 4].map(|()| ask(&client, &url, None));
    let mut came = Vec::new();
    for outcome in outcomes {
        came.push(outcome.await.outcome);
    }
    use AttemptOutcome::{BlockedAddress, Dns, Succeeded};
    assert_eq!(came, [Succeeded, BlockedAddress, Succeeded, Dns]);
}

#[tokio::test]
async fn addresses_in_disguise_are_blocked() {
    let disguises = ["::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::"];
    for disguise in disguises {
        let exchange = ask(&client(&[&[disguise]]), "http://name.example/", None).await;
        assert_eq!(exchange.outcome, AttemptOutcome::BlockedAddress, "{disguise}");
        assert!(exchange.timings.dns_us.is_some() && exchange.timings.connect_us.is_none());
    }
    let literal = ask(&client(&[]), "http://[::ffff:10.0.0.1]/", None).await;
    assert_eq!(literal.outcome, AttemptOutcome::BlockedAddress);
}

#[tokio::test]
async fn a_reused_connection_has_no_times_of_its_own() {
    let url = format!("http://name.example:{}/", endpoint(2).await);
    let client = client(&[&["127.0.0.1"]]);
    let first = ask(&client, &url, None).await;
    assert!(first.timings.dns_us.is_some() && first.timings.connect_us.is_some(), "{first:?}");
    let second = ask(&client, &url, None).await;
    assert_eq!(second.outcome, AttemptOutcome::Succeeded, "{second:?}");
    assert!(second.timings.dns_us.is_none() && second.timings.connect_us.is_none(), "{second:?}");
    assert!(second.timings.first_byte_us.is_some());
}

#[tokio::test]
async fn a_connection_to_where_nothing_may_go_any_more_is_not_used_again() {
    let url = format!("http://name.example:{}/", endpoint(9).await);
    let script = Script(Mutex::new(vec![vec!["127.0.0.1".parse().unwrap()]; 3].into()));
    let settings = settings();
    let client = Client::resolving(&settings, Clock::system(), Box::new(script)).unwrap();
    let mut came = Vec::new();
    for allowed in ["127.0.0.0/8", "127.0.0.0/8", "10.0.0.0/8", "127.0.0.0/16"] {
        settings.guard.set(vec![allowed.parse().unwrap()]);
        let exchange = ask(&client, &url, None).await;
        came.push((exchange.outcome, exchange.timings.dns_us.is_none()));
    }
    use AttemptOutcome::{BlockedAddress, Succeeded};
    let (anew, again) = ((Succeeded, false), (Succeeded, true));
    assert_eq!(came, [anew, again, (BlockedAddress, false), anew]);
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn make() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn client_cert(&self, name: &str) -> Arc<ClientCert> {
        let (certificate, key) = self.issue(name);
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        Arc::new(ClientCert::parse(&pem).unwrap())
    }

    /// An endpoint that wants a certificate, and tells which came with each connection.
    async fn strict_endpoint(&self) -> (String, mpsc::Receiver<Vec<u8>>) {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let (certificate, key) = self.issue("127.0.0.1");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, tell) = (acceptor.clone(), tell.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let presented = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                    tell.send(presented).await.unwrap();
                    while read_request(&mut stream).await.is_some() {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        (url, told)
    }
}

#[tokio::test]
async fn identities_never_share_a_connection() {
    let authority = Authority::make();
    let (url, mut told) = authority.strict_endpoint().await;
    let trusting =
        DeliverySettings { extra_authorities: vec![authority.0.der().clone()], ..settings() };
    let client = Client::new(&trusting, Clock::system()).unwrap();
    let (a, b) = (authority.client_cert("a.example"), authority.client_cert("b.example"));
    for (identity, new) in [(&a, true), (&b, true), (&a, false), (&b, false)] {
        let exchange = ask(&client, &url, Some(identity)).await;
        assert_eq!(exchange.outcome, AttemptOutcome::Succeeded, "{exchange:?}");
        assert_eq!(exchange.timings.tls_us.is_some(), new, "{exchange:?}");
        if new {
            assert_eq!(told.recv().await.unwrap(), identity.chain[0].to_vec());
        }
    }
    assert!(told.is_empty());
    let stranger = Authority::make().client_cert("c.example");
    for identity in [None, Some(&stranger)] {
        let refused = ask(&client, &url, identity).await;
        // The endpoint's word on it can be overtaken by the reset that follows it.
        let named = matches!(refused.outcome, AttemptOutcome::Tls | AttemptOutcome::Reset);
        assert!(named, "{refused:?}");
    }
}
