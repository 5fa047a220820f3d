//! A source as it is given, changed and shown, and what may be in one.
//!
//! Every mistake of a request is collected, so it takes one round to mend them all.

use axum::http::HeaderName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    extract::{check_text, nullable},
    problem::{Code, FieldError, Problem},
};
use crate::model::{
    Application, EventTypeName, HmacRule, IdRule, Repetitions, Scheme, SecretText, Source,
    SourceId, SourceKind, SourceSecret, SourceSecretId, SourceSettings, Step, Timestamp, TypeRule,
    UnknownTypes,
    signing::{self, Piece},
};
use crate::sources::MAX_STEPS;

const MAX_POINTERS: usize = 4;
const MAX_POINTER: usize = 256;
/// Most names in a pointer: what it leads through is read on the way.
const MAX_TOKENS: usize = 16;
const MAX_USERNAME: usize = 255;
const MAX_TOLERANCE: u32 = 24 * 3600;

/// A source to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "github", "kind": "github", "unknown_event_types": "create"}))]
pub struct SourceIn {
    /// Unique; lower-case letters, digits, `-`, `_`, `.`; at most 64.
    #[schema(pattern = "^[a-z0-9._-]{1,64}$")]
    pub name: String,
    /// Whose signatures it verifies.
    pub kind: SourceKind,
    /// The secret they are made with. Made if none is given, where the third party takes one of
    /// ours; else to be added later. Never shown again.
    #[schema(value_type = Option<String>, write_only)]
    pub secret: Option<SecretText>,
    /// How an HMAC is made: for the kind `hmac`.
    pub hmac: Option<HmacRule>,
    /// Whose password the secret is: for the kind `basic`.
    pub username: Option<String>,
    /// How far a signed time may be from now, in seconds.
    #[serde(default = "tolerance")]
    #[schema(default = 300, minimum = 1, maximum = 86_400)]
    pub tolerance_seconds: u32,
    /// Where the event type comes from; as is usual for the kind, if it has a usual one.
    pub event_type: Option<TypeRule>,
    /// Where the id is that repetitions share; as is usual for the kind.
    pub delivery_id: Option<IdRule>,
    /// By what a request is known to be one that came before; as is usual for the kind.
    pub repetitions: Option<Repetitions>,
    /// A JSON pointer to what the event is about.
    pub subject: Option<String>,
    /// What becomes of requests of an event type that was never created.
    #[serde(default)]
    pub unknown_event_types: UnknownTypes,
    /// The plugins that a request runs through before it is an event: what they make of the
    /// payload is stored, what they drop is not.
    #[serde(default)]
    #[schema(max_items = 4)]
    pub pipeline: Vec<Step>,
}

fn tolerance() -> u32 {
    SourceSettings::TOLERANCE
}

/// Changes to a source; what is left out stays. Its kind stays, too.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"unknown_event_types": "ignore"}))]
pub struct SourcePatch {
    /// Unique; lower-case letters, digits, `-`, `_`, `.`; at most 64.
    pub name: Option<String>,
    /// How an HMAC is made: for the kind `hmac`.
    pub hmac: Option<HmacRule>,
    /// Whose password the secret is: for the kind `basic`.
    pub username: Option<String>,
    /// How far a signed time may be from now, in seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    pub tolerance_seconds: Option<u32>,
    /// Where the event type comes from.
    pub event_type: Option<TypeRule>,
    /// Where the id is that repetitions share; null for what is usual for the kind.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<IdRule>)]
    pub delivery_id: Option<Option<IdRule>>,
    /// By what a request is known to be one that came before; null for what is usual for the kind.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Repetitions>)]
    pub repetitions: Option<Option<Repetitions>>,
    /// A JSON pointer to what the event is about; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    pub subject: Option<Option<String>>,
    /// What becomes of requests of an event type that was never created.
    pub unknown_event_types: Option<UnknownTypes>,
    /// The plugins that a request runs through before it is an event; replaces the list.
    #[schema(max_items = 4)]
    pub pipeline: Option<Vec<Step>>,
}

impl SourcePatch {
    /// Puts the changes into a source.
    pub fn apply(self, source: &mut Source) {
        let settings = &mut source.settings;
        source.name = self.name.unwrap_or_else(|| source.name.clone());
        settings.hmac = self.hmac.or_else(|| settings.hmac.take());
        settings.username = self.username.or_else(|| settings.username.take());
        settings.tolerance_seconds = self.tolerance_seconds.unwrap_or(settings.tolerance_seconds);
        if let Some(event_type) = self.event_type {
            settings.event_type = event_type;
        }
        if let Some(delivery_id) = self.delivery_id {
            settings.delivery_id = delivery_id;
        }
        if let Some(repetitions) = self.repetitions {
            settings.repetitions = repetitions;
        }
        if let Some(subject) = self.subject {
            settings.subject = subject;
        }
        settings.unknown_event_types =
            self.unknown_event_types.unwrap_or(settings.unknown_event_types);
        if let Some(pipeline) = self.pipeline {
            settings.pipeline = pipeline;
        }
    }
}

/// What tells a source's secret from others.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SourceSecretOut {
    /// Its id.
    pub id: SourceSecretId,
    /// When it was given.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it verifies no more; null if it does not end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

impl From<&SourceSecret> for SourceSecretOut {
    fn from(secret: &SourceSecret) -> Self {
        let SourceSecret { id, created_at, expires_at, .. } = *secret;
        Self { id, created_at, expires_at }
    }
}

/// A source.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceOut {
    /// Its id.
    pub id: SourceId,
    /// For people; unique within the application.
    pub name: String,
    /// The path of its URL, on whatever host the third party reaches the server by.
    #[schema(example = "/in/src_01jd8xq3m5e7r9t0v2w4y6z8ab")]
    pub path: String,
    #[serde(flatten)]
    pub settings: SourceSettings,
    /// What verifies its requests: any one of them.
    pub secrets: Vec<SourceSecretOut>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl SourceOut {
    /// A source, with the secrets that verify at `now`.
    pub fn new(source: &Source, now: Timestamp) -> Self {
        let active = source.secrets.iter().filter(|secret| secret.is_active(now));
        Self {
            id: source.id,
            name: source.name.clone(),
            path: format!("/in/{}", source.id),
            settings: source.settings.clone(),
            secrets: active.map(Into::into).collect(),
            created_at: source.created_at,
            updated_at: source.updated_at,
        }
    }
}

/// A source just created.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceCreated {
    #[serde(flatten)]
    pub source: SourceOut,
    /// The secret to give to the third party, if it was made here. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Refuses a source that cannot be used, with all that is wrong.
pub fn check(source: &Source) -> Result<(), Problem> {
    let settings = &source.settings;
    let mut wrong = Vec::new();
    let mut refuse = |at: &str, why: String| wrong.push(FieldError::new(at, why));
    if !Application::is_valid_name(&source.name) {
        refuse("/name", "1 to 64 lower-case letters, digits, `-`, `_` or `.`".into());
    }
    if !(1..=MAX_TOLERANCE).contains(&settings.tolerance_seconds) {
        let given = settings.tolerance_seconds;
        refuse("/tolerance_seconds", format!("is {given}; 1 to {MAX_TOLERANCE} are allowed"));
    }
    match (&settings.hmac, settings.kind) {
        (Some(rule), SourceKind::Hmac) => check_hmac(rule, &mut refuse),
        (None, SourceKind::Hmac) => refuse("/hmac", "is needed for the kind hmac".into()),
        (Some(_), kind) => refuse("/hmac", format!("is not for the kind {}", kind.as_str())),
        (None, _) => {}
    }
    match (&settings.username, settings.kind) {
        (Some(name), SourceKind::Basic) => {
            if let Err(error) = check_text("/username", name, MAX_USERNAME) {
                refuse("/username", error.message);
            } else if name.contains(':') {
                refuse("/username", "has a colon in it, which ends a user name".into());
            }
        }
        (None, SourceKind::Basic) => refuse("/username", "is needed for the kind basic".into()),
        (Some(_), kind) => refuse("/username", format!("is not for the kind {}", kind.as_str())),
        (None, _) => {}
    }
    check_type(&settings.event_type, &mut refuse);
    let rule = &settings.event_type;
    if settings.unknown_event_types == UnknownTypes::Create
        && rule.fixed.is_none()
        && rule.prefix.is_none()
    {
        let why = "is needed where event types are created: else a third party could name any";
        refuse("/event_type/prefix", why.into());
    }
    if let Some(rule) = &settings.delivery_id {
        match (&rule.header, rule.pointers.as_slice()) {
            (Some(name), []) => check_header("/delivery_id/header", name, &mut refuse),
            (None, pointers @ [_, ..]) => {
                check_pointers("/delivery_id/pointers", pointers, &mut refuse);
            }
            _ => refuse("/delivery_id", "has to have either a header or pointers".into()),
        }
    }
    if let Some(pointer) = &settings.subject {
        check_pointer("/subject", pointer, &mut refuse);
    }
    if settings.pipeline.len() > MAX_STEPS {
        let count = settings.pipeline.len();
        refuse("/pipeline", format!("has {count} steps; at most {MAX_STEPS} are allowed"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidSource, "The source cannot be saved as given").errors(wrong))
}

fn check_hmac(rule: &HmacRule, refuse: &mut impl FnMut(&str, String)) {
    for (at, why) in signing::check(&[Scheme::Hmac(rule.template())]) {
        refuse(&format!("/hmac{}", at.trim_start_matches("/0")), why);
    }
    check_header("/hmac/header", &rule.header, refuse);
    let pieces = Piece::parse(&rule.content).unwrap_or_default();
    let optional = [
        ("timestamp_header", &rule.timestamp_header, Piece::Timestamp, "timestamp"),
        ("id_header", &rule.id_header, Piece::Id, "id"),
    ];
    for (member, name, piece, word) in optional {
        let Some(name) = name else { continue };
        let at = format!("/hmac/{member}");
        check_header(&at, name, refuse);
        if !pieces.contains(&piece) {
            let why =
                format!("is not signed, so it proves nothing: content has no {{{word}}} in it");
            refuse(&at, why);
        }
    }
}

fn check_type(rule: &TypeRule, refuse: &mut impl FnMut(&str, String)) {
    let given = [rule.fixed.is_some(), rule.header.is_some(), !rule.pointers.is_empty()];
    if given.into_iter().filter(|&given| given).count() != 1 {
        refuse("/event_type", "has to have one of fixed, header and pointers".into());
    }
    if let Some(fixed) = &rule.fixed {
        check_name("/event_type/fixed", fixed, refuse);
        if rule.prefix.is_some() || rule.suffix.is_some() {
            refuse("/event_type", "is fixed, so nothing is put before or after it".into());
        }
    }
    if let Some(name) = &rule.header {
        check_header("/event_type/header", name, refuse);
    }
    check_pointers("/event_type/pointers", &rule.pointers, refuse);
    if let Some(prefix) = &rule.prefix {
        check_name("/event_type/prefix", prefix, refuse);
    }
    if let Some(pointer) = &rule.suffix {
        check_pointer("/event_type/suffix", pointer, refuse);
    }
}

fn check_name(at: &str, name: &str, refuse: &mut impl FnMut(&str, String)) {
    match name.parse::<EventTypeName>() {
        Ok(name) if name.is_reserved() => refuse(at, "is one of the server's own".into()),
        Ok(_) => {}
        Err(why) => refuse(at, why.into()),
    }
}

fn check_header(at: &str, name: &str, refuse: &mut impl FnMut(&str, String)) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        refuse(at, format!("{name:?} is not the name of a header"));
    }
}

fn check_pointers(at: &str, pointers: &[String], refuse: &mut impl FnMut(&str, String)) {
    if pointers.len() > MAX_POINTERS {
        refuse(at, format!("has {} pointers; at most {MAX_POINTERS} are allowed", pointers.len()));
    }
    for (index, pointer) in pointers.iter().take(MAX_POINTERS).enumerate() {
        check_pointer(&format!("{at}/{index}"), pointer, refuse);
    }
}

fn check_pointer(at: &str, pointer: &str, refuse: &mut impl FnMut(&str, String)) {
    let misspelt = |token: &str| !token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let tokens = || pointer.split('/').skip(1);
    if !pointer.starts_with('/')
        || pointer.len() > MAX_POINTER
        || tokens().count() > MAX_TOKENS
        || tokens().any(misspelt)
    {
        let why = format!(
            "is not a JSON pointer such as /data/type, of at most {MAX_POINTER} bytes and \
             {MAX_TOKENS} steps into objects; ~ is written ~0, and / within a name ~1"
        );
        refuse(at, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_a_few_steps_into_objects_and_is_escaped_as_pointers_are() {
        let wrong = |pointer: &str| {
            let mut wrong = 0;
            check_pointer("/at", pointer, &mut |_: &str, _| wrong += 1);
            wrong > 0
        };
        for good in ["/", "/a", "/a/b~1c/~0~1", "/é", &"/a".repeat(MAX_TOKENS)] {
            assert!(!wrong(good), "{good}");
        }
        for bad in ["", "a", "/~", "/~2", "/a~/b", "/~0~", &"/a".repeat(MAX_TOKENS + 1)] {
            assert!(wrong(bad), "{bad}");
        }
    }
}
