//! A client can be made of the server's OpenAPI document: the usual generator for TypeScript
//! makes types of it, the compiler holds a program to them, and the program drives the server.

use std::{path::Path, process::Stdio};

use hookmill_tests::{ADMIN_KEY, Server, npm_folder};
use tokio::process::Command;

#[tokio::test]
async fn a_client_made_of_the_document_drives_the_server() {
    let server = Server::start().await;
    let folder = tokio::task::spawn_blocking(|| npm_folder("typescript")).await.unwrap();
    let document = server.client().get("/openapi.json").await.expect(200);
    let path = server.folder().join("openapi.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let path = path.to_str().expect("the folder's name is text");
    let url = server.url();
    let generator = ["node_modules/openapi-typescript/bin/cli.js", path, "-o", "api.d.ts"];
    node(&folder, url, &generator).await;
    node(&folder, url, &["node_modules/typescript/bin/tsc", "--project", "."]).await;
    assert_eq!(node(&folder, url, &["built/client.js"]).await, "driven\n");
}

async fn node(folder: &Path, url: &str, arguments: &[&str]) -> String {
    let run = Command::new("node")
        .args(arguments)
        .current_dir(folder)
        .envs([("URL", url), ("KEY", ADMIN_KEY)])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("node is there");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments:?}: {said}\n{errors}");
    said
}
