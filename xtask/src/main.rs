//! The project's own commands: `cargo xtask demo|test|bench|plugins|tidy`.
//!
//! Owns what is done with the source tree. Never part of the product.

mod bench;
mod demo;
mod plugins;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo     build everything, then deliver real GitHub events through the example plugins
  test     everything CI runs: tidy, format, lints, plugins, all tests
  bench    measure everything against floors measured in the same run [FIGURE …]
  plugins  compile plugins/ to build/plugins/NAME.wasm
  tidy     check the house rules that the compiler cannot
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let done = match (&*command, &rest[..]) {
        ("bench", rest) => bench::run(rest),
        ("demo", rest) => demo::run(rest),
        ("test", []) => test::run(),
        ("plugins", []) => plugins::run(),
        ("tidy", []) => tidy::run(),
        ("help" | "--help" | "-h", _) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
