//! What the engine must never do, checked while it does it.
//!
//! Knows each subscription's rules from the plan, not from the engine.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Mutex,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    model::{AttemptOutcome, OrderKey, RateLimit, RetryPolicy, Timestamp},
    store::{DeliveryKey, Next, Record},
};

/// Lines of the story kept for a failure's report.
const STORY: usize = 60;
/// The store keeps milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// What a subscription was promised.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    pub retry: RetryPolicy,
    pub concurrency: u32,
    pub rate: Option<RateLimit>,
    pub max_age: Option<Duration>,
    pub patience: Option<Duration>,
}

/// What all deliveries were promised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub jitter: f64,
    pub retry_after_cap: Duration,
    pub max_in_flight: usize,
    /// Most deliveries in memory, where that can be told from outside.
    pub places: Option<usize>,
    /// Most under way at the one host.
    pub host: Option<usize>,
    /// How long a breaker stays open at least.
    pub breaker_open: Duration,
}

/// A subscriber's tokens, and when they were counted.
#[derive(Debug, Clone, Copy)]
struct Tokens {
    left: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Track {
    key: DeliveryKey,
    subscriber: usize,
    accepted_at: Timestamp,
    body: Option<Bytes>,
    under_way: bool,
    /// What it has in common with those that wait for it.
    order: Option<OrderKey>,
    /// When its first attempt on record began.
    first: Option<Timestamp>,
    /// Attempts on record.
    recorded: u32,
    /// When it may be attempted next.
    due: Option<Timestamp>,
    /// What the endpoint said last.
    answer: Option<(AttemptOutcome, Option<Duration>)>,
    end: Option<Next>,
}

#[derive(Debug, Default)]
struct State {
    tracks: BTreeMap<String, Track>,
    ids: BTreeMap<DeliveryKey, String>,
    in_memory: BTreeSet<DeliveryKey>,
    tokens: BTreeMap<usize, Tokens>,
    /// When each subscriber's endpoint answered last.
    answers: BTreeMap<usize, Timestamp>,
    /// Before when a breaker lets nobody through.
    open_until: BTreeMap<usize, Timestamp>,
    broken: Option<String>,
    story: VecDeque<String>,
    attempts: u64,
}

/// Watches.
#[derive(Debug)]
pub(super) struct Journal {
    promises: Vec<Promise>,
    bounds: Bounds,
    state: Mutex<State>,
}

impl State {
    fn note(&mut self, line: String) {
        if self.story.len() == STORY {
            self.story.pop_front();
        }
        self.story.push_back(line);
    }

    fn check(&mut self, kept: bool, invariant: &str, what: impl FnOnce() -> String) {
        if !kept && self.broken.is_none() {
            self.broken = Some(format!("{invariant}: {}", what()));
        }
    }
}

impl Journal {
    pub(super) fn new(promises: Vec<Promise>, bounds: Bounds) -> Self {
        Self { promises, bounds, state: Mutex::default() }
    }

    /// Something that happened, for the report.
    pub(super) fn note(&self, line: String) {
        self.state.lock().unwrap().note(line);
    }

    /// A delivery is in the store.
    pub(super) fn published(
        &self,
        key: DeliveryKey,
        id: String,
        subscriber: usize,
        now: Timestamp,
        order: Option<OrderKey>,
        in_memory: bool,
    ) {
        let mut state = self.state.lock().unwrap();
        state.note(format!("{now} {id} published to {subscriber}"));
        state.ids.insert(key, id.clone());
        let track = Track {
            key,
            subscriber,
            accepted_at: now,
            body: None,
            under_way: false,
            order,
            first: None,
            recorded: 0,
            due: None,
            answer: None,
            end: None,
        };
        state.tracks.insert(id, track);
        if in_memory {
            self.handed_out(&mut state, [key]);
        }
    }

    /// Deliveries were leased to the engine.
    pub(super) fn claimed(&self, keys: impl IntoIterator<Item = DeliveryKey>) {
        self.handed_out(&mut self.state.lock().unwrap(), keys);
    }

    fn handed_out(&self, state: &mut State, keys: impl IntoIterator<Item = DeliveryKey>) {
        state.in_memory.extend(keys);
        let count = state.in_memory.len();
        let kept = self.bounds.places.is_none_or(|places| count <= places);
        state.check(kept, "bounded memory", || format!("{count} deliveries in memory"));
    }

    /// An attempt begins.
    pub(super) fn sent(&self, id: &str, number: u32, body: &Bytes, now: Timestamp) {
        let mut state = self.state.lock().unwrap();
        state.attempts += 1;
        state.note(format!("{now} {id} attempt {number}"));
        let track = &state.tracks[id];
        let promise = &self.promises[track.subscriber];
        let (recorded, due, end) = (track.recorded, track.due, track.end.clone());
        let (again, other) =
            (track.under_way, track.body.as_ref().is_some_and(|sent| sent != body));
        let subscriber = track.subscriber;
        let first = promise.retry.wait_before(1).unwrap_or_default();
        let early = match due {
            Some(due) => now < due,
            None => recorded == 0 && now + ROUNDING < track.accepted_at + first,
        };
        let (order, key) = (track.order, track.key);
        let before = order.and_then(|_| {
            let mut older = state.tracks.iter().filter(|(_, older)| {
                older.subscriber == subscriber && older.order == order && older.key < key
            });
            older.find(|(_, older)| older.end.is_none()).map(|(id, _)| id.clone())
        });
        let open_until = state.open_until.get(&subscriber).copied();
        let under_way = state.tracks.values().filter(|track| track.under_way);
        let beside = under_way.clone().filter(|track| track.subscriber == subscriber).count();
        let all = under_way.count();
        state.check(end.is_none(), "no attempt after the end", || format!("{id} is {end:?}"));
        state.check(!again, "one attempt at a time", || id.to_owned());
        state.check(!other, "the same bytes", || id.to_owned());
        state.check(number == recorded + 1, "attempts are counted", || {
            format!("{id} has {recorded} on record and makes number {number}")
        });
        state.check(number <= promise.retry.attempts(), "attempts run out", || {
            format!("{id} makes number {number} of {}", promise.retry.attempts())
        });
        state.check(!early, "waits are waited", || format!("{id} was due {due:?}, sent {now}"));
        state.check(beside < promise.concurrency as usize, "concurrency", || {
            format!("{id} beside {beside} others of subscriber {subscriber}")
        });
        state.check(all < self.bounds.max_in_flight, "in flight", || format!("{all} others"));
        let host = self.bounds.host.unwrap_or(usize::MAX);
        state.check(all < host, "host", || format!("{all} others to the same host"));
        state.check(before.is_none(), "order", || {
            format!("{id} goes before {}", before.unwrap_or_default())
        });
        let open = open_until.filter(|&until| now + ROUNDING < until);
        state.check(open.is_none(), "an open breaker is left alone", || {
            format!("{id} at {now}, open until {open:?}")
        });
        self.take_token(&mut state, subscriber, now);
        if let Some(track) = state.tracks.get_mut(id) {
            track.under_way = true;
            track.body.get_or_insert_with(|| body.clone());
        }
    }

    fn take_token(&self, state: &mut State, subscriber: usize, now: Timestamp) {
        let Some(rate) = self.promises[subscriber].rate else { return };
        let full = Tokens { left: f64::from(rate.burst()), at: now };
        let tokens = state.tokens.entry(subscriber).or_insert(full);
        let since = now.duration_since(tokens.at).as_secs_f64() + ROUNDING.as_secs_f64();
        let left = (tokens.left + since * rate.per_second).min(full.left);
        *tokens = Tokens { left: left - 1.0, at: now };
        state.check(left > 0.999, "rate", || format!("subscriber {subscriber} has {left} tokens"));
    }

    /// An endpoint's breaker opened since it answered last; or it closed, or is new.
    pub(super) fn breaker(&self, subscriber: usize, opened: bool) {
        let mut state = self.state.lock().unwrap();
        let at = state.answers.get(&subscriber).copied();
        state.note(format!("  breaker of {subscriber} opened: {opened}, {at:?}"));
        match at.filter(|_| opened) {
            Some(at) => state.open_until.insert(subscriber, at + self.bounds.breaker_open),
            None => state.open_until.remove(&subscriber),
        };
    }

    /// The endpoint answered.
    pub(super) fn answered(
        &self,
        id: &str,
        outcome: AttemptOutcome,
        asked: Option<Duration>,
        now: Timestamp,
    ) {
        let mut state = self.state.lock().unwrap();
        state.note(format!("{now} {id} answered {}", outcome.as_str()));
        let subscriber = state.tracks.get(id).map(|track| track.subscriber);
        state.answers.extend(subscriber.map(|subscriber| (subscriber, now)));
        if let Some(track) = state.tracks.get_mut(id) {
            track.answer = Some((outcome, asked));
        }
    }

    /// The attempt is over, or its server is.
    pub(super) fn over(&self, id: &str) {
        if let Some(track) = self.state.lock().unwrap().tracks.get_mut(id) {
            track.under_way = false;
        }
    }

    /// The store took a record.
    pub(super) fn recorded(&self, record: &Record) {
        let mut state = self.state.lock().unwrap();
        state.in_memory.remove(&record.delivery);
        let id = state.ids[&record.delivery].clone();
        state.note(format!("{} {id} recorded {:?}", record.at, record.next));
        let Some(track) = state.tracks.get_mut(&id) else { return };
        track.recorded += u32::from(record.attempt.is_some());
        track.due = if let Next::Retry(at) = record.next { Some(at) } else { None };
        track.end = match &record.next {
            Next::Retry(_) | Next::Held(_) => None,
            end => Some(end.clone()),
        };
        let (made, answer) = (track.recorded, track.answer);
        let first = track.first;
        track.first = first.or(record.attempt.as_ref().map(|attempt| attempt.started_at));
        let promise = &self.promises[track.subscriber];
        // No attempt is planned beyond these.
        let aged = promise.max_age.map(|age| track.accepted_at + age);
        let waited = promise.patience.filter(|_| track.order.is_some());
        let waited = waited.map(|patience| first.unwrap_or(record.at) + patience);
        let limit = aged.into_iter().chain(waited).min();
        if record.attempt.is_some()
            && let Some(answer) = answer
        {
            let wrong = self.follows(promise, record, made, answer, limit).err();
            state.check(wrong.is_none(), "backoff", || {
                format!("{id}: {}", wrong.unwrap_or_default())
            });
        }
    }

    /// Whether what the engine decided follows from the answer and the promise.
    fn follows(
        &self,
        promise: &Promise,
        record: &Record,
        made: u32,
        (outcome, asked): (AttemptOutcome, Option<Duration>),
        limit: Option<Timestamp>,
    ) -> Result<(), String> {
        let wait = promise.retry.wait_before(made + 1);
        let least =
            |wait: Duration| wait.max(asked.unwrap_or_default().min(self.bounds.retry_after_cap));
        let most = |wait: Duration| least(wait).mul_f64(1.0 + self.bounds.jitter) + ROUNDING;
        match (&record.next, outcome, wait) {
            (Next::Succeeded, AttemptOutcome::Succeeded, _)
            | (Next::Dead(_), AttemptOutcome::Gone, _)
            | (Next::Held(_), ..) => Ok(()),
            (Next::Dead(_), outcome, None) if outcome != AttemptOutcome::Succeeded => Ok(()),
            (Next::Dead(_), outcome, Some(wait)) if outcome != AttemptOutcome::Succeeded => {
                if limit.is_some_and(|limit| record.at + most(wait) > limit) {
                    return Ok(());
                }
                Err(format!("given up with {wait:?} to wait and a limit at {limit:?}"))
            }
            (Next::Retry(at), outcome, Some(wait)) if outcome != AttemptOutcome::Succeeded => {
                if limit.is_some_and(|limit| *at > limit) {
                    return Err(format!("planned for {at}, beyond the limit at {limit:?}"));
                }
                let (least, most) = (least(wait), most(wait));
                let waits = at.duration_since(record.at).unsigned_abs();
                if waits + ROUNDING >= least && waits <= most {
                    return Ok(());
                }
                Err(format!(
                    "waits {waits:?} before attempt {}, not {least:?} to {most:?}",
                    made + 1
                ))
            }
            (next, outcome, wait) => {
                Err(format!("{next:?} after {}, with {wait:?} to wait", outcome.as_str()))
            }
        }
    }

    /// The server is no more, and with it what it had in memory.
    pub(super) fn life_over(&self, how: &str) {
        let mut state = self.state.lock().unwrap();
        state.in_memory.clear();
        state.tokens.clear();
        state.open_until.clear();
        state.note(format!("--- {how} ---"));
    }

    /// What was held is due; what its endpoint answered long ago does not bind it.
    pub(super) fn moved(&self, keys: &[DeliveryKey], cancelled: bool) {
        let mut state = self.state.lock().unwrap();
        for key in keys {
            let id = state.ids[key].clone();
            if let Some(track) = state.tracks.get_mut(&id) {
                track.due = None;
                track.end = cancelled.then_some(Next::Cancelled);
            }
        }
    }

    /// What is still open when everything had its chance.
    pub(super) fn finish(&self, open: &[(DeliveryKey, String)]) {
        let mut state = self.state.lock().unwrap();
        for (key, at) in open {
            let id = state.ids[key].clone();
            state.check(false, "no loss", || format!("{id} stands at {at}"));
        }
        let unfinished = state.tracks.iter().find(|(_, track)| track.end.is_none());
        let unfinished = unfinished.map(|(id, track)| format!("{id} ({:?})", track.key));
        state.check(unfinished.is_none(), "no loss", || unfinished.unwrap_or_default());
    }

    /// The first invariant that was broken, with the end of the story.
    pub(super) fn verdict(&self) -> Result<u64, String> {
        let state = self.state.lock().unwrap();
        match &state.broken {
            None => Ok(state.attempts),
            Some(broken) => {
                let story: Vec<_> = state.story.iter().map(String::as_str).collect();
                Err(format!("{broken}\n{}", story.join("\n")))
            }
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state.lock().unwrap().broken.is_some()
    }
}
