//! `hookmill tail`: what happens, line by line.
//!
//! Owns how a line looks, and coming back when the connection breaks; the server decides what there
//! is to see, and what of it a break has cost.

use std::{io::Write, time::Duration};

use clap::Args;
use futures_util::StreamExt;
use serde_json::Value;

use super::{
    Global,
    client::Client,
    output::{self, Failure, field},
};

/// How long to wait before the first try to come back, and at the most.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Longest message that is waited for the end of: a subject and an error are short.
const MAX_MESSAGE: usize = 1 << 20;

/// Watch events come in and deliveries go out, until Ctrl-C
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill tail --type 'order.*'\n  hookmill tail --state dead --json | jq .reason"
)]
pub(super) struct Tail {
    /// Only of this event type: a name or a pattern
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only deliveries of this subscription
    #[arg(long, value_name = "sub_…")]
    subscription: Option<String>,
    /// Only deliveries that are in this state now
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

impl Tail {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let query = [
            ("event_type", self.event_type),
            ("subscription_id", self.subscription),
            ("state", self.state),
        ];
        let mut reader = Reader { last_id: None, json: global.json };
        // Whoever cannot watch at all is told at once.
        let mut answer = reader.open(&client, &query).await?;
        loop {
            let why = reader.read(answer).await?;
            output::say(format_args!("{why}; coming back"));
            let mut wait = WAITS.0;
            answer = loop {
                tokio::time::sleep(wait).await;
                match reader.open(&client, &query).await {
                    Ok(answer) => break answer,
                    Err(failure) if failure.may_pass() => wait = (wait * 2).min(WAITS.1),
                    Err(failure) => return Err(failure),
                }
            };
        }
    }
}

/// Whoever reads the stream, and how far they came.
struct Reader {
    last_id: Option<String>,
    json: bool,
}

impl Reader {
    async fn open(
        &self,
        client: &Client,
        query: &[(&str, Option<String>)],
    ) -> Result<reqwest::Response, Failure> {
        let last = self.last_id.as_deref().map(|id| ("last-event-id", id));
        client.watch(&["tail"], query, last).await
    }

    /// Shows what comes until no more does; says why that is.
    async fn read(&mut self, answer: reqwest::Response) -> Result<String, Failure> {
        let mut pieces = answer.bytes_stream();
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => text.extend_from_slice(&piece),
                Err(error) => return Ok(format!("the tail broke off: {error}")),
            }
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = text.drain(..end + 2).collect();
                self.show(&String::from_utf8_lossy(&message))?;
            }
            if text.len() > MAX_MESSAGE {
                return Err(Failure::failed("the server sent a message without an end"));
            }
        }
        Ok("the server ended the tail".to_owned())
    }

    /// One message of the stream. A comment is none, but may say where the reader is.
    fn show(&mut self, message: &str) -> Result<(), Failure> {
        let part = |name: &str| {
            message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        if let Some(id) = part("id") {
            self.last_id = Some(id.to_owned());
        }
        let (Some(kind), Some(data)) = (part("event"), part("data")) else { return Ok(()) };
        let item: Value = serde_json::from_str(data).map_err(|error| {
            Failure::failed(format!("the server sent what is no JSON: {error}"))
        })?;
        if kind == "missed" {
            let missed = match &item["missed"] {
                Value::Null => "what happened meanwhile".to_owned(),
                count => format!("{count} of them"),
            };
            let lists = "`hookmill events list --since` and `hookmill deliveries` have them";
            output::say(format_args!("missed {missed}: {lists}"));
            return Ok(());
        }
        let line = if self.json { data.to_owned() } else { line(kind, &item) };
        // Whoever reads the other end may be done.
        writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::failed(error.to_string()))
    }
}

fn line(kind: &str, item: &Value) -> String {
    let time = output::time_of_day(item["at"].as_str().unwrap_or_default());
    let (event, event_type) = (field(item, "event_id"), field(item, "event_type"));
    if kind == "event" {
        let deliveries = field(item, "deliveries");
        return format!("{time}  {event}  {event_type}  accepted, {deliveries} to deliver");
    }
    let (delivery, state) = (field(item, "delivery_id"), field(item, "state"));
    let mut line = format!("{time}  {delivery}  {event_type}  {state}");
    let attempt = &item["attempt"];
    if attempt.is_object() {
        let outcome = match &attempt["status"] {
            Value::Null => field(attempt, "outcome"),
            status => output::plain(status),
        };
        line.push_str(&format!(", attempt {}: {outcome}", field(attempt, "number")));
    }
    for (name, word) in [("reason", ""), ("next_attempt_at", "again at ")] {
        if let Some(text) = item[name].as_str() {
            line.push_str(&format!(", {word}{text}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_became_of_a_delivery() {
        let item = json!({
            "event_type": "a.b", "delivery_id": "dlv_1", "at": "2026-11-24T01:02:03Z",
            "state": "pending", "attempt": {"number": 2, "outcome": "http_status", "status": 503},
            "next_attempt_at": "2026-11-24T01:03:00Z",
        });
        let line = line("delivery", &item);
        assert!(line.contains("dlv_1  a.b  pending, attempt 2: 503, again at 2026"), "{line}");
    }
}
