//! Hands over to [`hookmill::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hookmill::cli::main()
}
