//! Pausing, resuming, enabling and disabling subscriptions.

use std::sync::Arc;

use axum::{extract::State, response::Json};

use super::{
    Api,
    auth::{Acting, Actor, Manage},
    deliveries::inactive,
    docs::{Inactive, Missing},
    extract::PathId,
    handshake,
    problem::Problem,
    refusal::{self, Subject},
    subscription_io::SubscriptionOut,
    subscriptions::{change, find},
};
use crate::model::{SubscriptionId, SubscriptionState};

/// A request to change a subscription's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Pause,
    Resume,
    Enable,
    Disable,
}

/// What a move does to a state: where it leads, or what must come first. A move that is
/// already made is made again without harm.
fn moved(
    from: SubscriptionState,
    by: Move,
) -> Result<SubscriptionState, (&'static str, &'static str)> {
    use SubscriptionState::{Active, Disabled, Paused};
    match (by, from) {
        (Move::Pause, Active | Paused) => Ok(Paused),
        (Move::Resume, Active | Paused) | (Move::Enable, Active | Disabled) => Ok(Active),
        (Move::Disable, Active | Paused | Disabled) => Ok(Disabled),
        (Move::Pause | Move::Resume, Disabled) => Err(("disabled", "Enable")),
        (Move::Enable, Paused) => Err(("paused", "Resume")),
    }
}

async fn move_state(
    api: &Api,
    acting: &Actor,
    id: SubscriptionId,
    by: Move,
) -> Result<Json<SubscriptionOut>, Problem> {
    let found = find(api, acting, id)?;
    let next = |from| moved(from, by).map_err(|(state, remedy)| inactive(id, state, remedy));
    let target = next(found.state)?;
    if by == Move::Pause {
        handshake::wait_no_more(api, id).await?;
    }
    if found.state == target {
        // Were they left held by a failure of the store, this is how one tries again.
        if target == SubscriptionState::Active {
            let subject = Subject::new("subscription", id);
            api.catalog.resume_held(id).await.map_err(|e| refusal::catalog(e, &subject))?;
        }
        return Ok(Json((&*found).into()));
    }
    let _settling = if target == SubscriptionState::Active {
        Some(handshake::before_active(api, id).await?)
    } else {
        None
    };
    let saved = change(api, id, move |subscription| {
        // As it is now, which may be another state than the one looked at above.
        subscription.state = next(subscription.state)?;
        Ok(())
    })
    .await?;
    // What was held is due now, and only the store knows of it so far.
    if saved.state == SubscriptionState::Active {
        api.dispatcher.wake(id, api.clock.now());
    }
    Ok(Json((&*saved).into()))
}

/// Pause a subscription
///
/// Its events are matched and kept as `held` deliveries until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/pause",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing, Inactive)
)]
pub async fn pause_subscription(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Pause).await
}

/// Resume a subscription
///
/// What it holds is due at once.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/resume",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing, Inactive)
)]
pub async fn resume_subscription(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Resume).await
}

/// Enable a disabled subscription
///
/// For one that answered 410 Gone, or was disabled by request. Events of the meantime were
/// not matched.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/enable",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing, Inactive)
)]
pub async fn enable_subscription(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Enable).await
}

/// Disable a subscription
///
/// Its events are no longer matched, as after an answer of 410 Gone.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/disable",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionOut), Missing)
)]
pub async fn disable_subscription(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionOut>, Problem> {
    move_state(&api, &acting, id, Move::Disable).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_repeatable_and_never_leap_a_state() {
        use SubscriptionState::{Active, Disabled, Paused};
        assert_eq!(moved(Active, Move::Pause), Ok(Paused));
        assert_eq!(moved(Paused, Move::Pause), Ok(Paused));
        assert_eq!(moved(Paused, Move::Resume), Ok(Active));
        assert_eq!(moved(Disabled, Move::Enable), Ok(Active));
        assert_eq!(moved(Paused, Move::Disable), Ok(Disabled));
        assert!(moved(Disabled, Move::Resume).is_err());
        assert!(moved(Disabled, Move::Pause).is_err());
        assert!(moved(Paused, Move::Enable).is_err());
    }
}
