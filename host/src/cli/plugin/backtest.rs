//! `hookmill plugin backtest`: another version over recorded events, on the server, delivering
//! nothing.
//!
//! Owns the waiting, the words and the verdict for CI; the server compares.

use std::{io::IsTerminal, time::Duration};

use clap::{Args, ValueEnum};
use console::{Style, style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

use crate::cli::{
    Global,
    client::Client,
    input,
    output::{self, Failure, field},
};

/// How often the server is asked how far it is.
const POLL: Duration = Duration::from_millis(200);
/// So many polls lie between two lines where no bar can be drawn.
const POLLS_A_LINE: u32 = 25;

const EXAMPLES: &str = "\
Examples:
  hookmill plugin backtest redact                        the newest version, where it is used
  hookmill plugin backtest redact --version 1.3.0 --diff
  hookmill plugin backtest big-orders --subscription sub_01jd… --config '{\"at_least\": 100}'
  hookmill plugin backtest redact --fail-on any          for CI: exit code 1 if anything differs";

/// Run a version over recorded events and compare, without delivering anything
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Backtest {
    /// The plugin
    name: String,
    /// The version on trial [default: the newest]
    #[arg(long)]
    version: Option<String>,
    /// The version it is compared with [default: what each subscription runs now]
    #[arg(long, value_name = "VERSION")]
    against: Option<String>,
    /// Only this subscription; if it does not use the plugin, as one step more
    #[arg(long, value_name = "sub_…")]
    subscription: Option<String>,
    /// How many events, the newest first
    #[arg(long, value_name = "N", default_value_t = 1000)]
    last: u32,
    /// The configuration on trial [default: what each subscription has saved]
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
    /// Print the differences
    #[arg(long)]
    diff: bool,
    /// Exit with 1 if there are any of these
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    fail_on: Vec<Kind>,
}

/// What a comparison can come to, if not to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Changed,
    NewlyDropped,
    NewlyPassed,
    Failed,
    Fixed,
    Undecided,
    Slower,
    /// Any of them
    Any,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Changed,
        Self::NewlyDropped,
        Self::NewlyPassed,
        Self::Failed,
        Self::Fixed,
        Self::Undecided,
        Self::Slower,
    ];

    const fn field(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::NewlyDropped => "newly_dropped",
            Self::NewlyPassed => "newly_passed",
            Self::Failed => "failed",
            Self::Fixed => "fixed",
            Self::Undecided => "undecided",
            Self::Slower => "slower",
            Self::Any => "any",
        }
    }

    fn words(self) -> String {
        self.field().replace('_', " ")
    }

    fn style(self) -> Style {
        match self {
            Self::Failed | Self::NewlyDropped => Style::new().red(),
            Self::Fixed | Self::NewlyPassed => Style::new().green(),
            _ => Style::new().yellow(),
        }
    }
}

fn count(report: &Value, kind: Kind) -> u64 {
    report["counts"][kind.field()].as_u64().unwrap_or(0)
}

impl Backtest {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let request = self.request(&client).await?;
        let path = [super::PATH, &self.name, "backtests"];
        let started = client.post_for(&path, &super::owner(self.shared), &request).await?;
        let id = field(&started, "id");
        if !global.json {
            let (name, version) = (field(&started, "plugin"), field(&started, "version"));
            output::say(format_args!("backtest {id} of {name}@{version}"));
        }
        let report = tokio::select! {
            report = watch(&client, &id) => report?,
            // Without a way to hear it, the command just cannot be asked to stop.
            Ok(()) = tokio::signal::ctrl_c() => {
                client.delete(&["backtests", &id], &[]).await?;
                return Err(Failure::failed("the backtest was cancelled"));
            }
        };
        if global.json {
            output::json(&report);
        } else {
            self.print(&report);
        }
        self.verdict(&report)
    }

    async fn request(&self, client: &Client) -> Result<Value, Failure> {
        let mut request = Map::new();
        let version = match &self.version {
            Some(version) => version.clone(),
            None => self.newest(client).await?,
        };
        request.insert("version".into(), version.into());
        request.insert("last".into(), self.last.into());
        if let Some(against) = &self.against {
            request.insert("against".into(), against.as_str().into());
        }
        if let Some(subscription) = &self.subscription {
            request.insert("subscription_id".into(), subscription.as_str().into());
        }
        if let Some(config) = &self.config {
            request.insert("config".into(), input::json_argument(config)?);
        }
        Ok(request.into())
    }

    /// The newest version. If that one is live, comparing it with itself shows what another
    /// config would do.
    async fn newest(&self, client: &Client) -> Result<String, Failure> {
        let path = [super::PATH, &self.name, "versions"];
        let versions = client.list(&path, &super::owner(self.shared), 1).await?;
        versions
            .first()
            .map(|version| field(version, "version"))
            .ok_or_else(|| Failure::failed(format!("the plugin {} has no version", self.name)))
    }

    fn print(&self, report: &Value) {
        let differences = report["differences"].as_array().map_or(&[][..], Vec::as_slice);
        if self.diff {
            for difference in differences {
                output::data(shown(difference));
            }
        }
        let hint = !self.diff && !differences.is_empty();
        output::data(format_args!(
            "{}{}",
            summary(report),
            if hint { "      (--diff to see them)" } else { "" }
        ));
        if let Some(median) = report["fuel"]["median_ratio"].as_f64() {
            let most = report["fuel"]["max_ratio"].as_f64().unwrap_or(median);
            output::data(format_args!("fuel ×{median:.2} in the median, ×{most:.2} at most"));
        }
        if report["counts"]["compared"] == 0 {
            output::say("no recorded event is one that these subscriptions listen to");
        }
    }

    fn verdict(&self, report: &Value) -> Result<(), Failure> {
        match report["state"].as_str() {
            Some("done") => {}
            Some("failed") => return Err(Failure::failed(field(report, "error"))),
            _ => return Err(Failure::failed("the backtest was cancelled")),
        }
        let wanted = |kind: &Kind| self.fail_on.contains(kind) || self.fail_on.contains(&Kind::Any);
        let found: Vec<String> = Kind::ALL
            .into_iter()
            .filter(wanted)
            .filter(|&kind| count(report, kind) > 0)
            .map(|kind| format!("{} {}", output::count(count(report, kind)), kind.words()))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("{}, and --fail-on says that this fails", found.join(", "))))
    }
}

/// Waits for the end, and shows how far it is.
async fn watch(client: &Client, id: &str) -> Result<Value, Failure> {
    let bar = std::io::stderr().is_terminal().then(bar);
    let mut polls = tokio::time::interval(POLL);
    let mut count = 0;
    loop {
        polls.tick().await;
        let report = client.get(&["backtests", id], &[]).await?;
        let number = |name: &str| report["progress"][name].as_u64().unwrap_or(0);
        let (done, total) = (number("done"), number("total"));
        if report["state"] != "running" {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return Ok(report);
        }
        count += 1;
        match &bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if count % POLLS_A_LINE == 0 => output::say(format_args!(
                "{} of {} events",
                output::count(done),
                output::count(total)
            )),
            None => {}
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{pos} of {len} events  {bar:30}  {per_sec}");
    // The template is a constant that parses; the default style is good enough otherwise.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// `1,000 events: 912 the same · 88 newly dropped · 0 failed`.
fn summary(report: &Value) -> String {
    let events = report["progress"]["done"].as_u64().unwrap_or(0);
    let subscriptions = report["subscription_count"].as_u64().unwrap_or(1);
    let over = match subscriptions {
        0 | 1 => String::new(),
        many => format!(" for {} subscriptions", output::count(many)),
    };
    let same = report["counts"]["same"].as_u64().unwrap_or(0);
    let mut parts = vec![format!("{} the same", output::count(same))];
    for kind in Kind::ALL {
        let number = count(report, kind);
        if number > 0 || kind == Kind::Failed {
            let text = format!("{} {}", output::count(number), kind.words());
            let plain = number == 0;
            parts.push(if plain { text } else { kind.style().apply_to(text).to_string() });
        }
    }
    format!("{} events{over}: {}", output::count(events), parts.join(" · "))
}

/// One difference, over several lines.
fn shown(difference: &Value) -> String {
    let kind = field(difference, "kind");
    let look = Kind::ALL.into_iter().find(|known| known.field() == kind).map(Kind::style);
    let mut text = format!(
        "{}  {}  {}  {}",
        look.unwrap_or_default().apply_to(kind.replace('_', " ")),
        field(difference, "event_id"),
        field(difference, "event_type"),
        field(difference, "subscription_id"),
    );
    if let Some(more) = difference["subscriptions"].as_u64().filter(|&n| n > 1) {
        text += &format!(" and {} more", more - 1);
    }
    text += "\n";
    text += &side('-', &difference["baseline"], &Style::new().red());
    text += &side('+', &difference["candidate"], &Style::new().green());
    if difference["content_type"].is_object() {
        text += &change("content-type", &difference["content_type"]);
    }
    for header in difference["headers"].as_array().into_iter().flatten() {
        text += &change(&format!("header {}", field(header, "name")), header);
    }
    let body = difference["body"].as_array().map_or(&[][..], Vec::as_slice);
    for place in body {
        text += &change(&field(place, "at"), place);
    }
    if difference["body_differs"] == true && body.is_empty() {
        text += "    the body differs, but not as JSON\n";
    }
    if difference["more"] == true {
        text += "    …\n";
    }
    text
}

/// `  - send 2113 bytes, fuel 12 k`.
fn side(sign: char, side: &Value, look: &Style) -> String {
    let mut words = field(side, "outcome");
    if let Some(size) = side["size"].as_u64() {
        words += &format!(" {} bytes", output::count(size));
    }
    let fault = &side["fault"];
    if fault.is_object() {
        let (kind, message) = (field(fault, "kind"), field(fault, "message"));
        words += &format!(": {}: {kind}: {message}", field(fault, "plugin"));
    } else if side["reason"].is_string() {
        words += &format!(": {}", field(side, "reason"));
    }
    let fuel = output::short_count(side["fuel"].as_u64().unwrap_or(0));
    format!("  {} fuel {fuel}\n", look.apply_to(format!("{sign} {words},")))
}

fn change(what: &str, change: &Value) -> String {
    let value = |name: &str| change[name].as_str().unwrap_or("nothing").to_owned();
    let (before, after) = (value("before"), value("after"));
    format!("    {what}  {} → {}\n", style(before).red(), style(after).green())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(counts: &Value) -> Value {
        json!({"state": "done", "progress": {"done": 1000}, "subscription_count": 1, "counts": counts})
    }

    fn backtest(arguments: &[&str]) -> Backtest {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            backtest: Backtest,
        }
        let all = ["backtest", "redact"].iter().chain(arguments);
        <Line as clap::Parser>::try_parse_from(all).unwrap().backtest
    }

    #[test]
    fn the_summary_says_what_there_is_and_always_how_many_failed() {
        let counts = json!({"same": 912, "newly_dropped": 88});
        let text = console::strip_ansi_codes(&summary(&report(&counts))).into_owned();
        assert_eq!(text, "1,000 events: 912 the same · 88 newly dropped · 0 failed");
    }

    #[test]
    fn what_ci_asked_for_decides_the_exit_code() {
        let found = report(&json!({"same": 912, "newly_dropped": 88, "slower": 3}));
        assert!(backtest(&[]).verdict(&found).is_ok());
        assert!(backtest(&["--fail-on", "changed,failed"]).verdict(&found).is_ok());
        let failure = backtest(&["--fail-on", "slower,newly-dropped"]).verdict(&found).unwrap_err();
        assert_eq!(
            failure.text(),
            "error: 88 newly dropped, 3 slower, and --fail-on says that this fails\n"
        );
        assert!(backtest(&["--fail-on", "any"]).verdict(&found).is_err());
        assert!(backtest(&["--fail-on", "any"]).verdict(&report(&json!({"same": 9}))).is_ok());
        let mut cancelled = found;
        cancelled["state"] = "cancelled".into();
        assert!(backtest(&[]).verdict(&cancelled).is_err());
    }

    #[test]
    fn a_difference_reads_from_before_to_after() {
        let difference = json!({
            "event_id": "evt_1", "event_type": "a.b", "subscription_id": "sub_1",
            "subscriptions": 3, "kind": "changed",
            "baseline": {"outcome": "send", "size": 2113, "fuel": 12_000},
            "candidate": {"outcome": "send", "size": 2100, "fuel": 13_000},
            "headers": [{"name": "x-a", "before": null, "after": "2"}],
            "body_differs": true,
            "body": [{"at": "/sender/login", "before": "\"octocat\"", "after": "\"***\""}],
            "more": true,
        });
        assert_eq!(
            console::strip_ansi_codes(&shown(&difference)),
            "changed  evt_1  a.b  sub_1 and 2 more\n  - send 2,113 bytes, fuel 12 k\n  \
             + send 2,100 bytes, fuel 13 k\n    header x-a  nothing → 2\n    \
             /sender/login  \"octocat\" → \"***\"\n    …\n"
        );
        let failed = json!({"kind": "failed", "baseline": {"outcome": "drop", "reason": "no"},
            "candidate": {"outcome": "fail", "reason": "long",
                "fault": {"plugin": "p@2.0.0", "kind": "trap", "message": "boom"}}});
        let text = console::strip_ansi_codes(&shown(&failed)).into_owned();
        assert!(
            text.contains("- drop: no, fuel 0") && text.contains("+ fail: p@2.0.0: trap: boom")
        );
    }
}
