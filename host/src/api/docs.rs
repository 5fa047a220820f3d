//! The API's description of itself: the OpenAPI document, its rendering, the problems.
//!
//! The document is made from the routes. What holds for every operation (who may call it,
//! which refusals it shares) is added here once, so no operation can forget it.

use std::{collections::BTreeMap, sync::OnceLock};

use axum::{
    Router,
    body::Bytes,
    http::header,
    response::{IntoResponse, Json, Response},
};
use serde::Serialize;
use utoipa::{
    IntoResponses, OpenApi, PartialSchema, ToSchema,
    openapi::{
        Content, HeaderBuilder, Ref, RefOr, Required, ResponseBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        response::Response as ResponseDoc,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::model::KeyScope;

use super::{
    exact,
    extract::PathParts,
    limit_refusals, once,
    problem::{self, Code, MEDIA_TYPE, Problem, ProblemBody},
    routes,
};

const SECURITY: &str = "bearer";
const KEY_HELP: &str = "An API key (`hmk_admin_…`, `hmk_app_…`), a portal token (`hmk_portal_…`) or, if \
    the server is set up for it, a JSON Web Token. What each operation needs of it is listed as its \
    scope: `read`, `publish` or `manage`, which includes `read`; `admin` besides where it must be \
    the platform's.";

/// What the document says beside its operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hookmill",
        description = "The programmable webhook server. Events go in here; signed webhooks \
            come out, filtered and transformed by each subscription's own WebAssembly plugins.\n\n\
            Every request carries a key or a token. An application's acts for it; an admin key \
            acts for the application `default`, or for the one that the header \
            `Hookmill-Application` names. Refusals are RFC 9457 \
            problems; their `type` ends in a code that never changes its meaning.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "Events", description = "What happened, as its producers said it."),
        (name = "Deliveries", description = "What became of an event for one subscription."),
        (name = "Subscriptions", description = "Endpoints and what they listen to."),
        (name = "Event types", description = "Names of events and the schemas of their payloads."),
        (name = "Plugins", description = "WebAssembly components that filter and transform."),
        (name = "Sources", description = "Inbound endpoints for third parties that sign what they send."),
        (name = "Applications", description = "Tenants; one called `default` is always there."),
        (name = "Access", description = "Keys, portal tokens, and who changed what."),
        (name = "Server", description = "Whether it is well, and what it has to say of itself.")
    ),
    components(schemas(ProblemBody, super::tail::TailItem<'_>))
)]
struct Document;

/// The API's OpenAPI document; needs no server.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(routes().into_openapi());
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(
        SECURITY.into(),
        RefOr::T(SecurityScheme::Http(
            Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(KEY_HELP)).build(),
        )),
    );
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(method, path, operation);
        }
    }
    document
}

/// The operations of a path.
pub(super) fn operations(
    item: &mut PathItem,
) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Whether an operation needs the scope `publish` beside: who gives a source a secret can sign
/// what it takes.
fn lets_publish(method: &str, path: &str) -> bool {
    method == "post" && ["/v1/sources", "/v1/sources/{id}/secrets"].contains(&path)
}

/// The scope that an operation needs. The handlers' signatures are what enforces it; a test
/// calls each operation with every other key and holds it to this.
fn scope(method: &str, path: &str) -> KeyScope {
    match (method, path) {
        ("post", "/v1/events" | "/v1/events/batch") => KeyScope::Publish,
        ("get", path) if !path.starts_with("/v1/keys") => KeyScope::Read,
        // They answer a question, which is too long for a query.
        ("post", path) if path.ends_with("/match") || path.ends_with("/versions/check") => {
            KeyScope::Read
        }
        _ => KeyScope::Manage,
    }
}

/// Whether only the platform's keys may do it. Every application reads event types.
pub(super) fn is_admins(method: &str, path: &str) -> bool {
    let is_read = path.starts_with("/v1/event-types") && !path.ends_with("/limits");
    let sets_limits = method == "put" && path.ends_with("/limits");
    sets_limits || is_platforms(path) && !(method == "get" && is_read)
}

/// Whether what a path names is the platform's, not an application's.
pub(super) fn is_platforms(path: &str) -> bool {
    let is_event_type = path.starts_with("/v1/event-types") && !path.ends_with("/violations");
    is_event_type || path.starts_with("/v1/applications") || path == "/v1/backup"
}

fn application_header() -> Parameter {
    ParameterBuilder::new()
        .name("Hookmill-Application")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Name or id of the application to act for; `default` if not given."))
        .schema(Some(String::schema()))
        .build()
}

fn key_header() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Makes the request safe to repeat: the second under a key is answered as the first \
             was, with `idempotency-replayed: true`, and nothing is done twice.",
        ))
        .schema(Some(String::schema()))
        .build()
}

/// Adds what every operation shares.
fn complete(method: &str, path: &str, operation: &mut Operation) {
    let mut shared = vec![(Code::InvalidQuery, "The request is not well-formed.")];
    if path.starts_with("/v1/") {
        let mut scopes = vec![scope(method, path).as_str()];
        if lets_publish(method, path) {
            scopes.push(KeyScope::Publish.as_str());
        }
        if is_admins(method, path) {
            scopes.push("admin");
        }
        operation.security = Some(vec![SecurityRequirement::new(SECURITY, scopes)]);
        shared.push((Code::Unauthorized, "The key is missing or wrong."));
        shared.push((Code::InsufficientScope, "The key may not do that."));
        if !is_platforms(path) && path != "/v1/audit" && !path.starts_with("/v1/keys") {
            operation.parameters.get_or_insert_default().push(application_header().into());
            shared.push((Code::UnknownApplication, "The header names no application."));
        }
        let id = operation.operation_id.as_deref().unwrap_or_default();
        if once::takes(method, id) {
            operation.parameters.get_or_insert_default().push(key_header().into());
        }
        if method == "get" && ["/v1/audit", "/v1/keys"].contains(&path) {
            shared.push((Code::UnknownApplication, "The query names no application."));
        }
    } else {
        operation.security = Some(Vec::new());
    }
    if operation.request_body.is_some() {
        shared.push((Code::BodyTooLarge, "The body is too large."));
        shared.push((Code::WrongContentType, "The body's media type is not taken here."));
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            meaning(status).clone_into(&mut response.description);
        }
    }
    shared.push((Code::Internal, "The server failed; its log says why."));
    for (code, description) in shared {
        operation
            .responses
            .responses
            .entry(code.status().as_u16().to_string())
            .or_insert_with(|| described(code, description).into());
    }
    limit_refusals::add(method, path, operation);
}

/// What a success says that its operation does not describe further.
fn meaning(status: &str) -> &'static str {
    match status {
        "201" => "It was created",
        "202" => "It is on its way",
        _ => "What was asked for",
    }
}

pub(super) fn described(code: Code, description: &str) -> ResponseDoc {
    let mut response = ResponseBuilder::new()
        .description(description)
        .content(MEDIA_TYPE, Content::new(Some(Ref::from_schema_name("Problem"))));
    if code == Code::Unauthorized {
        response = response
            .header("WWW-Authenticate", HeaderBuilder::new().description(Some("`Bearer`")).build());
    }
    response.build()
}

/// Declares documented refusals: a name for `responses(…)`, a code that has the status, and
/// when it happens.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $description:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
                    let code = Code::$code;
                    let response = described(code, $description);
                    [(code.status().as_u16().to_string(), response.into())].into()
                }
            }
        )*
    };
}

refusals! {
    /// 422 on sources.
    BadSource = InvalidSource, "The source cannot be saved as given; `errors` lists every reason.";
    /// 401 on third parties' requests.
    Unproven = UnverifiedRequest, "The signature is missing or wrong, or there is no such source.";
    /// 409 on revoking a key.
    LastKey = LastAdminKey, "It is the last key that may do everything.";
    /// 410.
    Expired = PayloadExpired, "The event's payload is no longer kept.";
    /// 409 on backups.
    Copying = BackupRunning, "Another backup is being made.";
    /// 503 on what needs room.
    Unwritable = StorageUnavailable, "There is no room for it, or its place cannot be written.";
    /// 404.
    Missing = NotFound, "It does not exist, or belongs to another application.";
    /// 409 on creation.
    Taken = AlreadyExists, "The name is taken.";
    /// 409 on deletion.
    Used = InUse, "Others depend on it.";
    /// 409 on setting `live`.
    Breaks = BreaksConfigs, "Configs of subscriptions that follow `live` would not satisfy the version's schema.";
    /// 409 on what only some states of a subscription allow.
    Inactive = SubscriptionInactive, "The subscription's state, or its deletion, stands in the way.";
    /// 409 on adding a schema.
    Breaking = IncompatibleSchema, "It breaks what the event type's `compatibility` promises; `findings` is the report.";
    /// 409 on publishing.
    Conflicting = IdempotencyConflict, "The id or Idempotency-Key was used for another event.";
    /// 400 on publishing.
    UnknownType = UnknownEventType, "The request is not well-formed, or there is no such event type; `did_you_mean` is the closest.";
    /// 422 on publishing.
    Violating = SchemaViolation, "The payload does not satisfy the schema; `errors` lists where.";
    /// 422 on what is well-formed but cannot be used.
    Unusable = InvalidSubscription, "A value cannot be used; `errors` points at each.";
    /// 422 on uploads.
    Unacceptable = PluginRejected, "The upload cannot become a plugin; the code says why, the detail what to do.";
    /// 503 on uploads.
    Uncompiled = CompileTimeout, "The compiler had no time or could not be used: not the upload's fault. Retry-After, if it is there, says when to come back.";
    /// 422 on backtests.
    Untestable = PluginNotUsed, "No subscription uses the plugin, or the config does not satisfy the version's schema.";
    /// 409 on backtests.
    SavedConfigs = BreaksConfigs, "Saved configs do not satisfy the version's schema; `subscriptions` lists whose.";
    /// 429 on backtests.
    ManyBacktests = TooManyBacktests, "As many run as the server allows.";
    /// 422 on replays.
    Unreplayable = InvalidReplay, "The replay cannot be started as given; `errors` lists every reason.";
    /// 429 on tails.
    ManyTails = TooManyTails, "As many watch as the server allows.";
    /// 422 on rollouts.
    Unrollable = InvalidRollout, "The rollout cannot be started as given; `errors` lists every reason.";
    /// 429 on replays.
    ManyReplays = TooManyReplays, "As many run as the server allows.";
    /// 409 on replays.
    EndedReplay = ReplayEnded, "It has ended.";
    /// 422 on sending elsewhere.
    Unsendable = InvalidEndpoint, "Nothing can be sent to that URL, or there is nothing to send.";
    /// 503 on publishing.
    Busy = Overloaded, "Too much is waiting to be stored; Retry-After says when to come back.";
    /// 503 on readiness.
    Unready = NotReady, "The server is starting or stopping, or its database does not answer.";
    /// 503 on dry runs.
    Unloadable = PluginUnavailable, "A stored plugin could not be loaded.";
}

/// The rendered documentation: static files from the binary. The page looks for nothing
/// elsewhere: the validator badge, which would ask a public server, is turned off.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let config = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true);
    Router::from(SwaggerUi::new("/docs").config(config))
}

/// Where to read on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Index {
    /// `hookmill`
    #[schema(value_type = String, example = "hookmill")]
    name: &'static str,
    /// The server's version.
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
    /// The rendered documentation.
    #[schema(value_type = String, example = "/docs")]
    docs: &'static str,
    /// The OpenAPI document.
    #[schema(value_type = String, example = "/openapi.json")]
    openapi: &'static str,
}

/// Say what this is
#[utoipa::path(get, path = "/", tag = "Server", responses((status = 200, body = Index)))]
pub async fn index() -> Json<Index> {
    Json(Index {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        docs: "/docs",
        openapi: "/openapi.json",
    })
}

/// Describe the API
///
/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Server",
    responses((status = 200, body = Object, description = "An OpenAPI document"))
)]
pub async fn openapi_json() -> Result<Response, Problem> {
    static DOCUMENT: OnceLock<Result<Bytes, String>> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| {
        let exact = serde_json::to_value(openapi()).map(exact::document);
        exact
            .and_then(|exact| serde_json::to_vec(&exact))
            .map(Into::into)
            .map_err(|error| error.to_string())
    });
    match document {
        Ok(text) => {
            Ok(([(header::CONTENT_TYPE, "application/json")], text.clone()).into_response())
        }
        Err(cause) => Err(Problem::internal("writing the OpenAPI document", cause)),
    }
}

/// Explain a problem
///
/// What a problem's code means: the last part of its `type`.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "Server",
    params(("code" = String, Path, description = "For example `schema-violation`")),
    responses((status = 200, body = problem::Entry), Missing)
)]
pub async fn explain_problem(
    PathParts(code): PathParts<String>,
) -> Result<Json<problem::Entry>, Problem> {
    problem::registry().find(|entry| entry.code == code).map(Json).ok_or_else(|| {
        let known = problem::registry().map(|entry| entry.code);
        super::refusal::Subject::new("problem", &code)
            .not_found()
            .did_you_mean(super::explain::closest(&code, known))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_is_named_summed_up_and_says_how_it_refuses() {
        let mut document = openapi();
        assert!(document.to_json().is_ok());
        let mut names = HashSet::new();
        for (path, item) in &mut document.paths.paths {
            for (_, operation) in operations(item) {
                let name = operation.operation_id.clone().unwrap_or_default();
                assert!(
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                    "{path}: {name:?}"
                );
                assert!(names.insert(name.clone()), "{name} is there twice");
                assert!(operation.summary.is_some(), "{name} has no summary");
                assert!(operation.tags.is_some(), "{name} has no tag");
                for (code, response) in &operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    assert!(!response.description.is_empty(), "{name} {code} is not described");
                }
                let codes: Vec<&String> = operation.responses.responses.keys().collect();
                assert!(codes.iter().any(|code| code.starts_with('2')), "{name}: {codes:?}");
                assert!(codes.iter().any(|code| code.starts_with('4')), "{name}: {codes:?}");
                let secured = operation.security.as_ref().is_some_and(|list| !list.is_empty());
                assert_eq!(secured, path.starts_with("/v1/"), "{name}");
            }
        }
        assert!(names.len() >= 40, "{names:?}");
    }

    #[test]
    fn every_schema_referred_to_is_there() {
        let document = serde_json::to_value(openapi()).unwrap();
        let known = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        let referred: HashSet<&str> = text
            .split("\"#/components/schemas/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(referred.contains("Problem"));
        for name in referred {
            assert!(known.contains_key(name), "{name} is not in {:?}", known.keys());
        }
    }

    #[test]
    fn path_parameters_are_documented_as_the_path_has_them() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            let expected: HashSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            for (method, operation) in item.as_object().unwrap() {
                let documented: HashSet<&str> = operation["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|parameter| parameter["in"] == "path")
                    .filter_map(|parameter| parameter["name"].as_str())
                    .collect();
                assert_eq!(documented, expected, "{method} {path}");
            }
        }
    }
}
