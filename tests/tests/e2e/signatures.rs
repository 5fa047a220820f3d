//! Every signature scheme and payload form, checked by those who invented it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use hookmill_tests::{ADMIN_KEY, Client, Received, Receiver, Reply, Server, binary, npm_folder};
use serde_json::{Value, json};

/// Runs a script of `tests/node` with `input`; answers what it said.
fn node(script: &str, input: &Value) -> String {
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
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

fn text(received: &Received) -> String {
    String::from_utf8(received.body.to_vec()).expect("the body is text")
}

/// What the scheme's inventor says to the request, as it is and with one digit changed.
fn judged(scheme: &str, secret: &str, received: &Received) -> [String; 2] {
    let body = text(received);
    [body.clone(), body.replace('1', "2")].map(|body| {
        let headers = &received.headers;
        let input = json!({"scheme": scheme, "secret": secret, "headers": headers, "body": body});
        node("schemes.mjs", &input)
    })
}

/// Runs `hookmill` against a server.
fn hookmill(server: &Server, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(server.folder())
        .env("HOOKMILL_URL", server.url())
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .env("NO_COLOR", "1")
        .output()
        .expect("it runs")
}

async fn subscribe(client: &Client, endpoint: &str, policy: &Value) -> Value {
    let body = json!({"endpoint": endpoint, "event_types": ["tick"], "policy": policy});
    client.post("/v1/subscriptions", &body).await.expect(201)
}

#[tokio::test]
async fn those_who_invented_a_scheme_verify_what_is_sent() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let signing = json!([
        {"scheme": "standard", "header_prefix": "svix"},
        {"scheme": "standard"},
        {"scheme": "standard_asymmetric"},
        {"scheme": "github", "secret": "It's a Secret to Everybody"},
        {"scheme": "hmac", "name": "slack", "header": "x-slack-signature", "prefix": "v0=",
         "content": "v0:{timestamp}:{body}", "timestamp_header": "x-slack-request-timestamp",
         "secret": "slack-secret"},
    ]);
    let made = subscribe(&client, &receiver.url("/all"), &json!({"signing": signing})).await;
    let stripe = json!({"signing": [{"scheme": "stripe", "secret": "whsec_stripe"}]});
    subscribe(&client, &receiver.url("/stripe"), &stripe).await;
    client.publish("tick", &json!({"n": 1, "text": "é ✓"})).await;

    let all = receiver.wait("/all", 1).await.remove(0);
    let secret = made["secret"].as_str().unwrap();
    let public = made["public_keys"][0]["key"].as_str().unwrap();
    assert!(all.verifies(secret));
    for (scheme, secret) in [
        ("svix", secret),
        ("ed25519", public),
        ("github", "It's a Secret to Everybody"),
        ("slack", "slack-secret"),
    ] {
        assert_eq!(judged(scheme, secret, &all), ["verified", "refused"], "{scheme}");
    }
    let alone = receiver.wait("/stripe", 1).await.remove(0);
    assert_eq!(judged("stripe", "whsec_stripe", &alone), ["verified", "refused"]);
    assert_eq!(alone.header("webhook-signature"), "", "only what is asked for signs");
    assert_ne!(alone.header("webhook-id"), "");
}

#[tokio::test]
async fn a_secret_that_was_given_is_never_shown_and_stays_until_its_scheme_goes() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let github = |secret: Option<&str>| {
        let mut scheme = json!({"scheme": "github"});
        if let Some(secret) = secret {
            scheme["secret"] = secret.into();
        }
        json!({"signing": [{"scheme": "standard"}, scheme]})
    };
    let unknown = json!({"endpoint": receiver.url("/s"), "event_types": ["tick"],
        "policy": github(None)});
    let refused = client.post("/v1/subscriptions", &unknown).await.expect(422);
    assert_eq!(refused["errors"][0]["at"], "/policy/signing/1/secret");

    let made = subscribe(&client, &receiver.url("/s"), &github(Some("hunter2"))).await;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    assert!(!made.to_string().contains("hunter2"), "{made}");
    // A policy that is read, changed and written back keeps the secret.
    let mut policy = client.get(&path).await.expect(200)["policy"].clone();
    assert!(!policy.to_string().contains("secret"), "{policy}");
    policy["concurrency"] = 2.into();
    client.patch(&path, &json!({"policy": policy})).await.expect(200);
    client.publish("tick", &json!({"n": 1})).await;
    let arrived = receiver.wait("/s", 1).await.remove(0);
    assert_eq!(judged("github", "hunter2", &arrived), ["verified", "refused"]);

    // Rotated, the new one signs at once.
    let rotate = format!("{path}/rotate-secret");
    let body = json!({"scheme": "github", "secret": "hunter3"});
    let rotated = client.post(&rotate, &body).await.expect(200);
    assert!(rotated.get("secret").is_none(), "{rotated}");
    client.publish("tick", &json!({"n": 1})).await;
    let arrived = receiver.wait("/s", 2).await.remove(1);
    assert_eq!(judged("github", "hunter3", &arrived), ["verified", "refused"]);

    // Taken out and put in again, it has to be given again.
    client.patch(&path, &json!({"policy": {}})).await.expect(200);
    let refused = client.patch(&path, &json!({"policy": github(None)})).await.expect(422);
    assert_eq!(refused["errors"][0]["at"], "/policy/signing/1/secret");
}

#[tokio::test]
async fn a_key_pair_is_rotated_with_both_signing_for_a_while() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let signing = json!({"signing": [{"scheme": "standard_asymmetric"}]});
    let made = subscribe(&client, &receiver.url("/k"), &signing).await;
    let old = made["public_keys"][0]["key"].as_str().unwrap();
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    let rotate = format!("{path}/rotate-secret");
    let rotated = client.post(&rotate, &json!({"scheme": "standard_asymmetric"})).await.expect(200);
    let new = rotated["public_key"].as_str().unwrap();
    client.publish("tick", &json!({"n": 1})).await;
    let arrived = receiver.wait("/k", 1).await.remove(0);
    for key in [old, new] {
        assert_eq!(judged("ed25519", key, &arrived), ["verified", "refused"]);
    }
    let shown = client.get(&path).await.expect(200);
    assert_eq!(shown["public_keys"][0]["key"], new);
    assert_eq!(shown["public_keys"][1]["key"], old);
    assert!(shown["public_keys"][1]["expires_at"].is_string(), "{shown}");
    assert!(!shown.to_string().contains("whsk_"), "{shown}");
}

#[tokio::test]
async fn the_cloudevents_sdk_reads_both_forms_and_attempts_are_the_same() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    for form in ["cloudevents_structured", "cloudevents_binary"] {
        let policy = json!({"payload": {"form": form, "source": "/shop"},
            "retry": {"schedule": [0, 0]}});
        receiver.reply(&format!("/{form}"), [Reply::status(503), Reply::status(200)]);
        subscribe(&client, &receiver.url(&format!("/{form}")), &policy).await;
    }
    let event = json!({"type": "tick", "payload": {"n": 1, "text": "é ✓"}, "subject": "Ä 1%"});
    let published = client.post("/v1/events", &event).await.expect(202);
    for form in ["cloudevents_structured", "cloudevents_binary"] {
        let attempts = receiver.wait(&format!("/{form}"), 2).await;
        assert_eq!(attempts[0].body, attempts[1].body, "{form}");
        let arrived = &attempts[0];
        let input = json!({"headers": arrived.headers, "body": text(arrived)});
        let read = node("cloudevent.mjs", &input);
        let read: Value = serde_json::from_str(&read).expect("the SDK accepts it");
        assert_eq!(read["id"], published["id"], "{form}");
        assert_eq!(read["source"], "/shop");
        assert_eq!(read["type"], "tick");
        assert_eq!(read["datacontenttype"], "application/json");
        assert_eq!(read["data"], json!({"n": 1, "text": "é ✓"}));
        if form == "cloudevents_structured" {
            assert_eq!(read["subject"], "Ä 1%");
            assert_eq!(arrived.header("content-type"), "application/cloudevents+json");
        } else {
            assert_eq!(arrived.header("ce-subject"), "%C3%84%201%25");
            assert_eq!(text(arrived), event["payload"].to_string());
        }
    }
}

#[tokio::test]
async fn a_subscription_waits_for_its_endpoint_to_permit() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let policy = json!({"handshake": {"origin": "events.shop.example", "rate": 120}});
    let made = subscribe(&client, &receiver.url("/h"), &policy).await;
    assert_eq!(made["state"], "paused");
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    let asked = receiver.wait("/h", 1).await.remove(0);
    assert_eq!(asked.header("webhook-request-origin"), "events.shop.example");
    assert_eq!(asked.header("webhook-request-rate"), "120");
    let last = client.get(&format!("{path}/handshake")).await.expect(200);
    assert_eq!((&last["allowed"], &last["waiting"]), (&json!(false), &json!(true)), "{last}");
    let why = last["refused"].as_str().unwrap();
    assert!(why.contains("without a WebHook-Allowed-Origin"), "{why}");

    let event = client.publish("tick", &json!({"n": 1})).await;
    client.delivery_in(event["id"].as_str().unwrap(), &["held"]).await;
    let resumed = client.post(&format!("{path}/resume"), &json!({})).await;
    assert_eq!(resumed.problem(), "handshake-refused");

    // The endpoint has learnt to answer.
    receiver.reply(
        "/h",
        [Reply::status(200)
            .header("WebHook-Allowed-Origin", "events.shop.example")
            .header("WebHook-Allowed-Rate", "100")],
    );
    let allowed = client.post(&format!("{path}/handshake"), &json!({})).await.expect(200);
    assert_eq!((&allowed["allowed"], &allowed["rate"]), (&json!(true), &json!(100)));
    assert_eq!(client.get(&path).await.expect(200)["state"], "active");
    client.delivery_in(event["id"].as_str().unwrap(), &["succeeded"]).await;

    // Another endpoint has to be asked, too.
    receiver.reply("/other", [Reply::status(200).header("WebHook-Allowed-Origin", "no.example")]);
    let moved = client.patch(&path, &json!({"endpoint": receiver.url("/other")})).await.expect(200);
    assert_eq!(moved["state"], "paused");
    // Who asks for no handshake any more does not wait for one.
    let free = client.patch(&path, &json!({"policy": {}})).await.expect(200);
    assert_eq!(free["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_request_is_verified_on_the_command_line() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let endpoint = receiver.url("/v");
    let github = r#"{"scheme":"github","secret":"hunter2"}"#;
    let made = hookmill(
        &server,
        &[
            "subscribe",
            &endpoint,
            "--to",
            "tick",
            "--sign",
            "standard",
            "--sign",
            "standard_asymmetric",
            "--sign",
            github,
            "--json",
        ],
    );
    let made: Value = serde_json::from_slice(&made.stdout).expect("--json prints JSON");
    client.publish("tick", &json!({"n": 1})).await;
    let arrived = receiver.wait("/v", 1).await.remove(0);

    let file = |name: &str, body: &str| {
        let mut request = "POST /v HTTP/1.1\r\n".to_owned();
        for (name, value) in &arrived.headers {
            if name != "content-length" {
                request += &format!("{name}: {value}\r\n");
            }
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        std::fs::write(server.folder().join(name), request).expect("the folder can be written");
    };
    file("good.http", &text(&arrived));
    file("changed.http", &text(&arrived).replace('1', "2"));
    file("reformatted.http", "{ \"n\": 1 }");
    std::fs::write(server.folder().join("github.txt"), "hunter2\n").expect("it can be written");

    let secret = made["secret"].as_str().unwrap();
    let public = made["public_keys"][0]["key"].as_str().unwrap();
    let checked = |arguments: &[&str]| {
        let output = hookmill(&server, &[&["verify"], arguments].concat());
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("it prints text"))
    };
    for good in [
        &["--secret", secret, "--request", "good.http"][..],
        &["--secret", public, "--request", "good.http"],
        &["--scheme", "github", "--secret-file", "github.txt", "--request", "good.http"],
        &[
            "--scheme",
            "github",
            "--secret",
            "hunter2",
            "--body",
            r#"{"n":1}"#,
            "--header",
            &format!("x-hub-signature-256: {}", arrived.header("x-hub-signature-256")),
        ],
    ] {
        let (code, said) = checked(good);
        assert_eq!(code, Some(0), "{good:?}: {said}");
    }
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (bad, why) in [
        (&["--secret", secret, "--request", "changed.http"][..], "no signature matches"),
        (&["--secret", other, "--request", "good.http"], "no signature matches"),
        (&["--secret", secret, "--request", "reformatted.http"], "written without white space"),
        (
            &["--secret", secret, "--request", "good.http", "--at", "2026-01-01T00:00:00Z"],
            "in the future",
        ),
        (&["--secret", secret, "--body", "{}"], "no webhook-id header"),
        (
            &["--scheme", "stripe", "--secret", "x", "--request", "good.http"],
            "is the scheme standard?",
        ),
    ] {
        let (code, said) = checked(bad);
        assert_eq!(code, Some(1), "{bad:?}: {said}");
        assert!(said.contains(why), "{bad:?}: {said}");
    }
    assert_eq!(checked(&["--secret", "hunter2", "--request", "good.http"]).0, Some(2));
}
