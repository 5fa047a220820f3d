//! `hookmill plugin stats|failures|release`: how versions do at work.

use clap::Args;
use serde_json::Value;

use super::{PATH, owner};
use crate::{
    cli::{
        Global,
        client::Client,
        output::{self, Failure, field},
    },
    model::PluginRef,
};

/// Show what a plugin's runs came to
#[derive(Debug, Args)]
pub(in crate::cli) struct Stats {
    /// The plugin: all its versions, or one
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: PluginRef,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// Show a version's last failures
#[derive(Debug, Args)]
pub(in crate::cli) struct Failures {
    /// The plugin: its live version, or one
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: PluginRef,
    /// Most to show
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: usize,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// Bring a quarantined version back into service
#[derive(Debug, Args)]
pub(in crate::cli) struct Release {
    /// The plugin: its live version, or one
    #[arg(value_name = "NAME[@VERSION]")]
    plugin: PluginRef,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// The version a reference means: its own, or the live one.
async fn version(client: &Client, plugin: &PluginRef, shared: bool) -> Result<String, Failure> {
    if let Some(version) = &plugin.version {
        return Ok(version.clone());
    }
    let found = client.get(&[PATH, &plugin.name], &owner(shared)).await?;
    Ok(field(&found, "version"))
}

impl Stats {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let (name, owner) = (self.plugin.name.as_str(), owner(self.shared));
        let versions = match &self.plugin.version {
            Some(version) => vec![version.clone()],
            None => {
                let all = client.list(&[PATH, name, "versions"], &owner, usize::MAX).await?;
                all.iter().map(|version| field(version, "version")).collect()
            }
        };
        let mut found = Vec::with_capacity(versions.len());
        for version in &versions {
            found.push(client.get(&[PATH, name, "versions", version, "stats"], &owner).await?);
        }
        if global.json {
            output::json(&found.into());
            return Ok(());
        }
        let rows = found.iter().map(|stats| {
            [
                field(stats, "version"),
                field(stats, "runs"),
                field(stats, "learned"),
                field(stats, "dropped"),
                field(stats, "failed"),
                faults(stats),
                field(stats, "fuel_mean"),
                durations(stats),
                field(&stats["quarantine"], "reason"),
            ]
        });
        let columns = [
            "VERSION",
            "RUNS",
            "LEARNED",
            "DROPPED",
            "FAILED",
            "FAULTS",
            "FUEL",
            "P50 / P99",
            "QUARANTINED",
        ];
        output::table(columns, rows.collect());
        Ok(())
    }
}

/// `14 / 31 µs`; nothing if every verdict was known without running.
fn durations(stats: &Value) -> String {
    match (stats["p50_us"].as_u64(), stats["p99_us"].as_u64()) {
        (Some(p50), Some(p99)) => format!("{p50} / {p99} µs"),
        _ => "–".into(),
    }
}

/// `trap 3, out-of-fuel 1`.
fn faults(stats: &Value) -> String {
    let faults = stats["faults"].as_array().into_iter().flatten();
    let words = faults.map(|fault| format!("{} {}", field(fault, "kind"), field(fault, "count")));
    words.collect::<Vec<_>>().join(", ")
}

impl Failures {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let version = version(&client, &self.plugin, self.shared).await?;
        let path = [PATH, &self.plugin.name, "versions", &version, "failures"];
        let items = client.list(&path, &owner(self.shared), self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        for failure in &items {
            output::data(format_args!(
                "{}  {}  {}",
                field(failure, "at"),
                field(failure, "event_id"),
                field(failure, "kind")
            ));
            output::data(format_args!("  {}", field(failure, "message")));
            for frame in failure["backtrace"].as_array().into_iter().flatten() {
                output::data(format_args!("    at {}", frame.as_str().unwrap_or_default()));
            }
            for note in failure["log"].as_array().into_iter().flatten() {
                output::data(format_args!(
                    "    {} {}",
                    field(note, "level"),
                    field(note, "message")
                ));
            }
            output::data(format_args!("  config {}", field(failure, "config")));
        }
        if items.is_empty() {
            output::say(format_args!("{}@{version}: no failures", self.plugin.name));
        }
        Ok(())
    }
}

impl Release {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let version = version(&client, &self.plugin, self.shared).await?;
        let path = [PATH, &self.plugin.name, "versions", &version, "release"];
        client.post_for(&path, &owner(self.shared), &Value::Null).await?;
        output::say(format_args!("{}@{version} is back in service", self.plugin.name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_never_ran_has_no_durations() {
        assert_eq!(durations(&json!({"p50_us": 14, "p99_us": 31})), "14 / 31 µs");
        assert_eq!(durations(&json!({"p50_us": null, "p99_us": null})), "–");
    }

    #[test]
    fn faults_are_listed_with_their_counts() {
        let stats =
            json!({"faults": [{"kind": "trap", "count": 3}, {"kind": "failed", "count": 1}]});
        assert_eq!(faults(&stats), "trap 3, failed 1");
        assert_eq!(faults(&json!({})), "");
    }
}
