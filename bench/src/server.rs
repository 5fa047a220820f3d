//! The server under measurement, a process of its own, and the few API calls a figure needs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The key of every server measured.
pub const KEY: &str = "hmk_admin_for_measurements_only";

/// Where `cargo xtask bench` says things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The optimised server.
    pub binary: PathBuf,
    /// Built plugins.
    pub plugins: PathBuf,
}

impl Places {
    /// A plugin's bytes.
    pub fn plugin(&self, name: &str) -> Vec<u8> {
        let path = self.plugins.join(format!("{name}.wasm"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Resident bytes of a process: its number, or `self`.
pub fn resident(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Resident bytes of a process at its highest, so far.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// A child process that says where it listens.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Starts it and waits for its address.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("the process starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = loop {
            let line =
                lines.next_line().await.expect("it prints text").expect("it says where it listens");
            if let Some((_, rest)) = line.split_once("listening on http://") {
                let address = rest.split_whitespace().next().unwrap_or_default();
                break address.parse().expect("an address follows");
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address }
    }

    /// A floor of this same program.
    pub async fn floor(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg("floor").args(arguments);
        Self::start(command).await
    }

    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        resident(&self.child.id().expect("it runs").to_string())
    }

    /// Resident bytes at their highest, so far.
    pub fn peak(&self) -> u64 {
        peak(self.child.id().expect("it runs"))
    }

    /// Processor time used so far, in user and system mode.
    pub fn cpu(&self) -> Duration {
        let pid = self.child.id().expect("it runs");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        // Linux counts in hundredths of a second on every architecture it shows this for.
        Duration::from_millis(ticks * 10)
    }

    /// Ends it at once.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// A server with a database of its own.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    http: reqwest::Client,
    places: Places,
    folder: TempDir,
    apart: bool,
}

impl Server {
    /// Starts one in a temporary folder.
    pub async fn start(places: &Places) -> Self {
        Self::start_on(places, false).await
    }

    /// The same; `apart`: on the first processor alone.
    pub async fn start_on(places: &Places, apart: bool) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let process = Process::start(serve(places, folder.path(), apart)).await;
        // Fails only if one was installed already, which is as good.
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        Self { process, http, places: places.clone(), folder, apart }
    }

    /// Whether it has a processor of its own.
    pub const fn is_apart(&self) -> bool {
        self.apart
    }

    /// Stops it and starts it again on its database; answers the time from exec to ready.
    pub async fn restart(&mut self) -> Duration {
        self.stop().await;
        self.begin().await
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        let pid = self.process.child.id().expect("it runs");
        let stopped = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        assert!(stopped.is_ok_and(|status| status.success()));
        self.process.child.wait().await.expect("it ends");
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(&mut self) {
        self.process.child.kill().await.expect("it can be killed");
    }

    /// Starts it on its database; answers the time from exec to ready.
    pub async fn begin(&mut self) -> Duration {
        let command = serve(&self.places, self.folder.path(), self.apart);
        let start = Instant::now();
        self.process = Process::start(command).await;
        let ready = self.http.get(self.url("/readyz")).send().await.expect("it answers");
        assert!(ready.status().is_success());
        start.elapsed()
    }

    /// The folder of its database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.process.address)
    }

    /// POSTs JSON; panics unless it answers 2xx.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.sent(self.http.post(self.url(path)).json(body)).await
    }

    async fn sent(&self, request: reqwest::RequestBuilder) -> Value {
        let response = request.bearer_auth(KEY).send().await.expect("the server answers");
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        assert!(status.is_success(), "{status} {body:#}");
        body
    }

    /// Uploads a plugin.
    pub async fn upload(&self, wasm: Vec<u8>) {
        let upload = self.http.post(self.url("/v1/plugins"));
        self.sent(upload.header("content-type", "application/wasm").body(wasm)).await;
    }

    /// Uploads something; answers the status.
    pub async fn try_upload(&self, wasm: Vec<u8>) -> u16 {
        let upload = self.http.post(self.url("/v1/plugins")).bearer_auth(KEY);
        let upload = upload.header("content-type", "application/wasm").body(wasm);
        upload.send().await.expect("the server answers").status().as_u16()
    }

    /// GETs JSON; panics unless it answers 2xx.
    pub async fn get(&self, path: &str) -> Value {
        self.sent(self.http.get(self.url(path))).await
    }

    /// Makes an event type.
    pub async fn event_type(&self, name: &str, schema: Option<&Value>) {
        let mut body = json!({"name": name});
        if let Some(schema) = schema {
            body["schema"] = schema.clone();
        }
        self.post("/v1/event-types", &body).await;
    }

    /// Makes a subscription; answers its id.
    pub async fn subscribe(&self, endpoint: &str, pattern: &str, pipeline: &Value) -> String {
        let body = json!({
            "endpoint": endpoint, "event_types": [pattern], "pipeline": pipeline, "policy": {"concurrency": 64}
        });
        self.post("/v1/subscriptions", &body).await["id"].as_str().expect("an id").to_owned()
    }

    /// A counter's value from `/metrics`.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.http.get(self.url("/metrics")).send().await.expect("it answers");
        let text = text.text().await.expect("metrics are text");
        let value = text.lines().find_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            (key == name).then(|| value.parse().ok())?
        });
        value.unwrap_or(0.0)
    }
}

/// Lets this process run on these processors only, as `taskset` writes them; whether it could.
pub async fn run_on(processors: &str) -> bool {
    let own = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["-a", "-p", "-c", processors, &own]).stdout(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

fn serve(places: &Places, folder: &Path, apart: bool) -> Command {
    let mut command =
        Command::new(if apart { "taskset".as_ref() } else { places.binary.as_path() });
    if apart {
        command.args(["-c", "0"]).arg(&places.binary);
    }
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--allow-network",
            "127.0.0.0/8",
            "--admin-key",
            KEY,
        ])
        .arg("--database")
        .arg(folder.join("hookmill.db"))
        .env("RUST_LOG", "warn");
    command
}
