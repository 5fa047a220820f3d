//! `/v1/deliveries`: what became of events for subscriptions, and trying again.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Acting, Actor, Manage, Read},
    docs::{Expired, Inactive, Missing},
    extract::{PathId, QueryParams},
    message::MessageOut,
    page::{PageOut, Paging},
    problem::{Code, Problem},
    refusal::{self, Subject},
};
use crate::{
    model::{
        Attempt, AttemptOutcome, Delivery, DeliveryId, DeliveryState, EventId, EventTypeName,
        Outcome, Pattern, PipelineRun, ReplayId, StepReport, SubscriptionId, SubscriptionState,
        Timestamp,
    },
    store::DeliveryFilter,
};

/// Which deliveries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Of this subscription.
    subscription_id: Option<SubscriptionId>,
    /// Of this event.
    event_id: Option<EventId>,
    /// In this state.
    #[param(inline)]
    state: Option<DeliveryState>,
    /// Of events of such a type: a name or a pattern, such as `order.*`.
    #[param(value_type = Option<String>, example = "order.*")]
    event_type: Option<Pattern>,
    /// Whose last attempt ended so.
    #[param(inline)]
    error: Option<AttemptOutcome>,
    /// Taken or made last by this replay.
    replay_id: Option<ReplayId>,
    /// Created at or after.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Created before.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A delivery with its whole story.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryOut {
    /// Sent as `webhook-id` on every attempt.
    id: DeliveryId,
    /// The event delivered.
    event_id: EventId,
    /// The event's type.
    #[schema(value_type = String, example = "order.created")]
    event_type: EventTypeName,
    /// Who it is for.
    subscription_id: SubscriptionId,
    /// Where it stands.
    state: DeliveryState,
    /// Why it is where it stands, when there is a reason to give.
    reason: Option<String>,
    /// The next attempt, while it is pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// When the event was matched.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it reached a final state.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// What each plugin did; empty if none has run.
    steps: Vec<StepReport>,
    /// What was sent, or will be. Null if nothing will be, while the pipeline has not run,
    /// and when the event's payload is no longer kept.
    sent: Option<MessageOut>,
    /// Every attempt so far, oldest first. In a list this is only their number.
    attempts: Vec<Attempt>,
}

/// List deliveries
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/deliveries",
    tag = "Deliveries",
    params(DeliveryQuery),
    responses((status = 200, body = PageOut<Delivery>))
)]
pub async fn list_deliveries(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<DeliveryQuery>,
) -> Result<Json<PageOut<Delivery>>, Problem> {
    let paging = Paging::<DeliveryId>::new("dlv", query.limit, query.cursor.as_deref())?;
    let filter = DeliveryFilter {
        subscription: query.subscription_id,
        event: query.event_id,
        state: query.state,
        event_type: query.event_type,
        outcome: query.error,
        replay: query.replay_id,
        since: query.since,
        until: query.until,
    };
    let page = api
        .store
        .deliveries(acting.application.id, &filter, paging.after, paging.limit)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("delivery", "list")))?;
    Ok(Json(paging.page(page.items, page.more, |delivery| delivery.id)))
}

pub async fn find(api: &Api, acting: &Actor, id: DeliveryId) -> Result<Delivery, Problem> {
    api.store
        .delivery(acting.application.id, id)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("delivery", id)))
}

/// Get a delivery
///
/// With what each plugin did, what was sent and every attempt.
#[utoipa::path(
    get,
    path = "/v1/deliveries/{id}",
    tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery")),
    responses((status = 200, body = DeliveryOut), Missing)
)]
pub async fn get_delivery(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<DeliveryId>,
) -> Result<Json<DeliveryOut>, Problem> {
    let subject = Subject::new("delivery", id);
    let failed = |error| refusal::store(error, &subject);
    let delivery = find(&api, &acting, id).await?;
    let attempts = api.store.attempts(acting.application.id, id).await.map_err(failed)?;
    let stored = api.store.event(acting.application.id, delivery.event_id).await.map_err(failed)?;
    let (steps, sent) = if delivery.pipeline.is_some() {
        story(api.store.run(acting.application.id, id).await.map_err(failed)?)
    } else {
        (Vec::new(), Some(MessageOut::payload(&stored.event)))
    };
    let sent = sent.filter(|_| !stored.event.is_expired());
    Ok(Json(DeliveryOut {
        id,
        event_id: delivery.event_id,
        event_type: delivery.event_type,
        subscription_id: delivery.subscription_id,
        state: delivery.state,
        reason: delivery.reason,
        next_attempt_at: delivery.next_attempt_at,
        created_at: delivery.created_at,
        finished_at: delivery.finished_at,
        steps,
        sent,
        attempts,
    }))
}

/// What a run did and what it sends.
fn story(run: Option<PipelineRun>) -> (Vec<StepReport>, Option<MessageOut>) {
    let Some(run) = run else { return (Vec::new(), None) };
    let sent = match &run.outcome {
        Outcome::Send(message) => Some(MessageOut::new(message)),
        Outcome::Drop { .. } | Outcome::Fail { .. } => None,
    };
    (run.steps, sent)
}

/// Try a delivery again
///
/// Makes it due at once, whatever became of it. What is sent and its id stay the same.
#[utoipa::path(
    post,
    path = "/v1/deliveries/{id}/retry",
    tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery")),
    responses((status = 202, body = Delivery, description = "It is due"), Missing, Inactive, Expired)
)]
pub async fn retry_delivery(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<DeliveryId>,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    let delivery = find(&api, &acting, id).await?;
    let subscription = delivery.subscription_id;
    match api.catalog.subscription(subscription).map(|found| found.state) {
        Some(SubscriptionState::Active) => {}
        Some(SubscriptionState::Paused) => return Err(inactive(subscription, "paused", "Resume")),
        Some(SubscriptionState::Disabled) => {
            return Err(inactive(subscription, "disabled", "Enable"));
        }
        None => {
            let title = format!("The subscription {subscription} was deleted");
            return Err(Problem::new(Code::SubscriptionInactive, title));
        }
    }
    let now = api.clock.now();
    api.store
        .retry(acting.application.id, id, now)
        .await
        .map_err(|error| refusal::store(error, &Subject::new("delivery", id)))?;
    api.dispatcher.wake(subscription, now);
    Ok((StatusCode::ACCEPTED, Json(find(&api, &acting, id).await?)))
}

/// A subscription's state stands in the way.
pub fn inactive(id: SubscriptionId, state: &str, remedy: &str) -> Problem {
    Problem::new(Code::SubscriptionInactive, format!("The subscription {id} is {state}"))
        .detail(format!("{remedy} it first."))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Message, OnError};

    fn run(outcome: Outcome) -> Option<PipelineRun> {
        Some(PipelineRun { outcome, steps: Vec::new() })
    }

    #[test]
    fn only_what_is_sent_is_shown_as_sent() {
        let message = Message {
            content_type: "application/json".into(),
            headers: Vec::new(),
            body: Bytes::from_static(b"{}"),
        };
        assert!(story(run(Outcome::Send(message))).1.is_some());
        assert!(story(run(Outcome::Drop { reason: "small".into() })).1.is_none());
        let failed = Outcome::Fail { on_error: OnError::Dead, reason: "trap".into() };
        assert!(story(run(failed)).1.is_none());
        assert!(story(None).1.is_none());
    }
}
