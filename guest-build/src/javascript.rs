//! How this machine makes a component of JavaScript or TypeScript: node, with the packages of
//! the project's own lock file.
//!
//! Never chooses versions: `package-lock.json` does.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{output, shown};
use crate::project::{Component, Project};
use crate::{BuildError, Progress};

/// The oldest node that componentize-js works with.
const MINIMUM: u32 = 20;
/// Run by node, from the project's build folder: packages are looked for from there upwards.
const SCRIPT: &str = include_str!("../tools/build.mjs");
/// Where a plugin's source may be.
const SOURCES: [&str; 4] = ["plugin.ts", "plugin.js", "src/plugin.ts", "src/plugin.js"];

/// Makes the component of the project in `folder`.
pub(crate) fn build(folder: &Path, progress: Progress) -> Result<Component, BuildError> {
    let project = Project::open(folder)?;
    let source = SOURCES.iter().map(|name| project.folder.join(name)).find(|path| path.is_file());
    let source = source
        .ok_or_else(|| BuildError::NoSource(project.folder.clone(), "plugin.ts or plugin.js"))?;
    project.component(SCRIPT, |out| {
        check_node()?;
        install(&project, progress)?;
        progress("making a component of the plugin with componentize-js (about 20 s)");
        let script = project.build.join("build.mjs");
        fs::write(&script, SCRIPT)?;
        let mut node = Command::new("node");
        node.arg(script).arg(&project.folder).arg(&source).arg(out);
        // npm's settings of whoever called are nothing to the tools.
        shown(node.current_dir(&project.folder), "node", "the plugin in JavaScript")
    })
}

fn check_node() -> Result<(), BuildError> {
    let missing = |found: String| BuildError::NoTool {
        found,
        needed: "node 20 or newer, with npm",
        install: "install Node.js from https://nodejs.org, or on Debian and its kin, as root:\n\n    apt-get update && apt-get install nodejs npm",
    };
    let Some(version) = output("node", &["--version"]) else {
        return Err(missing("there is no node on the path".into()));
    };
    if major(&version).is_none_or(|major| major < MINIMUM) {
        return Err(missing(format!("node is {version}")));
    }
    if output("npm", &["--version"]).is_none() {
        return Err(missing("there is no npm on the path".into()));
    }
    Ok(())
}

/// The 20 of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn install(project: &Project, progress: Progress) -> Result<(), BuildError> {
    let packages = project.folder.join("node_modules/.package-lock.json");
    project.installed(&["package.json", "package-lock.json"], &packages, || {
        if !project.folder.join("package-lock.json").is_file() {
            return Err(BuildError::NoLock(project.folder.clone()));
        }
        progress("installing the project's packages with npm ci (once)");
        let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
        shown(npm.current_dir(&project.folder), "npm", "npm ci")
    })
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("20"), None);
    }
}
