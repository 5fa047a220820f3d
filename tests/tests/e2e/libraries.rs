//! The published Standard Webhooks libraries verify what the server sends.

use std::process::{Command, Stdio};

use hookmill_tests::{Receiver, Server, npm_folder, python, repository};
use serde_json::json;

/// Runs a verifier with what was received on its standard input; answers what it said.
fn verify(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the verifier starts");
    let mut stdin = child.stdin.take().expect("its input is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

#[tokio::test]
async fn the_published_libraries_verify_what_is_sent() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let (_, secret) = client.subscribe(&receiver.url("/l"), &["tick"], &json!([])).await;
    client.publish("tick", &json!({"n": 1, "text": "é ✓"})).await;
    let arrived = receiver.wait("/l", 1).await.remove(0);
    let given = |body: &str| {
        json!({"secret": secret, "headers": arrived.headers, "body": body}).to_string()
    };
    let body = String::from_utf8(arrived.body.to_vec()).unwrap();
    let (good, tampered) = (given(&body), given(&body.replace('1', "2")));

    let scripts = repository().join("tests");
    let node = npm_folder("node");
    for (input, expected) in [(&good, "verified"), (&tampered, "refused")] {
        let mut js = Command::new("node");
        assert_eq!(verify(js.arg(node.join("verify.mjs")), input), expected);
        let mut py = Command::new(python());
        assert_eq!(verify(py.arg(scripts.join("python/verify.py")), input), expected);
    }
}
