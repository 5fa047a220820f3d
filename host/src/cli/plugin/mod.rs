//! `hookmill plugin …`: the whole life of a plugin, from an empty folder to live.
//!
//! Owns the commands that speak to the server; `new`, `build` and `test` need none.

mod build;
mod cases;
mod kept;
mod new;
mod project;
mod report;
mod run;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Global, input,
    output::{self, Failure, field},
};

const PATH: &str = "plugins";

const EXAMPLES: &str = "\
Examples:
  hookmill plugin new big-orders --lang rust --kind filter && cd big-orders
  hookmill plugin test                      run tests/*.json in the server's own engine
  hookmill plugin push                      build, upload, make live
  hookmill plugin run big-orders --event evt_01jd… --config '{\"at_least\": 100}'
  hookmill plugin promote big-orders 0.1.0  go back to an older version";

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
    /// Build a plugin and upload it
    Push(Push),
    /// List plugins
    List,
    /// Show a plugin, its configuration and its versions
    Show(Show),
    /// Make a version the live one
    Promote(Promote),
    /// Delete a version of a plugin, or all
    Delete(Delete),
    /// Run an uploaded plugin over one event, without delivering anything
    Run(run::Run),
}

/// Build a plugin and upload it
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The plugin's folder, or a built .wasm file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// For every application, as the platform's own
    #[arg(long)]
    shared: bool,
    /// Upload only: steps that follow `live` keep the version they have
    #[arg(long)]
    no_live: bool,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The plugin
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The plugin
    name: String,
    /// The version that becomes live
    version: String,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
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
            Self::Push(push) => push.run(global).await,
            Self::List => list(global).await,
            Self::Show(show) => show.run(global).await,
            Self::Promote(Promote { name, version, shared }) => {
                let body = json!({"version": version});
                let path = [PATH, &name, "live"];
                let live = global.client()?.put(&path, &owner(shared), &body).await?;
                print(global, &live);
                Ok(())
            }
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
        }
    }
}

impl Push {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let wasm = if self.path.is_dir() {
            project::build(&self.path)?.component
        } else {
            input::bytes(&self.path)?
        };
        let query = [
            ("shared", self.shared.then(|| "true".into())),
            ("live", Some((!self.no_live).to_string())),
        ];
        print(global, &client.upload(&[PATH], &query, wasm).await?);
        Ok(())
    }
}

/// `big-orders 0.1.0  sha256:9f2c…  61 KB  filter  live`.
fn print(global: &Global, version: &Value) {
    if global.json {
        output::json(version);
        return;
    }
    let sha256: String = field(version, "sha256").chars().take(12).collect();
    let live = if version["live"] == true { "live" } else { "not live" };
    output::data(format_args!(
        "{} {}  sha256:{sha256}…  {}  {}  {live}",
        field(version, "name"),
        field(version, "version"),
        output::file_size(version["size"].as_u64().unwrap_or(0)),
        field(version, "kind"),
    ));
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
            field(item, "version"),
            if item["live"] == true { "live".into() } else { String::new() },
            field(item, "kind"),
            output::file_size(item["size"].as_u64().unwrap_or(0)),
            field(&item["manifest"], "summary"),
        ]
    });
    output::table(["NAME", "VERSION", "LIVE", "KIND", "SIZE", "SUMMARY"], rows.collect());
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
