//! CloudEvents in and out, with the CloudEvents project's own SDK at both ends.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hookmill_tests::{ADMIN_KEY, Received, Receiver, Server, npm_folder};
use serde_json::{Value, json};

/// Runs a script of `tests/node` with `input`; answers what it printed.
fn node(script: &str, input: &Value) -> Value {
    let mut child = Command::new("node")
        .arg(npm_folder("node").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut stdin = child.stdin.take().expect("its input is piped");
    stdin.write_all(input.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{script} fails");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// What the SDK takes a received request for.
fn read(received: &Received) -> Value {
    let body = String::from_utf8(received.body.to_vec()).expect("the body is text");
    node("cloudevent.mjs", &json!({"headers": received.headers, "body": body}))
}

fn by_id(received: &[Received], id: impl Fn(&Received) -> String) -> BTreeMap<String, &Received> {
    received.iter().map(|each| (id(each), each)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_sends_in_every_mode_and_reads_what_is_delivered() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    let kind = json!({
        "name": "order.created",
        "content_types": ["application/json", "text/*", "application/octet-stream"],
    });
    client.post("/v1/event-types", &kind).await.expect(201);
    for (path, form) in [
        ("/raw", json!({"form": "raw"})),
        ("/structured", json!({"form": "cloudevents_structured"})),
        ("/binary", json!({"form": "cloudevents_binary"})),
    ] {
        let body = json!({
            "endpoint": receiver.url(path),
            "event_types": ["order.created"],
            "policy": {"payload": form},
        });
        client.post("/v1/subscriptions", &body).await.expect(201);
    }

    let url = format!("{}/v1/events", server.url());
    let sent = tokio::task::spawn_blocking(move || {
        node("emit.mjs", &json!({"url": url, "key": ADMIN_KEY}))
    })
    .await
    .unwrap();
    for (name, answer) in sent.as_object().unwrap() {
        let wanted = if name == "batch" { 200 } else { 202 };
        assert_eq!(answer["status"], wanted, "{name}: {answer:#}");
    }
    assert_eq!(sent["batch"]["body"]["accepted"], 3, "{:#}", sent["batch"]);
    assert_eq!(sent["repeated"]["body"]["id"], sent["structured"]["body"]["id"]);

    // Each event, in each form, once.
    let all = 9;
    let structured = receiver.wait("/structured", all).await;
    let binary = receiver.wait("/binary", all).await;
    let raw = receiver.wait("/raw", all).await;
    let structured =
        by_id(&structured, |each| each.json()["id"].as_str().unwrap_or_default().to_owned());
    let binary = by_id(&binary, |each| each.header("ce-id").to_owned());
    assert_eq!((structured.len(), binary.len(), raw.len()), (all, all, all));
    for mode in ["binary", "structured", "batch"] {
        let id = |number: u8| format!("{mode}-{number}");
        for received in [structured[&id(1)], binary[&id(1)]] {
            let event = read(received);
            let wanted = json!({
                "id": id(1), "source": "/sdk/orders", "type": "order.created",
                "subject": format!("orders/{}", id(1)), "time": "2026-11-02T03:00:00.000Z",
                "dataschema": "https://shop.example/schemas/order", "tier": "gold",
                "data": {"id": id(1), "total": 19.9, "text": "é ✓"},
            });
            for (name, value) in wanted.as_object().unwrap() {
                assert_eq!(&event[name], value, "{name} of {event:#}");
            }
        }
        for received in [structured[&id(2)], binary[&id(2)]] {
            let event = read(received);
            assert_eq!(event["data"], "<order total='19.90'/>", "{event:#}");
            assert_eq!(event["datacontenttype"], "text/xml");
        }
        assert_eq!(structured[&id(3)].json()["data_base64"], STANDARD.encode([0, 255, 7]));
        assert_eq!(binary[&id(3)].body.as_ref(), [0, 255, 7]);
        assert_eq!(binary[&id(3)].header("content-type"), "application/octet-stream");
    }
    let text = raw.iter().filter(|each| each.header("content-type") == "text/xml");
    assert_eq!(text.filter(|each| each.body == "<order total='19.90'/>").count(), 3);
}

#[tokio::test]
async fn what_is_no_cloudevent_is_refused_naming_the_attribute() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("a").await;
    let structured = [("content-type", "application/cloudevents+json")];
    for (body, at) in [
        (r#"{"specversion":"1.0","source":"/s","type":"a","data":1}"#, "/id"),
        (r#"{"specversion":"0.3","id":"1","source":"/s","type":"a","data":1}"#, "/specversion"),
        (r#"{"specversion":"1.0","id":"1","source":"/s","type":"a","Bad":1}"#, "/Bad"),
    ] {
        let answer = client.send("POST", "/v1/events", &structured, body).await;
        assert_eq!(answer.expect(400)["errors"][0]["at"], at, "{body}");
    }
    let binary = [("ce-specversion", "1.0"), ("ce-type", "a"), ("ce-id", "1")];
    let answer = client.send("POST", "/v1/events", &binary, "1").await;
    assert_eq!(answer.expect(400)["errors"][0]["at"], "ce-source");
    let xml = [("content-type", "application/cloudevents+xml")];
    assert_eq!(
        client.send("POST", "/v1/events", &xml, "<a/>").await.problem(),
        "wrong-content-type"
    );

    // Source and id are one event, whatever the mode; another source's id is another's.
    let event = |source: &str| json!({"specversion": "1.0", "id": "7", "source": source, "type": "a", "data": {"n": 1}});
    let ids = [event("/s"), event("/s"), event("/t")].map(|event| event.to_string());
    let mut got = Vec::new();
    for body in ids {
        got.push(
            client.send("POST", "/v1/events", &structured, body).await.expect(202)["id"].clone(),
        );
    }
    assert_eq!(got[0], got[1]);
    assert_ne!(got[0], got[2]);
    let other = event("/s").to_string().replace("\"n\":1", "\"n\":2");
    let answer = client.send("POST", "/v1/events", &structured, other).await;
    assert_eq!(answer.problem(), "idempotency-conflict");
    let shown = client.get(&format!("/v1/events/{}", got[0].as_str().unwrap())).await.expect(200);
    assert_eq!(shown["cloudevent"], json!({"id": "7", "source": "/s"}));
}
