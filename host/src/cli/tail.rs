//! `hookmill tail`: what happens, line by line.
//!
//! Owns how a line looks; the server decides what there is to see.

use std::io::Write;

use clap::Args;
use futures_util::StreamExt;
use serde_json::Value;

use super::{
    Global,
    output::{self, Failure, field},
};

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
        let query = [
            ("event_type", self.event_type),
            ("subscription_id", self.subscription),
            ("state", self.state),
        ];
        let answer = global.client()?.watch(&["tail"], &query).await?;
        let mut pieces = answer.bytes_stream();
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece =
                piece.map_err(|error| Failure::failed(format!("the tail broke off: {error}")))?;
            text.extend_from_slice(&piece);
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = text.drain(..end + 2).collect();
                show(&String::from_utf8_lossy(&message), global.json)?;
            }
        }
        output::say("the server ended the tail");
        Ok(())
    }
}

/// One message of the stream; a comment is none.
fn show(message: &str, json: bool) -> Result<(), Failure> {
    let part =
        |name: &str| message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (Some(kind), Some(data)) = (part("event"), part("data")) else { return Ok(()) };
    let item: Value = serde_json::from_str(data)
        .map_err(|error| Failure::failed(format!("the server sent what is no JSON: {error}")))?;
    if kind == "missed" {
        let missed = field(&item, "missed");
        output::say(format_args!("too slow for {missed} of them: they are not shown"));
        return Ok(());
    }
    let line = if json { data.to_owned() } else { line(kind, &item) };
    // Whoever reads the other end may be done.
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::failed(error.to_string()))
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
