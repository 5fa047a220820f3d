//! What no producer sends on purpose, through every way in: it is stored as it came and
//! delivered so, or refused with a problem. Nothing else.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hookmill_tests::{Answer, Client, Receiver, Server};
use serde_json::Value;

/// A way in: its path, its headers, and what stands around the payload.
struct Route {
    name: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    before: &'static str,
    after: &'static str,
    /// Whether the payload is the whole body, the spaces around it included.
    is_whole: bool,
    /// Whether a line break ends the event.
    is_line: bool,
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

const fn route(name: &'static str, path: &'static str) -> Route {
    Route { name, path, headers: JSON, before: "", after: "", is_whole: false, is_line: false }
}

const ROUTES: &[Route] = &[
    Route { before: r#"{"type":"t","payload":"#, after: "}", ..route("single", "/v1/events") },
    Route { is_whole: true, ..route("raw", "/v1/events?type=t") },
    Route {
        before: r#"{"events":[{"type":"t","payload":"#,
        after: "}]}",
        ..route("batch", "/v1/events/batch")
    },
    Route {
        headers: &[("content-type", "application/x-ndjson")],
        before: "{\"type\":\"t\",\"payload\":\"good\"}\n{\"type\":\"t\",\"payload\":",
        after: "}\n{\"type\":\"t\",\"payload\":\"good\"}",
        is_line: true,
        ..route("lines", "/v1/events/batch")
    },
    Route {
        headers: &[("content-type", "application/cloudevents+json")],
        before: r#"{"specversion":"1.0","id":"ID","source":"/t","type":"t","data":"#,
        after: "}",
        ..route("structured", "/v1/events")
    },
    Route {
        headers: &[
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "ID"),
            ("ce-source", "/t/binary"),
            ("ce-type", "t"),
        ],
        is_whole: true,
        ..route("binary", "/v1/events")
    },
    Route {
        headers: &[("content-type", "application/cloudevents-batch+json")],
        before: r#"[{"specversion":"1.0","id":"ID","source":"/t/batch","type":"t","data":"#,
        after: "}]",
        ..route("cloudevents batch", "/v1/events")
    },
];

/// What a case must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stored,
    Refused,
}

fn stored(name: &str, payload: impl Into<Vec<u8>>) -> (String, Vec<u8>, Fate) {
    (name.to_owned(), payload.into(), Fate::Stored)
}

fn refused(name: &str, payload: impl Into<Vec<u8>>) -> (String, Vec<u8>, Fate) {
    (name.to_owned(), payload.into(), Fate::Refused)
}

const SAMPLE: &str = r#"{"a":[1,-2.50e+3,true,null,"é\u00e9\ud83d\ude00\\"],"":{"b":[{}]}}"#;

fn cases() -> Vec<(String, Vec<u8>, Fate)> {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let keys = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    let mut cases = vec![
        // Values and their spellings.
        stored("a null", "null"),
        stored("a lonely zero", "0"),
        stored("minus zero", "-0"),
        stored("minus zero with a fraction", "[-0.0,-0e1]"),
        stored("trailing zeros", "19.90000"),
        stored("exponents", "[1E5,1e+5,1e-5,0E0]"),
        stored("a number of thirty digits", "123456789012345678901234567890"),
        stored("beyond two to the 53", "[9007199254740993,-9007199254740993]"),
        stored("the bounds of 64 bits", "[18446744073709551615,-9223372036854775808]"),
        stored("beyond 64 bits", "[18446744073709551616,-9223372036854775809]"),
        stored("the largest double", "1.7976931348623157e308"),
        stored("too small for a double", "1e-400"),
        stored("a fraction of a thousand digits", format!("0.{}", "1".repeat(1000))),
        stored("the empty string", "\"\""),
        stored("the empty name", "{\"\":0}"),
        stored("names that look alike", r#"{"a":1,"A":2,"a ":3,"\u0041\u030a":4,"\u00c5":5}"#),
        stored("names of other objects", r#"{"a":{"a":1},"b":{"a":2}}"#),
        stored("names of every engine", r#"{"__proto__":{"x":1},"constructor":2,"$ref":"a"}"#),
        stored("an escaped NUL", r#"["\u0000","a\u0000b"]"#),
        stored("every escape", r#""\" \\ \/ \b \f \n \r \t \u00E9""#),
        stored("a surrogate pair", r#""\uD834\uDD1E""#),
        stored("characters that are none", r#""\uFFFF\uFDD0""#),
        stored("separators of lines", "\"\u{2028}\u{2029}\u{85}\""),
        stored("a byte order mark in a string", "\"\u{feff}\""),
        stored("DEL", "\"\u{7f}\""),
        stored("four bytes", "\"\u{10ffff}\u{1f600}\""),
        stored("text from right to left", "\"\u{202e}abc\u{202c}\""),
        stored("spaces around", " \t\n\r [ 1 , 2 ] \r\n"),
        stored("127 arrays", nested(127)),
        stored("127 objects", objects(127)),
        stored("100,000 names", keys(100_000)),
        stored("a long string", format!("\"{}\"", "x".repeat(1_000_000))),
        stored("a long list", format!("[{}0]", "0,".repeat(400_000))),
        stored("a long name", format!("{{\"{}\":1}}", "n".repeat(500_000))),
        // What parsers read differently.
        refused("two members of one name", r#"{"a":1,"a":2}"#),
        refused("the same member twice", r#"{"a":1,"a":1}"#),
        refused("a name spelt twice", r#"{"a":1,"\u0061":2}"#),
        refused("a name twice, deep", r#"[{"x":[{"b":0,"c":1,"b":0}]}]"#),
        refused("an empty name twice", r#"{"":0,"":0}"#),
        refused("half a pair", r#""\ud800""#),
        refused("the other half", r#""\udc00""#),
        refused("a pair the wrong way round", r#""\udd1e\ud834""#),
        refused("half a pair in a name", r#"{"\ud800":1}"#),
        refused("half a pair and an escape", r#""\ud800\n""#),
        refused("a number too large", "1e400"),
        refused("a number far too large", "-1e9999999999"),
        refused("a number of a thousand digits", "9".repeat(1000)),
        refused("a byte order mark", "\u{feff}{}"),
        // Not JSON.
        refused("nothing", ""),
        refused("spaces", " \t "),
        refused("128 arrays", nested(128)),
        refused("1,000 objects", objects(1_000)),
        refused("100,000 arrays", nested(100_000)),
        refused("100,000 arrays that do not end", "[".repeat(100_000)),
        refused("other spaces", "[\u{a0}1]"),
        refused("a form feed", "[\x0c1]"),
        refused("a vertical tab", "[\x0b1]"),
        refused("a NUL after it", "1\0"),
        refused("a NUL before it", "\x001"),
        refused("a NUL in a string", "\"a\0b\""),
        refused("a tab in a string", "\"a\tb\""),
        refused("a line break in a string", "\"a\nb\""),
        refused("a second value", "1 2"),
        refused("a second object", "{}{}"),
        refused("a bracket too many", "[1]]"),
        refused("a comma after it", "[1],"),
        refused("a comma at the end", "[1,]"),
        refused("a comma at the end of an object", r#"{"a":1,}"#),
        refused("only a comma", "[,]"),
        refused("two commas", "[1,,2]"),
        refused("no comma", "[1 2]"),
        refused("a colon too many", r#"{"a"::1}"#),
        refused("no colon", r#"{"a" 1}"#),
        refused("a name without quotes", "{a:1}"),
        refused("a name that is a number", "{1:1}"),
        refused("a name in single quotes", "{'a':1}"),
        refused("a string in single quotes", "'a'"),
        refused("a comment", "[1/* one */]"),
        refused("a comment to the end", "1 // one"),
        refused("a hash comment", "1 # one"),
        refused("not a number", "NaN"),
        refused("infinity", "Infinity"),
        refused("minus infinity", "-Infinity"),
        refused("undefined", "undefined"),
        refused("a capital", "True"),
        refused("half a word", "nul"),
        refused("a leading zero", "01"),
        refused("minus and a leading zero", "-01"),
        refused("a leading plus", "+1"),
        refused("a leading point", ".5"),
        refused("a trailing point", "1."),
        refused("an exponent without digits", "1e"),
        refused("an exponent with a sign only", "1e+"),
        refused("a lonely minus", "-"),
        refused("two signs", "--1"),
        refused("hexadecimal", "0x1F"),
        refused("digits with underscores", "1_000"),
        refused("digits of another script", "\u{ff11}"),
        refused("an escape that is none", r#""\x41""#),
        refused("an escape of a quote that is none", r#""\'""#),
        refused("an escape cut short", r#""\u00""#),
        refused("an escape with other digits", r#""\u00zz""#),
        refused("an escape with braces", r#""\u{41}""#),
        refused("a backslash at the end", r#""\"#),
        refused("mismatched brackets", "[1}"),
        refused("a lonely closing bracket", "]"),
        // Bytes that are no text.
        refused("a byte that never is", b"\"\xff\"".to_vec()),
        refused("a lonely continuation", b"\"\x80\"".to_vec()),
        refused("an overlong slash", b"\"\xc0\xaf\"".to_vec()),
        refused("an overlong NUL", b"\"\xc0\x80\"".to_vec()),
        refused("an overlong quote", b"\"\xe0\x80\xa2\"".to_vec()),
        refused("half a pair in bytes", b"\"\xed\xa0\x80\"".to_vec()),
        refused("beyond the last character", b"\"\xf4\x90\x80\x80\"".to_vec()),
        refused("a character cut short", b"\"\xe2\x82\"".to_vec()),
        refused("Latin-1", b"\"\xe9\"".to_vec()),
        refused("such a name", b"{\"\xff\":1}".to_vec()),
        refused("sixteen bits", b"\xff\xfe1\x00".to_vec()),
        refused("sixteen bits without a mark", b"{\x00}\x00".to_vec()),
        refused("thirty-two bits", b"\x00\x00\xfe\xff\x00\x00\x001".to_vec()),
        refused("gzip that does not say so", b"\x1f\x8b\x08\x00\x00\x00".to_vec()),
    ];
    cases.push(stored("the whole sample", SAMPLE));
    cases.extend((0..SAMPLE.len()).map(|cut| {
        refused(&format!("the sample cut after {cut} bytes"), &SAMPLE.as_bytes()[..cut])
    }));
    cases
}

/// The bodies that were accepted, by their events' ids.
type Accepted = BTreeMap<String, Vec<u8>>;

async fn send(client: &Client, route: &Route, number: usize, payload: &[u8]) -> Answer {
    let id = format!("case-{number}");
    let mut body = route.before.replace("ID", &id).into_bytes();
    body.extend_from_slice(payload);
    body.extend_from_slice(route.after.as_bytes());
    let headers: Vec<(&str, &str)> = route
        .headers
        .iter()
        .map(|&(name, value)| (name, if value == "ID" { &*id } else { value }))
        .collect();
    client.send("POST", route.path, &headers, body).await
}

/// The statuses and ids of the events in an answer, and whether every refusal is a problem.
fn fates(answer: &Answer) -> Vec<(u64, Option<String>)> {
    let body = answer.json();
    let one = |status: u64, item: &Value, problem: &Value| {
        let id = item["id"].as_str().map(str::to_owned);
        let explained = problem["type"].is_string() && problem["title"].is_string();
        assert!(id.is_some() || explained, "{item:#}");
        (status, id)
    };
    match body["data"].as_array() {
        Some(items) => items
            .iter()
            .map(|item| one(item["status"].as_u64().unwrap_or_default(), item, &item["problem"]))
            .collect(),
        None => vec![one(u64::from(answer.status), &body, &body)],
    }
}

async fn stores_exactly(client: &Client, id: &str, payload: &[u8], what: &str) {
    let answer = client.get(&format!("/v1/events/{id}/payload")).await;
    answer.expect(200);
    assert!(answer.body == payload, "{what} is not stored as it came");
}

/// JSON's own spaces, which are no part of a value.
fn trimmed(payload: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| b" \t\n\r".contains(byte);
    let Some(start) = payload.iter().position(|byte| !is_space(byte)) else { return &[] };
    let end = payload.iter().rposition(|byte| !is_space(byte)).unwrap_or(start);
    &payload[start..=end]
}

#[tokio::test]
async fn everything_is_stored_as_it_came_or_refused_with_a_problem() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("t").await;
    client.subscribe(&receiver.url("/t"), &["t"], &Value::Array(Vec::new())).await;
    let mut accepted = Accepted::new();
    for (number, (name, payload, fate)) in cases().iter().enumerate() {
        for route in ROUTES {
            let what = format!("{name}, {}", route.name);
            if route.is_line && payload.contains(&b'\n') {
                continue;
            }
            let answer = send(&client, route, number, payload).await;
            assert!(answer.status < 500, "{what}: {}", answer.status);
            let mut fates = fates(&answer);
            if route.is_line {
                // Its neighbours are none the worse for it.
                assert_eq!(fates.len(), 3, "{what}");
                for neighbour in [fates.remove(2), fates.remove(0)] {
                    assert_eq!(neighbour.0, 202, "{what}");
                    accepted.insert(neighbour.1.unwrap(), b"\"good\"".to_vec());
                }
            }
            let exact = if route.is_whole { &payload[..] } else { trimmed(payload) };
            let no_data = route.name == "binary" && payload.is_empty();
            match &fates[..] {
                [(202, Some(id))] if *fate == Fate::Stored || no_data => {
                    let exact = if no_data { b"null" } else { exact };
                    stores_exactly(&client, id, exact, &what).await;
                    accepted.insert(id.clone(), exact.to_vec());
                }
                [(status, None)] if *fate == Fate::Refused => {
                    assert!((400..500).contains(status), "{what}: {status}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    // What arrives is what came, byte for byte.
    let arrived = receiver.wait("/t", accepted.len()).await;
    assert_eq!(arrived.len(), accepted.len());
    for received in arrived {
        let wanted = &accepted[received.header("hookmill-event-id")];
        assert!(received.body == wanted[..], "{:?}", received.body);
    }
}

#[tokio::test]
async fn what_is_no_json_passes_through_whole_whatever_it_is() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    let kind = serde_json::json!({"name": "t", "content_types": ["*/*"], "schema": false});
    client.post("/v1/event-types", &kind).await.expect(201);
    client.subscribe(&receiver.url("/t"), &["t"], &Value::Array(Vec::new())).await;
    let mut accepted = Accepted::new();
    let mut all: Vec<Vec<u8>> = cases().into_iter().map(|(_, payload, _)| payload).collect();
    all.push((0..=255).collect());
    for payload in all {
        let headers = [("content-type", "application/x-anything")];
        let raw = client.send("POST", "/v1/events?type=t", &headers, payload.clone()).await;
        let encoded = serde_json::json!({"type": "t", "payload_base64": STANDARD.encode(&payload)});
        let answers = [raw, client.post("/v1/events", &encoded).await];
        for answer in answers {
            match answer.status {
                202 => {
                    let id = answer.json()["id"].as_str().unwrap().to_owned();
                    stores_exactly(&client, &id, &payload, "a payload").await;
                    // Shown one way or the other, whatever it is.
                    client.get(&format!("/v1/events/{id}")).await.expect(200);
                    accepted.insert(id, payload.clone());
                }
                // Base64 makes it larger than a body may be.
                413 => assert!(payload.len() > 700_000),
                400 => assert!(payload.is_empty() && answer.problem() == "malformed-payload"),
                other => panic!("{other}"),
            }
        }
    }
    let arrived = receiver.wait("/t", accepted.len()).await;
    for received in arrived {
        let wanted: Bytes = accepted[received.header("hookmill-event-id")].clone().into();
        assert!(received.body == wanted, "{:?}", received.body);
    }
}
