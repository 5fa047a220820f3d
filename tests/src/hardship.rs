//! The real binary where things go wrong around it: started on a database as it was left,
//! possibly to fail, within a file system of its own, or as another user.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{ADMIN_KEY, Client, PATIENCE, binary};

/// A server that was started by hand.
#[derive(Debug)]
pub struct Hardship {
    child: Child,
    url: String,
}

/// How to start one.
#[derive(Debug, Default)]
pub struct Circumstances {
    /// A command that is given the server's command line as its last arguments.
    pub through: Vec<OsString>,
    /// The user it runs as, if not this one.
    pub user: Option<u32>,
}

impl Hardship {
    /// Starts a server on the database in `folder`; if it does not come to listen, what it
    /// said instead.
    pub async fn begin(folder: &Path, circumstances: &Circumstances) -> Result<Self, String> {
        let mut words: Vec<OsString> = circumstances.through.clone();
        words.push(binary().into());
        let serve = ["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"];
        words.extend(serve.map(OsString::from));
        words.extend(["--admin-key", ADMIN_KEY, "--database"].map(OsString::from));
        words.push(folder.join("hookmill.db").into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(user) = circumstances.user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().expect("the command can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut errors = child.stderr.take().expect("it is piped");
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("its output is text") {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    return rest.split_whitespace().next().map(str::to_owned);
                }
            }
            None
        };
        let url = timeout(PATIENCE, listening).await.expect("it listens or ends in time");
        let Some(url) = url else {
            let mut text = String::new();
            errors.read_to_string(&mut text).await.expect("what it says is text");
            return Err(text);
        };
        // Whatever else it says must not fill the pipes.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        tokio::spawn(async move {
            let mut said = Vec::new();
            let _ended = errors.read_to_end(&mut said).await;
        });
        Ok(Self { child, url })
    }

    /// A client with the admin key.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(ADMIN_KEY))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the server can be killed");
    }
}

/// What a command of `hookmill` comes to.
pub async fn hookmill(arguments: &[&str]) -> Output {
    let done = Command::new(binary()).args(arguments).env("NO_COLOR", "1").output();
    timeout(PATIENCE, done).await.expect("it ends in time").expect("it runs")
}

/// Both of a command's outputs as text.
pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A file beside a database.
pub fn beside(folder: &Path, suffix: &str) -> PathBuf {
    folder.join(format!("hookmill.db{suffix}"))
}
