//! `/v1/subscriptions/{id}/handshake`: whether an endpoint permits deliveries.
//!
//! Owns when an endpoint is asked, and that a subscription is paused until it permits.

use std::sync::Arc;

use axum::{extract::State, response::Json};
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage, Read},
    docs::{Missing, Unusable},
    extract::PathId,
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
    subscriptions::{change, find},
};
use crate::model::{
    Handshake, HandshakeRecord, Subscription, SubscriptionId, SubscriptionState, Timestamp,
};

/// How an endpoint answered when it was last asked for leave to send.
#[derive(Debug, Serialize, ToSchema)]
pub struct HandshakeOut {
    /// Whether deliveries may be sent.
    allowed: bool,
    /// Why not.
    refused: Option<String>,
    /// Where it was asked.
    #[schema(value_type = String, format = "uri")]
    endpoint: Url,
    /// As whom.
    origin: String,
    /// Requests a minute it allows; null for any number.
    rate: Option<u32>,
    /// Whether the subscription is paused until the endpoint allows it.
    waiting: bool,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<HandshakeRecord> for HandshakeOut {
    fn from(record: HandshakeRecord) -> Self {
        let HandshakeRecord { endpoint, origin, at, rate, refused, waiting } = record;
        Self { allowed: refused.is_none(), refused, endpoint, origin, rate, waiting, at }
    }
}

fn subject(id: SubscriptionId) -> Subject {
    Subject::new("subscription", id)
}

async fn last(api: &Api, id: SubscriptionId) -> Result<Option<HandshakeRecord>, Problem> {
    api.store.handshake(id).await.map_err(|error| refusal::store(error, &subject(id)))
}

async fn keep(api: &Api, id: SubscriptionId, record: &HandshakeRecord) -> Result<(), Problem> {
    api.store.put_handshake(id, record).await.map_err(|error| refusal::store(error, &subject(id)))
}

/// What a change of a subscription does to the leave it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it needs none, or has it, or takes no events anyway.
    Leave,
    /// It has to ask, and waits for the answer.
    Ask,
    /// It need not wait any more.
    Release,
}

impl Plan {
    /// What a change to this endpoint and handshake calls for.
    pub async fn of(
        api: &Api,
        found: &Subscription,
        endpoint: &Url,
        asked: Option<&Handshake>,
    ) -> Result<Self, Problem> {
        if asked.is_none() && found.policy.handshake.is_none() {
            return Ok(Self::Leave);
        }
        let last = last(api, found.id).await?;
        let paused = found.state == SubscriptionState::Paused;
        let waiting = paused && last.as_ref().is_some_and(|last| last.waiting);
        let Some(asked) = asked else {
            return Ok(if waiting { Self::Release } else { Self::Leave });
        };
        let permitted = last.is_some_and(|last| last.permits(endpoint, asked));
        let active = found.state == SubscriptionState::Active;
        Ok(if !permitted && (waiting || active) { Self::Ask } else { Self::Leave })
    }

    /// The state in which a subscription is saved.
    pub fn state(self, now: SubscriptionState) -> SubscriptionState {
        match (self, now) {
            (Self::Ask, SubscriptionState::Active) => SubscriptionState::Paused,
            (Self::Release, SubscriptionState::Paused) => SubscriptionState::Active,
            _ => now,
        }
    }

    /// Does what is left to do once the change is saved; answers the subscription as it is
    /// then.
    pub async fn finish(
        self,
        api: &Api,
        saved: Arc<Subscription>,
    ) -> Result<Arc<Subscription>, Problem> {
        match self {
            Self::Leave => {}
            Self::Ask => return after_saving(api, saved).await,
            Self::Release => {
                if let Some(last) = last(api, saved.id).await? {
                    keep(api, saved.id, &HandshakeRecord { waiting: false, ..last }).await?;
                }
                api.dispatcher.wake(saved.id, api.clock.now());
            }
        }
        Ok(saved)
    }
}

/// Asks the endpoint of a subscription that is paused for it, or was active until now. With
/// leave it becomes active; without, it is paused and waits.
async fn ask(
    api: &Api,
    subscription: &Subscription,
    asked: &Handshake,
    waiting: bool,
) -> Result<(HandshakeRecord, Option<Arc<Subscription>>), Problem> {
    let (id, endpoint) = (subscription.id, subscription.endpoint.clone());
    let answer = api.dispatcher.handshake(&endpoint, asked).await;
    let active = subscription.state == SubscriptionState::Active;
    let record = HandshakeRecord {
        endpoint,
        origin: asked.origin.clone(),
        at: api.clock.now(),
        rate: answer.as_ref().ok().copied().flatten(),
        waiting: answer.is_err() && (waiting || active),
        refused: answer.err(),
    };
    keep(api, id, &record).await?;
    let (from, to) = match (&record.refused, waiting) {
        (None, true) => (SubscriptionState::Paused, SubscriptionState::Active),
        (Some(_), _) if active => (SubscriptionState::Active, SubscriptionState::Paused),
        _ => return Ok((record, None)),
    };
    let saved = change(api, id, move |subscription| {
        // Whoever moved it meanwhile had a reason.
        if subscription.state == from {
            subscription.state = to;
        }
        Ok(())
    })
    .await?;
    if saved.state == SubscriptionState::Active {
        api.dispatcher.wake(id, api.clock.now());
    }
    Ok((record, Some(saved)))
}

/// Asks for a subscription that was saved as paused because it has to; answers it as it is
/// then.
pub async fn after_saving(
    api: &Api,
    saved: Arc<Subscription>,
) -> Result<Arc<Subscription>, Problem> {
    match saved.policy.handshake.clone() {
        Some(asked) => {
            let (_, moved) = ask(api, &saved, &asked, true).await?;
            Ok(moved.unwrap_or(saved))
        }
        None => Ok(saved),
    }
}

/// What has to be so before a subscription may become active: its endpoint permits it.
pub async fn before_active(api: &Api, subscription: &Subscription) -> Result<(), Problem> {
    let Some(asked) = &subscription.policy.handshake else { return Ok(()) };
    let last = last(api, subscription.id).await?;
    if last.is_some_and(|last| last.permits(&subscription.endpoint, asked)) {
        return Ok(());
    }
    // Whoever wants it active need not say so again when the endpoint permits.
    let waiting = subscription.state == SubscriptionState::Paused;
    match ask(api, subscription, asked, waiting).await?.0.refused {
        None => Ok(()),
        Some(why) => {
            let title = format!("The endpoint of {} does not permit deliveries", subscription.id);
            Err(Problem::new(Code::HandshakeRefused, title).detail(why))
        }
    }
}

/// Ask the endpoint for leave to send
///
/// The CloudEvents webhook handshake. A subscription that waits for it becomes active when the
/// endpoint permits; one that is active is paused when it does not.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/handshake",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = HandshakeOut), Missing, Unusable)
)]
pub async fn ask_for_leave(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<HandshakeOut>, Problem> {
    let found = find(&api, &acting, id)?;
    let Some(asked) = &found.policy.handshake else {
        let why = "is not set, so there is nothing to ask";
        return Err(Problem::new(Code::InvalidSubscription, format!("{id} asks for no handshake"))
            .errors([FieldError::new("/policy/handshake", why)]));
    };
    let paused = found.state == SubscriptionState::Paused;
    let waiting = paused && last(&api, id).await?.is_some_and(|last| last.waiting);
    Ok(Json(ask(&api, &found, asked, waiting).await?.0.into()))
}

/// Get the endpoint's last answer to a handshake
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{id}/handshake",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = HandshakeOut), Missing)
)]
pub async fn get_handshake(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<HandshakeOut>, Problem> {
    find(&api, &acting, id)?;
    let record = last(&api, id).await?;
    let subject = Subject::new("handshake of subscription", id);
    record.map(|record| Json(record.into())).ok_or_else(|| subject.not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_change_calls_for_moves_a_state() {
        use SubscriptionState::{Active, Disabled, Paused};
        for state in [Active, Paused, Disabled] {
            assert_eq!(Plan::Leave.state(state), state);
        }
        assert_eq!(
            [Active, Paused, Disabled].map(|s| Plan::Ask.state(s)),
            [Paused, Paused, Disabled]
        );
        let released = [Active, Paused, Disabled].map(|s| Plan::Release.state(s));
        assert_eq!(released, [Active, Active, Disabled]);
    }
}
