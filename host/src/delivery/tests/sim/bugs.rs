//! Bugs to plant, each of which breaks an invariant: a watcher that finds none of them would
//! find nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    super::belt::{At, FakeBelt},
    invariants::Journal,
};
use crate::{
    delivery::DeliverySettings,
    model::{Event, Policy, RetryPolicy, SubscriptionId, Timestamp},
    store::{Appended, Belt, Claims, Lease, NewEvent, Next, Record, Result, Switch},
};

/// Something done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bug {
    /// The store puts a retry off for ever.
    LosesRetries,
    /// The store forgets that a delivery succeeded.
    ForgetsSuccess,
    /// The store hands out what it has handed out.
    HandsOutTwice,
    /// The store hands out what is not due yet.
    HandsOutEarly,
    /// The store says that no attempt was made.
    ForgetsAttempts,
    /// Another payload on a later attempt.
    ChangesBytes,
    /// Half the waits.
    Hurries,
    /// Too much chance.
    Jitters,
    /// One attempt more than there are.
    NeverGivesUp,
    /// More beside each other than a subscription allows.
    Crowds,
    /// More under way than the server allows.
    Floods,
    /// More in memory than there is room for.
    Hoards,
    /// More to a host than it may be asked.
    CrowdsHosts,
    /// No tokens.
    IgnoresRate,
    /// No delivery waits for another.
    IgnoresOrder,
    /// No limit of age.
    IgnoresAge,
    /// A breaker that does not stay open.
    LetsThrough,
}

impl Bug {
    pub(super) const ALL: [Self; 17] = [
        Self::LosesRetries,
        Self::ForgetsSuccess,
        Self::HandsOutTwice,
        Self::HandsOutEarly,
        Self::ForgetsAttempts,
        Self::ChangesBytes,
        Self::Hurries,
        Self::Jitters,
        Self::NeverGivesUp,
        Self::Crowds,
        Self::Floods,
        Self::Hoards,
        Self::CrowdsHosts,
        Self::IgnoresRate,
        Self::IgnoresOrder,
        Self::IgnoresAge,
        Self::LetsThrough,
    ];

    /// The invariant that it breaks.
    pub(super) const fn breaks(self) -> &'static str {
        match self {
            Self::LosesRetries => "no loss",
            Self::ForgetsSuccess => "no attempt after the end",
            Self::HandsOutTwice => "one attempt at a time",
            Self::HandsOutEarly => "waits are waited",
            Self::ForgetsAttempts => "attempts are counted",
            Self::ChangesBytes => "the same bytes",
            Self::Hurries | Self::Jitters | Self::NeverGivesUp | Self::IgnoresAge => "backoff",
            Self::Crowds => "concurrency",
            Self::Floods => "in flight",
            Self::Hoards => "bounded memory",
            Self::CrowdsHosts => "host",
            Self::IgnoresRate => "rate",
            Self::IgnoresOrder => "order",
            Self::LetsThrough => "an open breaker is left alone",
        }
    }

    /// The settings with the bug in them.
    pub(super) fn settings(self, settings: &mut DeliverySettings) {
        match self {
            Self::Jitters => settings.jitter = 0.9,
            Self::Floods => settings.max_in_flight += 3,
            Self::CrowdsHosts if settings.host_concurrency > 0 => settings.host_concurrency += 2,
            Self::LetsThrough => {
                settings.breaker.open = Duration::from_millis(1);
                settings.breaker.longest = Duration::from_millis(1);
            }
            Self::Hoards => {
                settings.total_places += 60;
                settings.lane_places += 60;
            }
            _ => {}
        }
    }

    /// The policy with the bug in it.
    pub(super) fn policy(self, policy: &mut Policy, concurrency: u32) {
        match (self, &mut policy.retry) {
            (Self::IgnoresRate, _) => policy.rate_limit = None,
            (Self::IgnoresAge, _) => policy.max_age_seconds = None,
            (Self::Crowds, _) => policy.concurrency = Some(concurrency + 1),
            (Self::Hurries, Some(RetryPolicy::Schedule(waits))) => {
                waits.iter_mut().for_each(|wait| *wait /= 2);
            }
            (Self::NeverGivesUp, Some(RetryPolicy::Schedule(waits))) => waits.push(1),
            _ => {}
        }
    }
}

/// A belt that is watched, and does wrong what it is told to.
pub(super) struct WatchedBelt {
    pub inner: FakeBelt,
    pub journal: Arc<Journal>,
    pub bug: Option<Bug>,
}

impl WatchedBelt {
    /// What is leased already, once more.
    fn leased(&self, subscription: SubscriptionId) -> Option<crate::store::Claimed> {
        let state = self.inner.state.lock().unwrap();
        let row = state
            .rows
            .values()
            .find(|row| row.subscription == subscription && matches!(row.at, At::Leased(_)))?;
        Some(row.claimed())
    }
}

impl WatchedBelt {
    fn is_leased(&self, record: &Record) -> bool {
        let state = self.inner.state.lock().unwrap();
        matches!(state.rows[&record.delivery].at, At::Leased(_))
    }
}

#[async_trait]
impl Belt for WatchedBelt {
    async fn append(&self, batch: &[NewEvent], lease: Lease) -> Result<Vec<Appended>> {
        self.inner.append(batch, lease).await
    }

    async fn claim(
        &self,
        wanted: &[(SubscriptionId, u32)],
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claims> {
        let twice = wanted
            .iter()
            .filter(|&&(_, most)| most > 1 && self.bug == Some(Bug::HandsOutTwice))
            .find_map(|&(subscription, _)| self.leased(subscription));
        let hurry = Duration::from_secs(if self.bug == Some(Bug::HandsOutEarly) { 60 } else { 0 });
        let mut claims = self.inner.claim(wanted, lease, now + hurry).await?;
        for claimed in &mut claims.claimed {
            match self.bug {
                Some(Bug::ForgetsAttempts) => claimed.attempts = 0,
                Some(Bug::ChangesBytes) if claimed.attempts > 0 => {
                    let payload = Bytes::from_static(b"{}");
                    claimed.event = Arc::new(Event { payload, ..(*claimed.event).clone() });
                }
                _ => {}
            }
        }
        let full = twice.as_ref().is_some_and(|twice| {
            let same = claims.claimed.iter().filter(|c| c.subscription == twice.subscription);
            wanted.iter().any(|&(id, most)| {
                id == twice.subscription && same.clone().count() >= most as usize
            })
        });
        claims.claimed.extend(twice.filter(|_| !full));
        self.journal.claimed(claims.claimed.iter().map(|claimed| claimed.key));
        Ok(claims)
    }

    async fn record(&self, batch: &[Record]) -> Result<()> {
        match self.bug {
            // As the database does: what is not leased takes no record.
            Some(Bug::HandsOutTwice) => {
                for record in batch.iter().filter(|record| self.is_leased(record)) {
                    self.inner.record(std::slice::from_ref(record)).await?;
                }
            }
            _ => self.inner.record(batch).await?,
        }
        for record in batch {
            self.journal.recorded(record);
            let mut state = self.inner.state.lock().unwrap();
            let Some(row) = state.rows.get_mut(&record.delivery) else { continue };
            match (self.bug, &record.next) {
                (Some(Bug::LosesRetries), Next::Retry(_)) => row.at = At::Pending(Timestamp::MAX),
                (Some(Bug::ForgetsSuccess), Next::Succeeded) => row.at = At::Pending(record.at),
                _ => {}
            }
        }
        Ok(())
    }

    async fn switch(&self, switch: &Switch) -> Result<()> {
        self.inner.switch(switch).await
    }

    async fn due(&self, owner: i64) -> Result<Vec<(SubscriptionId, Timestamp)>> {
        self.inner.due(owner).await
    }

    async fn release(&self, owner: i64) -> Result<()> {
        self.inner.release(owner).await
    }
}
