//! The demo's server: this same binary, in a process of its own.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

use crate::cli::{
    output::Failure,
    scratch::{Scratch, hex, random},
};

/// What the server prints before its address.
const ANNOUNCED: &str = "listening on ";
/// How many of its last lines are kept, to be shown if something goes wrong.
const KEPT: usize = 20;
/// A start takes milliseconds; a slow disk is given its time.
const START: Duration = Duration::from_secs(60);

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A running server, killed when dropped.
pub(super) struct Server {
    child: Child,
    url: String,
    key: String,
    lines: Lines,
    _folder: Scratch,
}

impl Server {
    pub(super) async fn start() -> Result<Self, Failure> {
        let folder = Scratch::new("demo")?;
        let key = format!("hmk_admin_{}", hex(&random::<32>()?));
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program: {error}")))?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"])
            .arg("--database")
            .arg(folder.path().join("hookmill.db"))
            // Not on the command line, where every user of the machine could read it.
            .env("HOOKMILL_ADMIN_KEY", &key)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::failed(format!("cannot start the server: {error}")))?;
        let lines = Lines::default();
        // One address is announced; what is over is not waited for.
        let (announce, mut announced) = mpsc::channel(4);
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(drain(stdout, Arc::clone(&lines), announce.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(drain(stderr, Arc::clone(&lines), announce));
        }
        match tokio::time::timeout(START, announced.recv()).await {
            Ok(Some(url)) => Ok(Self { child, url, key, lines, _folder: folder }),
            Ok(None) => Err(last(&lines)
                .into_iter()
                .fold(Failure::failed("the server ended before it listened"), Failure::line)),
            Err(_) => Err(last(&lines).into_iter().fold(
                Failure::failed(format!("the server did not listen within {} s", START.as_secs())),
                Failure::line,
            )),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Ends it and gives the last lines it printed.
    pub(super) async fn stop(mut self) -> Vec<String> {
        // Its database goes with it: there is nothing to finish gracefully.
        let _ = self.child.kill().await;
        last(&self.lines)
    }
}

fn last(lines: &Lines) -> Vec<String> {
    match lines.lock() {
        Ok(lines) => lines.iter().cloned().collect(),
        Err(poisoned) => poisoned.into_inner().iter().cloned().collect(),
    }
}

/// Reads a pipe to its end, so that the server never waits for a reader.
async fn drain(pipe: impl AsyncRead + Unpin, lines: Lines, announce: mpsc::Sender<String>) {
    let mut reader = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        if let Some(url) = address(&line) {
            // Nobody waits for a second one.
            let _ = announce.try_send(url.to_owned());
        }
        if let Ok(mut lines) = lines.lock() {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
}

/// The address in a line that announces one.
fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(ANNOUNCED)?;
    rest.split_whitespace().next().filter(|url| url.starts_with("http"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_banner() {
        let line =
            "hookmill 0.1.0  database ./h.db (new)  plugins 0  listening on http://127.0.0.1:4321";
        assert_eq!(address(line), Some("http://127.0.0.1:4321"));
        assert_eq!(address("listening on a socket"), None);
        assert_eq!(address("admin key"), None);
    }
}
