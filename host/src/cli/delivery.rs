//! `hookmill deliveries`, `hookmill delivery`: what became of events.
//!
//! Owns the view of one delivery that is meant for 3 a.m.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Global, input,
    output::{self, Failure, field},
};
use crate::{
    clock::Clock,
    model::{AttemptOutcome, DeliveryState, EventTypeName, Pattern},
};

const PATH: &str = "deliveries";

/// List deliveries
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  hookmill deliveries --dead --since 1h\n  hookmill deliveries --dead --type 'order.*' --error timeout\n  hookmill deliveries --subscription sub_01jd… --json | jq -r '.[].id'"
)]
pub(super) struct Deliveries {
    #[command(subcommand)]
    command: Option<DeliveriesCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum DeliveriesCommand {
    /// List deliveries, newest first
    List(List),
}

#[derive(Debug, Args)]
struct List {
    /// Of this subscription
    #[arg(long, value_name = "sub_…")]
    subscription: Option<String>,
    /// Of this event
    #[arg(long, value_name = "evt_…")]
    event: Option<String>,
    /// In this state
    #[arg(long, value_parser = DeliveryState::ALL.map(DeliveryState::as_str))]
    state: Option<String>,
    /// Those that are dead
    #[arg(long, conflicts_with = "state")]
    dead: bool,
    /// Of such an event type, or pattern
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Whose last attempt ended so
    #[arg(long, value_parser = AttemptOutcome::ALL.map(AttemptOutcome::as_str))]
    error: Option<String>,
    /// Taken last by this replay
    #[arg(long, value_name = "rpl_…")]
    replay: Option<String>,
    /// Created at or after: a time, or how long ago (1h)
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    since: Option<Timestamp>,
    /// Created before
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    until: Option<Timestamp>,
    /// Most to list
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

/// What became of one delivery: its pipeline's steps and its attempts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookmill delivery dlv_01jd…")]
pub(super) struct Show {
    /// The delivery
    #[arg(value_name = "dlv_…")]
    id: String,
}

impl Deliveries {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.command {
            Some(DeliveriesCommand::List(list)) => list.run(global).await,
            None => self.list.run(global).await,
        }
    }
}

impl List {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let query = [
            ("subscription_id", self.subscription),
            ("event_id", self.event),
            ("state", if self.dead { Some("dead".into()) } else { self.state }),
            ("event_type", self.event_type),
            ("error", self.error),
            ("replay_id", self.replay),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
        ];
        let items = global.client()?.list(&[PATH], &query, self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        let columns = [
            "id",
            "event_type",
            "subscription_id",
            "state",
            "attempts",
            "last_outcome",
            "created_at",
            "reason",
        ];
        let rows = items.iter().map(|item| columns.map(|column| field(item, column)));
        let headers =
            ["ID", "EVENT TYPE", "SUBSCRIPTION", "STATE", "ATTEMPTS", "LAST", "CREATED", "REASON"];
        output::table(headers, rows.collect());
        Ok(())
    }
}

impl Show {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let delivery = client.get(&[PATH, &self.id], &[]).await?;
        if global.json {
            output::json(&delivery);
            return Ok(());
        }
        // The policy says how many attempts there may be; a subscription may be gone.
        let subscription =
            client.get(&["subscriptions", &field(&delivery, "subscription_id")], &[]).await.ok();
        let subscription = subscription.unwrap_or_default();
        output::data(view(&delivery, &subscription, Clock::system().now()).trim_end());
        Ok(())
    }
}

/// How many attempts a subscription's own retry policy allows.
fn attempts_allowed(subscription: &Value) -> Option<u64> {
    let retry = &subscription["policy"]["retry"];
    let schedule = retry["schedule"].as_array().map(|waits| waits.len() as u64);
    schedule.or(retry["exponential"]["attempts"].as_u64())
}

/// The 3 a.m. view of a delivery; `subscription` is null if it is gone.
fn view(delivery: &Value, subscription: &Value, now: Timestamp) -> String {
    let most = attempts_allowed(subscription);
    let mut text = format!(
        "{} {} → {}    {}\n",
        field(delivery, "event_id"),
        field(delivery, "event_type"),
        field(delivery, "subscription_id"),
        standing(delivery, most, now)
    );
    if let Some(reason) = delivery["reason"].as_str() {
        text += &format!("  reason    {reason}\n");
    }
    if let Some(matched) = matched(&field(delivery, "event_type"), subscription) {
        text += &format!("  match     {matched}\n");
    }
    let steps: Vec<&Value> = delivery["steps"].as_array().into_iter().flatten().collect();
    let width = steps.iter().map(|step| plugin(step).chars().count()).max().unwrap_or(0);
    for step in &steps {
        text += &format!("  {:<width$}  {}\n", plugin(step), step_line(step));
        for line in frames(step) {
            text += &format!("    {line}\n");
        }
        for line in notes(step) {
            text += &format!("    {line}\n");
        }
    }
    if let Some(sent) = delivery["sent"].as_object() {
        let content_type = sent.get("content_type").and_then(Value::as_str).unwrap_or_default();
        let size = sent
            .get("size")
            .and_then(Value::as_u64)
            .or_else(|| sent.get("body").and_then(Value::as_str).map(|body| body.len() as u64));
        let size = size.map(output::file_size).unwrap_or_default();
        text += &format!("  sent      {content_type}  {size}\n");
    }
    for attempt in delivery["attempts"].as_array().into_iter().flatten() {
        text += &format!("  {}\n", attempt_line(attempt));
    }
    text
}

/// `order.*    pipeline 2 steps`: why the subscription gets the event, and through how much,
/// as it is set up now. None for what it would not get now, such as a test event.
fn matched(event_type: &str, subscription: &Value) -> Option<String> {
    let name: EventTypeName = event_type.parse().ok()?;
    let mut patterns = subscription["event_types"].as_array()?.iter().filter_map(Value::as_str);
    let mut text = patterns
        .find(|text| text.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(&name)))?
        .to_owned();
    match subscription["pipeline"].as_array().map_or(0, Vec::len) {
        0 => {}
        1 => text += "    pipeline 1 step",
        steps => text += &format!("    pipeline {steps} steps"),
    }
    Some(text)
}

/// `pending, attempt 3 of 10, next at 03:14:07Z (in 4 m 51 s)`.
fn standing(delivery: &Value, most: Option<u64>, now: Timestamp) -> String {
    let mut text = field(delivery, "state");
    // In a list `attempts` is a number, in a delivery's own view they are listed.
    let attempts = &delivery["attempts"];
    let made = attempts.as_array().map(|list| list.len() as u64).or(attempts.as_u64()).unwrap_or(0);
    let next = delivery["next_attempt_at"].as_str();
    let of = most.map(|most| format!(" of {most}")).unwrap_or_default();
    match (next, made) {
        (Some(next), _) => {
            text += &format!(", attempt {}{of}, next at {}", made + 1, output::time_of_day(next));
            if let Ok(at) = next.parse::<Timestamp>() {
                text += &format!(" (in {})", output::span(at.duration_since(now)));
            }
        }
        (None, 0) => {}
        (None, 1) => text += ", 1 attempt",
        (None, made) => text += &format!(", {made} attempts"),
    }
    text
}

fn plugin(step: &Value) -> String {
    format!("{}@{}", field(step, "plugin"), field(step, "version"))
}

/// `pass`, `drop "small"`, `2 edits`, `fault trap: …`.
pub(super) fn verdict(step: &Value) -> String {
    match step["verdict"].as_str().unwrap_or_default() {
        "drop" => format!("drop {:?}", field(step, "reason")),
        "edit" if step["edits"] == 1 => "1 edit".into(),
        "edit" => format!("{} edits", step["edits"]),
        "fault" => format!("fault {}: {}", field(step, "kind"), field(step, "message")),
        other => other.to_owned(),
    }
}

/// `pass  14 µs  31 k fuel  read /total`.
pub(super) fn step_line(step: &Value) -> String {
    let took = match &step["learned"] {
        Value::Bool(true) => "learned".to_owned(),
        _ => output::micros(step["duration_us"].as_u64().unwrap_or(0)),
    };
    let mut text = format!(
        "{}  {took}  {} fuel",
        verdict(step),
        output::short_count(step["fuel"].as_u64().unwrap_or(0))
    );
    let reads = step["reads"].as_array().into_iter().flatten().map(output::plain);
    let reads: Vec<String> = reads.collect();
    if step["read_all"] == true {
        text += "  read everything";
    } else if !reads.is_empty() {
        text += &format!("  read {}", reads.join(" "));
    }
    if step["shared"] == true {
        text += "  shared";
    }
    text
}

/// Where a step was stopped, the innermost function first, a line for each.
pub(super) fn frames(step: &Value) -> impl Iterator<Item = String> {
    let frames = step["backtrace"].as_array().into_iter().flatten();
    frames
        .enumerate()
        .map(|(at, name)| format!("{} {}", if at == 0 { "in" } else { "by" }, output::plain(name)))
}

/// What a step noted, line by line. A panic's note is left out where it has become the
/// fault's own words.
pub(super) fn notes(step: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for log in step["log"].as_array().into_iter().flatten() {
        let message = field(log, "message");
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        if step["message"] == lines.join(" ") {
            continue;
        }
        let first = lines.first().copied().unwrap_or_default();
        all.push(format!("{}: {first}", field(log, "level")));
        all.extend(lines.iter().skip(1).map(|line| format!("  {line}")));
    }
    all
}

/// `attempt 1  03:03:52Z  503  dns 1 ms · connect 12 ms · first byte 190 ms · 191 ms  "busy"`.
pub(super) fn attempt_line(attempt: &Value) -> String {
    let outcome = match (attempt["status"].as_u64(), attempt["outcome"].as_str()) {
        (Some(status), _) => status.to_string(),
        (None, outcome) => outcome.unwrap_or_default().replace('_', " "),
    };
    let mut text = format!(
        "attempt {}  {}  {outcome}",
        attempt["number"],
        output::time_of_day(&field(attempt, "started_at"))
    );
    if let Some(error) = attempt["error"].as_str() {
        text += &format!("  {error}");
    }
    let parts = [
        ("dns ", "dns_us"),
        ("connect ", "connect_us"),
        ("tls ", "tls_us"),
        ("first byte ", "first_byte_us"),
        ("", "total_us"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter_map(|(name, part)| Some((name, attempt[part].as_u64().filter(|&us| us > 0)?)))
        .map(|(name, us)| format!("{name}{}", output::micros(us)))
        .collect();
    if !parts.is_empty() {
        text += &format!("  {}", parts.join(" · "));
    }
    if let Some(body) = attempt["response_body"].as_str().filter(|body| !body.is_empty()) {
        let short: String = body.chars().take(80).collect();
        text += &format!("  {short:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_delivery_tells_its_story() {
        let delivery = json!({
            "id": "dlv_1", "event_id": "evt_1", "event_type": "order.created",
            "subscription_id": "sub_1", "state": "pending", "reason": null,
            "next_attempt_at": "2026-11-02T03:14:07Z",
            "steps": [
                {"plugin": "big-orders", "version": "0.1.0", "verdict": "pass", "fuel": 31_000,
                 "duration_us": 14, "reads": ["/total"]},
                {"plugin": "redact", "version": "1.2.0", "verdict": "edit", "edits": 2,
                 "fuel": 18_000, "duration_us": 9, "reads": ["/a", "/b"], "shared": true,
                 "log": [{"level": "warn", "message": "hm"}]},
                {"plugin": "eu-only", "version": "1.0.0", "verdict": "pass", "fuel": 9_000,
                 "duration_us": 0, "reads": ["/region"], "learned": true},
                {"plugin": "note", "version": "0.1.0", "verdict": "fault", "kind": "trap",
                 "message": "panicked at src/lib.rs:12:5: no total", "fuel": 900,
                 "duration_us": 3, "backtrace": ["note::total", "note::note"],
                 "log": [{"level": "info", "message": "two\nlines"},
                         {"level": "error", "message": "panicked at src/lib.rs:12:5:\nno total"}]},
            ],
            "sent": {"content_type": "application/json", "size": 1700},
            "attempts": [
                {"number": 1, "started_at": "2026-11-02T03:03:52Z", "outcome": "http_status",
                 "status": 503, "dns_us": 1_000, "connect_us": 12_000, "tls_us": 25_000,
                 "first_byte_us": 190_000, "total_us": 191_000,
                 "response_body": "upstream unavailable"},
                {"number": 2, "started_at": "2026-11-02T03:03:58Z", "outcome": "timeout",
                 "error": "after 15 s, waiting for the first byte", "total_us": 15_000_000},
            ],
        });
        let subscription = json!({
            "event_types": ["user.*", "order.*"],
            "pipeline": [{}, {}, {}, {}],
            "policy": {"retry": {"schedule": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}},
        });
        let now = "2026-11-02T03:09:16Z".parse().unwrap();
        insta::assert_snapshot!(view(&delivery, &subscription, now), @r#"
        evt_1 order.created → sub_1    pending, attempt 3 of 10, next at 03:14:07Z (in 4 m 51 s)
          match     order.*    pipeline 4 steps
          big-orders@0.1.0  pass  14 µs  31 k fuel  read /total
          redact@1.2.0      2 edits  9 µs  18 k fuel  read /a /b  shared
            warn: hm
          eu-only@1.0.0     pass  learned  9000 fuel  read /region
          note@0.1.0        fault trap: panicked at src/lib.rs:12:5: no total  3 µs  900 fuel
            in note::total
            by note::note
            info: two
              lines
          sent      application/json  2 KB
          attempt 1  03:03:52Z  503  dns 1.0 ms · connect 12 ms · tls 25 ms · first byte 190 ms · 191 ms  "upstream unavailable"
          attempt 2  03:03:58Z  timeout  after 15 s, waiting for the first byte  15.0 s
        "#);
    }

    #[test]
    fn a_final_state_counts_its_attempts() {
        let now = Timestamp::UNIX_EPOCH;
        let dead = json!({"state": "dead", "attempts": [{}, {}]});
        assert_eq!(standing(&dead, None, now), "dead, 2 attempts");
        let filtered = json!({"state": "filtered", "attempts": 0});
        assert_eq!(standing(&filtered, None, now), "filtered");
    }

    #[test]
    fn a_policy_says_how_many_attempts_there_are() {
        assert_eq!(attempts_allowed(&json!({"policy": {"retry": {"schedule": [0, 5]}}})), Some(2));
        assert_eq!(
            attempts_allowed(&json!({"policy": {"retry": {"exponential": {"attempts": 7}}}})),
            Some(7)
        );
        assert_eq!(attempts_allowed(&json!({"policy": {"retry": null}})), None);
    }
}
