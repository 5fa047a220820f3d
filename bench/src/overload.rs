//! Ten times more events than the server can take: what becomes of those it takes.
//!
//! All load here is open, as of many producers who know nothing of each other: a request is due
//! when it is due (the times between are exponentially distributed, from a seed), whatever
//! became of those before it, and its latency counts from then. One that is due while every connection waits for an
//! answer is not sent, and not counted as offered.
//!
//! The server has one processor for itself, and the generator the others, or the latencies of
//! either would be the other's doing; without `taskset` they share. That the generator can offer
//! ten times more than the server takes, an event is dear to check: each of its items is one of
//! many alternatives.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::{KEY, Places, Server, run_on},
    wire::{load, percentile, request},
};

/// Connections that find out how much the server can take.
const CLOSED: usize = 32;
/// Connections of the open load: as many requests can be unanswered at once.
const OPEN: usize = 2_048;
/// How long each load lasts.
const TIME: Duration = Duration::from_secs(30);
/// Alternatives for each item of an event, told apart by their last member.
const ALTERNATIVES: usize = 900;
/// How long it may take until the server knows that more comes than it can take.
const ONSET: Duration = Duration::from_secs(1);
/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(1);

/// What an open load came to.
#[derive(Debug, Default)]
struct Seen {
    offered: u64,
    refused: u64,
    /// Latencies of what was accepted, from the shortest to the longest.
    accepted: Vec<Duration>,
    /// How many of the slowest hundredth came within [`ONSET`].
    early: usize,
    ids: Vec<String>,
    elapsed: Duration,
}

impl Seen {
    fn p(&self, share: f64) -> f64 {
        percentile(&self.accepted, share).as_secs_f64() * 1e3
    }

    fn rate(&self, count: usize) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }
}

/// A schema that takes a while: all alternatives but the last are wrong.
fn schema() -> Value {
    let alternative = |n: usize| {
        json!({"type": "object", "required": ["id", "message", "author"], "properties": {
            "id": {"type": "string", "minLength": 40},
            "added": {"type": "array", "items": {"type": "string"}},
            "message": {"type": "string", "maxLength": 100 + n},
            "distinct": {"const": n == ALTERNATIVES}}})
    };
    let alternatives: Vec<_> = (1..=ALTERNATIVES).map(alternative).collect();
    json!({"type": "object", "properties": {"commits": {"type": "array", "items": {"anyOf": alternatives}}}})
}

/// Measures it.
pub async fn run(places: &Places, report: &mut Report) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let apart = processors > 1 && run_on(&format!("1-{}", processors - 1)).await;
    let server = Server::start_on(places, apart).await;
    measure(server, report).await;
    if apart {
        run_on(&format!("0-{}", processors - 1)).await;
    }
}

async fn measure(mut server: Server, report: &mut Report) {
    server.event_type("push", Some(&schema())).await;
    let event = json!({"type": "push", "payload": payload(2048)}).to_string();
    let bytes: Arc<[u8]> =
        request(server.process.address, "/v1/events", KEY, event.as_bytes()).into();
    // Once to warm up, and once to know.
    load(server.process.address, CLOSED, 2_000, bytes.to_vec()).await;
    let capacity = load(server.process.address, CLOSED, 20_000, bytes.to_vec()).await.rate();
    let stored = server.metric("hookmill_events_accepted_total").await as usize;

    let half = open(server.process.address, capacity / 2.0, &bytes).await;
    let before = server.process.peak();
    let over = open(server.process.address, capacity * 10.0, &bytes).await;
    let peak = server.process.peak();
    let limit = server.metric("hookmill_publishing_limit").await;

    // What was answered is on disk, whatever becomes of the server.
    server.kill().await;
    server.begin().await;
    let kept: HashSet<String> = ids(&server).await;
    let lost = half.ids.iter().chain(&over.ids).filter(|id| !kept.contains(*id)).count();
    let all = stored + half.ids.len() + over.ids.len();

    let offered = over.rate(over.offered as usize);
    report.add(
        "overload: p99 of accepted to that at half load",
        over.p(0.99) / half.p(0.99),
        "",
        Goal::AtMost(2.0),
        format!(
            "{}offered {offered:.0}/s, {:.1} times the {capacity:.0}/s of a closed loop; accepted {:.0}/s \
             (p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms; {} of the \
             slowest hundredth in the first second), refused {:.0}/s; \
             at half load accepted {:.0}/s (p50 {:.2} ms, p99 {:.2} ms), refused {}; {limit:.0} at once at last",
            if server.is_apart() { "server on a processor of its own; " } else { "" },
            offered / capacity,
            over.rate(over.accepted.len()),
            over.p(0.5),
            over.p(0.99),
            over.p(1.0),
            over.early,
            over.rate(over.refused as usize),
            half.rate(half.accepted.len()),
            half.p(0.5),
            half.p(0.99),
            half.refused,
        ),
    );
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    report.add(
        "overload: memory at the most",
        megabytes(peak),
        " MB",
        Goal::AtMost(300.0),
        format!("resident; {:.0} MB before", megabytes(before)),
    );
    report.add(
        "overload: accepted and lost",
        lost as f64,
        "",
        Goal::AtMost(0.0),
        format!("of {all} accepted, after kill -9; {} are in the database", kept.len()),
    );
}

/// Every event's id.
async fn ids(server: &Server) -> HashSet<String> {
    let (mut all, mut cursor) = (HashSet::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/events?limit=200{cursor}")).await;
        let ids = page["data"].as_array().into_iter().flatten();
        all.extend(ids.filter_map(|event| event["id"].as_str().map(str::to_owned)));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Sends `rate` requests a second for a while.
async fn open(address: SocketAddr, rate: f64, bytes: &Arc<[u8]>) -> Seen {
    let (idle, mut free) = mpsc::channel::<oneshot::Sender<Instant>>(OPEN);
    let refused = Arc::new(AtomicU64::new(0));
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let mut connections = JoinSet::new();
    for _ in 0..OPEN {
        let mut stream = TcpStream::connect(address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a socket option");
        let (bytes, idle) = (Arc::clone(bytes), idle.clone());
        let (refused, accepted) = (Arc::clone(&refused), Arc::clone(&accepted));
        connections.spawn(async move {
            let mut buffer = Vec::with_capacity(16 << 10);
            loop {
                let (turn, due) = oneshot::channel();
                if idle.send(turn).await.is_err() {
                    break;
                }
                // Nobody hands out anything any more: the time is over.
                let Ok(due) = due.await else { break };
                stream.write_all(&bytes).await.expect("the server reads");
                match answer(&mut stream, &mut buffer).await {
                    Some(id) => {
                        let took = due.elapsed();
                        let mut accepted = accepted.lock().unwrap_or_else(PoisonError::into_inner);
                        accepted.push((took, due, id));
                    }
                    None => {
                        refused.fetch_add(1, Relaxed);
                    }
                }
            }
        });
    }
    drop(idle);
    let start = Instant::now();
    let (offered, elapsed) = pace(start, rate, &mut free).await;
    drop(free);
    // Each ends when it finds that nobody takes it any more, once it has its last answer.
    while connections.join_next().await.is_some() {}
    let mut accepted =
        std::mem::take(&mut *accepted.lock().unwrap_or_else(PoisonError::into_inner));
    accepted.sort_unstable();
    let slowest = &accepted[accepted.len() - accepted.len() / 100..];
    let early = slowest.iter().filter(|(_, due, _)| *due - start < ONSET).count();
    let (accepted, ids) = accepted.into_iter().map(|(took, _, id)| (took, id)).unzip();
    Seen { offered, refused: refused.load(Relaxed), accepted, early, ids, elapsed }
}

/// Hands out what is due to connections that have nothing to do; answers how much it handed
/// out, and in what time.
async fn pace(
    start: Instant,
    rate: f64,
    free: &mut mpsc::Receiver<oneshot::Sender<Instant>>,
) -> (u64, Duration) {
    let mut ticks = tokio::time::interval_at(start.into(), TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut dice = fastrand::Rng::with_seed(1);
    let (mut next, mut offered) = (start, 0);
    while start.elapsed() < TIME {
        let tick = ticks.tick().await.into_std();
        while next <= tick {
            // The moment it was due, not the moment this task had its turn.
            if let Ok(connection) = free.try_recv()
                && connection.send(next).is_ok()
            {
                offered += 1;
            }
            let wait: f64 = -(1.0 - dice.f64()).ln() / rate;
            next += Duration::from_secs_f64(wait);
        }
    }
    (offered, start.elapsed())
}

/// Reads an answer; the event's id if it was accepted. Panics at any answer but 202 and 503.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let read = stream.read_buf(buffer).await.expect("the server answers");
        assert!(read > 0, "the server closed a connection");
    };
    let text = std::str::from_utf8(&buffer[..head]).expect("a head is text");
    let is_accepted = text.starts_with("HTTP/1.1 202");
    assert!(is_accepted || text.starts_with("HTTP/1.1 503"), "{text}");
    let at = text.find("content-length: ").expect("it says how long it is") + 16;
    let digits = &text[at..at + text[at..].find('\r').unwrap_or(0)];
    let length: usize = digits.parse().expect("a length is a number");
    while buffer.len() < head + length {
        let read = stream.read_buf(buffer).await.expect("the server answers");
        assert!(read > 0, "the server closed a connection");
    }
    let id = is_accepted.then(|| {
        let body = String::from_utf8_lossy(&buffer[head..head + length]);
        let id = body.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"'));
        id.map(|(id, _)| id.to_owned()).expect("what is accepted has an id")
    });
    buffer.drain(..head + length);
    id
}
