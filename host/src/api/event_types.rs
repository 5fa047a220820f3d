//! `/v1/event-types`: names of events, and the schemas of their payloads.

use std::{cmp::Reverse, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{Json, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    applications::{Created, created},
    auth::{Acting, Admin, Known, Manage, Read},
    docs::{Breaking, Missing, Taken, Unusable, Used},
    events::{EventSummary, page_of_events},
    extract::{JsonBody, PathParts, QueryParams, check_text, nullable},
    limit_documents,
    page::{PageOut, PageQuery, Paging},
    preconditions::{IfMatch, IfNoneMatch, Tag, Tagged},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
};
use crate::{
    catalog::{EventTypeChange, LifecycleChange},
    model::{
        Compatibility, EventType, EventTypeName, Holder, Lifecycle, SchemaMode, SchemaVersion,
        Timestamp, media,
    },
    operational,
    schema::Finding,
    store::EventFilter,
};

const MAX_DESCRIPTION: usize = 2000;

/// An event type to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "order.created",
    "description": "A customer placed an order.",
    "mode": "enforce",
    "schema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
}))]
pub struct EventTypeIn {
    /// 1 to 8 segments of letters, digits, `_` and `-`, joined by dots; at most 128 bytes.
    name: String,
    /// For people.
    description: Option<String>,
    /// What a violation of its schema leads to.
    #[serde(default)]
    mode: SchemaMode,
    /// Media types and ranges such as `text/*` that its payloads may have; JSON alone if left
    /// out. The schema is for those that are JSON.
    #[schema(min_items = 1, max_items = 20, example = json!(["application/json"]))]
    content_types: Option<Vec<String>>,
    /// What a new version of its schema must be to the last.
    #[serde(default)]
    compatibility: Compatibility,
    /// Version 1 of its schema: a JSON Schema of draft 4, 6, 7, 2019-09 or 2020-12.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
}

/// Changes to an event type; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mode": "warn"}))]
pub struct EventTypePatch {
    /// For people; null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// What a violation of its schema leads to.
    mode: Option<SchemaMode>,
    /// Media types and ranges such as `text/*` that its payloads may have.
    #[schema(min_items = 1, max_items = 20)]
    content_types: Option<Vec<String>>,
    /// What a new version of its schema must be to the last.
    compatibility: Option<Compatibility>,
    /// Whether producers should leave it. Publishing answers say so in headers.
    deprecated: Option<bool>,
    /// When it is said to end. Refused unless it is deprecated, or `deprecated` is given with it.
    /// Nothing ends by itself.
    #[serde(default, deserialize_with = "super::extract::nullable_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    sunset_at: Option<Option<Timestamp>>,
    /// Whether it takes no more events. Those it has stay.
    archived: Option<bool>,
}

/// A schema to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"schema": {"type": "object", "required": ["id", "total"]}}))]
pub struct SchemaIn {
    /// A JSON Schema of draft 4, 6, 7, 2019-09 or 2020-12.
    #[schema(value_type = Object)]
    schema: Value,
    /// What it must be to the last version; what the event type says, if left out.
    compatibility: Option<Compatibility>,
    /// Take it although something cannot be told. What surely breaks is refused all the same.
    #[serde(default)]
    accept_unknown: bool,
}

/// An event type with its newest schema.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypeOut {
    #[serde(flatten)]
    event_type: EventType,
    /// The newest schema, if it has one.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
}

/// Violations are counted over all applications: a count would tell one of the others.
fn without_count(event_type: &mut EventType) {
    event_type.violations = 0;
}

/// The name in a path, if a thing of that name can be.
pub fn named(api: &Api, text: &str) -> Result<(EventTypeName, Subject), Problem> {
    let subject = Subject::new("event type", text);
    match text.parse() {
        Ok(name) => Ok((name, subject)),
        Err(_) => Err(missing(api, &subject, text)),
    }
}

fn missing(api: &Api, subject: &Subject, name: &str) -> Problem {
    subject
        .not_found()
        .did_you_mean(api.catalog.closest_event_type(name).map(|name| name.to_string()))
}

/// One of the server's own types, as old as time: nobody made it.
fn own(name: EventTypeName, builtin: &operational::Builtin) -> EventTypeOut {
    let event_type = EventType {
        name,
        description: Some(builtin.description.to_owned()),
        mode: SchemaMode::Enforce,
        content_types: vec![media::JSON.to_owned()],
        latest_version: 1,
        violations: 0,
        created_at: Timestamp::UNIX_EPOCH,
        compatibility: Compatibility::None,
        lifecycle: Lifecycle::default(),
        archived_at: None,
    };
    EventTypeOut { event_type, schema: Some(builtin.schema()) }
}

fn check_description(description: Option<&str>) -> Result<(), Problem> {
    let error =
        description.and_then(|text| check_text("/description", text, MAX_DESCRIPTION).err());
    match error {
        None => Ok(()),
        Some(error) => {
            Err(Problem::new(Code::InvalidField, "The description cannot be used").errors([error]))
        }
    }
}

/// The kinds of payload given, each once, in the order given; JSON if none is.
fn content_types(given: Option<Vec<String>>) -> Result<Option<Vec<String>>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let refused = |at: String, why: &str| {
        Problem::new(Code::InvalidField, "The content types cannot be used")
            .errors([FieldError::new(at, why)])
    };
    if given.is_empty() || given.len() > media::MAX_RANGES {
        let why = format!("must have 1 to {} entries", media::MAX_RANGES);
        return Err(refused("/content_types".to_owned(), &why));
    }
    let mut all: Vec<String> = Vec::with_capacity(given.len());
    for (index, range) in given.into_iter().enumerate() {
        let range = range.trim().to_ascii_lowercase();
        if !media::is_range(&range) {
            let why =
                "is no media type or range: write text/xml, text/* or */*, without parameters";
            return Err(refused(format!("/content_types/{index}"), why));
        }
        if !all.contains(&range) {
            all.push(range);
        }
    }
    Ok(Some(all))
}

/// Create an event type
#[utoipa::path(
    post,
    path = "/v1/event-types",
    tag = "Event types",
    request_body = EventTypeIn,
    responses((status = 201, body = EventType), Taken, Unusable)
)]
pub async fn create_event_type(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<EventTypeIn>,
) -> Result<Created<EventType>, Problem> {
    check_description(given.description.as_deref())?;
    let content_types =
        content_types(given.content_types)?.unwrap_or_else(|| vec![media::JSON.to_owned()]);
    let subject = Subject::new("event type", &given.name);
    let name: EventTypeName = given.name.parse().map_err(|why: &str| {
        Problem::new(Code::InvalidName, "The name cannot be an event type's")
            .errors([FieldError::new("/name", why)])
    })?;
    if name.is_reserved() {
        let title = format!("{name} would be one of the server's own event types");
        return Err(Problem::new(Code::ReservedEventType, title)
            .detail("Choose a name that does not begin with `hookmill`."));
    }
    let event_type = api
        .catalog
        .create_event_type(
            name,
            given.description,
            given.mode,
            content_types,
            given.compatibility,
            given.schema,
        )
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    Ok(created(format!("/v1/event-types/{}", event_type.name), event_type))
}

/// List event types
///
/// By name.
#[utoipa::path(
    get,
    path = "/v1/event-types",
    tag = "Event types",
    params(PageQuery),
    responses((status = 200, body = PageOut<EventType>))
)]
pub async fn list_event_types(
    by: Known<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<EventType>>, Problem> {
    let paging = Paging::<String>::new("type", query.limit, query.cursor.as_deref())?;
    let mut all = api
        .catalog
        .event_types()
        .await
        .map_err(|error| refusal::catalog(error, &Subject::new("event types", "")))?;
    if !by.identity.is_admin() {
        all.iter_mut().for_each(without_count);
    }
    // The cursor's order must be this list's, whatever order the catalog keeps.
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(paging.slice(all, |item| item.name.to_string(), |name, after| name > after)))
}

/// Get an event type
///
/// With its newest schema.
#[utoipa::path(
    get,
    path = "/v1/event-types/{name}",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    responses((status = 200, body = EventTypeOut), Missing)
)]
pub async fn get_event_type(
    by: Known<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let (name, subject) = named(&api, &name)?;
    if let Some(builtin) = operational::builtin(name.as_str()) {
        let shown = own(name, builtin);
        return Ok(known.answer(tag(&shown.event_type), shown));
    }
    if api.catalog.event_type(&name).is_none() {
        return Err(missing(&api, &subject, name.as_str()));
    }
    // The catalog's own copy does not count violations; the store does.
    let mut event_type =
        api.store.event_type(&name).await.map_err(|error| refusal::store(error, &subject))?;
    if !by.identity.is_admin() {
        without_count(&mut event_type);
    }
    let schema = schemas(&api, &name, &subject).await?.into_iter().next().map(|s| s.schema);
    Ok(known.answer(tag(&event_type), EventTypeOut { event_type, schema }))
}

/// What tells a state of an event type from any other. What is only counted does not change it:
/// an editor is not to be refused because an event came.
fn tag(event_type: &EventType) -> Tag {
    Tag::of(&EventType { violations: 0, ..event_type.clone() })
}

/// Change an event type
///
/// All of what is given, or nothing.
#[utoipa::path(
    patch,
    path = "/v1/event-types/{name}",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    request_body = EventTypePatch,
    responses((status = 200, body = EventType), Missing)
)]
pub async fn change_event_type(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    expected: IfMatch,
    JsonBody(patch): JsonBody<EventTypePatch>,
) -> Result<Tagged<EventType>, Problem> {
    let (name, subject) = named(&api, &name)?;
    if api.catalog.event_type(&name).is_none() {
        return Err(missing(&api, &subject, name.as_str()));
    }
    if let Some(given) = &patch.description {
        check_description(given.as_deref())?;
    }
    let change = EventTypeChange {
        description: patch.description,
        mode: patch.mode,
        content_types: content_types(patch.content_types)?,
        compatibility: patch.compatibility,
        lifecycle: LifecycleChange { deprecated: patch.deprecated, sunset_at: patch.sunset_at },
        archived: patch.archived,
    };
    let fits = |now: &EventType| expected.allows(&tag(now));
    let changed = api.catalog.change_event_type(&name, fits, change).await;
    let changed = changed.map_err(|error| refusal::catalog(error, &subject))?;
    Ok(Tagged(tag(&changed), changed))
}

/// Delete an event type
///
/// Refused while events of the type are stored.
#[utoipa::path(
    delete,
    path = "/v1/event-types/{name}",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    responses((status = 204, description = "It is gone"), Missing, Used)
)]
pub async fn delete_event_type(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    let (name, subject) = named(&api, &name)?;
    let _changing = api.changing_limits.lock().await;
    api.catalog
        .delete_event_type(&name, |now| expected.allows(&tag(now)))
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    limit_documents::forget(&api, &Holder::EventType(name));
    Ok(StatusCode::NO_CONTENT)
}

/// Add a schema version
///
/// Events that name no version are checked against the newest.
#[utoipa::path(
    post,
    path = "/v1/event-types/{name}/versions",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`")),
    request_body = SchemaIn,
    responses((status = 201, body = SchemaVersion), Missing, Unusable, Breaking)
)]
pub async fn add_schema_version(
    _: Admin<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    JsonBody(given): JsonBody<SchemaIn>,
) -> Result<Created<SchemaVersion>, Problem> {
    let (name, subject) = named(&api, &name)?;
    let accept = |finding: &Finding| given.accept_unknown && !finding.certain;
    let version = api
        .catalog
        .add_schema(&name, given.schema, given.compatibility, accept)
        .await
        .map_err(|error| refusal::catalog(error, &subject))?;
    Ok(created(format!("/v1/event-types/{name}/versions/{}", version.version), version))
}

/// An event type's schemas, newest first.
async fn schemas(
    api: &Api,
    name: &EventTypeName,
    subject: &Subject,
) -> Result<Vec<SchemaVersion>, Problem> {
    let mut all =
        api.catalog.schemas(name).await.map_err(|error| refusal::catalog(error, subject))?;
    all.sort_unstable_by_key(|schema| Reverse(schema.version));
    Ok(all)
}

/// List schema versions
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/event-types/{name}/versions",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`"), PageQuery),
    responses((status = 200, body = PageOut<SchemaVersion>), Missing)
)]
pub async fn list_schema_versions(
    _: Known<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<SchemaVersion>>, Problem> {
    let paging = Paging::<u32>::new("schema", query.limit, query.cursor.as_deref())?;
    let (name, subject) = named(&api, &name)?;
    let all = schemas(&api, &name, &subject).await?;
    Ok(Json(paging.slice(all, |schema| schema.version, |version, after| version < after)))
}

/// Get a schema version
#[utoipa::path(
    get,
    path = "/v1/event-types/{name}/versions/{version}",
    tag = "Event types",
    params(
        ("name" = String, Path, description = "For example `order.created`"),
        ("version" = u32, Path, description = "From 1")
    ),
    responses((status = 200, body = SchemaVersion), Missing)
)]
pub async fn get_schema_version(
    _: Known<Read>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, u32)>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let (name, subject) = named(&api, &name)?;
    let all = schemas(&api, &name, &subject).await?;
    let found = all.into_iter().find(|schema| schema.version == version).ok_or_else(|| {
        Subject::new("schema version", format_args!("{version} of {name}")).not_found()
    })?;
    Ok(known.answer(Tag::of(&found), found))
}

/// List violating events
///
/// Events of the acting application that were accepted although they violate the schema
/// (mode `warn`), newest first, each with its violations.
#[utoipa::path(
    get,
    path = "/v1/event-types/{name}/violations",
    tag = "Event types",
    params(("name" = String, Path, description = "For example `order.created`"), PageQuery),
    responses((status = 200, body = PageOut<EventSummary>), Missing)
)]
pub async fn list_violations(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<EventSummary>>, Problem> {
    let (name, subject) = named(&api, &name)?;
    if api.catalog.event_type(&name).is_none() {
        return Err(missing(&api, &subject, name.as_str()));
    }
    let filter =
        EventFilter { event_type: Some(name.into()), violating: true, ..EventFilter::default() };
    page_of_events(&api, &acting, &filter, query.limit, query.cursor.as_deref()).await.map(Json)
}
