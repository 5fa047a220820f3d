//! `hookmill plugin push`: from source to live.
//!
//! The project's cases run first, so that the line says what the plugin reads. They warn; they
//! do not stop anybody.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;

use super::{
    PATH, cases,
    lab::{self, Lab},
    line, test,
};
use crate::cli::{
    Global,
    output::{self, Failure},
};

/// Build a plugin and upload it
#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    /// The plugin's folder, or a built .wasm file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// For every application, as the platform's own
    #[arg(long)]
    shared: bool,
    /// Upload only: steps that follow `live` keep the version they have
    #[arg(long)]
    no_live: bool,
    /// Don't run the folder's recorded cases before
    #[arg(long)]
    no_test: bool,
}

impl Push {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let is_project = self.path.is_dir();
        let wasm = lab::file_or_folder(&self.path)?;
        let has_cases = is_project && !self.no_test && cases::files(&self.path).is_ok();
        let reads = if has_cases { self.reads(wasm.clone()).await } else { None };
        let query = [
            ("shared", self.shared.then(|| "true".into())),
            ("live", Some((!self.no_live).to_string())),
        ];
        let (mut version, is_new) = client.upload_new(&[PATH], &query, wasm).await?;
        if global.json {
            version["unchanged"] = (!is_new).into();
            output::json(&version);
            return Ok(());
        }
        let mut text = line(&version);
        // What it is comes before where it stands.
        if let (Some(reads), Some(live)) = (reads, text.rfind("  ")) {
            text.insert_str(live, &format!("  {reads}"));
        }
        if !is_new {
            text += "  unchanged";
        }
        output::data(text);
        Ok(())
    }

    /// What the cases read, if they can be run here. Whether the server takes the plugin is the
    /// server's to say: its limits may be others.
    async fn reads(&self, wasm: Vec<u8>) -> Option<String> {
        self.try_cases(wasm).await.unwrap_or_else(|failure| {
            let why = failure.text();
            let why = why.strip_prefix("error: ").unwrap_or(&why).trim_end();
            output::say(format_args!("warning: the cases cannot be run: {why}"));
            None
        })
    }

    /// Runs the cases; answers what they read, and warns of those that do not hold.
    async fn try_cases(&self, wasm: Vec<u8>) -> Result<Option<String>, Failure> {
        let tried = test::try_all(&Lab::start(wasm).await?, lab::cases(&self.path, None)?).await?;
        let failed = tried.iter().filter(|tried| !tried.holds()).count();
        if failed > 0 {
            output::say(format_args!(
                "warning: {failed} of {} cases do not hold\nhint: hookmill plugin test {}",
                tried.len(),
                self.path.display()
            ));
        }
        let steps = || tried.iter().flat_map(|tried| &tried.run.steps);
        if steps().any(|step| step.read_all) {
            return Ok(Some("reads everything".into()));
        }
        let reads: BTreeSet<&str> =
            steps().flat_map(|step| step.reads.iter().map(String::as_str)).collect();
        Ok((!reads.is_empty())
            .then(|| format!("reads {}", reads.into_iter().collect::<Vec<_>>().join(" "))))
    }
}
