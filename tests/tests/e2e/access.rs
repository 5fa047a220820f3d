//! Who is let in: keys and their lives, tokens of an identity provider, portal tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hookmill_tests::{ADMIN_KEY, Client, Receiver, Reply, Server, binary};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
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
    RsaKeyPair::from_der(include_bytes!("keys/test-only-rs256.pk8")).expect("it is a key")
}

fn rs256(message: &[u8]) -> Vec<u8> {
    by_rsa(&RSA_PKCS1_SHA256, message)
}

fn by_rsa(padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let key = rsa();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &SystemRandom::new(), message, &mut signature).expect("the key signs");
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

/// A fresh key on a curve, and what is published of it.
fn on_curve(
    algorithm: &'static EcdsaSigningAlgorithm,
    (id, curve): (&str, &str),
) -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key is made");
    let key = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).expect("it is a key");
    let point = key.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    (key, json!({"kty": "EC", "crv": curve, "kid": id, "x": x, "y": y}))
}

#[tokio::test]
async fn every_algorithm_that_is_named_is_checked_by_a_key_of_its_kind_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let file = folder.path().join("jwks.json");
    let (p256, jwk256) = on_curve(&ECDSA_P256_SHA256_FIXED_SIGNING, ("p256", "P-256"));
    let (p384, jwk384) = on_curve(&ECDSA_P384_SHA384_FIXED_SIGNING, ("p384", "P-384"));
    let mut any_rsa = rsa_jwk("rsa");
    any_rsa.as_object_mut().unwrap().remove("alg");
    let mut encrypts = rsa_jwk("encrypts");
    encrypts["use"] = json!("enc");
    let keys = json!({"keys": [any_rsa, rsa_jwk("rs256"), jwk256, jwk384, encrypts, 7]});
    std::fs::write(&file, keys.to_string()).expect("the folder can be written");
    let server = Server::start_with(&[
        ("JWT_JWKS", file.to_str().expect("the path is text")),
        ("JWT_ISSUER", "https://id.example"),
        ("JWT_AUDIENCE", "hookmill"),
        ("JWT_ALGORITHMS", "PS256,PS384,PS512,ES256,ES384"),
    ])
    .await;
    let admin = server.client();
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let by_curve = |key: &EcdsaKeyPair, message: &[u8]| {
        key.sign(&SystemRandom::new(), message).expect("the key signs").as_ref().to_vec()
    };
    let send = async |alg: &str, kid: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let text = token(&json!({"alg": alg, "kid": kid}), &claims(), sign);
        admin.with_key(Some(&text)).get("/v1/events").await.status
    };
    assert_eq!(send("PS256", "rsa", &|m| by_rsa(&RSA_PSS_SHA256, m)).await, 200);
    assert_eq!(send("PS384", "rsa", &|m| by_rsa(&RSA_PSS_SHA384, m)).await, 200);
    assert_eq!(send("PS512", "rsa", &|m| by_rsa(&RSA_PSS_SHA512, m)).await, 200);
    assert_eq!(send("ES256", "p256", &|m| by_curve(&p256, m)).await, 200);
    assert_eq!(send("ES384", "p384", &|m| by_curve(&p384, m)).await, 200);
    // The right signature by the wrong name, and the right name with the wrong signature.
    assert_eq!(send("RS256", "rsa", &rs256).await, 401);
    assert_eq!(send("PS256", "rs256", &|m| by_rsa(&RSA_PSS_SHA256, m)).await, 401);
    assert_eq!(send("PS256", "encrypts", &|m| by_rsa(&RSA_PSS_SHA256, m)).await, 401);
    assert_eq!(send("PS384", "rsa", &|m| by_rsa(&RSA_PSS_SHA256, m)).await, 401);
    assert_eq!(send("PS256", "rsa", &rs256).await, 401);
    assert_eq!(send("ES256", "p384", &|m| by_curve(&p384, m)).await, 401);
    assert_eq!(send("ES384", "p256", &|m| by_curve(&p256, m)).await, 401);
    assert_eq!(send("ES256", "rsa", &|m| by_rsa(&RSA_PSS_SHA256, m)).await, 401);
    assert_eq!(send("ES256", "p256", &|_| vec![0; 64]).await, 401);
}

#[tokio::test]
async fn a_token_that_is_strange_is_refused_and_breaks_nothing() {
    let provider = Receiver::start().await;
    provider.reply("/jwks", [key_set(&[rsa_jwk("one")])]);
    let (_server, admin) = with_provider(&provider).await;
    let send = async |text: &str| admin.with_key(Some(text)).get("/v1/events").await.status;
    let header = json!({"alg": "RS256", "kid": "one"});
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let now = Timestamp::now().as_second();
    let signed = |claims: &Value| token(&header, claims, rs256);
    for (name, value, status) in [
        ("exp", json!(now + 60), 200),
        ("exp", json!(now as f64 + 60.5), 200),
        ("exp", json!(u64::MAX), 200),
        ("exp", json!(1e300), 401),
        ("exp", json!(-1), 401),
        ("exp", json!((now + 60).to_string()), 401),
        ("exp", Value::Null, 401),
        ("exp", json!([now + 60]), 401),
        ("nbf", json!("tomorrow"), 401),
        ("nbf", Value::Null, 401),
        ("iat", json!(now + 86_400), 200),
        ("iss", json!("https://id.example/"), 401),
        ("iss", json!("https://ID.example"), 401),
        ("iss", json!(7), 401),
        ("aud", json!([]), 401),
        ("aud", json!(["other", 7, "hookmill"]), 401),
        ("aud", json!({"hookmill": true}), 401),
        ("aud", json!("hookmill2"), 401),
        ("sub", json!("a\u{0}\r\nb".repeat(400)), 401),
        ("sub", json!(7), 401),
        ("sub", Value::Null, 401),
        ("hookmill_application", json!(["shop"]), 401),
        ("hookmill_application", json!(""), 401),
        ("hookmill_application", json!(true), 401),
        ("scope", json!({"hookmill:read": true}), 401),
        ("scope", json!("hookmill:READ"), 403),
        ("scope", json!("xhookmill:read read hookmill:admin"), 403),
        ("padding", json!("x".repeat(9_000)), 401),
    ] {
        assert_eq!(send(&signed(&with(name, value.clone()))).await, status, "{name}: {value}");
    }
    // What a header points to is not asked, and a key that comes along is not believed.
    for more in [
        json!({"jku": provider.url("/evil"), "x5u": provider.url("/evil")}),
        json!({"jwk": rsa_jwk("one"), "kid": "two"}),
        json!({"jwk": {"kty": "oct", "k": "AA"}, "alg": "HS256"}),
        json!({"kid": "../one"}),
        json!({"kid": ""}),
        json!({"kid": ["one"]}),
        json!({"kid": "one", "crit": []}),
        json!({"kid": "one", "alg": "rs256"}),
        json!({"kid": "one", "alg": ["RS256"]}),
    ] {
        let mut header = json!({"alg": "RS256"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(send(&token(&header, &claims(), rs256)).await, 401, "{more}");
    }
    assert!(provider.at("/evil").is_empty());
    // A claim that is there twice means nothing.
    let twice = format!(r#"{{"exp":{},{}"#, now - 999, &claims().to_string()[1..]);
    let message = format!("{}.{}", encoded(&header), URL_SAFE_NO_PAD.encode(twice));
    let signature = URL_SAFE_NO_PAD.encode(rs256(message.as_bytes()));
    assert_eq!(send(&format!("{message}.{signature}")).await, 401);
    let good = signed(&claims());
    assert_eq!(send(&good).await, 200);
    for bad in [
        format!("{good}."),
        format!("{good}="),
        format!(".{good}"),
        good.replace('.', ".."),
        "..".to_owned(),
        format!("{}.{}", good, good),
        good.split_once('.').unwrap().1.to_owned(),
    ] {
        assert_eq!(send(&bad).await, 401, "{bad}");
    }
}

#[tokio::test]
async fn a_key_set_that_is_huge_or_elsewhere_or_none_changes_nothing() {
    let provider = Receiver::start().await;
    provider.reply("/jwks", [key_set(&[rsa_jwk("one")])]);
    let (_server, admin) = with_provider(&provider).await;
    let old = token(&json!({"alg": "RS256", "kid": "one"}), &claims(), rs256);
    let new = token(&json!({"alg": "RS256", "kid": "two"}), &claims(), rs256);
    let send = async |text: &str| admin.with_key(Some(text)).get("/v1/events").await.status;
    provider.reply("/elsewhere", [key_set(&[rsa_jwk("two")])]);
    let huge = json!({"keys": [rsa_jwk("two")], "padding": "x".repeat(10 << 20)});
    for reply in [
        Reply::status(302).header("location", &provider.url("/elsewhere")),
        Reply::status(200).body(huge.to_string()),
        Reply::status(200).body("{"),
        Reply::status(200).body("{\"keys\":7}"),
    ] {
        provider.reply("/jwks", [reply]);
        assert_eq!((send(&new).await, send(&old).await), (401, 200));
    }
    // One without any key takes back those there were, and what was checked with them.
    provider.reply("/jwks", [key_set(&[])]);
    assert_eq!((send(&new).await, send(&old).await), (401, 401));
    assert!(provider.at("/elsewhere").is_empty(), "a redirection was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_the_audit_log_by_commands() {
    let server = Server::start().await;
    server.client().post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    let run = |key: &str, arguments: &[&str]| {
        let output = std::process::Command::new(binary())
            .args(arguments)
            .env("HOOKMILL_URL", server.url())
            .env("HOOKMILL_KEY", key)
            .env("NO_COLOR", "1")
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let create = ["--application", "shop", "key", "create", "back end", "--scope", "read,manage"];
    let (done, made, said) = run(ADMIN_KEY, &create);
    assert!(done && made.starts_with("hmk_app_") && said.contains("shown once"), "{made}{said}");
    let made = made.trim();
    let (done, listed, _) = run(made, &["key", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("--json prints JSON");
    assert!(done && listed[0]["name"] == "back end" && listed.as_array().unwrap().len() == 1);
    let id = listed[0]["id"].as_str().unwrap();
    // Whose it is to be has to be said, and a key reaches no further than itself.
    let (done, _, said) = run(ADMIN_KEY, &["key", "create", "x", "--scope", "read"]);
    assert!(!done && said.contains("--admin"), "{said}");
    let (done, _, said) = run(made, &["key", "create", "x", "--admin", "--scope", "publish"]);
    assert!(!done && said.contains("more scopes"), "{said}");
    let (done, newer, _) = run(ADMIN_KEY, &["key", "rotate", id, "--grace", "0"]);
    assert!(done && newer.starts_with("hmk_app_"));
    let newer = newer.trim();
    assert!(!run(made, &["key", "list"]).0 && run(newer, &["key", "list"]).0);
    let (_, listed, _) = run(newer, &["key", "list"]);
    assert!(listed.contains("back end") && listed.contains("until 20"), "{listed}");
    let (done, log, said) = run(newer, &["audit", "--resource", "key"]);
    assert!(done && log.contains("rotate_key") && log.contains("create_key"), "{log}{said}");
    assert!(!log.contains("hmk_app_"));
    let (done, log, _) = run(newer, &["audit", "--resource", "subscription"]);
    assert!(done && !log.contains("_key"), "{log}");
    let (done, _, _) = run(ADMIN_KEY, &["key", "revoke", id]);
    assert!(done);
    let (done, _, said) = run(ADMIN_KEY, &["key", "revoke", id]);
    assert!(!done && said.contains("no key"), "{said}");
}
