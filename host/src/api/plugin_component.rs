//! `GET /v1/plugins/{name}/versions/{version}/component`: the bytes of a plugin version.
//!
//! What runs here can be run elsewhere: by its author, over the inputs of a delivery.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    auth::{Acting, Read},
    docs::Missing,
    extract::{PathParts, QueryParams},
    plugins::{OwnerQuery, version_of, version_subject},
    problem::Problem,
    refusal,
};
use crate::store::StoreError;

/// Get a plugin version's component
///
/// The WebAssembly component that runs, as it was uploaded or made from the upload. Its ETag is
/// its SHA-256; a version never changes its bytes.
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/versions/{version}/component",
    tag = "Plugins",
    params(
        ("name" = String, Path, description = "The plugin"),
        ("version" = String, Path, description = "For example `1.2.0`"),
        OwnerQuery
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/wasm"),
        (status = 304, description = "The header If-None-Match names these very bytes"),
        Missing
    )
)]
pub async fn get_plugin_component(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, String)>,
    QueryParams(query): QueryParams<OwnerQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = version_of(&api, &acting, &name, Some(&version), query.shared)?;
    let tag = format!("\"{}\"", found.sha256);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let subject = version_subject(&name, &version);
    let component = api.store.component(&found.sha256).await.map_err(|error| match error {
        StoreError::NotFound => subject.not_found().detail(
            "Its component is gone: the version was deleted while this request was under way.",
        ),
        other => refusal::store(other, &subject),
    })?;
    let headers = [(header::CONTENT_TYPE, "application/wasm".to_owned()), (header::ETAG, tag)];
    Ok((headers, component).into_response())
}

/// Whether the client says that it has these bytes.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_bytes_need_not_get_them() {
        let known = |value: &str| {
            is_known(
                &HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]),
                "\"ab\"",
            )
        };
        assert!(known("\"ab\"") && known("\"x\", W/\"ab\"") && known("*"));
        assert!(!known("\"abc\"") && !known("ab"));
        assert!(!is_known(&HeaderMap::new(), "\"ab\""));
    }
}
