//! What goes while a request for it is still coming: nothing is kept for what is no more.

use std::process::Command;

use hookmill_tests::{ADMIN_KEY, Client, PATIENCE, Server, binary, plugin};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A request whose head was read, and whose body the server waits for.
struct Begun(TcpStream);

impl Begun {
    async fn new(server: &Server, path: &str, kind: &str, body: &[u8]) -> Self {
        let address = server.url().strip_prefix("http://").expect("it begins so");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
             hookmill-application: shop\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             expect: 100-continue\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("it is read");
        // It asks for the body once it knows whom the request is for.
        let mut go_on = [0; 25];
        timeout(PATIENCE, stream.read_exact(&mut go_on)).await.expect("in time").expect("a line");
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self(stream)
    }

    /// Sends the body; answers the status and the body of the answer.
    async fn end(self, body: &[u8]) -> (u16, Value) {
        let Self(mut stream) = self;
        stream.write_all(body).await.expect("it is read");
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
        read.expect("an answer");
        let text = String::from_utf8(answer).expect("a text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), serde_json::from_str(body).expect("JSON"))
    }
}

/// A request for an application that is deleted while it comes.
async fn too_late(server: &Server, admin: &Client, path: &str, kind: &str, body: &[u8]) {
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let begun = Begun::new(server, path, kind, body).await;
    admin.delete("/v1/applications/shop").await.expect(204);
    let (status, problem) = begun.end(body).await;
    assert_eq!(status, 404, "{path}: {problem:#}");
    let kind = problem["type"].as_str().expect("a problem has a type");
    assert!(kind.ends_with("/unknown-application"), "{problem:#}");
}

#[tokio::test]
async fn nothing_is_made_for_an_application_that_went_meanwhile() {
    let mut server = Server::start().await;
    let admin = server.client();
    admin.event_type("tick").await;
    let event = json!({"type": "tick", "payload": 1});
    let batch = json!([event]);
    let subscription = json!({"endpoint": "http://127.0.0.1:9/", "event_types": ["tick"]});
    let source = json!({"name": "hub", "kind": "github", "secret": "It's a Secret"});
    for (path, body) in
        [("/v1/events", &event), ("/v1/subscriptions", &subscription), ("/v1/sources", &source)]
    {
        too_late(&server, &admin, path, "application/json", body.to_string().as_bytes()).await;
    }
    too_late(&server, &admin, "/v1/plugins", "application/wasm", &plugin("field-filter")).await;

    // Of a batch each is told for itself.
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let body = batch.to_string();
    let begun = Begun::new(&server, "/v1/events/batch", "application/json", body.as_bytes()).await;
    admin.delete("/v1/applications/shop").await.expect(204);
    let (status, answer) = begun.end(body.as_bytes()).await;
    assert_eq!((status, &answer["data"][0]["status"]), (200, &json!(404)), "{answer:#}");

    let database = server.folder().join("hookmill.db");
    server.stop().await;
    let check = Command::new(binary()).args(["check", "--database"]).arg(&database).output();
    let check = check.expect("it runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
