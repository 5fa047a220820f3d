//! `hookmill application`: tenants.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Global, limits,
    output::{self, Failure, field},
};

/// Tenants: owners of subscriptions, events and plugins
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  hookmill application create shop\n  hookmill --application shop subscribe https://shop.example/hooks --to 'order.*'"
)]
pub(super) enum Command {
    /// Create an application
    Create(Name),
    /// List applications
    List,
    /// Delete an application that has no subscriptions and no events
    Delete(Name),
    /// Show or change what an application may take
    Limits(Box<limits::ApplicationLimits>),
    /// Show what an application uses of what it may have
    Usage(limits::Usage),
}

/// Names one application.
#[derive(Debug, Args)]
pub(super) struct Name {
    /// Lower-case letters, digits, `-`, `_` and `.`
    name: String,
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        match self {
            Self::Create(Name { name }) => {
                let created = client.post(&["applications"], &json!({"name": name})).await?;
                if global.json {
                    output::json(&created);
                } else {
                    output::data(format_args!("{}  {name}", field(&created, "id")));
                }
            }
            Self::List => {
                let items = client.list(&["applications"], &[], usize::MAX).await?;
                if global.json {
                    output::json(&items.into());
                } else {
                    let rows =
                        items.iter().map(|a| ["name", "id", "created_at"].map(|f| field(a, f)));
                    output::table(["NAME", "ID", "CREATED"], rows.collect());
                }
            }
            Self::Delete(Name { name }) => {
                client.delete(&["applications", &name], &[]).await?;
                output::say(format_args!("deleted {name}"));
            }
            Self::Limits(limits) => return limits.run(global).await,
            Self::Usage(usage) => return usage.run(global).await,
        }
        Ok(())
    }
}
