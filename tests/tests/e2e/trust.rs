//! Nothing that is uploaded harms the server or its other users, and nothing on its disk is run
//! that it did not write itself.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hookmill_tests::{
    Client, Hostile, PATIENCE, Receiver, Server, pathologies, plugin, slow_to_compile, smithed,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, interval, timeout},
};

/// The compiler's own limit on time, and some more for a busy machine.
const LONGEST: Duration = Duration::from_secs(330);

/// The processes whose parent is `parent`, dead ones that nobody took note of included.
fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("this is Linux").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in brackets may contain anything; what follows is numbers.
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if after.split_whitespace().nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(5));
    while !holds() {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "never: {what}");
    }
}

/// What the server keeps of compiled plugins.
fn cached(folder: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(folder.join("hookmill.db-plugins")).expect("the cache is there");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files
}

async fn metric(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").await.body;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Uploads all of it, one after the other; answers how often each problem was the answer.
async fn refused(
    client: &Client,
    uploads: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> HashMap<String, usize> {
    let mut problems = HashMap::new();
    for (name, wasm) in uploads {
        let answer = timeout(LONGEST, client.upload(wasm)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name}: no answer"));
        let problem = answer.problem();
        assert!(answer.status == 422 && !problem.is_empty(), "{name}: {} {problem}", answer.status);
        let named = answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10);
        assert!(named && problem != "plugin-rejected", "{name}: {:#}", answer.json());
        *problems.entry(problem).or_default() += 1;
    }
    problems
}

/// Posts events until told to stop; answers how many were accepted.
async fn traffic(client: Client, stop: watch::Receiver<bool>) -> usize {
    let mut count = 0;
    while !*stop.borrow() {
        client.publish("tick", &json!({"n": count})).await;
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pathological_uploads_are_refused_in_words_while_others_are_served() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    client.upload(plugin("cloudevents")).await.expect(201);
    let pipeline = json!([{"plugin": "cloudevents", "config": {"source": "/trust"}}]);
    client.subscribe(&receiver.url("/t"), &["tick"], &pipeline).await;
    let kept = cached(server.folder());
    let (stop, stopped) = watch::channel(false);
    let traffic = tokio::spawn(traffic(client.clone(), stopped));

    let made = pathologies().into_iter().map(|(name, wasm)| (name.to_owned(), wasm));
    let problems = refused(&client, made).await;
    for problem in ["not-wasm", "too-complex", "forbidden-import", "unknown-world", "uncompilable"]
    {
        assert!(problems.contains_key(problem), "{problem} in {problems:?}");
    }
    let smithed = refused(&client, smithed(300)).await;
    assert!(smithed.values().sum::<usize>() >= 600, "{smithed:?}");
    println!("{problems:?}\n{smithed:?}");

    stop.send(true).expect("there is traffic");
    let accepted = traffic.await.expect("every event was accepted");
    assert!(accepted > 0);
    receiver.wait("/t", accepted).await;
    until("the compilers are gone", || children(server.pid()).is_empty()).await;
    assert_eq!(cached(server.folder()), kept, "nothing is kept of what was refused");
    assert_eq!(metric(&client, "hookmill_plugins_loaded").await, 1);
    client.upload(plugin("redact")).await.expect(201);
}

#[tokio::test]
async fn a_server_killed_while_it_compiles_leaves_no_compiler_and_starts_clean() {
    let mut server = Server::start().await;
    let client = server.client();
    let upload = tokio::spawn(async move {
        let wasm = [("content-type", "application/wasm")];
        client.try_send("POST", "/v1/plugins", &wasm, slow_to_compile()).await
    });
    let pid = server.pid();
    until("it compiles", || !children(pid).is_empty()).await;
    let compilers = children(pid);
    server.kill().await;
    let gone = |pid: &u32| {
        // It may be a zombie until whoever has adopted it takes note.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    until("the compiler is gone", || compilers.iter().all(gone)).await;
    assert!(upload.await.expect("it ends").is_err(), "the connection was cut");
    server.restart().await;
    assert_eq!(cached(server.folder()), [] as [PathBuf; 0]);
    let client = server.client();
    assert_eq!(client.get("/v1/plugins").await.expect(200)["data"], json!([]));
    client.upload(plugin("redact")).await.expect(201);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_compiler_with_it() {
    let server = Server::start().await;
    let client = server.client();
    let upload = tokio::spawn(async move { client.upload(slow_to_compile()).await });
    until("it compiles", || !children(server.pid()).is_empty()).await;
    upload.abort();
    until("the compiler is gone", || children(server.pid()).is_empty()).await;
    server.client().upload(plugin("redact")).await.expect(201);
}

#[tokio::test]
async fn compiled_code_that_was_exchanged_on_disk_is_not_run() {
    let mut server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    for (name, config) in [
        ("cloudevents", json!({"source": "/disk"})),
        ("redact", json!({"fields": [{"at": "/n", "text": "hidden"}]})),
    ] {
        client.upload(plugin(name)).await.expect(201);
        let pipeline = json!([{"plugin": name, "config": config}]);
        client.subscribe(&receiver.url(&format!("/{name}")), &["tick"], &pipeline).await;
    }
    server.stop().await;
    // Each file is one that the server wrote, but in the other's place: the signature of one
    // component's code is no signature of another's. One of them is damaged as well.
    let files = cached(server.folder());
    let [one, two] = &files[..] else { panic!("two files: {files:?}") };
    let (mut first, second) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    *first.last_mut().unwrap() ^= 1;
    fs::write(one, &second).unwrap();
    fs::write(two, &first).unwrap();
    server.restart().await;
    let client = server.client();
    assert_eq!(metric(&client, "hookmill_plugin_compiled_total").await, 2);
    assert_eq!(metric(&client, "hookmill_plugin_cache_hits_total").await, 0);
    client.publish("tick", &json!({"n": 1})).await;
    assert_eq!(receiver.wait("/redact", 1).await[0].json(), json!({"n": "hidden"}));
    assert_eq!(receiver.wait("/cloudevents", 1).await[0].json()["data"], json!({"n": 1}));
    // What was compiled again is there the next time.
    server.stop().await;
    server.restart().await;
    assert_eq!(metric(&server.client(), "hookmill_plugin_cache_hits_total").await, 2);
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing_behind() {
    let server = Server::start().await;
    let client = server.client();
    let first = Hostile::Harmless.module();
    client.upload(first.clone()).await.expect(201);
    let kept = cached(server.folder());
    assert_eq!(kept.len(), 1);
    // The same plugin in other bytes: a custom section more.
    let other = [first.as_slice(), b"\0\x05\x04more"].concat();
    for _ in 0..2 {
        let taken = client.upload(other.clone()).await;
        assert_eq!((taken.status, taken.problem().as_str()), (409, "already-exists"));
        let liar = client.upload(Hostile::TrapInStart.module()).await;
        assert_eq!((liar.status, liar.problem().as_str()), (422, "bad-manifest"));
        assert_eq!(cached(server.folder()), kept);
        assert_eq!(metric(&client, "hookmill_plugins_loaded").await, 1);
    }
    // What is in use under another owner stays, though its second upload is refused there.
    let wasm = [("content-type", "application/wasm")];
    let shared = client.send("POST", "/v1/plugins?shared=true", &wasm, other.clone()).await;
    shared.expect(201);
    assert_eq!(client.upload(other).await.status, 409);
    assert_eq!(cached(server.folder()).len(), 2);
    let run = json!({"event": {"type": "a", "payload": 1}});
    let path = "/v1/plugins/harmless/run?shared=true";
    let run: Value = client.post(path, &run).await.expect(200);
    assert_eq!(run["outcome"], "send");
}
