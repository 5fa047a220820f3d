//! `hookmill man`: manual pages, one for each command.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use super::output::{self, Failure};

/// Print the manual page, or write those of all commands to a folder
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill man | man -l -\n  hookmill man /usr/local/share/man/man1"
)]
pub(super) struct ManPages {
    /// The folder; without one, the first page is printed
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl ManPages {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<(), Failure> {
        command.build();
        let Some(folder) = &self.folder else {
            let text = render(command).map_err(|error| Failure::failed(error.to_string()))?;
            output::data(text.trim_end());
            return Ok(());
        };
        let pages = pages(command).map_err(|error| Failure::failed(error.to_string()))?;
        let count = pages.len();
        for (name, text) in pages {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", file.display()))
                    .hint("the folder has to be there already")
            })?;
        }
        output::say(format_args!("{count} pages are in {}", folder.display()));
        Ok(())
    }
}

/// The commands of a command, the one that only repeats their help left out.
fn commands(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

fn render(command: clap::Command) -> std::io::Result<String> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Each command's page, by its file's name. The command has to be built.
fn pages(command: clap::Command) -> std::io::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for sub in commands(&command) {
        all.extend(pages(sub.clone())?);
    }
    // Its own name is the last word only; a page is found by all of them.
    let name = command.get_display_name().unwrap_or(command.get_name());
    all.push((format!("{name}.1"), render(command)?));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn count(command: &clap::Command) -> usize {
        1 + commands(command).map(count).sum::<usize>()
    }

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let mut command = Cli::command();
        command.build();
        let commands = count(&command);
        let pages = pages(command).unwrap();
        assert_eq!(pages.len(), commands);
        let names: std::collections::HashSet<_> = pages.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), commands);
        let page = |name: &str| &pages.iter().find(|(page, _)| page == name).unwrap().1;
        assert!(page("hookmill.1").contains(".SH SUBCOMMANDS"));
        assert!(page("hookmill-config-show.1").contains("origin"));
        assert!(pages.iter().all(|(_, text)| text.contains(".SH SYNOPSIS")));
    }
}
