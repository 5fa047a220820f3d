//! `hookmill retry`: single deliveries once more, or many by a filter as a replay.
//!
//! Owns the flags that say which, and what is asked of the server for them.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Global,
    client::Client,
    input,
    output::{self, Failure, field},
    replay,
};
use crate::model::AttemptOutcome;

const EXAMPLES: &str = "\
Examples:
  hookmill retry dlv_01jd…                                   this one, now
  hookmill retry --subscription sub_01jd… --since 1h         all its dead ones of the last hour
  hookmill retry --subscription sub_01jd… --state pending    those that wait for their next attempt
  hookmill retry --type 'order.**' --error timeout --rate 50/s
  hookmill retry --subscription sub_01jd… --missing --since 2d   what it never got
  hookmill retry dlv_01jd… --to http://127.0.0.1:9000/       to another URL, as a test";

/// Deliver again: these, or by a filter all that are dead
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Retry {
    /// The deliveries
    #[arg(value_name = "dlv_…", conflicts_with_all = ["subscription", "event_type", "error", "states", "dead", "since", "until", "missing", "rate", "detach"])]
    ids: Vec<String>,
    /// Of this subscription; may be given several times
    #[arg(long, value_name = "sub_…")]
    subscription: Vec<String>,
    /// Of such an event type, or pattern; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Vec<String>,
    /// Whose last attempt ended so
    #[arg(long, value_parser = AttemptOutcome::ALL.map(AttemptOutcome::as_str))]
    error: Option<String>,
    /// In this state; may be given several times [default: dead]
    #[arg(long = "state", value_parser = ["pending", "succeeded", "dead", "filtered"])]
    states: Vec<String>,
    /// Those that are dead
    #[arg(long, conflicts_with = "states")]
    dead: bool,
    /// Of events accepted at or after: a time, or how long ago (1h)
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    since: Option<Timestamp>,
    /// Of events accepted before
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    until: Option<Timestamp>,
    /// Run the pipeline as it is today; what it makes goes out under a new delivery id
    #[arg(long, conflicts_with = "missing")]
    rerun: bool,
    /// Instead: events that the subscription's patterns match and that it never got
    #[arg(long, requires = "subscription", requires = "since", conflicts_with_all = ["states", "dead", "error"])]
    missing: bool,
    /// Most in a second, such as 50/s [default: as many as can be delivered]
    #[arg(long, value_name = "N/s", value_parser = per_second)]
    rate: Option<u32>,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
    /// Send them to this URL instead, once, as a test that changes nothing
    #[arg(long, value_name = "URL", requires = "ids", conflicts_with = "rerun")]
    to: Option<String>,
}

/// `50/s` or `50`. A parser for clap.
fn per_second(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<u32>().ok();
    number.filter(|rate| *rate > 0).ok_or_else(|| "write a number per second, such as 50/s".into())
}

impl Retry {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        if !self.ids.is_empty() {
            return self.each(&client, global.json).await;
        }
        let request = self.request();
        if request.as_object().is_none_or(Map::is_empty) {
            return Err(Failure::usage("nothing says which deliveries")
                .hint("name them, or give a filter such as --dead, --subscription or --since"));
        }
        let started = client.post(&["replays"], &request).await?;
        let id = field(&started, "id");
        if self.detach {
            if global.json {
                output::json(&started);
            } else {
                output::data(format_args!("{id}  {} to take", started["progress"]["total"]));
                output::say(format_args!("see how far it is: hookmill replay watch {id}"));
            }
            return Ok(());
        }
        replay::watch(&client, &id, global.json).await
    }

    async fn each(&self, client: &Client, as_json: bool) -> Result<(), Failure> {
        let mut failed = 0;
        for id in &self.ids {
            let (answer, line) = if let Some(url) = &self.to {
                let path = ["deliveries", id, "send-to"];
                let attempt = client.post(&path, &json!({"url": url})).await?;
                failed += usize::from(attempt["outcome"] != "succeeded");
                let line = format!("{id}  {}", super::delivery::attempt_line(&attempt));
                (attempt, line)
            } else if self.rerun {
                let fresh = client.act(&["deliveries", id, "rerun"]).await?;
                let line = format!("{id}  run again as {}, due now", field(&fresh, "id"));
                (fresh, line)
            } else {
                let delivery = client.act(&["deliveries", id, "retry"]).await?;
                (delivery, format!("{id}  due now"))
            };
            if as_json {
                output::json(&answer);
            } else {
                output::data(line);
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::failed("it was not accepted there")),
        }
    }

    /// What is asked of the server; empty if nothing says which.
    fn request(&self) -> Value {
        let mut request = Map::new();
        let list = |items: &[String]| Value::from(items.to_vec());
        let time = |at: &Timestamp| Value::from(at.to_string());
        for (name, value) in [
            ("subscription_ids", (!self.subscription.is_empty()).then(|| list(&self.subscription))),
            ("event_types", (!self.event_type.is_empty()).then(|| list(&self.event_type))),
            ("states", (!self.states.is_empty()).then(|| list(&self.states))),
            ("states", self.dead.then(|| list(&["dead".into()]))),
            ("error", self.error.clone().map(Value::from)),
            ("since", self.since.as_ref().map(time)),
            ("until", self.until.as_ref().map(time)),
        ] {
            if let Some(value) = value {
                request.insert(name.into(), value);
            }
        }
        if request.is_empty() {
            return request.into();
        }
        if self.missing || self.rerun {
            let mode = if self.missing { "missing" } else { "rerun" };
            request.insert("mode".into(), mode.into());
        }
        if let Some(rate) = self.rate {
            request.insert("per_second".into(), rate.into());
        }
        request.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arguments: &[&str]) -> Result<Value, clap::Error> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            retry: Retry,
        }
        let all = ["retry"].iter().chain(arguments);
        <Line as clap::Parser>::try_parse_from(all).map(|line| line.retry.request())
    }

    #[test]
    fn flags_become_a_request() {
        let dead = request(&["--subscription", "sub_1", "--dead", "--rate", "50/s"]).unwrap();
        let expected = json!({"subscription_ids": ["sub_1"], "states": ["dead"], "per_second": 50});
        assert_eq!(dead, expected);
        let missing = ["--missing", "--subscription", "sub_1", "--since", "2026-11-02T03:00:00Z"];
        assert_eq!(request(&missing).unwrap()["mode"], "missing");
        assert_eq!(request(&["--rerun", "--type", "a.*"]).unwrap()["mode"], "rerun");
        // Nothing says which: a rate alone is no reason to replay everything.
        assert_eq!(request(&["--rate", "5"]).unwrap(), json!({}));
    }

    #[test]
    fn flags_that_contradict_are_refused() {
        for bad in [
            &["dlv_1", "--dead"][..],
            &["--missing", "--subscription", "sub_1"],
            &["--missing", "--subscription", "sub_1", "--since", "1h", "--dead"],
            &["--rate", "0/s", "--dead"],
            &["--to", "http://a/"],
        ] {
            assert!(request(bad).is_err(), "{bad:?}");
        }
    }
}
