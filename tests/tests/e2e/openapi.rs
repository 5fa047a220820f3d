//! The API's own description is valid, complete, and does not change unnoticed.

use std::process::{Command, Stdio};

use hookmill_tests::{Server, python, repository};
use serde_json::Value;

#[tokio::test]
async fn the_document_is_valid_openapi_and_every_path_in_it_is_routed() {
    let server = Server::start().await;
    let client = server.client();
    let answer = client.get("/openapi.json").await;
    let document = answer.expect(200);
    let file = server.folder().join("openapi.json");
    std::fs::write(&file, &answer.body).unwrap();
    let validated = Command::new(python())
        .arg(repository().join("tests/python/openapi.py"))
        .arg(&file)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&validated.stdout).trim(), "valid");

    let paths = document["paths"].as_object().unwrap();
    // An answer without an end cannot be waited for; its own test reads it.
    for (path, operations) in paths.iter().filter(|(path, _)| *path != "/v1/tail") {
        let concrete = concrete(path);
        for method in operations.as_object().unwrap().keys().filter(|key| is_method(key)) {
            let answer = client.send(&method.to_uppercase(), &concrete, &[], "").await;
            assert_ne!(answer.status, 405, "{method} {path}");
            assert_ne!(answer.problem(), "unknown-route", "{method} {path}");
        }
    }
}

fn is_method(key: &str) -> bool {
    ["get", "post", "put", "patch", "delete"].contains(&key)
}

/// A path with something in place of its parameters.
fn concrete(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_operations_are_as_released() {
    let server = Server::start().await;
    let document = server.client().get("/openapi.json").await.expect(200);
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            methods.as_object().unwrap().iter().filter(|(key, _)| is_method(key))
        {
            let answers: Vec<_> =
                operation["responses"].as_object().unwrap().keys().cloned().collect();
            let id = operation["operationId"].as_str().unwrap_or("?");
            operations.push(format!(
                "{:6} {path} {id} {}",
                method.to_uppercase(),
                answers.join(",")
            ));
        }
    }
    operations.sort();
    insta::assert_snapshot!(operations.join("\n"));
}

#[tokio::test]
async fn the_docs_come_from_the_binary_alone() {
    let server = Server::start().await;
    let client = server.client().with_key(None);
    let page = client.get("/docs/").await;
    assert_eq!(page.status, 200);
    let html = String::from_utf8_lossy(&page.body).into_owned();
    let outside =
        html.split('"').any(|part| part.starts_with("http://") || part.starts_with("https://"));
    assert!(!outside, "{html}");
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.get("/readyz").await.status, 200);
    let document = client.get("/openapi.json").await.expect(200);
    assert!(matches!(&document["openapi"], Value::String(version) if version.starts_with("3.")));
}
