//! `hookmill plugin canary|shadow|rollout`: candidates tried on live events.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{PATH, owner};
use crate::cli::{
    Global,
    output::{self, Failure, field},
};

/// Let a candidate decide about a share of the events
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin canary big-orders 0.2.0 --percent 10\n  hookmill plugin rollout big-orders            how it does\n  hookmill plugin promote big-orders 0.2.0      good enough: all events\n  hookmill plugin rollout big-orders --stop     back to the live version"
)]
pub(in crate::cli) struct Canary {
    /// The plugin
    name: String,
    /// The candidate: an uploaded version that is not live
    version: String,
    /// The share of events, 0.01 to 100
    #[arg(long, value_name = "PERCENT")]
    percent: f64,
    /// Back to the live version when so many percent more of its runs fail [default: 1]
    #[arg(long, value_name = "PERCENT")]
    fault_percent: Option<f64>,
    /// Back to the live version when its runs use so many times the fuel [default: 2]
    #[arg(long, value_name = "TIMES")]
    fuel_ratio: Option<f64>,
    /// Conclude nothing before it ran so often [default: 20]
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// Run a candidate beside the live version and compare, without delivering what it decides
#[derive(Debug, Args)]
pub(in crate::cli) struct Shadow {
    /// The plugin
    name: String,
    /// The candidate: an uploaded version that is not live
    version: String,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// Show how a candidate does, or end its trial
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The plugin
    name: String,
    /// End it: every event is the live version's again
    #[arg(long)]
    stop: bool,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

impl Canary {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut limits = Map::new();
        let given = [
            ("fault_percent", self.fault_percent.map(Value::from)),
            ("fuel_ratio", self.fuel_ratio.map(Value::from)),
            ("runs", self.runs.map(Value::from)),
        ];
        limits.extend(given.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
        let body = json!({
            "version": self.version, "mode": "canary", "percent": self.percent, "limits": limits,
        });
        start(global, &self.name, self.shared, &body).await
    }
}

impl Shadow {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = json!({"version": self.version, "mode": "shadow"});
        start(global, &self.name, self.shared, &body).await
    }
}

async fn start(global: &Global, name: &str, shared: bool, body: &Value) -> Result<(), Failure> {
    let path = [PATH, name, "rollout"];
    let started = global.client()?.put(&path, &owner(shared), body).await?;
    if global.json {
        output::json(&started);
    } else {
        output::data(head(&started));
        output::say(format_args!("see how it does: hookmill plugin rollout {name}"));
    }
    Ok(())
}

impl Show {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let path = [PATH, &self.name, "rollout"];
        if self.stop {
            client.delete(&path, &owner(self.shared)).await?;
            output::say(format_args!("ended: {} runs its live version only", self.name));
            return Ok(());
        }
        let rollout = client.get(&path, &owner(self.shared)).await?;
        if global.json {
            output::json(&rollout);
            return Ok(());
        }
        output::data(head(&rollout));
        let trial = &rollout["trial"];
        for side in ["candidate", "live"] {
            output::data(format_args!("  {side:<10} {}", runs(&trial[side])));
        }
        if rollout["mode"] == "shadow" {
            output::data(format_args!("  compared   {}", compared(trial)));
        }
        for difference in trial["differences"].as_array().into_iter().flatten() {
            output::data(format_args!(
                "  {}  {}\n    live       {}\n    candidate  {}",
                field(difference, "event_id"),
                field(difference, "kind").replace('_', " "),
                field(difference, "live"),
                field(difference, "candidate"),
            ));
        }
        Ok(())
    }
}

/// `big-orders@0.2.0  canary  10 %  since 2026-…`.
fn head(rollout: &Value) -> String {
    let share = rollout["percent"].as_f64().map(|p| format!("{p} %  ")).unwrap_or_default();
    format!(
        "{}@{}  {}  {share}since {}",
        field(rollout, "name"),
        field(rollout, "version"),
        field(rollout, "mode"),
        field(rollout, "started_at")
    )
}

fn runs(side: &Value) -> String {
    let (runs, failed) = (number(side, "runs"), number(side, "failed"));
    let fuel = number(side, "fuel").checked_div(runs).unwrap_or(0);
    format!("{runs} runs  {failed} failed  {fuel} fuel a run")
}

fn compared(trial: &Value) -> String {
    let kinds = ["same", "changed", "newly_dropped", "newly_passed", "failed", "fixed", "left_out"];
    let counts = kinds.map(|kind| (kind, number(trial, kind)));
    let shown = counts.iter().filter(|(kind, count)| *kind == "same" || *count > 0);
    let words = shown.map(|(kind, count)| format!("{count} {}", kind.replace('_', " ")));
    words.collect::<Vec<_>>().join(" · ")
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_occur_is_not_shown() {
        let trial = json!({"same": 90, "changed": 0, "newly_dropped": 10});
        assert_eq!(compared(&trial), "90 same · 10 newly dropped");
        assert_eq!(
            runs(&json!({"runs": 2, "failed": 1, "fuel": 9})),
            "2 runs  1 failed  4 fuel a run"
        );
        assert_eq!(runs(&json!({})), "0 runs  0 failed  0 fuel a run");
    }
}
