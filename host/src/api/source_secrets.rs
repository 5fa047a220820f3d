//! A source's secrets: another beside or in place of those there are, one less.
//!
//! A secret is shown once, by what made it, and only if it was made here.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Acting, Manage, ManageWhoPublishes},
    docs::{BadSource, Missing},
    extract::{OptionalJsonBody, PathId, PathParts},
    preconditions::IfMatch,
    problem::{Code, FieldError, Problem},
    refusal::Subject,
    source_io::SourceSecretOut,
    sources::{expect, find, new_secret, not_changed, secret_of},
};
use crate::model::{SecretText, SourceId, SourceSecretId};

/// Most secrets that verify at once: each that does not fit costs time.
const MAX_SECRETS: usize = 5;
/// Longest time that replaced secrets go on verifying: a week.
const MAX_GRACE: u32 = 7 * 24 * 3600;

/// A secret to add.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"others_expire_in_seconds": 86_400}))]
pub struct SourceSecretIn {
    /// The third party's, or one for both sides; made if none is given, where the third party
    /// takes one of ours. Never shown again.
    #[schema(value_type = Option<String>, write_only)]
    secret: Option<SecretText>,
    /// When those there are verify no more: at most in 7 days. Left out, they stay.
    #[schema(maximum = 604_800)]
    others_expire_in_seconds: Option<u32>,
}

/// A secret just added.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceSecretAdded {
    #[serde(flatten)]
    about: SourceSecretOut,
    /// The secret, if it was made here. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Add a secret to a source, or replace those it has
///
/// Requests are taken if any one of its secrets made their signature. With
/// `others_expire_in_seconds` the others end, then or at once: that is how a secret is rotated.
#[utoipa::path(
    post,
    path = "/v1/sources/{id}/secrets",
    tag = "Sources",
    params(("id" = SourceId, Path, description = "The source")),
    request_body = Option<SourceSecretIn>,
    responses((status = 201, body = SourceSecretAdded), Missing, BadSource)
)]
pub async fn add_source_secret(
    acting: Acting<ManageWhoPublishes>,
    State(api): State<Arc<Api>>,
    PathId(id): PathId<SourceId>,
    expected: IfMatch,
    OptionalJsonBody(given): OptionalJsonBody<SourceSecretIn>,
) -> Result<(StatusCode, Json<SourceSecretAdded>), Problem> {
    let found = find(&api, &acting, id)?;
    let now = api.clock.now();
    let refused = |at: &str, why: String| {
        Problem::new(Code::InvalidSource, "The secret cannot be added")
            .errors([FieldError::new(at, why)])
    };
    let grace = given.others_expire_in_seconds;
    if let Some(grace) = grace.filter(|&grace| grace > MAX_GRACE) {
        let why = format!("is {grace}; at most {MAX_GRACE} are allowed");
        return Err(refused("/others_expire_in_seconds", why));
    }
    let kind = found.settings.kind;
    let (text, shown) = match given.secret {
        Some(text) => (text, None),
        None if kind.takes_our_secret() => {
            let made = new_secret()?;
            let shown = made.reveal().to_owned();
            (made, Some(shown))
        }
        None => {
            let why = format!("is needed: the kind {} has a secret of its own", kind.as_str());
            return Err(refused("/secret", why));
        }
    };
    let secret = secret_of(&found, text, now)?;
    let about = SourceSecretOut::from(&secret);
    let end = grace.map(|grace| now + Duration::from_secs(grace.into()));
    api.sources
        .change(id, move |source| {
            expect(&expected, source, now)?;
            let active = source.secrets.iter().filter(|secret| secret.is_active(now)).count();
            if grace != Some(0) && active >= MAX_SECRETS {
                let why = format!("there are {MAX_SECRETS} secrets already; remove one first");
                return Err(refused("", why));
            }
            for old in &mut source.secrets {
                // One that ends earlier anyway does so.
                old.expires_at = old.expires_at.into_iter().chain(end).min();
            }
            source.secrets.retain(|old| old.is_active(now));
            if source.secrets.len() >= MAX_SECRETS {
                let why = format!("there are {MAX_SECRETS} secrets already; remove one first");
                return Err(refused("", why));
            }
            source.secrets.insert(0, secret);
            Ok(())
        })
        .await
        .map_err(|error| not_changed(error, &Subject::new("source", id)))?;
    Ok((StatusCode::CREATED, Json(SourceSecretAdded { about, secret: shown })))
}

/// Remove a secret of a source
///
/// What it signed is refused from now on. A source without any refuses everything.
#[utoipa::path(
    delete,
    path = "/v1/sources/{id}/secrets/{secret}",
    tag = "Sources",
    params(
        ("id" = SourceId, Path, description = "The source"),
        ("secret" = SourceSecretId, Path, description = "The secret's id"),
    ),
    responses((status = 204, description = "It verifies no more"), Missing)
)]
pub async fn remove_source_secret(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts((id, secret)): PathParts<(SourceId, SourceSecretId)>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    find(&api, &acting, id)?;
    let now = api.clock.now();
    api.sources
        .change(id, move |source| {
            if !source.secrets.iter().any(|known| known.id == secret) {
                return Err(Subject::new("secret", secret).not_found());
            }
            expect(&expected, source, now)?;
            source.secrets.retain(|known| known.id != secret);
            Ok(())
        })
        .await
        .map_err(|error| not_changed(error, &Subject::new("source", id)))?;
    Ok(StatusCode::NO_CONTENT)
}
