//! `hookmill subscribe`, `hookmill subscription …`, `hookmill subscriptions`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Global,
    client::Client,
    credentials, filters, health, input,
    output::{self, Failure, field, plain},
    policy::{ChangePolicy, PolicyFlags},
    signing::{Rotate, handshake, show_secrets},
    steps::{self, Steps},
};
use crate::model::PluginRef;

const PATH: &str = "subscriptions";

const SUBSCRIBE_EXAMPLES: &str = "\
Examples:
  hookmill subscribe https://shop.example/hooks --to 'order.*'
  hookmill subscribe https://shop.example/hooks --to order.created --to order.paid \\
      --step field-filter --config @large-orders.json --step cloudevents --config '{\"source\":\"/shop\"}'";

/// Send events to an endpoint
#[derive(Debug, Args)]
#[command(after_help = SUBSCRIBE_EXAMPLES)]
pub(super) struct Subscribe {
    /// Where deliveries go
    #[arg(value_name = "URL")]
    endpoint: String,
    /// Event types to listen to: order.created, order.* (one segment), order.** (any)
    #[arg(long = "to", required = true, num_args = 1.., value_name = "PATTERN")]
    event_types: Vec<String>,
    /// Take events of this channel only; repeat for more
    #[arg(long = "channel", value_name = "NAME")]
    channels: Vec<String>,
    /// Take only events that pass this filter (docs/filters.md)
    #[arg(long, value_name = "JSON|@FILE")]
    filter: Option<String>,
    #[command(flatten)]
    steps: Steps,
    /// A header for every request; repeat for more
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A JSON Schema that what is sent must satisfy
    #[arg(long, value_name = "JSON|@FILE")]
    output_schema: Option<String>,
    /// Sign with this secret instead of a new one
    #[arg(long, value_name = "@FILE|-|whsec_…")]
    secret: Option<String>,
    #[command(flatten)]
    credentials: credentials::CredentialFlags,
    /// What tells it from the application's others, for `hookmill apply`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    policy: PolicyFlags,
}

/// Look at and change subscriptions
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List subscriptions
    List(List),
    /// Show a subscription
    Show(Id),
    /// Keep its events back until it is resumed
    Pause(Id),
    /// Deliver again, what was kept back included
    Resume(Id),
    /// Take no more events until it is enabled
    Disable(Id),
    /// Take events again after it was disabled
    Enable(Id),
    /// Delete it; what is still waiting is cancelled
    Delete(Id),
    /// Send it a test event
    Test(Id),
    /// Make a new signing secret; the old one keeps signing for a day
    Rotate(Rotate),
    /// Change how its deliveries are made, or show it
    Policy(ChangePolicy),
    /// Ask its endpoint for leave to send
    Handshake(Id),
    /// List what tells its signing secrets apart
    Secrets(credentials::Secrets),
    /// Add a signing secret that signs beside those there are
    AddSecret(credentials::AddSecret),
    /// Remove a signing secret: it stops signing at once
    RemoveSecret(credentials::RemoveSecret),
    /// Say who its requests come from
    Auth(credentials::Auth),
    /// Give or remove a secret for its headers
    HeaderSecret(credentials::HeaderSecret),
    /// Set which of its events it takes, by what they say, or show it
    Filter(filters::Filter),
    /// Set the channels it takes events of
    Channels(filters::Channels),
    /// Give it a name
    Name(Name),
    /// Say whether an event goes to it, and why
    Match(filters::Match),
    /// Add a plugin to its pipeline
    AddStep(AddStep),
    /// Take a plugin out of its pipeline
    RemoveStep(RemoveStep),
    /// Set the JSON Schema that what is sent must satisfy, or remove it
    OutputSchema(OutputSchema),
}

/// List subscriptions
#[derive(Debug, Args)]
pub(super) struct List {
    /// Most to list
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
    /// Only those whose endpoints fail, with how they do
    #[arg(long)]
    failing: bool,
}

/// Names one subscription.
#[derive(Debug, Args)]
pub(super) struct Id {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill subscription add-step sub_01jd… big-orders --config '{\"at_least\": 100}'"
)]
pub(super) struct AddStep {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// The plugin: its live version, or one it is pinned to
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: PluginRef,
    /// Its configuration
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,
    /// What its failure does to the delivery [default: retry]
    #[arg(long, value_name = "WORD", value_parser = steps::ON_ERROR)]
    on_error: Option<String>,
    /// Its place, from 1 [default: last]
    #[arg(long, value_name = "N")]
    at: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveStep {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// The step: its place from 1, or its plugin's name
    #[arg(value_name = "N|NAME")]
    step: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill subscription output-schema sub_01jd… @order-out.schema.json\n  hookmill subscription output-schema sub_01jd… --remove"
)]
pub(super) struct OutputSchema {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// The schema
    #[arg(value_name = "JSON|@FILE", required_unless_present = "remove")]
    schema: Option<String>,
    /// Send whatever the pipeline makes
    #[arg(long, conflicts_with = "schema")]
    remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct Name {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// What tells it from the application's others, for `hookmill apply`
    name: String,
}

impl Name {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = json!({"name": self.name});
        let changed = global.client()?.patch(&[PATH, &self.id], &body).await?;
        show(global, &changed);
        Ok(())
    }
}

impl OutputSchema {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let schema = match &self.schema {
            Some(schema) => input::json_argument(schema)?,
            None => Value::Null,
        };
        let body = json!({"output_schema": schema});
        let changed = global.client()?.patch(&[PATH, &self.id], &body).await?;
        show(global, &changed);
        Ok(())
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().into(), value.trim().into()))
}

impl Subscribe {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = Map::new();
        body.insert("endpoint".into(), self.endpoint.into());
        body.insert("event_types".into(), self.event_types.into());
        if !self.channels.is_empty() {
            body.insert("channels".into(), self.channels.into());
        }
        body.insert("pipeline".into(), self.steps.pipeline()?);
        if !self.headers.is_empty() {
            let headers: Map<_, _> =
                self.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            body.insert("headers".into(), headers.into());
        }
        if let Some(schema) = &self.output_schema {
            body.insert("output_schema".into(), input::json_argument(schema)?);
        }
        let mut policy = Map::new();
        self.policy.apply(&mut policy)?;
        if !policy.is_empty() {
            body.insert("policy".into(), policy.into());
        }
        self.credentials.apply(&mut body)?;
        let given_secret = self.secret.as_deref().map(input::secret).transpose()?;
        let optional = [
            ("secret", given_secret.map(Value::from)),
            ("name", self.name.map(Value::from)),
            ("description", self.description.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        }
        let mut text = Value::from(body).to_string();
        if let Some(filter) = &self.filter {
            // As it is spelt, so that no number is rounded.
            text.pop();
            text = format!("{text},\"filter\":{}}}", filters::raw_argument(filter)?);
        }
        let created = global.client()?.post_text(&[PATH], text).await?;
        show_secrets(global, &created);
        Ok(())
    }
}

impl List {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        if self.failing {
            return health::list(global, self.limit).await;
        }
        let items = global.client()?.list(&[PATH], &[], self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        let rows = items.iter().map(|item| {
            [
                field(item, "id"),
                field(item, "endpoint"),
                field(item, "event_types"),
                pipeline(item),
                field(item, "state"),
            ]
        });
        output::table(["ID", "ENDPOINT", "EVENT TYPES", "PIPELINE", "STATE"], rows.collect());
        Ok(())
    }
}

/// A pipeline in short: `redact → cloudevents@1.0.0`.
fn pipeline(subscription: &Value) -> String {
    let steps = subscription["pipeline"].as_array().into_iter().flatten();
    steps.map(|step| field(step, "plugin")).collect::<Vec<_>>().join(" → ")
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(global).await,
            Self::Show(Id { id }) => {
                show(global, &global.client()?.get(&[PATH, &id], &[]).await?);
                Ok(())
            }
            Self::Pause(Id { id }) => act(global, &id, "pause").await,
            Self::Resume(Id { id }) => act(global, &id, "resume").await,
            Self::Disable(Id { id }) => act(global, &id, "disable").await,
            Self::Enable(Id { id }) => act(global, &id, "enable").await,
            Self::Delete(Id { id }) => {
                global.client()?.delete(&[PATH, &id], &[]).await?;
                output::say(format_args!("deleted {id}"));
                Ok(())
            }
            Self::Test(Id { id }) => test(global, &id).await,
            Self::Rotate(rotate) => rotate.run(global).await,
            Self::Handshake(Id { id }) => handshake(global, &id).await,
            Self::Policy(policy) => policy.run(global).await,
            Self::Secrets(secrets) => secrets.run(global).await,
            Self::AddSecret(add) => add.run(global).await,
            Self::RemoveSecret(remove) => remove.run(global).await,
            Self::Auth(auth) => auth.run(global).await,
            Self::HeaderSecret(secret) => secret.run(global).await,
            Self::Filter(filter) => filter.run(global).await,
            Self::Channels(channels) => channels.run(global).await,
            Self::Name(name) => name.run(global).await,
            Self::Match(wanted) => wanted.run(global).await,
            Self::AddStep(add) => add.run(global).await,
            Self::RemoveStep(remove) => remove.run(global).await,
            Self::OutputSchema(schema) => schema.run(global).await,
        }
    }
}

async fn act(global: &Global, id: &str, action: &str) -> Result<(), Failure> {
    let subscription = global.client()?.act(&[PATH, id, action]).await?;
    if global.json {
        output::json(&subscription);
    } else {
        output::data(format_args!("{id}  {}", field(&subscription, "state")));
    }
    Ok(())
}

async fn test(global: &Global, id: &str) -> Result<(), Failure> {
    let sent = global.client()?.act(&[PATH, id, "test"]).await?;
    if global.json {
        output::json(&sent);
        return Ok(());
    }
    let delivery = sent["delivery_id"].as_str().or(sent["id"].as_str()).unwrap_or_default();
    output::data(delivery);
    output::say(format_args!("see what became of it: hookmill delivery {delivery}"));
    Ok(())
}

fn show(global: &Global, subscription: &Value) {
    if global.json {
        output::json(subscription);
        return;
    }
    output::data(format_args!(
        "{}  {}  {}",
        field(subscription, "id"),
        field(subscription, "endpoint"),
        field(subscription, "state")
    ));
    for (label, name) in [
        ("name", "name"),
        ("description", "description"),
        ("event types", "event_types"),
        ("channels", "channels"),
        ("filter", "filter"),
        ("headers", "headers"),
        ("in headers", "header_secrets"),
        ("auth", "auth"),
        ("policy", "policy"),
        ("output", "output_schema"),
        ("created", "created_at"),
        ("updated", "updated_at"),
    ] {
        let text = plain(&subscription[name]);
        if !text.is_empty() && text != "{}" && text != "[]" {
            output::data(format_args!("  {label:<12} {text}"));
        }
    }
    for key in subscription["public_keys"].as_array().into_iter().flatten() {
        output::data(format_args!("  {:<12} {}", "public key", field(key, "key")));
    }
    let steps = subscription["pipeline"].as_array().into_iter().flatten();
    for (index, step) in steps.enumerate() {
        let on_error = field(step, "on_error");
        output::data(format_args!(
            "  step {:<7} {}  {}  on error {on_error}",
            index + 1,
            field(step, "plugin"),
            step["config"]
        ));
    }
}

impl AddStep {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let step =
            steps::step_json(&self.plugin, self.config.as_deref(), self.on_error.as_deref())?;
        let client = global.client()?;
        let mut steps = current(&client, &self.id).await?;
        let place = self.at.unwrap_or(steps.len() + 1);
        if place == 0 || place > steps.len() + 1 {
            return Err(Failure::usage(format!(
                "--at {place}: the pipeline has {} steps",
                steps.len()
            ))
            .hint(format!("1 to {} are possible", steps.len() + 1)));
        }
        steps.insert(place - 1, step);
        replace(global, &client, &self.id, steps).await
    }
}

impl RemoveStep {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let mut steps = current(&client, &self.id).await?;
        let place = place(&steps, &self.step).map_err(Failure::failed)?;
        steps.remove(place);
        replace(global, &client, &self.id, steps).await
    }
}

/// The index of the step that `wanted` names.
fn place(steps: &[Value], wanted: &str) -> Result<usize, String> {
    if let Ok(number) = wanted.parse::<usize>() {
        return number
            .checked_sub(1)
            .filter(|&index| index < steps.len())
            .ok_or_else(|| format!("the pipeline has {} steps, no step {number}", steps.len()));
    }
    let mut found = steps.iter().enumerate().filter(|(_, step)| {
        let plugin = field(step, "plugin");
        plugin == wanted || plugin.split('@').next() == Some(wanted)
    });
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        (None, _) => Err(format!("no step of the pipeline runs {wanted}")),
        (Some(_), Some(_)) => Err(format!("several steps run {wanted}: name one by its number")),
    }
}

async fn current(client: &Client, id: &str) -> Result<Vec<Value>, Failure> {
    let mut subscription = client.get(&[PATH, id], &[]).await?;
    match subscription["pipeline"].take() {
        Value::Array(steps) => Ok(steps),
        _ => Ok(Vec::new()),
    }
}

async fn replace(
    global: &Global,
    client: &Client,
    id: &str,
    steps: Vec<Value>,
) -> Result<(), Failure> {
    let changed = client.patch(&[PATH, id], &json!({"pipeline": steps})).await?;
    if global.json {
        output::json(&changed);
    } else {
        let steps = pipeline(&changed);
        output::data(format_args!("{id}  {}", if steps.is_empty() { "no steps" } else { &*steps }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_named_by_place_or_plugin() {
        let steps = [json!({"plugin": "a"}), json!({"plugin": "b@1.0.0"}), json!({"plugin": "a"})];
        assert_eq!(place(&steps, "3"), Ok(2));
        assert_eq!(place(&steps, "b"), Ok(1));
        assert_eq!(place(&steps, "b@1.0.0"), Ok(1));
        for bad in ["0", "4", "c", "a"] {
            assert!(place(&steps, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_name_and_value() {
        assert_eq!(header("X-Shop: a:b"), Ok(("X-Shop".into(), "a:b".into())));
        assert!(header("x").is_err());
    }
}
