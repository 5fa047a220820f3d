//! The live tail: what happens is seen as it happens, by whom it concerns.

use hookmill_tests::{ADMIN_KEY, PATIENCE, Receiver, Server, binary};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    process::Command,
    sync::watch,
    time::timeout,
};

/// A tail as a client without any library reads it.
struct Tail(Lines<BufReader<OwnedReadHalf>>);

impl Tail {
    async fn open(server: &Server, query: &str, application: &str) -> Self {
        Self::open_with(server, query, application, ADMIN_KEY).await
    }

    async fn open_with(server: &Server, query: &str, application: &str, key: &str) -> Self {
        Self::open_from(server, query, application, key, "").await
    }

    /// One that says how far it came before.
    async fn open_from(
        server: &Server,
        query: &str,
        application: &str,
        key: &str,
        last: &str,
    ) -> Self {
        use tokio::io::AsyncWriteExt;
        let address = server.url().strip_prefix("http://").expect("it begins so");
        let (reading, mut writing) =
            TcpStream::connect(address).await.expect("it begins so").into_split();
        let request = format!(
            "GET /v1/tail?{query} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
             Hookmill-Application: {application}\r\nLast-Event-ID: {last}\r\n\
             Connection: close\r\n\r\n"
        );
        writing.write_all(request.as_bytes()).await.expect("it is read");
        // The server would take the end of what is written for the end of who reads.
        std::mem::forget(writing);
        let mut tail = Self(BufReader::new(reading).lines());
        assert!(tail.line().await.expect("there is a line").ends_with("200 OK"));
        while tail.line().await.expect("there is a line") != ": watching" {}
        tail
    }

    async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.0.next_line()).await.expect("a line comes").expect("there is a line")
    }

    /// The next message that is no comment; none at the end.
    async fn next(&mut self) -> Option<Value> {
        Some(self.message().await?.1)
    }

    /// The same with its id, and what it is called.
    async fn message(&mut self) -> Option<(String, Value, String)> {
        let (mut id, mut kind, mut data) = (String::new(), String::new(), None);
        loop {
            let line = self.line().await?;
            if let Some(text) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(text).expect("it is JSON"));
            } else if let Some(text) = line.strip_prefix("id: ") {
                text.clone_into(&mut id);
            } else if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut kind);
            } else if line.is_empty()
                && let Some(data) = data.take()
            {
                return Some((id, data, kind));
            }
        }
    }
}

#[tokio::test]
async fn what_happens_is_seen_by_whom_it_concerns() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    for name in ["order.created", "user.created"] {
        client.event_type(name).await;
    }
    client.post("/v1/applications", &json!({"name": "other"})).await.expect(201);
    let given = json!({"endpoint": receiver.url("/hook"), "event_types": ["order.*"]});
    let subscription = client.post("/v1/subscriptions", &given).await.expect(201)["id"].clone();
    let mut all = Tail::open(&server, "", "default").await;
    let mut done = Tail::open(&server, "event_type=order.*&state=succeeded", "default").await;
    let mut others = Tail::open(&server, "", "other").await;

    client.publish("user.created", &json!(1)).await;
    let event = client.publish("order.created", &json!({"id": 7})).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(all.next().await.unwrap());
    }
    assert_eq!(
        (&seen[0]["kind"], &seen[0]["event_type"]),
        (&json!("event"), &json!("user.created"))
    );
    assert_eq!((&seen[1]["event_id"], &seen[1]["deliveries"]), (&event["id"], &json!(1)));
    assert_eq!(
        (&seen[2]["state"], &seen[2]["attempt"]["status"]),
        (&json!("succeeded"), &json!(200))
    );
    let delivered = done.next().await.unwrap();
    assert_eq!(delivered, seen[2], "the filter leaves out what it does not name");
    assert_eq!(delivered["subscription_id"], subscription);

    let refused = client.get("/v1/tail?state=gone").await;
    assert_eq!(refused.problem(), "invalid-query");
    // The server ends when it is told to, watched or not, and each tail with it.
    assert!(server.stop().await.success());
    assert_eq!(others.next().await, None, "another application's events are not seen");
    assert_eq!(all.next().await, None);
}

#[tokio::test]
async fn the_command_prints_a_line_for_each() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let mut command = Command::new(binary())
        .args(["tail", "--json", "--type", "order.*"])
        .env("HOOKMILL_URL", server.url())
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).take(1 << 20).lines();
    // Nothing says when the command watches: events are sent until one is seen.
    let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
    let seen = timeout(PATIENCE, async {
        loop {
            client.publish("order.created", &json!({"id": 7})).await;
            tokio::select! {
                line = lines.next_line() => return line.unwrap().unwrap(),
                _ = again.tick() => {}
            }
        }
    });
    let seen: Value = serde_json::from_str(&seen.await.expect("it prints")).unwrap();
    assert_eq!((&seen["kind"], &seen["deliveries"]), (&json!("event"), &json!(0)));
}

#[tokio::test]
async fn a_tail_ends_with_the_key_it_was_asked_for_with() {
    let server = Server::start().await;
    let admin = server.client();
    admin.event_type("tick").await;
    let key = json!({"name": "x", "application": "default", "scopes": ["read"]});
    let key = admin.post("/v1/keys", &key).await.expect(201);
    let text = key["key"].as_str().unwrap();
    let mut tail = Tail::open_with(&server, "", "default", text).await;
    admin.publish("tick", &json!(1)).await;
    assert_eq!(tail.next().await.unwrap()["kind"], "event");
    admin.delete(&format!("/v1/keys/{}", key["id"].as_str().unwrap())).await.expect(204);
    admin.publish("tick", &json!(2)).await;
    assert!(tail.next().await.is_none(), "a key that was revoked still sees what happens");
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed_and_is_told_what_nobody_has() {
    let mut server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.post("/v1/applications", &json!({"name": "other"})).await.expect(201);
    let mut tail = Tail::open(&server, "", "default").await;
    let mut beside = Tail::open(&server, "", "other").await;
    client.publish("tick", &json!(1)).await;
    let (last, _, kind) = tail.message().await.unwrap();
    assert_eq!(kind, "event");
    drop(tail);
    // Others' events neither come nor count; what happens while nobody watches is kept.
    let headers = [("content-type", "application/json"), ("hookmill-application", "other")];
    let theirs = json!({"type": "tick", "payload": 0}).to_string();
    client.send("POST", "/v1/events", &headers, theirs).await.expect(202);
    let (their_id, ..) = beside.message().await.unwrap();
    let missed = [client.publish("tick", &json!(2)).await, client.publish("tick", &json!(3)).await];
    let from = |application: &'static str, last: String| {
        let server = &server;
        async move { Tail::open_from(server, "", application, ADMIN_KEY, &last).await }
    };
    let mut back = from("default", last.clone()).await;
    let mut ids = vec![last.clone()];
    for event in &missed {
        let (id, item, _) = back.message().await.unwrap();
        assert_eq!(item["event_id"], event["id"]);
        assert!(!ids.contains(&id), "{id} is there twice");
        ids.push(id);
    }
    let count = |id: &str| id.rsplit('-').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(count(&ids[2]), count(&last) + 2, "another's event counted");
    assert_eq!(count(&their_id), 1);
    // A place in another's ring is none in one's own; nor is one of another run, nor none at all.
    let unknown = [their_id, "0".to_owned(), "\u{1f642}".to_owned()];
    for id in unknown {
        let (_, item, kind) = from("default", id).await.message().await.unwrap();
        assert_eq!((kind.as_str(), item), ("missed", json!({"missed": null})));
    }
    server.stop().await;
    server.restart().await;
    let from = Tail::open_from(&server, "", "default", ADMIN_KEY, &ids[2]);
    assert_eq!(from.await.message().await.unwrap().2, "missed");
}

/// An address that leads to the server, wherever it listens; answers its URL.
async fn way_to(server: watch::Receiver<String>) -> String {
    let door = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", door.local_addr().expect("it has an address"));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = door.accept().await {
            let address = server.borrow().trim_start_matches("http://").to_owned();
            tokio::spawn(async move {
                if let Ok(mut there) = TcpStream::connect(address).await {
                    let _broken = tokio::io::copy_bidirectional(&mut client, &mut there).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn the_command_comes_back_when_the_server_does() {
    let mut server = Server::start().await;
    server.client().event_type("tick").await;
    let (place, way) = watch::channel(server.url().to_owned());
    let url = way_to(way).await;
    let mut command = Command::new(binary())
        .args(["tail", "--json"])
        .env("HOOKMILL_URL", &url)
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).take(1 << 20).lines();
    let mut talk = BufReader::new(command.stderr.take().unwrap()).take(1 << 20).lines();
    // Nothing says when the command watches: events are sent until one is seen.
    let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
    for round in 0..2 {
        if round == 1 {
            server.kill().await;
            server.restart().await;
            place.send_replace(server.url().to_owned());
        }
        let client = server.client();
        let seen = timeout(PATIENCE, async {
            loop {
                client.publish("tick", &json!(round)).await;
                tokio::select! {
                    line = lines.next_line() => return line.unwrap().unwrap(),
                    _ = again.tick() => {}
                }
            }
        });
        let line = seen.await.expect("it prints");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["kind"], "event");
    }
    let mut said = String::new();
    while !said.contains("missed what happened meanwhile") {
        let line = timeout(PATIENCE, talk.next_line()).await.expect("it talks").unwrap();
        said.push_str(&line.expect("it says what was missed"));
    }
    assert!(said.contains("coming back"), "{said}");
}
