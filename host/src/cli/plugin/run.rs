//! `hookmill plugin run`: an uploaded plugin over one event, on the server, delivering nothing.

use std::path::PathBuf;

use base64::Engine;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        Global, delivery, input,
        output::{self, Failure, field},
    },
    model::PluginRef,
};

/// Run an uploaded plugin over one event, without delivering anything
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin run big-orders --event evt_01jd… --config '{\"at_least\": 100}'\n  hookmill plugin run redact@1.2.0 --type order.created --data @order.json --config @redact.json"
)]
pub(in crate::cli) struct Run {
    /// The plugin: its live version, or the one named
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: PluginRef,
    /// A stored event
    #[arg(long, value_name = "evt_…", conflicts_with_all = ["event_type", "data"], required_unless_present = "data")]
    event: Option<String>,
    /// A payload, or @ and a file with one
    #[arg(long, value_name = "JSON|@FILE", requires = "event_type")]
    data: Option<String>,
    /// The payload's event type
    #[arg(long = "type", id = "event_type", value_name = "TYPE", requires = "data")]
    event_type: Option<String>,
    /// The plugin's configuration
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    config: String,
    /// Write what would be sent to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Run {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = Map::new();
        if let Some(version) = &self.plugin.version {
            body.insert("version".into(), version.as_str().into());
        }
        body.insert("config".into(), input::json_argument(&self.config)?);
        match (self.event, self.data) {
            (Some(id), _) => {
                body.insert("event_id".into(), id.into());
            }
            (None, Some(data)) => {
                let payload = input::json_argument(&data)?;
                body.insert("event".into(), json!({"type": self.event_type, "payload": payload}));
            }
            (None, None) => return Err(Failure::usage("name an event, or give --type and --data")),
        }
        let path = [super::PATH, &self.plugin.name, "run"];
        let run = global.client()?.post(&path, &body.into()).await?;
        if let (Some(out), Some(sent)) = (&self.out, body_of(&run["sent"])) {
            std::fs::write(out, sent).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", out.display()))
            })?;
        }
        if global.json {
            output::json(&run);
        } else {
            print(&run);
        }
        let fault = run["steps"].as_array().into_iter().flatten().find(|s| s["verdict"] == "fault");
        match fault.or((run["verdict"] == "fault").then_some(&run)) {
            None => Ok(()),
            Some(step) => {
                Err(Failure::failed(format!("{}: {}", field(step, "kind"), field(step, "message"))))
            }
        }
    }
}

fn print(run: &Value) {
    let steps = run["steps"].as_array().map_or_else(|| std::slice::from_ref(run), Vec::as_slice);
    for step in steps {
        output::say(delivery::step_line(step));
        for line in delivery::frames(step) {
            output::say(format_args!("  {line}"));
        }
        for line in delivery::notes(step) {
            output::say(format_args!("  {line}"));
        }
    }
    match body_of(&run["sent"]) {
        Some(body) => match String::from_utf8(body) {
            Ok(text) => output::data(text),
            Err(binary) => output::say(format_args!(
                "(binary, {}: --out FILE writes it)",
                output::file_size(binary.as_bytes().len() as u64)
            )),
        },
        None => output::say(format_args!("{} {}", field(run, "outcome"), field(run, "reason"))),
    }
}

/// The bytes that would be sent. The API shows JSON as JSON, text as a string, and anything
/// else in base64.
fn body_of(sent: &Value) -> Option<Vec<u8>> {
    if let Some(encoded) = sent["body_base64"].as_str() {
        return base64::engine::general_purpose::STANDARD.decode(encoded).ok();
    }
    let is_json = field(sent, "content_type").contains("json");
    match &sent["body"] {
        Value::Null if !is_json || sent.get("body").is_none() => None,
        Value::String(text) if !is_json => Some(text.clone().into_bytes()),
        json => Some(json.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_sent_is_read_in_each_of_its_forms() {
        let json_body = json!({"content_type": "application/json", "body": {"a": 1}});
        assert_eq!(body_of(&json_body).unwrap(), b"{\"a\":1}");
        let text = json!({"content_type": "text/plain", "body": "hi"});
        assert_eq!(body_of(&text).unwrap(), b"hi");
        let binary = json!({"content_type": "x/y", "body": null, "body_base64": "AAE="});
        assert_eq!(body_of(&binary).unwrap(), [0, 1]);
        assert_eq!(body_of(&Value::Null), None);
    }
}
