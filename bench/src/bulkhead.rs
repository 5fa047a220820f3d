//! Ten thousand subscriptions, one in a hundred slow and one in a hundred dead: what the
//! healthy ones notice of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    report::{Goal, Report},
    server::{KEY, Places, Server},
    wire::{Line, percentile, read_whole, request},
};

/// Event types; each has as many subscriptions, the first slow, the second dead.
const TYPES: usize = 100;
const EACH: usize = 100;
/// Events a second, each for all subscriptions of its type.
const RATE: u64 = 15;
const SECONDS: u64 = 30;
/// The first events warm connections up and do not count.
const WARM_UP: Duration = Duration::from_secs(8);
const SLOW: Duration = Duration::from_secs(10);

/// p99 from POST to arrival at healthy endpoints, with bad ones beside them ÷ without.
pub async fn run(places: &Places, report: &mut Report) {
    let (calm, _) = measure(places, false).await;
    let (rough, slow) = measure(places, true).await;
    let p99 = |latencies: &[Duration]| percentile(latencies, 0.99).as_secs_f64();
    let p50 = |latencies: &[Duration]| percentile(latencies, 0.5).as_secs_f64() * 1e3;
    report.add(
        "healthy p99 beside 1 % slow and 1 % dead ÷ without",
        p99(&rough) / p99(&calm),
        "",
        Goal::AtMost(1.5),
        format!(
            "{} subscriptions, {RATE} events/s to {EACH} each: p50 {:.1} ms, p99 {:.1} ms of {} \
             with {slow} requests to endpoints that take 10 s; p50 {:.1} ms, p99 {:.1} ms of {} without",
            TYPES * EACH,
            p50(&rough),
            p99(&rough) * 1e3,
            rough.len(),
            p50(&calm),
            p99(&calm) * 1e3,
            calm.len()
        ),
    );
}

/// From POST to arrival at healthy endpoints, sorted; and how many requests slow ones had.
async fn measure(places: &Places, bad: bool) -> (Vec<Duration>, usize) {
    let start = Instant::now();
    let healthy = Endpoint::start("127.0.0.1:0", start, Duration::ZERO).await;
    let slow = Endpoint::start("127.0.0.2:0", start, SLOW).await;
    // A port that was free a moment ago, with nobody behind it.
    let free = TcpListener::bind("127.0.0.3:0").await.expect("loopback has a free port");
    let dead = free.local_addr().expect("it is bound");
    drop(free);
    let server = Server::start(places).await;
    for n in 0..TYPES {
        let name = format!("bulk.n{n}");
        server.event_type(&name, None).await;
        for m in 0..EACH {
            let address = match m {
                0 if bad => slow.address,
                1 if bad => dead,
                _ => healthy.address,
            };
            server.subscribe(&format!("http://{address}/hook"), &name, &json!([])).await;
        }
    }
    let mut line = Line::open(server.process.address).await;
    let mut ticks = interval(Duration::from_micros(1_000_000 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let first = start.elapsed();
    for n in 0..RATE * SECONDS {
        ticks.tick().await;
        let sent = start.elapsed().as_micros() as u64;
        let name = format!("bulk.n{}", n % TYPES as u64);
        let event = json!({"type": name, "payload": {"sent": sent}}).to_string();
        line.exchange(&request(server.process.address, "/v1/events", KEY, event.as_bytes())).await;
    }
    let others = if bad { EACH - 2 } else { EACH };
    let expected = (RATE * SECONDS) as usize * others;
    let deadline = Instant::now() + Duration::from_secs(120);
    while healthy.count() < expected {
        assert!(Instant::now() < deadline, "{} of {expected} arrived", healthy.count());
        sleep(Duration::from_millis(100)).await;
    }
    let mut latencies = healthy.latencies(first + WARM_UP);
    latencies.sort_unstable();
    (latencies, slow.count())
}

/// An endpoint that notes when each event was sent, and how long it took to arrive.
struct Endpoint {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(Duration, Duration)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    /// Answers after `wait`; times count from `start`.
    async fn start(address: &str, start: Instant, wait: Duration) -> Self {
        let listener = TcpListener::bind(address).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, start, wait, all.clone()));
            }
        });
        Self { address, seen, task }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Duration, Duration)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.lock().len()
    }

    /// How long those took that were sent from `since` on.
    fn latencies(&self, since: Duration) -> Vec<Duration> {
        self.lock().iter().filter(|(sent, _)| *sent >= since).map(|&(_, took)| took).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    start: Instant,
    wait: Duration,
    seen: Arc<Mutex<Vec<(Duration, Duration)>>>,
) {
    let mut buffer = Vec::with_capacity(4 << 10);
    while let Some((_, body)) = read_whole(&mut stream, &mut buffer).await {
        let now = start.elapsed();
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let sent = Duration::from_micros(event["sent"].as_u64().expect("it says when"));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push((sent, now.saturating_sub(sent)));
        sleep(wait).await;
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            break;
        }
    }
}
