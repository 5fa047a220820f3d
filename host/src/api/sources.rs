//! `/v1/sources`: inbound endpoints for third parties.

use std::{ops::Deref, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{Json, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    applications::{Created, created},
    auth::{Acting, Actor, Manage, ManageWhoPublishes, Read},
    docs::{BadSource, Missing, Taken},
    extract::{JsonBody, PathId, QueryParams},
    page::{PageOut, PageQuery, Paging},
    preconditions::{IfMatch, IfNoneMatch, Tag, Tagged},
    problem::{Code, FieldError, Problem},
    refusal::{self, Subject},
    source_io::{SourceCreated, SourceIn, SourceOut, SourcePatch, check},
};
use crate::{
    model::{
        SecretText, Source, SourceId, SourceSecret, SourceSecretId, SourceSettings, Step,
        Timestamp, UnknownTypes,
    },
    sources::{MAX_SOURCES, NotChanged, Refused, check_secret},
    store::StoreError,
};

/// Random bytes of a secret that is made here.
const SECRET_BYTES: usize = 32;

fn subject(name: impl std::fmt::Display) -> Subject {
    Subject::new("source", name)
}

/// The acting application's source of this id.
pub fn find(api: &Api, acting: &Actor, id: SourceId) -> Result<Arc<Source>, Problem> {
    api.sources
        .source(id)
        .filter(|found| found.application == acting.application.id)
        .ok_or_else(|| subject(id).not_found())
}

/// A secret for both sides, in a form that is good as text, as hexadecimal and as base64.
pub fn new_secret() -> Result<SecretText, Problem> {
    let mut bits = [0u8; SECRET_BYTES];
    getrandom::fill(&mut bits).map_err(|cause| Problem::internal("making a secret", &cause))?;
    Ok(SecretText::new(hex::encode(bits)))
}

/// A text as a secret of a source, if it can be one.
pub fn secret_of(
    source: &Source,
    text: SecretText,
    now: Timestamp,
) -> Result<SourceSecret, Problem> {
    check_secret(source, text.reveal()).map_err(|why| {
        Problem::new(Code::InvalidSource, "The secret cannot be used")
            .errors([FieldError::new("/secret", why)])
    })?;
    Ok(SourceSecret { id: SourceSecretId::new(now), text, created_at: now, expires_at: None })
}

/// Event types are the platform's. A source that creates them takes their names from what comes
/// in, so it is for an admin to say so, and how such a source finds names.
fn may_create_types(acting: &Actor, old: Option<&Source>, new: &Source) -> Result<(), Problem> {
    let is_as_before = old.is_some_and(|old| {
        old.settings.unknown_event_types == UnknownTypes::Create
            && old.settings.event_type == new.settings.event_type
    });
    if new.settings.unknown_event_types != UnknownTypes::Create || is_as_before {
        return Ok(());
    }
    acting.must_be_admin().map_err(|refused| {
        refused.detail(
            "Event types are the platform's: an admin key may let a source create them, or \
             create them beforehand.",
        )
    })
}

/// Why a source was not changed: what the store says, or what was found wrong with the change.
pub fn not_changed(error: NotChanged<Problem>, subject: &Subject) -> Problem {
    match error {
        NotChanged::Store(error) => refusal::store(error, subject),
        NotChanged::Refused(problem) => problem,
    }
}

/// Refuses steps whose plugin is not there, or does not take their config.
async fn check_steps(api: &Api, source: &Source, steps: &[Step]) -> Result<(), Problem> {
    let ready = api.catalog.ready_steps(source.application, steps, true).await;
    ready.map(drop).map_err(|error| refusal::catalog(error, &subject(&source.name)))
}

/// Create a source
///
/// The answer has its path, and its secret if one was made, which is not shown again.
#[utoipa::path(
    post,
    path = "/v1/sources",
    tag = "Sources",
    request_body = SourceIn,
    responses((status = 201, body = SourceCreated), Taken, BadSource)
)]
pub async fn create_source(
    acting: Acting<ManageWhoPublishes>,
    State(api): State<Arc<Api>>,
    JsonBody(given): JsonBody<SourceIn>,
) -> Result<Created<SourceCreated>, Problem> {
    let now = api.clock.now();
    let mut source = Source {
        id: SourceId::new(now),
        application: acting.application.id,
        name: given.name,
        settings: SourceSettings {
            kind: given.kind,
            hmac: given.hmac,
            username: given.username,
            tolerance_seconds: given.tolerance_seconds,
            event_type: given.event_type.or_else(|| given.kind.event_type()).unwrap_or_default(),
            delivery_id: given.delivery_id,
            repetitions: given.repetitions,
            subject: given.subject,
            unknown_event_types: given.unknown_event_types,
            pipeline: given.pipeline,
            created_event_types: 0,
        },
        secrets: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    check(&source)?;
    may_create_types(&acting, None, &source)?;
    check_steps(&api, &source, &source.settings.pipeline).await?;
    let mut shown = None;
    let secret = match given.secret {
        Some(secret) => Some(secret),
        None if given.kind.takes_our_secret() => {
            let made = new_secret()?;
            shown = Some(made.reveal().to_owned());
            Some(made)
        }
        None => None,
    };
    if let Some(secret) = secret {
        source.secrets.push(secret_of(&source, secret, now)?);
    }
    let subject = subject(&source.name);
    let saved = api.sources.create(source).await.map_err(|error| match error {
        StoreError::InUse(_) => {
            let why = format!("the application has {MAX_SOURCES} sources; delete one first");
            Problem::new(Code::InvalidSource, "There is no room for another source")
                .errors([FieldError::new("", why)])
        }
        other => refusal::store(other, &subject),
    })?;
    let location = format!("/v1/sources/{}", saved.id);
    Ok(created(location, SourceCreated { source: SourceOut::new(&saved, now), secret: shown }))
}

/// List sources
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/sources",
    tag = "Sources",
    params(PageQuery),
    responses((status = 200, body = PageOut<SourceOut>))
)]
pub async fn list_sources(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<SourceOut>>, Problem> {
    let paging = Paging::<SourceId>::new("src", query.limit, query.cursor.as_deref())?;
    let now = api.clock.now();
    let all = api.sources.of(acting.application.id);
    let shown = all.iter().map(|source| SourceOut::new(source, now));
    Ok(Json(paging.slice(shown, |source| source.id, |id, after| id < after)))
}

/// Get a source
#[utoipa::path(
    get,
    path = "/v1/sources/{id}",
    tag = "Sources",
    params(("id" = SourceId, Path, description = "The source")),
    responses((status = 200, body = SourceOut), Missing)
)]
pub async fn get_source(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SourceId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let shown = SourceOut::new(&*find(&api, &acting, id)?, api.clock.now());
    Ok(known.answer(Tag::of(&shown), shown))
}

/// Refuses a change that is meant for another state of the source. A secret that has ended since
/// is a change, too.
pub fn expect(expected: &IfMatch, source: &Source, now: Timestamp) -> Result<(), Problem> {
    expected.require(&Tag::of(&SourceOut::new(source, now)))
}

/// Change a source
#[utoipa::path(
    patch,
    path = "/v1/sources/{id}",
    tag = "Sources",
    params(("id" = SourceId, Path, description = "The source")),
    request_body = SourcePatch,
    responses((status = 200, body = SourceOut), Missing, Taken, BadSource)
)]
pub async fn change_source(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SourceId>,
    expected: IfMatch,
    JsonBody(patch): JsonBody<SourcePatch>,
) -> Result<Tagged<SourceOut>, Problem> {
    let (found, now) = (find(&api, &acting, id)?, api.clock.now());
    expect(&expected, &found, now)?;
    let mut tried = Source::clone(&found);
    let name = patch.name.clone().unwrap_or_else(|| id.to_string());
    // A config that a forced version broke must not stand in the way of other changes.
    let has_steps = patch.pipeline.is_some();
    patch.clone().apply(&mut tried);
    check(&tried)?;
    if has_steps {
        check_steps(&api, &tried, &tried.settings.pipeline).await?;
    }
    let actor = acting.deref().clone();
    let saved = api
        .sources
        .change(id, move |source| {
            expect(&expected, source, now)?;
            // To the source as it is: another change may have been made meanwhile.
            let before = source.clone();
            patch.apply(source);
            check(source)?;
            may_create_types(&actor, Some(&before), source)
        })
        .await
        .map_err(|error| not_changed(error, &subject(name)))?;
    let shown = SourceOut::new(&saved, now);
    Ok(Tagged(Tag::of(&shown), shown))
}

/// Delete a source
///
/// Its URL takes nothing any more. What came in by it stays.
#[utoipa::path(
    delete,
    path = "/v1/sources/{id}",
    tag = "Sources",
    params(("id" = SourceId, Path, description = "The source")),
    responses((status = 204, description = "It is gone"), Missing)
)]
pub async fn delete_source(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SourceId>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    find(&api, &acting, id)?;
    let now = api.clock.now();
    api.sources
        .delete(id, |source| expect(&expected, source, now))
        .await
        .map_err(|error| refusal::store(error, &subject(id)))??;
    Ok(StatusCode::NO_CONTENT)
}

/// The last requests that a source refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusalsOut {
    /// Since when they are kept: the server's start, or later if there were too many.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Newest first: of verified requests the last 100, of others each reason once.
    data: Vec<Refused>,
}

/// List what a source refused
///
/// They are in memory only, since the time in `since`. Those that were verified are events that
/// were not taken; of the others nothing is kept but the reason.
#[utoipa::path(
    get,
    path = "/v1/sources/{id}/refusals",
    tag = "Sources",
    params(("id" = SourceId, Path, description = "The source")),
    responses((status = 200, body = RefusalsOut), Missing)
)]
pub async fn list_refusals(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SourceId>,
) -> Result<Json<RefusalsOut>, Problem> {
    find(&api, &acting, id)?;
    let (since, data) = api.sources.refusals(id);
    Ok(Json(RefusalsOut { since, data }))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn a_secret_that_is_made_fits_however_it_becomes_a_key() {
        let made = new_secret().unwrap();
        assert_eq!(hex::decode(made.reveal()).unwrap().len(), SECRET_BYTES);
        assert!(STANDARD.decode(made.reveal()).is_ok());
        assert_ne!(made, new_secret().unwrap());
    }
}
