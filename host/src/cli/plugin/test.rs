//! `hookmill plugin test`: runs a plugin's recorded cases in the server's own engine.
//!
//! What passes here passes on the server: same engine, same limits, same inspection.

use std::{
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde_json::json;

use super::{
    accept,
    cases::{Case, Mismatch},
    lab::{self, Lab},
    report,
    watch::Watch,
};
use crate::{
    cli::{
        Global,
        output::{self, Failure},
    },
    model::PipelineRun,
    schema::Validator,
};

/// Run a plugin's recorded cases in the server's own engine
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin test big-orders\n  hookmill plugin test --watch              again whenever a file is saved\n  hookmill plugin test --case small --update  what comes out is what is expected\n  hookmill plugin test --json | jq '.[] | select(.passed | not)'"
)]
pub(in crate::cli) struct Test {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Test this component or core module instead of building the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Only cases with this in their name or their file's
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Accept what comes out: write it into the cases that do not hold
    #[arg(long)]
    update: bool,
    /// Run again whenever a file is saved, until interrupted
    #[arg(long)]
    watch: bool,
}

/// A case, its file, and what came of it.
pub(super) struct Tried {
    file: PathBuf,
    case: Case,
    pub(super) run: Arc<PipelineRun>,
    result: Result<(), Mismatch>,
}

impl Tried {
    /// Whether it came to what is expected.
    pub(super) fn holds(&self) -> bool {
        self.result.is_ok()
    }
}

/// Runs cases one after another.
pub(super) async fn try_all(lab: &Lab, cases: Vec<(PathBuf, Case)>) -> Result<Vec<Tried>, Failure> {
    let mut tried = Vec::with_capacity(cases.len());
    for (file, case) in cases {
        let run = lab.run(&case).await?;
        let result = case.check(&run);
        tried.push(Tried { file, case, run, result });
    }
    Ok(tried)
}

impl Test {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut lab = None;
        if !self.watch {
            return self.once(global, &mut lab).await;
        }
        let mut paths = vec![self.folder.clone()];
        if let Some(file) = &self.component {
            // The folder may be large, and only its cases matter then.
            paths = vec![self.folder.join("tests"), file.clone()];
        }
        let watch = Watch::on(&paths)?;
        loop {
            if stdout().is_terminal() {
                output::data("\x1b[2J\x1b[3J\x1b[H");
            }
            if let Err(failure) = self.once(global, &mut lab).await {
                output::say(failure.text().trim_end());
            }
            output::say(format_args!("watching {} (Ctrl-C ends)", self.folder.display()));
            watch.next().await;
        }
    }

    /// One round. The lab is kept for the next, which may be about the same component.
    async fn once(&self, global: &Global, kept: &mut Option<Lab>) -> Result<(), Failure> {
        let cases = lab::cases(&self.folder, self.case.as_deref())?;
        let wasm = lab::component(&self.folder, self.component.as_deref())?;
        let lab = Lab::reuse(kept.take(), wasm).await?;
        let lab = kept.insert(lab);
        let tried = try_all(lab, cases).await?;
        let updated = if self.update { update(&tried)? } else { 0 };
        if global.json {
            let results = tried.iter().map(|tried| {
                let file = tried.file.display().to_string();
                report::as_json(&file, &tried.case.name, &tried.run, &tried.result)
            });
            output::json(&results.collect::<Vec<_>>().into());
        } else {
            print(lab, &tried, self.update)?;
        }
        let failed = tried.iter().filter(|tried| !tried.holds()).count() - updated;
        if !global.json {
            let manifest = &lab.inspected.manifest;
            let (holding, all) = (tried.len() - failed - updated, tried.len());
            let updated = if updated > 0 { format!(", {updated} updated") } else { String::new() };
            output::say(format_args!(
                "{} {}: {holding} of {all} cases hold{updated}",
                manifest.name, manifest.version
            ));
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::failed(format!("{failed} of {} cases do not hold", tried.len()))),
        }
    }
}

fn print(lab: &Lab, tried: &[Tried], updating: bool) -> Result<(), Failure> {
    let schema = Validator::compile(&lab.inspected.manifest.config_schema)
        .map_err(|error| Failure::failed(format!("its config's schema cannot be used: {error}")))?;
    let names = tried.iter().map(|tried| tried.case.name.chars().count());
    let width = names.max().unwrap_or(0).max(28);
    for Tried { case, run, result, file } in tried {
        output::data(report::line(&case.name, width, result.is_ok(), run));
        let Err(mismatch) = result else { continue };
        output::data(report::mismatch(mismatch, run.steps.first()));
        if updating {
            output::data(format_args!("     updated   {}", file.display()));
            continue;
        }
        // On the server such a step would not be saved: the first thing to look at.
        let config = case.config.clone().unwrap_or_else(|| json!({}));
        for violation in schema.violations(&config) {
            output::data(format_args!(
                "     hint: the config does not satisfy the plugin's schema: {}  {}",
                violation.at, violation.message
            ));
        }
    }
    Ok(())
}

/// Writes what came out into the files of the cases that do not hold; answers how many.
fn update(tried: &[Tried]) -> Result<usize, Failure> {
    let mut updated = 0;
    for Tried { file, run, .. } in tried.iter().filter(|tried| !tried.holds()) {
        let in_file = |path: &Path, failure: Failure| failure.line(path.display().to_string());
        let expect = accept::expectation(run).map_err(|failure| in_file(file, failure))?;
        accept::rewrite(file, &expect)?;
        updated += 1;
    }
    Ok(updated)
}
