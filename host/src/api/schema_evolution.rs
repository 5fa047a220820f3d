//! `/v1/event-types/{name}/versions/check` and how versions end: what a new schema would break,
//! told before it is added.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Json,
};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Admin, Manage, Read},
    docs::{Missing, Unusable},
    event_types::named,
    extract::{JsonBody, PathParts},
    preconditions::{IfMatch, Tag, Tagged},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::{
    catalog::LifecycleChange,
    model::{
        ApplicationId, Compatibility, EventId, EventTypeName, Lifecycle, SchemaVersion,
        StoredEvent, Timestamp, Violation,
    },
    schema::{Finding, Undone, Validator},
    store::EventFilter,
};

/// Most events a check runs over.
const MAX_LAST: u32 = 1_000;
/// Events read at once.
const PAGE: u32 = 50;
/// Violating events that a report shows.
const MAX_SHOWN: usize = 10;

/// A schema to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"schema": {"type": "object", "required": ["id"]}, "compatibility": "backward", "last": 100}))]
pub struct CheckIn {
    /// A JSON Schema of draft 4, 6, 7, 2019-09 or 2020-12.
    #[schema(value_type = Object)]
    schema: Value,
    /// What it is to be to the newest version: what the event type says, or `full` if that is
    /// `none`.
    compatibility: Option<Compatibility>,
    /// How many of the newest stored events of the type to try it on, of all applications.
    #[serde(default = "hundred")]
    #[schema(minimum = 0, maximum = 1000)]
    last: u32,
}

const fn hundred() -> u32 {
    100
}

/// What a schema would break.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckOut {
    /// Whether it may be added under `compatibility`: nothing was found.
    compatible: bool,
    /// What was asked for.
    compatibility: Compatibility,
    /// The version it was compared with; 0 if there is none.
    against: u32,
    /// What stands between the two.
    findings: Vec<Finding>,
    /// What became of the stored events.
    events: TriedOut,
}

/// Stored events under a schema that they were not made for.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct TriedOut {
    /// How many were tried.
    tried: u32,
    /// How many satisfy it.
    satisfied: u32,
    /// Whether all that were asked for were tried: it stops after 32 MiB of payloads, and after
    /// five seconds of work.
    complete: bool,
    /// The newest of those that do not.
    violating: Vec<ViolatingOut>,
}

/// An event that does not satisfy a schema.
#[derive(Debug, Serialize, ToSchema)]
pub struct ViolatingOut {
    id: EventId,
    /// The schema version it was accepted under.
    schema_version: u32,
    /// Where it does not.
    violations: Vec<Violation>,
}

/// Check a schema before adding it
///
/// Compares it with the newest version and runs it over stored events. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/event-types/{name}/versions/check",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    request_body = CheckIn,
    responses((status = 200, body = CheckOut), Missing, Unusable)
)]
pub async fn check_schema_version(
    _: Admin<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    JsonBody(given): JsonBody<CheckIn>,
) -> Result<Json<CheckOut>, Problem> {
    let (name, subject) = named(&api, &name)?;
    let entry = api.catalog.event_type(&name).ok_or_else(|| subject.not_found())?;
    if given.last > MAX_LAST {
        return Err(Problem::new(Code::InvalidField, "/last cannot be used")
            .errors([FieldError::new("/last", format!("must be at most {MAX_LAST}"))]));
    }
    let own = entry.event_type.compatibility;
    let fallback = if own == Compatibility::None { Compatibility::Full } else { own };
    let mode = given.compatibility.unwrap_or(fallback);
    let compiled = api.catalog.compile(&given.schema).await;
    let validator = compiled.map_err(|error| refusal::catalog(error, &subject))?;
    let compared = api.catalog.compare_schema(&name, &given.schema, mode).await;
    let (against, findings) = compared.map_err(|error| refusal::catalog(error, &subject))?;
    let events = tried(&api, &name, &validator, given.last)
        .await?
        .map_err(|error| refusal::catalog(error.into(), &subject))?;
    let compatible = findings.is_empty();
    Ok(Json(CheckOut { compatible, compatibility: mode, against, findings, events }))
}

/// What a check spends on stored events.
#[derive(Debug, Default)]
struct Effort {
    bytes: usize,
    took: Duration,
}

impl Effort {
    const MAX_BYTES: usize = 32 << 20;
    const LONGEST: Duration = Duration::from_secs(5);

    /// Whether so many bytes more may be looked at.
    fn allows(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes <= Self::MAX_BYTES && self.took < Self::LONGEST
    }
}

/// Runs a schema over the newest events of a type, whoever's they are; none while too many other
/// schemas are waiting.
async fn tried(
    api: &Api,
    name: &EventTypeName,
    validator: &Arc<Validator>,
    last: u32,
) -> Result<Result<TriedOut, Undone>, Problem> {
    let mut newest: Vec<(EventId, ApplicationId)> = Vec::new();
    for application in api.catalog.applications() {
        let found = pages(api, application.id, name, last, |stored| {
            (!stored.event.is_expired()).then_some(stored.event.id)
        });
        newest.extend(found.await?.into_iter().map(|id| (id, application.id)));
    }
    newest.sort_unstable_by_key(|(id, _)| Reverse(*id));
    newest.truncate(last as usize);
    let mut out = TriedOut { complete: true, ..TriedOut::default() };
    let mut effort = Effort::default();
    for (id, application) in newest {
        // One that retention took meanwhile is not tried.
        let Ok(stored) = api.store.event(application, id).await else { continue };
        if !effort.allows(stored.event.payload.len()) {
            out.complete = false;
            break;
        }
        let (validator, clock) = (Arc::clone(validator), api.clock);
        let schema_version = stored.event.schema_version;
        // One at a time: between two, others have their turn.
        let trying = api.catalog.workshop().run(move |_| {
            let start = clock.instant();
            let payload = serde_json::from_slice::<Value>(&stored.event.payload).ok();
            let violations = payload.map(|payload| validator.violations(&payload));
            (violations, clock.instant() - start)
        });
        let (violations, took) = match trying.await {
            Ok(done) => done,
            Err(undone) => return Ok(Err(undone)),
        };
        effort.took += took;
        let Some(violations) = violations else { continue };
        out.tried += 1;
        if violations.is_empty() {
            out.satisfied += 1;
        } else if out.violating.len() < MAX_SHOWN {
            out.violating.push(ViolatingOut { id, schema_version, violations });
        }
    }
    Ok(Ok(out))
}

/// What `pick` takes of the newest events of a type, at most `last`.
async fn pages<T>(
    api: &Api,
    application: ApplicationId,
    name: &EventTypeName,
    last: u32,
    pick: impl Fn(&StoredEvent) -> Option<T>,
) -> Result<Vec<T>, Problem> {
    let filter = EventFilter { event_type: Some(name.clone().into()), ..EventFilter::default() };
    let (mut before, mut picked) = (None, Vec::new());
    let mut left = last;
    while left > 0 {
        let page = api.store.events(application, &filter, before, PAGE.min(left)).await;
        let page = page.map_err(|error| refusal::store(error, &Subject::new("event", "list")))?;
        let Some(oldest) = page.items.last() else { break };
        before = Some(oldest.event.id);
        left = left.saturating_sub(page.items.len() as u32);
        picked.extend(page.items.iter().filter_map(&pick));
        if !page.more {
            break;
        }
    }
    Ok(picked)
}

/// Changes to a version; what is left out stays. Its schema never changes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"deprecated": true, "sunset_at": "2027-01-01T00:00:00Z"}))]
pub struct SchemaVersionPatch {
    /// Whether producers should leave it. Publishing answers say so in headers.
    deprecated: Option<bool>,
    /// When it is said to end. Refused unless it is deprecated, or `deprecated` is given with it.
    /// Nothing ends by itself.
    #[serde(default, deserialize_with = "super::extract::nullable_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    sunset_at: Option<Option<Timestamp>>,
}

/// Deprecate a schema version
#[utoipa::path(
    patch,
    path = "/v1/event-types/{name}/versions/{version}",
    tag = "Event types",
    params(
        ("name" = String, Path, description = "For example `order.created`"),
        ("version" = u32, Path, description = "From 1")
    ),
    request_body = SchemaVersionPatch,
    responses((status = 200, body = SchemaVersion), Missing)
)]
pub async fn change_schema_version(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, u32)>,
    expected: IfMatch,
    JsonBody(patch): JsonBody<SchemaVersionPatch>,
) -> Result<Tagged<SchemaVersion>, Problem> {
    let (name, _) = named(&api, &name)?;
    let subject = Subject::new("schema version", format_args!("{version} of {name}"));
    let change = LifecycleChange { deprecated: patch.deprecated, sunset_at: patch.sunset_at };
    let fits = |now: &SchemaVersion| expected.allows(&Tag::of(now));
    let changed = api.catalog.change_schema_lifecycle(&name, version, fits, change).await;
    let changed = changed.map_err(|error| refusal::catalog(error, &subject))?;
    Ok(Tagged(Tag::of(&changed), changed))
}

/// The headers that say that what was used is deprecated (RFC 9745), and when it ends (RFC 8594).
pub fn warnings(lifecycle: Lifecycle) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(since) = lifecycle.deprecated_at else { return headers };
    let mut put = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("deprecation", format!("@{}", since.as_second()));
    let printed =
        lifecycle.sunset_at.map(|at| DateTimePrinter::new().timestamp_to_rfc9110_string(&at));
    if let Some(Ok(text)) = printed {
        put("sunset", text);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_ends_when_it_has_read_or_worked_enough() {
        let mut effort = Effort::default();
        assert!(effort.allows(Effort::MAX_BYTES - 1) && effort.allows(1) && !effort.allows(1));
        let mut slow = Effort::default();
        slow.took += Effort::LONGEST;
        assert!(!slow.allows(0));
    }

    #[test]
    fn warnings_have_the_forms_of_their_standards() {
        let lifecycle = Lifecycle {
            deprecated_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            sunset_at: Some("2027-06-30T12:00:00Z".parse().unwrap()),
        };
        let headers = warnings(lifecycle);
        assert_eq!(headers["deprecation"], "@1767225600");
        assert_eq!(headers["sunset"], "Wed, 30 Jun 2027 12:00:00 GMT");
        assert!(warnings(Lifecycle::default()).is_empty());
    }
}
