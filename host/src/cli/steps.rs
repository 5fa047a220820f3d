//! A pipeline on the command line: `--step NAME --config JSON --on-error WORD`, repeated,
//! or `--pipeline FILE`.
//!
//! Owns which `--config` belongs to which `--step`: the one that follows it.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, value_parser};
use serde_json::{Value, json};

use super::{input, output::Failure};
use crate::model::PluginRef;

/// The words that `--on-error` takes, as the API spells them.
pub(super) const ON_ERROR: [&str; 4] = ["retry", "dead", "pass", "drop"];

/// A pipeline as given.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct Step {
    plugin: PluginRef,
    config: Option<String>,
    on_error: Option<String>,
}

impl Steps {
    /// The pipeline as the API takes it.
    pub(super) fn pipeline(&self) -> Result<Value, Failure> {
        if let Some(file) = &self.file {
            let pipeline = input::json_file(file)?;
            if !pipeline.is_array() {
                return Err(Failure::usage(format!("{} is not a JSON array", file.display()))
                    .hint("a pipeline is [{\"plugin\": \"redact\", \"config\": {…}}, …]"));
            }
            return Ok(pipeline);
        }
        let steps = self
            .steps
            .iter()
            .map(|step| step_json(&step.plugin, step.config.as_deref(), step.on_error.as_deref()));
        steps.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }
}

/// One step as the API takes it.
pub(super) fn step_json(
    plugin: &PluginRef,
    config: Option<&str>,
    on_error: Option<&str>,
) -> Result<Value, Failure> {
    let mut step = json!({"plugin": plugin});
    if let Some(config) = config {
        step["config"] = input::json_argument(config)?;
    }
    if let Some(on_error) = on_error {
        step["on_error"] = on_error.into();
    }
    Ok(step)
}

impl Args for Steps {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new("step")
                    .long("step")
                    .value_name("NAME[@VERSION]")
                    .action(clap::ArgAction::Append)
                    .value_parser(value_parser!(PluginRef))
                    .help("Run events through this plugin; repeat for more, in order"),
            )
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("JSON|@FILE")
                    .action(clap::ArgAction::Append)
                    .requires("step")
                    .help("Configuration of the step before it"),
            )
            .arg(
                Arg::new("on-error")
                    .long("on-error")
                    .value_name("WORD")
                    .action(clap::ArgAction::Append)
                    .value_parser(ON_ERROR)
                    .requires("step")
                    .help("What a failure of the step before it does to the delivery"),
            )
            .arg(
                Arg::new("pipeline")
                    .long("pipeline")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .conflicts_with("step")
                    .help("The whole pipeline as a JSON array; `-` is stdin"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let plugins = matches.get_many::<PluginRef>("step").into_iter().flatten().cloned();
        let places: Vec<usize> = matches.indices_of("step").into_iter().flatten().collect();
        let mut steps: Vec<Step> =
            plugins.map(|plugin| Step { plugin, config: None, on_error: None }).collect();
        for name in ["config", "on-error"] {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            for (value, place) in values.zip(matches.indices_of(name).into_iter().flatten()) {
                let before = places.iter().filter(|&&step| step < place).count();
                let slot =
                    before.checked_sub(1).and_then(|index| steps.get_mut(index)).map(|step| {
                        match name {
                            "config" => &mut step.config,
                            _ => &mut step.on_error,
                        }
                    });
                match slot {
                    Some(slot @ None) => *slot = Some(value.clone()),
                    Some(Some(_)) => return Err(misplaced(name, "is given twice for one --step")),
                    None => return Err(misplaced(name, "comes before any --step")),
                }
            }
        }
        Ok(Self { steps, file: matches.get_one::<PathBuf>("pipeline").cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn misplaced(name: &str, what: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, format!("--{name} {what}\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        steps: Steps,
    }

    fn pipeline(line: &str) -> Result<Value, String> {
        let words = std::iter::once("test").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.steps.pipeline().map_err(|failure| failure.text())
    }

    #[test]
    fn a_config_belongs_to_the_step_before_it() {
        let found = pipeline(
            "--step a --step b@1.0.0 --config {\"x\":1} --on-error dead --step c --config {}",
        );
        let expected = json!([
            {"plugin": "a"},
            {"plugin": "b@1.0.0", "config": {"x": 1}, "on_error": "dead"},
            {"plugin": "c", "config": {}},
        ]);
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn misplaced_configs_are_refused() {
        assert!(pipeline("--config {} --step a").unwrap_err().contains("before any --step"));
        assert!(pipeline("--step a --config {} --config {}").unwrap_err().contains("twice"));
        assert!(pipeline("--step Not_A_Name").unwrap_err().contains("a plugin is named by"));
        assert!(pipeline("--step a --config {").unwrap_err().contains("is not JSON"));
    }
}
