//! Running other programs: their output, or a limit on their time.
//!
//! Owns not waiting for ever. Never interprets what they say.

use crate::BuildError;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program's standard output, trimmed, if it succeeded.
pub(crate) fn output<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[A],
) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

/// Runs a program quietly, for so long at most; an error says in a few words why not.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name} could not be started ({error})"))?;
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                // Best effort: what can't be killed is left behind, not waited for.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s", limit.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Runs a program whose messages the user should see, all of them on stderr: stdout is for the
/// caller's own results. `what` names the work if it fails.
pub(crate) fn shown(
    command: &mut Command,
    program: &'static str,
    what: &'static str,
) -> Result<(), BuildError> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| BuildError::Start(program, error))?;
    if let Some(mut stdout) = child.stdout.take() {
        std::io::copy(&mut stdout, &mut std::io::stderr())?;
    }
    if child.wait()?.success() { Ok(()) } else { Err(BuildError::Refused(what)) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::{output, run, shown};
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn output_is_trimmed_and_needs_success() {
        assert_eq!(output("echo", &["hello"]).as_deref(), Some("hello"));
        assert_eq!(output::<&str>("false", &[]), None);
        assert_eq!(output::<&str>("no-such-program-anywhere", &[]), None);
    }

    #[test]
    fn a_failure_names_the_work() {
        assert!(shown(&mut Command::new("true"), "true", "the work").is_ok());
        let failed = shown(&mut Command::new("false"), "false", "the work");
        assert!(failed.is_err_and(|error| error.to_string().starts_with("the work failed")));
        let absent = shown(&mut Command::new("no-such-program-anywhere"), "it", "the work");
        assert!(absent.is_err_and(|error| error.to_string().starts_with("it could not")));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let start = Instant::now();
        let result = run(Command::new("sleep").arg("30"), Duration::from_millis(120));
        assert!(result.is_err_and(|message| message.contains("longer than")));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(run(&mut Command::new("true"), Duration::from_secs(5)).is_ok());
    }
}
