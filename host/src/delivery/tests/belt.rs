//! The belt's part of a store, in memory. It breaks when told to, and remembers everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::timeout};

use super::PATIENCE;
use crate::{
    clock::Clock,
    model::{
        DeliveryId, Event, OrderKey, Outcome, PipelineId, PipelineRun, SubscriptionId, Timestamp,
    },
    store::{
        Appended, Belt, Claimed, Claims, DeliveryKey, Lease, NewEvent, Next, Record, Result,
        StoreError, Switch,
    },
};

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum At {
    Pending(Timestamp),
    Leased(Lease),
    Final(Next),
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub key: DeliveryKey,
    pub id: DeliveryId,
    pub subscription: SubscriptionId,
    pub pipeline: Option<PipelineId>,
    pub order: Option<OrderKey>,
    pub event: Arc<Event>,
    pub at: At,
    pub run: Option<Arc<PipelineRun>>,
    pub records: Vec<Record>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub rows: BTreeMap<DeliveryKey, Row>,
    /// How many of the next `record`s fail.
    pub record_failures: u32,
    /// How many of the next `claim`s fail.
    pub claim_failures: u32,
    /// How many of the next `switch`es fail.
    pub switch_failures: u32,
    /// A delivery whose records always fail.
    pub poison: Option<DeliveryKey>,
    /// The most deliveries that were leased at once.
    pub most_leased: usize,
    pub claims: usize,
}

#[derive(Debug, Default)]
pub(crate) struct FakeBelt {
    pub state: Mutex<State>,
    clock: Mutex<Clock>,
    changed: Notify,
}

impl Row {
    /// Attempts recorded.
    pub(crate) fn attempts(&self) -> usize {
        self.records.iter().filter(|record| record.attempt.is_some()).count()
    }

    /// As a claim hands it out.
    pub(crate) fn claimed(&self) -> Claimed {
        Claimed {
            key: self.key,
            id: self.id,
            subscription: self.subscription,
            event: Arc::clone(&self.event),
            pipeline: self.pipeline,
            order: self.order,
            due_at: Timestamp::UNIX_EPOCH,
            first_attempt_at: self
                .records
                .iter()
                .find_map(|record| record.attempt.as_ref().map(|attempt| attempt.started_at)),
            attempts: u32::try_from(self.attempts()).unwrap(),
            run: self.run.clone(),
        }
    }

    /// The last attempt.
    pub(crate) fn last(&self) -> &crate::model::Attempt {
        self.records.iter().rev().find_map(|record| record.attempt.as_ref()).unwrap()
    }
}

impl State {
    fn note_leased(&mut self) {
        let leased = self.rows.values().filter(|row| matches!(row.at, At::Leased(_))).count();
        self.most_leased = self.most_leased.max(leased);
    }

    pub(crate) fn all_final(&self) -> bool {
        self.rows.values().all(|row| matches!(row.at, At::Final(_)))
    }
}

impl FakeBelt {
    pub(crate) fn add(
        &self,
        event: &Arc<Event>,
        subscription: SubscriptionId,
        pipeline: Option<PipelineId>,
        lease: Option<Lease>,
    ) -> (DeliveryKey, DeliveryId) {
        let mut state = self.state.lock().unwrap();
        let number = i64::try_from(state.rows.len()).unwrap();
        let key = DeliveryKey::for_tests(number, number);
        let now = self.clock.lock().unwrap().now();
        let id = DeliveryId::new(now);
        let at = lease.map_or(At::Pending(now), At::Leased);
        let event = Arc::clone(event);
        let (order, run, records) = (None, None, vec![]);
        let row = Row { key, id, subscription, pipeline, order, event, at, run, records };
        state.rows.insert(key, row);
        state.note_leased();
        (key, id)
    }

    /// From here on time comes from this clock.
    pub(crate) fn set_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap() = clock;
    }

    fn change(&self, id: SubscriptionId, change: impl Fn(&mut At) -> bool) -> Vec<DeliveryKey> {
        let mut state = self.state.lock().unwrap();
        let rows = state.rows.values_mut().filter(|row| row.subscription == id);
        let changed = rows.filter_map(|row| change(&mut row.at).then_some(row.key)).collect();
        self.changed.notify_waiters();
        changed
    }

    /// Holds what is pending.
    pub(crate) fn hold(&self, id: SubscriptionId) {
        self.change(id, |at| {
            let pending = matches!(at, At::Pending(_));
            if pending {
                *at = At::Final(Next::Held("told to".into()));
            }
            pending
        });
    }

    /// Makes due what is held.
    pub(crate) fn resume(&self, id: SubscriptionId, now: Timestamp) -> Vec<DeliveryKey> {
        self.change(id, |at| {
            let held = matches!(at, At::Final(Next::Held(_)));
            if held {
                *at = At::Pending(now);
            }
            held
        })
    }

    /// Cancels what is pending or held.
    pub(crate) fn cancel(&self, id: SubscriptionId) -> Vec<DeliveryKey> {
        self.change(id, |at| {
            let open = matches!(at, At::Pending(_) | At::Final(Next::Held(_)));
            if open {
                *at = At::Final(Next::Cancelled);
            }
            open
        })
    }

    /// What is not over, and where it stands.
    pub(crate) fn open(&self) -> Vec<(DeliveryKey, String)> {
        let state = self.state.lock().unwrap();
        let open = state.rows.values().filter(|row| {
            !matches!(row.at, At::Final(_)) || matches!(row.at, At::Final(Next::Held(_)))
        });
        open.map(|row| (row.key, format!("{:?}", row.at))).collect()
    }

    /// Waits until nothing is open.
    pub(crate) async fn all_done(&self) {
        loop {
            let changed = self.changed.notified();
            if self.open().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Makes a delivery wait for older ones with the same key.
    pub(crate) fn line_up(&self, key: DeliveryKey, order: Option<OrderKey>) {
        self.state.lock().unwrap().rows.get_mut(&key).unwrap().order = order;
    }

    /// A delivery that waits for older ones with the same key.
    pub(crate) fn add_ordered(
        &self,
        event: &Arc<Event>,
        subscription: SubscriptionId,
        order: OrderKey,
    ) -> DeliveryKey {
        let (key, _) = self.add(event, subscription, None, None);
        self.line_up(key, Some(order));
        key
    }

    /// Makes a delivery that is over due once more.
    pub(crate) fn again(&self, key: DeliveryKey) {
        let mut state = self.state.lock().unwrap();
        state.rows.get_mut(&key).unwrap().at = At::Pending(Timestamp::UNIX_EPOCH);
    }

    pub(crate) fn row(&self, key: DeliveryKey) -> Row {
        self.state.lock().unwrap().rows[&key].clone()
    }

    /// Waits until the state is as expected.
    pub(crate) async fn until(&self, what: &str, expected: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if expected(&self.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("{what} did not come: {:#?}", self.state.lock().unwrap());
        }
    }

    /// Waits until a delivery is done, and shows it.
    pub(crate) async fn done(&self, key: DeliveryKey) -> Row {
        self.until("the end", |state| matches!(state.rows[&key].at, At::Final(_))).await;
        self.row(key)
    }
}

#[async_trait]
impl Belt for FakeBelt {
    async fn append(&self, _batch: &[NewEvent], _lease: Lease) -> Result<Vec<Appended>> {
        Err(StoreError::Failed("the dispatcher never appends".into()))
    }

    async fn claim(
        &self,
        wanted: &[(SubscriptionId, u32)],
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claims> {
        let mut state = self.state.lock().unwrap();
        state.claims += 1;
        if state.claim_failures > 0 {
            state.claim_failures -= 1;
            return Err(StoreError::Failed("told to".into()));
        }
        let mut claims = Claims::default();
        for &(subscription, most) in wanted {
            let mut left = most;
            let mut next = None;
            let mut keys = BTreeSet::new();
            for row in state.rows.values_mut().filter(|row| row.subscription == subscription) {
                let over = matches!(&row.at, At::Final(next) if !matches!(next, Next::Held(_)));
                let open = !over;
                let behind = open && row.order.is_some_and(|order| !keys.insert(order));
                if behind {
                    continue;
                }
                let due = match &row.at {
                    At::Pending(due) => *due,
                    At::Leased(held) if held.owner != lease.owner || held.until <= now => now,
                    _ => continue,
                };
                if due > now || left == 0 {
                    next = Some(next.map_or(due, |next: Timestamp| next.min(due)));
                    continue;
                }
                left -= 1;
                row.at = At::Leased(lease);
                claims.claimed.push(Claimed { due_at: due, ..row.claimed() });
            }
            claims.next_due.push((subscription, next));
        }
        state.note_leased();
        self.changed.notify_waiters();
        Ok(claims)
    }

    async fn record(&self, batch: &[Record]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.record_failures > 0 {
            state.record_failures -= 1;
            self.changed.notify_waiters();
            return Err(StoreError::Failed("told to".into()));
        }
        if batch.iter().any(|record| Some(record.delivery) == state.poison) {
            return Err(StoreError::Failed("this one cannot be stored".into()));
        }
        for record in batch {
            let row = state.rows.get_mut(&record.delivery).unwrap();
            assert!(matches!(row.at, At::Leased(_)), "only what is leased is recorded: {row:?}");
            if let Some((pipeline, run)) = &record.run {
                let sent = |run: &Arc<PipelineRun>| !matches!(run.outcome, Outcome::Fail { .. });
                if row.pipeline != Some(*pipeline) || !row.run.as_ref().is_some_and(sent) {
                    row.run = Some(Arc::clone(run));
                }
                row.pipeline = Some(*pipeline);
            }
            if record.bare {
                (row.pipeline, row.run) = (None, None);
            }
            row.records.push(record.clone());
            row.at = match &record.next {
                Next::Retry(at) => At::Pending(*at),
                end => At::Final(end.clone()),
            };
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn switch(&self, switch: &Switch) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.switch_failures > 0 {
            state.switch_failures -= 1;
            return Err(StoreError::Failed("told to".into()));
        }
        let row = state.rows.get_mut(&switch.delivery).unwrap();
        row.pipeline = switch.run.as_ref().map(|(id, _)| *id);
        row.run = switch.run.as_ref().map(|(_, run)| Arc::clone(run));
        Ok(())
    }

    async fn due(&self, owner: i64) -> Result<Vec<(SubscriptionId, Timestamp)>> {
        let state = self.state.lock().unwrap();
        let mut due: BTreeMap<SubscriptionId, Timestamp> = BTreeMap::new();
        for row in state.rows.values() {
            let at = match &row.at {
                At::Pending(at) => *at,
                At::Leased(lease) if lease.owner != owner => Timestamp::UNIX_EPOCH,
                _ => continue,
            };
            due.entry(row.subscription).and_modify(|due| *due = at.min(*due)).or_insert(at);
        }
        Ok(due.into_iter().collect())
    }

    async fn release(&self, owner: i64) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        for row in state.rows.values_mut() {
            if matches!(row.at, At::Leased(lease) if lease.owner == owner) {
                row.at = At::Pending(Timestamp::UNIX_EPOCH);
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }
}
