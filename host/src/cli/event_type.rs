//! `hookmill event-type`: event types, their schemas and what violated them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    Global, evolution, input, limits,
    output::{self, Failure, field},
};

const EXAMPLES: &str = "\
Examples:
  hookmill event-type create order.created --schema order.schema.json
  hookmill event-type add-version order.created --schema order.v2.schema.json
  hookmill event-type check order.created --schema order.v3.schema.json --last 500
  hookmill event-type update order.created --mode warn
  hookmill event-type create invoice.sent --content-type text/xml
  hookmill event-type violations order.created";

/// Event types and their JSON Schemas
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Create an event type, perhaps with its first schema
    Create(Create),
    /// List event types
    List,
    /// Show an event type and one of its schemas
    Show(Show),
    /// Change an event type's mode or description
    Update(Update),
    /// Delete an event type that has no events
    Delete(Name),
    /// Add a version of the schema
    AddVersion(AddVersion),
    /// Say what a schema would break, before it is added
    Check(evolution::Check),
    /// Tell producers to leave it, or one version of its schema
    Deprecate(evolution::Deprecate),
    /// Take no more events of it; those there are stay
    Archive(Name),
    /// Take events of it again
    Unarchive(Name),
    /// List events that were accepted although they violate the schema (mode `warn`)
    Violations(Violations),
    /// Show or change what may be published of it
    Limits(limits::EventTypeLimits),
}

/// What a violation of the schema leads to.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// The event is refused
    Enforce,
    /// The event is accepted, the violation noted
    Warn,
    /// Nothing: the schema is documentation
    Off,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

/// Names one event type.
#[derive(Debug, Args)]
pub(super) struct Name {
    /// For example order.created
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// For example order.created
    name: String,
    /// A file with its JSON Schema; `-` is stdin
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// What a violation leads to [default: enforce]
    #[arg(long)]
    mode: Option<Mode>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What its payloads may be, such as text/xml or image/*; may be given again
    /// [default: application/json]
    #[arg(long = "content-type", value_name = "TYPE")]
    content_types: Vec<String>,
    /// What a new version of its schema must be to the last
    #[arg(long, value_name = "WORD", value_parser = evolution::MODES)]
    compatibility: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// For example order.created
    name: String,
    /// Which version of the schema [default: the newest]
    #[arg(long, value_name = "N")]
    version: Option<u64>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// What a violation leads to
    #[arg(long)]
    mode: Option<Mode>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What its payloads may be, such as text/xml or image/*; may be given again
    /// [default: application/json]
    #[arg(long = "content-type", value_name = "TYPE")]
    content_types: Vec<String>,
    /// What a new version of its schema must be to the last
    #[arg(long, value_name = "WORD", value_parser = evolution::MODES)]
    compatibility: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    /// For example order.created
    name: String,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
pub(super) struct AddVersion {
    /// For example order.created
    name: String,
    /// A file with the JSON Schema; `-` is stdin
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// What it must be to the last version [default: what the event type says]
    #[arg(long, value_name = "WORD", value_parser = evolution::MODES)]
    compatibility: Option<String>,
    /// Take it although something cannot be told
    #[arg(long)]
    accept_unknown: bool,
}

#[derive(Debug, Args)]
pub(super) struct Violations {
    /// For example order.created
    name: String,
    /// Most to list
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

const PATH: &str = "event-types";

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(global).await,
            Self::List => list(global).await,
            Self::Show(show) => show.run(global).await,
            Self::Update(Update { name, changes }) => {
                let body = fields(
                    changes.mode,
                    changes.description,
                    changes.content_types,
                    changes.compatibility,
                );
                let changed = global.client()?.patch(&[PATH, &name], &body.into()).await?;
                print(global, &changed);
                Ok(())
            }
            Self::Delete(Name { name }) => {
                global.client()?.delete(&[PATH, &name], &[]).await?;
                output::say(format_args!("deleted {name}"));
                Ok(())
            }
            Self::AddVersion(AddVersion { name, schema, compatibility, accept_unknown }) => {
                let mut body = json!({"schema": input::json_file(&schema)?});
                if let Some(mode) = compatibility {
                    body["compatibility"] = mode.into();
                }
                if accept_unknown {
                    body["accept_unknown"] = true.into();
                }
                let added = global.client()?.post(&[PATH, &name, "versions"], &body).await?;
                if global.json {
                    output::json(&added);
                } else {
                    output::data(format_args!("{name}  version {}", added["version"]));
                }
                Ok(())
            }
            Self::Check(check) => check.run(global).await,
            Self::Deprecate(deprecate) => deprecate.run(global).await,
            Self::Archive(Name { name }) => evolution::archive(global, &name, true).await,
            Self::Unarchive(Name { name }) => evolution::archive(global, &name, false).await,
            Self::Violations(violations) => violations.run(global).await,
            Self::Limits(limits) => limits.run(global).await,
        }
    }
}

fn fields(
    mode: Option<Mode>,
    description: Option<String>,
    content_types: Vec<String>,
    compatibility: Option<String>,
) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(mode) = mode {
        fields.insert("mode".into(), mode.as_str().into());
    }
    if let Some(compatibility) = compatibility {
        fields.insert("compatibility".into(), compatibility.into());
    }
    if let Some(description) = description {
        fields.insert("description".into(), description.into());
    }
    if !content_types.is_empty() {
        fields.insert("content_types".into(), content_types.into());
    }
    fields
}

pub(super) fn print(global: &Global, event_type: &Value) {
    if global.json {
        output::json(event_type);
        return;
    }
    let version = match &event_type["latest_version"] {
        Value::Number(n) if n.as_u64() != Some(0) => format!("schema version {n}"),
        _ => "no schema".into(),
    };
    let mut line =
        format!("{}  {version}  {}", field(event_type, "name"), field(event_type, "mode"));
    if let Some(mode) = event_type["compatibility"].as_str().filter(|mode| *mode != "none") {
        line = format!("{line}  {mode} compatible");
    }
    for (name, word) in [("deprecated_at", "deprecated"), ("archived_at", "archived")] {
        if event_type[name].is_string() {
            line = format!("{line}  {word}");
        }
    }
    output::data(line);
}

async fn list(global: &Global) -> Result<(), Failure> {
    let items = global.client()?.list(&[PATH], &[], usize::MAX).await?;
    if global.json {
        output::json(&items.into());
        return Ok(());
    }
    let columns = ["name", "latest_version", "mode", "violations", "description"];
    let rows = items.iter().map(|item| columns.map(|column| field(item, column)));
    output::table(["NAME", "VERSION", "MODE", "VIOLATIONS", "DESCRIPTION"], rows.collect());
    Ok(())
}

impl Create {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = fields(self.mode, self.description, self.content_types, self.compatibility);
        body.insert("name".into(), self.name.into());
        if let Some(schema) = &self.schema {
            body.insert("schema".into(), input::json_file(schema)?);
        }
        print(global, &global.client()?.post(&[PATH], &body.into()).await?);
        Ok(())
    }
}

impl Show {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let mut event_type = client.get(&[PATH, &self.name], &[]).await?;
        let versions = client.list(&[PATH, &self.name, "versions"], &[], usize::MAX).await?;
        let wanted = self.version.or(event_type["latest_version"].as_u64()).unwrap_or(0);
        let found = versions.into_iter().find(|v| v["version"].as_u64() == Some(wanted));
        if self.version.is_some() && found.is_none() {
            let title = format!("{} has no schema version {wanted}", self.name);
            return Err(Failure::failed(title)
                .hint(format!("its newest is {}", event_type["latest_version"])));
        }
        let schema = found.map(|mut version| version["schema"].take());
        if global.json {
            event_type["schema"] = schema.unwrap_or_default();
            output::json(&event_type);
            return Ok(());
        }
        print(global, &event_type);
        if let Some(schema) = schema {
            output::json(&schema);
        }
        Ok(())
    }
}

impl Violations {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let items = client.list(&[PATH, &self.name, "violations"], &[], self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        if items.is_empty() {
            output::say("none");
        }
        for item in &items {
            // An item is an event with its violations.
            let id = item["event_id"].as_str().or(item["id"].as_str()).unwrap_or_default();
            output::data(format_args!("{id}  {}", field(item, "accepted_at")));
            for violation in item["violations"].as_array().into_iter().flatten() {
                output::data(format_args!(
                    "  {}  {}",
                    field(violation, "at"),
                    field(violation, "message")
                ));
            }
        }
        Ok(())
    }
}
