//! `GET /v1/tail`: what happens, as server-sent events.
//!
//! Owns the filters, the stream's form and how a reader comes back. Never keeps anything for a
//! reader: who was away or is slow gets what the ring has, and is told how much is missing.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response, Sse, sse::Event as Message},
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{self, Acting, Read},
    docs::ManyTails,
    extract::QueryParams,
    problem::{Code, Problem},
};
use crate::{
    model::{ApplicationId, DeliveryState, Pattern, SubscriptionId},
    tail::{Happened, Place, Told, Watcher, What},
};

/// A line that says nothing, so that nobody between takes the quiet for the end.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Where a reader says how far it came.
const LAST_EVENT_ID: &str = "last-event-id";
/// After so many that its filters leave out, a reader is told where it is, lest what it does not
/// want be counted as missed when it comes back.
const UNWANTED: u32 = 256;

/// What to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TailQuery {
    /// Of events of such a type: a name or a pattern, such as `order.*`.
    #[param(value_type = Option<String>, example = "order.*")]
    event_type: Option<Pattern>,
    /// Deliveries of this subscription alone.
    subscription_id: Option<SubscriptionId>,
    /// Deliveries that are in this state now.
    #[param(inline)]
    state: Option<DeliveryState>,
}

impl TailQuery {
    fn wants(&self, application: ApplicationId, happened: &Happened) -> bool {
        let of_type = self.event_type.as_ref().is_none_or(|p| p.matches(&happened.event_type));
        let of_delivery = match &happened.what {
            What::Event { .. } => self.subscription_id.is_none() && self.state.is_none(),
            What::Delivery { subscription_id, state, .. } => {
                self.subscription_id.is_none_or(|wanted| wanted == *subscription_id)
                    && self.state.is_none_or(|wanted| wanted == *state)
            }
        };
        happened.application == application && of_type && of_delivery
    }
}

/// One thing that happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct TailItem<'a> {
    /// The event's type.
    #[schema(value_type = String, example = "order.created")]
    event_type: &'a crate::model::EventTypeName,
    #[serde(flatten)]
    what: &'a What,
}

/// Watch what happens
///
/// Server-sent events, from now on, until the client or the server ends: `event` for an accepted
/// event, `delivery` for an attempt or another change of a delivery, each with a JSON object of
/// the schema `TailItem`. Each has an `id`: a reader that comes back with the last it saw as
/// `Last-Event-ID`, within five minutes, gets what it missed. `missed` says, in `{"missed": n}`,
/// that so many are not held any more, or null if that is not known, as after a restart of the
/// server; `GET /v1/events` and `GET /v1/deliveries` with `since` have them. A comment comes every
/// ten seconds.
#[utoipa::path(
    get,
    path = "/v1/tail",
    tag = "Events",
    params(
        TailQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last that was seen")
    ),
    responses((status = 200, body = String, content_type = "text/event-stream"), ManyTails)
)]
pub async fn tail(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    QueryParams(query): QueryParams<TailQuery>,
) -> Result<Response, Problem> {
    let id = acting.application.id;
    let watcher = api.dispatcher.tail().watch(id, last_seen(&headers)).ok_or_else(|| {
        Problem::new(Code::TooManyTails, "As many watch as may")
            .detail("End a tail that is not needed, or ask for lists with `since` instead.")
    })?;
    let asked = Asked { application: id, query, headers };
    let messages = messages(api, watcher, asked);
    let unbuffered = [(header::CACHE_CONTROL.as_str(), "no-store"), ("x-accel-buffering", "no")];
    Ok((unbuffered, Sse::new(messages)).into_response())
}

/// How far a reader came that comes back. What is no place is one that nobody knows any more.
fn last_seen(headers: &HeaderMap) -> Option<Place> {
    let value = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty())?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(Place::UNKNOWN))
}

/// What is to be shown, and to whom.
struct Asked {
    application: ApplicationId,
    query: TailQuery,
    /// With the key, which may be revoked while the answer goes on.
    headers: HeaderMap,
}

fn messages(
    api: Arc<Api>,
    watcher: Watcher,
    asked: Asked,
) -> impl Stream<Item = Result<Message, Infallible>> {
    // The head of the answer goes out with the first bytes of its body.
    let hello = Message::default().comment("watching").id(watcher.place().to_string());
    let rest = stream::unfold((api, watcher, asked), |(api, mut watcher, asked)| async move {
        // A beat is also when a revoked key is noticed: the place it holds is for others.
        let beat = api.clock.instant() + HEARTBEAT;
        let mut unwanted = 0;
        let message = loop {
            match timeout_at(beat, watcher.recv()).await {
                Err(_quiet) => break Message::default().comment(""),
                Ok(Told::Happened(happened)) if asked.query.wants(asked.application, &happened) => {
                    break message(&happened);
                }
                Ok(Told::Happened(_)) if unwanted == UNWANTED => break Message::default(),
                Ok(Told::Happened(_)) if api.clock.instant() >= beat => {
                    break Message::default().comment("");
                }
                Ok(Told::Happened(_)) => unwanted += 1,
                Ok(Told::Missed(count)) => {
                    let missed = serde_json::json!({"missed": count});
                    break Message::default().event("missed").data(missed.to_string());
                }
                Ok(Told::End) => return None,
            }
        };
        if !auth::still_holds::<Read>(&api, &asked.headers).await {
            return None;
        }
        let message = message.id(watcher.place().to_string());
        Some((Ok(message), (api, watcher, asked)))
    });
    futures_util::StreamExt::chain(stream::iter([Ok(hello)]), rest)
}

fn message(happened: &Happened) -> Message {
    let name = match happened.what {
        What::Event { .. } => "event",
        What::Delivery { .. } => "delivery",
    };
    let item = TailItem { event_type: &happened.event_type, what: &happened.what };
    // Words, numbers and times: there is nothing in it that is not JSON.
    Message::default().event(name).data(serde_json::to_string(&item).unwrap_or_default())
}
