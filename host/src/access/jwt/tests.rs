//! Each rule that a token must keep, and tokens that break it and no other.
//!
//! The rules are those of RFC 8725 and, for what a token says it is, RFC 9068.

use ::ring::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;

/// A server's side, and the provider's key.
struct Both {
    jwts: Jwts,
    key: Ed25519KeyPair,
    _folder: tempfile::TempDir,
}

impl Both {
    async fn start() -> Self {
        // As the server does when it starts; a second call changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let own = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x});
        let shared = json!({"kty": "oct", "kid": "shared", "k": "c2VjcmV0"});
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, json!({"keys": [own, shared]}).to_string()).unwrap();
        let settings = JwtSettings {
            jwks: JwksSource::File(file),
            issuer: "https://id.example".into(),
            audience: "hookmill".into(),
            algorithms: vec!["EdDSA".into()],
            application_claim: "app".into(),
            scope_claim: "scope".into(),
            scope_prefix: "hookmill:".into(),
            leeway: Duration::ZERO,
            refresh: Duration::from_secs(60),
            refetch: Duration::ZERO,
        };
        let jwts = Jwts::start(settings, Clock::system()).await.unwrap();
        Self { jwts, key, _folder: folder }
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    async fn said(&self, token: &str) -> Result<String, JwtError> {
        let now = Clock::system().now();
        self.jwts.identify(token, now).await.map(|caller| caller.id.to_string())
    }

    async fn of(&self, header: &Value, claims: &Value) -> Result<String, JwtError> {
        self.said(&self.signed(&header.to_string(), &claims.to_string())).await
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "a"})
}

fn claims() -> Value {
    let now = Clock::system().now().as_second();
    json!({"iss": "https://id.example", "aud": "hookmill", "sub": "alice", "exp": now + 600,
        "app": "shop", "scope": "hookmill:read"})
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

fn unreadable(claim: &str) -> JwtError {
    JwtError::Unreadable(claim.into())
}

fn missing(claim: &str) -> JwtError {
    JwtError::Missing(claim.into())
}

#[tokio::test]
async fn the_issuer_is_one_text_and_the_providers() {
    let both = Both::start().await;
    let of = async |value: Value| both.of(&header(), &with(claims(), "iss", value)).await;
    assert_eq!(of(json!("https://id.example")).await.as_deref(), Ok("jwt:alice"));
    for list in [json!(["https://id.example"]), json!(["x", "https://id.example"])] {
        assert_eq!(of(list.clone()).await, Err(JwtError::Issuer), "{list}");
    }
    for other in ["https://evil.example", "https://id.example/", "https://ID.example", ""] {
        assert_eq!(of(json!(other)).await, Err(JwtError::Issuer), "{other}");
    }
    for none in [json!(7), json!([]), Value::Null, json!({"https://id.example": true})] {
        assert!(of(none.clone()).await.is_err(), "{none}");
    }
    assert_eq!(both.of(&header(), &without(claims(), "iss")).await, Err(missing("iss")));
}

#[tokio::test]
async fn the_audience_is_this_server_alone_or_among_others() {
    let both = Both::start().await;
    let of = async |value: Value| both.of(&header(), &with(claims(), "aud", value)).await;
    for good in [json!("hookmill"), json!(["other", "hookmill"])] {
        assert!(of(good.clone()).await.is_ok(), "{good}");
    }
    for bad in [json!("other"), json!(["other"]), json!("hookmill other"), json!([])] {
        assert_eq!(of(bad.clone()).await, Err(JwtError::Audience), "{bad}");
    }
    for bad in [json!(["hookmill", 7]), json!({"hookmill": 1}), json!(7), Value::Null] {
        assert!(of(bad.clone()).await.is_err(), "{bad}");
    }
    assert_eq!(both.of(&header(), &without(claims(), "aud")).await, Err(missing("aud")));
}

#[tokio::test]
async fn a_token_ends_and_begins_when_it_says() {
    let both = Both::start().await;
    let now = Clock::system().now().as_second();
    let of =
        async |name: &str, value: Value| both.of(&header(), &with(claims(), name, value)).await;
    assert_eq!(of("exp", json!(now - 10)).await, Err(JwtError::Expired));
    assert_eq!(of("nbf", json!(now + 600)).await, Err(JwtError::NotYet));
    assert!(of("nbf", json!(now - 10)).await.is_ok());
    assert_eq!(both.of(&header(), &without(claims(), "exp")).await, Err(missing("exp")));
    for bad in [json!("9999999999"), json!([now + 600]), json!(true), Value::Null] {
        assert!(of("exp", bad.clone()).await.is_err(), "{bad}");
    }
    assert_eq!(of("nbf", json!("soon")).await, Err(unreadable("nbf")));
}

#[tokio::test]
async fn a_token_is_for_access_if_it_says_what_it_is() {
    let both = Both::start().await;
    let of = async |value: Value| both.of(&with(header(), "typ", value), &claims()).await;
    for good in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        assert!(of(json!(good)).await.is_ok(), "{good}");
    }
    for other in ["logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "jwt ", ""] {
        assert_eq!(of(json!(other)).await, Err(JwtError::Type), "{other}");
    }
    for none in [json!(7), json!(["JWT"]), json!({})] {
        assert!(of(none.clone()).await.is_err(), "{none}");
    }
}

#[tokio::test]
async fn what_must_be_understood_is_not() {
    let both = Both::start().await;
    for crit in [json!(["b64"]), json!(["exp"]), json!([])] {
        let header = with(with(header(), "crit", crit.clone()), "b64", json!(true));
        assert_eq!(both.of(&header, &claims()).await, Err(JwtError::Critical), "{crit}");
    }
    for crit in [Value::Null, json!("b64"), json!({})] {
        assert!(both.of(&with(header(), "crit", crit.clone()), &claims()).await.is_err(), "{crit}");
    }
}

#[tokio::test]
async fn the_algorithm_is_one_that_is_named_and_that_its_key_is_for() {
    let both = Both::start().await;
    let of =
        async |alg: &str, kid: &str| both.of(&json!({"alg": alg, "kid": kid}), &claims()).await;
    assert!(of("EdDSA", "a").await.is_ok());
    for other in ["HS256", "RS256", "ES256"] {
        assert_eq!(of(other, "a").await, Err(JwtError::Algorithm), "{other}");
        assert_eq!(of(other, "shared").await, Err(JwtError::Algorithm), "{other}");
    }
    for strange in ["none", "None", "NONE", "eddsa", "", "EdDSA "] {
        assert_eq!(of(strange, "a").await, Err(JwtError::Malformed), "{strange}");
    }
    assert_eq!(of("EdDSA", "shared").await, Err(JwtError::UnknownKey));
}

#[tokio::test]
async fn the_key_is_one_of_the_providers_whatever_comes_along() {
    let both = Both::start().await;
    assert_eq!(both.of(&json!({"alg": "EdDSA"}), &claims()).await, Err(JwtError::NoKeyId));
    let x = URL_SAFE_NO_PAD.encode(both.key.public_key().as_ref());
    let along = json!({"alg": "EdDSA", "kid": "b", "jku": "http://127.0.0.1:9/", "x5u": "file:///",
        "jwk": {"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": x}});
    assert_eq!(both.of(&along, &claims()).await, Err(JwtError::UnknownKey));
    for kid in [json!(""), json!("../a"), json!("A"), json!("a\u{0}")] {
        let header = with(header(), "kid", kid.clone());
        assert_eq!(both.of(&header, &claims()).await, Err(JwtError::UnknownKey), "{kid}");
    }
    let listed = with(header(), "kid", json!(["a"]));
    assert_eq!(both.of(&listed, &claims()).await, Err(JwtError::Malformed));
}

#[tokio::test]
async fn a_name_that_is_there_twice_says_nothing() {
    let both = Both::start().await;
    let (header, claims) = (header().to_string(), claims().to_string());
    let twice = |object: &str, more: &str| format!("{{{more},{}", &object[1..]);
    for (header, claims) in [
        (twice(&header, r#""alg":"EdDSA""#), claims.clone()),
        (twice(&header, r#""kid":"b""#), claims.clone()),
        (twice(&header, r#""x":1,"x":1"#), claims.clone()),
        (header.clone(), twice(&claims, r#""exp":1"#)),
        (header.clone(), twice(&claims, r#""app":"other""#)),
        (header.clone(), twice(&claims, r#""scope":"hookmill:admin""#)),
        (header.clone(), twice(&claims, r#""sc\u006fpe":"hookmill:admin""#)),
        (header.clone(), twice(&claims, r#""more":[{"a":1,"a":2}]"#)),
    ] {
        let said = both.said(&both.signed(&header, &claims)).await;
        assert_eq!(said, Err(JwtError::Malformed), "{header} {claims}");
    }
}

#[tokio::test]
async fn a_signature_is_over_what_is_read() {
    let both = Both::start().await;
    let good = both.signed(&header().to_string(), &claims().to_string());
    assert!(both.said(&good).await.is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let more = URL_SAFE_NO_PAD.encode(with(claims(), "app", json!("other")).to_string());
    let changed = format!("{}.{more}.{}", parts[0], parts[2]);
    assert_eq!(both.said(&changed).await, Err(JwtError::Signature));
    let nothing = URL_SAFE_NO_PAD.encode([0; 64]);
    let zeros = format!("{}.{}.{nothing}", parts[0], parts[1]);
    assert_eq!(both.said(&zeros).await, Err(JwtError::Signature));
    for strange in [
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}="),
        format!("{good}.{good}"),
        format!(" {good}"),
        "..".to_owned(),
        "a.b.c".to_owned(),
    ] {
        assert!(both.said(&strange).await.is_err(), "{strange}");
    }
}

#[tokio::test]
async fn what_is_too_long_or_too_deep_is_not_looked_at() {
    let both = Both::start().await;
    let long = with(claims(), "more", json!("x".repeat(MAX_TOKEN)));
    assert_eq!(both.of(&header(), &long).await, Err(JwtError::Malformed));
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let deep = format!(r#"{{"more":{deep},{}"#, &claims().to_string()[1..]);
    let token = both.signed(&header().to_string(), &deep);
    assert!(token.len() < MAX_TOKEN);
    assert_eq!(both.said(&token).await, Err(JwtError::Malformed));
}

#[tokio::test]
async fn what_is_claimed_is_of_its_kind() {
    let both = Both::start().await;
    for (name, value, expected) in [
        ("app", json!(["shop"]), Err(unreadable("app"))),
        ("app", json!(7), Err(unreadable("app"))),
        ("app", Value::Null, Err(JwtError::Nobody)),
        ("scope", json!(7), Err(unreadable("scope"))),
        ("scope", json!(["hookmill:read", 7]), Ok("jwt:alice")),
        ("sub", json!(7), Err(unreadable("sub"))),
        ("sub", json!(""), Err(unreadable("sub"))),
        ("sub", json!("a\u{0}\nb"), Err(unreadable("sub"))),
        ("sub", json!("x".repeat(MAX_SUBJECT + 1)), Err(unreadable("sub"))),
        ("sub", json!("Zoë|7"), Ok("jwt:Zoë|7")),
    ] {
        let said = both.of(&header(), &with(claims(), name, value.clone())).await;
        assert_eq!(said, expected.map(str::to_owned), "{name}: {value}");
    }
}

#[tokio::test]
async fn nobody_is_taken_for_somebody_else() {
    let both = Both::start().await;
    let mut nobody = claims();
    nobody.as_object_mut().unwrap().remove("sub");
    assert_eq!(both.of(&header(), &nobody).await, Err(JwtError::Missing("sub".into())));
}

#[tokio::test]
async fn what_was_checked_by_a_key_set_that_has_gone_is_not_remembered() {
    let jwts = Both::start().await.jwts;
    let caller = Arc::new(Caller {
        id: "jwt:x".into(),
        name: "x".into(),
        kind: Kind::Jwt,
        reach: Reach::Platform,
        scopes: Scopes::ALL,
        until: None,
    });
    let now = Timestamp::UNIX_EPOCH;
    let found =
        || Remembered { caller: Arc::clone(&caller), until: Timestamp::from_second(9).unwrap() };
    let begun = jwts.recall(&[0; 32], now).unwrap_err();
    jwts.forget();
    jwts.remember([0; 32], found(), begun, now);
    let begun = jwts.recall(&[0; 32], now).unwrap_err();
    jwts.remember([0; 32], found(), begun, now);
    assert!(jwts.recall(&[0; 32], now).is_ok());
    assert!(jwts.recall(&[0; 32], Timestamp::from_second(9).unwrap()).is_err());
    jwts.forget();
    assert!(jwts.recall(&[0; 32], now).is_err());
}
