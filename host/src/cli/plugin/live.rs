//! `hookmill plugin promote|rollback|history`: which version is live.

use clap::Args;
use serde_json::{Value, json};

use super::{PATH, owner, print};
use crate::cli::{
    Global,
    output::{self, Failure, field},
};

/// Make a version the live one
#[derive(Debug, Args)]
pub(in crate::cli) struct Promote {
    /// The plugin
    name: String,
    /// The version that becomes live
    version: String,
    /// Although saved configs do not satisfy its schema: their steps then fail until they
    /// are changed
    #[arg(long)]
    force: bool,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// Make the version live that was live before
#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// The plugin
    name: String,
    /// Although saved configs do not satisfy its schema
    #[arg(long)]
    force: bool,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

/// Show what was done to a plugin: versions, rollouts, quarantines
#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    /// The plugin
    name: String,
    /// Most lines to show
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// The platform's plugin of that name, not the application's own
    #[arg(long)]
    shared: bool,
}

impl Promote {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = json!({"version": self.version, "force": self.force});
        let path = [PATH, &self.name, "live"];
        let live = global.client()?.put(&path, &owner(self.shared), &body).await?;
        print(global, &live);
        Ok(())
    }
}

impl Rollback {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = json!({"force": self.force});
        let path = [PATH, &self.name, "rollback"];
        let live = global.client()?.post_for(&path, &owner(self.shared), &body).await?;
        print(global, &live);
        Ok(())
    }
}

impl History {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let path = [PATH, &self.name, "history"];
        let items = global.client()?.list(&path, &owner(self.shared), self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        let rows = items.iter().map(|item| {
            [
                field(item, "at"),
                field(item, "action"),
                versions(item),
                field(item, "by"),
                note(item),
            ]
        });
        output::table(["AT", "ACTION", "VERSION", "BY", "NOTE"], rows.collect());
        Ok(())
    }
}

/// `1.0.0 → 1.1.0`, or the one there is.
fn versions(change: &Value) -> String {
    let both = [field(change, "from"), field(change, "to")];
    both.into_iter().filter(|version| !version.is_empty()).collect::<Vec<_>>().join(" → ")
}

fn note(change: &Value) -> String {
    let forced = if change["forced"] == true { "forced" } else { "" };
    [forced.to_owned(), field(change, "note")]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ")
}
