//! What was tampered with is refused, whatever was done to it.

use std::collections::HashSet;

use hookmill_tests::{Receiver, Server};
use serde_json::json;

use super::{
    Headers, changed, fresh, now, owned,
    parties::{Party, parties},
    post, without,
};

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
            // Two Authorization headers are refused before anybody asks what they are for.
            let is_double = party.signature == "authorization" && what.contains("twice");
            let expected =
                if is_double { (400, "invalid-header") } else { (401, "unverified-request") };
            let said = String::from_utf8_lossy(&answer.body);
            assert_eq!((answer.status, answer.problem().as_str()), expected, "{what}: {said}");
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
