//! What a run came to, as a case's `expect`, and putting it into the case's file.
//!
//! Owns both. Everything else in the file stays byte for byte as its author wrote it.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    cli::output::Failure,
    model::{Message, Outcome, PipelineRun, StepVerdict},
};

/// Longest `expect` that stays on one line.
const ONE_LINE: usize = 72;

/// The expectation that holds for this run.
pub(super) fn expectation(run: &PipelineRun) -> Result<Value, Failure> {
    let verdict = run.steps.first().map(|step| &step.verdict);
    Ok(match (verdict, &run.outcome) {
        (Some(StepVerdict::Fault { kind, message, .. }), _) => {
            json!({"fault": kind.as_str(), "contains": message})
        }
        (_, Outcome::Drop { reason }) => json!({"drop": reason}),
        (Some(StepVerdict::Deliver), Outcome::Send(message)) => {
            let mut deliver = Map::new();
            deliver.insert("content_type".into(), message.content_type.clone().into());
            if let Some(headers) = headers(message) {
                deliver.insert("headers".into(), headers);
            }
            deliver.insert("body".into(), body(message)?);
            json!({"deliver": deliver})
        }
        (Some(StepVerdict::Edit { edits: 1.. }), Outcome::Send(message)) => {
            let mut edit = json!({"edit": body(message)?});
            if let Some(headers) = headers(message) {
                edit["headers"] = headers;
            }
            edit
        }
        (_, Outcome::Send(_)) => json!({"pass": true}),
        (_, Outcome::Fail { reason, .. }) => {
            return Err(Failure::failed(format!("nothing to accept: {reason}")));
        }
    })
}

fn headers(message: &Message) -> Option<Value> {
    let headers: BTreeMap<&str, &str> =
        message.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    if headers.is_empty() { None } else { Some(json!(headers)) }
}

/// As the comparison reads it: text as a string, everything else that is JSON as JSON.
fn body(message: &Message) -> Result<Value, Failure> {
    let text = str::from_utf8(&message.body).map_err(|_| {
        Failure::failed("the body is not text, which a case cannot hold")
            .hint("check it natively: `testing::run` in a `cargo test`")
    })?;
    match serde_json::from_str(text) {
        Ok(Value::String(_)) | Err(_) => Ok(text.into()),
        Ok(json) => Ok(json),
    }
}

/// Puts `expect` into a case's file.
pub(super) fn rewrite(file: &Path, expect: &Value) -> Result<(), Failure> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let changed = replaced(&text, expect)
        .ok_or_else(|| Failure::usage(format!("{name} has no `expect` to replace")))?;
    fs::write(file, changed)
        .map_err(|error| Failure::failed(format!("cannot write {name}: {error}")))
}

fn replaced(text: &str, expect: &Value) -> Option<String> {
    #[derive(Deserialize)]
    struct Place<'a> {
        #[serde(borrow)]
        expect: &'a RawValue,
    }
    let old = serde_json::from_str::<Place<'_>>(text).ok()?.expect.get();
    // A borrowed value is a part of the text it was read from: its address says which.
    let start = (old.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let line = &text[..start].rsplit('\n').next()?;
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    let after = &text[start + old.len()..];
    Some(format!("{}{}{after}", &text[..start], pretty(expect, &indent)))
}

/// On one line if it fits, else indented like its surroundings.
pub(super) fn pretty(value: &Value, indent: &str) -> String {
    let line = one_line(value);
    if line.len() <= ONE_LINE {
        return line;
    }
    format!("{value:#}").replace('\n', &format!("\n{indent}"))
}

/// `{"drop": "below at_least"}`.
fn one_line(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let name = |name: &String| Value::from(name.as_str()).to_string();
            let fields =
                fields.iter().map(|(n, value)| format!("{}: {}", name(n), one_line(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cli::plugin::cases::tests::{case, run, send};
    use crate::model::FailureKind;

    #[test]
    fn what_came_out_holds_once_it_is_accepted() {
        let fault = StepVerdict::Fault {
            kind: FailureKind::InvalidEvent,
            message: "/total is missing".into(),
            backtrace: vec![],
        };
        let drop = || Outcome::Drop { reason: "small".into() };
        for run in [
            run(StepVerdict::Pass, send("application/json", "{}")),
            run(StepVerdict::Drop { reason: "small".into() }, drop()),
            run(StepVerdict::Edit { edits: 2 }, send("application/json", "{\"a\":1.50,\"b\":[]}")),
            run(StepVerdict::Deliver, send("text/plain", "hi")),
            run(StepVerdict::Deliver, send("application/json", "\"a string\"")),
            run(StepVerdict::Deliver, send("application/json", "[1,{\"a\":null}]")),
            run(fault, drop()),
        ] {
            let expect = expectation(&run).unwrap();
            assert_eq!(case(&expect).check(&run), Ok(()), "{expect}");
        }
        let binary = Message {
            content_type: "application/x".into(),
            headers: vec![],
            body: Bytes::from_static(&[0xff]),
        };
        assert!(expectation(&run(StepVerdict::Deliver, Outcome::Send(binary))).is_err());
    }

    #[test]
    fn a_file_keeps_everything_but_its_expectation() {
        let text = "{\n  \"expect\": {\"pass\":   true},\n  \"event\": {\"payload\": 1.00}\n}\n";
        let short = replaced(text, &json!({"drop": "no", "x": [1, 2]})).unwrap();
        assert_eq!(short, text.replace("{\"pass\":   true}", "{\"drop\": \"no\", \"x\": [1, 2]}"));
        let long = replaced(text, &json!({"edit": {"a": "x".repeat(80)}})).unwrap();
        assert!(
            long.starts_with("{\n  \"expect\": {\n    \"edit\": {\n      \"a\": \"xx"),
            "{long}"
        );
        assert!(long.ends_with("\n  },\n  \"event\": {\"payload\": 1.00}\n}\n"), "{long}");
        assert!(replaced("{}", &json!(1)).is_none());
    }
}
