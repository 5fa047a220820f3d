//! A single delivery once more: through the pipeline of today, or to another URL.
//!
//! Trying the same again is in [`super::deliveries`], many at once in [`super::replays`].

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage},
    deliveries::find,
    docs::{Inactive, Missing, Unsendable},
    extract::{JsonBody, PathId},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
    replays::refused,
};
use crate::{
    model::{Attempt, Delivery, DeliveryId},
    store::StoreError,
};

/// Where to send it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendTo {
    /// Any URL that could be a subscription's endpoint.
    #[schema(example = "https://staging.shop.example/hooks")]
    url: String,
}

/// Run a delivery again
///
/// Sends what the subscription's pipeline makes of the event today. That may be another body, so
/// it is a new delivery with an id of its own. If the old one was not done with, the new one takes
/// its place: the old one becomes `cancelled`.
#[utoipa::path(
    post,
    path = "/v1/deliveries/{id}/rerun",
    tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery")),
    responses((status = 202, body = Delivery, description = "The new one is due"), Missing, Inactive)
)]
pub async fn rerun_delivery(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<DeliveryId>,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    let delivery = find(&api, &acting, id).await?;
    let fresh = api.replays.rerun(&delivery).await;
    let fresh = fresh.map_err(|error| refused(error, &Subject::new("delivery", id)))?;
    Ok((StatusCode::ACCEPTED, Json(fresh)))
}

/// Send a delivery elsewhere
///
/// One attempt, made now, to a URL of your choice, for tests: the same body, id and signature,
/// without the subscription's own headers. It is not recorded and changes nothing; how it ended
/// is the answer.
#[utoipa::path(
    post,
    path = "/v1/deliveries/{id}/send-to",
    tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery")),
    request_body = SendTo,
    responses(
        (status = 200, body = Attempt, description = "How it ended"),
        Missing, Inactive, Unsendable
    )
)]
pub async fn send_delivery_to(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<DeliveryId>,
    JsonBody(given): JsonBody<SendTo>,
) -> Result<Json<Attempt>, Problem> {
    let url = api.endpoint_policy.check_url(&given.url).map_err(|why| {
        Problem::new(Code::InvalidEndpoint, "Nothing can be sent to that URL")
            .errors([FieldError::new("/url", why)])
    })?;
    let failed = |error| refusal::store(error, &Subject::new("delivery", id));
    let claimed = api.store.peek(acting.application.id, id).await.map_err(failed)?;
    let Some(subscription) = api.catalog.subscription(claimed.subscription) else {
        let title = format!("The subscription {} was deleted", claimed.subscription);
        return Err(Problem::new(Code::SubscriptionInactive, title)
            .detail("Its secret is gone with it, so nothing can be signed."));
    };
    if claimed.event.is_expired() {
        return Err(failed(StoreError::PayloadExpired));
    }
    let sent = api.dispatcher.send_once(claimed, &subscription, url).await;
    sent.map(Json).map_err(|error| {
        Problem::new(Code::NothingToSend, format!("There is nothing to send of {id}"))
            .detail(format!("{error}: GET /v1/deliveries/{id} says why, or wait until it has run."))
    })
}
