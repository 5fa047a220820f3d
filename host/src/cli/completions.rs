//! `hookmill completions`: a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use super::output::Failure;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill completions bash > ~/.local/share/bash-completion/completions/hookmill"
)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "hookmill", &mut script);
        super::output::data(String::from_utf8_lossy(&script).trim_end());
        Ok(())
    }
}
