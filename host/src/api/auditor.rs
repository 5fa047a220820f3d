//! Writes down every change that is made over the API: around the routes, so that no route can
//! forget it.
//!
//! An entry is stored before the change, and completed before the answer: a crash in between
//! leaves one whose outcome is unknown, never a change without an entry. What is refused before it
//! writes anything costs the disk nothing. How a thing was and is is what the API shows of it,
//! which has no secrets.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    Api,
    auth::{APPLICATION_HEADER, Identity, identify, named, within_portal},
    docs, finish,
    limits::{self, Counted},
    observe::RequestId,
    refusal::{self, Subject},
    routes,
};
use crate::{
    access::Kind,
    model::{ApplicationId, AuditEntry, AuditId, ChangeOutcome, KeyScope},
    store::noted,
};

/// Largest document that is kept, in bytes.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Where the limits of a thing are, below it.
const LIMITS: &str = "/limits";
/// Longest name of a thing.
const MAX_NAME: usize = 200;
/// What is asked for by POST and changes nothing that is kept, or is an event of a producer's.
pub(super) const NO_CHANGES: [&str; 5] =
    ["publish_event", "publish_batch", "run_plugin", "match_subscription", "check_schema_version"];

/// What is done by other tasks than the request's, or not in the database: its entry is stored
/// before it begins, whatever comes of it.
const ELSEWHERE: [&str; 9] = [
    "upload_plugin",
    "make_backup",
    "start_backtest",
    "cancel_backtest",
    "test_subscription",
    "ask_for_leave",
    "retry_delivery",
    "rerun_delivery",
    "send_delivery_to",
];

/// See the module.
pub(super) struct Auditor {
    api: Arc<Api>,
    /// The same routes, without this around them: to see how things are.
    inside: Router,
    /// Operations that change something, by method and route.
    actions: HashMap<(Method, String), String>,
}

impl Auditor {
    pub(super) fn new(api: Arc<Api>) -> Arc<Self> {
        let (inside, _) = routes().split_for_parts();
        let inside = inside.with_state(Arc::clone(&api));
        Arc::new(Self { api, inside, actions: changes() })
    }

    /// What a request is about to do, if that is a change.
    fn action(&self, request: &Request) -> Option<(String, String)> {
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let route = request.extensions().get::<MatchedPath>()?.as_str().to_owned();
        let action = self.actions.get(&(request.method().clone(), route.clone()))?;
        Some((action.clone(), route))
    }

    async fn change(
        &self,
        (action, route): (String, String),
        request: Request,
        next: Next,
    ) -> Response {
        let (mut parts, body) = request.into_parts();
        let identity = match identify(&self.api, &parts.headers, &mut parts.extensions).await {
            Ok(identity) => identity,
            Err(problem) => return problem.into_response(),
        };
        // Before anything is written: who asks too often must not make the disk work.
        if let Some(home) = &identity.home {
            let by = &identity.caller.id;
            if let Err(problem) = limits::request(&self.api, &mut parts.extensions, home, by) {
                return problem.into_response();
            }
        }
        if is_refused(&identity, &parts.method, &route) {
            return next.run(Request::from_parts(parts, body)).await;
        }
        let asked = Asked::new(&parts, &route, identity);
        let mut entry = self.entry(&asked, action, &route).await;
        let making = next.run(Request::from_parts(parts, body));
        let (response, is_begun) = if ELSEWHERE.contains(&entry.action.as_str()) {
            if let Err(error) = self.api.store.begin_audit(&entry).await {
                return refusal::store(error, &Subject::new("audit log", "")).into_response();
            }
            (making.await, true)
        } else {
            noted::noted(entry.clone(), making).await
        };
        let made =
            response.headers().get(header::LOCATION).and_then(|at| resource(at.to_str().ok()?));
        self.end(&asked, (&mut entry, is_begun), response.status(), made).await;
        response
    }

    async fn entry(&self, asked: &Asked, action: String, route: &str) -> AuditEntry {
        let now = self.api.clock.now();
        let before = match &asked.resource {
            Some((path, _)) => self.show(asked, path).await,
            None => None,
        };
        AuditEntry {
            id: AuditId::new(now),
            at: now,
            actor: Arc::clone(&asked.identity.caller.id),
            actor_name: Arc::clone(&asked.identity.caller.name),
            action,
            resource: asked.kind.clone(),
            resource_id: asked.resource.as_ref().map(|(_, name)| name.clone()),
            application: self.owner(asked, route, before.as_ref()),
            request_id: asked.request_id.clone(),
            outcome: ChangeOutcome::Unknown,
            before,
            after: None,
        }
    }

    /// `made` is what the answer says was made, and where it is.
    async fn end(
        &self,
        asked: &Asked,
        (entry, is_begun): (&mut AuditEntry, bool),
        status: StatusCode,
        made: Option<(String, String)>,
    ) {
        let ended = if status.is_success() {
            if let Some((path, name)) = asked.resource.clone().or(made) {
                entry.after = self.show(asked, &path).await;
                entry.resource_id = Some(name);
            }
            if entry.application.is_none() && entry.resource == "key" {
                entry.application = application_in(entry.after.as_ref());
            }
            entry.outcome = ChangeOutcome::Done;
            if is_begun {
                self.api.store.end_audit(entry).await
            } else {
                // It asked for what was so already.
                self.api.store.begin_audit(entry).await
            }
        } else if !is_begun || status.is_server_error() {
            // Nothing was written; or something may have been changed: then the entry stays, its
            // outcome unknown.
            Ok(())
        } else {
            self.api.store.drop_audit(entry.id).await
        };
        if let Err(error) = ended {
            let entry = entry.id;
            tracing::error!(%error, %entry, "an entry of the audit log was not completed");
        }
    }

    /// Whose the thing is.
    fn owner(&self, asked: &Asked, route: &str, before: Option<&Value>) -> Option<ApplicationId> {
        if let Some(home) = &asked.identity.home {
            return Some(home.id);
        }
        if asked.kind == "key" {
            return application_in(before).or_else(|| {
                let (_, id) = asked.resource.as_ref()?;
                self.api.access.keys.get(id.parse().ok()?)?.application
            });
        }
        if asked.is_shared || docs::is_platforms(route) {
            return None;
        }
        named(&self.api, &asked.headers).ok().map(|application| application.id)
    }

    /// A thing as the API shows it to whoever changes it.
    async fn show(&self, asked: &Asked, path: &str) -> Option<Value> {
        let query = if asked.is_shared { "?shared=true" } else { "" };
        let mut request =
            Request::builder().uri(format!("{path}{query}")).body(Body::empty()).ok()?;
        request.extensions_mut().insert(asked.identity.clone());
        request.extensions_mut().insert(Counted);
        if let Some(application) = asked.headers.get(APPLICATION_HEADER) {
            request.headers_mut().insert(APPLICATION_HEADER, application.clone());
        }
        let Ok(response) = self.inside.clone().oneshot(request).await;
        if response.status() != StatusCode::OK {
            return None;
        }
        match to_bytes(response.into_body(), MAX_DOCUMENT).await {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(_) => Some(json!({"too_large": format!("over {MAX_DOCUMENT} bytes")})),
        }
    }
}

/// Whether the route itself refuses this caller, whatever is in the request: nothing is written
/// of it. Every route here needs the scope `manage`.
pub(super) fn is_refused(identity: &Identity, method: &Method, route: &str) -> bool {
    !identity.caller.scopes.allow(KeyScope::Manage)
        || identity.caller.kind == Kind::Portal && within_portal(route, KeyScope::Manage).is_err()
        || !identity.is_admin() && docs::is_admins(&method.as_str().to_ascii_lowercase(), route)
}

/// Around all routes.
pub(super) async fn record(
    State(auditor): State<Arc<Auditor>>,
    request: Request,
    next: Next,
) -> Response {
    match auditor.action(&request) {
        None => next.run(request).await,
        // Nobody need compile for a client that has gone: its entry stays without an outcome.
        Some(action) if action.0 == "upload_plugin" => auditor.change(action, request, next).await,
        Some(action) => finish(async move { auditor.change(action, request, next).await }).await,
    }
}

/// What a change is asked for, and by whom.
struct Asked {
    identity: Identity,
    headers: axum::http::HeaderMap,
    request_id: String,
    kind: String,
    /// Its path and what it is called, if the request names it.
    resource: Option<(String, String)>,
    is_shared: bool,
}

impl Asked {
    fn new(parts: &Parts, route: &str, identity: Identity) -> Self {
        let id = parts.extensions.get::<RequestId>();
        let names_one = route.split('/').nth(3).is_some_and(|part| part.starts_with('{'));
        let kind = singular(route.split('/').nth(2).unwrap_or_default());
        // As the routes read it: only plugins are shared.
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let mut query = url::form_urlencoded::parse(query);
        let shared =
            kind == "plugin" && query.any(|(name, value)| (&*name, &*value) == ("shared", "true"));
        Self {
            identity,
            headers: parts.headers.clone(),
            request_id: id.map_or_else(String::new, |id| id.0.clone()),
            kind,
            resource: resource(parts.uri.path()).filter(|_| names_one).map(|(path, name)| {
                // Limits are shown by themselves.
                (if route.ends_with(LIMITS) { path + LIMITS } else { path }, name)
            }),
            is_shared: shared,
        }
    }
}

/// The path of the thing that a path leads to or below, and its name.
fn resource(path: &str) -> Option<(String, String)> {
    let mut segments = path.split('/').skip(1);
    let (version, collection, name) = (segments.next()?, segments.next()?, segments.next()?);
    let mut readable = percent_decode_str(name).decode_utf8_lossy().into_owned();
    readable.truncate(readable.floor_char_boundary(MAX_NAME));
    Some((format!("/{version}/{collection}/{name}"), readable))
}

/// `event_type` of `event-types`.
fn singular(collection: &str) -> String {
    let one = match collection.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => collection.strip_suffix('s').unwrap_or(collection).to_owned(),
    };
    one.replace('-', "_")
}

fn application_in(key: Option<&Value>) -> Option<ApplicationId> {
    key?.get("application")?.as_str()?.parse().ok()
}

/// The operations that change something, from the API's own description.
pub(super) fn changes() -> HashMap<(Method, String), String> {
    let mut found = HashMap::new();
    for (path, item) in docs::openapi().paths.paths {
        let operations = [
            (Method::POST, item.post),
            (Method::PUT, item.put),
            (Method::PATCH, item.patch),
            (Method::DELETE, item.delete),
        ];
        for (method, operation) in operations {
            let Some(id) = operation.and_then(|operation| operation.operation_id) else { continue };
            if path.starts_with("/v1/") && !NO_CHANGES.contains(&id.as_str()) {
                found.insert((method, path.clone()), id);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_named_by_where_they_are() {
        for (collection, one) in [
            ("subscriptions", "subscription"),
            ("deliveries", "delivery"),
            ("event-types", "event_type"),
            ("backup", "backup"),
        ] {
            assert_eq!(singular(collection), one);
        }
        let (path, name) = resource("/v1/plugins/re%20dact/versions/1.0.0").unwrap();
        assert_eq!((&*path, &*name), ("/v1/plugins/re%20dact", "re dact"));
        assert_eq!(resource("/v1/keys"), None);
    }

    #[test]
    fn every_operation_that_is_not_a_read_is_written_down() {
        let changes = changes();
        let rotated = (Method::POST, "/v1/subscriptions/{id}/rotate-secret".to_owned());
        assert_eq!(changes[&rotated], "rotate_secret");
        assert!(!changes.values().any(|action| NO_CHANGES.contains(&action.as_str())));
        assert!(changes.len() > 30, "{}", changes.len());
        for action in ELSEWHERE {
            assert!(changes.values().any(|known| known == action), "{action} is no change");
        }
    }
}
