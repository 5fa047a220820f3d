//! `hookmill replay` and `hookmill replays`: jobs that deliver again.
//!
//! Owns the progress line and the last word; the server does the work.

use std::{io::IsTerminal, time::Duration};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::SignedDuration;
use serde_json::Value;

use super::{
    Global,
    client::Client,
    output::{self, Failure, field},
};
use crate::clock::Stopwatch;

const PATH: &str = "replays";
/// How often the server is asked how far it is.
const POLL: Duration = Duration::from_millis(200);
/// So many polls lie between two lines where no bar can be drawn.
const POLLS_A_LINE: u32 = 25;

/// Jobs that deliver again; `hookmill retry` starts them
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  hookmill replay pause rpl_01jd…")]
pub(super) enum Command {
    /// List replays, newest first
    List(List),
    /// Show how far one is
    Show(One),
    /// Watch one until what it took was attempted
    Watch(One),
    /// Take nothing more for now
    Pause(One),
    /// Go on
    Resume(One),
    /// Take nothing more, ever
    Cancel(One),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Most to list
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// The replay
    #[arg(value_name = "rpl_…")]
    id: String,
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let (one, verb) = match self {
            Self::List(list) => return list.run(global).await,
            Self::Watch(one) => return watch(&client, &one.id, global.json).await,
            Self::Show(one) => (one, None),
            Self::Pause(one) => (one, Some("pause")),
            Self::Resume(one) => (one, Some("resume")),
            Self::Cancel(one) => (one, Some("cancel")),
        };
        let replay = match verb {
            None => client.get(&[PATH, &one.id], &[]).await?,
            Some(verb) => client.act(&[PATH, &one.id, verb]).await?,
        };
        if global.json {
            output::json(&replay);
        } else {
            output::data(view(&replay));
        }
        Ok(())
    }
}

impl List {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let items = global.client()?.list(&[PATH], &[], self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        let row = |item: &Value| {
            let count = |name| output::count(number(item, name));
            [
                field(item, "id"),
                field(item, "mode"),
                field(item, "state"),
                format!("{} / {}", count("taken"), count("total")),
                count("succeeded"),
                count("failed"),
                count("left"),
                field(item, "created_at"),
            ]
        };
        let headers = ["ID", "MODE", "STATE", "TAKEN", "SUCCEEDED", "FAILED", "LEFT", "CREATED"];
        output::table(headers, items.iter().map(row).collect());
        Ok(())
    }
}

fn number(replay: &Value, name: &str) -> u64 {
    replay["progress"][name].as_u64().unwrap_or(0)
}

/// How many need nothing more from the job or from a first attempt.
fn done(replay: &Value) -> u64 {
    let open = number(replay, "left") + number(replay, "waiting");
    number(replay, "total").saturating_sub(open)
}

/// The parts of a replay's progress that are not zero: `1,840 succeeded, 3 failed`.
fn counts(replay: &Value) -> String {
    let parts: Vec<String> = [
        "succeeded",
        "failed",
        "retrying",
        "waiting",
        "held",
        "filtered",
        "cancelled",
        "superseded",
        "skipped",
        "left",
    ]
    .into_iter()
    .filter(|name| number(replay, name) > 0 || matches!(*name, "succeeded" | "failed"))
    .map(|name| format!("{} {name}", output::count(number(replay, name))))
    .collect();
    parts.join(", ")
}

fn view(replay: &Value) -> String {
    let rate = replay["per_second"].as_u64().map(|rate| format!(", at most {rate}/s"));
    format!(
        "{}  {}  {}{}\n  {} of {} taken: {}",
        field(replay, "id"),
        field(replay, "mode"),
        field(replay, "state"),
        rate.unwrap_or_default(),
        output::count(number(replay, "taken")),
        output::count(number(replay, "total")),
        counts(replay)
    )
}

/// Waits until a replay has taken all there is and all of that was attempted. Being told to
/// stop ends the waiting, not the replay.
pub(super) async fn watch(client: &Client, id: &str, as_json: bool) -> Result<(), Failure> {
    let replay = tokio::select! {
        replay = follow(client, id) => replay?,
        // Without a way to hear it, the command just cannot be asked to stop.
        Ok(()) = tokio::signal::ctrl_c() => {
            output::say(format_args!(
                "\n{id} goes on without you\nhint: hookmill replay watch|pause|cancel {id}"
            ));
            return Ok(());
        }
    };
    if as_json {
        output::json(&replay);
    } else {
        output::data(view(&replay));
    }
    match (number(&replay, "failed"), replay["state"].as_str()) {
        (0, Some("done")) => Ok(()),
        (0, state) => Err(Failure::failed(format!("the replay is {}", state.unwrap_or_default()))),
        (failed, _) => Err(Failure::failed(format!("{} failed again", output::count(failed)))
            .hint(format!("hookmill deliveries --dead --replay {id}"))),
    }
}

async fn follow(client: &Client, id: &str) -> Result<Value, Failure> {
    let bar = std::io::stderr().is_terminal().then(|| bar(id));
    let mut polls = tokio::time::interval(POLL);
    let (watch, mut first, mut count) = (Stopwatch::start(), None, 0);
    loop {
        polls.tick().await;
        let replay = client.get(&[PATH, id], &[]).await?;
        if replay["state"] != "running" && number(&replay, "waiting") == 0 {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return Ok(replay);
        }
        let before = *first.get_or_insert_with(|| done(&replay));
        let pace = pace(&replay, before, watch.elapsed());
        count += 1;
        match &bar {
            Some(bar) => {
                bar.set_length(number(&replay, "total"));
                bar.set_position(done(&replay));
                bar.set_message(pace);
            }
            None if count % POLLS_A_LINE == 1 => output::say(format_args!(
                "{id}  {} / {}  {pace}",
                output::count(done(&replay)),
                output::count(number(&replay, "total"))
            )),
            None => {}
        }
    }
}

/// `74/s   eta 9 s   0 failed`.
fn pace(replay: &Value, before: u64, elapsed: Duration) -> String {
    let done = done(replay);
    let rate = done.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001);
    let mut text = format!("{rate:.0}/s");
    if rate >= 0.1 {
        let left = number(replay, "total").saturating_sub(done) as f64 / rate;
        let left = SignedDuration::from_secs(left.ceil().min(1e9) as i64);
        text += &format!("   eta {}", output::span(left));
    }
    text + &format!("   {} failed", output::count(number(replay, "failed")))
}

fn bar(id: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{prefix}  ▕{bar:18}▏ {human_pos} / {human_len}   {msg}";
    // The template is a constant that parses; the default style is good enough otherwise.
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█░░"));
    bar.set_prefix(id.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replay() -> Value {
        json!({
            "id": "rpl_1", "mode": "original", "state": "running", "per_second": 50,
            "progress": {"total": 2512, "taken": 1900, "succeeded": 1839, "failed": 1,
                         "waiting": 60, "left": 612},
        })
    }

    #[test]
    fn the_line_says_how_fast_and_how_long() {
        assert_eq!(done(&replay()), 1840);
        assert_eq!(pace(&replay(), 1000, Duration::from_secs(10)), "84/s   eta 8 s   1 failed");
        assert_eq!(pace(&replay(), 1840, Duration::from_secs(10)), "0/s   1 failed");
    }

    #[test]
    fn a_replay_says_what_became_of_all() {
        let text = "rpl_1  original  running, at most 50/s\n  1,900 of 2,512 taken: \
                    1,839 succeeded, 1 failed, 60 waiting, 612 left";
        assert_eq!(view(&replay()), text);
    }
}
