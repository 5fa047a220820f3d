//! `hookmill plugin build`: from source to a component.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::project;
use crate::{
    cli::{
        Global,
        output::{self, Failure},
    },
    model::Sha256,
};

/// Compile a plugin to a WebAssembly component
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookmill plugin build big-orders --out big-orders.wasm")]
pub(in crate::cli) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Also write the component here
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(in crate::cli) fn run(self, global: &Global) -> Result<(), Failure> {
        let built = project::build(&self.folder)?;
        let mut path = built.path;
        if let Some(out) = self.out {
            std::fs::write(&out, &built.component).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", out.display()))
            })?;
            path = out;
        }
        let sha256 = Sha256::of(&built.component);
        if global.json {
            output::json(&json!({"path": path, "size": built.component.len(), "sha256": sha256}));
        } else {
            output::data(path.display());
        }
        Ok(())
    }
}
