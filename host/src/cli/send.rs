//! `hookmill send`: publishes one event, or many from newline-delimited JSON.
//!
//! Payloads travel as they are written: they are never parsed into values and back, so
//! `19.90` stays `19.90`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    Global,
    client::Client,
    input,
    output::{self, Failure, field},
};

/// Events in one request of a batch.
const CHUNK: usize = 100;
/// Bytes of their JSON texts: half of what a server takes by default.
const CHUNK_BYTES: usize = 4 << 20;

const EXAMPLES: &str = "\
Examples:
  hookmill send order.created order.json
  hookmill send order.created --data '{\"id\":7,\"total\":\"19.90\"}' --id order-7
  jq .payload old.json | hookmill send order.created -
  hookmill send invoice.sent invoice.xml --content-type text/xml
  hookmill send order.created --batch payloads.ndjson    one payload a line
  hookmill send --batch events.ndjson                    {\"type\":…,\"payload\":…} a line";

const NO_PAYLOAD: &str = "no payload: name a file, or use --data";

/// Publish an event, or many
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    /// The event type, for example order.created
    #[arg(value_name = "TYPE", required_unless_present = "batch")]
    event_type: Option<String>,
    /// A file with the payload; `-` is stdin
    #[arg(required_unless_present_any = ["data", "batch"], conflicts_with_all = ["data", "batch"])]
    file: Option<PathBuf>,
    /// The payload itself
    #[arg(long, value_name = "TEXT", conflicts_with = "batch")]
    data: Option<String>,
    /// Many events, one JSON text a line; `-` is stdin
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// Your own id for it: sent twice, it is delivered once
    #[arg(long, conflicts_with = "batch")]
    id: Option<String>,
    /// What it is about
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// What the payload is, if not JSON: it is sent as its bytes are
    #[arg(long, value_name = "TYPE", conflicts_with = "batch")]
    content_type: Option<String>,
    /// When it happened, if not now
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    occurred_at: Option<Timestamp>,
    /// The schema version it satisfies, if not the newest
    #[arg(long, value_name = "N")]
    schema_version: Option<u32>,
    /// What it is published on; repeat for more
    #[arg(long = "channel", value_name = "NAME")]
    channels: Vec<String>,
}

/// An event as the API takes it.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_version: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    channels: &'a [String],
}

impl Send {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        if let Some(batch) = &self.batch {
            let text = input::text(batch)?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let mut events = Vec::new();
            for (index, line) in lines.enumerate() {
                let source = format!("line {} of {}", index + 1, batch.display());
                let line = raw(line, &source)?;
                events.push(match &self.event_type {
                    Some(event_type) => self.event(event_type, &line)?,
                    None => line.get().to_owned(),
                });
            }
            return send_batch(global, &client, &events).await;
        }
        if let Some(content_type) = &self.content_type {
            let accepted = self.send_bytes(&client, content_type).await?;
            tell(global, &accepted);
            return Ok(());
        }
        let text = match (&self.data, &self.file) {
            (Some(data), _) => data.clone(),
            (None, Some(file)) => input::text(file)?,
            (None, None) => return Err(Failure::usage(NO_PAYLOAD)),
        };
        let source =
            self.file.as_ref().map_or_else(|| "--data".into(), |f| f.display().to_string());
        let event_type = self.event_type.as_deref().unwrap_or_default();
        let event = self.event(event_type, &raw(&text, &source)?)?;
        let accepted = client.post_text(&["events"], event).await?;
        tell(global, &accepted);
        Ok(())
    }

    /// The payload as it is; what else there is to say of the event goes beside it.
    async fn send_bytes(&self, client: &Client, content_type: &str) -> Result<Value, Failure> {
        let body = match (&self.data, &self.file) {
            (Some(data), _) => data.clone().into_bytes(),
            (None, Some(file)) => input::bytes(file)?,
            (None, None) => return Err(Failure::usage(NO_PAYLOAD)),
        };
        let query = [
            ("type", self.event_type.clone()),
            ("id", self.id.clone()),
            ("subject", self.subject.clone()),
            ("occurred_at", self.occurred_at.map(|at| at.to_string())),
            ("schema_version", self.schema_version.map(|version| version.to_string())),
        ];
        client.post_bytes(&["events"], &query, content_type, body).await
    }

    fn event(&self, event_type: &str, payload: &RawValue) -> Result<String, Failure> {
        let event = Event {
            event_type,
            payload,
            id: self.id.as_deref(),
            subject: self.subject.as_deref(),
            occurred_at: self.occurred_at,
            schema_version: self.schema_version,
            channels: &self.channels,
        };
        serde_json::to_string(&event)
            .map_err(|error| Failure::failed(format!("cannot write the event: {error}")))
    }
}

fn raw(text: &str, source: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("{source} is not JSON: {error}")))
}

fn tell(global: &Global, accepted: &Value) {
    if global.json {
        output::json(accepted);
    } else {
        output::data(line(accepted));
    }
}

/// An accepted event for people.
fn line(accepted: &Value) -> String {
    let deliveries = accepted["deliveries"].as_u64().unwrap_or(0);
    let plural = if deliveries == 1 { "y" } else { "ies" };
    format!("{}  {}  {deliveries} deliver{plural}", field(accepted, "id"), field(accepted, "type"))
}

/// Sends events in chunks; each has its own answer. Fails if any was refused.
/// Cuts a batch into requests that a server with the default limits takes.
fn chunks(events: &[String]) -> Vec<&[String]> {
    let (mut cut, mut bytes, mut chunks) = (0, 0, Vec::new());
    for (index, event) in events.iter().enumerate() {
        if index - cut == CHUNK || (index > cut && bytes + event.len() > CHUNK_BYTES) {
            chunks.push(&events[cut..index]);
            (cut, bytes) = (index, 0);
        }
        bytes += event.len();
    }
    if cut < events.len() {
        chunks.push(&events[cut..]);
    }
    chunks
}

async fn send_batch(global: &Global, client: &Client, events: &[String]) -> Result<(), Failure> {
    let mut refused = 0;
    let mut sent = 0;
    for chunk in chunks(events) {
        let body = format!("{{\"events\":[{}]}}", chunk.join(","));
        let answer = client.post_text(&["events", "batch"], body).await;
        let mut answer = answer.inspect_err(|_| {
            if sent > 0 {
                output::say(format_args!("the first {sent} events were sent, the others were not"));
            }
        })?;
        let results = if answer.is_array() { answer } else { answer["data"].take() };
        for (offset, result) in results.as_array().into_iter().flatten().enumerate() {
            let accepted = result["id"].is_string();
            refused += usize::from(!accepted);
            if global.json {
                output::data(result);
            } else if accepted {
                output::data(line(result));
            } else {
                let problem = if result["title"].is_string() { result } else { &result["problem"] };
                let place = sent + offset + 1;
                output::say(format_args!("error: event {place}: {}", field(problem, "title")));
                for error in problem["errors"].as_array().into_iter().flatten() {
                    output::say(format_args!(
                        "  {}  {}",
                        field(error, "at"),
                        field(error, "message")
                    ));
                }
            }
        }
        sent += chunk.len();
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{refused} of {} events were refused", events.len()))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        send: Send,
    }

    #[test]
    fn a_batch_is_cut_by_count_and_by_size() {
        let of = |sizes: &[usize]| {
            let events: Vec<String> = sizes.iter().map(|&size| "x".repeat(size)).collect();
            super::chunks(&events).iter().map(|chunk| chunk.len()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1; 250]), [100, 100, 50]);
        assert_eq!(of(&[3 << 20, 3 << 20, 1, 9 << 20, 1]), [1, 2, 1, 1]);
        assert_eq!(of(&[]), [0; 0]);
    }

    #[test]
    fn payloads_keep_their_spelling() {
        let line = Line::parse_from(["send", "order.created", "--data", "{}", "--id", "o-7"]);
        let payload = raw("{\"total\": 19.90}", "x").unwrap();
        let event = line.send.event("order.created", &payload).unwrap();
        assert_eq!(event, r#"{"type":"order.created","payload":{"total": 19.90},"id":"o-7"}"#);
    }

    #[test]
    fn there_is_one_source_of_payloads() {
        for bad in [&["send"][..], &["send", "a"], &["send", "a", "f", "--data", "1"]] {
            assert!(Line::try_parse_from(bad).is_err(), "{bad:?}");
        }
        for good in [&["send", "a", "f"][..], &["send", "--batch", "f"]] {
            assert!(Line::try_parse_from(good).is_ok(), "{good:?}");
        }
    }
}
