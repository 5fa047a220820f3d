//! The plugin author's loop on their own machine, with the real binary: inspect, test, bench,
//! record, push, replay.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use hookmill_tests::{ADMIN_KEY, PATIENCE, Receiver, Server, binary, plugin, repository};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::ChildStderr,
    time::timeout,
};

/// A plugin's folder with its cases, and a component built before: nothing is compiled.
struct Project {
    folder: TempDir,
    name: &'static str,
}

impl Project {
    fn new(name: &'static str) -> Self {
        let folder = TempDir::new().expect("the folder can be written");
        fs::write(folder.path().join("plugin.wasm"), plugin(name))
            .expect("the folder can be written");
        let cases = folder.path().join(name).join("tests");
        fs::create_dir_all(&cases).expect("the folder can be written");
        for case in fs::read_dir(repository().join("plugins").join(name).join("tests"))
            .expect("the folder can be written")
        {
            let case = case.expect("the folder can be written");
            fs::copy(case.path(), cases.join(case.file_name())).expect("the folder can be written");
        }
        Self { folder, name }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn case(&self, file: &str) -> PathBuf {
        self.path().join(self.name).join("tests").join(file)
    }

    fn command(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("plugin")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOOKMILL_URL", url)
            .env("HOOKMILL_KEY", ADMIN_KEY)
            .env("NO_COLOR", "1");
        command
    }

    /// A command of `hookmill plugin`, without a server.
    fn alone(&self, arguments: &[&str]) -> Output {
        self.command("http://127.0.0.1:9", arguments).output().expect("it runs")
    }
}

/// What a command that must succeed printed.
#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything a command printed.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The text with every number as `N`, and hashes as `HASH`.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut digits = false;
        for c in line.chars() {
            if !c.is_ascii_digit() {
                out.push(c);
            } else if !digits {
                out.push('N');
            }
            digits = c.is_ascii_digit();
        }
        if line.trim_start().starts_with("sha256 ") {
            out.truncate(out.rfind("sha").unwrap_or(0));
            out += "sha256       HASH";
        }
        out.push('\n');
    }
    out
}

#[test]
fn inspect_shows_a_component_without_a_server() {
    let project = Project::new("redact");
    let shown = done(&project.alone(&["inspect", "plugin.wasm"]));
    insta::assert_snapshot!(masked(&shown));
    let json: Value =
        serde_json::from_str(&done(&project.alone(&["inspect", "plugin.wasm", "--json"]))).unwrap();
    assert_eq!((&json["manifest"]["name"], &json["class"]), (&json!("redact"), &json!("lean")));
    assert!(json["manifest"]["config_schema"]["properties"].is_object(), "{json}");
    // Names of imported functions are among them.
    let count = |what: &str| json["contents"][what].as_u64().unwrap();
    assert!(count("named_functions") >= count("functions"), "{json}");
}

#[test]
fn inspect_says_why_a_server_would_refuse() {
    let project = Project::new("redact");
    fs::write(project.path().join("not.wasm"), "hello").unwrap();
    let output = project.alone(&["inspect", "not.wasm"]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("the server would refuse it") && text.contains("not-wasm"), "{text}");
    // A component of nothing: it can be described, and is still no plugin.
    fs::write(project.path().join("empty.wasm"), [0, b'a', b's', b'm', 0xd, 0, 1, 0]).unwrap();
    let output = project.alone(&["inspect", "empty.wasm", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["refused"]["code"], "unknown-world", "{json}");
    assert_eq!(json["contents"]["functions"], 0);
}

#[test]
fn test_update_accepts_what_comes_out_and_nothing_else() {
    let project = Project::new("field-filter");
    let file = project.case("passes-a-large-paid-order.json");
    let original = fs::read_to_string(&file).unwrap();
    let wrong = original.replace("\"pass\": true", "\"drop\": \"wrong\"");
    assert_ne!(original, wrong);
    fs::write(&file, &wrong).unwrap();
    let test = |more: &[&str]| {
        let all = [&["test", "field-filter", "--component", "plugin.wasm"], more].concat();
        project.alone(&all)
    };
    let output = test(&["--case", "passes-a-large"]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("expected  drop \"wrong\"") && text.contains("1 of 1 cases"), "{text}");
    assert_eq!(test(&["--case", "drops"]).status.code(), Some(0));
    assert_eq!(test(&["--case", "no such case"]).status.code(), Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), wrong, "nothing is written unasked");
    let updated = test(&["--update"]);
    assert!(said(&updated).contains("1 updated"), "{}", said(&updated));
    assert_eq!(updated.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), original);
    done(&test(&[]));
}

/// Reads lines up to one with `text` in it; answers all of them.
async fn lines_up_to(lines: &mut Lines<BufReader<ChildStderr>>, text: &str) -> String {
    let mut seen = String::new();
    timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.expect("its output is text").expect("it goes on");
            seen += &line;
            seen.push('\n');
            if line.contains(text) {
                return;
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no {text:?} in time"));
    seen
}

#[tokio::test]
async fn test_watch_runs_again_on_save_and_survives_mistakes() {
    let project = Project::new("field-filter");
    let file = project.case("passes-a-large-paid-order.json");
    let original = fs::read_to_string(&file).unwrap();
    let arguments = ["test", "field-filter", "--component", "plugin.wasm", "--watch"];
    let mut command = project.command("http://127.0.0.1:9", &arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines_up_to(&mut lines, "watching").await;
    assert!(first.contains("5 of 5 cases hold"), "{first}");
    for (content, expected) in [
        (original.replace("\"pass\": true", "\"drop\": \"wrong\""), "4 of 5 cases hold"),
        ("{ oops".to_owned(), "is not a case"),
        (original, "5 of 5 cases hold"),
    ] {
        fs::write(&file, content).unwrap();
        lines_up_to(&mut lines, expected).await;
        lines_up_to(&mut lines, "watching").await;
    }
    child.kill().await.unwrap();
}

#[test]
fn bench_measures_against_the_limits_and_draws_where_the_fuel_goes() {
    let project = Project::new("field-filter");
    let arguments = [
        ["bench", "field-filter", "--component", "plugin.wasm"].as_slice(),
        &["--runs", "20", "--seconds", "60", "--samples", "200", "--json"],
        &["--profile", "out.svg", "--folded", "out.txt"],
    ]
    .concat();
    let first: Value = serde_json::from_str(&done(&project.alone(&arguments))).unwrap();
    let folded = fs::read_to_string(project.path().join("out.txt")).unwrap();
    assert_eq!(first["class"], "lean");
    let cases = first["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        assert_eq!(case["runs"], 20, "{case}");
        assert!(case["runs_per_second"].as_u64().unwrap() > 0, "{case}");
        assert!(case["p50_us"].as_f64().unwrap() <= case["p99_us"].as_f64().unwrap(), "{case}");
        for share in ["fuel", "memory", "time_us", "output"] {
            let share = &case[share];
            let (used, limit) = (share["used"].as_f64().unwrap(), share["limit"].as_f64().unwrap());
            let percent = share["percent"].as_f64().unwrap();
            assert!(limit > 0.0 && (percent - used / limit * 100.0).abs() < 0.01, "{case}");
        }
        assert!(case["fuel"]["used"].as_u64().unwrap() > 1_000, "{case}");
        assert_eq!(case["memory"]["limit"], 16 << 20);
    }
    let svg = fs::read_to_string(project.path().join("out.svg")).unwrap();
    assert!(svg.contains("field_filter::condition::Condition"), "no function of the plugin's");
    let weight: u64 =
        folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(first["profile"]["fuel"], weight);

    // Fuel and profile are the same every time; only times differ.
    let again: Value = serde_json::from_str(&done(&project.alone(&arguments))).unwrap();
    assert_eq!(first["profile"], again["profile"]);
    assert_eq!(folded, fs::read_to_string(project.path().join("out.txt")).unwrap());
    let shown = done(&project.alone(&arguments[..6]));
    assert!(shown.contains("RUNS/S") && shown.contains("drops a small order"), "{shown}");
}

/// A server where an order was redacted and delivered; answers the delivery's and event's id.
async fn delivered(server: &Server, receiver: &Receiver) -> (String, String) {
    let client = server.client();
    client.event_type("order.created").await;
    client.upload(plugin("redact")).await.expect(201);
    let config = json!({"fields": [{"at": "/email"}]});
    let pipeline = json!([{"plugin": "redact", "config": config}]);
    client.subscribe(&receiver.url("/replay"), &["order.*"], &pipeline).await;
    let body = r#"{"type":"order.created","payload":{ "email":"a@b.example", "total":19.90 }}"#;
    let json = [("content-type", "application/json")];
    let sent = client.send("POST", "/v1/events", &json, body).await.expect(202);
    let event = sent["id"].as_str().expect("an id").to_owned();
    let delivery = client.delivery_in(&event, &["succeeded"]).await;
    (delivery["id"].as_str().expect("an id").to_owned(), event)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_repeated_exactly_and_a_change_is_shown() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let project = Project::new("redact");
    let (delivery, _) = delivered(&server, &receiver).await;
    let inputs =
        server.client().get(&format!("/v1/deliveries/{delivery}/inputs")).await.expect(200);
    assert_eq!(inputs["event"]["payload"], r#"{ "email":"a@b.example", "total":19.90 }"#);
    assert_eq!(inputs["pipeline"][0]["config"], r#"{"fields":[{"at":"/email"}]}"#);
    assert_eq!(inputs["pipeline"][0]["kind"], "transform");
    assert_eq!(inputs["run"]["message"]["body"], r#"{ "email":"[redacted]", "total":19.90 }"#);
    let path = "/v1/plugins/redact/versions/0.1.0/component";
    let component = server.client().get(path).await;
    let tag = component.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", inputs["pipeline"][0]["sha256"].as_str().unwrap()));
    let again = server.client().send("GET", path, &[("if-none-match", &tag)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));

    let replay = |id: &str, more: &[&str]| {
        let all = [&["replay", id], more].concat();
        project.command(server.url(), &all).output().unwrap()
    };
    let same = replay(&delivery, &["--save", "kept.json"]);
    assert!(done(&same).contains("same result"), "{}", said(&same));
    // The same bytes in its place are no change, and neither is a file without a server.
    done(&replay(&delivery, &["--component", "plugin.wasm"]));
    assert!(done(&project.alone(&["replay", "kept.json"])).contains("same result"));

    fs::write(project.path().join("other.wasm"), plugin("cloudevents")).unwrap();
    let other = replay(&delivery, &["--component", "other.wasm"]);
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    assert!(said(&other).contains("redact@0.1.0: verdict"), "{}", said(&other));
    let named = replay(&delivery, &["--component", "other.wasm", "--plugin", "nobody"]);
    assert_eq!(named.status.code(), Some(2), "{}", said(&named));
    assert_eq!(replay("dlv_00000000000000000000000001", &[]).status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_gone_can_be_given() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let project = Project::new("redact");
    let (delivery, _) = delivered(&server, &receiver).await;
    let client = server.client();
    let subscriptions = client.get("/v1/subscriptions").await.expect(200);
    let id = subscriptions["data"][0]["id"].as_str().unwrap().to_owned();
    client.delete(&format!("/v1/subscriptions/{id}")).await.expect(204);
    client.delete("/v1/plugins/redact").await.expect(204);
    let replay = |more: &[&str]| {
        let all = [&["replay", &delivery], more].concat();
        project.command(server.url(), &all).output().unwrap()
    };
    let gone = replay(&[]);
    assert_eq!(gone.status.code(), Some(1));
    let text = said(&gone);
    assert!(text.contains("no longer has") && text.contains("--component FILE"), "{text}");
    done(&replay(&["--component", "plugin.wasm"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_or_a_delivery_becomes_a_case() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let project = Project::new("redact");
    let (delivery, event) = delivered(&server, &receiver).await;
    let record = |arguments: &[&str]| {
        let all = [&["record"], arguments, &["redact", "--component", "plugin.wasm"]].concat();
        project.command(server.url(), &all).output().unwrap()
    };
    done(&record(&[&delivery, "--name", "Of a delivery"]));
    let text = fs::read_to_string(project.case("of-a-delivery.json")).unwrap();
    assert!(text.contains(r#""payload": { "email":"a@b.example", "total":19.90 }"#), "{text}");
    assert!(text.contains("[redacted]") && text.contains(r#"{"at": "/email"}"#), "{text}");
    assert_eq!(record(&[&delivery, "--name", "Of a delivery"]).status.code(), Some(2));
    let config = r#"{"fields":[{"at":"/total"}]}"#;
    done(&record(&[&event, "--config", config]));
    let tested = project.alone(&["test", "redact", "--component", "plugin.wasm"]);
    let text = done(&tested);
    assert!(text.contains("✓ Of a delivery") && text.contains("✓ order.created evt_"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn push_says_when_nothing_changed() {
    let server = Server::start().await;
    let project = Project::new("redact");
    let push = || project.command(server.url(), &["push", "plugin.wasm"]).output().unwrap();
    assert!(!done(&push()).contains("unchanged"));
    assert!(done(&push()).trim_end().ends_with("unchanged"));
}
