//! `/v1/subscriptions/{id}/handshake`: whether an endpoint permits deliveries.
//!
//! Owns when an endpoint is asked, and that a subscription is paused until it permits. An answer
//! counts for what was asked: never for an endpoint that was set while it was awaited.

use std::sync::Arc;

use axum::{extract::State, response::Json};
use serde::Serialize;
use tokio::sync::MutexGuard;
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

/// Held through what decides on an endpoint and its leave: then both are as they were looked at
/// until what follows from them is saved. Nobody is asked meanwhile: that takes long.
#[derive(Debug)]
pub struct Settling<'a>(#[expect(dead_code, reason = "it is held")] MutexGuard<'a, ()>);

pub async fn settling(api: &Api) -> Settling<'_> {
    Settling(api.settling_leave.lock().await)
}

/// Notes that a subscription waits for an answer, for whoever changes it before there is one,
/// and for after a crash.
pub async fn begin(
    _settling: &Settling<'_>,
    api: &Api,
    saved: &Subscription,
) -> Result<(), Problem> {
    let Some(asked) = &saved.policy.handshake else { return Ok(()) };
    let record = HandshakeRecord {
        endpoint: saved.endpoint.clone(),
        origin: asked.origin.clone(),
        at: api.clock.now(),
        rate: None,
        refused: Some("the endpoint has not answered yet".into()),
        waiting: true,
    };
    keep(api, saved.id, &record).await
}

/// Whoever pauses a subscription that waits for leave wants it paused although leave comes.
pub async fn wait_no_more(api: &Api, id: SubscriptionId) -> Result<(), Problem> {
    let _settling = settling(api).await;
    match last(api, id).await? {
        Some(last) if last.waiting => {
            keep(api, id, &HandshakeRecord { waiting: false, ..last }).await
        }
        _ => Ok(()),
    }
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
        _settling: &Settling<'_>,
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
        settling: Settling<'_>,
        api: &Api,
        saved: Arc<Subscription>,
    ) -> Result<Arc<Subscription>, Problem> {
        match self {
            Self::Leave => {}
            Self::Ask => {
                begin(&settling, api, &saved).await?;
                drop(settling);
                return after_saving(api, saved).await;
            }
            Self::Release => {
                api.dispatcher.wake(saved.id, api.clock.now());
                if let Some(last) = last(api, saved.id).await? {
                    keep(api, saved.id, &HandshakeRecord { waiting: false, ..last }).await?;
                }
            }
        }
        Ok(saved)
    }
}

/// Asks the endpoint of a subscription. One that is paused and waits for leave, or is `wanted`
/// active, becomes so with it; one that is active is paused without. None if the answer is to
/// what is asked no more: the endpoint, or as whom, was changed meanwhile.
async fn ask(
    api: &Api,
    subscription: &Subscription,
    asked: &Handshake,
    wanted: bool,
) -> Result<Option<(HandshakeRecord, Arc<Subscription>)>, Problem> {
    use SubscriptionState::{Active, Paused};
    let (id, endpoint) = (subscription.id, subscription.endpoint.clone());
    let answer = api.dispatcher.handshake(&endpoint, asked).await;
    let _settling = settling(api).await;
    let now = api.catalog.subscription(id).ok_or_else(|| subject(id).not_found())?;
    let origin = now.policy.handshake.as_ref().map(|asked| &asked.origin);
    // Leave for another place must not become leave for this one, nor its record hide this one's.
    if now.endpoint != endpoint || origin != Some(&asked.origin) {
        return Ok(None);
    }
    let waits = last(api, id).await?.is_some_and(|last| last.waiting);
    let waiting = now.state == Paused && (wanted || waits);
    let record = HandshakeRecord {
        endpoint,
        origin: asked.origin.clone(),
        at: api.clock.now(),
        rate: answer.as_ref().ok().copied().flatten(),
        waiting: answer.is_err() && (waiting || now.state == Active),
        refused: answer.err(),
    };
    keep(api, id, &record).await?;
    let (from, to) = match (&record.refused, now.state) {
        (None, Paused) if waiting => (Paused, Active),
        (Some(_), Active) => (Active, Paused),
        _ => return Ok(Some((record, now))),
    };
    let saved = change(api, id, |subscription| {
        // Whoever moved it meanwhile had a reason.
        if subscription.state == from {
            subscription.state = to;
        }
        Ok(())
    })
    .await?;
    if saved.state == Active {
        api.dispatcher.wake(id, api.clock.now());
    }
    Ok(Some((record, saved)))
}

/// Asks for a subscription that was saved as paused because it has to; answers it as it is
/// then.
async fn after_saving(api: &Api, saved: Arc<Subscription>) -> Result<Arc<Subscription>, Problem> {
    let Some(asked) = &saved.policy.handshake else { return Ok(saved) };
    match ask(api, &saved, asked, false).await? {
        Some((_, now)) => Ok(now),
        // Whoever changed it has asked.
        None => api.catalog.subscription(saved.id).ok_or_else(|| subject(saved.id).not_found()),
    }
}

/// The same for one that was made just now. It is made, whatever becomes of the asking: only
/// this answer has its secret, and whoever got an error would make another.
pub async fn after_creating(api: &Api, saved: Arc<Subscription>) -> Arc<Subscription> {
    let id = saved.id;
    match after_saving(api, Arc::clone(&saved)).await {
        Ok(now) => now,
        Err(problem) => {
            // Deleted meanwhile, it was made all the same.
            let Some(now) = api.catalog.subscription(id) else { return saved };
            tracing::warn!(subscription = %id, ?problem, "an endpoint's leave was not settled");
            now
        }
    }
}

/// Sees to what has to be so before a subscription may become active: its endpoint permits it.
/// That stays so while what is answered is held.
pub async fn before_active(api: &Api, id: SubscriptionId) -> Result<Settling<'_>, Problem> {
    loop {
        let settling = settling(api).await;
        let now = api.catalog.subscription(id).ok_or_else(|| subject(id).not_found())?;
        let Some(asked) = &now.policy.handshake else { return Ok(settling) };
        if last(api, id).await?.is_some_and(|last| last.permits(&now.endpoint, asked)) {
            return Ok(settling);
        }
        drop(settling);
        // Whoever wants it active need not say so again when the endpoint permits.
        if let Some((HandshakeRecord { refused: Some(why), .. }, _)) =
            ask(api, &now, asked, true).await?
        {
            let title = format!("The endpoint of {id} does not permit deliveries");
            return Err(Problem::new(Code::HandshakeRefused, title).detail(why));
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
    loop {
        let found = find(&api, &acting, id)?;
        let Some(asked) = &found.policy.handshake else {
            let title = format!("{id} asks for no handshake");
            let why = "is not set, so there is nothing to ask";
            return Err(Problem::new(Code::InvalidSubscription, title)
                .errors([FieldError::new("/policy/handshake", why)]));
        };
        // Once more, if it was changed meanwhile: what is wanted is leave for how it is now.
        if let Some((record, _)) = ask(&api, &found, asked, false).await? {
            return Ok(Json(record.into()));
        }
    }
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
