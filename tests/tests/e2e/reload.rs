//! Settings that are read again: what can change in a server that runs does, what cannot is named,
//! and the supervisor is told.

use std::{path::Path, process::Stdio};

use hookmill_tests::{ADMIN_KEY, Answer, Client, PATIENCE, Receiver, binary};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixDatagram,
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

/// A server with its settings in a file, under a supervisor that listens.
struct Supervised {
    child: Child,
    url: String,
    socket: UnixDatagram,
    log: mpsc::UnboundedReceiver<String>,
    folder: TempDir,
}

impl Supervised {
    async fn start(settings: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let place = folder.path().join("notify");
        let socket = UnixDatagram::bind(&place).expect("a socket can be made");
        write(folder.path(), settings);
        let mut child = Command::new(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-key", ADMIN_KEY])
            .arg("--config")
            .arg(folder.path().join("hookmill.toml"))
            .current_dir(folder.path())
            .env("NOTIFY_SOCKET", &place)
            .env("RUST_LOG", "warn")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let (told, log) = mpsc::unbounded_channel();
        let mut errors = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = errors.next_line().await {
                // Nobody need read on.
                let _unread = told.send(line);
            }
        });
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.expect("it says where it listens");
        let first = first.expect("it is text").expect("there is a line");
        let url = first.rsplit(' ').next().expect("a URL").to_owned();
        let supervised = Self { child, url, socket, log, folder };
        assert_eq!(supervised.said().await, "READY=1");
        supervised
    }

    /// What the supervisor hears next.
    async fn said(&self) -> String {
        let mut bytes = [0; 256];
        let heard =
            timeout(PATIENCE, self.socket.recv(&mut bytes)).await.expect("it says something");
        let length = heard.expect("the socket can be read");
        String::from_utf8(bytes[..length].to_vec()).expect("it is text")
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the server runs").to_string();
        let asked = Command::new("kill").args([name, &pid]).status().await;
        assert!(asked.is_ok_and(|status| status.success()), "the server takes a signal");
    }

    /// Other settings; answers the time that the supervisor was told.
    async fn reload(&self, settings: &str) -> u64 {
        write(self.folder.path(), settings);
        self.signal("-HUP").await;
        let began = self.said().await;
        let time =
            began.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("it says that it began");
        assert_eq!(self.said().await, "READY=1");
        time.parse().expect("a time in microseconds")
    }

    async fn logged(&mut self, wanted: &str) -> String {
        timeout(PATIENCE, async {
            loop {
                let line = self.log.recv().await.expect("the server runs");
                if line.contains(wanted) {
                    return line;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{wanted} is not in the log"))
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Some(ADMIN_KEY))
    }
}

fn write(folder: &Path, settings: &str) {
    std::fs::write(folder.join("hookmill.toml"), settings).expect("the file can be written");
}

#[tokio::test]
async fn the_supervisor_is_told_of_each_reload_and_what_needs_a_restart_is_named() {
    let mut server = Supervised::start("").await;
    let first = server.reload("max_in_flight = 7\nbreaker_percent = 7\n").await;
    let line = server.logged("needs a restart").await;
    assert!(line.ends_with("needs a restart: max_in_flight"), "{line}");
    // Each time is later than the one before: by that a supervisor knows what it hears of.
    assert!(server.reload("").await > first);
    // A file that cannot be used is an end of it, too: the server goes on as it was.
    server.reload("max_in_fligth = 1\n").await;
    server.logged("did you mean max_in_flight?").await;
    server.signal("-TERM").await;
    assert_eq!(server.said().await, "STOPPING=1");
    let ended = timeout(PATIENCE, server.child.wait()).await.expect("it stops");
    assert!(ended.expect("it had run").success());
}

async fn subscribe(client: &Client, url: &str, policy: Value) -> Answer {
    let body = json!({"endpoint": url, "event_types": ["**"], "policy": policy});
    client.post("/v1/subscriptions", &body).await
}

#[tokio::test]
async fn where_deliveries_may_go_changes_while_it_runs_also_for_open_connections() {
    let server = Supervised::start("").await;
    let (client, receiver) = (server.client(), Receiver::start().await);
    let url = receiver.url("/hook");
    client.event_type("order.paid").await;
    assert_eq!(subscribe(&client, &url, json!({})).await.problem(), "invalid-subscription");
    server.reload("allow_networks = [\"127.0.0.0/8\"]\n").await;
    let policy = json!({"retry": {"schedule": [0]}});
    subscribe(&client, &url, policy).await.expect(201);
    client.publish("order.paid", &json!({"n": 1})).await;
    receiver.wait("/hook", 1).await;
    server.reload("allow_networks = [\"10.0.0.0/8\"]\n").await;
    let event = client.publish("order.paid", &json!({"n": 2})).await;
    let path = format!("/v1/deliveries?event_id={}", event["id"].as_str().expect("an id"));
    let outcome = timeout(PATIENCE, async {
        loop {
            let listed = client.get(&path).await.expect(200);
            let id = listed["data"][0]["id"].as_str().expect("there is a delivery").to_owned();
            let shown = client.get(&format!("/v1/deliveries/{id}")).await.expect(200);
            if let Some(attempt) = shown["attempts"].as_array().and_then(|all| all.first()) {
                return attempt["outcome"].clone();
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(outcome.await.expect("it is attempted"), "blocked_address");
    assert_eq!(receiver.at("/hook").len(), 1);
}

#[tokio::test]
async fn limits_and_times_change_while_it_runs() {
    let networks = "allow_networks = [\"127.0.0.0/8\"]\n";
    let server = Supervised::start(networks).await;
    let (client, receiver) = (server.client(), Receiver::start().await);
    let url = receiver.url("/hook");
    client.event_type("order.paid").await;
    let slow = json!({"timeout_seconds": 30});
    subscribe(&client, &url, slow.clone()).await.expect(201);

    let more = "application_subscriptions = 2\nmax_timeout_seconds = 5\n";
    server.reload(&format!("{networks}{more}")).await;
    assert_eq!(subscribe(&client, &url, slow).await.problem(), "invalid-subscription");
    subscribe(&client, &url, json!({})).await.expect(201);
    assert_eq!(subscribe(&client, &url, json!({})).await.problem(), "quota-exceeded");

    server.reload(&format!("{networks}application_events_per_second = 1.0\n")).await;
    let publish = async || {
        let event = json!({"type": "order.paid", "payload": {}});
        client.post("/v1/events", &event).await
    };
    let first = publish().await.expect(202);
    let limited = timeout(PATIENCE, async {
        loop {
            let answer = publish().await;
            if answer.status != 202 {
                return answer.problem();
            }
        }
    });
    assert_eq!(limited.await.expect("there is a limit"), "rate-limited");

    // What is older than it may become goes.
    receiver.wait("/hook", 2).await;
    server.reload(&format!("{networks}retain_events_days = 0.000001\n")).await;
    assert_eq!(publish().await.status, 202, "the limit is gone");
    let path = format!("/v1/events/{}", first["id"].as_str().expect("an id"));
    let gone = timeout(PATIENCE, async {
        while client.get(&path).await.status != 404 {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("the event is let go");
}
