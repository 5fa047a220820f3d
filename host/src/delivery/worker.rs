//! One attempt: look up, run the pipeline, sign, send, decide.
//!
//! Owns the order of these steps and what each one's failure means. What it comes to is a
//! record for the recorder; the store itself it touches only where what is about to be sent
//! is not what the delivery named.

use std::{sync::Arc, time::Duration};

use ::http::HeaderMap;
use bytes::Bytes;
use url::Url;

use super::{
    Pipelines,
    auth::Authorizer,
    board::Board,
    http::{Directive, Exchange, Transport},
    job::Job,
    request, retry,
    rules::Rules,
    stale,
};
use crate::{
    model::{
        AttemptOutcome, DisabledReason, Message, Notice, OnError, Outcome, PipelineId, PipelineRun,
        Subscription, SubscriptionId, SubscriptionState, Timestamp, Timings,
    },
    store::{Belt, Next, Record, StoreError, Switch},
    telemetry::trace::{self, Kind},
};

/// How long after a failure of the store an attempt that needs it is made again.
const SWITCH_AGAIN: Duration = Duration::from_secs(1);

/// Makes attempts.
pub(super) struct Worker {
    pub board: Arc<Board>,
    pub pipelines: Arc<dyn Pipelines>,
    pub transport: Arc<dyn Transport>,
    pub belt: Arc<dyn Belt>,
    pub auth: Authorizer,
}

/// What a job came to.
#[derive(Debug)]
pub(super) struct Attempted {
    pub record: Record,
    /// How its subscription's attempts are scheduled, as it is now.
    pub limit: Option<Rules>,
    /// The endpoint that wants no more deliveries, and how it said so.
    pub gone: Option<(Url, DisabledReason)>,
}

/// What the pipeline comes to for this attempt.
enum Prepared {
    Payload,
    Message(Arc<PipelineRun>),
    Drop(String),
    Fail(OnError, String),
    /// A version in it is out of service.
    Hold(String),
}

type NewRun = Option<(PipelineId, Arc<PipelineRun>)>;

impl Worker {
    /// Makes one attempt, or finds out why there is none to make.
    pub(super) async fn attempt(&self, job: &Job) -> Attempted {
        if job.pass.put_back {
            return self.unattempted(job, None, Next::Retry(job.due_at));
        }
        let Some(subscription) = self.board.directory.subscription(job.subscription) else {
            return self.unattempted(job, None, Next::Cancelled);
        };
        let limit = Some(self.board.settings().rules(&subscription));
        let started_at = self.board.clock.now();
        match subscription.state {
            SubscriptionState::Active => {}
            SubscriptionState::Paused => {
                return self.unattempted(
                    job,
                    limit,
                    Next::Held("its subscription is paused".into()),
                );
            }
            SubscriptionState::Disabled => {
                let why = "its subscription is disabled";
                return self.unattempted(job, limit, Next::Held(why.into()));
            }
        }
        if job.event.event.is_expired() {
            let why = "its event's payload is no longer kept";
            return self.unattempted(job, limit, Next::Dead(why.into()));
        }
        if let Some(why) = stale::before(&self.board.settings(), &subscription, job, started_at) {
            return self.unattempted(job, limit, Next::Dead(why));
        }
        if let Some(at) = self.first_wait(job, &subscription) {
            return self.unattempted(job, limit, Next::Retry(at));
        }
        let start = self.board.clock.instant();
        let (prepared, run) = self.prepare(job, &subscription).await;
        // Its subscription has no pipeline any more, and the one it had made nothing.
        let bare = matches!(prepared, Prepared::Payload) && job.pipeline.is_some();
        if let Err(error) = self.switch(job, &prepared, &run).await {
            self.board.metrics.store_failures.increment(1);
            tracing::warn!(delivery = %job.id, %error, "a change of pipeline could not be noted; trying again");
            let now = self.board.clock.now();
            let again = now.checked_add(SWITCH_AGAIN).unwrap_or(now);
            return self.unattempted(job, limit, Next::Retry(again));
        }
        let mut attempted = match prepared {
            Prepared::Payload => {
                let body = job.event.event.payload.clone();
                self.send(job, &subscription, None, body).await
            }
            Prepared::Message(run) => match &run.outcome {
                Outcome::Send(message) => {
                    self.send(job, &subscription, Some(message), message.body.clone()).await
                }
                // `prepare` makes `Message` of nothing but `Send`.
                Outcome::Drop { .. } | Outcome::Fail { .. } => {
                    self.unattempted(job, limit, Next::Dead("its pipeline made no message".into()))
                }
            },
            Prepared::Drop(reason) => self.unattempted(job, limit, Next::Filtered(reason)),
            Prepared::Hold(reason) => self.unattempted(job, limit, Next::Held(reason)),
            Prepared::Fail(on_error, reason) => {
                let took = start.elapsed();
                self.plugin_failed(job, &subscription, started_at, took, on_error, reason)
            }
        };
        attempted.record.run = run;
        attempted.record.bare = bare;
        attempted.limit = limit;
        attempted
    }

    /// Disables a subscription whose endpoint wants no more or fails, unless it has moved since.
    pub(super) async fn disable(&self, id: SubscriptionId, endpoint: &Url, reason: DisabledReason) {
        let directory = &self.board.directory;
        let current = directory
            .subscription(id)
            .filter(|now| now.endpoint == *endpoint && now.state != SubscriptionState::Disabled);
        if let Some(current) = current {
            directory.disable(id, reason).await;
            self.board.notices.tell(Notice::SubscriptionDisabled {
                application: current.application,
                subscription: id,
                endpoint: endpoint.clone(),
                reason,
            });
        }
    }

    fn unattempted(&self, job: &Job, limit: Option<Rules>, next: Next) -> Attempted {
        let at = self.board.clock.now();
        let record = job.record(None, next, at);
        Attempted { record, limit, gone: None }
    }

    /// When the first attempt is due, if the schedule begins with a wait that is not over.
    fn first_wait(&self, job: &Job, subscription: &Subscription) -> Option<Timestamp> {
        if job.attempts > 0 {
            return None;
        }
        let settings = self.board.settings();
        let policy = subscription.policy.retry.as_ref().unwrap_or(&settings.retry);
        let wait = policy.wait_before(1).filter(|wait| !wait.is_zero())?;
        let at = job.event.event.accepted_at.checked_add(wait).ok()?;
        (at > self.board.clock.now()).then_some(at)
    }

    /// Runs the pipeline, unless what it came to is recorded. With it comes the run to
    /// record, if there is a new one worth recording.
    ///
    /// A pipeline that fails has sent nothing, so the delivery need not stay with it: it goes
    /// through the one its subscription has now. So a canary's failure costs no delivery, and
    /// a plugin that was mended mends what failed before.
    async fn prepare(&self, job: &Job, subscription: &Subscription) -> (Prepared, NewRun) {
        let Some(named) = job.pipeline else { return (Prepared::Payload, None) };
        let recorded = job.run.as_ref();
        if let Some(run) = recorded.filter(|run| !matches!(run.outcome, Outcome::Fail { .. })) {
            return (prepared(run), None);
        }
        // A recorded failure is no reason to fail again: a limit may have been raised.
        let current = self.board.directory.current(job.subscription);
        let first = if recorded.is_some() { current } else { Some(named) };
        let tried = self.run_pipeline(job, subscription, first).await;
        let gave_way = matches!(tried.0, Prepared::Fail(..) | Prepared::Hold(_));
        if gave_way && first != current {
            return self.run_pipeline(job, subscription, current).await;
        }
        tried
    }

    /// Notes what takes the place of the pipeline that the delivery names, before it is sent.
    /// A crash between sending and recording would else have the next attempt start with the
    /// named one again, and send other bytes under the same id.
    async fn switch(&self, job: &Job, prepared: &Prepared, run: &NewRun) -> Result<(), StoreError> {
        let sends = matches!(prepared, Prepared::Payload | Prepared::Message(_));
        let other = match run {
            Some((id, _)) => Some(*id) != job.pipeline,
            None => matches!(prepared, Prepared::Payload) && job.pipeline.is_some(),
        };
        if !sends || !other {
            return Ok(());
        }
        self.belt.switch(&Switch { delivery: job.key, run: run.clone() }).await
    }

    async fn run_pipeline(
        &self,
        job: &Job,
        subscription: &Subscription,
        id: Option<PipelineId>,
    ) -> (Prepared, NewRun) {
        let Some(id) = id else { return (Prepared::Payload, None) };
        let pipeline = match self.board.directory.pipeline(id).await {
            Ok(pipeline) => pipeline,
            Err(why) => {
                return (Prepared::Fail(OnError::Retry, format!("unavailable: {why}")), None);
            }
        };
        let directory = &self.board.directory;
        if let Some(why) = directory.quarantined(subscription.application, &pipeline) {
            return (Prepared::Hold(why), None);
        }
        let span = trace::span("pipeline", Kind::Internal, trace::current());
        let start = self.board.clock.instant();
        let run = self.pipelines.run(&job.event, &pipeline).await;
        self.board.metrics.pipeline_seconds.record(start.elapsed());
        drop(span);
        let known = job
            .run
            .as_ref()
            .is_some_and(|recorded| job.pipeline == Some(id) && recorded.outcome == run.outcome);
        let new = (run.is_repeatable() && !known).then(|| (id, Arc::clone(&run)));
        (prepared(&run), new)
    }

    async fn send(
        &self,
        job: &Job,
        subscription: &Subscription,
        message: Option<&Message>,
        body: Bytes,
    ) -> Attempted {
        let started_at = self.board.clock.now();
        let mut request = {
            let settings = self.board.settings();
            request::request(&settings, job, subscription, message, body, started_at)
        };
        trace::inject(&mut request.headers);
        let exchange = self.auth.send(&*self.transport, subscription, request).await;
        let now = self.board.clock.now();
        self.board
            .metrics
            .attempt(exchange.outcome, Duration::from_micros(exchange.timings.total_us));
        let next = self.next(job, subscription, &exchange, now);
        let gone = match (exchange.outcome, exchange.directive) {
            (AttemptOutcome::Gone, _) => Some(DisabledReason::Gone),
            (_, Some(Directive::Disable)) => Some(DisabledReason::Asked),
            _ => None,
        };
        let gone = gone.map(|reason| (subscription.endpoint.clone(), reason));
        let attempt = exchange.into_attempt(job.next_number(), started_at);
        let record = job.record(Some(attempt), next, now);
        Attempted { record, limit: None, gone }
    }

    fn next(
        &self,
        job: &Job,
        subscription: &Subscription,
        exchange: &Exchange,
        now: Timestamp,
    ) -> Next {
        let settings = self.board.settings();
        let ended = retry::Ended {
            outcome: exchange.outcome,
            error: exchange.error.as_deref(),
            retry_after: exchange.retry_after,
            directive: exchange.directive,
            made: job.attempts.saturating_add(1),
        };
        let policy = subscription.policy.retry.as_ref().unwrap_or(&settings.retry);
        let next = retry::next(policy, (&**settings).into(), ended, self.board.dice.roll(), now);
        stale::after(&settings, subscription, job, next, now)
    }

    fn plugin_failed(
        &self,
        job: &Job,
        subscription: &Subscription,
        started_at: Timestamp,
        took: Duration,
        on_error: OnError,
        reason: String,
    ) -> Attempted {
        let exchange = Exchange {
            outcome: AttemptOutcome::Plugin,
            status: None,
            error: Some(reason),
            retry_after: None,
            directive: None,
            headers: HeaderMap::new(),
            body: None,
            timings: Timings { total_us: Timings::micros(took), ..Timings::default() },
        };
        self.board.metrics.attempt(AttemptOutcome::Plugin, took);
        let at = self.board.clock.now();
        let next = match on_error {
            OnError::Dead => Next::Dead(exchange.error.clone().unwrap_or_default()),
            OnError::Retry | OnError::Pass | OnError::Drop => {
                self.next(job, subscription, &exchange, at)
            }
        };
        let attempt = exchange.into_attempt(job.next_number(), started_at);
        let record = job.record(Some(attempt), next, at);
        Attempted { record, limit: None, gone: None }
    }
}

fn prepared(run: &Arc<PipelineRun>) -> Prepared {
    match &run.outcome {
        Outcome::Send(_) => Prepared::Message(Arc::clone(run)),
        Outcome::Drop { reason } => Prepared::Drop(reason.clone()),
        Outcome::Fail { on_error, reason } => Prepared::Fail(*on_error, reason.clone()),
    }
}
