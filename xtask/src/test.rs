//! `cargo xtask test`: everything CI runs, in the order that fails fastest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    demo, plugins,
    shell::{self, root},
    tidy,
};

/// Seeds of the delivery engine's simulation.
const SEEDS: &str = "10000";

/// Runs all of it; stops at the first failure.
pub(crate) fn run() -> Result<(), String> {
    let began = Instant::now();
    tidy::run()?;
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    for apart in ["plugins/Cargo.toml", "tests/smith/Cargo.toml"] {
        shell::run(shell::cargo().args(["fmt", "--manifest-path", apart, "--all", "--check"]))?;
    }
    shell::run(shell::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    plugins::run()?;
    // The binary with the features that the workspace has as a whole: built alone, with fewer,
    // half of its dependencies would be compiled twice.
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--all-targets"]))?;
    let hookmill = root().join("target/debug/hookmill");
    let mut tests = shell::cargo();
    tests.args(["test", "--quiet", "--workspace"]);
    shell::run(tests.env("SIM_SEEDS", SEEDS).env("BINARY_UNDER_TEST", &hookmill))?;
    shell::run(shell::cargo().args([
        "test",
        "--quiet",
        "--manifest-path",
        "plugins/Cargo.toml",
        "--workspace",
    ]))?;
    let tested = test_plugins(&hookmill)?;
    demo::run_with(Command::new(&hookmill), &[])?;
    println!(
        "all tests pass: house rules, format, lints, the workspace, {tested} plugins in the \
         server's engine, the demo  ({} s)",
        began.elapsed().as_secs()
    );
    Ok(())
}

/// Runs every plugin's recorded cases through the component, in the server's own engine.
fn test_plugins(hookmill: &Path) -> Result<usize, String> {
    let mut tested = 0;
    for folder in with_cases()? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let component = root().join("build/plugins").join(format!("{name}.wasm"));
        // A plugin that was not built is a failure, never a skipped test.
        let mut test = Command::new(hookmill);
        test.current_dir(root()).args(["plugin", "test"]);
        shell::run(test.arg(&folder).arg("--component").arg(component))?;
        tested += 1;
    }
    if tested == 0 {
        Err("no plugin in plugins/ has cases in tests/*.json".into())
    } else {
        Ok(tested)
    }
}

/// The plugins with recorded cases.
fn with_cases() -> Result<Vec<PathBuf>, String> {
    let folder = root().join("plugins");
    let entries = fs::read_dir(&folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("Cargo.toml").is_file() && path.join("tests").is_dir())
        .collect();
    folders.extend(plugins::with_engines()?);
    folders.sort();
    Ok(folders)
}
