//! The API's own description is valid, complete, and does not change unnoticed.

use std::process::{Command, Stdio};

use hookmill_tests::{Server, python, repository};
use serde_json::{Value, json};

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

/// What the document gives as an example of a body.
fn example(document: &Value, content: &Value) -> Option<Value> {
    let named =
        content["schema"]["$ref"].as_str().or(content["schema"]["oneOf"][0]["$ref"].as_str());
    let schema = named.and_then(|at| document.pointer(at.strip_prefix('#')?));
    let listed = content["examples"].as_object().and_then(|all| all.values().next());
    let own = content.get("example").or(listed.map(|listed| &listed["value"]));
    own.or(schema.and_then(|schema| schema.get("example"))).cloned()
}

#[tokio::test]
async fn every_form_of_an_event_is_taken_as_the_document_shows_it() {
    let server = Server::start().await;
    let client = server.client();
    for name in ["order.created", "invoice.sent"] {
        let body = json!({"name": name, "content_types": ["application/json", "text/*"]});
        client.post("/v1/event-types", &body).await.expect(201);
    }
    let document = client.get("/openapi.json").await.expect(200);
    let mut forms = 0;
    for path in ["/v1/events", "/v1/events/batch"] {
        let body = &document["paths"][path]["post"]["requestBody"]["content"];
        for (media_type, content) in body.as_object().unwrap() {
            forms += 1;
            let example = example(&document, content).expect("each form has an example");
            let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            let (sent, query) = match media_type.as_str() {
                "*/*" => ("text/xml", "?type=invoice.sent"),
                known => (known, ""),
            };
            let path = format!("{path}{query}");
            let answer = client.send("POST", &path, &[("content-type", sent)], text.clone()).await;
            assert!([200, 202].contains(&answer.status), "{path} {media_type}: {}", answer.json());
            assert!(answer.json()["refused"].as_u64().is_none_or(|refused| refused == 0));
        }
    }
    assert_eq!(forms, 4 + 6);
    // The headers of binary mode are those that the document names.
    let parameters = document["paths"]["/v1/events"]["post"]["parameters"].as_array().unwrap();
    let named = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    let binary = [
        ("content-type", "text/xml"),
        ("ce-specversion", "1.0"),
        ("ce-id", "9"),
        ("ce-source", "/shop"),
        ("ce-type", "invoice.sent"),
        ("ce-subject", "invoices/9"),
        ("ce-time", "2026-01-01T00:00:00Z"),
    ];
    assert!(binary[1..].iter().all(|(name, _)| named(name)) && named("Content-Encoding"));
    client.send("POST", "/v1/events", &binary, "<invoice/>").await.expect(202);
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
