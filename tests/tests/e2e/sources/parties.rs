//! Third parties: how a source for each is made, and how each signs. The signatures are made here,
//! by other code than the server's.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use hookmill_tests::Client;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use super::{Headers, owned};

pub const SECRET: &str = "It's a Secret to Everybody";
pub const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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

/// A third party: how its source is made, and how it signs.
pub struct Party {
    pub kind: &'static str,
    pub settings: Value,
    pub secret: &'static str,
    /// Another secret of the form that the kind takes.
    pub other: &'static str,
    pub signature: &'static str,
    /// The header with the signed time; Stripe's is in its signature.
    pub stamp: Option<&'static str>,
    /// Headers without which a signed request cannot be taken, but which prove nothing.
    pub named: &'static [&'static str],
    pub body: fn(id: u64) -> String,
    pub sign: fn(secret: &str, at: i64, id: u64, body: &[u8]) -> Headers,
    pub event_type: &'static str,
}

pub fn github_headers(secret: &str, _: i64, id: u64, body: &[u8]) -> Headers {
    let signature = format!("sha256={}", hex(&sha256(secret.as_bytes(), &[body])));
    owned(&[
        ("content-type", "application/json"),
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("x-github-event", "issues"),
        ("x-github-delivery", &format!("72d3162e-cc78-11e3-81ab-{id:012x}")),
        ("x-hub-signature-256", &signature),
    ])
}

pub fn stripe_headers(secret: &str, at: i64, _: u64, body: &[u8]) -> Headers {
    let own = hex(&sha256(secret.as_bytes(), &[at.to_string().as_bytes(), b".", body]));
    let rolled = hex(&sha256(b"whsec_of_another_endpoint", &[b"0.", body]));
    let value = format!("t={at},v1={rolled},v1={own},v0={rolled}");
    owned(&[("content-type", "application/json; charset=utf-8"), ("stripe-signature", &value)])
}

pub fn shopify_headers(secret: &str, _: i64, id: u64, body: &[u8]) -> Headers {
    let signature = STANDARD.encode(sha256(secret.as_bytes(), &[body]));
    owned(&[
        ("content-type", "application/json"),
        ("x-shopify-topic", "orders/create"),
        ("x-shopify-shop-domain", "shop.myshopify.com"),
        ("x-shopify-webhook-id", &format!("b54557e4-bdd9-4b37-8a5f-{id:012x}")),
        ("x-shopify-hmac-sha256", &signature),
    ])
}

pub fn slack_headers(secret: &str, at: i64, _: u64, body: &[u8]) -> Headers {
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

pub fn parties() -> Vec<Party> {
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
    pub async fn source(&self, client: &Client) -> String {
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
    pub fn is_basic(&self) -> bool {
        self.kind == "basic"
    }
}
