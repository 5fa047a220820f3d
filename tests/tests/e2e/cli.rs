//! The commands as a person types them, against a real server.

use std::{
    path::Path,
    process::{Command, Output},
};

use hookmill_tests::{ADMIN_KEY, Receiver, Server, binary, plugin, repository};
use serde_json::Value;

/// Runs `hookmill` in `folder` against a server.
fn hookmill(url: &str, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("HOOKMILL_URL", url)
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .env("NO_COLOR", "1")
        .output()
        .expect("it runs")
}

/// What it printed, of a command that must succeed.
#[track_caller]
fn done(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_event_type_to_a_delivery_by_commands_alone() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let folder = server.folder().to_path_buf();
    let run = |arguments: &[&str]| hookmill(server.url(), &folder, arguments);

    let schema = repository().join("examples/order.schema.json");
    let schema = schema.to_str().expect("the path is text");
    done(&run(&["event-type", "create", "order.created", "--schema", schema]));
    std::fs::write(folder.join("redact.wasm"), plugin("redact"))
        .expect("the folder can be written");
    let pushed = done(&run(&["plugin", "push", "redact.wasm"]));
    assert!(pushed.contains("redact 0.1.0"), "{pushed}");

    let endpoint = receiver.url("/cli");
    let made = done(&run(&["subscribe", &endpoint, "--to", "order.*", "--json"]));
    let made: Value = serde_json::from_str(&made).expect("--json prints JSON");
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let config = r#"{"fields":[{"at":"/currency"}]}"#;
    done(&run(&["subscription", "add-step", id, "redact", "--config", config]));

    let order = r#"{"id":7,"total":19.90,"currency":"EUR"}"#;
    done(&run(&["send", "order.created", "--data", order]));
    let arrived = receiver.wait("/cli", 1).await.remove(0);
    assert!(arrived.verifies(secret));
    assert_eq!(arrived.body, r#"{"id":7,"total":19.90,"currency":"[redacted]"}"#.as_bytes());

    let delivery = arrived.header("webhook-id").to_owned();
    server
        .client()
        .wait_for(&format!("/v1/deliveries/{delivery}"), |found| found["state"] == "succeeded")
        .await;
    let listed = done(&run(&["deliveries"]));
    assert!(listed.contains(&delivery) && listed.contains("succeeded"), "{listed}");
    let shown = done(&run(&["delivery", &delivery]));
    for part in ["redact@0.1.0", "1 edit", "attempt 1", "200"] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }

    let wrong =
        run(&["send", "order.created", "--data", r#"{"id":7,"total":"19.90","currency":"EUR"}"#]);
    assert_eq!(wrong.status.code(), Some(4));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("/total") && said.starts_with("error: "), "{said}");
    assert_eq!(hookmill("http://127.0.0.1:9", &folder, &["deliveries"]).status.code(), Some(3));
    assert_eq!(run(&["deliverise"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plugin_builds_tests_and_pushes_as_it_is() {
    let server = Server::start().await;
    let folder = server.folder().to_path_buf();
    for (name, kind) in [("big-orders", "filter"), ("order-note", "transform")] {
        done(&hookmill(
            server.url(),
            &folder,
            &["plugin", "new", name, "--lang", "rust", "--kind", kind],
        ));
        let project = folder.join(name);
        let tested = done(&hookmill(server.url(), &project, &["plugin", "test"]));
        assert!(tested.contains('✓') && !tested.contains('✗'), "{tested}");
        let pushed = done(&hookmill(server.url(), &project, &["plugin", "push"]));
        assert!(pushed.contains(name) && pushed.contains("live"), "{pushed}");
    }
    // A wrong expectation is told, and is a negative result.
    let case = folder.join("big-orders/tests");
    let case = std::fs::read_dir(case).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&case).unwrap();
    let changed = if text.contains("\"pass\"") {
        text.replace("\"pass\": true", "\"drop\": \"no\"")
    } else {
        text.replace("\"drop\"", "\"fault\"")
    };
    assert_ne!(text, changed);
    std::fs::write(&case, changed).unwrap();
    let tested = hookmill(server.url(), &folder.join("big-orders"), &["plugin", "test"]);
    assert_eq!(tested.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&tested.stdout).contains('✗'));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_accounts_for_every_delivery_of_its_own_events() {
    let folder = tempfile::TempDir::new().unwrap();
    let plugins = repository().join("build/plugins");
    plugin("redact");
    let demo = ["demo", "--plugins", plugins.to_str().unwrap()];
    let output = hookmill("http://127.0.0.1:9", folder.path(), &demo);
    let printed = done(&output);
    for line in [
        "rejected by schema             1",
        "delivered, signature verified  25",
        "dead                           0",
    ] {
        assert!(printed.contains(line), "no {line:?} in\n{printed}");
    }
}
