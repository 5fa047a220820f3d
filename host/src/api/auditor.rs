//! Writes down every change that is made over the API: around the routes, so that no route can
//! forget it.
//!
//! An entry is stored before the change, and completed before the answer: a crash in between
//! leaves one whose outcome is unknown, never a change without an entry. What is refused before it
//! writes anything costs the disk nothing. How a thing was and is is what the API shows of it,
//! or of the part of it that is changed, which has no secrets.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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
use utoipa::openapi::RefOr;

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
/// What a change made that no `Location` names: on its answer.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it is called.
    pub name: String,
    /// What may be shown of it.
    pub about: Value,
}

/// What an answer says of a change.
struct Answered {
    status: StatusCode,
    made: Option<Made>,
    /// What its `Location` names, and where it is.
    located: Option<(String, String)>,
}

impl Answered {
    fn of(response: &Response) -> Self {
        let located = response.headers().get(header::LOCATION);
        Self {
            status: response.status(),
            made: response.extensions().get().cloned(),
            located: located.and_then(|at| resource(at.to_str().ok()?)),
        }
    }
}

/// An operation that changes something.
#[derive(Debug, Clone)]
pub(super) struct Action {
    /// Its id in the OpenAPI document.
    pub(super) id: String,
    route: String,
    /// The route that shows what it changes; none if the request names nothing.
    shown: Option<String>,
}

/// See the module.
pub(super) struct Auditor {
    api: Arc<Api>,
    /// The same routes, without this around them: to see how things are.
    inside: Router,
    /// Operations that change something, by method and route.
    actions: HashMap<(Method, String), Action>,
}

impl Auditor {
    pub(super) fn new(api: Arc<Api>) -> Arc<Self> {
        let (inside, _) = routes().split_for_parts();
        let inside = inside.with_state(Arc::clone(&api));
        Arc::new(Self { api, inside, actions: changes() })
    }

    /// What a request is about to do, if that is a change.
    fn action(&self, request: &Request) -> Option<Action> {
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let route = request.extensions().get::<MatchedPath>()?.as_str().to_owned();
        self.actions.get(&(request.method().clone(), route)).cloned()
    }

    async fn change(&self, action: Action, request: Request, next: Next) -> Response {
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
        if is_refused(&identity, &parts.method, &action.route) {
            return next.run(Request::from_parts(parts, body)).await;
        }
        let asked = Asked::new(&parts, &action, identity);
        let mut entry = self.entry(&asked, action).await;
        let making = next.run(Request::from_parts(parts, body));
        let (response, is_begun) = if ELSEWHERE.contains(&entry.action.as_str()) {
            if let Err(error) = self.api.store.begin_audit(&entry).await {
                return refusal::store(error, &Subject::new("audit log", "")).into_response();
            }
            (making.await, true)
        } else {
            noted::noted(entry.clone(), making).await
        };
        self.end(&asked, (&mut entry, is_begun), Answered::of(&response)).await;
        response
    }

    async fn entry(&self, asked: &Asked, action: Action) -> AuditEntry {
        let now = self.api.clock.now();
        let before = match &asked.shown {
            Some(path) => self.show(asked, path).await,
            None => None,
        };
        AuditEntry {
            id: AuditId::new(now),
            at: now,
            actor: Arc::clone(&asked.identity.caller.id),
            actor_name: Arc::clone(&asked.identity.caller.name),
            application: self.owner(asked, &action.route, before.as_ref()),
            action: action.id,
            resource: asked.kind.clone(),
            resource_id: asked.resource.as_ref().map(|(_, name)| name.clone()),
            request_id: asked.request_id.clone(),
            outcome: ChangeOutcome::Unknown,
            before,
            after: None,
        }
    }

    async fn end(
        &self,
        asked: &Asked,
        (entry, is_begun): (&mut AuditEntry, bool),
        answer: Answered,
    ) {
        let status = answer.status;
        let ended = if status.is_success() {
            self.outcome(asked, entry, answer).await;
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

    /// How things are now, and what was made.
    async fn outcome(&self, asked: &Asked, entry: &mut AuditEntry, answer: Answered) {
        let located = answer.located;
        if let Some(Made { name, about }) = answer.made {
            entry.resource_id = Some(name);
            entry.after = Some(about);
        } else if let Some(path) = &asked.shown {
            entry.after = self.show(asked, path).await;
            // A thing can make another: a key its successor, a plugin a backtest.
            if let Some((_, name)) = located.filter(|made| Some(made) != asked.resource.as_ref())
                && let Value::Object(after) = entry.after.get_or_insert_with(|| json!({}))
            {
                after.insert("made".into(), name.into());
            }
        } else if let Some((path, name)) = located {
            entry.after = self.show(asked, &path).await;
            entry.resource_id = Some(name);
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
        Some(action) if action.id == "upload_plugin" => auditor.change(action, request, next).await,
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
    /// The path that shows what is changed.
    shown: Option<String>,
    is_shared: bool,
}

impl Asked {
    fn new(parts: &Parts, action: &Action, identity: Identity) -> Self {
        let id = parts.extensions.get::<RequestId>();
        let kind = singular(action.route.split('/').nth(2).unwrap_or_default());
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
            resource: resource(parts.uri.path()).filter(|_| action.shown.is_some()),
            shown: action.shown.as_deref().map(|route| filled(route, parts.uri.path())),
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

/// A route with the names of a path that begins like it.
fn filled(route: &str, path: &str) -> String {
    let mut given = path.split('/');
    let parts = route.split('/').map(|part| match given.next() {
        Some(name) if part.starts_with('{') => name,
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
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
pub(super) fn changes() -> HashMap<(Method, String), Action> {
    let paths = docs::openapi().paths.paths;
    // A page of a list shows some of its things, perhaps not the one that is changed.
    let shows: HashSet<String> = paths
        .iter()
        .filter(|(_, item)| {
            item.get.as_ref().is_some_and(|get| {
                !get.parameters.iter().flatten().any(
                    |parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "limit"),
                )
            })
        })
        .map(|(path, _)| path.clone())
        .collect();
    let mut found = HashMap::new();
    for (path, item) in paths {
        let operations = [
            (Method::POST, item.post),
            (Method::PUT, item.put),
            (Method::PATCH, item.patch),
            (Method::DELETE, item.delete),
        ];
        for (method, operation) in operations {
            let Some(id) = operation.and_then(|operation| operation.operation_id) else { continue };
            if path.starts_with("/v1/") && !NO_CHANGES.contains(&id.as_str()) {
                let shown = shown_by(&id, &path, &shows);
                found.insert((method, path.clone()), Action { id, route: path.clone(), shown });
            }
        }
    }
    found
}

/// The route that shows most closely what an operation changes.
fn shown_by(id: &str, route: &str, shows: &HashSet<String>) -> Option<String> {
    let ends = route.match_indices('/').map(|(end, _)| end).chain([route.len()]);
    let names_one = route.split('/').nth(3).is_some_and(|part| part.starts_with('{'));
    let mut above: Vec<&str> = ends.skip(3).map(|end| &route[..end]).collect();
    let thing = *above.first().filter(|_| names_one)?;
    if id == "rotate_secret" {
        // The thing itself does not show its secrets' fingerprints.
        return Some(format!("{thing}/secrets"));
    }
    above.reverse();
    Some(above.into_iter().find(|route| shows.contains(*route)).unwrap_or(thing).to_owned())
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
        assert_eq!(changes[&rotated].id, "rotate_secret");
        assert!(!changes.values().any(|action| NO_CHANGES.contains(&action.id.as_str())));
        assert!(changes.len() > 30, "{}", changes.len());
        for action in ELSEWHERE {
            assert!(changes.values().any(|known| known.id == action), "{action} is no change");
        }
    }

    #[test]
    fn a_change_is_shown_by_the_route_that_is_closest_to_it() {
        let changes = changes();
        for (method, route, shown) in [
            (Method::PUT, "/v1/applications/{application}/limits", "/v1/applications/a%20b/limits"),
            (Method::PUT, "/v1/event-types/{name}/limits", "/v1/event-types/a%20b/limits"),
            (
                Method::PATCH,
                "/v1/event-types/{name}/versions/{version}",
                "/v1/event-types/a%20b/versions/2",
            ),
            (Method::POST, "/v1/event-types/{name}/versions", "/v1/event-types/a%20b"),
            (Method::PUT, "/v1/plugins/{name}/live", "/v1/plugins/a%20b"),
            (Method::DELETE, "/v1/sources/{id}/secrets/{secret}", "/v1/sources/a%20b"),
            (Method::POST, "/v1/subscriptions/{id}/pause", "/v1/subscriptions/a%20b"),
            (
                Method::POST,
                "/v1/subscriptions/{id}/rotate-secret",
                "/v1/subscriptions/a%20b/secrets",
            ),
            (
                Method::DELETE,
                "/v1/subscriptions/{id}/secrets/{fingerprint}",
                "/v1/subscriptions/a%20b/secrets",
            ),
        ] {
            let action = &changes[&(method, route.to_owned())];
            let tail: Vec<&str> = route.split('/').skip(4).collect();
            let path = ["/v1", route.split('/').nth(2).unwrap(), "a%20b"].join("/");
            let path = [path.as_str(), &tail.join("/")].join("/").replace("{version}", "2");
            assert_eq!(filled(action.shown.as_deref().unwrap(), &path), shown);
        }
        assert!(changes[&(Method::POST, "/v1/keys".to_owned())].shown.is_none());
        assert!(changes[&(Method::DELETE, "/v1/portal-tokens".to_owned())].shown.is_none());
    }
}
