//! `hookmill source`: inbound endpoints for third parties.
//!
//! Owns how their settings are named on the command line. Secrets are given by a file or stdin,
//! and one that was given is never printed.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Global, input,
    output::{self, Failure, field},
};
use crate::model::SourceKind;

const PATH: &str = "sources";

/// Inbound endpoints for third parties that sign what they send
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  hookmill source create github --kind github --unknown-types create
  hookmill source create payments --kind stripe --secret @whsec.txt
  hookmill source refusals src_01jd…

The third party posts to the server's URL and /in/src_…")]
pub(super) enum Command {
    /// Create a source; prints its path, and its secret if one was made
    Create(Box<Create>),
    /// List sources
    List,
    /// Show a source
    Show(Id),
    /// Change a source
    Update(Box<Update>),
    /// Delete a source: its URL takes nothing any more
    Delete(Id),
    /// List the last requests it refused, and why
    Refusals(Id),
    /// Add a secret, beside those there are or in their place
    AddSecret(AddSecret),
    /// Remove a secret: it verifies nothing any more
    RemoveSecret(RemoveSecret),
}

/// Names one source.
#[derive(Debug, Args)]
pub(super) struct Id {
    /// The source
    #[arg(value_name = "src_…")]
    id: String,
}

/// Create a source
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Lower-case letters, digits, `-`, `_` and `.`
    name: String,
    /// Whose signatures it verifies
    #[arg(long, value_parser = ["github", "stripe", "shopify", "slack", "standard_webhooks", "hmac", "basic"])]
    kind: String,
    /// The third party's secret; one is made if the third party takes one of yours
    #[arg(long, value_name = "@FILE|-")]
    secret: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Change a source
#[derive(Debug, Args)]
pub(super) struct Update {
    /// The source
    #[arg(value_name = "src_…")]
    id: String,
    /// Its new name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// What can be changed.
#[derive(Debug, Default, Args)]
pub(super) struct Settings {
    /// How an HMAC is made, for the kind hmac: {"header", "algorithm", "encoding", "prefix", "content", …}
    #[arg(long, value_name = "JSON|@FILE")]
    hmac: Option<String>,
    /// Whose password it is, for the kind basic
    #[arg(long)]
    username: Option<String>,
    /// How far a signed time may be from now, in seconds
    #[arg(long, value_name = "SECONDS")]
    tolerance: Option<u32>,
    /// All its events have this type
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["type_header", "type_pointers", "type_prefix", "type_suffix"])]
    r#type: Option<String>,
    /// The event type is in this header
    #[arg(long, value_name = "NAME", conflicts_with = "type_pointers")]
    type_header: Option<String>,
    /// The event type is at this JSON pointer; repeat for others to look at if it is not there
    #[arg(long = "type-pointer", value_name = "/POINTER")]
    type_pointers: Vec<String>,
    /// What is put before the event type, with a dot
    #[arg(long, value_name = "PREFIX")]
    type_prefix: Option<String>,
    /// A JSON pointer to what is put after the event type, with a dot
    #[arg(long, value_name = "/POINTER")]
    type_suffix: Option<String>,
    /// The id that repetitions share is in this header
    #[arg(long, value_name = "NAME", conflicts_with = "id_pointers")]
    id_header: Option<String>,
    /// The id that repetitions share is at this JSON pointer; repeat for others
    #[arg(long = "id-pointer", value_name = "/POINTER")]
    id_pointers: Vec<String>,
    /// By what a request is known to be one that came before: its id alone, or also what was signed
    #[arg(long, value_parser = ["id", "content", "content_and_type", "usual"])]
    repetitions: Option<String>,
    /// A JSON pointer to what the event is about
    #[arg(long, value_name = "/POINTER")]
    subject: Option<String>,
    /// What becomes of requests of an event type that was never created
    #[arg(long, value_parser = ["refuse", "create", "ignore"])]
    unknown_types: Option<String>,
    /// The plugins that a request runs through before it is an event: [{"plugin", "config", "on_error"}]
    #[arg(long, value_name = "JSON|@FILE")]
    pipeline: Option<String>,
}

impl Settings {
    /// As the API takes it. `current` is the event type's rule so far, which the flags change
    /// part by part.
    fn json(&self, current: Option<&Value>) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        if let Some(hmac) = &self.hmac {
            body.insert("hmac".into(), input::json_argument(hmac)?);
        }
        if let Some(pipeline) = &self.pipeline {
            body.insert("pipeline".into(), input::json_argument(pipeline)?);
        }
        let plain = [
            ("username", self.username.clone().map(Value::from)),
            ("tolerance_seconds", self.tolerance.map(Value::from)),
            ("subject", self.subject.clone().map(Value::from)),
            ("unknown_event_types", self.unknown_types.clone().map(Value::from)),
        ];
        if let Some(by) = &self.repetitions {
            let by = if by == "usual" { Value::Null } else { by.as_str().into() };
            body.insert("repetitions".into(), by);
        }
        let given = plain.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
        body.extend(given);
        if let Some(rule) = self.event_type(current) {
            body.insert("event_type".into(), rule);
        }
        if let Some(header) = &self.id_header {
            body.insert("delivery_id".into(), json!({ "header": header }));
        } else if !self.id_pointers.is_empty() {
            body.insert("delivery_id".into(), json!({ "pointers": self.id_pointers }));
        }
        Ok(body)
    }

    fn event_type(&self, current: Option<&Value>) -> Option<Value> {
        if let Some(fixed) = &self.r#type {
            return Some(json!({ "fixed": fixed }));
        }
        let place = match (&self.type_header, self.type_pointers.as_slice()) {
            (Some(header), _) => Some(json!({ "header": header })),
            (None, []) => None,
            (None, pointers) => Some(json!({ "pointers": pointers })),
        };
        let around = [("prefix", &self.type_prefix), ("suffix", &self.type_suffix)];
        if place.is_none() && around.iter().all(|(_, given)| given.is_none()) {
            return None;
        }
        let mut rule = place.or_else(|| current.cloned()).unwrap_or_else(|| json!({}));
        for (name, given) in around {
            if let Some(given) = given {
                rule[name] = given.as_str().into();
            }
        }
        Some(rule)
    }
}

/// Where a kind's event type is, if not said otherwise: flags may change only a part of it.
fn usual(kind: &str) -> Option<Value> {
    let kind: SourceKind = serde_json::from_value(kind.into()).ok()?;
    serde_json::to_value(kind.event_type()?).ok()
}

/// Add a secret to a source
#[derive(Debug, Args)]
#[command(after_help = "\
Example, a rotation in which the old secret goes on for a day:
  hookmill source add-secret src_01jd… --others-expire-in 86400")]
pub(super) struct AddSecret {
    /// The source
    #[arg(value_name = "src_…")]
    id: String,
    /// The third party's, or one of your own instead of a new one
    #[arg(long, value_name = "@FILE|-")]
    secret: Option<String>,
    /// When those there are verify no more; 0 is at once, at most a week [default: never]
    #[arg(long, value_name = "SECONDS")]
    others_expire_in: Option<u32>,
}

/// Remove a secret of a source
#[derive(Debug, Args)]
pub(super) struct RemoveSecret {
    /// The source
    #[arg(value_name = "src_…")]
    id: String,
    /// Which, by its id
    #[arg(value_name = "ssc_…")]
    secret: String,
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(global).await,
            Self::List => list(global).await,
            Self::Show(Id { id }) => {
                show(global, &global.client()?.get(&[PATH, &id], &[]).await?);
                Ok(())
            }
            Self::Update(update) => update.run(global).await,
            Self::Delete(Id { id }) => {
                global.client()?.delete(&[PATH, &id], &[]).await?;
                output::say(format_args!("deleted {id}"));
                Ok(())
            }
            Self::Refusals(Id { id }) => refusals(global, &id).await,
            Self::AddSecret(add) => add.run(global).await,
            Self::RemoveSecret(RemoveSecret { id, secret }) => {
                global.client()?.delete(&[PATH, &id, "secrets", &secret], &[]).await?;
                output::say(format_args!("removed {secret}"));
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = self.settings.json(usual(&self.kind).as_ref())?;
        body.insert("name".into(), self.name.into());
        body.insert("kind".into(), self.kind.into());
        if let Some(secret) = &self.secret {
            body.insert("secret".into(), input::secret(secret)?.into());
        }
        let created = global.client()?.post(&[PATH], &body.into()).await?;
        if global.json {
            output::json(&created);
            return Ok(());
        }
        output::data(format_args!("{}  {}", field(&created, "id"), field(&created, "path")));
        let secret = field(&created, "secret");
        if !secret.is_empty() {
            output::data(format_args!("secret {secret}"));
            output::say("(shown once; give it to the third party)");
        } else if created["secrets"].as_array().is_some_and(Vec::is_empty) {
            output::say(
                "(it takes nothing until it has the third party's secret: hookmill source add-secret)",
            );
        }
        Ok(())
    }
}

impl Update {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let path = [PATH, self.id.as_str()];
        let current = client.get(&path, &[]).await?;
        let mut body = self.settings.json(Some(&current["event_type"]))?;
        if let Some(name) = self.name {
            body.insert("name".into(), name.into());
        }
        show(global, &client.patch(&path, &body.into()).await?);
        Ok(())
    }
}

impl AddSecret {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = Map::new();
        if let Some(secret) = &self.secret {
            body.insert("secret".into(), input::secret(secret)?.into());
        }
        if let Some(seconds) = self.others_expire_in {
            body.insert("others_expire_in_seconds".into(), seconds.into());
        }
        let added = global.client()?.post(&[PATH, &self.id, "secrets"], &body.into()).await?;
        if global.json {
            output::json(&added);
            return Ok(());
        }
        output::data(field(&added, "id"));
        let secret = field(&added, "secret");
        if !secret.is_empty() {
            output::data(format_args!("secret {secret}"));
            output::say("(shown once; give it to the third party)");
        }
        Ok(())
    }
}

async fn list(global: &Global) -> Result<(), Failure> {
    let items = global.client()?.list(&[PATH], &[], usize::MAX).await?;
    if global.json {
        output::json(&items.into());
        return Ok(());
    }
    let rows =
        items.iter().map(|item| ["name", "kind", "path", "created_at"].map(|f| field(item, f)));
    output::table(["NAME", "KIND", "PATH", "CREATED"], rows.collect());
    Ok(())
}

fn show(global: &Global, source: &Value) {
    if global.json {
        output::json(source);
        return;
    }
    let (id, name, kind) = (field(source, "id"), field(source, "name"), field(source, "kind"));
    output::data(format_args!("{id}  {name}  {kind}"));
    for (label, name) in [
        ("path", "path"),
        ("event type", "event_type"),
        ("unknown", "unknown_event_types"),
        ("id", "delivery_id"),
        ("repeated", "repetitions"),
        ("subject", "subject"),
        ("pipeline", "pipeline"),
        ("tolerance", "tolerance_seconds"),
        ("hmac", "hmac"),
        ("username", "username"),
        ("created", "created_at"),
        ("updated", "updated_at"),
    ] {
        let text = match &source[name] {
            Value::Object(object) => Value::from(object.clone()).to_string(),
            _ => field(source, name),
        };
        if !text.is_empty() {
            output::data(format_args!("  {label:<10} {text}"));
        }
    }
    for secret in source["secrets"].as_array().into_iter().flatten() {
        let (id, end) = (field(secret, "id"), field(secret, "expires_at"));
        let end = if end.is_empty() { "never".into() } else { end };
        output::data(format_args!("  {:<10} {id}  expires {end}", "secret"));
    }
}

async fn refusals(global: &Global, id: &str) -> Result<(), Failure> {
    let answer = global.client()?.get(&[PATH, id, "refusals"], &[]).await?;
    if global.json {
        output::json(&answer["data"]);
        return Ok(());
    }
    let items = answer["data"].as_array().into_iter().flatten();
    let rows = items.map(|item| {
        ["at", "verified", "reason", "count", "event_type", "delivery_id", "detail"]
            .map(|name| field(item, name))
    });
    let heads = ["LAST", "VERIFIED", "REASON", "COUNT", "EVENT TYPE", "DELIVERY", "DETAIL"];
    output::table(heads, rows.collect());
    output::say(format_args!("(since {})", field(&answer, "since")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(settings: &Settings, current: Option<&Value>) -> Value {
        settings.json(current).unwrap().remove("event_type").unwrap_or_default()
    }

    #[test]
    fn flags_change_the_event_types_rule_part_by_part() {
        let none = Settings::default();
        assert_eq!(rule(&none, usual("github").as_ref()), Value::Null);
        let action = Settings { type_suffix: Some("/action".into()), ..Settings::default() };
        let expected = json!({"header": "x-github-event", "prefix": "github", "suffix": "/action"});
        assert_eq!(rule(&action, usual("github").as_ref()), expected);
        let pointer = Settings { type_pointers: vec!["/kind".into()], ..Settings::default() };
        assert_eq!(rule(&pointer, usual("github").as_ref()), json!({"pointers": ["/kind"]}));
        let fixed = Settings { r#type: Some("a.b".into()), ..Settings::default() };
        assert_eq!(rule(&fixed, None), json!({"fixed": "a.b"}));
    }
}
