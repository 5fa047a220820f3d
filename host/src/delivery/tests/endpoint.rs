//! An HTTP endpoint on a loopback socket that does as its script says, right or wrong.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    time::timeout,
};

use super::PATIENCE;

/// What the endpoint does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    /// With a header.
    With(u16, &'static str, String),
    /// With a body.
    Body(u16, String),
    /// Says nothing.
    Hang,
    /// Says 200, and then nothing.
    HangInBody,
    /// Sends body without end.
    Endless,
    /// Closes at once.
    Close,
    /// Answers something that is not HTTP.
    Garbage,
    /// Answers 200 when let go.
    Gated,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Received>,
    now: usize,
    most: usize,
}

#[derive(Debug)]
struct Inner {
    script: Mutex<VecDeque<Reply>>,
    seen: Mutex<Seen>,
    changed: Notify,
    gate: Semaphore,
}

#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub url: String,
    inner: Arc<Inner>,
}

impl Endpoint {
    /// Follows the script; its last line is repeated.
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            script: Mutex::new(script.into_iter().collect()),
            seen: Mutex::default(),
            changed: Notify::new(),
            gate: Semaphore::new(0),
        });
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&shared);
                tokio::spawn(serve(inner, stream));
            }
        });
        Self { url, inner }
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.inner.seen.lock().unwrap().requests.clone()
    }

    /// The most requests that were being answered at once.
    pub(crate) fn most(&self) -> usize {
        self.inner.seen.lock().unwrap().most
    }

    /// Lets gated replies go.
    pub(crate) fn open(&self, replies: usize) {
        self.inner.gate.add_permits(replies);
    }

    /// Waits until so many requests are being answered.
    pub(crate) async fn until_busy(&self, with: usize) {
        let wait = async {
            loop {
                let changed = self.inner.changed.notified();
                if self.inner.seen.lock().unwrap().now == with {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the requests did not come");
    }
}

async fn serve(inner: Arc<Inner>, mut stream: TcpStream) {
    while let Some(request) = read(&mut stream).await {
        let reply = {
            let mut script = inner.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        {
            let mut seen = inner.seen.lock().unwrap();
            seen.requests.push(request);
            seen.now += 1;
            seen.most = seen.most.max(seen.now);
        }
        inner.changed.notify_waiters();
        let go_on = answer(&inner, &mut stream, reply.unwrap()).await;
        inner.seen.lock().unwrap().now -= 1;
        inner.changed.notify_waiters();
        if !go_on {
            return;
        }
    }
}

/// Answers; whether the connection can be used again.
async fn answer(inner: &Inner, stream: &mut TcpStream, reply: Reply) -> bool {
    let text = match reply {
        Reply::Status(status) => response(status, "", ""),
        Reply::With(status, name, value) => response(status, &format!("{name}: {value}\r\n"), ""),
        Reply::Body(status, body) => response(status, "", &body),
        Reply::Gated => {
            inner.gate.acquire().await.unwrap().forget();
            response(200, "", "")
        }
        Reply::Hang => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]).await;
            return false;
        }
        Reply::HangInBody => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
            let _ = stream.read(&mut [0; 1]).await;
            return false;
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
            return false;
        }
        Reply::Close => return false,
        Reply::Garbage => {
            let _ = stream.write_all(b"220 smtp.example.com ESMTP\r\n\r\n").await;
            return false;
        }
    };
    stream.write_all(text.as_bytes()).await.is_ok()
}

fn response(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Reads one request; none when the connection ends.
async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut headers = HeaderMap::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    for line in str::from_utf8(&bytes[..end]).unwrap().lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value.trim()).unwrap(),
        );
    }
    let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { headers, body: Bytes::from(bytes).slice(end..end + length) })
}
