//! Goes through the recorded events, newest first, and runs both pipelines of each trial over
//! each. A few at a time, so that deliveries do not wait; page by page, so that memory is
//! bounded.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::{
    compare,
    job::Job,
    plan::{Plan, Trial},
    report::{Difference, DifferenceKind},
};
use crate::{
    model::{
        ApplicationId, Event, Message, Outcome, Pipeline, PipelineRun, StoredEvent, SubscriptionId,
    },
    plugin::{LiveEvent, Runtime},
    routing::Facts,
    store::{EventFilter, SharedStore},
};

/// Events read at once: with the largest payloads some 50 MiB.
const PAGE: u32 = 50;
/// Events looked at in all, also such as nobody in question listens to.
const MAX_SCANNED: u64 = 1_000_000;

/// What a job needs while it runs.
pub(super) struct Run {
    pub(super) store: SharedStore,
    pub(super) runtime: Arc<Runtime>,
    pub(super) turns: Arc<Semaphore>,
    pub(super) in_flight: usize,
    pub(super) application: ApplicationId,
}

/// What one trial came to for one event.
pub(super) struct Compared {
    event: Arc<Event>,
    baseline: Arc<PipelineRun>,
    candidate: Arc<PipelineRun>,
    trial: Arc<Trial>,
    /// Indexes of the subscriptions it holds for.
    pub(super) listeners: Vec<usize>,
    /// None if it is the same and not slower.
    pub(super) kind: Option<DifferenceKind>,
    pub(super) slower: bool,
    pub(super) fuels: Option<(u64, u64)>,
}

impl Compared {
    /// The particulars, for those that are kept.
    pub(super) fn difference(
        &self,
        kind: DifferenceKind,
        subscription: SubscriptionId,
    ) -> Difference {
        let parts = compare::parts(&self.baseline, &self.candidate);
        Difference {
            event_id: self.event.id,
            event_type: self.event.event_type.to_string(),
            subscription_id: subscription,
            subscriptions: self.listeners.len() as u64,
            kind,
            slower: self.slower,
            baseline: compare::side(&self.baseline, &self.trial.tested),
            candidate: compare::side(&self.candidate, &self.trial.tested),
            content_type: parts.content_type,
            headers: parts.headers,
            body_differs: parts.body_differs,
            body: parts.body,
            more: parts.more,
        }
    }
}

impl Run {
    /// All of it, or until it is cancelled.
    pub(super) async fn through(&self, plan: &Plan, job: &Job) -> Result<(), String> {
        let filter = EventFilter { event_type: plan.only_type(), ..EventFilter::default() };
        let (mut before, mut left, mut scanned) = (None, job.last(), 0);
        while left > 0 && scanned < MAX_SCANNED && !job.is_cancelled() {
            let page = self.store.events(self.application, &filter, before, PAGE).await;
            let page = page.map_err(|error| {
                tracing::error!(%error, backtest = %job.id, "a backtest cannot read events");
                "the events could not be read; the server's log says why".to_owned()
            })?;
            let Some(oldest) = page.items.last() else { break };
            before = Some(oldest.event.id);
            scanned += page.items.len() as u64;
            job.scanned(page.items.len());
            left -= self.page(plan, job, page.items, left).await;
            if !page.more {
                break;
            }
        }
        Ok(())
    }

    /// Compares what matches of a page, at most `most`; answers how many that were.
    async fn page(&self, plan: &Plan, job: &Job, items: Vec<StoredEvent>, most: u64) -> u64 {
        let kept = items.into_iter().filter(|stored| !stored.event.is_expired());
        let looks_inside = plan.looks_inside();
        let matching = kept.filter_map(|stored| {
            let payload = if looks_inside { stored.event.json() } else { None };
            let facts = Facts::of(&stored, payload.as_ref());
            let trials: Vec<_> = plan
                .trials
                .iter()
                .map(|trial| (Arc::clone(trial), trial.listeners(&facts)))
                .filter(|(_, listeners)| !listeners.is_empty())
                .collect();
            (!trials.is_empty()).then_some((Arc::new(stored.event), trials))
        });
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // In order, so that the same differences are kept each time.
        let mut compared = stream::iter(matching.take(most))
            .map(|(event, trials)| self.event(event, trials))
            .buffered(self.in_flight);
        let mut count = 0;
        while let Some(compared) = compared.next().await {
            if job.is_cancelled() {
                break;
            }
            count += 1;
            job.add(&compared);
        }
        count
    }

    async fn event(
        &self,
        event: Arc<Event>,
        trials: Vec<(Arc<Trial>, Vec<usize>)>,
    ) -> Vec<Compared> {
        let live = LiveEvent::new(Arc::clone(&event));
        let mut found = Vec::with_capacity(trials.len());
        for (trial, listeners) in trials {
            let baseline = self.run(&live, trial.baseline.as_ref()).await;
            let candidate = self.run(&live, trial.candidate.as_ref()).await;
            let kind = compare::kind(&baseline, &candidate);
            let fuels = compare::fuels(&baseline, &candidate, &trial.tested)
                .filter(|_| kind != Some(DifferenceKind::Undecided));
            let slower = fuels.is_some_and(compare::is_slower);
            found.push(Compared {
                event: Arc::clone(&event),
                baseline,
                candidate,
                trial,
                listeners,
                kind: kind.or(slower.then_some(DifferenceKind::Slower)),
                slower,
                fuels,
            });
        }
        found
    }

    /// One run; once more if the wall clock ended it, for the machine may have been busy.
    async fn run(
        &self,
        event: &Arc<LiveEvent>,
        pipeline: Option<&Arc<Pipeline>>,
    ) -> Arc<PipelineRun> {
        let Some(pipeline) = pipeline else { return Arc::new(as_it_is(&event.event)) };
        // Never closed; were it, running without a turn would be no harm.
        let _turn = self.turns.acquire().await;
        let run = self.runtime.run(event, pipeline).await;
        if run.is_repeatable() { run } else { self.runtime.run(event, pipeline).await }
    }
}

/// What is sent where no plugin runs.
fn as_it_is(event: &Event) -> PipelineRun {
    let message = Message {
        content_type: "application/json".into(),
        headers: Vec::new(),
        body: event.payload.clone(),
    };
    PipelineRun { outcome: Outcome::Send(message), steps: Vec::new() }
}
