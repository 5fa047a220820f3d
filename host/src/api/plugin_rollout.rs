//! `/v1/plugins/{name}/rollout`: a candidate version tried on live events.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage, Read},
    docs::{Breaks, Missing, Unloadable, Unrollable},
    extract::{JsonBody, PathParts, QueryParams},
    plugins::{OwnerQuery, owner_of, owner_to_change, version_of, version_subject},
    preconditions::{IfMatch, Tag, Tagged},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::{
    model::{Rollout, RolloutLimits, RolloutMode, Timestamp},
    watch::Trial,
};

/// A rollout to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": "1.3.0", "mode": "canary", "percent": 10}))]
pub struct RolloutIn {
    /// The candidate.
    version: String,
    /// How it is tried.
    mode: RolloutMode,
    /// Canary: the share of events that run through it, 0.01 to 100 percent.
    #[schema(minimum = 0.01, maximum = 100)]
    percent: Option<f64>,
    /// Canary: when it goes back by itself.
    #[serde(default)]
    limits: RolloutLimits,
}

/// A rollout and how its candidate does.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutOut {
    /// The plugin.
    name: String,
    /// The candidate.
    version: String,
    /// How it is tried.
    mode: RolloutMode,
    /// Canary: the share of events that run through it, in percent, chosen by a hash of the
    /// event's id.
    percent: Option<f64>,
    /// Canary: when it goes back by itself.
    limits: RolloutLimits,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// What its runs came to, since the rollout or the server started.
    trial: Trial,
}

impl RolloutIn {
    fn share(&self) -> Result<u16, Problem> {
        let mut errors = Vec::new();
        let share = match (self.mode, self.percent) {
            (RolloutMode::Shadow, None) => 0,
            (RolloutMode::Shadow, Some(_)) => {
                let why = "a shadow runs for every event; leave it out";
                errors.push(FieldError::new("/percent", why));
                0
            }
            (RolloutMode::Canary, Some(percent)) if (0.01..=100.0).contains(&percent) => {
                // 1 to 10,000: it fits.
                (percent * 100.0).round() as u16
            }
            (RolloutMode::Canary, given) => {
                let given = given.map_or("is missing".to_owned(), |p| format!("is {p}"));
                let why = format!("{given}; a canary takes 0.01 to 100 percent of the events");
                errors.push(FieldError::new("/percent", why));
                0
            }
        };
        let RolloutLimits { fault_percent, fuel_ratio, runs } = self.limits;
        if !(0.0..=100.0).contains(&fault_percent) {
            let why = format!("is {fault_percent}; 0 to 100 are allowed");
            errors.push(FieldError::new("/limits/fault_percent", why));
        }
        if !(fuel_ratio.is_finite() && fuel_ratio >= 1.0) {
            let why = format!("is {fuel_ratio}; at least 1 is needed");
            errors.push(FieldError::new("/limits/fuel_ratio", why));
        }
        if runs == 0 {
            errors.push(FieldError::new("/limits/runs", "is 0; at least 1 is needed"));
        }
        if errors.is_empty() {
            return Ok(share);
        }
        let title = "The rollout cannot be started as given";
        Err(Problem::new(Code::InvalidRollout, title).errors(errors))
    }
}

fn shown(api: &Api, rollout: &Rollout) -> RolloutOut {
    let canary = rollout.mode == RolloutMode::Canary;
    RolloutOut {
        name: rollout.name.clone(),
        version: rollout.version.clone(),
        mode: rollout.mode,
        percent: canary.then(|| f64::from(rollout.share) / 100.0),
        limits: rollout.limits,
        started_at: rollout.started_at,
        trial: api.watch.trial(rollout).unwrap_or_default(),
    }
}

fn rollout_subject(name: &str) -> Subject {
    Subject::new("rollout of plugin", name)
}

/// Start a rollout
///
/// Tries a version that is not live on live events, in place of a rollout before it. A
/// canary decides about a share of the events, and goes back by itself when it fails more
/// often, or uses more fuel, than its limits allow; an event on which it fails goes through
/// the live version at once. A shadow runs beside the live version; only what the live
/// version decides is delivered. Steps that pin a version take no part.
#[utoipa::path(
    put,
    path = "/v1/plugins/{name}/rollout",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    request_body = RolloutIn,
    responses((status = 200, body = RolloutOut), Missing, Breaks, Unloadable, Unrollable)
)]
pub async fn start_rollout(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    expected: IfMatch,
    JsonBody(given): JsonBody<RolloutIn>,
) -> Result<Tagged<RolloutOut>, Problem> {
    let owner = owner_to_change(&api, &acting, &name, query.shared)?;
    version_of(&api, &acting, &name, Some(&given.version), query.shared)?;
    let share = given.share()?;
    let subject = version_subject(&name, &given.version);
    let rollout = Rollout {
        application: owner,
        name,
        version: given.version,
        mode: given.mode,
        share,
        limits: given.limits,
        started_at: api.clock.now(),
    };
    let fits = |now: Option<&Rollout>| expected.allows_of(now.map(Tag::of).as_ref());
    let started = api.catalog.start_rollout(rollout, fits, &acting.by).await;
    let rollout = started.map_err(|error| refusal::catalog(error, &subject))?;
    Ok(Tagged(Tag::of(&*rollout), shown(&api, &rollout)))
}

/// Get a rollout
///
/// With what the candidate's runs and the live version's came to, which is no part of its tag.
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/rollout",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    responses((status = 200, body = RolloutOut), Missing)
)]
pub async fn get_rollout(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
) -> Result<Tagged<RolloutOut>, Problem> {
    let owner = owner_of(&api, &acting, &name, query.shared)?;
    let rollout = api.catalog.rollout(owner, &name);
    let rollout = rollout.ok_or_else(|| rollout_subject(&name).not_found())?;
    Ok(Tagged(Tag::of(&*rollout), shown(&api, &rollout)))
}

/// End a rollout
///
/// Every event is the live version's again. Deliveries that the candidate decided about stay
/// as it decided.
#[utoipa::path(
    delete,
    path = "/v1/plugins/{name}/rollout",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    responses((status = 204, description = "It is over"), Missing)
)]
pub async fn end_rollout(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    let owner = owner_to_change(&api, &acting, &name, query.shared)?;
    let fits = |now: Option<&Rollout>| expected.allows_of(now.map(Tag::of).as_ref());
    api.catalog
        .end_rollout(owner, &name, fits, &acting.by)
        .await
        .map_err(|error| refusal::catalog(error, &rollout_subject(&name)))?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Result<u16, Vec<String>> {
        let given: RolloutIn = serde_json::from_str(text).unwrap();
        given.share().map_err(|problem| {
            problem.into_body().errors.into_iter().map(|error| error.at).collect()
        })
    }

    #[test]
    fn a_share_is_counted_in_hundredths_of_a_percent() {
        assert_eq!(share(r#"{"version":"1","mode":"canary","percent":10}"#), Ok(1_000));
        assert_eq!(share(r#"{"version":"1","mode":"canary","percent":0.01}"#), Ok(1));
        assert_eq!(share(r#"{"version":"1","mode":"shadow"}"#), Ok(0));
    }

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(share(r#"{"version":"1","mode":"canary"}"#).unwrap_err(), ["/percent"]);
        let wrong = share(
            r#"{"version":"1","mode":"shadow","percent":5,
                "limits":{"fault_percent":101,"fuel_ratio":0.5,"runs":0}}"#,
        );
        assert_eq!(
            wrong.unwrap_err(),
            ["/percent", "/limits/fault_percent", "/limits/fuel_ratio", "/limits/runs"]
        );
    }
}
