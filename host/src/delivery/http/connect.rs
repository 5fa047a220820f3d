//! Makes connections: resolve, judge, connect, shake hands.
//!
//! Owns the order of these, the time each may take and the names of their failures. Never
//! connects to an address that the guard did not permit a moment before.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use super::{
    guard::{Blocked, Guard},
    resolve::Resolve,
    wire::{Stage, WIRE, Wire},
};
use crate::{clock::Clock, model::AttemptOutcome};

/// Most addresses of a host that are tried, one after the other.
const MOST_ADDRESSES: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Dns(String),
    #[error(transparent)]
    Blocked(Blocked),
    #[error("{0}")]
    Refused(io::Error),
    #[error("no connection within {limit:?}: {}", .stage.words())]
    Timeout { stage: Stage, limit: Duration },
    #[error("{0}")]
    Tls(String),
}

impl ConnectError {
    pub(super) const fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Dns(_) | Self::Timeout { stage: Stage::Dns, .. } => AttemptOutcome::Dns,
            Self::Blocked(_) => AttemptOutcome::BlockedAddress,
            Self::Refused(_) => AttemptOutcome::Refused,
            Self::Timeout { .. } => AttemptOutcome::ConnectTimeout,
            Self::Tls(_) => AttemptOutcome::Tls,
        }
    }
}

/// What every connection is made with, whoever it is for.
#[derive(Debug)]
pub(super) struct Ways {
    pub guard: Guard,
    pub resolver: Box<dyn Resolve>,
    pub clock: Clock,
}

/// Makes connections under one TLS identity.
#[derive(Clone)]
pub(super) struct Connector {
    pub ways: Arc<Ways>,
    pub tls: Arc<ClientConfig>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("ways", &self.ways).finish_non_exhaustive()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wired>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        // The client calls within the request's own task; what it then leaves to another task
        // has its note already.
        let wire = WIRE.try_with(Arc::clone);
        Box::pin(async move {
            let wire = wire.map_err(|error| ConnectError::Dns(error.to_string()))?;
            connector.connect(&uri, wire).await.map(TokioIo::new)
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri, wire: Arc<Wire>) -> Result<Wired, ConnectError> {
        let start = self.ways.clock.instant();
        let deadline = start + wire.connect_limit;
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = self.resolve(host, &wire, deadline).await?;
        let stream = self.dial(&addresses, port, &wire, deadline).await?;
        let stream = match secure {
            false => Stream::Plain(stream),
            true => Stream::Tls(self.shake_hands(host, stream, &wire, deadline).await?),
        };
        wire.enter(Stage::Answer);
        Ok(Wired { stream, wire })
    }

    /// The permitted among the host's addresses.
    async fn resolve(
        &self,
        host: &str,
        wire: &Wire,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, ConnectError> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return self.permitted(vec![literal]);
        }
        let since = self.ways.clock.instant();
        wire.enter(Stage::Dns);
        let found = timeout_at(deadline, self.ways.resolver.addresses(host))
            .await
            .map_err(|_| late(Stage::Dns, wire))?
            .map_err(ConnectError::Dns)?;
        wire.passed(Stage::Dns, since);
        if found.is_empty() {
            return Err(ConnectError::Dns("the host's name has no address".into()));
        }
        self.permitted(found)
    }

    fn permitted(&self, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, ConnectError> {
        let refused = addresses.iter().copied().find(|&address| !self.ways.guard.permits(address));
        addresses.retain(|&address| self.ways.guard.permits(address));
        addresses.truncate(MOST_ADDRESSES);
        match refused {
            Some(address) if addresses.is_empty() => Err(ConnectError::Blocked(Blocked(address))),
            _ => Ok(addresses),
        }
    }

    /// Connects to the first address that answers. Each has its share of the time that is
    /// left, so one that swallows packets leaves some for the next.
    async fn dial(
        &self,
        addresses: &[IpAddr],
        port: u16,
        wire: &Wire,
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        let since = self.ways.clock.instant();
        wire.enter(Stage::Connect);
        let mut failure = late(Stage::Connect, wire);
        for (tried, &address) in addresses.iter().enumerate() {
            let now = self.ways.clock.instant();
            let left = deadline.saturating_duration_since(now);
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
            let dialled = TcpStream::connect(SocketAddr::new(address, port));
            match timeout_at(now + share, dialled).await {
                Ok(Ok(stream)) => {
                    wire.passed(Stage::Connect, since);
                    // Without it a request waits for company that will not come. Should it
                    // fail, so will what is sent.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    failure = late(Stage::Connect, wire);
                }
                Ok(Err(error)) => failure = ConnectError::Refused(error),
                Err(_) => failure = late(Stage::Connect, wire),
            }
        }
        Err(failure)
    }

    async fn shake_hands(
        &self,
        host: &str,
        stream: TcpStream,
        wire: &Wire,
        deadline: Instant,
    ) -> Result<Box<TlsStream<TcpStream>>, ConnectError> {
        let since = self.ways.clock.instant();
        wire.enter(Stage::Tls);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Tls("the host's name cannot be in a certificate".into()))?;
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let stream = timeout_at(deadline, handshake)
            .await
            .map_err(|_| late(Stage::Tls, wire))?
            .map_err(|error| ConnectError::Tls(tls_story(&error)))?;
        wire.passed(Stage::Tls, since);
        Ok(Box::new(stream))
    }
}

const fn late(stage: Stage, wire: &Wire) -> ConnectError {
    ConnectError::Timeout { stage, limit: wire.connect_limit }
}

/// Why a handshake failed, for people.
fn tls_story(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the connection was closed during the TLS handshake".into()
        }
        _ => error.to_string(),
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with the note of the request it was made for.
pub(super) struct Wired {
    stream: Stream,
    wire: Arc<Wire>,
}

impl fmt::Debug for Wired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wired").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl Connection for Wired {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(Arc::clone(&self.wire));
        match &self.stream {
            Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                connected.negotiated_h2()
            }
            _ => connected,
        }
    }
}

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, into),
            Stream::Tls(tls) => Pin::new(tls).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
