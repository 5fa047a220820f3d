//! How subscriptions' endpoints do: what the breaker sees, since when they fail, what waits.

use std::sync::Arc;

use axum::{extract::State, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Acting, Read},
    docs::Missing,
    extract::{PathId, QueryParams},
    page::{PageOut, Paging},
    problem::Problem,
    refusal::{self, Subject},
    subscription_io::SubscriptionOut,
    subscriptions::find,
};
use crate::{
    delivery::Health,
    model::{Subscription, SubscriptionId},
};

/// How a subscription's endpoint does.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionHealth {
    #[serde(flatten)]
    health: Health,
    /// Deliveries that are not over, those held back aside.
    waiting: u64,
}

/// A subscription in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionListed {
    #[serde(flatten)]
    subscription: SubscriptionOut,
    /// How its endpoint does; in a list of those that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<SubscriptionHealth>,
}

/// Which page of which subscriptions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscriptionQuery {
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those whose endpoints fail now or are left alone because they did, each with its
    /// `health`.
    #[serde(default)]
    failing: bool,
}

async fn health_of(
    api: &Api,
    id: SubscriptionId,
    health: Option<Health>,
) -> Result<SubscriptionHealth, Problem> {
    let waiting = api.store.waiting(id).await;
    let waiting = waiting.map_err(|e| refusal::store(e, &Subject::new("subscription", id)))?;
    Ok(SubscriptionHealth { health: health.unwrap_or(Health::good()), waiting })
}

/// Get a subscription's health
///
/// Whether its circuit breaker is open, since when its endpoint fails and how, and how many
/// deliveries wait.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{id}/health",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    responses((status = 200, body = SubscriptionHealth), Missing)
)]
pub async fn subscription_health(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
) -> Result<Json<SubscriptionHealth>, Problem> {
    find(&api, &acting, id)?;
    Ok(Json(health_of(&api, id, api.dispatcher.health(id)).await?))
}

/// List subscriptions
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/subscriptions",
    tag = "Subscriptions",
    params(SubscriptionQuery),
    responses((status = 200, body = PageOut<SubscriptionListed>))
)]
pub async fn list_subscriptions(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<SubscriptionQuery>,
) -> Result<Json<PageOut<SubscriptionListed>>, Problem> {
    let paging = Paging::<SubscriptionId>::new("sub", query.limit, query.cursor.as_deref())?;
    let mut all = api.catalog.subscriptions(acting.application.id);
    let mut failing = if query.failing { api.dispatcher.failing() } else { Default::default() };
    if query.failing {
        failing.retain(|_, health| health.is_bad());
        all.retain(|subscription| failing.contains_key(&subscription.id));
    }
    // The cursor's order must be this list's, whatever order the catalog keeps.
    all.sort_unstable_by_key(|subscription| std::cmp::Reverse(subscription.id));
    let page = paging.slice(all, |subscription| subscription.id, |id, after| id < after);
    let mut data = Vec::with_capacity(page.data.len());
    for subscription in page.data {
        let subscription: &Subscription = &subscription;
        let health = match failing.remove(&subscription.id) {
            Some(health) => Some(health_of(&api, subscription.id, Some(health)).await?),
            None => None,
        };
        data.push(SubscriptionListed { subscription: subscription.into(), health });
    }
    Ok(Json(PageOut { data, next_cursor: page.next_cursor }))
}
