//! Sends the demo's events and waits until nothing is under way any more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{corpus::Event, receiver::Receiver};
use crate::{
    cli::{
        client::Client,
        output::{self, Exit, Failure, field},
    },
    clock::Clock,
    model::Sha256,
};

/// How often the server is asked what is left.
const POLL: Duration = Duration::from_millis(200);

/// What came of sending.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Accepted events by id.
    pub(super) accepted: HashMap<String, Accepted>,
    /// Event types and reasons of those that were refused.
    pub(super) rejected: Vec<(String, String)>,
    /// When the first was sent.
    pub(super) began: Option<Instant>,
}

/// An accepted event.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    /// When its 202 had been read.
    pub(super) at: Instant,
    /// When its request was begun.
    pub(super) posted: Instant,
    /// How many deliveries the server promised.
    pub(super) deliveries: u64,
    /// Of the payload.
    pub(super) sha256: Sha256,
}

/// A bar on a terminal; elsewhere a line now and then.
struct Progress {
    bar: ProgressBar,
    what: &'static str,
    told: u64,
}

impl Progress {
    fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = "{msg:<10} ▕{bar:30}▏ {human_pos} / {human_len}  {per_sec}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏░"));
        }
        bar.set_message(what);
        Self { bar, what, told: 0 }
    }

    fn at(&mut self, position: u64) {
        self.bar.set_position(position);
        let total = self.bar.length().unwrap_or(0);
        let step = (total / 4).max(1);
        if self.bar.is_hidden()
            && (position >= self.told + step || position == total)
            && position > self.told
        {
            self.told = position;
            output::say(format_args!("{}  {position} / {total}", self.what));
        }
    }

    fn end(&self) {
        self.bar.finish();
    }
}

/// Publishes every event. What the schema rejects is noted; anything else is a failure.
pub(super) async fn send(
    client: &Client,
    events: Vec<Event>,
    concurrency: usize,
) -> Result<Sent, Failure> {
    let clock = Clock::system();
    let mut progress = Progress::new("sending", events.len() as u64);
    let mut sent = Sent { began: Some(clock.instant()), ..Sent::default() };
    let places = Arc::new(Semaphore::new(concurrency));
    let mut tasks = JoinSet::new();
    for event in events {
        let (client, places) = (client.clone(), Arc::clone(&places));
        tasks.spawn(async move {
            // The semaphore is never closed; were it, sending would only be less bounded.
            let _place = places.acquire_owned().await.ok();
            let posted = clock.instant();
            let body = format!(
                "{{\"type\":{},\"payload\":{}}}",
                Value::from(&*event.event_type),
                event.payload.get()
            );
            let answer = client.post_text(&["events"], body).await;
            let sha256 = Sha256::of(event.payload.get().as_bytes());
            (event.event_type, posted, clock.instant(), sha256, answer)
        });
    }
    let mut done = 0;
    while let Some(joined) = tasks.join_next().await {
        let (event_type, posted, at, sha256, answer) =
            joined.map_err(|error| Failure::failed(format!("sending failed: {error}")))?;
        match answer {
            Ok(accepted) => {
                let deliveries = accepted["deliveries"].as_u64().unwrap_or(0);
                let entry = Accepted { at, posted, deliveries, sha256 };
                sent.accepted.insert(field(&accepted, "id"), entry);
            }
            Err(failure) if failure.exit() == Exit::Refused && failure.is_violation() => {
                sent.rejected.push((event_type, failure.first_line()));
            }
            Err(failure) => return Err(failure.line(format!("while sending a {event_type} event"))),
        }
        done += 1;
        progress.at(done);
    }
    progress.end();
    Ok(sent)
}

/// Waits until no delivery is pending or under way. Gives up when nothing has changed for
/// as long as `patience`.
pub(super) async fn settle(
    client: &Client,
    receiver: &Receiver,
    sent: &Sent,
    patience: Duration,
) -> Result<(), Failure> {
    let clock = Clock::system();
    let total = sent.accepted.values().map(|event| event.deliveries).sum();
    let mut progress = Progress::new("delivering", total);
    let (mut last, mut since) = (None, clock.instant());
    loop {
        let mut open = 0;
        for state in ["pending", "delivering"] {
            let filter = [("state", Some(state.into()))];
            open += client.list(&["deliveries"], &filter, usize::MAX).await?.len() as u64;
        }
        progress.at(total.saturating_sub(open));
        if open == 0 {
            progress.end();
            return Ok(());
        }
        let standing = Some((open, receiver.requests()));
        if standing != last {
            (last, since) = (standing, clock.instant());
        }
        if since.elapsed() > patience {
            progress.end();
            return Err(Failure::failed(format!(
                "{open} deliveries are still under way after {} s without progress",
                patience.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}
