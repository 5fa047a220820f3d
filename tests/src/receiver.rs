//! An endpoint that records what it gets and answers as it is told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Body, extract::State, http::Request, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::Notify, time::timeout};

use crate::PATIENCE;

/// What lets a late reply go, once for each `notify_one`.
pub type Gate = Arc<Notify>;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its path.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Bytes,
}

impl Received {
    /// A header, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Whether the Standard Webhooks signature holds, by an implementation of its own.
    pub fn verifies(&self, secret: &str) -> bool {
        let Some(key) = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok())
        else {
            return false;
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
        for part in [self.header("webhook-id"), ".", self.header("webhook-timestamp"), "."] {
            mac.update(part.as_bytes());
        }
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|given| given == expected)
    }
}

/// How a path answers.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    hangs: bool,
    gate: Option<Gate>,
}

impl Reply {
    /// A status with an empty body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), hangs: false, gate: None }
    }

    /// Never answers.
    pub fn never() -> Self {
        Self { hangs: true, ..Self::status(200) }
    }

    /// Given once the gate lets it.
    #[must_use]
    pub fn late(self, gate: &Gate) -> Self {
        Self { gate: Some(Arc::clone(gate)), ..self }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    /// For each path the replies to come; the last one stays.
    replies: Mutex<HashMap<String, Vec<Reply>>>,
    arrived: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens on loopback for as long as it lives.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Starts one that answers 200 to everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the receiver serves");
        });
        Self { address, shared, task }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers at `path` with these in turn; the last one stays.
    pub fn reply(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.shared.replies).insert(path.to_owned(), replies.into_iter().collect());
    }

    /// All that arrived at a path so far.
    pub fn at(&self, path: &str) -> Vec<Received> {
        lock(&self.shared.received).iter().filter(|r| r.path == path).cloned().collect()
    }

    /// Waits until `count` requests arrived at a path.
    pub async fn wait(&self, path: &str, count: usize) -> Vec<Received> {
        self.wait_until(path, |found| found.len() >= count).await
    }

    /// Waits until what arrived at a path is enough.
    pub async fn wait_until(
        &self,
        path: &str,
        enough: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        let waiting = async {
            loop {
                let arrived = self.shared.arrived.notified();
                let found = self.at(path);
                if enough(&found) {
                    return found;
                }
                arrived.await;
            }
        };
        match timeout(PATIENCE * 2, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("only {} requests arrived at {path}", self.at(path).len()),
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap_or_default();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let path = head.uri.path().to_owned();
    lock(&shared.received).push(Received { path: path.clone(), headers, body });
    shared.arrived.notify_waiters();
    let reply = {
        let mut replies = lock(&shared.replies);
        match replies.get_mut(&path) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) if list.len() == 1 => list[0].clone(),
            _ => Reply::status(200),
        }
    };
    if reply.hangs {
        std::future::pending::<()>().await;
    }
    if let Some(gate) = reply.gate {
        gate.notified().await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).expect("the test gave a valid reply")
}
