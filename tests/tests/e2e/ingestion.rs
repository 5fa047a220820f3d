//! Payloads that are not JSON, batches by the line, and bodies that come packed.

use std::{fs, io::Write, process::Command};

use hookmill_tests::{ADMIN_KEY, Receiver, Server, binary, plugin};
use serde_json::json;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[tokio::test]
async fn an_event_type_takes_the_kinds_of_payload_it_names() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    let kind = json!({"name": "invoice.sent", "content_types": ["text/*"]});
    let made = client.post("/v1/event-types", &kind).await.expect(201);
    assert_eq!(made["content_types"], json!(["text/*"]));
    client.subscribe(&receiver.url("/i"), &["invoice.*"], &json!([])).await;

    let body = "<invoice no='7'/>\r\n";
    let xml = [("content-type", "text/xml; charset=utf-8")];
    let path = "/v1/events?type=invoice.sent&subject=invoices%2F7&id=7";
    let first = client.send("POST", path, &xml, body).await.expect(202);
    let again = client.send("POST", path, &xml, body).await;
    assert_eq!(again.expect(202)["id"], first["id"]);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let text = json!({"type": "invoice.sent", "payload_text": body, "content_type": "text/xml"});
    client.post("/v1/events", &text).await.expect(202);
    let arrived = receiver.wait("/i", 2).await;
    assert!(arrived.iter().all(|received| received.body == body));
    let mut kinds: Vec<&str> = arrived.iter().map(|r| r.header("content-type")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["text/xml", "text/xml; charset=utf-8"]);

    let id = first["id"].as_str().unwrap();
    let shown = client.get(&format!("/v1/events/{id}")).await.expect(200);
    assert_eq!((&shown["payload"], &shown["subject"]), (&json!(body), &json!("invoices/7")));
    let payload = client.get(&format!("/v1/events/{id}/payload")).await;
    assert_eq!(payload.headers["content-type"], "text/xml; charset=utf-8");
    assert_eq!(payload.body, body);
    let delivery = client.delivery_in(id, &["succeeded"]).await;
    assert_eq!(delivery["sent"]["content_type"], "text/xml; charset=utf-8");

    let json = client.post("/v1/events", &json!({"type": "invoice.sent", "payload": {}})).await;
    assert_eq!((json.status, json.problem().as_str()), (415, "payload-type"));
    let change = json!({"content_types": ["application/json", "text/xml"]});
    client.patch("/v1/event-types/invoice.sent", &change).await.expect(200);
    client.publish("invoice.sent", &json!({})).await;
    for bad in
        [json!([]), json!(["text"]), json!(["text/xml; charset=utf-8"]), json!(vec!["a/b"; 21])]
    {
        let answer =
            client.patch("/v1/event-types/invoice.sent", &json!({"content_types": bad})).await;
        assert_eq!(answer.problem(), "invalid-field");
    }
}

#[tokio::test]
async fn a_plugin_finds_nothing_in_what_is_not_json_and_nothing_breaks() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    let kind = json!({"name": "t", "content_types": ["*/*"]});
    client.post("/v1/event-types", &kind).await.expect(201);
    client.upload(plugin("field-filter")).await.expect(201);
    let step = json!([{"plugin": "field-filter", "config": {"pass_if": {"at": "/total", "greater_or_equal": 100}}, "on_error": "drop"}]);
    client.subscribe(&receiver.url("/t"), &["t"], &step).await;
    // The same bytes are a number at a pointer only where they are JSON, learned or not.
    for _ in 0..5 {
        for (content_type, body) in [
            ("text/plain", &br#"{"total":500}"#[..]),
            ("application/octet-stream", &b"\xff\x00"[..]),
            ("application/json", br#"{"total":1}"#),
        ] {
            let headers = [("content-type", content_type)];
            let event = client.send("POST", "/v1/events?type=t", &headers, body).await.expect(202);
            client.delivery_in(event["id"].as_str().unwrap(), &["filtered", "dead"]).await;
        }
        client.publish("t", &json!({"total": 500})).await;
    }
    let arrived = receiver.wait("/t", 5).await;
    assert!(arrived.iter().all(|received| received.body == r#"{"total":500}"#));
    assert!(arrived.iter().all(|received| received.header("content-type") == "application/json"));
}

#[tokio::test]
async fn a_bad_line_spoils_no_other() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("t").await;
    let lines = b"{\"type\":\"t\",\"payload\":1}\r\n\n{\"type\":\"t\",\"payl\n\xff\xfe\n{\"type\":\"t\",\"payload\":2}";
    for kind in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        let headers = [("content-type", kind), ("idempotency-key", "night-1")];
        let answer =
            client.send("POST", "/v1/events/batch", &headers, lines.to_vec()).await.expect(200);
        let statuses: Vec<_> =
            answer["data"].as_array().unwrap().iter().map(|i| &i["status"]).collect();
        assert_eq!(statuses, [202, 400, 400, 202]);
        assert_eq!(answer["data"][0]["replayed"].as_bool().is_some(), kind.contains("jsonl"));
    }
    let many = "{}\n".repeat(501);
    let headers = [("content-type", "application/x-ndjson")];
    let answer = client.send("POST", "/v1/events/batch", &headers, many).await;
    assert_eq!(answer.problem(), "batch-too-large");
}

#[tokio::test]
async fn a_batch_is_stored_and_delivered_in_its_order_whatever_takes_long_to_check() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    let alternatives: Vec<_> = (0..200).map(|n| json!({"const": n})).collect();
    let schema = json!({"properties": {"many": {"items": {"anyOf": alternatives}}}});
    client.post("/v1/event-types", &json!({"name": "dear", "schema": schema})).await.expect(201);
    client.event_type("light").await;
    let (id, _) = client.subscribe(&receiver.url("/b"), &["*"], &json!([])).await;
    let strict = json!({"policy": {"ordering": "strict"}});
    client.patch(&format!("/v1/subscriptions/{id}"), &strict).await.expect(200);

    let event = |n: usize| match n % 4 {
        0 => json!({"type": "dear", "payload": {"n": n, "many": vec![199; 40]}}),
        // Refused, one after a long check and one before any.
        1 if n % 8 == 1 => json!({"type": "dear", "payload": {"n": n, "many": vec![200; 40]}}),
        2 if n % 8 == 2 => json!({"type": "absent", "payload": {"n": n}}),
        _ => json!({"type": "light", "payload": {"n": n}}),
    };
    let events: Vec<_> = (0..80).map(event).collect();
    let answer = client.post("/v1/events/batch", &json!({"events": events})).await.expect(200);
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(60), &json!(20)));
    let taken = answer["data"].as_array().unwrap().iter().filter(|item| item["status"] == 202);
    let ids: Vec<_> = taken.map(|item| item["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:#?}");
    let page = client.get("/v1/events?limit=100").await.expect(200);
    let listed = page["data"].as_array().unwrap().iter().rev();
    assert_eq!(listed.map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    let arrived = receiver.wait("/b", 60).await;
    let places: Vec<_> = arrived.iter().map(|r| r.json()["n"].as_u64().unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn packed_bodies_are_unpacked_and_bombs_are_not() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("t").await;
    let event = br#"{"type":"t","payload":{"n":19.90}}"#;
    let send = async |path: &str, encoding: &str, body: Vec<u8>| {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        client.send("POST", path, &headers, body).await
    };
    for (encoding, body) in
        [("gzip", gzip(event)), ("zstd", zstd::encode_all(&event[..], 3).unwrap())]
    {
        let accepted = send("/v1/events", encoding, body.clone()).await.expect(202);
        let path = format!("/v1/events/{}/payload", accepted["id"].as_str().unwrap());
        assert_eq!(client.get(&path).await.body, r#"{"n":19.90}"#);
        let short = send("/v1/events", encoding, body[..body.len() - 3].to_vec()).await;
        assert_eq!((short.status, short.problem().as_str()), (400, "unreadable-body"));
    }
    let other = send("/v1/events", "br", event.to_vec()).await;
    assert_eq!((other.status, other.problem().as_str()), (415, "unknown-encoding"));
    assert_eq!(other.headers["accept-encoding"], "gzip, zstd, identity");

    // A gigabyte in a few kilobytes, packed twice as zstd packs what repeats.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(20).unwrap();
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    let before = resident(server.pid());
    for path in ["/v1/events", "/v1/events/batch"] {
        let answer = send(path, "zstd", bomb.clone()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (413, "body-too-large"));
        let answer = send(path, "gzip", gzip(&vec![b' '; 64 << 20])).await;
        assert_eq!(answer.status, 413);
    }
    let grown = resident(server.pid()).saturating_sub(before);
    assert!(grown < 64 << 10, "the server grew by {grown} KiB");
}

/// What a process has in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn the_command_line_sends_files_as_they_are() {
    let server = Server::start().await;
    let client = server.client();
    let hookmill = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.args(args).env("HOOKMILL_URL", server.url()).env("HOOKMILL_KEY", ADMIN_KEY);
        let output = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    };
    hookmill(&["event-type", "create", "photo", "--content-type", "image/*"]);
    let file = server.folder().join("photo.png");
    fs::write(&file, [0x89, b'P', 0xff, 0]).unwrap();
    let said = hookmill(&["send", "photo", file.to_str().unwrap(), "--content-type", "image/png"]);
    let id = said.split_whitespace().next().unwrap();
    let payload = client.get(&format!("/v1/events/{id}/payload")).await;
    assert_eq!(payload.body.as_ref(), [0x89, b'P', 0xff, 0]);
    assert_eq!(payload.headers["content-type"], "image/png");
    let shown = hookmill(&["events", "show", id]);
    assert!(shown.contains("image/png") && !shown.contains("payload_base64"), "{shown}");
    hookmill(&["event-type", "update", "photo", "--content-type", "application/json"]);
    hookmill(&["send", "photo", "--data", "{}"]);
}
