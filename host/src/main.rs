//! Hands over to [`hookmill::cli`], or, in the child process that compiles an upload, to the
//! plugin compiler.

use std::process::ExitCode;

/// A server allocates small things by the million and frees them on other threads, which the
/// system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: the child limits itself before it reads what it was given.
    if std::env::args_os().nth(1).is_some_and(|first| first == hookmill::plugin::COMPILE_ARGUMENT) {
        return hookmill::plugin::compile_child_main();
    }
    hookmill::cli::main()
}
