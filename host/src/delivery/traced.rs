//! What an attempt leaves behind beside its record: a span, the log's context, its wait in the
//! queue, and a notice if it was the last.
//!
//! Never changes what an attempt comes to.

use std::future::Future;

use tracing::{Instrument, field};

use super::{board::Board, job::Job, worker::Attempted};
use crate::{
    model::{AttemptOutcome, DeliveryState, Notice},
    store::{Next, Record},
    telemetry::trace::{self, Kind, Span},
};

/// Makes an attempt under a span of its own, which the request to the endpoint names.
pub(super) async fn attempt(
    board: &Board,
    job: &Job,
    work: impl Future<Output = Attempted>,
) -> Attempted {
    let event = &job.event.event;
    let number = job.attempts.saturating_add(1);
    // At this level so that the lines within say which it was, however few are written.
    let log = tracing::error_span!(
        "attempt",
        event_id = %event.id,
        delivery_id = %job.id,
        subscription_id = %job.subscription,
        attempt = number,
        trace_id = field::Empty,
    );
    let mut span = trace::span("attempt", Kind::Client, event.trace.clone());
    let context = span.context();
    if let Some(context) = &context {
        log.record("trace_id", context.trace_id());
    }
    let begun = board.clock.now();
    let attempted = trace::within(context, work.instrument(log.clone())).await;
    span.set("hookmill.event.id", || event.id.to_string());
    span.set("hookmill.event.type", || event.event_type.to_string());
    span.set("hookmill.delivery.id", || job.id.to_string());
    span.set("hookmill.subscription.id", || job.subscription.to_string());
    span.set("hookmill.attempt", || number);
    describe(&mut span, &attempted.record);
    if job.attempts == 0 && attempted.record.attempt.is_some() {
        let waited = begun.duration_since(event.accepted_at).try_into().unwrap_or_default();
        board.metrics.queue(waited, board.first_wait(job.subscription));
    }
    log.in_scope(|| said(board, &attempted.record));
    attempted
}

fn describe(span: &mut Span, record: &Record) {
    span.set("hookmill.state", || state(&record.next).as_str());
    let Some(attempt) = &record.attempt else { return };
    span.set("hookmill.outcome", || attempt.outcome.as_str());
    if let Some(status) = attempt.status {
        span.set("http.response.status_code", || u32::from(status));
    }
    if attempt.outcome != AttemptOutcome::Succeeded {
        span.failed(attempt.error.as_deref().unwrap_or(attempt.outcome.as_str()));
    }
}

fn said(board: &Board, record: &Record) {
    let state = state(&record.next).as_str();
    let Some(attempt) = &record.attempt else {
        tracing::debug!(state, "no attempt was made");
        return;
    };
    board.metrics.response(attempt.status);
    tracing::debug!(
        outcome = attempt.outcome.as_str(),
        status = attempt.status,
        took_us = attempt.timings.total_us,
        state,
        "an attempt ended"
    );
}

/// What a delivery's step leads to, as a state.
pub(super) const fn state(next: &Next) -> DeliveryState {
    match next {
        Next::Succeeded => DeliveryState::Succeeded,
        Next::Retry(_) => DeliveryState::Pending,
        Next::Dead(_) => DeliveryState::Dead,
        Next::Filtered(_) => DeliveryState::Filtered,
        Next::Held(_) => DeliveryState::Held,
        Next::Cancelled => DeliveryState::Cancelled,
    }
}

/// What the operator should hear of a delivery that was given up. Nothing if it was to tell of
/// such things itself: that would go on for ever.
pub(super) fn dead(job: &Job, next: &Next) -> Option<Box<Notice>> {
    let Next::Dead(reason) = next else { return None };
    let event = &job.event.event;
    if event.event_type.is_reserved() {
        return None;
    }
    Some(Box::new(Notice::DeliveryDead {
        application: event.application,
        delivery: job.id,
        subscription: job.subscription,
        event: event.id,
        event_type: event.event_type.clone(),
        reason: reason.clone(),
    }))
}
