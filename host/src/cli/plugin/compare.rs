//! A recorded run beside one of today: what differs.
//!
//! Owns what counts. How long it took and whether it was shared never does; fuel does, unless
//! the component is another one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{cases, inputs::Recorded};
use crate::{
    cli::{delivery, output},
    model::{Message, Outcome, PipelineRun},
};

/// One thing that is not the same.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    /// `outcome`, `body`, `redact@1.2.0: fuel`.
    pub(super) what: String,
    pub(super) recorded: String,
    pub(super) here: String,
    /// Line by line, where both are long.
    pub(super) diff: Option<String>,
    /// Whether it makes this another result.
    pub(super) counts: bool,
}

impl Difference {
    fn new(what: impl Into<String>, recorded: impl Into<String>, here: impl Into<String>) -> Self {
        let (what, recorded, here) = (what.into(), recorded.into(), here.into());
        Self { what, recorded, here, diff: None, counts: true }
    }
}

/// Whether what was recorded is not the plugin's answer but a machine's moment.
pub(super) fn ended_by_the_machine(run: &Recorded) -> bool {
    run.steps.iter().any(|step| matches!(step["kind"].as_str(), Some("timeout" | "unavailable")))
}

/// Everything that differs. `replaced` is the step that ran another component than then.
pub(super) fn all(then: &Recorded, now: &PipelineRun, replaced: Option<usize>) -> Vec<Difference> {
    let mut found = Vec::new();
    let steps: Vec<Value> =
        now.steps.iter().map(|step| serde_json::to_value(step).unwrap_or_default()).collect();
    for at in 0..then.steps.len().max(steps.len()) {
        compare_step(then.steps.get(at), steps.get(at), replaced == Some(at), &mut found);
    }
    let (outcome, reason, message) = match &now.outcome {
        Outcome::Send(message) => ("send", None, Some(message)),
        Outcome::Drop { reason } => ("drop", Some(reason), None),
        Outcome::Fail { reason, .. } => ("fail", Some(reason), None),
    };
    if then.outcome != outcome {
        found.push(Difference::new("outcome", &then.outcome, outcome));
    }
    if then.reason.as_ref() != reason {
        let said = |reason: Option<&String>| reason.cloned().unwrap_or_else(|| "none".into());
        found.push(Difference::new("reason", said(then.reason.as_ref()), said(reason)));
    }
    if let (Some(then), Some(now)) = (&then.message, message) {
        if then.content_type != now.content_type {
            found.push(Difference::new("content type", &then.content_type, &now.content_type));
        }
        let headers: BTreeMap<String, String> = now.headers.iter().cloned().collect();
        if then.headers != headers {
            let (then, now) = (json!(then.headers), json!(headers));
            found.push(Difference::new("headers", then.to_string(), now.to_string()));
        }
        found.extend(compare_body(&then.body(), now));
    }
    found
}

/// What a verdict is, and nothing of what it cost.
const VERDICT: [&str; 5] = ["verdict", "reason", "edits", "kind", "message"];

fn compare_step(
    then: Option<&Value>,
    now: Option<&Value>,
    replaced: bool,
    found: &mut Vec<Difference>,
) {
    let Some(either) = now.or(then) else { return };
    let name = format!("{}@{}", output::field(either, "plugin"), output::field(either, "version"));
    let (Some(then), Some(now)) = (then, now) else {
        let said = |step: Option<&Value>| step.map_or("did not run".into(), delivery::verdict);
        found.push(Difference::new(name, said(then), said(now)));
        return;
    };
    if VERDICT.iter().any(|field| then[*field] != now[*field]) {
        let what = format!("{name}: verdict");
        found.push(Difference::new(what, delivery::verdict(then), delivery::verdict(now)));
    }
    // A verdict that was known without a run used none.
    if then["fuel"] != now["fuel"] && then["learned"] != true {
        let fuel = |step: &Value| output::count(step["fuel"].as_u64().unwrap_or(0));
        let difference = Difference::new(format!("{name}: fuel"), fuel(then), fuel(now));
        found.push(Difference { counts: !replaced, ..difference });
    }
}

fn compare_body(then: &[u8], now: &Message) -> Option<Difference> {
    if then == &now.body[..] {
        return None;
    }
    let size = |bytes: &[u8]| format!("{} bytes", output::count(bytes.len() as u64));
    let difference = Difference::new("body", size(then), size(&now.body));
    let (Ok(then), Ok(now)) = (str::from_utf8(then), str::from_utf8(&now.body)) else {
        return Some(difference);
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).map(|json| format!("{json:#}"));
    let diff = match (json(then), json(now)) {
        // The same JSON in other bytes shows as it is.
        (Ok(then), Ok(now)) if then != now => cases::diff(&then, &now),
        _ => cases::diff(then, now),
    };
    Some(Difference { diff: Some(diff), ..difference })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::plugin::{
            cases::tests::{run, send},
            inputs::tests::inputs,
        },
        model::StepVerdict,
    };

    fn recorded(change: impl FnOnce(&mut Value)) -> Recorded {
        let mut value = json!({
            "outcome": "send", "reason": null,
            "message": {"content_type": "application/json", "headers": {"x-a": "1"},
                        "body": "{\"a\":1}"},
            "steps": [{"plugin": "p", "version": "1.0.0", "verdict": "pass", "fuel": 1,
                       "duration_us": 99, "shared": true}],
        });
        change(&mut value);
        inputs(&value).run.unwrap()
    }

    fn whats(then: &Recorded, replaced: Option<usize>) -> Vec<(String, bool)> {
        let now = run(StepVerdict::Pass, send("application/json", "{\"a\":1}"));
        all(then, &now, replaced).into_iter().map(|one| (one.what, one.counts)).collect()
    }

    #[test]
    fn time_and_sharing_are_no_difference_and_everything_else_is() {
        assert_eq!(whats(&recorded(|_| {}), None), []);
        for (pointer, value, what) in [
            ("/outcome", json!("drop"), "outcome"),
            ("/reason", json!("small"), "reason"),
            ("/message/content_type", json!("text/plain"), "content type"),
            ("/message/headers", json!({}), "headers"),
            ("/message/body", json!("{\"a\": 1}"), "body"),
            ("/steps/0/verdict", json!("deliver"), "p@1.0.0: verdict"),
            ("/steps/0/fuel", json!(2), "p@1.0.0: fuel"),
            ("/steps", json!([]), "p@1.0.0"),
        ] {
            let then = recorded(|run| *run.pointer_mut(pointer).unwrap() = value);
            assert_eq!(whats(&then, None), [(what.to_owned(), true)], "{pointer}");
        }
    }

    #[test]
    fn another_component_may_use_other_fuel() {
        let then = recorded(|run| run["steps"][0]["fuel"] = 2.into());
        assert_eq!(whats(&then, Some(0)), [("p@1.0.0: fuel".to_owned(), false)]);
        let learned = recorded(|run| {
            run["steps"][0]["fuel"] = 0.into();
            run["steps"][0]["learned"] = true.into();
        });
        assert_eq!(whats(&learned, None), []);
    }

    #[test]
    fn a_body_is_compared_byte_by_byte_and_shown_line_by_line() {
        let then = recorded(|run| run["message"]["body"] = "{\"a\":2}".into());
        let now = run(StepVerdict::Pass, send("application/json", "{\"a\":1}"));
        let diff = all(&then, &now, None).remove(0).diff.unwrap();
        assert!(diff.contains("-   \"a\": 2\n+   \"a\": 1\n"), "{diff}");
        assert!(!ended_by_the_machine(&then));
        let timeout = recorded(|run| run["steps"][0]["kind"] = "timeout".into());
        assert!(ended_by_the_machine(&timeout));
    }
}
