//! Sources: requests signed as each third party's documentation says are taken, and delivered on;
//! each tampered one is refused.
//!
//! The signatures are made here, by other code than the server's.

use std::{
    collections::{HashMap, HashSet},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use hookmill_tests::{ADMIN_KEY, Answer, Client, Receiver, Server, binary, github_events, plugin};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

const SECRET: &str = "It's a Secret to Everybody";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Headers = Vec<(String, String)>;

fn mac<M: KeyInit + Mac>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac::<Hmac<Sha256>>(key, parts)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A number for each delivery.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn owned(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A third party: how its source is made, and how it signs.
struct Party {
    kind: &'static str,
    settings: Value,
    secret: &'static str,
    /// Another secret of the form that the kind takes.
    other: &'static str,
    signature: &'static str,
    /// The header with the signed time; Stripe's is in its signature.
    stamp: Option<&'static str>,
    /// Headers without which a signed request cannot be taken, but which prove nothing.
    named: &'static [&'static str],
    body: fn(id: u64) -> String,
    sign: fn(secret: &str, at: i64, id: u64, body: &[u8]) -> Headers,
    event_type: &'static str,
}

fn github_headers(secret: &str, _: i64, id: u64, body: &[u8]) -> Headers {
    let signature = format!("sha256={}", hex(&sha256(secret.as_bytes(), &[body])));
    owned(&[
        ("content-type", "application/json"),
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("x-github-event", "issues"),
        ("x-github-delivery", &format!("72d3162e-cc78-11e3-81ab-{id:012x}")),
        ("x-hub-signature-256", &signature),
    ])
}

fn stripe_headers(secret: &str, at: i64, _: u64, body: &[u8]) -> Headers {
    let own = hex(&sha256(secret.as_bytes(), &[at.to_string().as_bytes(), b".", body]));
    let rolled = hex(&sha256(b"whsec_of_another_endpoint", &[b"0.", body]));
    let value = format!("t={at},v1={rolled},v1={own},v0={rolled}");
    owned(&[("content-type", "application/json; charset=utf-8"), ("stripe-signature", &value)])
}

fn shopify_headers(secret: &str, _: i64, id: u64, body: &[u8]) -> Headers {
    let signature = STANDARD.encode(sha256(secret.as_bytes(), &[body]));
    owned(&[
        ("content-type", "application/json"),
        ("x-shopify-topic", "orders/create"),
        ("x-shopify-shop-domain", "shop.myshopify.com"),
        ("x-shopify-webhook-id", &format!("b54557e4-bdd9-4b37-8a5f-{id:012x}")),
        ("x-shopify-hmac-sha256", &signature),
    ])
}

fn slack_headers(secret: &str, at: i64, _: u64, body: &[u8]) -> Headers {
    let at = at.to_string();
    let signature =
        format!("v0={}", hex(&sha256(secret.as_bytes(), &[b"v0:", at.as_bytes(), b":", body])));
    owned(&[
        ("content-type", "application/json"),
        ("x-slack-request-timestamp", &at),
        ("x-slack-signature", &signature),
    ])
}

fn standard_headers(secret: &str, at: i64, id: u64, body: &[u8]) -> Headers {
    let key = STANDARD.decode(&secret["whsec_".len()..]).expect("it is base64");
    let (id, at) = (format!("msg_{id}"), at.to_string());
    let signed = sha256(&key, &[id.as_bytes(), b".", at.as_bytes(), b".", body]);
    owned(&[
        ("content-type", "application/json"),
        ("webhook-id", &id),
        ("webhook-timestamp", &at),
        ("webhook-signature", &format!("v1,{}", STANDARD.encode(signed))),
    ])
}

fn hmac_headers(secret: &str, at: i64, id: u64, body: &[u8]) -> Headers {
    let (id, at) = (id.to_string(), at.to_string());
    let parts: [&[u8]; 5] = [id.as_bytes(), b"/", at.as_bytes(), b"/", body];
    let signed = mac::<Hmac<Sha512>>(secret.as_bytes(), &parts);
    owned(&[
        ("content-type", "application/vnd.acme+json"),
        ("x-acme-id", &id),
        ("x-acme-time", &at),
        ("x-acme-sign", &format!("acme={}", STANDARD.encode(signed))),
    ])
}

fn basic_headers(secret: &str, _: i64, _: u64, _: &[u8]) -> Headers {
    let credentials = STANDARD.encode(format!("acme:{secret}"));
    owned(&[
        ("content-type", "application/json"),
        ("authorization", &format!("Basic {credentials}")),
    ])
}

fn parties() -> Vec<Party> {
    let plain = json!({"unknown_event_types": "create"});
    vec![
        Party {
            kind: "github",
            settings: plain.clone(),
            secret: SECRET,
            other: "another",
            signature: "x-hub-signature-256",
            stamp: None,
            named: &["x-github-event", "x-github-delivery"],
            body: |id| format!(r#"{{"action":"opened","issue":{{"number":{id}}}}}"#),
            sign: github_headers,
            event_type: "github.issues",
        },
        Party {
            kind: "stripe",
            settings: plain.clone(),
            secret: "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH",
            other: "whsec_another",
            signature: "stripe-signature",
            stamp: None,
            named: &[],
            body: |id| format!("{{\n  \"id\": \"evt_{id}\",\n  \"type\": \"charge.succeeded\"\n}}"),
            sign: stripe_headers,
            event_type: "stripe.charge.succeeded",
        },
        Party {
            kind: "shopify",
            settings: plain.clone(),
            secret: "hush",
            other: "another",
            signature: "x-shopify-hmac-sha256",
            stamp: None,
            named: &["x-shopify-topic", "x-shopify-webhook-id"],
            body: |id| format!(r#"{{"id":{id},"total_price":"19.90"}}"#),
            sign: shopify_headers,
            event_type: "shopify.orders.create",
        },
        Party {
            kind: "slack",
            settings: plain,
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            other: "another",
            signature: "x-slack-signature",
            stamp: Some("x-slack-request-timestamp"),
            named: &[],
            body: |id| {
                format!(
                    r#"{{"type":"event_callback","event_id":"Ev{id}","event":{{"type":"app_mention"}}}}"#
                )
            },
            sign: slack_headers,
            event_type: "slack.app_mention",
        },
        Party {
            kind: "standard_webhooks",
            settings: json!({"unknown_event_types": "create",
                "event_type": {"pointers": ["/type"], "prefix": "clerk"}}),
            secret: WHSEC,
            other: "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
            signature: "webhook-signature",
            stamp: Some("webhook-timestamp"),
            named: &[],
            body: |id| format!(r#"{{"type":"invoice.paid","data":{{"id":{id}}}}}"#),
            sign: standard_headers,
            event_type: "clerk.invoice.paid",
        },
        Party {
            kind: "hmac",
            settings: json!({
                "hmac": {"header": "X-Acme-Sign", "algorithm": "sha512", "encoding": "base64",
                    "prefix": "acme=", "content": "{id}/{timestamp}/{body}",
                    "timestamp_header": "X-Acme-Time", "id_header": "X-Acme-Id"},
                "event_type": {"pointers": ["/what/kind"], "prefix": "acme"},
                "unknown_event_types": "create"}),
            secret: "sesame",
            other: "another",
            signature: "x-acme-sign",
            stamp: Some("x-acme-time"),
            named: &[],
            body: |id| format!(r#"{{"what":{{"kind":"urn:part made"}},"id":{id}}}"#),
            sign: hmac_headers,
            event_type: "acme.urn.part_made",
        },
        Party {
            kind: "basic",
            settings: json!({"username": "acme", "event_type": {"fixed": "acme.thing"},
                "delivery_id": {"pointers": ["/id"]}, "unknown_event_types": "create"}),
            secret: "open: sesame",
            other: "another",
            signature: "authorization",
            stamp: None,
            named: &[],
            body: |id| format!(r#"{{"id":{id}}}"#),
            sign: basic_headers,
            event_type: "acme.thing",
        },
    ]
}

impl Party {
    /// Makes its source; answers its id.
    async fn source(&self, client: &Client) -> String {
        let mut body = self.settings.clone();
        body["name"] = self.kind.replace('_', "-").into();
        body["kind"] = self.kind.into();
        body["secret"] = self.secret.into();
        let answer = client.post("/v1/sources", &body).await;
        let made = answer.expect(201);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(self.secret), "{text}");
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Whether its signature leaves the body out.
    fn is_basic(&self) -> bool {
        self.kind == "basic"
    }
}

async fn post(
    client: &Client,
    source: &str,
    headers: &Headers,
    body: impl Into<Vec<u8>>,
) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let anybody = client.with_key(None);
    anybody.send("POST", &format!("/in/{source}"), &headers, body.into()).await
}

fn changed(headers: &Headers, name: &str, change: impl Fn(&str) -> String) -> Headers {
    let mut headers = headers.clone();
    for (_, value) in headers.iter_mut().filter(|(known, _)| known == name) {
        *value = change(value);
    }
    headers
}

fn without(headers: &Headers, name: &str) -> Headers {
    headers.iter().filter(|(known, _)| known != name).cloned().collect()
}

/// With one letter or digit from the end replaced by another.
fn flipped(value: &str, from_end: usize) -> String {
    let mut bytes = value.as_bytes().to_vec();
    let at = bytes.len() - from_end;
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    String::from_utf8(bytes).expect("it was ASCII")
}

/// Every way to tamper with a request, each with what was done.
fn tampered(party: &Party) -> Vec<(String, Headers, String)> {
    let id = fresh();
    let (body, then) = ((party.body)(id), now());
    let good = (party.sign)(party.secret, then, id, body.as_bytes());
    let mut all: Vec<(String, Headers, String)> = Vec::new();
    let mut add = |what: &str, headers: Headers, body: &str| {
        all.push((format!("{}: {what}", party.kind), headers, body.to_owned()));
    };
    let name = party.signature;
    add("the signature is missing", without(&good, name), &body);
    add("the signature is empty", changed(&good, name, |_| String::new()), &body);
    let twice =
        [good.clone(), vec![good.iter().find(|(n, _)| n == name).expect("it is signed").clone()]]
            .concat();
    add("the signature is there twice", twice, &body);
    let another = (party.sign)(party.other, then, id, body.as_bytes());
    add("another secret", another, &body);
    // The end of Stripe's is a signature of a version that nobody reads, and base64 ends with
    // padding.
    let end = if party.kind == "stripe" { 80 } else { 6 };
    add("a letter of the signature", changed(&good, name, |v| flipped(v, end)), &body);
    add("half a signature", changed(&good, name, |v| v[..v.len() / 2].into()), &body);
    add("another form", changed(&good, name, |v| v.replacen(['=', ',', ' '], "-", 1)), &body);
    if !party.is_basic() {
        let mut bit = body.clone().into_bytes();
        *bit.last_mut().expect("there is a body") ^= 1;
        add("a bit of the body", good.clone(), std::str::from_utf8(&bit).expect("it was ASCII"));
        add("a space after the body", good.clone(), &format!("{body} "));
        add("no body", good.clone(), "");
        let old = (party.sign)(party.secret, then - 301, id, body.as_bytes());
        let new = (party.sign)(party.secret, then + 400, id, body.as_bytes());
        if old != good {
            add("signed five minutes ago", old, &body);
            add("signed in the future", new, &body);
        }
    }
    if let Some(stamp) = party.stamp {
        add("the time is missing", without(&good, stamp), &body);
        add("another time", changed(&good, stamp, |v| flipped(v, 1)), &body);
        add("a time that is none", changed(&good, stamp, |_| "now".into()), &body);
        let twice = [good.clone(), owned(&[(stamp, "1")])].concat();
        add("the time is there twice", twice, &body);
    }
    let upper = |v: &str| match v.split_once('=') {
        Some((start, rest)) => format!("{start}={}", rest.to_uppercase()),
        None => v.to_uppercase(),
    };
    match party.kind {
        "github" => {
            add("upper case", changed(&good, name, upper), &body);
            let old = changed(&good, name, |v| v.replace("sha256=", "sha1="));
            add("another algorithm", old, &body);
            let hex = good.iter().find(|(n, _)| n == name).expect("it is signed").1.clone();
            let moved = [without(&good, name), vec![("x-hub-signature".into(), hex)]].concat();
            add("the header of old", moved, &body);
        }
        "slack" => {
            add("upper case", changed(&good, name, upper), &body);
            add("another version", changed(&good, name, |v| v.replace("v0=", "v1=")), &body);
        }
        "stripe" => {
            add("another version", changed(&good, name, |v| v.replace("v1=", "v2=")), &body);
            let later =
                changed(&good, name, |v| v.replacen(&then.to_string(), &(then + 1).to_string(), 1));
            add("another time", later, &body);
            add(
                "no time",
                changed(&good, name, |v| v.split_once(',').map_or("", |(_, rest)| rest).into()),
                &body,
            );
        }
        "standard_webhooks" => {
            add("another id", changed(&good, "webhook-id", |_| "msg_other".into()), &body);
            add("another version", changed(&good, name, |v| v.replace("v1,", "v2,")), &body);
            add("no id", without(&good, "webhook-id"), &body);
        }
        "hmac" => add("another id", changed(&good, "x-acme-id", |_| "7".into()), &body),
        _ => {}
    }
    all
}

#[tokio::test]
async fn every_third_partys_requests_are_taken_and_delivered_and_tampered_ones_refused() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.subscribe(&receiver.url("/hook"), &["**"], &json!([])).await;
    let mut sent = Vec::new();
    for party in parties() {
        let source = party.source(&client).await;
        let id = fresh();
        let body = (party.body)(id);
        let headers = (party.sign)(party.secret, now(), id, body.as_bytes());
        let taken = post(&client, &source, &headers, body.clone()).await.expect(200);
        assert_eq!(taken["type"], party.event_type, "{}", party.kind);
        assert_eq!(taken["repeated"], false);
        // The third party repeats what it got no answer to, signed anew.
        let again = (party.sign)(party.secret, now() - 60, id, body.as_bytes());
        let repeated = post(&client, &source, &again, body.clone()).await.expect(200);
        assert_eq!((&repeated["id"], &repeated["repeated"]), (&taken["id"], &json!(true)));
        let event = client.get(&format!("/v1/events/{}", taken["id"].as_str().unwrap())).await;
        assert!(event.expect(200)["producer_id"].is_string(), "{}", party.kind);
        sent.push(body);

        for (what, headers, body) in tampered(&party) {
            let answer = post(&client, &source, &headers, body).await;
            assert_eq!(answer.status, 401, "{what}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(answer.problem(), "unverified-request", "{what}");
        }
        for name in party.named {
            let (id, body) = (fresh(), (party.body)(0));
            let headers = (party.sign)(party.secret, now(), id, body.as_bytes());
            let answer = post(&client, &source, &without(&headers, name), body.clone()).await;
            assert_eq!(answer.problem(), "unmappable-request", "{name}");
            let twice = [headers, owned(&[(name, "x")])].concat();
            assert_eq!(post(&client, &source, &twice, body).await.problem(), "unmappable-request");
        }
        let refusals = client.get(&format!("/v1/sources/{source}/refusals")).await.expect(200);
        let text = refusals.to_string();
        assert!(text.contains("no_match") && !text.contains("opened"), "{text}");
    }
    let delivered = receiver.wait("/hook", sent.len()).await;
    let delivered: HashSet<_> = delivered.iter().map(|r| r.body.to_vec()).collect();
    let expected: HashSet<_> = sent.into_iter().map(String::into_bytes).collect();
    assert_eq!(delivered, expected, "what was delivered is byte for byte what came in");
    let events = client.get("/v1/events").await.expect(200);
    assert_eq!(events["data"].as_array().unwrap().len(), expected.len());
}

#[tokio::test]
async fn githubs_own_payloads_go_through_as_json_and_as_forms() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.subscribe(&receiver.url("/github"), &["github.**"], &json!([])).await;
    let made = json!({"name": "github", "kind": "github", "unknown_event_types": "create",
        "event_type": {"header": "x-github-event", "prefix": "github", "suffix": "/action"},
        "subject": "/repository/full_name"});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let (source, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let mut expected = HashMap::new();
    for (name, payload) in github_events() {
        let text = payload.to_string();
        let form = expected.len() % 2 == 1;
        let body = if form {
            let bytes = text.bytes().map(|byte| format!("%{byte:02X}"));
            format!("payload={}", bytes.collect::<String>())
        } else {
            text.clone()
        };
        let mut headers = github_headers(secret, 0, fresh(), body.as_bytes());
        headers = changed(&headers, "x-github-event", |_| name["github.".len()..].into());
        if form {
            let kind = |_: &str| "application/x-www-form-urlencoded".into();
            headers = changed(&headers, "content-type", kind);
        }
        let taken = post(&client, source, &headers, body).await.expect(200);
        let action = payload["action"].as_str().map(|action| format!(".{action}"));
        assert_eq!(taken["type"], format!("{name}{}", action.unwrap_or_default()));
        *expected.entry(text.into_bytes()).or_insert(0) += 1;
    }
    let count = expected.values().sum();
    assert!(count > 300, "{count}");
    let mut delivered = HashMap::new();
    for received in receiver.wait("/github", count).await {
        *delivered.entry(received.body.to_vec()).or_insert(0) += 1;
    }
    assert!(delivered == expected, "what was delivered is byte for byte what came in");
}

#[tokio::test]
async fn a_secret_is_rotated_without_a_request_lost() {
    let server = Server::start().await;
    let client = server.client();
    let party = parties().remove(0);
    let source = party.source(&client).await;
    let send = async |secret: &str| {
        let id = fresh();
        let body = (party.body)(id);
        let headers = (party.sign)(secret, now(), id, body.as_bytes());
        post(&client, &source, &headers, body).await.status
    };
    let path = format!("/v1/sources/{source}/secrets");
    assert_eq!((send(SECRET).await, send("second").await), (200, 401));
    let add = json!({"secret": "second", "others_expire_in_seconds": 3600});
    let second = client.post(&path, &add).await.expect(201);
    assert_eq!((send(SECRET).await, send("second").await), (200, 200));
    let shown = client.get(&format!("/v1/sources/{source}")).await.expect(200);
    assert_eq!(shown["secrets"].as_array().unwrap().len(), 2);
    assert!(shown["secrets"][1]["expires_at"].is_string());
    let third = client.post(&path, &json!({"others_expire_in_seconds": 0})).await.expect(201);
    let made = third["secret"].as_str().unwrap();
    assert_eq!((send(SECRET).await, send("second").await, send(made).await), (401, 401, 200));
    let gone = format!("{path}/{}", second["id"].as_str().unwrap());
    client.delete(&gone).await.expect(404);
    client.delete(&format!("{path}/{}", third["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(send(made).await, 401);
    let refusals = client.get(&format!("/v1/sources/{source}/refusals")).await.expect(200);
    assert_eq!(refusals["data"][0]["reason"], "no_secret");
}

#[tokio::test]
async fn what_was_answered_with_200_survives_kill_9() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.subscribe(&receiver.url("/hook"), &["github.*"], &json!([])).await;
    let source = parties().remove(0).source(&client).await;
    let mut taken = HashSet::new();
    for _ in 0..5 {
        let mut sending = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (client, source) = (server.client().with_key(None), source.clone());
            sending.spawn(async move {
                let id = fresh();
                let body = format!("{{\"n\":{id}}}");
                let headers = github_headers(SECRET, 0, id, body.as_bytes());
                let headers: Vec<_> =
                    headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let path = format!("/in/{source}");
                let sent = client.try_send("POST", &path, &headers, body).await;
                sent.is_ok_and(|answer| answer.status == 200).then_some(id)
            });
        }
        // Kill it when some are answered and others are not.
        for _ in 0..10 {
            taken.extend(sending.join_next().await.unwrap().unwrap());
        }
        server.kill().await;
        while let Some(done) = sending.join_next().await {
            taken.extend(done.unwrap());
        }
        server.restart().await;
    }
    assert!(taken.len() >= 50, "{}", taken.len());
    let all = |received: &[hookmill_tests::Received]| {
        let arrived: HashSet<_> = received.iter().filter_map(|r| r.json()["n"].as_u64()).collect();
        taken.is_subset(&arrived)
    };
    receiver.wait_until("/hook", all).await;
    // The source and its secret are still there, and so are the ids it took.
    let first = *taken.iter().next().unwrap();
    let body = format!("{{\"n\":{first}}}");
    let headers = github_headers(SECRET, 0, first, body.as_bytes());
    let repeated = post(&server.client(), &source, &headers, body).await.expect(200);
    assert_eq!(repeated["repeated"], true);
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_to_both_sides() {
    let server = Server::start_with(&[("MAX_BODY_BYTES", "10000")]).await;
    let client = server.client();
    let made = json!({"name": "slack", "kind": "slack", "secret": "s"});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let source = made["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sources/{source}");
    let send = async |body: &str, kind: &str| {
        let headers = slack_headers("s", now(), 0, body.as_bytes());
        let headers = changed(&headers, "content-type", |_| kind.into());
        post(&client, &source, &headers, body).await
    };
    let json = "application/json";
    let asked = r#"{"type":"url_verification","challenge":"3eZbrw1aB","token":"x"}"#;
    let challenge = send(asked, json).await;
    assert_eq!((challenge.status, &challenge.body[..]), (200, &b"3eZbrw1aB"[..]));
    let unsigned = post(&client, &source, &owned(&[("content-type", json)]), asked).await;
    assert_eq!(unsigned.problem(), "unverified-request");

    let event = r#"{"type":"event_callback","event_id":"Ev7","event":{"type":"message"}}"#;
    assert_eq!(send(event, json).await.problem(), "unknown-event-type");
    assert_eq!(send("{\"type\":", json).await.problem(), "malformed-payload");
    assert_eq!(send("[]", json).await.problem(), "unmappable-request");
    assert_eq!(send(r#"{"type":"hookmill"}"#, json).await.problem(), "unknown-event-type");
    assert_eq!(send("<a/>", "application/xml").await.problem(), "wrong-content-type");
    assert_eq!(send(&"x".repeat(10_001), json).await.problem(), "body-too-large");
    let form = "application/x-www-form-urlencoded";
    assert_eq!(send("command=%2Fdeploy", form).await.problem(), "wrong-content-type");
    let list = client.get(&format!("{path}/refusals")).await.expect(200);
    let reasons: Vec<_> = list["data"].as_array().unwrap().iter().collect();
    let unknown = reasons.iter().find(|r| r["delivery_id"] == "Ev7").unwrap();
    assert_eq!(unknown["reason"], "unknown_event_type");
    assert_eq!(
        (&unknown["verified"], &unknown["event_type"]),
        (&json!(true), &json!("slack.message"))
    );

    client.patch(&path, &json!({"unknown_event_types": "ignore"})).await.expect(200);
    assert_eq!(send(event, json).await.expect(200)["id"], Value::Null);
    client.event_type("slack.message").await;
    assert!(send(event, json).await.expect(200)["id"].is_string());
    client.patch(&path, &json!({"unknown_event_types": "create"})).await.expect(200);
    let interactive =
        "payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221.2%22%7D";
    assert_eq!(send(interactive, form).await.expect(200)["type"], "slack.block_actions");
    client.get("/v1/event-types/slack.block_actions").await.expect(200);

    // Whoever has no secret cannot tell whether there is such a source.
    let bad = slack_headers("other", now(), 0, event.as_bytes());
    let there = post(&client, &source, &bad, event).await;
    let absent = ["src_01jd8xq3m5e7r9t0v2w4y6z8ab", "x", "evt_01jd8xq3m5e7r9t0v2w4y6z8ab"];
    for absent in absent {
        let not_there = post(&client, absent, &bad, event).await;
        assert_eq!((not_there.status, not_there.json()), (there.status, there.json()));
        assert_eq!(not_there.headers["www-authenticate"], there.headers["www-authenticate"]);
    }
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for outcome in ["accepted", "ignored", "challenge", "no_match", "unknown_event_type"] {
        let series =
            format!("hookmill_source_requests_total{{kind=\"slack\",outcome=\"{outcome}\"}}");
        assert!(text.contains(&series), "{series}: {text}");
    }
}

#[tokio::test]
async fn a_source_belongs_to_its_application() {
    let server = Server::start().await;
    let client = server.client();
    client.post("/v1/applications", &json!({"name": "other"})).await.expect(201);
    let source = parties().remove(0).source(&client).await;
    let path = format!("/v1/sources/{source}");
    let other = [("hookmill-application", "other"), ("content-type", "application/json")];
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("PATCH", path.clone(), "{}"),
        ("DELETE", path.clone(), ""),
        ("GET", format!("{path}/refusals"), ""),
        ("POST", format!("{path}/secrets"), "{}"),
        ("DELETE", format!("{path}/secrets/ssc_01jd8xq3m5e7r9t0v2w4y6z8ab"), ""),
    ] {
        let answer = client.send(method, &path, &other, body).await;
        assert_eq!(answer.problem(), "not-found", "{method} {path}");
    }
    let listed = client.send("GET", "/v1/sources", &other, "").await.expect(200);
    assert_eq!(listed["data"], json!([]));
    let twin = json!({"name": "github", "kind": "github"});
    assert_eq!(client.post("/v1/sources", &twin).await.problem(), "already-exists");
    client.send("POST", "/v1/sources", &other, twin.to_string()).await.expect(201);
    assert_eq!(client.delete("/v1/applications/other").await.problem(), "in-use");
    client.delete(&path).await.expect(204);
    client.get(&path).await.expect(404);
    let bad = json!({"name": "A b", "kind": "hmac", "username": "x", "tolerance_seconds": 0,
        "hmac": {"header": "a b", "content": "{id}", "timestamp_header": "x-time"},
        "event_type": {"fixed": "hookmill.x", "prefix": "a"}, "delivery_id": {}, "subject": "x"});
    let refused = client.post("/v1/sources", &bad).await;
    assert_eq!(refused.problem(), "invalid-source");
    let refused = refused.json();
    let places: Vec<_> =
        refused["errors"].as_array().unwrap().iter().map(|e| e["at"].as_str().unwrap()).collect();
    let expected = [
        "/name",
        "/tolerance_seconds",
        "/hmac/content",
        "/hmac/header",
        "/hmac/timestamp_header",
        "/username",
        "/event_type/fixed",
        "/event_type",
        "/delivery_id",
        "/subject",
    ];
    assert_eq!(places, expected);
}

#[tokio::test]
async fn the_command_line_makes_and_changes_sources() {
    let server = Server::start().await;
    let folder = server.folder().to_owned();
    std::fs::write(folder.join("whsec.txt"), format!("{WHSEC}\n")).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(binary())
            .args(arguments)
            .current_dir(&folder)
            .env("HOOKMILL_URL", server.url())
            .env("HOOKMILL_KEY", ADMIN_KEY)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let create = [
        "source",
        "create",
        "pay",
        "--kind",
        "stripe",
        "--secret",
        "@whsec.txt",
        "--unknown-types",
        "create",
        "--type-prefix",
        "pay",
    ];
    let made = run(&create);
    let id = made.split_whitespace().next().unwrap();
    assert!(made.contains(&format!("/in/{id}")) && !made.contains("whsec_"), "{made}");
    let body = r#"{"id":"evt_1","type":"charge.succeeded"}"#;
    let headers = stripe_headers(WHSEC, now(), 0, body.as_bytes());
    let taken = post(&server.client(), id, &headers, body).await.expect(200);
    assert_eq!(taken["type"], "pay.charge.succeeded");
    run(&["source", "update", id, "--type-suffix", "/livemode", "--subject", "/id"]);
    let shown = run(&["source", "show", id]);
    assert!(shown.contains("/livemode") && shown.contains("\"prefix\":\"pay\""), "{shown}");
    let added = run(&[
        "--json",
        "source",
        "add-secret",
        id,
        "--secret",
        "other",
        "--others-expire-in",
        "0",
    ]);
    let added: Value = serde_json::from_str(&added).unwrap();
    assert_eq!(post(&server.client(), id, &headers, body).await.status, 401);
    run(&["source", "remove-secret", id, added["id"].as_str().unwrap()]);
    assert!(run(&["source", "refusals", id]).contains("no_match"));
    assert!(run(&["source", "list"]).contains("stripe"));
    run(&["source", "delete", id]);
}

#[tokio::test]
async fn a_sources_own_plugins_filter_and_transform_what_becomes_an_event() {
    let mut server = Server::start().await;
    let client = server.client();
    client.upload(plugin("field-filter")).await.expect(201);
    client.upload(plugin("redact")).await.expect(201);
    let pipeline = json!([
        {"plugin": "field-filter", "config": {"pass_if": {"at": "/total", "greater": 10}}},
        {"plugin": "redact", "config": {"fields": [{"at": "/email", "action": "remove"}]}}
    ]);
    let made = json!({"name": "shop", "kind": "basic", "username": "shop", "secret": "s",
        "event_type": {"fixed": "shop.order"}, "unknown_event_types": "create",
        "pipeline": [{"plugin": "nothing"}]});
    let mut made = made;
    assert_eq!(client.post("/v1/sources", &made).await.problem(), "unknown-plugin");
    made["pipeline"] = json!([{"plugin": "field-filter", "config": {"pass": 1}}]);
    assert_eq!(client.post("/v1/sources", &made).await.problem(), "invalid-config");
    made["pipeline"] = pipeline;
    let made = client.post("/v1/sources", &made).await.expect(201);
    let source = made["id"].as_str().unwrap();
    let headers =
        owned(&[("authorization", "Basic c2hvcDpz"), ("content-type", "application/json")]);
    for _ in 0..2 {
        let client = server.client();
        let small = post(&client, source, &headers, r#"{"total":9}"#).await.expect(200);
        assert_eq!(small["id"], Value::Null);
        let body = r#"{"total": 19.90, "email":"a@example.com"}"#;
        let large = post(&client, source, &headers, body).await.expect(200);
        let path = format!("/v1/events/{}/payload", large["id"].as_str().unwrap());
        let stored = client.get(&path).await;
        assert_eq!(stored.expect(200), json!({"total": 19.9}));
        // A total that is no number fails the filter: the third party is to try again.
        let odd = post(&client, source, &headers, r#"{"total":"19.90"}"#).await;
        assert_eq!((odd.status, odd.problem().as_str()), (503, "transform-failed"));
        let list = client.get(&format!("/v1/sources/{source}/refusals")).await.expect(200);
        assert_eq!(list["data"][0]["reason"], "transform_failed");
        assert_eq!(client.delete("/v1/plugins/redact").await.problem(), "in-use");
        server.kill().await;
        server.restart().await;
    }
    let client = server.client();
    client.patch(&format!("/v1/sources/{source}"), &json!({"pipeline": []})).await.expect(200);
    client.delete("/v1/plugins/redact").await.expect(204);
    let raw = post(&client, source, &headers, r#"{"total":9}"#).await.expect(200);
    assert!(raw["id"].is_string());
}

#[tokio::test]
async fn a_signature_is_over_the_bytes_that_came_even_if_they_are_compressed() {
    let server = Server::start().await;
    let client = server.client();
    let made = json!({"name": "github", "kind": "github", "secret": SECRET});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, b"{}").expect("it is memory");
    let packed = encoder.finish().expect("it is memory");
    let of_the_packed = github_headers(SECRET, 0, fresh(), &packed);
    let of_the_text = github_headers(SECRET, 0, fresh(), b"{}");
    let id = made["id"].as_str().expect("an id");
    for (mut headers, problem) in
        [(of_the_packed, "wrong-content-type"), (of_the_text, "unverified-request")]
    {
        headers.push(("content-encoding".into(), "gzip".into()));
        assert_eq!(post(&client, id, &headers, packed.clone()).await.problem(), problem);
    }
}
