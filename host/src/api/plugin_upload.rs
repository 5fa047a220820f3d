//! `POST /v1/plugins`: uploading components.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Json, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Api,
    applications::created,
    auth::{Acting, Manage},
    docs::{Taken, Unacceptable, Uncompiled},
    extract::{QueryParams, bytes_of},
    limits,
    plugins::version_subject,
    problem::Problem,
    refusal,
};
use crate::{catalog::CatalogError, model::PluginVersion};

/// How to take an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Whether every application may use it. If not, only the acting one may.
    #[serde(default)]
    shared: bool,
    /// Whether `live` moves to it. A first version is live in any case.
    #[serde(default = "yes")]
    #[param(default = true)]
    live: bool,
}

fn yes() -> bool {
    true
}

/// Upload a plugin
///
/// The body is a WebAssembly component, or a core module that carries the world it was
/// built for. Its name and version are those of its manifest. Uploading the same bytes again
/// changes nothing and answers 200; a version never changes its bytes.
#[utoipa::path(
    post,
    path = "/v1/plugins",
    tag = "Plugins",
    params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 201, body = PluginVersion, description = "It is new"),
        (status = 200, body = PluginVersion, description = "It was there"),
        Taken, Unacceptable, Uncompiled
    )
)]
pub async fn upload_plugin(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<UploadQuery>,
    request: Request,
) -> Result<Response, Problem> {
    if query.shared {
        acting.must_be_admin()?;
    }
    let types = ["application/wasm", "application/octet-stream"];
    let upload = bytes_of(request, &types, api.limits.load().max_upload).await?;
    let inspected = api.runtime.inspect(upload).await.map_err(refusal::plugin)?;
    let version = PluginVersion {
        application: if query.shared { None } else { Some(acting.application.id) },
        name: inspected.manifest.name.clone(),
        version: inspected.manifest.version.clone(),
        sha256: inspected.sha256,
        kind: inspected.kind,
        size: inspected.component.len() as u64,
        interface: inspected.interface,
        manifest: inspected.manifest,
        live: query.live,
        created_at: api.clock.now(),
    };
    let same = |known: &Arc<PluginVersion>| {
        known.application == version.application
            && known.name == version.name
            && known.version == version.version
    };
    let is_new = !api.catalog.plugins(acting.application.id).iter().any(same);
    if is_new && !query.shared {
        limits::one_more_plugin(&api, acting.application.id)?;
    }
    let subject = version_subject(&version.name, &version.version);
    // Finished although the client goes away: memory must not stay behind the store.
    let adding = {
        let catalog = Arc::clone(&api.catalog);
        let by = Arc::clone(&acting.by);
        tokio::spawn(async move {
            let sha256 = version.sha256;
            let added = catalog.add_plugin(version, inspected.component, &by).await;
            if added.is_err() {
                catalog.forget_upload(sha256).await;
            }
            added
        })
    };
    let saved = adding
        .await
        .map_err(|cause| Problem::internal("adding a plugin", &cause))?
        .map_err(|error| match error {
            CatalogError::Exists => subject.exists().detail(
                "It has other bytes, and a version never changes. Raise the version and upload \
                 again.",
            ),
            other => refusal::catalog(other, &subject),
        })?;
    let saved = Arc::unwrap_or_clone(saved);
    if is_new {
        let location = format!("/v1/plugins/{}/versions/{}", saved.name, saved.version);
        Ok(created(location, saved).into_response())
    } else {
        Ok(Json(saved).into_response())
    }
}
