//! `hookmill subscription filter`, `channels` and `match`: which events a subscription takes.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    Global, input,
    output::{self, Failure, field},
};

const PATH: &str = "subscriptions";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill subscription filter sub_01jd… '{\"gt\": {\"/total\": 100}}'\n  hookmill subscription filter sub_01jd… @filter.json\n  hookmill subscription filter sub_01jd… --none"
)]
pub(super) struct Filter {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// The filter; without one, the one it has is shown
    #[arg(value_name = "JSON|@FILE")]
    filter: Option<String>,
    /// Take every event of its types
    #[arg(long, conflicts_with = "filter")]
    none: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill subscription channels sub_01jd… eu vip\n  hookmill subscription channels sub_01jd… --all"
)]
pub(super) struct Channels {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// The channels it takes events of, instead of those it has
    #[arg(value_name = "NAME", required_unless_present = "all")]
    channels: Vec<String>,
    /// Take events of every channel, and of none
    #[arg(long, conflicts_with = "channels")]
    all: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill subscription match sub_01jd… --event evt_01jd…\n  hookmill subscription match sub_01jd… --type order.created --data '{\"total\": 150}' --channel eu"
)]
pub(super) struct Match {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// An event that was accepted
    #[arg(long, value_name = "evt_…", required_unless_present = "event_type")]
    event: Option<String>,
    /// The type of an event as it would be published
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "event")]
    event_type: Option<String>,
    /// A file with its payload; `-` is stdin
    #[arg(conflicts_with_all = ["event", "data"])]
    file: Option<PathBuf>,
    /// The payload itself
    #[arg(long, value_name = "JSON", conflicts_with = "event")]
    data: Option<String>,
    /// What it is about
    #[arg(long, value_name = "TEXT", conflicts_with = "event")]
    subject: Option<String>,
    /// What it is published on; repeat for more
    #[arg(long = "channel", value_name = "NAME", conflicts_with = "event")]
    channels: Vec<String>,
}

/// What is to be matched, as the API takes it.
#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Event<'a>>,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    channels: &'a [String],
}

/// An argument's text as JSON, spelt as it is: numbers are not rounded on their way.
pub(super) fn raw_argument(argument: &str) -> Result<Box<RawValue>, Failure> {
    let (text, source) = match argument.strip_prefix('@') {
        Some(path) => (input::text(&PathBuf::from(path))?, path),
        None => (argument.to_owned(), argument),
    };
    raw(&text, source)
}

fn raw(text: &str, source: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("{source} is not JSON: {error}")))
}

impl Filter {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let shown = match &self.filter {
            Some(filter) => {
                let body = format!("{{\"filter\":{}}}", raw_argument(filter)?);
                client.patch_text(&[PATH, &self.id], body).await?
            }
            None if self.none => {
                client.patch_text(&[PATH, &self.id], "{\"filter\":null}".into()).await?
            }
            None => client.get(&[PATH, &self.id], &[]).await?,
        };
        if global.json {
            output::json(&shown);
        } else if shown["filter"].is_null() {
            output::data(format_args!("{}  no filter", self.id));
        } else {
            output::data(format_args!("{}  {}", self.id, shown["filter"]));
        }
        Ok(())
    }
}

impl Channels {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = serde_json::json!({"channels": self.channels});
        let changed = global.client()?.patch(&[PATH, &self.id], &body).await?;
        if global.json {
            output::json(&changed);
        } else if self.all {
            output::data(format_args!("{}  all channels", self.id));
        } else {
            output::data(format_args!("{}  {}", self.id, field(&changed, "channels")));
        }
        Ok(())
    }
}

impl Match {
    fn body(&self) -> Result<String, Failure> {
        let payload = match (&self.data, &self.file, &self.event) {
            (Some(data), ..) => Some(raw(data, "--data")?),
            (None, Some(file), _) => Some(raw(&input::text(file)?, &file.display().to_string())?),
            (None, None, Some(_)) => None,
            (None, None, None) => {
                return Err(Failure::usage("no payload: name a file, or use --data"));
            }
        };
        let body = match &payload {
            None => Wanted { event_id: self.event.as_deref(), event: None },
            Some(payload) => Wanted {
                event_id: None,
                event: Some(Event {
                    event_type: self.event_type.as_deref().unwrap_or_default(),
                    payload,
                    subject: self.subject.as_deref(),
                    channels: &self.channels,
                }),
            },
        };
        serde_json::to_string(&body)
            .map_err(|error| Failure::failed(format!("cannot write the event: {error}")))
    }

    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = self.body()?;
        let found = global.client()?.post_text(&[PATH, &self.id, "match"], body).await?;
        if global.json {
            output::json(&found);
            return Ok(());
        }
        let word = |part: &Value| if part["matches"] == true { "yes" } else { "no " };
        output::data(if found["matches"] == true { "matches" } else { "does not match" });
        if found["state"] == "disabled" {
            output::data("  no   the subscription is disabled");
        }
        for (label, name) in
            [("type", "event_type"), ("channels", "channels"), ("filter", "filter")]
        {
            let part = &found[name];
            if part.is_object() {
                let at = part["at"].as_str().filter(|_| name == "filter").unwrap_or_default();
                output::data(format_args!(
                    "  {}  {label:<9} {}  {at}",
                    word(part),
                    field(part, "why")
                ));
            }
        }
        Ok(())
    }
}
