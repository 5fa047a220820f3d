//! `hookmill demo`: the main job on real events, with every delivery accounted for.
//!
//! Starts a server as a user would, in a process of its own, and speaks to it through the
//! API only; receives in this process and verifies every signature. Never trusts the server's
//! word for what arrived.

mod child;
mod corpus;
mod ledger;
mod plan;
mod receiver;
mod report;
mod traffic;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;

use super::{
    Global,
    client::Client,
    input,
    output::{self, Failure, field},
};
use child::Server;
use corpus::Corpus;
use receiver::Receiver;

const EXAMPLES: &str = "\
Examples:
  hookmill demo
  cargo xtask demo      from the source tree: real GitHub events, and plugins";

/// See it work: a server, plugins, real events, verified deliveries
///
/// Starts a server on a database in a temporary folder and a receiver, creates event types
/// with their schemas, uploads plugins, sends every event, waits until each delivery is
/// accounted for, and prints what happened. Exits 0 only if nothing is missing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// The folder of the npm package @octokit/webhooks-examples
    #[arg(long, value_name = "DIR", requires = "schemas")]
    payloads: Option<PathBuf>,
    /// schema.json of the npm package @octokit/webhooks-schemas
    #[arg(long, value_name = "FILE", requires = "payloads")]
    schemas: Option<PathBuf>,
    /// A folder with the built example plugins, *.wasm
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Events under way at once
    #[arg(long, default_value_t = 16, value_name = "N")]
    concurrency: usize,
    /// Give up if nothing arrives for this many seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u64,
}

impl Demo {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let corpus = match (&self.payloads, &self.schemas) {
            (Some(payloads), Some(schemas)) => corpus::octokit(payloads, schemas)?,
            _ => {
                output::say(
                    "no real payloads were given: a small set of Hookmill's own events is used",
                );
                corpus::own()?
            }
        };
        let uploads = self.uploads()?;
        let server = Server::start().await?;
        let client = Client::new(server.url(), Some(server.key()), None)?;
        let done = self.main_job(&client, corpus, uploads).await;
        let stopped = server.stop().await;
        match done {
            // What the server said last often says why.
            Err(failure) => Err(stopped.into_iter().fold(failure, Failure::line)),
            Ok(report) => {
                if global.json {
                    output::json(&report.as_json());
                } else {
                    output::data(report.table());
                }
                report.verdict()
            }
        }
    }

    /// The plugins to upload, by file.
    fn uploads(&self) -> Result<Vec<PathBuf>, Failure> {
        let Some(folder) = &self.plugins else {
            output::say("no plugins were given: events are delivered as they are");
            return Ok(Vec::new());
        };
        let entries = std::fs::read_dir(folder).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", folder.display()))
                .hint("cargo xtask plugins builds them")
        })?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            // Others may lie there too: what the demo does not use, it does not upload.
            .filter(|path| plan::uses(path))
            .collect();
        files.sort();
        if files.is_empty() {
            let title = format!("none of the demo's plugins is in {}", folder.display());
            return Err(Failure::usage(title).hint("cargo xtask plugins builds them"));
        }
        Ok(files)
    }

    async fn main_job(
        &self,
        client: &Client,
        corpus: Corpus,
        uploads: Vec<PathBuf>,
    ) -> Result<report::Report, Failure> {
        for (name, schema) in &corpus.schemas {
            let body = json!({"name": name, "schema": schema});
            client.post(&["event-types"], &body).await?;
        }
        output::say(format_args!(
            "created {} event types with their schemas",
            corpus.schemas.len()
        ));

        let mut plugins = Vec::new();
        for file in uploads {
            let query = [("live", Some("true".into()))];
            let version = client.upload(&["plugins"], &query, input::bytes(&file)?).await?;
            output::say(format_args!(
                "uploaded {} {}  {}  {}",
                field(&version, "name"),
                field(&version, "version"),
                field(&version, "kind"),
                output::file_size(version["size"].as_u64().unwrap_or(0))
            ));
            plugins.push(field(&version, "name"));
        }

        let receiver = Receiver::start().await?;
        let routes = plan::subscribe(client, &receiver, &plugins).await?;
        output::say(format_args!("made {} subscriptions", routes.len()));

        let sent = traffic::send(client, corpus.events, self.concurrency.max(1)).await?;
        let patience = Duration::from_secs(self.patience);
        traffic::settle(client, &receiver, &sent, patience).await?;
        let deliveries = client.list(&["deliveries"], &[], usize::MAX).await?;
        Ok(ledger::balance(&routes, sent, &receiver, &deliveries))
    }
}
