//! `hookmill apply` and `hookmill export`: a server's set-up as a file that is kept in git.
//!
//! [`document`] reads the file, [`build`] compares it with the server, [`run`] does what the
//! [`plan`] says, [`export`] goes the other way. All of it by the REST API.

mod build;
mod compare;
mod digits;
mod document;
mod export;
mod keys;
mod kind;
mod limits;
mod made_up;
mod plan;
mod plugins;
mod run;
mod secrets;
mod sources;

use std::{
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use clap::Args;

use super::{
    Global,
    output::{self, Failure},
};
use build::{Builder, Wanted};
use digits::Exact;
use document::Document;
use plan::Plan;
use secrets::Look;

pub(super) use export::Export;

const EXAMPLES: &str = "\
Examples:
  hookmill apply -f hookmill.yaml            show what would change, ask, do it
  hookmill apply -f hookmill.yaml --yes      without asking, for scripts
  hookmill apply -f hookmill.yaml --check    exit code 2 if the server is not as declared";

/// Make a server as a file declares it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Apply {
    /// The file, YAML or JSON (docs/declarative.md)
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Only show what would change; exit code 2 if anything would
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Delete what the file does not have, of the kinds and applications that it has
    #[arg(long)]
    prune: bool,
    /// Send the secrets again: nothing tells whether they are those that the server has
    #[arg(long)]
    refresh_secrets: bool,
}

impl Apply {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let application = build::default_application(global.application.as_deref());
        let document = Document::read(&self.file, &application)?;
        let is_shown_only = self.dry_run || self.check;
        let wanted = Wanted {
            prune: self.prune,
            refresh_secrets: self.refresh_secrets,
            look: if is_shown_only { Look::Away } else { Look::Up },
        };
        let plan = Builder::plan(&client, &document, wanted).await?;
        if !global.json {
            plan.show();
        }
        let is_applied = !is_shown_only && !plan.changes.is_empty();
        if is_applied {
            self.ask(&plan)?;
            run::all(&client, &document, &plan).await?;
        }
        if global.json {
            output::data(format_args!("{:#}", Exact(&plan.json(is_applied))));
        }
        if self.check && !plan.changes.is_empty() {
            return Err(Failure::drift(format!(
                "the server is not as {} declares: {}",
                document.shown(),
                plan.summary()
            )));
        }
        Ok(())
    }

    fn ask(&self, plan: &Plan) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Failure::usage("nothing was changed: there is nobody to ask")
                .hint("say --yes, or --dry-run to see the plan only"));
        }
        eprint!("Make {} changes? [y/N] ", plan.changes.len());
        let mut answer = String::new();
        let asked = std::io::stderr().flush().and_then(|()| stdin.lock().read_line(&mut answer));
        match (asked, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Failure::failed("nothing was changed")),
        }
    }
}
