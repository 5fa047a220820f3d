//! `POST /v1/subscriptions/{id}/match`: whether an event goes to a subscription, and why (not).
//! Nothing is stored or sent.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Json,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Read},
    docs::{Expired, Missing},
    envelope::{Envelope, publish_of},
    explain,
    extract::{PathId, json_bytes},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
    subscriptions::find,
};
use crate::{
    ingest::{self, Publish},
    model::{EventId, EventTypeName, Pattern, Subscription, SubscriptionId, SubscriptionState},
    routing::{Facts, Rule},
};

/// What to match: an event that was accepted, or one as it would be published.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"event": {"type": "order.created", "payload": {"total": 150}}}))]
pub struct MatchIn<'a> {
    /// An event that was accepted.
    event_id: Option<EventId>,
    /// An event as `POST /v1/events` takes it.
    #[serde(borrow)]
    #[schema(value_type = Option<Envelope<'_>>)]
    event: Option<&'a RawValue>,
}

/// Whether an event goes to a subscription, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchOut {
    /// Whether it does.
    matches: bool,
    /// Whether the subscription takes events at all now.
    state: SubscriptionState,
    /// Its event type.
    event_type: PartOut,
    /// Its channels. Not there if the subscription takes all.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<PartOut>,
    /// What it says. Not there if the subscription has no filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<PartOut>,
}

/// What one condition of a subscription comes to.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartOut {
    /// Whether it holds.
    matches: bool,
    /// JSON pointer to what decided: into the filter, or the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/all/1/gt/~1total")]
    at: Option<String>,
    /// Why, for people.
    #[schema(example = "/total is 50, which is not above 100")]
    why: String,
}

impl MatchOut {
    fn of(subscription: &Subscription, rule: &Rule, facts: &Facts<'_>) -> Self {
        let event_type = by_type(&subscription.event_types, facts.event_type);
        let channels = (!rule.channels.is_empty()).then(|| by_channel(rule, facts));
        let filter = rule.filter.as_ref().map(|filter| {
            let found = filter.explain(facts);
            PartOut { matches: found.passes, at: Some(found.at), why: found.why }
        });
        let parts = [Some(&event_type), channels.as_ref(), filter.as_ref()];
        let enabled = subscription.state != SubscriptionState::Disabled;
        let matches = enabled && parts.into_iter().flatten().all(|part| part.matches);
        Self { matches, state: subscription.state, event_type, channels, filter }
    }
}

fn by_type(patterns: &[Pattern], name: &EventTypeName) -> PartOut {
    match patterns.iter().enumerate().find(|(_, pattern)| pattern.matches(name)) {
        Some((index, pattern)) => PartOut {
            matches: true,
            at: Some(format!("/{index}")),
            why: format!("{name} is one of {pattern}"),
        },
        None => PartOut {
            matches: false,
            at: None,
            why: format!("no pattern of the subscription stands for {name}"),
        },
    }
}

fn by_channel(rule: &Rule, facts: &Facts<'_>) -> PartOut {
    let shared = rule.channels.iter().enumerate().find(|(_, name)| facts.channels.contains(name));
    match shared {
        Some((index, name)) => PartOut {
            matches: true,
            at: Some(format!("/{index}")),
            why: format!("it is published on {name}"),
        },
        None if facts.channels.is_empty() => {
            PartOut { matches: false, at: None, why: "it is published on no channel".to_owned() }
        }
        None => PartOut {
            matches: false,
            at: None,
            why: "it is published on none of the subscription's channels".to_owned(),
        },
    }
}

/// Say whether an event goes to a subscription
///
/// By its type, channels and filter, and what decided. Nothing is stored or sent; plugins do not
/// run.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/match",
    tag = "Subscriptions",
    params(("id" = SubscriptionId, Path, description = "The subscription")),
    request_body(content = MatchIn<'_>, content_type = "application/json"),
    responses((status = 200, body = MatchOut), Missing, Expired)
)]
pub async fn match_subscription(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SubscriptionId>,
    request: Request,
) -> Result<Json<MatchOut>, Problem> {
    let subscription = find(&api, &acting, id)?;
    let body = json_bytes(request, api.limits.load().max_body).await?;
    let given: MatchIn<'_> = explain::json(&body)?;
    let rule = api.catalog.rule(id).ok_or_else(|| Subject::new("subscription", id).not_found())?;
    let found = match (given.event_id, given.event) {
        (Some(event), None) => stored(&api, &acting, event, &subscription, &rule).await?,
        (None, Some(event)) => {
            let event = publish_of(&body.slice_ref(event.get().as_bytes()), None)?;
            fresh(&api, &event, &subscription, &rule)?
        }
        _ => {
            return Err(Problem::new(Code::InvalidField, "Say what to match: one of two")
                .errors([FieldError::new("", "takes either `event_id` or `event`")]));
        }
    };
    Ok(Json(found))
}

async fn stored(
    api: &Api,
    acting: &Acting<Read>,
    id: EventId,
    subscription: &Subscription,
    rule: &Rule,
) -> Result<MatchOut, Problem> {
    let subject = Subject::new("event", id);
    let found = api.store.event(acting.application.id, id).await;
    let found = found.map_err(|error| refusal::store(error, &subject))?;
    if found.event.is_expired() && rule.filter.is_some() {
        return Err(refusal::payload_expired(&subject));
    }
    let payload = found.event.json();
    Ok(MatchOut::of(subscription, rule, &Facts::of(&found, payload.as_ref())))
}

fn fresh(
    api: &Api,
    event: &Publish,
    subscription: &Subscription,
    rule: &Rule,
) -> Result<MatchOut, Problem> {
    let event_type: EventTypeName = event.event_type.parse().map_err(|why: &str| {
        Problem::new(Code::InvalidField, "The event's type is no name of one")
            .errors([FieldError::new("/event/type", why)])
    })?;
    // What publishing would refuse has no answer. A type may be one that is still to be made.
    let version = match api.catalog.event_type(&event_type) {
        Some(entry) => ingest::schema_version(&entry, event).map_err(refusal::publish)?,
        None => event.schema_version.unwrap_or(0),
    };
    let payload = ingest::read_payload(event).map_err(refusal::publish)?;
    let facts = Facts {
        event_type: &event_type,
        schema_version: version,
        id: event.id.as_deref(),
        subject: event.subject.as_deref(),
        occurred_at: event.occurred(api.clock.now()),
        channels: &event.channels,
        payload: payload.as_ref(),
        text: &event.payload,
    };
    Ok(MatchOut::of(subscription, rule, &facts))
}
