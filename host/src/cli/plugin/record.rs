//! `hookmill plugin record`: what happened on the server, as a case beside the plugin.
//!
//! Owns the file's making. What is expected is what the plugin comes to now: look at it before
//! you keep it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    accept,
    cases::Case,
    inputs::Inputs,
    lab::{self, Lab},
};
use crate::{
    cli::{
        Global, input,
        output::{self, Failure, field},
    },
    model::media,
};

/// Make a recorded case of an event or a delivery on the server
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin record evt_01jd… --config '{\"at_least\": 100}'\n  hookmill plugin record dlv_01jd… --name 'the order that failed'    with the delivery's own config"
)]
pub(in crate::cli) struct Record {
    /// The event, or a delivery of it, which also says the config
    #[arg(value_name = "evt_…|dlv_…")]
    id: String,
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Use this component or core module instead of building the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The plugin's configuration
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,
    /// The case's name; its file is called like it
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

/// What a case takes from the server.
struct Found {
    event_type: String,
    payload: String,
    subject: Option<String>,
    occurred_at: String,
    config: Option<Value>,
}

impl Record {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let config = self.config.as_deref().map(input::json_argument).transpose()?;
        let wasm = lab::component(&self.folder, self.component.as_deref())?;
        let lab = Lab::start(wasm).await?;
        let mut found = if self.id.starts_with("dlv_") {
            self.of_delivery(global, &lab.inspected.manifest.name).await?
        } else {
            self.of_event(global).await?
        };
        found.config = config.or(found.config);
        let name = self.name.clone().unwrap_or_else(|| format!("{} {}", found.event_type, self.id));
        let file = self.folder.join("tests").join(format!("{}.json", slug(&name)));
        if file.exists() {
            return Err(Failure::usage(format!("{} exists", file.display()))
                .hint("give the case another --name"));
        }
        let draft = text(&name, &found, &json!({"pass": true}));
        let case: Case = serde_json::from_str(&draft)
            .map_err(|error| Failure::failed(format!("no case can be made of it: {error}")))?;
        let run = lab.run(&case).await?;
        let expect = accept::expectation(&run)?;
        write(&file, &text(&name, &found, &expect))?;
        if global.json {
            output::json(&json!({"file": file, "name": name, "expect": expect}));
        } else {
            output::data(format_args!("{}  expects {expect}", file.display()));
        }
        Ok(())
    }

    async fn of_event(&self, global: &Global) -> Result<Found, Failure> {
        let client = global.client()?;
        let event = client.get(&["events", &self.id], &[]).await?;
        let payload = client.get_bytes(&["events", &self.id, "payload"]).await?;
        let payload = String::from_utf8(payload.into())
            .map_err(|_| Failure::failed("the event's payload is not text"))?;
        if !event["content_type"].as_str().is_none_or(media::is_json) {
            return Err(not_json());
        }
        Ok(Found {
            event_type: field(&event, "type"),
            payload,
            subject: event["subject"].as_str().map(Into::into),
            occurred_at: field(&event, "occurred_at"),
            config: None,
        })
    }

    /// A delivery knows what the plugin was configured with.
    async fn of_delivery(&self, global: &Global, plugin: &str) -> Result<Found, Failure> {
        let inputs = Inputs::fetch(&global.client()?, &self.id).await?;
        let config = match inputs.pipeline.iter().position(|step| step.plugin == plugin) {
            Some(0) => inputs.pipeline[0].config.clone(),
            Some(step) => {
                let before = &inputs.pipeline[step - 1].plugin;
                return Err(Failure::failed(format!(
                    "{plugin} saw what {before} made of this event, not the event"
                ))
                .hint(format!("hookmill plugin replay {} runs all of its steps", self.id)));
            }
            None => {
                let names: Vec<&str> = inputs.pipeline.iter().map(|step| &*step.plugin).collect();
                let steps = if names.is_empty() { "no plugins".into() } else { names.join(", ") };
                return Err(Failure::failed(format!(
                    "{} did not go through {plugin}, but through {steps}",
                    self.id
                ))
                .hint("record its event instead: evt_…"));
            }
        };
        let event = inputs.event;
        if !event.is_json() {
            return Err(not_json());
        }
        Ok(Found {
            event_type: event.event_type,
            payload: event.payload,
            subject: event.subject,
            occurred_at: event.occurred_at.to_string(),
            config: Some(input::parse(&config, "the step's config")?),
        })
    }
}

fn not_json() -> Failure {
    Failure::failed("the event's payload is not JSON, and a case's is")
}

/// The file's text. The payload is in it as its producer wrote it.
fn text(name: &str, found: &Found, expect: &Value) -> String {
    let Found { event_type, payload, subject, occurred_at, config } = found;
    let mut event = format!(
        "    \"type\": {},\n    \"payload\": {},\n",
        Value::from(event_type.as_str()),
        payload.trim()
    );
    if let Some(subject) = subject {
        event += &format!("    \"subject\": {},\n", Value::from(subject.as_str()));
    }
    event += &format!("    \"occurred_at\": {}\n", Value::from(occurred_at.as_str()));
    let config =
        config.as_ref().map(|config| format!("  \"config\": {},\n", accept::pretty(config, "  ")));
    format!(
        "{{\n  \"name\": {},\n  \"event\": {{\n{event}  }},\n{}  \"expect\": {}\n}}\n",
        Value::from(name),
        config.unwrap_or_default(),
        accept::pretty(expect, "  ")
    )
}

/// A file name of letters, digits and hyphens.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(plain).take(100).collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "case".into() } else { words.join("-") }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written =
        file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, text));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_case_is_a_case_and_keeps_the_payload_s_spelling() {
        let found = Found {
            event_type: "order.created".into(),
            payload: "{ \"total\":19.90 }\n".into(),
            subject: Some("order/\"7\"".into()),
            occurred_at: "2026-01-02T03:04:05Z".into(),
            config: Some(json!({"at_least": 100})),
        };
        let text = text("a name", &found, &json!({"drop": "below"}));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tests/a.json");
        write(&file, &text).unwrap();
        let case = super::super::cases::read(&file).unwrap();
        assert_eq!(case.event.payload.get(), "{ \"total\":19.90 }");
        assert_eq!(case.event.subject.as_deref(), Some("order/\"7\""));
        insta::assert_snapshot!(text, @r#"
        {
          "name": "a name",
          "event": {
            "type": "order.created",
            "payload": { "total":19.90 },
            "subject": "order/\"7\"",
            "occurred_at": "2026-01-02T03:04:05Z"
          },
          "config": {"at_least": 100},
          "expect": {"drop": "below"}
        }
        "#);
    }

    #[test]
    fn files_are_called_like_their_case() {
        assert_eq!(slug("The order, that failed!"), "the-order-that-failed");
        assert_eq!(slug("../../x"), "x");
        assert_eq!(slug("…"), "case");
    }
}
