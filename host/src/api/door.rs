//! The outermost part of the interface: which requests are let in to publish, and what the
//! bodies of all of them weigh.
//!
//! Stands before everything else, so that what is refused here costs no span, no route, no
//! body and no key check. Never looks at what is published, nor by whom.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;
use tower::Service;

use super::problem::{Code, MEDIA_TYPE, Problem};
use crate::limits::{Admission, Closed, Pass, Shed, Weight};

/// A body of no more bytes is read to its end although it is not wanted: the alternative is to
/// close the connection, and a client that is sent away should not have to connect anew.
const DRAINED: u64 = 256 << 10;
/// For so long.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// When to come back. Not all at the same moment, or they would all be refused again.
const RETRY_AFTER: [HeaderValue; 3] =
    [HeaderValue::from_static("1"), HeaderValue::from_static("2"), HeaderValue::from_static("3")];

/// Lets requests in to `inner`, or does not.
#[derive(Debug, Clone)]
pub struct Door<S> {
    inner: S,
    admission: Admission,
}

impl<S> Door<S> {
    /// A door before `inner`.
    pub const fn new(inner: S, admission: Admission) -> Self {
        Self { inner, admission }
    }
}

/// Whether a request brings events.
pub(super) fn publishes(method: &Method, path: &str) -> bool {
    let events = || path.strip_prefix("/v1/events");
    method == Method::POST
        && (path.starts_with("/in/")
            || events().is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

impl<S, B> Service<Request<B>> for Door<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !publishes(request.method(), request.uri().path()) {
            if request.body().is_end_stream() {
                return Box::pin(self.inner.call(request.map(Body::new)));
            }
            let held = Arc::new(self.admission.weight());
            let weight = Arc::clone(&held);
            let request = weighed_inflated(request, &held);
            let answering =
                self.inner.call(request.map(|inner| Body::new(Weighed { inner, held })));
            return Box::pin(async move { instead(answering.await, &weight) });
        }
        match self.admission.admit() {
            Ok(pass) => {
                let pass = Arc::new(pass);
                let held = Arc::clone(&pass);
                let request = weighed_inflated(request, &held);
                let answering =
                    self.inner.call(request.map(|inner| Body::new(Weighed { inner, held })));
                Box::pin(async move {
                    let answer = answering.await;
                    if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                        pass.served();
                    }
                    instead(answer, pass.weight())
                })
            }
            Err(why) => Box::pin(async move {
                let (parts, body) = request.into_parts();
                drain(&parts.headers, body).await;
                Ok(refused(why))
            }),
        }
    }
}

/// The answer, or a refusal if the body was cut off here: what was said of such a body would
/// blame the client.
fn instead(answer: Result<Response, Infallible>, weight: &Weight) -> Result<Response, Infallible> {
    if weight.is_over() { Ok(refused(Shed::Memory)) } else { answer }
}

/// Reads a small body to its end, and throws it away.
async fn drain<B: HttpBody + Unpin>(headers: &HeaderMap, mut body: B) {
    // One who waits for leave to send does not send, and is not to.
    let is_small = body.size_hint().upper().is_some_and(|bytes| bytes <= DRAINED);
    if body.is_end_stream() || !is_small || headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // Then the connection is closed, which is what a client so slow has to expect.
    let _too_slow = timeout(DRAIN_TIME, reading).await;
}

/// What every refusal for a reason has in common, written once.
fn problem(why: Shed) -> Problem {
    let (title, detail) = match why {
        Shed::Busy => (
            "More events come than can be stored in time",
            "Try again after Retry-After seconds, with an id or Idempotency-Key.",
        ),
        Shed::Memory => (
            "The bodies of other requests take all the memory they may",
            "Try again after Retry-After seconds.",
        ),
        Shed::Closed(Closed::Backlog) => (
            "More deliveries are pending than the operator allows",
            "Events are taken again once endpoints have received what waits for them.",
        ),
        Shed::Closed(Closed::Database) => (
            "The database is larger than the operator allows",
            "Events are taken again once old ones have gone.",
        ),
    };
    Problem::new(Code::Overloaded, title).detail(detail).member("reason", why.as_str())
}

fn refused(why: Shed) -> Response {
    static TEXTS: LazyLock<[Bytes; 4]> = LazyLock::new(|| {
        // Problems always serialise; were that ever untrue, the status alone still answers.
        Shed::ALL.map(|why| serde_json::to_vec(problem(why).body()).unwrap_or_default().into())
    });
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Relaxed) % RETRY_AFTER.len();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (header::RETRY_AFTER, RETRY_AFTER[turn].clone()),
    ];
    (Code::Overloaded.status(), headers, Body::from(TEXTS[why.index()].clone())).into_response()
}

/// Where a body's bytes are counted once they are inflated: a few may come to many.
#[derive(Clone)]
pub(super) struct Scale(Arc<dyn Watches>);

impl Scale {
    /// Counts bytes; false if they are too many, and then the answer is a refusal.
    pub(super) fn add(&self, bytes: usize) -> bool {
        self.0.weight().add(bytes)
    }
}

/// A request that finds the scale, if it has to be inflated.
fn weighed_inflated<B, W: Watches + 'static>(mut request: Request<B>, held: &Arc<W>) -> Request<B> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let held: Arc<dyn Watches> = Arc::<W>::clone(held);
        request.extensions_mut().insert(Scale(held));
    }
    request
}

/// Who is told of a body on its way.
trait Watches: Send + Sync {
    fn wait(&self) {}
    fn resume(&self) {}
    fn weight(&self) -> &Weight;
}

impl Watches for Weight {
    fn weight(&self) -> &Weight {
        self
    }
}

impl Watches for Pass {
    fn wait(&self) {
        Self::wait(self);
    }

    fn resume(&self) {
        Self::resume(self);
    }

    fn weight(&self) -> &Weight {
        Self::weight(self)
    }
}

/// A body whose bytes are counted as they come, and cut off when all of them are too many.
struct Weighed<B, W> {
    inner: B,
    held: Arc<W>,
}

impl<B, W> HttpBody for Weighed<B, W>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    W: Watches,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            self.held.wait();
            return Poll::Pending;
        };
        self.held.resume();
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if self.held.weight().add(bytes) {
                Ok(frame)
            } else {
                Err("there is no memory for more of it".into())
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::to_bytes,
        http::StatusCode,
        routing::{get, post},
    };
    use serde_json::Value;
    use tokio::sync::Notify;
    use tower::ServiceExt;

    use super::*;
    use crate::{clock::Clock, limits::AdmissionSettings};

    fn admission(publishing: usize, body_bytes: usize) -> Admission {
        Admission::new(AdmissionSettings { publishing, body_bytes }, Clock::system())
    }

    fn door(admission: &Admission) -> Door<Router> {
        let take = |body: Body| async {
            match to_bytes(body, usize::MAX).await {
                Ok(bytes) => (StatusCode::ACCEPTED, bytes.len().to_string()),
                Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
            }
        };
        let router = Router::new()
            .route("/v1/events", post(take).get(|| async { "listed" }))
            .route("/v1/plugins", post(take))
            .route("/healthz", get(|| async { "well" }));
        Door::new(router, admission.clone())
    }

    fn request(method: Method, path: &str, body: &'static str) -> Request {
        Request::builder().method(method).uri(path).body(body.into()).unwrap()
    }

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn who_finds_no_place_is_told_when_to_come_back() {
        let admission = admission(1, 1_000);
        let place = admission.admit().unwrap();
        let answer =
            door(&admission).oneshot(request(Method::POST, "/v1/events", "1")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        let seconds: u32 = answer.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=3).contains(&seconds));
        let body: Value = serde_json::from_str(&text(answer).await).unwrap();
        assert_eq!((&body["status"], &body["reason"]), (&503.into(), &"busy".into()));
        drop(place);
        let answer =
            door(&admission).oneshot(request(Method::POST, "/v1/events", "1")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!((admission.at_work(), admission.bytes()), (0, 0));
    }

    #[tokio::test]
    async fn everything_but_publishing_is_answered_all_the_same() {
        let admission = admission(1, 1_000);
        let _place = admission.admit().unwrap();
        for (method, path) in
            [(Method::GET, "/healthz"), (Method::GET, "/v1/events"), (Method::POST, "/v1/plugins")]
        {
            let answer = door(&admission).oneshot(request(method, path, "")).await.unwrap();
            assert!(answer.status().is_success(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_body_that_memory_has_no_room_for_is_cut_off_and_not_blamed_on_the_client() {
        for path in ["/v1/events", "/v1/plugins"] {
            let admission = admission(9, 4);
            let answer =
                door(&admission).oneshot(request(Method::POST, path, "12345")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(text(answer).await.contains("memory"));
            let answer =
                door(&admission).oneshot(request(Method::POST, path, "1234")).await.unwrap();
            assert_eq!(text(answer).await, "4");
        }
    }

    #[tokio::test]
    async fn a_client_that_is_slow_to_send_keeps_no_place() {
        let admission = admission(1, 1_000);
        let (go, waiting) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (gone, waits) = (Arc::clone(&go), Arc::clone(&waiting));
        let slowly = futures_util::stream::once(async move {
            waits.notify_one();
            gone.notified().await;
            Ok::<_, Infallible>("late")
        });
        let mut slow = request(Method::POST, "/v1/events", "");
        *slow.body_mut() = Body::from_stream(slowly);
        let answering = tokio::spawn(door(&admission).oneshot(slow));
        waiting.notified().await;
        let quick =
            door(&admission).oneshot(request(Method::POST, "/v1/events", "1")).await.unwrap();
        assert_eq!(quick.status(), StatusCode::ACCEPTED);
        go.notify_one();
        let answer = answering.await.unwrap().unwrap();
        assert_eq!(text(answer).await, "4");
        assert_eq!((admission.at_work(), admission.bytes()), (0, 0));
    }

    #[test]
    fn publishing_is_known_by_its_path() {
        for (path, is) in [
            ("/v1/events", true),
            ("/v1/events/batch", true),
            ("/in/src_1", true),
            ("/v1/events-x", false),
            ("/v1/event-types", false),
            ("/v1/subscriptions", false),
        ] {
            assert_eq!(publishes(&Method::POST, path), is, "{path}");
            assert!(!publishes(&Method::GET, path), "{path}");
        }
    }
}
