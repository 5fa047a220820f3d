//! The load generator and the receiver: HTTP/1.1 by hand, so that what is measured is the
//! server and not the tool. Both live in this one process, in every figure.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What one run of the generator saw.
#[derive(Debug, Default, Clone)]
pub struct Load {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// How long each answer took, sorted.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `share` of the answers did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        percentile(&self.latencies, share)
    }
}

/// The value that `share` of sorted values do not exceed.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

/// A request's bytes for a JSON body.
pub fn request(address: SocketAddr, path: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends `count` requests over `connections` connections, each of which sends its next one
/// when the last was answered. Panics at any answer that is not 2xx: a figure made of
/// refusals is none.
pub async fn load(address: SocketAddr, connections: usize, count: usize, bytes: Vec<u8>) -> Load {
    let next = Arc::new(AtomicUsize::new(0));
    let bytes = Arc::new(bytes);
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (next, bytes) = (next.clone(), bytes.clone());
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("the server accepts");
            stream.set_nodelay(true).expect("a socket option");
            let mut buffer = Vec::with_capacity(16 << 10);
            let mut latencies = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let sent = Instant::now();
                stream.write_all(&bytes).await.expect("the server reads");
                let status =
                    read_message(&mut stream, &mut buffer).await.expect("the server answers");
                assert!(status.starts_with("HTTP/1.1 20"), "{status}");
                latencies.push(sent.elapsed());
            }
            latencies
        });
    }
    let mut latencies: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let elapsed = start.elapsed();
    latencies.sort_unstable();
    Load { elapsed, latencies }
}

/// Reads one message with a content length; answers its first line. None at the end.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let (head, _) = read_whole(stream, buffer).await?;
    head.lines().next().map(str::to_owned)
}

/// The same; answers its head and its body.
pub async fn read_whole(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = content_length(&head);
            while buffer.len() < end + 4 + length {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let body = buffer[end + 4..end + 4 + length].to_vec();
            buffer.drain(..end + 4 + length);
            return Some((head, body));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn content_length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0)
}

/// Counts what arrives and answers 200 with an empty body.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Arrivals>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Arrivals {
    times: Mutex<Vec<Instant>>,
    changed: Notify,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Listens on a free loopback port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Arrivals::default());
        let arrivals = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, arrivals.clone()));
            }
        });
        Self { address, shared, task }
    }

    /// The URL of its only path.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Forgets what arrived.
    pub fn reset(&self) {
        self.times().clear();
    }

    /// How many arrived.
    pub fn count(&self) -> usize {
        self.times().len()
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.shared.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the `count`th arrival; answers when it was.
    pub async fn wait(&self, count: usize) -> Instant {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                if let Some(time) = self.times().get(count - 1) {
                    return *time;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(300), waiting).await {
            Ok(time) => time,
            Err(_) => panic!("only {} of {count} arrived in five minutes", self.count()),
        }
    }
}

async fn serve(mut stream: TcpStream, arrivals: Arc<Arrivals>) {
    let mut buffer = Vec::with_capacity(16 << 10);
    while read_message(&mut stream, &mut buffer).await.is_some() {
        arrivals.times.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        arrivals.changed.notify_waiters();
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            break;
        }
    }
}

/// One connection, one request at a time.
pub struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request and waits for its answer; says how long that took.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Duration {
        let sent = Instant::now();
        self.stream.write_all(bytes).await.expect("the server reads");
        let status =
            read_message(&mut self.stream, &mut self.buffer).await.expect("the server answers");
        assert!(status.starts_with("HTTP/1.1 20"), "{status}");
        sent.elapsed()
    }
}
