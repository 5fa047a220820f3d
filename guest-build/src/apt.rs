//! Debian's packages, where they can be had: as root, with apt-get.
//!
//! Never asks for a password, never installs what was not asked for.

use std::process::Command;
use std::time::Duration;

use crate::process::{output, run};

/// How long apt-get may take, each time.
const LIMIT: Duration = Duration::from_secs(600);

/// Installs packages; an error says in a few words why not.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    if output("apt-get", &["--version"]).is_none() {
        return Err("there is no apt-get".to_owned());
    }
    if output("id", &["-u"]).as_deref() != Some("0") {
        return Err("only root can install them".to_owned());
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().arg("update"), LIMIT).map_err(|reason| format!("apt-get update: {reason}"))?;
    run(apt().args(["install", "-y"]).args(packages), LIMIT)
        .map_err(|reason| format!("apt-get install {}: {reason}", packages.join(" ")))
}
