//! What a refused request is answered with: an RFC 9457 problem.
//!
//! Owns the registry of problems and their form. Never decides that something is wrong,
//! and has no blanket conversion: how an error becomes a problem is written out, case by
//! case, in [`super::refusal`].

use std::fmt;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::Violation;

/// The media type of every problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What every problem's `type` starts with.
pub const TYPE_PREFIX: &str = "https://hookmill.dev/problems/";

macro_rules! registry {
    ($($variant:ident = $slug:literal, $status:ident, $explanation:literal;)*) => {
        /// Everything that can be wrong, by the last part of the problem's `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $explanation] $variant,)*
        }

        impl Code {
            /// Every code, in the order the documentation shows them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The last part of the problem's `type`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// What it means and what to do, in a line.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

registry! {
    MalformedJson = "malformed-json", BAD_REQUEST,
        "The body is not JSON; `detail` says where it stops being so.";
    UnreadableBody = "unreadable-body", BAD_REQUEST,
        "The body could not be read to its end.";
    SlowBody = "slow-body", REQUEST_TIMEOUT,
        "The body did not come to its end in time; send it faster, or in smaller requests.";
    UnknownField = "unknown-field", BAD_REQUEST,
        "The body has a field that this request does not know; `did_you_mean` is the closest it knows.";
    MissingField = "missing-field", BAD_REQUEST,
        "The body lacks a field that this request needs.";
    InvalidField = "invalid-field", BAD_REQUEST,
        "A field of the body is not of the kind this request expects; `errors` says which.";
    InvalidQuery = "invalid-query", BAD_REQUEST,
        "A query parameter is unknown, repeated or not of the kind expected.";
    InvalidCursor = "invalid-cursor", BAD_REQUEST,
        "The cursor is not one that this list gave; start again without it.";
    InvalidId = "invalid-id", BAD_REQUEST,
        "A part of the path is not an id of the kind expected there.";
    InvalidHeader = "invalid-header", BAD_REQUEST,
        "A request header has a value that cannot be used.";
    UnknownApplication = "unknown-application", NOT_FOUND,
        "The header Hookmill-Application names an application that does not exist.";
    UnknownEventType = "unknown-event-type", BAD_REQUEST,
        "The event's type was never created; `did_you_mean` is the closest there is.";
    ReservedEventType = "reserved-event-type", BAD_REQUEST,
        "The event's type begins with `hookmill`: the server alone publishes and makes such types.";
    UnknownSchemaVersion = "unknown-schema-version", BAD_REQUEST,
        "The event names a schema version that its type does not have.";
    ArchivedEventType = "archived-event-type", CONFLICT,
        "The event's type is archived: it takes no more events.";
    IncompatibleSchema = "incompatible-schema", CONFLICT,
        "The schema breaks what the event type's `compatibility` promises; `findings` says what, where and which way.";
    MalformedPayload = "malformed-payload", BAD_REQUEST,
        "The event's payload cannot be accepted: it is empty, or JSON that is nested too deeply or that parsers read differently.";
    Unauthorized = "unauthorized", UNAUTHORIZED,
        "The request carries no valid key or token; send `Authorization: Bearer hmk_…`.";
    InsufficientScope = "insufficient-scope", FORBIDDEN,
        "The key lacks the scope that the request needs; `scope` names it.";
    AdminNeeded = "admin-needed", FORBIDDEN,
        "What the request is for belongs to the platform, and needs an admin key.";
    ForeignApplication = "foreign-application", FORBIDDEN,
        "The request names an application that is not the key's own.";
    BeyondPortal = "beyond-portal", FORBIDDEN,
        "A portal token is for subscriptions, deliveries and replays, and for reading event types.";
    UnverifiedRequest = "unverified-request", UNAUTHORIZED,
        "The request to a source has no signature that is valid there, or there is no such source; the source's list of refusals says which.";
    NotFound = "not-found", NOT_FOUND,
        "What the path names does not exist, or belongs to another application.";
    UnknownRoute = "unknown-route", NOT_FOUND,
        "The server has no such path; /docs lists those it has.";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED,
        "The path exists, but not with this method; the header Allow lists those it has.";
    AlreadyExists = "already-exists", CONFLICT,
        "The name is taken.";
    InUse = "in-use", CONFLICT,
        "Others depend on it, so it cannot go.";
    BreaksConfigs = "breaks-configs", CONFLICT,
        "The plugin version would not accept the configs of subscriptions that follow `live`; `subscriptions` lists them.";
    NoPreviousVersion = "no-previous-version", CONFLICT,
        "No other version of the plugin was live before, so there is none to go back to.";
    CandidateIsLive = "candidate-is-live", CONFLICT,
        "The candidate of a rollout is the live version; upload another without making it live.";
    IdempotencyConflict = "idempotency-conflict", CONFLICT,
        "The event's id or the Idempotency-Key was used for another event, or another request.";
    OutcomeUnknown = "outcome-unknown", CONFLICT,
        "A request under this Idempotency-Key was begun, and nobody knows whether it was carried out.";
    SubscriptionInactive = "subscription-inactive", CONFLICT,
        "The subscription's state, or its deletion, stands in the way of the request.";
    DeliveryUnderWay = "delivery-under-way", CONFLICT,
        "The delivery is being attempted at this moment; try again when the attempt is over.";
    ReplayEnded = "replay-ended", CONFLICT,
        "The replay has taken all there was, or was cancelled; make a new one.";
    LastAdminKey = "last-admin-key", CONFLICT,
        "It is the last key that may do everything and does not expire; make another first.";
    BackupRunning = "backup-running", CONFLICT,
        "Another backup is being made; wait for its end.";
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED,
        "What If-Match names is no longer how it is; get it anew, and make the change to that.";
    PayloadExpired = "payload-expired", GONE,
        "The event's payload was kept for as long as the server is set to, and is gone; so it can be neither read nor sent again.";
    HandshakeRefused = "handshake-refused", CONFLICT,
        "The endpoint does not permit deliveries; `detail` says how it answered the handshake.";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE,
        "The body is larger than the server takes; `limit_bytes` is the bound.";
    BatchTooLarge = "batch-too-large", PAYLOAD_TOO_LARGE,
        "The batch has more events than the server takes at once; `limit` is the bound.";
    WrongContentType = "wrong-content-type", UNSUPPORTED_MEDIA_TYPE,
        "The body's Content-Type is not what this request takes.";
    PayloadType = "payload-type", UNSUPPORTED_MEDIA_TYPE,
        "The event's type does not take payloads of this content type; `detail` lists those it takes.";
    UnknownEncoding = "unknown-encoding", UNSUPPORTED_MEDIA_TYPE,
        "The body has a Content-Encoding that the server does not know; the header Accept-Encoding lists those it knows.";
    SchemaViolation = "schema-violation", UNPROCESSABLE_ENTITY,
        "The payload does not satisfy its event type's schema; `errors` lists where.";
    UnusableSchema = "unusable-schema", UNPROCESSABLE_ENTITY,
        "The JSON Schema cannot be used; `errors` says where and why.";
    InvalidName = "invalid-name", UNPROCESSABLE_ENTITY,
        "The name has a form that names of its kind may not have.";
    InvalidSubscription = "invalid-subscription", UNPROCESSABLE_ENTITY,
        "The subscription cannot be saved as given; `errors` lists every reason.";
    InvalidSource = "invalid-source", UNPROCESSABLE_ENTITY,
        "The source, or its secret, cannot be saved as given; `errors` lists every reason.";
    UnmappableRequest = "unmappable-request", UNPROCESSABLE_ENTITY,
        "The request to a source is genuine, but does not say its event type or its id; `detail` says what is missing.";
    InvalidKey = "invalid-key", UNPROCESSABLE_ENTITY,
        "The key or token cannot be made as given; `errors` lists every reason.";
    InvalidRollout = "invalid-rollout", UNPROCESSABLE_ENTITY,
        "The rollout cannot be started as given; `errors` lists every reason.";
    InvalidReplay = "invalid-replay", UNPROCESSABLE_ENTITY,
        "The replay cannot be started as given; `errors` lists every reason.";
    InvalidEndpoint = "invalid-endpoint", UNPROCESSABLE_ENTITY,
        "The URL is not one that requests may be sent to; `errors` says why.";
    NothingToSend = "nothing-to-send", UNPROCESSABLE_ENTITY,
        "The delivery's pipeline has made no message: it has not run, or it dropped the event or failed.";
    UnknownPlugin = "unknown-plugin", UNPROCESSABLE_ENTITY,
        "A pipeline step names a plugin or version that does not exist.";
    InvalidConfig = "invalid-config", UNPROCESSABLE_ENTITY,
        "A plugin's config does not satisfy the schema in its manifest; `errors` lists where.";
    PluginNotUsed = "plugin-not-used", UNPROCESSABLE_ENTITY,
        "No subscription of the application uses the plugin; name one to try it there.";
    NotWasm = "not-wasm", UNPROCESSABLE_ENTITY,
        "The upload is not a WebAssembly module or component.";
    TooLarge = "too-large", UNPROCESSABLE_ENTITY,
        "The plugin is larger than the server accepts.";
    TooComplex = "too-complex", UNPROCESSABLE_ENTITY,
        "The plugin has more functions, memories, tables or the like than the server accepts.";
    ForbiddenImport = "forbidden-import", UNPROCESSABLE_ENTITY,
        "The plugin imports something that is not part of its world.";
    UnknownWorld = "unknown-world", UNPROCESSABLE_ENTITY,
        "The plugin exports none of the worlds this server runs.";
    BadManifest = "bad-manifest", UNPROCESSABLE_ENTITY,
        "What the plugin says about itself cannot be used.";
    Uncompilable = "uncompilable", UNPROCESSABLE_ENTITY,
        "The plugin could not be compiled within the limits.";
    PluginRejected = "plugin-rejected", UNPROCESSABLE_ENTITY,
        "The upload cannot become a plugin; `reason` names why.";
    TooManyBacktests = "too-many-backtests", TOO_MANY_REQUESTS,
        "As many backtests run as the server allows; wait for one to end, or cancel one.";
    TooManyTails = "too-many-tails", TOO_MANY_REQUESTS,
        "As many watch what happens as the server allows; end a tail that is not needed.";
    TooManyReplays = "too-many-replays", TOO_MANY_REQUESTS,
        "As many replays run as the server allows; wait for one to end, or pause or cancel one.";
    RateLimited = "rate-limited", TOO_MANY_REQUESTS,
        "More was asked than a rate limit allows; `limit` says which. Try again after Retry-After.";
    QuotaExceeded = "quota-exceeded", FORBIDDEN,
        "The application has or stores as much as it may; `quota`, `limit` and `used` say of what.";
    Internal = "internal", INTERNAL_SERVER_ERROR,
        "The server failed; its log says why. Nothing was accepted.";
    PluginUnavailable = "plugin-unavailable", SERVICE_UNAVAILABLE,
        "A stored plugin could not be loaded; the server's log says why.";
    TransformFailed = "transform-failed", SERVICE_UNAVAILABLE,
        "The plugins of the source failed or took too long; the request can be repeated. The source's list of refusals says why.";
    CompileTimeout = "compile-timeout", SERVICE_UNAVAILABLE,
        "Compiling the plugin took longer than the server waits; the machine may be busy: try again after Retry-After.";
    CompilerUnavailable = "compiler-unavailable", SERVICE_UNAVAILABLE,
        "The server could not use its compiler; the server's log says why.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE,
        "More comes than the server can take; `reason` says of what: `busy`, `memory`, `backlog` or `database`. Try again after Retry-After.";
    StorageUnavailable = "storage-unavailable", SERVICE_UNAVAILABLE,
        "The database takes no change; `reason` says why: `full`, `read-only` or `failing`. Nothing was accepted.";
    NotReady = "not-ready", SERVICE_UNAVAILABLE,
        "The server is starting or stopping, or its database does not answer.";
}

/// One entry of the registry, for the documentation and the tests that hold it to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Entry {
    /// The last part of the problem's `type`.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// What it means and what to do.
    #[schema(value_type = String)]
    pub explanation: &'static str,
}

/// Every problem there is.
pub fn registry() -> impl Iterator<Item = Entry> {
    Code::ALL.iter().map(|code| Entry {
        code: code.slug(),
        status: code.status().as_u16(),
        explanation: code.explanation(),
    })
}

/// Longest sentence of a problem, in bytes.
const MAX_SENTENCE: usize = 1000;

/// Sentences quote the request, and a megabyte of a wrong name is no help to its reader.
fn excerpt(mut text: String) -> String {
    if text.len() > MAX_SENTENCE {
        text.truncate(text.floor_char_boundary(MAX_SENTENCE));
        text.push('…');
    }
    text
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body (for `schema-violation`: into the payload), or `?name`
    /// for a query parameter.
    pub at: String,
    /// JSON pointer into the schema, where a schema is what it does not satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl FieldError {
    /// Something wrong at `at`.
    pub fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: excerpt(at.into()), schema: None, message: excerpt(message.into()) }
    }

    /// A schema's finding, its pointer put behind `prefix`.
    pub fn violation(prefix: &str, violation: Violation) -> Self {
        Self {
            at: format!("{prefix}{}", violation.at),
            schema: Some(violation.schema),
            message: violation.message,
        }
    }
}

/// A problem as it is sent (RFC 9457), also for clients to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "https://hookmill.dev/problems/schema-violation",
    "title": "The payload does not match the schema of order.created, version 1",
    "status": 422,
    "errors": [{
        "at": "/total",
        "schema": "/properties/total/type",
        "message": "19.9 is not of type \"string\""
    }]
}))]
pub struct ProblemBody {
    /// `https://hookmill.dev/problems/` and a code that never changes its meaning.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, in a sentence.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The closest thing that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
    /// Every place that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What a code says beside this.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A refusal on its way out.
#[derive(Clone, PartialEq)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    code: Code,
    body: ProblemBody,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem whose title says what is wrong with this very request.
    pub fn new(code: Code, title: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            body: ProblemBody {
                kind: format!("{TYPE_PREFIX}{}", code.slug()),
                title: excerpt(title.into()),
                status: code.status().as_u16(),
                detail: None,
                did_you_mean: None,
                errors: Vec::new(),
                more: Map::new(),
            },
            headers: Vec::new(),
        }))
    }

    /// The server's own failure. The cause goes to the log and nowhere else.
    pub fn internal(doing: &str, cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, doing, "a request failed");
        Self::new(Code::Internal, "The server failed")
            .detail("Its log says why. The request can be repeated.")
    }

    /// Says what to do about it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.body.detail = Some(excerpt(detail.into()));
        self
    }

    /// Names what was perhaps meant.
    pub fn did_you_mean(mut self, closest: Option<impl Into<String>>) -> Self {
        self.0.body.did_you_mean = closest.map(Into::into);
        self
    }

    /// Lists the places that are wrong.
    pub fn errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        self.0.body.errors.extend(errors);
        self
    }

    /// Adds a member that only this code has.
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.body.more.insert(name.into(), value.into());
        self
    }

    /// Adds a response header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// What it is.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// As it is sent.
    pub fn body(&self) -> &ProblemBody {
        &self.0.body
    }

    /// As it is sent, for answers that carry problems inside: these have no headers, so when to
    /// come back is said in the body.
    pub fn into_body(self) -> ProblemBody {
        let Inner { mut body, headers, .. } = *self.0;
        let wait = headers.iter().find(|(name, _)| name == header::RETRY_AFTER);
        let seconds = wait.and_then(|(_, value)| value.to_str().ok()?.parse::<u64>().ok());
        body.more.extend(seconds.map(|seconds| ("retry_after".to_owned(), seconds.into())));
        body
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = (self.status(), self.code());
        let Inner { body, headers, .. } = *self.0;
        // Strings, numbers and string-keyed maps always serialise; were that ever untrue,
        // the status alone still answers.
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response.extensions_mut().insert(code);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_explained() {
        let slugs: HashSet<_> = registry().map(|entry| entry.code).collect();
        assert_eq!(slugs.len(), Code::ALL.len());
        for entry in registry() {
            assert!(entry.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{entry:?}");
            assert!((400..600).contains(&entry.status), "{entry:?}");
            assert!(entry.explanation.ends_with('.'), "{entry:?}");
        }
    }

    #[test]
    fn every_problem_is_in_the_documentation() {
        let documented = include_str!("../../../docs/problems.md");
        for entry in registry() {
            let row = format!("| `{}` | {} | {}", entry.code, entry.status, entry.explanation);
            assert!(documented.contains(&row), "docs/problems.md lacks the row\n{row} |");
        }
    }

    #[test]
    fn a_problem_is_sent_in_the_form_the_documentation_shows() {
        let problem = Problem::new(Code::UnknownEventType, "There is no event type order.craeted")
            .did_you_mean(Some("order.created"));
        assert_eq!(
            serde_json::to_string(problem.body()).unwrap(),
            r#"{"type":"https://hookmill.dev/problems/unknown-event-type","title":"There is no event type order.craeted","status":400,"did_you_mean":"order.created"}"#
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }

    #[test]
    fn an_internal_problem_says_nothing_of_its_cause() {
        let problem = Problem::internal("reading", &"disk /dev/vda is on fire");
        let text = serde_json::to_string(problem.body()).unwrap();
        assert!(!text.contains("fire"), "{text}");
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_problem_does_not_repeat_a_megabyte_of_the_request() {
        let long = "é".repeat(1 << 20);
        let problem = Problem::new(Code::InvalidField, format!("{long} is wrong"))
            .detail(long.clone())
            .errors([FieldError::new(long.clone(), long)]);
        assert!(serde_json::to_string(problem.body()).unwrap().len() < 5000);
    }

    #[test]
    fn a_problem_inside_an_answer_says_when_to_come_back() {
        let problem = || Problem::new(Code::RateLimited, "Too much");
        let waiting = problem().header(header::RETRY_AFTER, HeaderValue::from(7));
        assert_eq!(waiting.into_body().more["retry_after"], 7);
        assert!(problem().into_body().more.is_empty());
    }

    #[test]
    fn clients_can_read_what_is_sent() {
        let problem = Problem::new(Code::BodyTooLarge, "Too large").member("limit_bytes", 1024);
        let text = serde_json::to_string(problem.body()).unwrap();
        let read: ProblemBody = serde_json::from_str(&text).unwrap();
        assert_eq!(&read, problem.body());
    }
}
