//! What every command that reads the configuration says of one that cannot be used.

use super::output::Failure;
use crate::config::ConfigError;

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
