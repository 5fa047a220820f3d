//! The real binary as a child process.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{Client, PATIENCE, tools::repository};

/// The admin key of every server in the tests.
pub const ADMIN_KEY: &str = "hmk_admin_for_end_to_end_tests_only";

/// A server on a database in a folder of its own.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

/// The binary: the one that was built beforehand and is named, or else built now.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("BINARY_UNDER_TEST") {
            return named.into();
        }
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "hookmill", "--bin", "hookmill"]);
        // What cargo tells a test of its package, build scripts take for a change of their own.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        let built = cargo.current_dir(repository()).status();
        assert!(built.is_ok_and(|status| status.success()), "hookmill does not build");
        repository().join("target/debug/hookmill")
    })
}

impl Server {
    /// Starts a server that may deliver to loopback.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with other settings than the defaults, `HOOKMILL_` left out.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let settings: Vec<(String, String)> = settings
            .iter()
            .map(|&(name, value)| (format!("HOOKMILL_{name}"), value.to_owned()))
            .collect();
        let (child, url) = spawn(folder.path(), &settings).await;
        Self { child, url, folder, settings }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of its database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// A client with the admin key.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(ADMIN_KEY))
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the server can be killed");
    }

    /// Asks it to stop (SIGTERM) and waits for that.
    pub async fn stop(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().await;
        assert!(asked.is_ok_and(|status| status.success()), "the server takes a signal");
        timeout(PATIENCE, self.child.wait()).await.expect("the server stops").expect("it had run")
    }

    /// Starts it again on the same database, at another port.
    pub async fn restart(&mut self) {
        let (child, url) = spawn(self.folder.path(), &self.settings).await;
        self.child = child;
        self.url = url;
    }
}

async fn spawn(folder: &Path, settings: &[(String, String)]) -> (Child, String) {
    let mut child = Command::new(binary())
        .arg("serve")
        .args(["--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"])
        .args(["--admin-key", ADMIN_KEY])
        .arg("--database")
        .arg(folder.join("hookmill.db"))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let stdout = child.stdout.take().expect("its output is piped");
    let mut lines = BufReader::new(stdout).lines();
    let url = timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.expect("its output is text") {
            if let Some((_, rest)) = line.split_once("listening on ") {
                return rest.split_whitespace().next().expect("a URL follows").to_owned();
            }
        }
        panic!("the server ended before it listened")
    })
    .await
    .expect("the server listens in time");
    // Whatever else it prints must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, url)
}
