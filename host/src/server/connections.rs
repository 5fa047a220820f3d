//! Takes connections in and lets go of them.
//!
//! Owns how many there may be at once and how long one may keep its place without asking for
//! anything: each holds a file, and without files neither the database nor a delivery works.
//! Never looks at what is asked.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower::Service;

use super::tls::Tls;

/// Most connections at once, whatever the system allows.
const MOST: usize = 8_192;
/// Files this process would like to be allowed to open.
const FILES: u64 = 65_536;
/// What a system allows that does not say.
const FEW_FILES: u64 = 1_024;
/// A connection that had no request under way, and began none, for so long is closed; the
/// clients it may hurt are those that send a request's head a byte at a time.
const QUIET: Duration = Duration::from_secs(30);
/// Largest head of a request in bytes, which is also as much of a body as is read at once.
const HEAD: usize = 64 << 10;
/// Most headers of a request over HTTP/1; over HTTP/2 only their size is bounded.
const HEADERS: usize = 100;
/// A body of no more bytes is sent as soon as it is handed over.
const AT_ONCE: u64 = 64 << 10;
/// How long to wait after a connection could not be taken in for want of something.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// What answers requests.
pub(super) trait Answers:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// Bounds of what clients may hold.
#[derive(Clone)]
pub(super) struct Connections {
    most: usize,
    quiet: Duration,
    /// None for plain HTTP.
    tls: Option<Arc<Tls>>,
}

impl Connections {
    /// Half of the files that may be open, which are as many as the system lets us ask for:
    /// the other half is for the database and for deliveries.
    pub(super) fn within_limits(tls: Option<Arc<Tls>>) -> Self {
        let files = rlimit::increase_nofile_limit(FILES).unwrap_or(FEW_FILES);
        let half = usize::try_from(files / 2).unwrap_or(MOST);
        Self { most: half.clamp(1, MOST), quiet: QUIET, tls }
    }

    /// Serves until `stop`, then until what is under way has ended, for as long as `patience`.
    pub(super) async fn serve<S: Answers>(
        self,
        listener: TcpListener,
        service: S,
        stop: impl Future<Output = ()>,
        patience: impl FnOnce() -> Duration,
    ) {
        let places = Arc::new(Semaphore::new(self.most));
        let (stopping, told) = watch::channel(false);
        let mut stop = pin!(stop);
        loop {
            let next = async {
                // A place first: who finds none waits in the system's queue.
                let place = Arc::clone(&places).acquire_owned().await;
                (place, accept(&listener).await)
            };
            let (place, stream) = tokio::select! {
                () = &mut stop => break,
                next = next => next,
            };
            let (service, quiet, told) = (service.clone(), self.quiet, told.clone());
            let tls = self.tls.clone();
            tokio::spawn(async move {
                take_in(stream, tls, service, quiet, told).await;
                drop(place);
            });
        }
        drop(listener);
        // Nobody listens if nobody is connected.
        let _nobody = stopping.send(true);
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        if timeout(patience(), places.acquire_many(all)).await.is_err() {
            tracing::warn!("connections were still open when the time to stop was up");
        }
    }
}

/// The next connection, whatever went wrong with those before it.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => match error.kind() {
                // The client's doing, over before it began.
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset => {}
                _ => {
                    tracing::error!(%error, "a connection could not be taken in");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

/// Serves one connection, which may begin with a handshake.
async fn take_in<S: Answers>(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    service: S,
    quiet: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    let Some(tls) = tls else { return converse(stream, service, quiet, stopping).await };
    let stream = tokio::select! {
        stream = tls.accept(stream) => stream,
        // It has asked for nothing yet.
        _ = stopping.changed() => None,
    };
    if let Some(stream) = stream {
        converse(stream, service, quiet, stopping).await;
    }
}

/// Serves one connection until it ends, is quiet for too long, or is told to come to an end.
async fn converse<S: Answers>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: S,
    quiet: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let requests = Arc::<Requests>::default();
    let counted = Counted { inner: service, requests: Arc::clone(&requests) };
    let mut protocol = Builder::new(TokioExecutor::new());
    protocol.http1().max_buf_size(HEAD).max_headers(HEADERS);
    protocol.http2().max_header_list_size(HEAD as u32);
    let service = TowerToHyperService::new(counted);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let (mut told, mut begun) = (false, 0);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended early");
                }
                return;
            }
            _ = stopping.changed(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep(quiet) => {
                if requests.none_since(&mut begun) {
                    return;
                }
            }
        }
    }
}

/// A connection's requests so far.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Requests {
    /// Whether none is under way and none has begun since there were `before`, which is
    /// brought up to date.
    fn none_since(&self, before: &mut usize) -> bool {
        let (ended, begun) = (self.ended.load(Relaxed), self.begun.load(Relaxed));
        std::mem::replace(before, begun) == begun && ended == begun
    }
}

/// Counts an end, also that of a request whose client went away.
struct UnderWay(Arc<Requests>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

/// A service that counts its requests.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    requests: Arc<Requests>,
}

impl<S, R> Service<R> for Counted<S>
where
    S: Service<R, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.requests.begun.fetch_add(1, Relaxed);
        let under_way = UnderWay(Arc::clone(&self.requests));
        let answering = self.inner.call(request);
        Box::pin(async move {
            let answer = answering.await?;
            if answer.body().size_hint().exact().is_some_and(|bytes| bytes <= AT_ONCE) {
                drop(under_way);
                return Ok(answer);
            }
            // What takes its time to be sent is under way until it was: the body owns that.
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _sending = &under_way;
                    frame
                }))
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::{Notify, oneshot},
        task::JoinHandle,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Serving {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        served: JoinHandle<()>,
    }

    async fn serving(most: usize, quiet: Duration, router: Router) -> Serving {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        let served = tokio::spawn(Connections { most, quiet, tls: None }.serve(
            listener,
            router,
            stopped,
            || PATIENCE,
        ));
        Serving { address, stop, served }
    }

    /// What a server says to `words` until it closes the connection.
    async fn says(stream: &mut TcpStream, words: &str) -> String {
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        // A reset is an end as good as any.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("it is closed");
        String::from_utf8_lossy(&heard).into_owned()
    }

    #[tokio::test]
    async fn an_answer_that_is_still_being_sent_is_no_quiet() {
        let (pieces, body) = tokio::sync::mpsc::channel::<Result<&'static str, io::Error>>(1);
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let router = Router::new().route(
            "/",
            get(move || async move {
                let body = body.lock().unwrap().take().unwrap();
                Body::from_stream(futures_util::stream::unfold(body, |mut body| async {
                    body.recv().await.map(|piece| (piece, body))
                }))
            }),
        );
        let quiet = Duration::from_millis(20);
        let serving = serving(3, quiet, router).await;
        let mut client = TcpStream::connect(serving.address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        for _ in 0..5 {
            pieces.send(Ok("piece")).await.unwrap();
            // One that asks for nothing is closed: so long was it quiet.
            let mut idle = TcpStream::connect(serving.address).await.unwrap();
            assert_eq!(says(&mut idle, "").await, "");
        }
        drop(pieces);
        let mut heard = String::new();
        timeout(PATIENCE, client.read_to_string(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard.matches("piece").count(), 5, "{heard}");
    }

    #[tokio::test]
    async fn who_never_finishes_a_request_makes_room_for_others() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = serving(2, Duration::from_millis(50), router).await;
        let mut silent = TcpStream::connect(serving.address).await.unwrap();
        let mut slow = TcpStream::connect(serving.address).await.unwrap();
        let mut third = TcpStream::connect(serving.address).await.unwrap();
        let heard =
            says(&mut third, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(heard.ends_with("here"), "{heard}");
        assert_eq!(says(&mut silent, "").await, "");
        // Its head was never whole, and was cut off at the latest with this.
        let _ = slow.write_all(b"GET / HTTP/1.1\r\nx").await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn a_request_under_way_is_waited_for_however_long_it_takes() {
        let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (there, leave) = (Arc::clone(&arrived), Arc::clone(&go));
        let route = get(move || async move {
            there.notify_one();
            leave.notified().await;
            "at last"
        });
        let quiet = Duration::from_millis(10);
        let serving = serving(8, quiet, Router::new().route("/", route)).await;
        let mut stream = TcpStream::connect(serving.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        arrived.notified().await;
        // One that asks for nothing is closed meanwhile; this one is not.
        let mut silent = TcpStream::connect(serving.address).await.unwrap();
        assert_eq!(says(&mut silent, "").await, "");
        serving.stop.send(()).unwrap();
        go.notify_one();
        let heard = says(&mut stream, "").await;
        assert!(heard.ends_with("at last"), "{heard}");
        timeout(PATIENCE, serving.served).await.expect("it ends").unwrap();
        assert!(TcpStream::connect(serving.address).await.is_err(), "nobody listens any more");
    }
}
