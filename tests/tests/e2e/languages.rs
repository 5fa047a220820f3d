//! Plugins in each language on the real binary: what they send, that two servers send the same,
//! and that a new project works as it is.

use std::{fs, path::Path};

use hookmill_tests::{Client, Receiver, Server, binary, npm_folder, plugin, repository};
use serde_json::{Value, json};

/// GitHub's own examples: event type and payload.
fn corpus() -> Vec<(String, Value)> {
    let packages = npm_folder("../demo").join("node_modules");
    let file = packages.join("@octokit/webhooks-examples/api.github.com/index.json");
    let named: Value = serde_json::from_slice(&fs::read(file).expect("the examples are installed"))
        .expect("they are JSON");
    let examples = named.as_array().expect("a list").iter().flat_map(|named| {
        let event_type = format!("github.{}", named["name"].as_str().expect("a name"));
        let examples = named["examples"].as_array().expect("examples");
        examples.iter().map(move |example| (event_type.clone(), example.clone()))
    });
    examples.collect()
}

/// The component of `fixtures/wasi-guest`.
fn wasi_guest() -> Vec<u8> {
    let fixture = repository().join("tests/fixtures/wasi-guest");
    let mut module = wat::parse_file(fixture.join("guest.wat")).expect("the guest is WebAssembly");
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_path(repository().join("wit")).expect("the interface is WIT");
    let world = fs::read_to_string(fixture.join("world.wit")).expect("the world is there");
    let package = resolve.push_str("world.wit", &world).expect("the world is WIT");
    let world = resolve.select_world(&[package], Some("guest")).expect("it has a world");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false)
        .expect("the guest takes its description");
    module
}

/// Makes the corpus's event types.
async fn event_types(client: &Client, corpus: &[(String, Value)]) {
    let mut names: Vec<&str> = corpus.iter().map(|(name, _)| &**name).collect();
    names.dedup();
    for name in names {
        client.event_type(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_event_goes_through_a_plugin_in_each_language() {
    let corpus = corpus();
    let of = |kind: &str, action: &str| {
        let mut events = corpus.iter().filter(|(name, _)| name == kind);
        &events.find(|(_, payload)| payload["action"] == action).unwrap().1
    };
    let opened = of("github.issues", "opened");
    let server = Server::start().await;
    let client = server.client();
    client.event_type("github.issues").await;
    for name in ["redact", "discord-message", "quiet-hours"] {
        client.upload(plugin(name)).await.expect(201);
    }
    let receiver = Receiver::start().await;
    let night = json!({"begin": "20:00", "end": "07:00"});
    for (path, step) in [
        ("/rust", json!({"plugin": "redact", "config": {"fields": [{"at": "/sender/login"}]}})),
        ("/javascript", json!({"plugin": "discord-message"})),
        ("/python", json!({"plugin": "quiet-hours", "config": night})),
    ] {
        client.subscribe(&receiver.url(path), &["github.*"], &json!([step])).await;
    }
    for at in ["2026-03-04T23:00:00Z", "2026-03-04T12:00:00Z"] {
        let event = json!({"type": "github.issues", "payload": opened, "occurred_at": at});
        client.post("/v1/events", &event).await.expect(202);
    }

    let exact = serde_json::to_string(opened).unwrap();
    let mut redacted = opened.clone();
    redacted["sender"]["login"] = "[redacted]".into();
    let redacted = serde_json::to_string(&redacted).unwrap();
    for arrived in receiver.wait("/rust", 2).await {
        assert_eq!(arrived.body, redacted.as_bytes());
    }
    // The night's event is dropped, the day's is as it was sent.
    let arrived = receiver.wait("/python", 1).await.remove(0);
    assert_eq!(arrived.body, exact.as_bytes());
    let issue = &opened["issue"];
    let message = |at: &str| {
        json!({
            "embeds": [{
                "title": format!(
                    "[{}] issue opened: #{} {}",
                    opened["repository"]["full_name"].as_str().unwrap(),
                    issue["number"],
                    issue["title"].as_str().unwrap(),
                ),
                "url": issue["html_url"],
                "description": issue["body"],
                "color": 0x002d_a44e,
                "author": {
                    "name": opened["sender"]["login"],
                    "icon_url": opened["sender"]["avatar_url"],
                },
                "timestamp": at,
            }],
            "allowed_mentions": {"parse": []},
        })
        .to_string()
    };
    let mut bodies: Vec<_> =
        receiver.wait("/javascript", 2).await.into_iter().map(|arrived| arrived.body).collect();
    bodies.sort();
    assert_eq!(bodies, [message("2026-03-04T12:00:00Z"), message("2026-03-04T23:00:00Z")]);
    assert_eq!(receiver.at("/python").len(), 1);
}

/// What every plugin makes of every event, without what the clock measured.
async fn outcomes(client: &Client, plugins: &[(&str, Value)], events: &[String]) -> Vec<Value> {
    let mut outcomes = Vec::new();
    for (name, config) in plugins {
        for event in events {
            let run = json!({"event_id": event, "config": config});
            let mut ran = client.post(&format!("/v1/plugins/{name}/run"), &run).await.expect(200);
            for step in ran["steps"].as_array_mut().expect("steps") {
                step.as_object_mut().expect("a step").remove("duration_us");
            }
            outcomes.push(ran);
        }
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_make_the_same_of_the_whole_corpus() {
    let plugins = [
        ("cloudevents", json!({"source": "/github"})),
        ("field-filter", json!({"pass_if": {"at": "/action", "equals": "created"}})),
        ("redact", json!({"fields": [{"at": "/sender/login"}, {"at": "/repository/owner"}]})),
        (
            "reshape",
            json!({"template": {"at": {"$": "event.occurred_at"}, "who": {"$": "/sender/login", "default": null}}}),
        ),
        ("slack-message", json!({"others": "drop"})),
        ("discord-message", json!({"bots": true})),
        (
            "quiet-hours",
            json!({"quiet_days": ["sun"], "urgent": [{"at": "/action", "is_one_of": ["created"]}]}),
        ),
        ("wasi-guest", json!({"do": "answer"})),
    ];
    let corpus = corpus();
    assert_eq!(corpus.len(), 329);
    let mut one = Server::start().await;
    let client = one.client();
    event_types(&client, &corpus).await;
    let mut events = Vec::new();
    for (name, payload) in &corpus {
        let receipt = client.publish(name, payload).await;
        events.push(receipt["id"].as_str().unwrap().to_owned());
    }
    for (name, _) in &plugins {
        let wasm = if *name == "wasi-guest" { wasi_guest() } else { plugin(name) };
        client.upload(wasm).await.expect(201);
    }
    let first = outcomes(&client, &plugins, &events).await;

    // The other has the same events, under the same ids: a copy of the first one's folder. It
    // compiles by itself.
    one.stop().await;
    let mut other = Server::start().await;
    other.stop().await;
    copy(one.folder(), other.folder());
    fs::remove_dir_all(other.folder().join("hookmill.db-plugins")).expect("it can be removed");
    other.restart().await;
    let second = outcomes(&other.client(), &plugins, &events).await;
    assert_eq!(first.len(), plugins.len() * events.len());
    for (index, (first, second)) in first.iter().zip(&second).enumerate() {
        let (plugin, event) = (plugins[index / events.len()].0, &corpus[index % events.len()].0);
        assert_eq!(first, second, "{plugin} on {event}");
    }
    // Each of them did something: no agreement on faults alone.
    for (index, (name, _)) in plugins.iter().enumerate() {
        let outcomes = &first[index * events.len()..][..events.len()];
        assert!(outcomes.iter().any(|ran| ran["outcome"] == "send"), "{name} sends nothing");
        let fuel = outcomes.iter().filter_map(|ran| ran["steps"][0]["fuel"].as_u64()).max();
        eprintln!("{name}: at most {} of fuel", fuel.unwrap_or(0));
    }
}

/// Copies what is in a folder.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder can be made");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

/// `hookmill plugin …` in a folder; answers what it printed.
#[track_caller]
fn hookmill(server: &Server, folder: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new(binary())
        .arg("plugin")
        .args(arguments)
        .current_dir(folder)
        .env("HOOKMILL_URL", server.url())
        .env("HOOKMILL_KEY", hookmill_tests::ADMIN_KEY)
        .env("NO_COLOR", "1")
        .output()
        .expect("it runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    format!("{out}{err}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_in_each_language_builds_tests_and_pushes_as_it_is() {
    let server = Server::start().await;
    let folder = server.folder().to_path_buf();
    for (name, lang, kind) in
        [("js-orders", "js", "filter"), ("python-orders", "python", "transform")]
    {
        hookmill(&server, &folder, &["new", name, "--lang", lang, "--kind", kind]);
        let project = folder.join(name);
        let tested = hookmill(&server, &project, &["test"]);
        assert!(tested.contains("2 of 2 cases hold"), "{tested}");
        // Nothing changed: nothing is made again.
        let built = hookmill(&server, &project, &["build"]);
        assert_eq!(built.trim(), project.join(".hookmill/build/plugin.wasm").to_str().unwrap());
        let pushed = hookmill(&server, &project, &["push"]);
        assert!(
            pushed.contains(name) && pushed.contains(kind) && pushed.contains("live"),
            "{pushed}"
        );
    }
    let client = server.client();
    let run = json!({
        "config": {"at_least": 100},
        "event": {"type": "order.created", "payload": {"total": 99.5}},
    });
    let ran = client.post("/v1/plugins/js-orders/run", &run).await.expect(200);
    assert_eq!((&ran["outcome"], &ran["reason"]), (&json!("drop"), &json!("below at_least")));
    let run = json!({
        "config": {"field": "/email"},
        "event": {"type": "order.created", "payload": {"email": "a@b.example", "n": 1.50}},
    });
    let ran = client.post("/v1/plugins/python-orders/run", &run).await.expect(200);
    assert_eq!(ran["outcome"], "send");
}
