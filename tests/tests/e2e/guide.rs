//! docs/plugins.md, done as it says, by someone with an empty folder and the binary: every
//! command, in each language, with what it prints. The page's conventions are in
//! [`hookmill_tests::guide`].

use std::{
    collections::HashMap,
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use hookmill_tests::{
    Client, PATIENCE, binary,
    guide::{self, Block, blocks, matches},
    repository,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    sync::watch,
    time::timeout,
};

const LANGUAGES: [&str; 3] = ["Rust", "JavaScript", "Python"];
/// What begins with these stands for what was printed last.
const IDS: [&str; 5] = ["hmk_admin_", "whsec_", "sub_", "dlv_", "evt_"];
/// The ports of the page; tests take free ones.
const SERVER: &str = "127.0.0.1:8080";
const LISTENER: &str = "9000";

/// A command that goes on, and what it printed.
struct Running {
    _child: Child,
    printed: watch::Receiver<String>,
    /// How much of it the page has shown.
    seen: usize,
}

/// Someone who follows the page.
struct Reader {
    home: TempDir,
    folder: PathBuf,
    environment: HashMap<String, String>,
    ids: HashMap<&'static str, String>,
    server: Option<String>,
    listener: String,
    running: Vec<Running>,
}

impl Reader {
    fn new() -> Self {
        let home = TempDir::new().expect("a temporary folder can be made");
        let free = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let listener = free.local_addr().expect("it has an address").port().to_string();
        let path = std::env::var("PATH").expect("there is a PATH");
        let programs = binary().parent().expect("the binary is in a folder").display();
        let environment = [
            ("PATH", format!("{programs}:{path}")),
            ("NO_COLOR", "1".into()),
            ("HOOKMILL_LISTEN", "127.0.0.1:0".into()),
        ];
        Self {
            folder: home.path().join("empty"),
            home,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            ids: HashMap::new(),
            server: None,
            listener,
            running: Vec::new(),
        }
    }

    /// The page's words with this reader's ids and ports.
    fn mine(&self, text: &str) -> String {
        let mut text = text
            .replace(&format!("127.0.0.1:{LISTENER}"), &format!("127.0.0.1:{}", self.listener))
            .replace(&format!("listen {LISTENER}"), &format!("listen {}", self.listener));
        for (prefix, id) in &self.ids {
            text = text.replace(&format!("{prefix}…"), id);
        }
        assert!(!text.contains('…'), "nothing was printed to put in: {text}");
        text
    }

    /// What was printed with the page's ports.
    fn as_shown(&self, printed: &str) -> String {
        let listener = format!("127.0.0.1:{}", self.listener);
        let printed = printed.replace(&listener, &format!("127.0.0.1:{LISTENER}"));
        match &self.server {
            Some(address) => printed.replace(address, SERVER),
            None => printed,
        }
    }

    /// Takes note of the first id of each kind.
    fn note(&mut self, printed: &str) {
        for prefix in IDS {
            let Some(at) = printed.find(prefix) else { continue };
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_-+/=".contains(c);
            let id: String = printed[at..].chars().take_while(|c| is_part(*c)).collect();
            self.ids.insert(prefix, id);
        }
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .current_dir(&self.folder)
            .envs(&self.environment)
            .stdin(Stdio::null());
        shell
    }

    async fn follow(&mut self, block: &Block) {
        match block {
            Block::Commands(commands) => {
                for command in commands {
                    self.command(command).await;
                }
            }
            Block::Heard(lines) => self.wait(lines).await,
            Block::File(path, text) => self.file(path, text),
            Block::Change(path, old, new) => {
                let path = self.folder.join(path);
                let now = fs::read_to_string(&path).expect("the file to change is there");
                assert_eq!(now.matches(old).count(), 1, "{}:\n{now}\n{old}", path.display());
                fs::write(&path, now.replace(old, new)).expect("the folder can be written");
            }
        }
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        match fs::read_to_string(&path) {
            Ok(there) => assert!(there.contains(text), "{}:\n{there}", path.display()),
            Err(_) => fs::write(&path, text).expect("the folder can be written"),
        }
    }

    async fn command(&mut self, command: &guide::Command) {
        let text = self.mine(&command.text);
        let is_running = |name| text.starts_with(&format!("hookmill {name} "));
        if let Some(variable) = text.strip_prefix("export ") {
            let (name, value) = variable.split_once('=').expect("export NAME=VALUE");
            self.environment.insert(name.into(), value.into());
        } else if is_running("serve") || is_running("listen") {
            self.start(&text, &command.prints).await;
        } else {
            self.settled().await;
            self.run(&text, &command.prints);
        }
    }

    /// Waits for what is under way: a person is slower than the server.
    async fn settled(&self) {
        let Some(key) = self.environment.get("HOOKMILL_KEY") else { return };
        let client = Client::new(&self.environment["HOOKMILL_URL"], Some(key));
        for state in ["delivering", "pending"] {
            let path = format!("/v1/deliveries?state={state}");
            client.wait_for(&path, |list| list["data"] == json!([])).await;
        }
    }

    /// Runs a command to its end, in the shell's folder as it then is.
    fn run(&mut self, text: &str, shown: &[String]) {
        let place = self.home.path().join("place");
        let script =
            format!("exec 2>&1\n{text}\nstatus=$?\npwd > '{}'\nexit $status", place.display());
        let output = self.shell(&script).output().expect("sh runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let fails = shown.iter().any(|line| line.starts_with("error:"));
        let shown_text = shown.join("\n");
        assert!(
            matches(shown, &self.as_shown(&printed)) && output.status.success() != fails,
            "$ {text}\nprinted ({}):\n{printed}\nthe guide shows:\n{shown_text}",
            output.status
        );
        self.note(&printed);
        let folder = fs::read_to_string(place).expect("the shell says where it is");
        self.folder = folder.trim_end().into();
    }

    /// Starts a command that goes on.
    async fn start(&mut self, text: &str, shown: &[String]) {
        let mut shell =
            tokio::process::Command::from(self.shell(&format!("exec 2>&1\nexec {text}")));
        let mut child = shell.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("sh runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, printed) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|all| *all = format!("{all}{line}\n"));
            }
        });
        if text.starts_with("hookmill serve") {
            let mut printed = printed.clone();
            let text =
                timeout(PATIENCE, printed.wait_for(|all| all.contains("listening on http://")))
                    .await;
            let text = text.expect("the server starts in time").expect("it goes on").clone();
            let (_, rest) = text.split_once("listening on http://").expect("it says where");
            let address = rest.lines().next().unwrap_or_default().trim().to_owned();
            self.environment.insert("HOOKMILL_URL".into(), format!("http://{address}"));
            self.server = Some(address);
        }
        self.running.push(Running { _child: child, printed, seen: 0 });
        self.wait(shown).await;
    }

    /// Waits until the last command that goes on has printed this.
    async fn wait(&mut self, shown: &[String]) {
        let mut last = self.running.pop().expect("a command goes on");
        let found = {
            let new = |all: &str| self.as_shown(&all[last.seen..]);
            let found = timeout(PATIENCE, last.printed.wait_for(|all| matches(shown, &new(all))));
            found.await.ok().and_then(Result::ok).map(|all| all.clone())
        };
        let Some(all) = found else {
            let printed = last.printed.borrow();
            panic!("printed:\n{}\nthe guide shows:\n{}", &printed[last.seen..], shown.join("\n"));
        };
        self.note(&all[last.seen..]);
        last.seen = all.len();
        self.running.push(last);
    }
}

/// Follows the guide from an empty folder to its end.
async fn follow(language: &str) {
    let page = fs::read_to_string(repository().join("docs/plugins.md")).expect("it is there");
    let blocks = blocks(&page, language, &LANGUAGES);
    assert!(blocks.len() > 20, "{} blocks", blocks.len());
    let mut reader = Reader::new();
    fs::create_dir(&reader.folder).expect("the folder can be written");
    for block in &blocks {
        reader.follow(block).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_holds_in_rust() {
    follow("Rust").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_holds_in_javascript() {
    follow("JavaScript").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_holds_in_python() {
    follow("Python").await;
}
