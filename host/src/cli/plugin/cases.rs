//! Recorded cases: `tests/*.json`, an event, a configuration and what is expected.
//!
//! Owns the format, which the SDK's `testing::check_cases` reads natively as well, and the
//! comparison with what a run did. Never runs anything.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use similar::{ChangeTag, TextDiff};

use crate::{
    cli::output::Failure,
    model::{FailureKind, Message, Outcome, PipelineRun, StepVerdict},
};

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) event: Recorded,
    /// `{}` if absent.
    #[serde(default)]
    pub(super) config: Option<Value>,
    expect: Expected,
}

/// The event of a case. Its payload keeps its spelling.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) payload: Box<RawValue>,
    #[serde(default)]
    pub(super) subject: Option<String>,
    #[serde(default)]
    pub(super) occurred_at: Option<String>,
}

/// Exactly one of the answers; `headers` belongs to `edit`, `contains` to `fault`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    pass: Option<bool>,
    drop: Option<String>,
    deliver: Option<Delivered>,
    edit: Option<Value>,
    headers: Option<BTreeMap<String, String>>,
    fault: Option<String>,
    contains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivered {
    content_type: String,
    headers: Option<BTreeMap<String, String>>,
    body: Value,
}

/// What differs, for people.
#[derive(Debug, PartialEq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) got: String,
    pub(super) diff: Option<String>,
    pub(super) hint: Option<String>,
}

/// The case files of a plugin, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let tests = folder.join("tests");
    let entries = fs::read_dir(&tests).map_err(|error| {
        Failure::usage(format!("cannot read {}: {error}", tests.display()))
            .hint("a case is a file tests/NAME.json: {\"name\", \"event\", \"config\", \"expect\"}")
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format!("there are no *.json files in {}", tests.display())));
    }
    Ok(files)
}

/// Reads a case.
pub(super) fn read(file: &Path) -> Result<Case, Failure> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let case: Case = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{name} is not a case: {error}")))?;
    let expect = &case.expect;
    let answers = [
        expect.pass.is_some(),
        expect.drop.is_some(),
        expect.deliver.is_some(),
        expect.edit.is_some(),
        expect.fault.is_some(),
    ];
    let asked = answers.iter().filter(|&&given| given).count();
    let misplaced = (expect.headers.is_some() && expect.edit.is_none())
        || (expect.contains.is_some() && expect.fault.is_none());
    if asked != 1 || misplaced || expect.pass == Some(false) {
        return Err(Failure::usage(format!("{name} is not a case: `expect` cannot be used")).hint(
            "it is one of {\"pass\": true}, {\"drop\": reason}, {\"deliver\": {content_type, body}}, \
             {\"edit\": payload, \"headers\"?}, {\"fault\": kind, \"contains\"?}",
        ));
    }
    Ok(case)
}

impl Case {
    /// Whether a run came to what is expected; else what differs.
    pub(super) fn check(&self, run: &PipelineRun) -> Result<(), Mismatch> {
        let Some(step) = run.steps.first() else {
            return Err(self.mismatch("nothing ran".into(), None, None));
        };
        if let StepVerdict::Fault { kind, message, .. } = &step.verdict {
            let expected = self.expect.fault.as_deref() == Some(kind.as_str())
                && message.contains(self.expect.contains.as_deref().unwrap_or_default());
            let got = format!("fault {}: {message}", kind.as_str());
            return if expected { Ok(()) } else { Err(self.mismatch(got, None, hint(*kind))) };
        }
        match (&run.outcome, &step.verdict) {
            (Outcome::Drop { reason }, _) => {
                let same = self.expect.drop.as_ref() == Some(reason);
                if same {
                    Ok(())
                } else {
                    Err(self.mismatch(format!("drop {reason:?}"), None, None))
                }
            }
            (Outcome::Send(message), StepVerdict::Deliver) => self.check_message(message),
            (Outcome::Send(_), StepVerdict::Pass | StepVerdict::Edit { edits: 0 })
                if self.expect.pass == Some(true) =>
            {
                Ok(())
            }
            (Outcome::Send(message), _) => self.check_payload(message),
            (Outcome::Fail { reason, .. }, _) => Err(self.mismatch(reason.clone(), None, None)),
        }
    }

    fn check_message(&self, message: &Message) -> Result<(), Mismatch> {
        let got = format!("deliver {}", message.content_type);
        let Some(expected) = &self.expect.deliver else {
            return Err(self.mismatch(format!("{got} {}", text(message)), None, None));
        };
        let body = compare(&expected.body, message);
        if expected.content_type != message.content_type {
            return Err(self.mismatch(got, body.err(), None));
        }
        body.map_err(|diff| self.mismatch(got.clone(), Some(diff), None))?;
        self.check_headers(expected.headers.as_ref(), message, &got)
    }

    /// What a step that lets the event through, changed or not, would send.
    fn check_payload(&self, message: &Message) -> Result<(), Mismatch> {
        let Some(expected) = &self.expect.edit else {
            return Err(self.mismatch(format!("the payload {}", text(message)), None, None));
        };
        compare(expected, message)
            .map_err(|diff| self.mismatch("another payload".into(), Some(diff), None))?;
        self.check_headers(self.expect.headers.as_ref(), message, "the payload")
    }

    /// A case that names no headers does not ask about them.
    fn check_headers(
        &self,
        expected: Option<&BTreeMap<String, String>>,
        message: &Message,
        got: &str,
    ) -> Result<(), Mismatch> {
        let found: BTreeMap<String, String> = message.headers.iter().cloned().collect();
        match expected {
            Some(expected) if *expected != found => {
                Err(self.mismatch(format!("{got} with headers {found:?}"), None, None))
            }
            _ => Ok(()),
        }
    }

    fn mismatch(&self, got: String, diff: Option<String>, hint: Option<&str>) -> Mismatch {
        Mismatch { expected: self.expect.describe(), got, diff, hint: hint.map(Into::into) }
    }
}

impl Expected {
    fn describe(&self) -> String {
        if let Some(reason) = &self.drop {
            return format!("drop {reason:?}");
        }
        if let Some(kind) = &self.fault {
            let contains = self.contains.as_ref().map(|text| format!(" with {text:?} in it"));
            return format!("fault {kind}{}", contains.unwrap_or_default());
        }
        if let Some(deliver) = &self.deliver {
            let headers =
                deliver.headers.as_ref().map(|headers| format!(" with headers {headers:?}"));
            return format!("deliver {}{}", deliver.content_type, headers.unwrap_or_default());
        }
        if self.edit.is_some() {
            let headers = self.headers.as_ref().map(|headers| format!(" with headers {headers:?}"));
            return format!("the payload, edited{}", headers.unwrap_or_default());
        }
        "pass".into()
    }
}

/// What an author can do about a failure that is not in the plugin's own words.
fn hint(kind: FailureKind) -> Option<&'static str> {
    Some(match kind {
        FailureKind::InvalidEvent => {
            "if events may look like this, read an Option, or a type that takes it"
        }
        FailureKind::InvalidConfig => "compare the case's config with the plugin's Config",
        FailureKind::Trap => "the functions above are where it stopped, the innermost first",
        FailureKind::OutOfFuel => {
            "it does too much for one event: read fields instead of everything"
        }
        FailureKind::OutOfMemory => "it holds too much at once: read fields instead of everything",
        FailureKind::StackOverflow => "it recurses too deeply",
        FailureKind::BadOutput => "its answer cannot be applied to this payload",
        _ => return None,
    })
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// A string is compared with the body's text; anything else with the body read as JSON.
fn compare(expected: &Value, message: &Message) -> Result<(), String> {
    if let Value::String(expected) = expected {
        let same = expected.as_bytes() == &message.body[..];
        return if same { Ok(()) } else { Err(diff(expected, &text(message))) };
    }
    match serde_json::from_slice::<Value>(&message.body) {
        Ok(body) if body == *expected => Ok(()),
        Ok(body) => Err(diff(&sorted(expected), &sorted(&body))),
        Err(_) => Err(diff(&sorted(expected), &text(message))),
    }
}

/// Indented, keys in order, so that a diff shows differences and nothing else.
fn sorted(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    format!("{value:#}")
}

/// What differs between two texts, line by line.
pub(super) fn diff(expected: &str, got: &str) -> String {
    let diff = TextDiff::from_lines(expected, got);
    let mut text = String::new();
    for group in diff.grouped_ops(2) {
        if !text.is_empty() {
            text.push_str("  …\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text += &format!("{sign} {}\n", change.value().trim_end_matches('\n'));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::model::StepReport;

    pub(in crate::cli::plugin) fn case(expect: &Value) -> Case {
        let event = json!({"type": "a", "payload": {}});
        serde_json::from_str(&json!({"name": "n", "event": event, "expect": expect}).to_string())
            .unwrap()
    }

    pub(in crate::cli::plugin) fn run(verdict: StepVerdict, outcome: Outcome) -> PipelineRun {
        let step = StepReport {
            plugin: "p".into(),
            version: "1.0.0".into(),
            verdict,
            fuel: 1,
            duration_us: 1,
            memory_bytes: 1,
            shared: false,
            learned: false,
            read_all: false,
            reads: Vec::new(),
            log: Vec::new(),
        };
        PipelineRun { outcome, steps: vec![step] }
    }

    pub(in crate::cli::plugin) fn send(content_type: &str, body: &'static str) -> Outcome {
        Outcome::Send(Message {
            content_type: content_type.into(),
            headers: vec![("x-a".into(), "1".into())],
            body: Bytes::from_static(body.as_bytes()),
        })
    }

    #[test]
    fn each_answer_is_what_it_is_and_nothing_else() {
        let drop =
            || run(StepVerdict::Drop { reason: "r".into() }, Outcome::Drop { reason: "r".into() });
        let edit =
            || run(StepVerdict::Edit { edits: 1 }, send("application/json", "{\"b\":1,\"a\":2}"));
        let pass = || run(StepVerdict::Pass, send("application/json", "{}"));
        let deliver = || run(StepVerdict::Deliver, send("text/plain", "hi"));
        let fault = || {
            let kind = FailureKind::InvalidEvent;
            let verdict = StepVerdict::Fault { kind, message: "/t is".into(), backtrace: vec![] };
            run(verdict, Outcome::Drop { reason: String::new() })
        };
        let runs: [&dyn Fn() -> PipelineRun; 5] = [&drop, &edit, &pass, &deliver, &fault];
        let expectations = [
            json!({"drop": "r"}),
            json!({"edit": {"a": 2, "b": 1}, "headers": {"x-a": "1"}}),
            json!({"pass": true}),
            json!({"deliver": {"content_type": "text/plain", "body": "hi"}}),
            json!({"fault": "invalid-event", "contains": "/t"}),
        ];
        for (at, expect) in expectations.iter().enumerate() {
            for (run_at, run) in runs.iter().enumerate() {
                let held = case(expect).check(&run()).is_ok();
                assert_eq!(held, at == run_at, "{expect} against run {run_at}");
            }
        }
    }

    #[test]
    fn a_difference_is_shown_line_by_line() {
        let run =
            run(StepVerdict::Edit { edits: 1 }, send("application/json", "{\"a\":1,\"b\":[2]}"));
        let mismatch = case(&json!({"edit": {"b": [3], "a": 1}})).check(&run).unwrap_err();
        let diff = mismatch.diff.unwrap();
        assert!(diff.contains("-     3\n+     2\n"), "{diff}");
    }

    #[test]
    fn a_file_that_asks_for_nothing_or_two_things_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        for expect in
            [json!({}), json!({"pass": true, "drop": "x"}), json!({"pass": true, "contains": "x"})]
        {
            let case = json!({"name": "n", "event": {"type": "a", "payload": 1}, "expect": expect});
            fs::write(&file, case.to_string()).unwrap();
            assert!(read(&file).unwrap_err().text().contains("hint: it is one of"));
        }
        fs::write(&file, "{\"nome\": 1}").unwrap();
        assert!(read(&file).unwrap_err().text().contains("unknown field `nome`"));
    }
}
