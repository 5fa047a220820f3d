//! How the other modules' errors become problems: one function for each kind of error,
//! every case written out, so a new case does not compile until it has its answer.

use std::{fmt, time::Duration};

use axum::http::{HeaderValue, header};
use serde_json::Value;

use super::{
    limits,
    problem::{Code, FieldError, Problem},
};
use crate::{
    backtest::{BacktestError, MAX_LAST},
    catalog::CatalogError,
    ingest::Rejected,
    limits::Shed,
    model::Compatibility,
    plugin::Rejection,
    schema::{Finding, SchemaError},
    store::{StoreError, Unwritable},
};

/// What a request is about, to say in a problem: `event type order.created`.
#[derive(Debug, Clone)]
pub struct Subject {
    kind: &'static str,
    name: String,
}

impl Subject {
    /// A thing of some kind and its name or id.
    pub fn new(kind: &'static str, name: impl fmt::Display) -> Self {
        Self { kind, name: name.to_string() }
    }

    /// It does not exist.
    pub fn not_found(&self) -> Problem {
        Problem::new(Code::NotFound, format!("There is no {self}"))
    }

    /// Its name is taken.
    pub fn exists(&self) -> Problem {
        Problem::new(Code::AlreadyExists, format!("There already is {self}"))
    }

    /// Its deletion is refused.
    pub fn in_use(&self, by: impl fmt::Display) -> Problem {
        Problem::new(Code::InUse, format!("The {self} is in use by {by}"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A store's error about `subject`.
pub fn store(error: StoreError, subject: &Subject) -> Problem {
    match error {
        StoreError::NotFound => subject.not_found(),
        StoreError::Exists => subject.exists(),
        StoreError::NoApplication => no_application(),
        StoreError::InUse(count) => subject.in_use(count),
        StoreError::Unwritable(why, cause) => unwritable(why, &cause),
        StoreError::PayloadExpired => payload_expired(subject),
        StoreError::Failed(cause) => Problem::internal(subject.kind, &cause),
    }
}

/// An application that was there when the request came.
fn no_application() -> Problem {
    Problem::new(Code::UnknownApplication, "The application was deleted meanwhile")
        .detail("Nothing was stored.")
}

/// Seconds after which a database that took nothing may take something again.
const UNWRITABLE_SECONDS: u64 = 10;

/// The database takes no change. The cause goes to the log: it may name files.
fn unwritable(why: Unwritable, cause: &str) -> Problem {
    tracing::error!(cause, "{why}: a request was refused");
    let (reason, cure) = match why {
        Unwritable::Full => ("full", "Make room on the disk of the database."),
        Unwritable::ReadOnly => ("read-only", "Make the database's file and folder writable."),
        Unwritable::Failing => {
            ("failing", "Look at the disk of the database; the server's log says more.")
        }
    };
    let title = format!("Nothing can be stored: {why}");
    Problem::new(Code::StorageUnavailable, title)
        .detail(format!("Nothing was accepted. {cure} The server goes on by itself then."))
        .member("reason", reason)
        .header(header::RETRY_AFTER, HeaderValue::from(UNWRITABLE_SECONDS))
}

/// What an event said is no longer kept.
pub fn payload_expired(subject: &Subject) -> Problem {
    Problem::new(Code::PayloadExpired, format!("The payload of {subject} is no longer kept"))
        .detail("It is older than `retain_payload_days`, and all its deliveries had ended.")
}

/// A schema that breaks what the type's mode promises; the report goes with it.
fn incompatible(mode: Compatibility, findings: &[Finding], subject: &Subject) -> Problem {
    let certain = findings.iter().any(|finding| finding.certain);
    let title = if certain {
        format!("The schema is not {} with the newest of {subject}", mode_word(mode))
    } else {
        format!(
            "Whether the schema is {} with the newest of {subject} cannot be told",
            mode_word(mode)
        )
    };
    let at = |finding: &Finding| format!("/schema{}", finding.new);
    Problem::new(Code::IncompatibleSchema, title)
        .detail("Change the schema; or try it against stored events and say `accept_unknown` for what cannot be told; or give the event type another `compatibility`.")
        .errors(findings.iter().map(|finding| FieldError::new(at(finding), finding.why.as_str())))
        .member("findings", serde_json::to_value(findings).unwrap_or_default())
}

const fn mode_word(mode: Compatibility) -> &'static str {
    match mode {
        Compatibility::Backward => "backward compatible",
        Compatibility::Forward => "forward compatible",
        Compatibility::Full => "compatible both ways",
        Compatibility::None => "compatible",
    }
}

/// A catalog's refusal about `subject`.
pub fn catalog(error: CatalogError, subject: &Subject) -> Problem {
    match error {
        CatalogError::Exists => subject.exists(),
        CatalogError::Changed => super::preconditions::failed(),
        CatalogError::NotFound => subject.not_found(),
        CatalogError::InUse(by) => subject.in_use(by),
        CatalogError::Schema(error) => schema(&error, "/schema"),
        CatalogError::Incompatible(mode, findings) => incompatible(mode, &findings, subject),
        CatalogError::UnknownPlugin { step, name, did_you_mean } => {
            let title = format!("There is no plugin {name}");
            Problem::new(Code::UnknownPlugin, title.clone())
                .did_you_mean(did_you_mean)
                .errors([FieldError::new(format!("/pipeline/{step}/plugin"), title)])
        }
        CatalogError::BadConfig { step, plugin, violations } => {
            let at = format!("/pipeline/{step}/config");
            Problem::new(
                Code::InvalidConfig,
                format!("The config of step {} does not satisfy the schema of {plugin}", step + 1),
            )
            .errors(violations.into_iter().map(|v| FieldError::violation(&at, v)))
        }
        CatalogError::BreaksConfigs(subscriptions) => {
            let list: Vec<Value> = subscriptions.iter().map(|id| id.to_string().into()).collect();
            Problem::new(
                Code::BreaksConfigs,
                format!("{subject} would not accept the configs of {} subscriptions", list.len()),
            )
            .detail(
                "Change their configs first, or pin them to the version they use now, or force it.",
            )
            .member("subscriptions", list)
        }
        CatalogError::NotDeprecated => {
            let why = "is an end for what is not deprecated: give `\"deprecated\": true` with it, or leave it out";
            Problem::new(Code::InvalidField, format!("The {subject} cannot be given an end"))
                .errors([FieldError::new("/sunset_at", why)])
        }
        CatalogError::NothingBefore => {
            let title = format!("No version of {subject} was live before");
            Problem::new(Code::NoPreviousVersion, title)
                .detail("Make one live by its version: `hookmill plugin promote`, or PUT /v1/plugins/{name}/live.")
        }
        CatalogError::CandidateIsLive(version) => {
            Problem::new(Code::CandidateIsLive, format!("{version} is the live version"))
                .detail("Upload the candidate without making it live (`hookmill plugin push --no-live`, or ?live=false) and try that.")
        }
        CatalogError::Unloadable(cause) => {
            tracing::error!(%cause, %subject, "a stored plugin cannot be loaded");
            Problem::new(Code::PluginUnavailable, "A plugin could not be loaded")
                .detail("The server's log says why.")
        }
        CatalogError::Busy => {
            Problem::new(Code::Overloaded, "Too many schemas are waiting to be looked at")
                .detail("Nothing was changed. Try again after the time in Retry-After.")
                .header(header::RETRY_AFTER, HeaderValue::from(BUSY_SECONDS))
        }
        CatalogError::Store(error) => store(error, subject),
    }
}

/// Seconds after which there may be room for another schema.
const BUSY_SECONDS: u64 = 5;

/// A JSON Schema, given at `at` of the body, that cannot be used.
pub fn schema(error: &SchemaError, at: &str) -> Problem {
    Problem::new(Code::UnusableSchema, "The schema cannot be used")
        .errors([FieldError::new(format!("{at}{}", error.at), error.message.clone())])
}

/// An event that was not accepted.
pub fn publish(error: Rejected) -> Problem {
    match error {
        Rejected::Archived { event_type, since } => {
            Problem::new(Code::ArchivedEventType, format!("{event_type} is archived since {since}"))
                .detail("It takes no more events. Those it has stay.")
        }
        Rejected::UnknownEventType { name, did_you_mean } => {
            Problem::new(Code::UnknownEventType, format!("There is no event type {name}"))
                .did_you_mean(did_you_mean)
        }
        Rejected::Reserved { name } => Problem::new(
            Code::ReservedEventType,
            format!("{name} is one of the server's own event types"),
        )
        .detail("Types that begin with `hookmill` are published by the server alone."),
        Rejected::UnknownSchemaVersion { event_type, version, newest } => Problem::new(
            Code::UnknownSchemaVersion,
            format!("The event type {event_type} has no schema version {version}"),
        )
        .detail(match newest {
            0 => "It has no schema; leave `schema_version` out.".to_owned(),
            newest => format!("Its newest version is {newest}."),
        })
        .errors([FieldError::new("/schema_version", "there is no such version")]),
        Rejected::Malformed(why) => {
            Problem::new(Code::MalformedPayload, "The payload cannot be accepted")
                .errors([FieldError::new("/payload", why)])
        }
        Rejected::ContentType { event_type, content_type, taken } => Problem::new(
            Code::PayloadType,
            format!("The event type {event_type} does not take payloads of type {content_type}"),
        )
        .detail(format!("It takes {}.", taken.join(", "))),
        Rejected::Violates { event_type, version, violations } => Problem::new(
            Code::SchemaViolation,
            format!("The payload does not match the schema of {event_type}, version {version}"),
        )
        .errors(violations.into_iter().map(|v| FieldError::violation("", v))),
        Rejected::Conflict { key } => Problem::new(
            Code::IdempotencyConflict,
            format!("The key {key} was used for another event"),
        )
        .detail("Repeat a request with the very same event, or give a new event a new key."),
        Rejected::Full { used, most } => limits::full(most, used),
        Rejected::TooLarge { event_type, bytes, most } => {
            limits::too_large(event_type.as_str(), bytes, most)
        }
        Rejected::NoApplication => no_application(),
        Rejected::Overloaded { retry_after } => {
            Problem::new(Code::Overloaded, "Too many events are waiting to be stored")
                .detail("Nothing was accepted. Try again after the time in Retry-After.")
                .member("reason", Shed::Busy.as_str())
                .header(header::RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)))
        }
        // Not the event's id: a store that fails to append has accepted nothing to name.
        Rejected::Store(error) => store(error, &Subject::new("storing an event", "")),
    }
}

/// A key that stands for another request already.
pub fn other_request(key: &str) -> Problem {
    Problem::new(Code::IdempotencyConflict, format!("The key {key} was used for another request"))
        .detail("Repeat a request with the very same path and body, or give a new one a new key.")
}

/// `Retry-After` counts whole seconds, and zero would ask to be hammered.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// When to try to compile again what the machine had no time for.
const COMPILE_AGAIN: Duration = Duration::from_secs(60);

/// An upload that cannot become a plugin.
pub fn plugin(rejection: Rejection) -> Problem {
    let (code, title) = match rejection.code {
        "not-wasm" => (Code::NotWasm, "The upload is not WebAssembly"),
        "too-large" => (Code::TooLarge, "The plugin is too large"),
        "too-complex" => (Code::TooComplex, "The plugin is too complex"),
        "forbidden-import" => (Code::ForbiddenImport, "The plugin imports what it may not"),
        "unknown-world" => (Code::UnknownWorld, "The plugin exports no world this server runs"),
        "bad-manifest" => (Code::BadManifest, "The plugin's manifest cannot be used"),
        "uncompilable" => (Code::Uncompilable, "The plugin cannot be compiled"),
        "compile-timeout" => {
            return Problem::new(Code::CompileTimeout, "The plugin was not compiled in time")
                .detail(rejection.detail)
                .header(header::RETRY_AFTER, HeaderValue::from(whole_seconds(COMPILE_AGAIN)));
        }
        "compiler-unavailable" => {
            // The operator's to mend, so the operator's to read.
            tracing::error!(cause = rejection.detail, "an upload could not be compiled");
            return Problem::new(
                Code::CompilerUnavailable,
                "The server cannot compile plugins now",
            )
            .detail("The server's log says why.");
        }
        other => {
            return Problem::new(Code::PluginRejected, "The upload cannot become a plugin")
                .detail(rejection.detail)
                .member("reason", other);
        }
    };
    Problem::new(code, title).detail(rejection.detail)
}

/// A backtest that does not start.
pub fn backtest(error: BacktestError, subject: &Subject) -> Problem {
    let title = error.to_string();
    match error {
        BacktestError::TooMany => Problem::new(Code::TooManyBacktests, title)
            .detail("Wait for one to end, or cancel one: GET /v1/backtests lists them."),
        BacktestError::Last(_) => {
            Problem::new(Code::InvalidField, "A backtest of so many events is not possible")
                .errors([FieldError::new("/last", format!("1 to {MAX_LAST} are allowed"))])
        }
        BacktestError::UnknownSubscription(id) => Subject::new("subscription", id).not_found(),
        BacktestError::NotUsed => {
            Problem::new(Code::PluginNotUsed, format!("No subscription uses the {subject}"))
                .detail("Give a `subscription_id` to try it there, as one step more.")
        }
        BacktestError::BadConfig { plugin, violations } => Problem::new(
            Code::InvalidConfig,
            format!("The config does not satisfy the schema of {plugin}"),
        )
        .errors(violations.into_iter().map(|v| FieldError::violation("/config", v))),
        BacktestError::BreaksConfigs(subscriptions) => {
            let list: Vec<Value> = subscriptions.iter().map(|id| id.to_string().into()).collect();
            Problem::new(
                Code::BreaksConfigs,
                format!("{subject} would not accept the configs of {} subscriptions", list.len()),
            )
            .detail("Give a `config` that it accepts, to try it with that.")
            .member("subscriptions", list)
        }
        BacktestError::Schema(cause) => Problem::internal("compiling a config schema", &cause),
        BacktestError::Load(error) => catalog(error, subject),
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse};

    use super::*;
    use crate::model::Violation;

    fn violation(at: &str) -> Violation {
        Violation { at: at.into(), schema: "/properties".into(), message: "wrong".into() }
    }

    #[test]
    fn a_schema_violation_points_into_the_payload() {
        let problem = publish(Rejected::Violates {
            event_type: "order.created".parse().unwrap(),
            version: 1,
            violations: vec![violation("/total")],
        });
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem.body().errors[0].at, "/total");
        assert_eq!(
            problem.body().title,
            "The payload does not match the schema of order.created, version 1"
        );
    }

    #[test]
    fn a_bad_config_points_into_the_request() {
        let problem = catalog(
            CatalogError::BadConfig {
                step: 2,
                plugin: "big-orders@0.1.0".into(),
                violations: vec![violation("/at_least")],
            },
            &Subject::new("subscription", "new"),
        );
        assert_eq!(problem.body().errors[0].at, "/pipeline/2/config/at_least");
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn overload_says_when_to_come_back_in_whole_seconds() {
        for (wait, shown) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let retry_after = Duration::from_millis(wait);
            let response = publish(Rejected::Overloaded { retry_after }).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], shown);
        }
    }

    #[test]
    fn a_failed_database_is_not_described_to_the_client() {
        let failed = || StoreError::Failed("no such table: secrets".into());
        let subject = Subject::new("event", "evt_1");
        for problem in [
            store(failed(), &subject),
            catalog(CatalogError::Store(failed()), &subject),
            publish(Rejected::Store(failed())),
        ] {
            assert_eq!(problem.code(), Code::Internal);
            assert!(!serde_json::to_string(problem.body()).unwrap().contains("table"));
        }
    }

    #[test]
    fn a_full_disk_is_told_as_such_and_when_to_come_back() {
        let full = StoreError::Unwritable(Unwritable::Full, "/var/lib/x: no space".into());
        let response = publish(Rejected::Store(full.clone())).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "10");
        let problem = publish(Rejected::Store(full));
        assert_eq!(problem.body().title, "Nothing can be stored: the disk is full");
        assert_eq!(problem.body().more["reason"], "full");
        assert!(!serde_json::to_string(problem.body()).unwrap().contains("/var"));
    }

    #[test]
    fn a_rejection_this_module_has_not_met_still_names_itself() {
        let problem = plugin(Rejection { code: "brand-new", detail: "why".into() });
        assert_eq!(problem.code(), Code::PluginRejected);
        assert_eq!(problem.body().more["reason"], "brand-new");
        let known = plugin(Rejection { code: "not-wasm", detail: "why".into() });
        assert_eq!(known.body().kind, "https://hookmill.dev/problems/not-wasm");
    }

    #[test]
    fn what_is_the_machine_s_fault_is_not_the_upload_s() {
        let of = |code| plugin(Rejection { code, detail: "/opt/hookmill: no".into() });
        let response = of("compile-timeout").into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "60");
        let problem = of("compiler-unavailable");
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!serde_json::to_string(problem.body()).unwrap().contains("/opt"));
    }

    #[test]
    fn every_refused_upload_is_explained() {
        let documented = include_str!("../../../docs/plugin-errors.md");
        for code in [
            Code::NotWasm,
            Code::TooLarge,
            Code::TooComplex,
            Code::ForbiddenImport,
            Code::UnknownWorld,
            Code::BadManifest,
            Code::Uncompilable,
            Code::PluginRejected,
            Code::CompileTimeout,
            Code::CompilerUnavailable,
        ] {
            let heading = format!("\n### `{}`\n\n> ", code.slug());
            assert!(documented.contains(&heading), "docs/plugin-errors.md lacks {heading}");
        }
        for reason in ["precompiled", "unknown-interface"] {
            assert!(documented.contains(&format!("`{reason}`")), "{reason}");
        }
    }
}
