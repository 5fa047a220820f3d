//! `hookmill config`: what a server would be configured with, and whether it can be.
//!
//! Reads the file, the environment and the flags as `hookmill serve` does, with the same words.
//! Never starts anything.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    output::{self, Failure},
    serve::Flags,
};
use crate::config::{self, Config, ConfigError, Loaded};

/// The server's settings
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say everything that is wrong with the configuration
    Check(Check),
    /// Print the settings as they are in effect; secrets are hidden
    Show(Show),
    /// Print a sample file with every setting, its default and what it is for
    Default,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    sources: Sources,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill config show --origin --config /etc/hookmill/hookmill.toml"
)]
pub(super) struct Show {
    #[command(flatten)]
    sources: Sources,
    /// Say where each value came from
    #[arg(long)]
    origin: bool,
    /// How
    #[arg(long, value_enum, default_value_t = Format::Toml)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// What `hookmill serve` takes.
#[derive(Debug, Args)]
struct Sources {
    /// A TOML file with settings
    #[arg(long, env = "HOOKMILL_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl Sources {
    fn load(self) -> Result<Loaded, Failure> {
        Config::load_with_origins(self.config.as_deref(), &self.flags.given())
            .map_err(|error| refused(&error))
    }
}

impl Command {
    pub(super) fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Self::Check(check) => {
                check.sources.load()?;
                output::say("the configuration can be used");
            }
            Self::Show(show) => {
                let format = match show.format {
                    Format::Toml if !json => config::Format::Toml,
                    _ => config::Format::Json,
                };
                output::data(show.sources.load()?.show(format, show.origin));
            }
            Self::Default => output::data(config::sample().trim_end()),
        }
        Ok(())
    }
}

/// Everything that is wrong, one problem a line.
pub(super) fn refused(error: &ConfigError) -> Failure {
    match error.problems() {
        [one] => Failure::usage(one.to_string()),
        many => many.iter().fold(
            Failure::usage(format!("the configuration has {} problems", many.len())),
            |failure, problem| failure.line(problem.to_string()),
        ),
    }
}
