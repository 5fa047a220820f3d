//! Recorded cases: `tests/*.json`, the files `hookmill plugin test` runs through the
//! compiled plugin, here run through its function.
//!
//! Owns the file format and the comparison. Never touches the files.

use super::{Answer, Sent, event};
use crate::{Config, Event, Message, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A plugin's function, with a configuration or without.
pub trait Plugin<M> {
    /// A verdict or an outcome.
    type Answer: Answer;

    /// Runs it, reading the configuration from JSON text.
    fn run(&self, event: &Event, config: &str) -> Result<Self::Answer>;
}

impl<F, A> Plugin<(A,)> for F
where
    F: Fn(&Event) -> Result<A>,
    A: Answer,
{
    type Answer = A;

    fn run(&self, event: &Event, _config: &str) -> Result<A> {
        self(event)
    }
}

impl<F, C, A> Plugin<(C, A)> for F
where
    F: Fn(&Event, C) -> Result<A>,
    C: Config,
    A: Answer,
{
    type Answer = A;

    fn run(&self, event: &Event, config: &str) -> Result<A> {
        self(event, C::read(config)?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    event: Recorded,
    /// `{}` if absent.
    #[serde(default)]
    config: Option<Value>,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[serde(rename = "type")]
    event_type: String,
    payload: Value,
    subject: Option<String>,
    occurred_at: Option<String>,
}

/// Exactly one of the answers; `headers` belongs to `edit`, `contains` to `fault`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    pass: Option<bool>,
    drop: Option<String>,
    deliver: Option<Delivered>,
    edit: Option<Value>,
    headers: Option<Map<String, Value>>,
    fault: Option<String>,
    contains: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivered {
    content_type: String,
    headers: Option<Map<String, Value>>,
    body: Value,
}

/// Runs every `tests/*.json` of the package being tested through its function.
///
/// ```no_run
/// # use hookmill_sdk::{prelude::*, testing};
/// # #[filter]
/// # fn big_orders(event: &Event) -> Result<Verdict> { Ok(pass()) }
/// #[test]
/// fn recorded_cases() {
///     testing::check_cases(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), big_orders);
/// }
/// ```
///
/// # Panics
///
/// If a case doesn't hold, naming each that doesn't; if a file is not a case, or if
/// there is none.
#[allow(clippy::needless_pass_by_value, reason = "a function's name reads best as it is")]
pub fn check_cases<M, P: Plugin<M>>(folder: impl AsRef<Path>, plugin: P) {
    let folder = folder.as_ref();
    let files = match files(folder) {
        Ok(files) => files,
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    assert!(!files.is_empty(), "there are no *.json files in {}", folder.display());
    let problems: Vec<String> =
        files.iter().filter_map(|file| check(file, &plugin).err()).collect();
    assert!(
        problems.is_empty(),
        "{} of {} cases do not hold\n{}",
        problems.len(),
        files.len(),
        problems.join("\n")
    );
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check<M, P: Plugin<M>>(file: &Path, plugin: &P) -> Result<(), String> {
    let at = file.file_name().unwrap_or_default().to_string_lossy();
    let text = fs::read_to_string(file).map_err(|error| format!("{at}: {error}"))?;
    let case: Case =
        serde_json::from_str(&text).map_err(|error| format!("{at}: not a case: {error}"))?;
    let config = case.config.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
    let event = build(case.event);
    let got = plugin.run(&event, &config).and_then(|answer| answer.sent(&event));
    let held = match &got {
        Ok(sent) => compare(sent, &case.expect),
        Err(error) => {
            case.expect.fault.as_deref() == Some(error.fault().name())
                && error.message().contains(case.expect.contains.as_deref().unwrap_or_default())
        }
    };
    if held { Ok(()) } else { Err(format!("{at}: {}\n  got {}", case.name, describe(&got))) }
}

fn build(recorded: Recorded) -> Event {
    let mut builder = event(recorded.payload).event_type(recorded.event_type);
    if let Some(subject) = recorded.subject {
        builder = builder.subject(subject);
    }
    if let Some(time) = recorded.occurred_at {
        builder = builder.occurred_at(time);
    }
    builder.build()
}

fn compare(sent: &Sent, expect: &Expected) -> bool {
    match sent {
        Sent::Dropped(reason) => expect.drop.as_ref() == Some(reason),
        Sent::Payload { edits: 0, .. } if expect.pass == Some(true) => true,
        Sent::Payload { payload, headers, .. } => {
            expect.edit.as_ref() == Some(payload) && same_headers(headers, expect.headers.as_ref())
        }
        Sent::Message(message) => expect.deliver.as_ref().is_some_and(|deliver| {
            deliver.content_type == message.content_type
                && same_headers(&message.headers, deliver.headers.as_ref())
                && same_body(message, &deliver.body)
        }),
    }
}

/// A case that names no headers does not ask about them.
fn same_headers(headers: &[(String, String)], expected: Option<&Map<String, Value>>) -> bool {
    expected.is_none_or(|expected| {
        expected.len() == headers.len()
            && headers
                .iter()
                .all(|(name, value)| expected.get(name).and_then(Value::as_str) == Some(value))
    })
}

/// A string is compared with the body's text; anything else with the body read as JSON.
fn same_body(message: &Message, expected: &Value) -> bool {
    match expected {
        Value::String(text) => message.body == text.as_bytes(),
        json => serde_json::from_slice::<Value>(&message.body).is_ok_and(|body| body == *json),
    }
}

fn describe(got: &Result<Sent>) -> String {
    match got {
        Err(error) => format!("fault {error}"),
        Ok(Sent::Dropped(reason)) => format!("drop {reason:?}"),
        Ok(Sent::Payload { payload, headers, .. }) => {
            format!("payload {payload}, headers {headers:?}")
        }
        Ok(Sent::Message(message)) => format!(
            "{} {:?} {}",
            message.content_type,
            message.headers,
            String::from_utf8_lossy(&message.body)
        ),
    }
}
