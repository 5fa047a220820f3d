//! How this machine makes a component of Python: a virtual environment in the project, with the
//! packages its `requirements.txt` pins.
//!
//! The interpreter inside the component comes with componentize-py; the machine's own only runs
//! the tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{output, shown};
use crate::project::{Component, Project};
use crate::{BuildError, Progress, apt};

/// The oldest Python, of version 3, whose type hints the SDK can read.
const MINIMUM: u32 = 10;
const SCRIPT: &str = include_str!("../tools/build.py");

/// Makes the component of the project in `folder`.
pub(crate) fn build(folder: &Path, progress: Progress) -> Result<Component, BuildError> {
    let project = Project::open(folder)?;
    if !project.folder.join("plugin.py").is_file() {
        return Err(BuildError::NoSource(project.folder, "plugin.py"));
    }
    project.component(SCRIPT, |out| {
        let python = environment(&project, progress)?;
        progress("making a component of the plugin with componentize-py (about 10 s)");
        let script = project.build.join("build.py");
        fs::write(&script, SCRIPT)?;
        let mut build = Command::new(python);
        build.arg(script).arg(&project.folder).arg(&project.sdk).arg(out);
        shown(build.current_dir(&project.folder), "python", "the plugin in Python")
    })
}

/// The project's own Python, its packages installed.
fn environment(project: &Project, progress: Progress) -> Result<PathBuf, BuildError> {
    let folder = project.folder.join(".venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    project.installed(&["requirements.txt"], &python, || {
        let requirements = project.folder.join("requirements.txt");
        if !requirements.is_file() {
            return Err(BuildError::NoSource(project.folder.clone(), "requirements.txt"));
        }
        check_python()?;
        if !python.exists() || output(&python, &["-m", "pip", "--version"]).is_none() {
            progress("making a virtual environment in .venv (once)");
            make(&folder, progress)?;
        }
        progress("installing the project's packages with pip (once)");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        shown(pip.arg(requirements), "pip", "pip install -r requirements.txt")
    })?;
    Ok(python)
}

fn check_python() -> Result<(), BuildError> {
    let version = output("python3", &["--version"]);
    let found = match &version {
        None => "there is no python3 on the path".to_owned(),
        Some(version) if minor(version).is_none_or(|minor| minor < MINIMUM) => {
            format!("python3 is {version}")
        }
        Some(_) => return Ok(()),
    };
    Err(no_python(found))
}

fn no_python(found: String) -> BuildError {
    BuildError::NoTool {
        found,
        needed: "Python 3.10 or newer, with its module venv",
        install: "install it from https://www.python.org, or on Debian and its kin, as root:\n\n    apt-get update && apt-get install python3 python3-venv",
    }
}

/// The 11 of `Python 3.11.7`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("Python 3.")?.split('.').next()?.parse().ok()
}

/// Makes the environment. Debian splits the module off: installed there, if that can be done.
fn make(folder: &Path, progress: Progress) -> Result<(), BuildError> {
    // What an attempt without the module leaves behind looks whole to the next.
    let attempt =
        || output("python3", &[Path::new("-m"), Path::new("venv"), Path::new("--clear"), folder]);
    if attempt().is_some() {
        return Ok(());
    }
    progress("installing Debian's python3-venv (once)");
    apt::install(&["python3-venv"])
        .map_err(|reason| no_python(format!("python3 -m venv fails ({reason})")))?;
    match attempt() {
        Some(_) => Ok(()),
        None => Err(no_python("python3 -m venv fails, with python3-venv installed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::minor;

    #[test]
    fn versions_are_read() {
        assert_eq!(minor("Python 3.11.7"), Some(11));
        assert_eq!(minor("Python 2.7.18"), None);
    }
}
