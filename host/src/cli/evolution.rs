//! `hookmill event-type check`, `deprecate`, `archive`: how event types change and end.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Global, event_type, input,
    output::{self, Failure, field},
};

const PATH: &str = "event-types";

/// What a new version of a schema can be to the last.
pub(super) const MODES: [&str; 4] = ["backward", "forward", "full", "none"];

#[derive(Debug, Args)]
pub(super) struct Check {
    /// For example order.created
    name: String,
    /// A file with the JSON Schema; `-` is stdin
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// What it is to be to the last version [default: what the event type says, or full]
    #[arg(long, value_name = "WORD", value_parser = MODES)]
    compatibility: Option<String>,
    /// How many of the newest stored events to try it on
    #[arg(long, default_value_t = 100, value_name = "N")]
    last: u32,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill event-type deprecate order.created --schema-version 1 --sunset 2027-01-01T00:00:00Z\n  hookmill event-type deprecate order.created --undo"
)]
pub(super) struct Deprecate {
    /// For example order.created
    name: String,
    /// One version of its schema only
    #[arg(long, value_name = "N")]
    schema_version: Option<u32>,
    /// When it is said to end
    #[arg(long, value_name = "TIME", conflicts_with = "undo")]
    sunset: Option<Timestamp>,
    /// It is not deprecated after all
    #[arg(long)]
    undo: bool,
}

impl Check {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = json!({"schema": input::json_file(&self.schema)?, "last": self.last});
        if let Some(mode) = self.compatibility {
            body["compatibility"] = mode.into();
        }
        let report = global.client()?.post(&[PATH, &self.name, "versions", "check"], &body).await?;
        if global.json {
            output::json(&report);
        } else {
            print(&report);
        }
        if report["compatible"] == true {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "the schema is not known to be {} compatible with version {}",
            field(&report, "compatibility"),
            report["against"]
        )))
    }
}

fn print(report: &Value) {
    if report["compatible"] == true {
        output::data(format_args!(
            "compatible with version {} ({})",
            report["against"],
            field(report, "compatibility")
        ));
    }
    for finding in report["findings"].as_array().into_iter().flatten() {
        let word = if finding["certain"] == true { "breaks" } else { "unknown" };
        let place = |name: &str| match field(finding, name) {
            at if at.is_empty() => "/".to_owned(),
            at => at,
        };
        output::data(format_args!(
            "{word:<8} {:<8}  {} -> {}  {}",
            field(finding, "direction"),
            place("old"),
            place("new"),
            field(finding, "why")
        ));
    }
    let events = &report["events"];
    let all =
        if events["complete"] == false { "; there are more, too much for one check" } else { "" };
    output::data(format_args!(
        "{} of {} stored events satisfy it{all}",
        events["satisfied"], events["tried"]
    ));
    for event in events["violating"].as_array().into_iter().flatten() {
        output::data(format_args!("  {}", field(event, "id")));
        for violation in event["violations"].as_array().into_iter().flatten() {
            let (at, message) = (field(violation, "at"), field(violation, "message"));
            output::data(format_args!("    {at}  {message}"));
        }
    }
}

impl Deprecate {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = json!({"deprecated": !self.undo});
        if let Some(at) = self.sunset {
            body["sunset_at"] = at.to_string().into();
        }
        let client = global.client()?;
        let Some(version) = self.schema_version else {
            let changed = client.patch(&[PATH, &self.name], &body).await?;
            event_type::print(global, &changed);
            return Ok(());
        };
        let number = version.to_string();
        let changed = client.patch(&[PATH, &self.name, "versions", &number], &body).await?;
        if global.json {
            output::json(&changed);
        } else {
            let word = if self.undo { "not deprecated" } else { "deprecated" };
            output::data(format_args!("{}  version {version}  {word}", self.name));
        }
        Ok(())
    }
}

/// Ends or begins the taking of events.
pub(super) async fn archive(global: &Global, name: &str, archived: bool) -> Result<(), Failure> {
    let changed = global.client()?.patch(&[PATH, name], &json!({"archived": archived})).await?;
    event_type::print(global, &changed);
    Ok(())
}
