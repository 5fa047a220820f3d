//! `/v1/replays`: jobs that deliver again, or what was missed.
//!
//! Owns the routes and what may be asked for; [`crate::recovery`] owns the jobs.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Json, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage, Read},
    deliveries::inactive,
    docs::{EndedReplay, Inactive, ManyReplays, Missing, Unreplayable},
    extract::{JsonBody, PathId, QueryParams},
    page::{PageOut, PageQuery, Paging},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::{
    model::{
        AttemptOutcome, DeliveryState, Pattern, ReplayFilter, ReplayId, ReplayMode, ReplayProgress,
        ReplayState, SubscriptionId, SubscriptionState, Timestamp,
    },
    recovery::{MAX_PER_SECOND, ReplayError, Request, Standing},
};

/// Most subscriptions or patterns that a replay names.
const MAX_NAMED: usize = 100;

/// What to deliver again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "subscription_ids": ["sub_01jd8xq3m5e7r9t0v2w4y6z8ab"],
    "since": "2026-11-02T03:00:00Z",
    "per_second": 50
}))]
pub struct ReplayIn {
    /// What is delivered; `original` if not given.
    #[serde(default)]
    mode: ReplayMode,
    /// Of these subscriptions; of all that are active, if not given. `missing` needs exactly one.
    #[serde(default)]
    #[schema(max_items = 100)]
    subscription_ids: Vec<SubscriptionId>,
    /// Of events of such types: names or patterns; of any type, if not given.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["order.**"]))]
    event_types: Vec<Pattern>,
    /// In these states: `pending`, `succeeded`, `dead` or `filtered`; `dead` if not given.
    #[serde(default)]
    states: Vec<DeliveryState>,
    /// Whose last attempt ended so.
    error: Option<AttemptOutcome>,
    /// Of events accepted at or after. `missing` needs it.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Of events accepted before; before now, if not given.
    #[serde(default, deserialize_with = "super::extract::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most it takes in a second; as many as can be delivered, if not given.
    #[schema(minimum = 1, maximum = 10_000)]
    per_second: Option<u32>,
}

impl ReplayIn {
    /// Everything that is wrong with it.
    fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |at: &str, message: String| errors.push(FieldError::new(at, message));
        for (at, count) in [
            ("/subscription_ids", self.subscription_ids.len()),
            ("/event_types", self.event_types.len()),
        ] {
            if count > MAX_NAMED {
                wrong(at, format!("has {count} entries; at most {MAX_NAMED} are allowed"));
            }
        }
        for (index, state) in self.states.iter().enumerate() {
            if !ReplayFilter::STATES.contains(state) {
                let known = ReplayFilter::STATES.map(DeliveryState::as_str).join(", ");
                let message = format!("is {}; what is {known} can be taken", state.as_str());
                wrong(&format!("/states/{index}"), message);
            }
        }
        if let Some(rate) = self.per_second.filter(|rate| !(1..=MAX_PER_SECOND).contains(rate)) {
            wrong("/per_second", format!("is {rate}; 1 to {MAX_PER_SECOND} are allowed"));
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            wrong("/until", format!("is {until}, which is not after since, {since}"));
        }
        if self.mode == ReplayMode::Missing {
            let count = self.subscription_ids.len();
            if count != 1 {
                let message = format!("names {count}; what is missing is found for exactly one");
                wrong("/subscription_ids", message);
            }
            if self.since.is_none() {
                wrong("/since", "is not given; say since when events are missing".into());
            }
            for (at, given) in
                [("/states", !self.states.is_empty()), ("/error", self.error.is_some())]
            {
                if given {
                    wrong(
                        at,
                        "is given, but what is missing has no delivery that it could be of".into(),
                    );
                }
            }
        }
        errors
    }
}

/// A replay.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayOut {
    /// Its id.
    id: ReplayId,
    /// What is delivered.
    mode: ReplayMode,
    /// What it was asked for.
    filter: ReplayFilter,
    /// Most it takes in a second.
    per_second: Option<u32>,
    /// Where it stands.
    state: ReplayState,
    /// How far it is.
    progress: ReplayProgress,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it had taken all there was, or was cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Standing> for ReplayOut {
    fn from((replay, progress): Standing) -> Self {
        Self {
            id: replay.id,
            mode: replay.mode,
            filter: replay.filter,
            per_second: replay.per_second,
            state: replay.state,
            progress,
            created_at: replay.created_at,
            finished_at: replay.finished_at,
        }
    }
}

/// A replay, or a delivery, that cannot be as asked.
pub fn refused(error: ReplayError, subject: &Subject) -> Problem {
    let title = error.to_string();
    match error {
        ReplayError::TooMany => Problem::new(Code::TooManyReplays, title)
            .detail("Wait for one to end, or pause or cancel one: GET /v1/replays lists them."),
        ReplayError::Ended => Problem::new(Code::ReplayEnded, format!("The {subject} has ended"))
            .detail("Make a new one."),
        ReplayError::UnknownSubscription(id) => Subject::new("subscription", id).not_found(),
        ReplayError::Inactive(id, Some(SubscriptionState::Paused)) => {
            inactive(id, "paused", "Resume")
        }
        ReplayError::Inactive(id, Some(_)) => inactive(id, "disabled", "Enable"),
        ReplayError::Inactive(id, None) => {
            Problem::new(Code::SubscriptionInactive, format!("The subscription {id} was deleted"))
        }
        ReplayError::UnderWay(id) => {
            Problem::new(Code::DeliveryUnderWay, format!("The delivery {id} is being attempted"))
                .detail("Try again when its attempt is over.")
        }
        ReplayError::Store(error) => refusal::store(error, subject),
    }
}

fn subject(id: ReplayId) -> Subject {
    Subject::new("replay", id)
}

/// Start a replay
///
/// A job that delivers again what the filter finds: the same bytes under the same ids
/// (`original`), what the pipeline makes of the events today under new ids (`rerun`), or what a
/// subscription's patterns match and it never got (`missing`). It goes on after a restart, and
/// leaves nothing out: its progress says how many it took, what became of them, and how many are
/// left.
#[utoipa::path(
    post,
    path = "/v1/replays",
    tag = "Deliveries",
    request_body = ReplayIn,
    responses(
        (status = 202, body = ReplayOut, description = "It runs"),
        Missing, Inactive, Unreplayable, ManyReplays
    )
)]
pub async fn start_replay(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<ReplayIn>,
) -> Result<Response, Problem> {
    let errors = given.errors();
    if !errors.is_empty() {
        return Err(Problem::new(Code::InvalidReplay, "The replay cannot be started as given")
            .errors(errors));
    }
    let request = Request {
        application: acting.application.id,
        mode: given.mode,
        filter: ReplayFilter {
            subscription_ids: given.subscription_ids,
            event_types: given.event_types,
            states: given.states,
            error: given.error,
            since: given.since,
            until: given.until,
        },
        per_second: given.per_second,
    };
    let made = api.replays.create(request).await;
    let made: ReplayOut =
        made.map_err(|error| refused(error, &Subject::new("replay", "new")))?.into();
    let location = format!("/v1/replays/{}", made.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// List replays
///
/// Newest first. Of those that have ended, the last 1,000 are kept.
#[utoipa::path(
    get,
    path = "/v1/replays",
    tag = "Deliveries",
    params(PageQuery),
    responses((status = 200, body = PageOut<ReplayOut>))
)]
pub async fn list_replays(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<ReplayOut>>, Problem> {
    let paging = Paging::<ReplayId>::new("rpl", query.limit, query.cursor.as_deref())?;
    let page = api.replays.list(acting.application.id, paging.after, paging.limit).await;
    let page = page.map_err(|error| refused(error, &Subject::new("replay", "list")))?;
    let items = page.items.into_iter().map(ReplayOut::from).collect();
    Ok(Json(paging.page(items, page.more, |replay| replay.id)))
}

/// Get a replay
///
/// How far it is: how many it took, what became of them, how many are left.
#[utoipa::path(
    get,
    path = "/v1/replays/{id}",
    tag = "Deliveries",
    params(("id" = ReplayId, Path, description = "The replay")),
    responses((status = 200, body = ReplayOut), Missing)
)]
pub async fn get_replay(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<ReplayId>,
) -> Result<Json<ReplayOut>, Problem> {
    answer(api.replays.get(acting.application.id, id).await, id)
}

/// Pause a replay
///
/// It takes nothing more until it is resumed. What it took is attempted.
#[utoipa::path(
    post,
    path = "/v1/replays/{id}/pause",
    tag = "Deliveries",
    params(("id" = ReplayId, Path, description = "The replay")),
    responses((status = 200, body = ReplayOut), Missing, EndedReplay)
)]
pub async fn pause_replay(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<ReplayId>,
) -> Result<Json<ReplayOut>, Problem> {
    answer(api.replays.pause(acting.application.id, id).await, id)
}

/// Resume a replay
///
/// It goes on where it was paused.
#[utoipa::path(
    post,
    path = "/v1/replays/{id}/resume",
    tag = "Deliveries",
    params(("id" = ReplayId, Path, description = "The replay")),
    responses((status = 200, body = ReplayOut), Missing, EndedReplay, ManyReplays)
)]
pub async fn resume_replay(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<ReplayId>,
) -> Result<Json<ReplayOut>, Problem> {
    answer(api.replays.resume(acting.application.id, id).await, id)
}

/// Cancel a replay
///
/// It takes nothing more. What it took is attempted; what is left stays as it is.
#[utoipa::path(
    post,
    path = "/v1/replays/{id}/cancel",
    tag = "Deliveries",
    params(("id" = ReplayId, Path, description = "The replay")),
    responses((status = 200, body = ReplayOut), Missing, EndedReplay)
)]
pub async fn cancel_replay(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<ReplayId>,
) -> Result<Json<ReplayOut>, Problem> {
    answer(api.replays.cancel(acting.application.id, id).await, id)
}

fn answer(
    standing: Result<Standing, ReplayError>,
    id: ReplayId,
) -> Result<Json<ReplayOut>, Problem> {
    standing.map(|standing| Json(standing.into())).map_err(|error| refused(error, &subject(id)))
}

// The document says so in numbers, which an attribute cannot take from a constant.
const _: () = assert!(MAX_PER_SECOND == 10_000 && MAX_NAMED == 100);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(given: serde_json::Value) -> Vec<String> {
        let given: ReplayIn = serde_json::from_value(given).unwrap();
        given.errors().into_iter().map(|error| error.at).collect()
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        assert!(errors(json!({})).is_empty());
        let bad = json!({
            "states": ["dead", "held"], "per_second": 0,
            "since": "2026-11-02T03:00:00Z", "until": "2026-11-02T03:00:00Z",
        });
        assert_eq!(errors(bad), ["/states/1", "/per_second", "/until"]);
        let missing = json!({"mode": "missing", "error": "timeout"});
        assert_eq!(errors(missing), ["/subscription_ids", "/since", "/error"]);
    }
}
