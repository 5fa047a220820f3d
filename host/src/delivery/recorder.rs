//! Brings records to the store, many to a transaction.
//!
//! Owns batching and waiting out the store's failures. Never loses a record that the store
//! can take, never decides anything: what it is given is what it writes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{
        mpsc::{self, OwnedPermit},
        oneshot,
    },
    time::sleep,
};

use super::{board::Board, shown};
use crate::{
    model::{DeliveryId, Event, Notice, SubscriptionId, SubscriptionState, Timestamp},
    store::{Belt, Next, Record},
};

/// After so many failures of a batch, its records are tried one by one, so that one the
/// database chokes on does not hold up the others.
const SPLIT_AFTER: u32 = 3;
/// A record that fails so often, while others beside it do not, is given up.
const STRIKES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A record on its way, with what is needed once it has arrived.
#[derive(Debug)]
pub(super) struct Done {
    pub about: About,
    pub record: Record,
}

/// Whose record it is.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub subscription: SubscriptionId,
    pub accepted_at: Timestamp,
    pub lease_until: Timestamp,
    /// How often it failed alone while others did not.
    pub strikes: u32,
    /// What the operator is told once it is on disk.
    pub dead: Option<Box<Notice>>,
    /// What those who watch are shown once it is on disk, if anybody watches.
    pub watched: Option<(DeliveryId, Arc<Event>)>,
}

enum Item {
    Done(Box<Done>),
    /// Answer when everything before this is on disk.
    Flush(oneshot::Sender<()>),
}

/// The way to the recorder.
#[derive(Debug, Clone)]
pub(super) struct Recorder(mpsc::Sender<Item>);

/// Room for one record, so that giving it up needs no waiting.
#[derive(Debug)]
pub(super) struct Room(OwnedPermit<Item>);

impl Room {
    pub(super) fn fill(self, done: Done) {
        self.0.send(Item::Done(Box::new(done)));
    }
}

impl Recorder {
    /// Starts a recorder that ends when the last handle on it is gone.
    pub(super) fn start(belt: Arc<dyn Belt>, board: Arc<Board>) -> Self {
        let capacity = board.settings().max_in_flight + board.settings().record_batch;
        let (sender, items) = mpsc::channel(capacity);
        tokio::spawn(Task { belt, board }.run(items));
        Self(sender)
    }

    /// Waits until there is room for one more record: an attempt whose result could not be
    /// written down is better not begun. None if the recorder is gone.
    pub(super) async fn room(&self) -> Option<Room> {
        self.0.clone().reserve_owned().await.ok().map(Room)
    }

    /// Waits until everything handed over before is on disk.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Item::Flush(done)).await.is_ok() {
            // An error says that the recorder is gone, and with it what there was to flush.
            let _ = flushed.await;
        }
    }
}

struct Task {
    belt: Arc<dyn Belt>,
    board: Arc<Board>,
}

/// A batch, in two halves of equal length: the store wants the records side by side.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    about: Vec<About>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl Batch {
    /// Whether somebody waits for it, another delivery or whoever asked.
    fn is_urgent(&self) -> bool {
        !self.flushed.is_empty() || self.records.iter().any(|record| record.order.is_some())
    }

    fn add(&mut self, item: Item) {
        match item {
            Item::Done(done) => {
                self.about.push(done.about);
                self.records.push(done.record);
            }
            Item::Flush(done) => self.flushed.push(done),
        }
    }

    /// Adds what is there already.
    fn fill(&mut self, items: &mut mpsc::Receiver<Item>, most: usize) {
        while self.records.len() < most {
            let Ok(item) = items.try_recv() else { break };
            self.add(item);
        }
    }
}

impl Task {
    async fn run(self, mut items: mpsc::Receiver<Item>) {
        let most = self.board.settings().record_batch;
        let linger = self.board.settings().record_linger;
        while let Some(first) = items.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            if !batch.is_urgent() && items.len() < most && !linger.is_zero() {
                sleep(linger).await;
            }
            batch.fill(&mut items, most);
            self.write(&mut batch, &mut items).await;
            for done in batch.flushed {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    /// Writes a batch, for as long as it takes. While it fails, what comes in meanwhile
    /// joins it: should one record be the reason, the others show it.
    async fn write(&self, batch: &mut Batch, items: &mut mpsc::Receiver<Item>) {
        let mut failures = 0;
        let mut wait = FIRST_WAIT;
        while !batch.records.is_empty() {
            self.let_go(&mut batch.records, &batch.about);
            let Err(error) = self.belt.record(&batch.records).await else {
                self.settle(&batch.records, &batch.about).await;
                batch.records.clear();
                batch.about.clear();
                return;
            };
            failures += 1;
            self.board.metrics.store_failures.increment(1);
            let records = batch.records.len();
            tracing::warn!(%error, failures, records, "attempts could not be recorded; trying again");
            if failures % SPLIT_AFTER == 0 || !error.may_pass() {
                self.write_singly(batch).await;
            }
            if !batch.records.is_empty() {
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                batch.fill(items, self.board.settings().record_batch);
            }
        }
    }

    /// Writes what can be written, one by one; the rest stays, unless it has failed too
    /// often while others did not.
    async fn write_singly(&self, batch: &mut Batch) {
        let mut failed = Vec::new();
        let mut written = false;
        let records = std::mem::take(&mut batch.records);
        let about = std::mem::take(&mut batch.about);
        for (record, about) in records.into_iter().zip(about) {
            match self.belt.record(std::slice::from_ref(&record)).await {
                Ok(()) => {
                    written = true;
                    self.settle(&[record], &[about]).await;
                }
                Err(error) => failed.push((record, about, error)),
            }
        }
        for (record, mut about, error) in failed {
            let lasting = !error.may_pass();
            about.strikes += u32::from(written || lasting);
            if about.strikes < STRIKES {
                batch.records.push(record);
                batch.about.push(about);
                continue;
            }
            // The delivery itself is not lost: it comes back when its lease ends.
            tracing::error!(%error, subscription = %about.subscription, "an attempt cannot be recorded and will be repeated");
            self.board.unrecorded(about.subscription, about.lease_until);
        }
    }

    /// What was to be held for a subscription that takes events again is due instead: its
    /// resumption has come and gone, and would not find it.
    fn let_go(&self, records: &mut [Record], about: &[About]) {
        for (record, about) in records.iter_mut().zip(about) {
            if matches!(record.next, Next::Held(_)) && self.takes_events(about.subscription) {
                record.next = Next::Retry(record.at);
            }
        }
    }

    fn takes_events(&self, id: SubscriptionId) -> bool {
        let directory = &self.board.directory;
        let found = directory.subscription(id);
        found.is_some_and(|found| found.state == SubscriptionState::Active)
            && !directory.held_back(id)
    }

    async fn settle(&self, records: &[Record], about: &[About]) {
        // What was put back unattempted became nothing.
        let put_back =
            |record: &Record| record.attempt.is_none() && matches!(record.next, Next::Retry(_));
        for (record, about) in records.iter().zip(about).filter(|(record, _)| !put_back(record)) {
            let since = record.at.duration_since(about.accepted_at).try_into().unwrap_or_default();
            self.board.metrics.delivery(&record.next, since);
            if let Some(notice) = &about.dead {
                self.board.notices.tell((**notice).clone());
            }
            if let Some((id, event)) = &about.watched {
                let tail = self.board.notices.tail();
                tail.show(|| shown::happened(event, *id, about.subscription, record));
            }
        }
        self.board.settled(records.iter().zip(about).map(|(record, about)| match record.next {
            Next::Retry(at) => (about.subscription, Some(at)),
            // The next of its order may go.
            _ => (about.subscription, record.order.map(|_| record.at)),
        }));
        for (record, about) in records.iter().zip(about) {
            // Resumed while the transaction ran.
            if matches!(record.next, Next::Held(_)) && self.takes_events(about.subscription) {
                self.board.directory.resume_held(about.subscription).await;
            }
        }
    }
}
