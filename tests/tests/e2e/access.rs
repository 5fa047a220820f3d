//! Who is let in: keys and their lives, tokens of an identity provider, portal tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hookmill_tests::{Client, Receiver, Reply, Server};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_key_is_made_used_replaced_and_revoked() {
    let mut server = Server::start().await;
    let admin = server.client();
    let body = json!({"name": "backend", "application": "default", "scopes": ["read"]});
    let made = admin.post("/v1/keys", &body).await.expect(201);
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(text.starts_with("hmk_app_") && text.len() == "hmk_app_".len() + 43, "{text}");
    let shown = admin.get(&format!("/v1/keys/{id}")).await.expect(200);
    assert!(shown.get("key").is_none() && shown["last_used_at"].is_null());
    let reader = admin.with_key(Some(text));
    reader.get("/v1/events").await.expect(200);
    let used = admin.get(&format!("/v1/keys/{id}")).await.expect(200);
    assert!(used["last_used_at"].is_string(), "{used}");

    let rotate = format!("/v1/keys/{id}/rotate");
    let next = admin.post(&rotate, &json!({"grace_seconds": 3600})).await.expect(201);
    let newer = admin.with_key(next["key"].as_str());
    for client in [&reader, &newer] {
        client.get("/v1/events").await.expect(200);
    }
    admin.delete(&format!("/v1/keys/{id}")).await.expect(204);
    assert_eq!(reader.get("/v1/events").await.problem(), "unauthorized");
    assert_eq!(admin.delete(&format!("/v1/keys/{id}")).await.problem(), "not-found");
    let at_once = format!("/v1/keys/{}/rotate", next["id"].as_str().unwrap());
    let last = admin.post(&at_once, &json!({"grace_seconds": 0})).await.expect(201);
    assert_eq!(newer.get("/v1/events").await.status, 401);
    for (at, bad) in [
        ("/scopes", json!({"name": "x", "scopes": []})),
        ("/name", json!({"name": "", "scopes": ["read"]})),
        ("/application", json!({"name": "x", "application": "nobody", "scopes": ["read"]})),
        (
            "/expires_at",
            json!({"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}),
        ),
    ] {
        let refused = admin.post("/v1/keys", &bad).await;
        assert_eq!(
            (refused.problem().as_str(), &refused.json()["errors"][0]["at"]),
            ("invalid-key", &json!(at))
        );
    }
    // A restart changes nothing of it.
    server.stop().await;
    server.restart().await;
    let client = server.client();
    client.with_key(last["key"].as_str()).get("/v1/events").await.expect(200);
    assert_eq!(client.with_key(Some(text)).get("/v1/events").await.status, 401);
    let again = client.get(&format!("/v1/keys/{id}")).await.expect(200);
    assert!(again["revoked_at"].is_string() && again["last_used_at"].is_string(), "{again}");
}

#[tokio::test]
async fn a_portal_token_looks_after_webhooks_and_nothing_else() {
    let server = Server::start().await;
    let admin = server.client();
    let receiver = Receiver::start().await;
    admin.event_type("order.paid").await;
    let made =
        admin.post("/v1/portal-tokens", &json!({"expires_in_seconds": 60})).await.expect(201);
    let portal = admin.with_key(made["token"].as_str());
    let (id, _) = portal.subscribe(&receiver.url("/"), &["**"], &json!([])).await;
    portal.get("/v1/event-types/order.paid").await.expect(200);
    portal.get("/v1/deliveries").await.expect(200);
    for beyond in [
        "/v1/keys",
        "/v1/audit",
        "/v1/events",
        "/v1/plugins",
        "/v1/event-types/order.paid/violations",
    ] {
        assert_eq!(portal.get(beyond).await.problem(), "beyond-portal", "{beyond}");
    }
    let event = json!({"type": "order.paid", "payload": 1});
    assert_eq!(portal.post("/v1/events", &event).await.problem(), "beyond-portal");
    assert_eq!(portal.post("/v1/portal-tokens", &json!({})).await.problem(), "beyond-portal");
    let audit = admin.get("/v1/audit?action=create_subscription").await.expect(200);
    assert_eq!(audit["data"][0]["actor"], made["actor"]);

    let reading = admin.post("/v1/portal-tokens", &json!({"read_only": true})).await.expect(201);
    let reading = admin.with_key(reading["token"].as_str());
    reading.get(&format!("/v1/subscriptions/{id}")).await.expect(200);
    assert_eq!(
        reading.delete(&format!("/v1/subscriptions/{id}")).await.problem(),
        "insufficient-scope"
    );

    let text = made["token"].as_str().unwrap();
    for at in [15, 40, text.len() - 3] {
        let mut forged = text.as_bytes().to_vec();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(admin.with_key(Some(&forged)).get("/v1/deliveries").await.status, 401);
    }
    admin.delete("/v1/portal-tokens").await.expect(204);
    assert_eq!(portal.get("/v1/deliveries").await.status, 401);
    let too_long = admin.post("/v1/portal-tokens", &json!({"expires_in_seconds": 86_401})).await;
    assert_eq!(too_long.problem(), "invalid-key");
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(include_bytes!("keys/test-only-rs256.pk8")).expect("it is a key")
}

fn rs256(message: &[u8]) -> Vec<u8> {
    let key = rsa();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .expect("the key signs");
    signature
}

fn rsa_jwk(id: &str) -> Value {
    let parts: PublicKeyComponents<Vec<u8>> = rsa().public().into();
    let (n, e) = (URL_SAFE_NO_PAD.encode(parts.n), URL_SAFE_NO_PAD.encode(parts.e));
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e})
}

fn claims() -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": "https://id.example", "aud": ["hookmill", "other"], "sub": "alice",
        "exp": now + 600, "nbf": now - 10,
        "hookmill_application": "shop", "scope": "openid hookmill:read",
    })
}

async fn with_provider(provider: &Receiver) -> (Server, Client) {
    let server = Server::start_with(&[
        ("JWT_JWKS", &provider.url("/jwks")),
        ("JWT_ISSUER", "https://id.example"),
        ("JWT_AUDIENCE", "hookmill"),
        ("JWT_REFETCH_SECONDS", "0"),
    ])
    .await;
    let admin = server.client();
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    (server, admin)
}

fn key_set(keys: &[Value]) -> Reply {
    Reply::status(200).body(json!({"keys": keys}).to_string())
}

#[tokio::test]
async fn a_token_of_the_provider_is_let_in_and_a_wrong_one_told_why() {
    let provider = Receiver::start().await;
    provider.reply(
        "/jwks",
        [key_set(&[rsa_jwk("one"), json!({"kty": "oct", "kid": "shared", "k": "c2VjcmV0"})])],
    );
    let (_server, admin) = with_provider(&provider).await;
    let header = json!({"alg": "RS256", "kid": "one"});
    let send = async |text: &str| admin.with_key(Some(text)).get("/v1/events").await;

    let good = token(&header, &claims(), rs256);
    send(&good).await.expect(200);
    let asked = provider.at("/jwks").len();
    let before = admin.with_key(Some(&good));
    before.get("/v1/events").await.expect(200);
    assert_eq!(provider.at("/jwks").len(), asked, "the provider was asked for a known key");
    assert_eq!(before.post("/v1/replays", &json!({})).await.problem(), "insufficient-scope");
    assert_eq!(before.get("/v1/applications").await.problem(), "admin-needed");

    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let past = Timestamp::now().as_second() - 3600;
    let mut no_expiry = claims();
    no_expiry.as_object_mut().unwrap().remove("exp");
    let mut nobody = claims();
    nobody.as_object_mut().unwrap().remove("hookmill_application");
    for (claims, why) in [
        (with("exp", json!(past)), "expired"),
        (with("nbf", json!(past + 7200)), "not valid yet"),
        (with("iss", json!("https://evil.example")), "`iss`"),
        (with("aud", json!("another")), "`aud`"),
        (no_expiry, "no `exp`"),
        (nobody.clone(), "names no application"),
    ] {
        let refused = send(&token(&header, &claims, rs256)).await;
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 401);
        assert!(detail.contains(why), "{detail} lacks {why}");
    }
    let missing =
        send(&token(&header, &with("hookmill_application", json!("nobody")), rs256)).await;
    assert_eq!(missing.status, 401);
    // An admin scope counts where no application is named, and only there.
    nobody["scope"] = json!(["hookmill:admin"]);
    let platform = token(&header, &nobody, rs256);
    admin.with_key(Some(&platform)).get("/v1/applications").await.expect(200);
    let bound = token(&header, &with("scope", json!("hookmill:admin hookmill:read")), rs256);
    assert_eq!(
        admin.with_key(Some(&bound)).get("/v1/applications").await.problem(),
        "admin-needed"
    );

    // The algorithm is the key's, never the token's to choose.
    let public: PublicKeyComponents<Vec<u8>> = rsa().public().into();
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public.n);
    let by_hmac = |message: &[u8]| ring::hmac::sign(&hmac, message).as_ref().to_vec();
    for (header, why) in [
        (json!({"alg": "HS256", "kid": "one"}), "not one that this server accepts"),
        (json!({"alg": "HS256", "kid": "shared"}), "not one that this server accepts"),
        (json!({"alg": "none", "kid": "one"}), "no JSON Web Token"),
        (json!({"alg": "RS512", "kid": "one"}), "not one that this server accepts"),
        (json!({"alg": "ES256", "kid": "one"}), "not for its `alg`"),
        (json!({"alg": "RS256"}), "no `kid`"),
        (json!({"alg": "RS256", "kid": "two"}), "not one of the provider's"),
        (json!({"alg": "RS256", "kid": "one"}), "signature"),
        (json!({"alg": "RS256", "kid": "one", "crit": ["b64"]}), "crit"),
    ] {
        let refused = send(&token(&header, &claims(), by_hmac)).await;
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 401, "{header}");
        assert!(detail.contains(why), "{header}: {detail} lacks {why}");
    }
    let unsigned = format!("{}.{}.", encoded(&header), encoded(&claims()));
    assert_eq!(send(&unsigned).await.status, 401);
}

#[tokio::test]
async fn a_providers_keys_may_change_and_may_be_away() {
    let provider = Receiver::start().await;
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let x = URL_SAFE_NO_PAD.encode(ed.public_key().as_ref());
    let new = json!({"kty": "OKP", "crv": "Ed25519", "kid": "new", "x": x});
    provider.reply("/jwks", [key_set(&[rsa_jwk("old")])]);
    let (_server, admin) = with_provider(&provider).await;
    let old = token(&json!({"alg": "RS256", "kid": "old"}), &claims(), rs256);
    let newer =
        token(&json!({"alg": "EdDSA", "kid": "new"}), &claims(), |m| ed.sign(m).as_ref().to_vec());
    let send = async |text: &str| admin.with_key(Some(text)).get("/v1/events").await.status;
    assert_eq!((send(&old).await, send(&newer).await), (200, 401));
    // While the provider is away, the keys known before are good.
    provider.reply("/jwks", [Reply::status(503)]);
    assert_eq!((send(&newer).await, send(&old).await), (401, 200));
    // A key that appears is found at once; one that is gone is good no more, and so is what
    // was checked with it before.
    provider.reply("/jwks", [key_set(&[new])]);
    assert_eq!((send(&newer).await, send(&old).await), (200, 401));
}
