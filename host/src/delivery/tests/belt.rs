//! The belt's part of a store, in memory. It breaks when told to, and remembers everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::timeout};

use super::PATIENCE;
use crate::{
    clock::Clock,
    model::{DeliveryId, Event, Outcome, PipelineId, PipelineRun, SubscriptionId, Timestamp},
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
    changed: Notify,
}

impl Row {
    /// Attempts recorded.
    pub(crate) fn attempts(&self) -> usize {
        self.records.iter().filter(|record| record.attempt.is_some()).count()
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
        let now = Clock::system().now();
        let id = DeliveryId::new(now);
        let at = lease.map_or(At::Pending(now), At::Leased);
        let event = Arc::clone(event);
        let row = Row { key, id, subscription, pipeline, event, at, run: None, records: vec![] };
        state.rows.insert(key, row);
        state.note_leased();
        (key, id)
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
            for row in state.rows.values_mut().filter(|row| row.subscription == subscription) {
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
                claims.claimed.push(Claimed {
                    key: row.key,
                    id: row.id,
                    subscription,
                    event: Arc::clone(&row.event),
                    pipeline: row.pipeline,
                    attempts: u32::try_from(row.attempts()).unwrap(),
                    run: row.run.clone(),
                });
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
