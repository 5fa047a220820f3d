//! `hookmill plugin …`: the whole life of a plugin, from an empty folder to live.
//!
//! Owns the commands that only speak to the server; those that do more have files of their own.

mod accept;
mod backtest;
mod bench;
mod build;
mod cases;
mod compare;
mod flame;
mod health;
mod inputs;
mod inspect;
mod kept;
mod lab;
mod live;
mod new;
mod project;
mod push;
mod record;
mod replay;
mod report;
mod rollout;
mod run;
mod test;
mod watch;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Global,
    output::{self, Failure, field},
};
use crate::model::Manifest;

const PATH: &str = "plugins";

const EXAMPLES: &str = "\
Examples:
  hookmill plugin new big-orders --lang rust --kind filter && cd big-orders
  hookmill plugin test                      run tests/*.json in the server's own engine
  hookmill plugin bench --profile           what it costs, and where its fuel goes
  hookmill plugin push                      build, upload, make live
  hookmill plugin run big-orders --event evt_01jd… --config '{\"at_least\": 100}'
  hookmill plugin replay dlv_01jd…          a delivery's run again, on this machine
  hookmill plugin backtest big-orders       what the newest version would change
  hookmill plugin canary big-orders 0.2.0 --percent 10
  hookmill plugin rollback big-orders       back to the version that was live before";

/// What a component says of itself, once this machine has found what a server would find.
pub(super) async fn manifest(wasm: Vec<u8>) -> Result<Manifest, Failure> {
    Ok(lab::Lab::start(wasm).await?.inspected.manifest)
}

/// Write, build, test, upload and run plugins
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Start a plugin in a new folder
    New(new::New),
    /// Compile a plugin to a WebAssembly component
    Build(build::Build),
    /// Run a plugin's recorded cases in the server's own engine
    Test(test::Test),
    /// Measure a plugin's recorded cases against its limits
    Bench(bench::Bench),
    /// Show what a component is and whether a server would take it
    Inspect(inspect::Inspect),
    /// Make a recorded case of an event or a delivery on the server
    Record(record::Record),
    /// Repeat a delivery's plugin run on this machine and compare
    Replay(replay::Replay),
    /// Build a plugin and upload it
    Push(push::Push),
    /// List plugins
    List,
    /// Show a plugin, its configuration and its versions
    Show(Show),
    /// Make a version the live one
    Promote(live::Promote),
    /// Make the version live that was live before
    Rollback(live::Rollback),
    /// Show what was done to a plugin: versions, rollouts, quarantines
    History(live::History),
    /// Let a candidate decide about a share of the events
    Canary(rollout::Canary),
    /// Run a candidate beside the live version and compare, without delivering what it decides
    Shadow(rollout::Shadow),
    /// Show how a candidate does, or end its trial
    Rollout(rollout::Show),
    /// Show what a plugin's runs came to
    Stats(health::Stats),
    /// Show a version's last failures
    Failures(health::Failures),
    /// Bring a quarantined version back into service
    Release(health::Release),
    /// Delete a version of a plugin, or all
    Delete(Delete),
    /// Run an uploaded plugin over one event, without delivering anything
    Run(run::Run),
    /// Run a version over recorded events and compare, without delivering anything
    Backtest(backtest::Backtest),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The plugin
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The plugin
    name: String,
    /// Only this version
    #[arg(long)]
    version: Option<String>,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// The query that says whose plugin is meant.
fn owner(shared: bool) -> [(&'static str, Option<String>); 1] {
    [("shared", shared.then(|| "true".into()))]
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run(global),
            Self::Test(test) => test.run(global).await,
            Self::Bench(bench) => bench.run(global).await,
            Self::Inspect(inspect) => inspect.run(global).await,
            Self::Record(record) => record.run(global).await,
            Self::Replay(replay) => replay.run(global).await,
            Self::Push(push) => push.run(global).await,
            Self::List => list(global).await,
            Self::Show(show) => show.run(global).await,
            Self::Promote(promote) => promote.run(global).await,
            Self::Rollback(rollback) => rollback.run(global).await,
            Self::History(history) => history.run(global).await,
            Self::Canary(canary) => canary.run(global).await,
            Self::Shadow(shadow) => shadow.run(global).await,
            Self::Rollout(rollout) => rollout.run(global).await,
            Self::Stats(stats) => stats.run(global).await,
            Self::Failures(failures) => failures.run(global).await,
            Self::Release(release) => release.run(global).await,
            Self::Delete(Delete { name, version, shared }) => {
                let client = global.client()?;
                match &version {
                    Some(version) => {
                        client.delete(&[PATH, &name, "versions", version], &owner(shared)).await?;
                    }
                    None => client.delete(&[PATH, &name], &owner(shared)).await?,
                }
                let version = version.map(|version| format!("@{version}")).unwrap_or_default();
                output::say(format_args!("deleted {name}{version}"));
                Ok(())
            }
            Self::Run(run) => run.run(global).await,
            Self::Backtest(backtest) => backtest.run(global).await,
        }
    }
}

/// `big-orders 0.1.0  sha256:9f2c…  61 KB  filter  live`.
fn line(version: &Value) -> String {
    let sha256: String = field(version, "sha256").chars().take(12).collect();
    let live = if version["live"] == true { "live" } else { "not live" };
    format!(
        "{} {}  sha256:{sha256}…  {}  {}  {live}",
        field(version, "name"),
        field(version, "version"),
        output::file_size(version["size"].as_u64().unwrap_or(0)),
        field(version, "kind"),
    )
}

fn print(global: &Global, version: &Value) {
    if global.json {
        output::json(version);
    } else {
        output::data(line(version));
    }
}

/// `3, newest 0.3.0`; without the newest if that is the live one.
fn others(plugin: &Value) -> String {
    let versions = plugin["versions"].as_array().map_or(&[][..], Vec::as_slice);
    match versions.first() {
        Some(newest) if plugin["live"] != true || *newest != plugin["version"] => {
            format!("{}, newest {}", versions.len(), output::plain(newest))
        }
        _ => versions.len().to_string(),
    }
}

async fn list(global: &Global) -> Result<(), Failure> {
    let items = global.client()?.list(&[PATH], &[], usize::MAX).await?;
    if global.json {
        output::json(&items.into());
        return Ok(());
    }
    let rows = items.iter().map(|item| {
        [
            field(item, "name"),
            if item["live"] == true { field(item, "version") } else { "none".into() },
            others(item),
            field(item, "kind"),
            output::file_size(item["size"].as_u64().unwrap_or(0)),
            field(&item["manifest"], "summary"),
        ]
    });
    output::table(["NAME", "LIVE", "VERSIONS", "KIND", "SIZE", "SUMMARY"], rows.collect());
    Ok(())
}

impl Show {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let mut plugin = client.get(&[PATH, &self.name], &[]).await?;
        let versions = client.list(&[PATH, &self.name, "versions"], &[], usize::MAX).await?;
        if global.json {
            plugin["versions"] = versions.into();
            output::json(&plugin);
            return Ok(());
        }
        print(global, &plugin);
        let manifest = &plugin["manifest"];
        output::data(format_args!("  {}", field(manifest, "summary")));
        let event_types = field(manifest, "event_types");
        if !event_types.is_empty() {
            output::data(format_args!("  understands {event_types}"));
        }
        let properties = manifest["config_schema"]["properties"].as_object();
        for (name, schema) in properties.into_iter().flatten() {
            let required = manifest["config_schema"]["required"].as_array();
            let required = required.is_some_and(|names| names.iter().any(|n| n == name.as_str()));
            output::data(format_args!(
                "  config {name}  {}{}",
                if required { "" } else { "(optional) " },
                field(schema, "description")
            ));
        }
        for version in &versions {
            let live = if version["live"] == true { "live" } else { "" };
            output::data(format_args!(
                "  {}  {}  {live}",
                field(version, "version"),
                field(version, "created_at")
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_says_which_version_is_newer_than_the_live_one() {
        let of = |version: &str, live: bool, versions: Value| {
            others(&json!({"version": version, "live": live, "versions": versions}))
        };
        assert_eq!(of("0.1.0", true, json!(["0.1.0"])), "1");
        assert_eq!(of("0.2.0", true, json!(["0.2.0", "0.1.0"])), "2");
        assert_eq!(of("0.1.0", true, json!(["0.2.0", "0.1.0"])), "2, newest 0.2.0");
        assert_eq!(of("0.1.0", false, json!(["0.1.0"])), "1, newest 0.1.0");
    }
}
