//! `cargo xtask demo`: from a clean clone to real events delivered and verified.
//!
//! Owns fetching GitHub's payloads, into the ignored build folder. Never commits any of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    plugins,
    shell::{self, root},
};

/// Builds what is needed and runs `hookmill demo`, with `more` arguments.
pub(crate) fn run(more: &[String]) -> Result<(), String> {
    plugins::run()?;
    let mut hookmill = shell::cargo();
    hookmill.args(["run", "--quiet", "--package", "hookmill", "--"]);
    run_with(hookmill, more)
}

/// Runs `hookmill demo` where the plugins are built, with what begins a command of `hookmill`.
pub(crate) fn run_with(mut demo: Command, more: &[String]) -> Result<(), String> {
    demo.current_dir(root()).args(["demo", "--plugins"]).arg(root().join("build/plugins"));
    match payloads() {
        Ok(packages) => {
            demo.arg("--payloads").arg(packages.join("@octokit/webhooks-examples"));
            demo.arg("--schemas").arg(packages.join("@octokit/webhooks-schemas/schema.json"));
        }
        Err(why) => eprintln!("the real GitHub payloads could not be fetched: {why}"),
    }
    shell::run(demo.args(more))
}

/// Where the packages of the lock file are installed, installing them if they are not.
fn payloads() -> Result<PathBuf, String> {
    let folder = root().join("build/npm");
    let packages = folder.join("node_modules");
    // npm writes this file last: with it and the same lock file, all is there.
    let installed = packages.join(".package-lock.json").is_file();
    if installed && same(&root().join("demo/package-lock.json"), &folder.join("package-lock.json"))
    {
        return Ok(packages);
    }
    copy(&folder).map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
    // npm's own chatter is not the demo's.
    npm.current_dir(&folder).stdout(Stdio::null());
    shell::run(&mut npm)?;
    Ok(packages)
}

fn copy(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root().join("demo").join(name), folder.join(name))?;
    }
    Ok(())
}

fn same(left: &Path, right: &Path) -> bool {
    matches!((fs::read(left), fs::read(right)), (Ok(left), Ok(right)) if left == right)
}
