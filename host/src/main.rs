//! Hands over to [`hookmill::cli`], or, in the child process that compiles an upload, to the
//! plugin compiler.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the child limits itself before it reads what it was given.
    if std::env::args_os().nth(1).is_some_and(|first| first == hookmill::plugin::COMPILE_ARGUMENT) {
        return hookmill::plugin::compile_child_main();
    }
    hookmill::cli::main()
}
