//! Endpoints that answer as the plan says, and watch how they are asked.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::mpsc, time::sleep};
use url::Url;

use super::{
    invariants::Journal,
    plan::{Mood, Plan},
};
use crate::{
    clock::Clock,
    delivery::http::{Exchange, Request, Transport},
    model::{AttemptOutcome, Notice, Timestamp, Timings},
};

/// The endpoints.
pub(super) struct Network {
    pub plan: Arc<Plan>,
    pub journal: Arc<Journal>,
    pub clock: Clock,
    pub start: Timestamp,
    pub rng: Mutex<fastrand::Rng>,
    pub heard: Mutex<mpsc::Receiver<Notice>>,
}

impl Network {
    /// Tells the journal of breakers that opened or closed meanwhile.
    fn hear(&self) {
        while let Ok(notice) = self.heard.lock().unwrap().try_recv() {
            let (endpoint, opened) = match notice {
                Notice::BreakerOpened { endpoint, .. } => (endpoint, true),
                Notice::BreakerClosed { endpoint, .. } => (endpoint, false),
                _ => continue,
            };
            self.journal.breaker(subscriber(&endpoint), opened);
        }
    }
}

/// Whose endpoint it is.
fn subscriber(endpoint: &Url) -> usize {
    endpoint.path()[1..].parse().unwrap()
}

/// Ends a request in the journal, also when the server is killed in the middle of it.
struct UnderWay<'a> {
    journal: &'a Journal,
    id: &'a str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.journal.over(self.id);
    }
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: Request) -> Exchange {
        let header = |name: &str| request.headers[name].to_str().unwrap_or_default().to_owned();
        let (id, number) = (header("webhook-id"), header("hookmill-attempt"));
        let subscriber = subscriber(&request.url);
        self.hear();
        self.journal.sent(&id, number.parse().unwrap(), &request.body, self.clock.now());
        let _under_way = UnderWay { journal: &self.journal, id: &id };
        let since = self.clock.now().duration_since(self.start).unsigned_abs();
        let mood = self.plan.mood(subscriber, since);
        let slowness = self.plan.subscribers[subscriber].slowness;
        let (wait, luck) = {
            let mut rng = self.rng.lock().unwrap();
            (slowness.mul_f64(rng.f64()), rng.f64())
        };
        let mood = match mood {
            Mood::Flapping(share) if luck < share => Mood::Status(500),
            Mood::Flapping(_) => Mood::Well,
            other => other,
        };
        let silent = mood == Mood::Silent || wait >= request.timeout;
        sleep(if silent { request.timeout } else { wait }).await;
        let exchange =
            if silent { exchange(AttemptOutcome::Timeout, None, None) } else { answer(mood) };
        self.hear();
        let now = self.clock.now();
        self.journal.answered(&id, exchange.outcome, exchange.retry_after, now);
        exchange
    }
}

fn answer(mood: Mood) -> Exchange {
    match mood {
        Mood::Well | Mood::Flapping(_) => exchange(AttemptOutcome::Succeeded, Some(200), None),
        Mood::Status(status) => exchange(AttemptOutcome::HttpStatus, Some(status), None),
        Mood::Throttling(after) => exchange(AttemptOutcome::HttpStatus, Some(429), Some(after)),
        Mood::Silent => exchange(AttemptOutcome::Timeout, None, None),
        Mood::Refusing => exchange(AttemptOutcome::Refused, None, None),
        Mood::Resetting => exchange(AttemptOutcome::Reset, None, None),
        Mood::Gone => exchange(AttemptOutcome::Gone, Some(410), None),
    }
}

fn exchange(
    outcome: AttemptOutcome,
    status: Option<u16>,
    retry_after: Option<Duration>,
) -> Exchange {
    let error = (outcome != AttemptOutcome::Succeeded).then(|| outcome.as_str().to_owned());
    Exchange {
        outcome,
        status,
        error,
        retry_after,
        body: None,
        directive: None,
        headers: ::http::HeaderMap::new(),
        timings: Timings::default(),
    }
}
