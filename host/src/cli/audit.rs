//! `hookmill audit`: who changed what.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Global, input,
    output::{self, Failure, field},
};

/// Who changed what, the newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill audit --resource subscription --since 2026-11-24T00:00:00Z"
)]
pub(super) struct Audit {
    /// Only what was done by this one: a key's id, configured-key, jwt:…, portal:…
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Only this operation, such as pause_subscription
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Only this kind of thing, such as subscription
    #[arg(long, value_name = "KIND")]
    resource: Option<String>,
    /// Only this thing
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// At or after
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    since: Option<Timestamp>,
    /// Before
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    until: Option<Timestamp>,
    /// Most entries to show
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

impl Audit {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let query = [
            ("application", global.application.clone()),
            ("actor", self.actor),
            ("action", self.action),
            ("resource", self.resource),
            ("resource_id", self.id),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
        ];
        let items = global.client()?.list(&["audit"], &query, self.limit).await?;
        if global.json {
            output::json(&items.into());
        } else {
            let rows = items.iter().map(row).collect();
            output::table(["WHEN", "WHO", "WHAT", "ON", "OUTCOME"], rows);
        }
        Ok(())
    }
}

fn row(entry: &Value) -> [String; 5] {
    let on = entry["resource_id"].as_str().unwrap_or_default();
    [
        field(entry, "at"),
        format!("{} ({})", field(entry, "actor_name"), field(entry, "actor")),
        field(entry, "action"),
        format!("{} {on}", field(entry, "resource")).trim_end().to_owned(),
        field(entry, "outcome"),
    ]
}
