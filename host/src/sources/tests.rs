//! Requests as their third parties' documentation shows them, and what is wrong with others.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{refusal::Reason, repetition::Print, verify::verify};
use crate::model::{
    ApplicationId, HmacRule, Repetitions, SecretText, Source, SourceId, SourceKind, SourceSecret,
    SourceSecretId, SourceSettings, Timestamp, UnknownTypes,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A source as one is made that says nothing but its kind.
pub(super) fn source(kind: SourceKind, secrets: &[&str]) -> Source {
    let now = Timestamp::UNIX_EPOCH;
    let secret = |text: &&str| SourceSecret {
        id: SourceSecretId::new(now),
        text: SecretText::new((*text).into()),
        created_at: now,
        expires_at: None,
    };
    Source {
        id: SourceId::new(now),
        application: ApplicationId::new(now),
        name: "test".into(),
        settings: SourceSettings {
            kind,
            hmac: None,
            username: None,
            tolerance_seconds: 300,
            event_type: kind.event_type().unwrap_or_default(),
            delivery_id: None,
            repetitions: None,
            subject: None,
            unknown_event_types: UnknownTypes::Refuse,
            pipeline: vec![],
            created_event_types: 0,
        },
        secrets: secrets.iter().map(secret).collect(),
        created_at: now,
        updated_at: now,
    }
}

#[test]
fn what_was_signed_tells_a_request_from_others() {
    let print = |source: &Source, pairs: &[(&str, &str)], body: &str, event_type: &str| {
        Print::of(source, &headers(pairs), body.as_bytes()).text(event_type)
    };
    let github = source(SourceKind::Github, &[]);
    let one = print(&github, &[("x-github-delivery", "1")], "{}", "github.push");
    assert!(one.is_some());
    assert_eq!(one, print(&github, &[("x-github-delivery", "2")], "{}", "github.ping"));
    assert_ne!(one, print(&github, &[], "{ }", "github.push"));

    // An order that is paid as it is created is one body, and two events.
    let shopify = source(SourceKind::Shopify, &[]);
    let one = print(&shopify, &[], "{}", "shopify.orders.create");
    assert_eq!(
        one,
        print(&shopify, &[("x-shopify-webhook-id", "2")], "{}", "shopify.orders.create")
    );
    assert_ne!(one, print(&shopify, &[], "{}", "shopify.orders.paid"));

    // The same body at another signed time is another request; none runs into the other.
    let slack = source(SourceKind::Slack, &[]);
    let at = |time: &str, body: &str| {
        print(&slack, &[("x-slack-request-timestamp", time)], body, "slack.x")
    };
    assert_eq!(at("17", "{}"), at("17", "{}"));
    assert_ne!(at("17", "{}"), at("18", "{}"));
    assert_ne!(at("17", "1{}"), at("171", "{}"));

    for kind in [SourceKind::Stripe, SourceKind::StandardWebhooks, SourceKind::Hmac] {
        assert_eq!(print(&source(kind, &[]), &[], "{}", "a.b"), None, "{kind:?}");
    }
    let mut hmac = source(SourceKind::Hmac, &[]);
    hmac.settings.repetitions = Some(Repetitions::Content);
    assert!(print(&hmac, &[], "{}", "a.b").is_some());
    let mut github = github;
    github.settings.repetitions = Some(Repetitions::Id);
    assert_eq!(print(&github, &[], "{}", "github.push"), None);
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The reason of a refusal; none if it was taken.
fn reason(source: &Source, pairs: &[(&str, &str)], body: &[u8], now: i64) -> Option<Reason> {
    verify(source, &headers(pairs), body, at(now)).err().map(|refusal| refusal.reason)
}

// GitHub's documentation, "Validating webhook deliveries".
const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const GITHUB_SECRET: &str = "It's a Secret to Everybody";

#[test]
fn githubs_example_is_verified_and_nothing_near_it() {
    let name = "x-hub-signature-256";
    let source = source(SourceKind::Github, &["another", GITHUB_SECRET]);
    let of = |value: &str, body: &[u8]| reason(&source, &[(name, value)], body, 0);
    assert_eq!(of(GITHUB, b"Hello, World!"), None);
    assert_eq!(of(GITHUB, b"Hello, World"), Some(Reason::NoMatch));
    assert_eq!(of(&GITHUB[..69], b"Hello, World!"), Some(Reason::NoMatch));
    assert_eq!(of(&GITHUB[..70], b"Hello, World!"), Some(Reason::MalformedHeader));
    assert_eq!(of(&GITHUB[7..], b"Hello, World!"), Some(Reason::MalformedHeader));
    assert_eq!(of(&GITHUB.to_uppercase(), b"Hello, World!"), Some(Reason::MalformedHeader));
    assert_eq!(of(&GITHUB.replace("256", "1"), b"Hello, World!"), Some(Reason::MalformedHeader));
    let twice = [(name, GITHUB), (name, GITHUB)];
    assert_eq!(reason(&source, &twice, b"Hello, World!", 0), Some(Reason::RepeatedHeader));
    assert_eq!(reason(&source, &[], b"Hello, World!", 0), Some(Reason::MissingHeader));
    for at in 0..GITHUB.len() - 7 {
        let mut flipped = GITHUB.to_owned().into_bytes();
        flipped[7 + at] = if flipped[7 + at] == b'0' { b'1' } else { b'0' };
        let flipped = String::from_utf8(flipped).unwrap();
        assert_eq!(of(&flipped, b"Hello, World!"), Some(Reason::NoMatch), "{at}");
    }
}

#[test]
fn a_secret_that_ended_or_is_not_there_verifies_nothing() {
    let mut github = source(SourceKind::Github, &[GITHUB_SECRET]);
    let pairs = [("x-hub-signature-256", GITHUB)];
    github.secrets[0].expires_at = Some(at(100));
    assert_eq!(reason(&github, &pairs, b"Hello, World!", 99), None);
    assert_eq!(reason(&github, &pairs, b"Hello, World!", 100), Some(Reason::NoSecret));
    github.secrets.clear();
    assert_eq!(reason(&github, &pairs, b"Hello, World!", 0), Some(Reason::NoSecret));
}

// Slack's documentation, "Verifying requests from Slack".
#[test]
fn slacks_example_is_verified_within_its_time() {
    let source = source(SourceKind::Slack, &["8f742231b10e8888abcd99yyyzzz85a5"]);
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015\
        .47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let then = 1_531_420_618;
    let (sign, stamp) = ("x-slack-signature", "x-slack-request-timestamp");
    let good = [(sign, signature), (stamp, "1531420618")];
    for (now, expected) in [
        (then, None),
        (then + 300, None),
        (then + 301, Some(Reason::TooOld)),
        (then - 301, Some(Reason::TooNew)),
    ] {
        assert_eq!(reason(&source, &good, body, now), expected, "{now}");
    }
    for (pairs, expected) in [
        (vec![(sign, signature), (stamp, "1531420619")], Reason::NoMatch),
        (vec![(sign, signature)], Reason::MissingHeader),
        (vec![(stamp, "1531420618")], Reason::MissingHeader),
        (vec![(sign, signature), (stamp, "yesterday")], Reason::MalformedHeader),
        (vec![(sign, signature), (stamp, "1531420618"), (stamp, "1")], Reason::RepeatedHeader),
        (vec![(sign, &signature[3..]), (stamp, "1531420618")], Reason::MalformedHeader),
    ] {
        assert_eq!(reason(&source, &pairs, body, then), Some(expected), "{pairs:?}");
    }
}

// The example of the Standard Webhooks specification, and the one that implementations of its
// asymmetric signatures share.
#[test]
fn standard_webhooks_examples_are_verified_under_both_sets_of_names() {
    let body = br#"{"test": 2432232314}"#;
    let symmetric = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    );
    let asymmetric = (
        "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    );
    let then = 1_614_265_330;
    for (secret, signature) in [symmetric, asymmetric] {
        let source = source(SourceKind::StandardWebhooks, &[secret]);
        for start in ["webhook", "svix"] {
            let names = ["id", "timestamp", "signature"].map(|part| format!("{start}-{part}"));
            let values = ["msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", signature];
            let pairs: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
            assert_eq!(reason(&source, &pairs, body, then), None, "{start}");
            assert_eq!(reason(&source, &pairs, body, then + 301), Some(Reason::TooOld));
            let mut other = pairs.clone();
            other[0].1 = "msg_other";
            assert_eq!(reason(&source, &other, body, then), Some(Reason::NoMatch));
            assert_eq!(reason(&source, &pairs[1..], body, then), Some(Reason::MissingHeader));
            let mixed = [&pairs[..], &[("webhook-signature", "v1,")]].concat();
            assert!(reason(&source, &mixed, body, then).is_some());
        }
    }
}

#[test]
fn a_password_is_compared_whole() {
    let mut source = source(SourceKind::Basic, &["old", "open sesame"]);
    source.settings.username = Some("Aladdin".into());
    let of = |value: &str| reason(&source, &[("authorization", value)], b"{}", 0);
    // RFC 7617's credentials, with a space in the password as there.
    assert_eq!(of("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), None);
    assert_eq!(of("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), None);
    assert_eq!(of("Basic QWxhZGRpbjpvbGQ="), None);
    assert_eq!(of("Basic QWxhZGRpbjo="), Some(Reason::NoMatch));
    assert_eq!(of("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"), Some(Reason::MalformedHeader));
    assert_eq!(of("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Some(Reason::MalformedHeader));
    assert_eq!(reason(&source, &[], b"{}", 0), Some(Reason::MissingHeader));
}

// RFC 4231, test case 2, in the place of a third party of no known kind.
#[test]
fn an_hmac_is_made_as_its_rule_says() {
    let mut source = source(SourceKind::Hmac, &["4a656665"]);
    let rule = serde_json::json!({"header": "X-Sign", "prefix": "h=", "key": "hex"});
    source.settings.hmac = Some(serde_json::from_value::<HmacRule>(rule).unwrap());
    let digest = "h=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let body = b"what do ya want for nothing?";
    assert_eq!(reason(&source, &[("x-sign", digest)], body, 0), None);
    assert_eq!(
        reason(&source, &[("x-sign", &digest.to_uppercase())], body, 0),
        Some(Reason::MalformedHeader)
    );
    assert_eq!(reason(&source, &[("x-sign", digest)], b"", 0), Some(Reason::NoMatch));
    source.settings.hmac.as_mut().unwrap().content = "{timestamp}.{body}".into();
    let unstamped = reason(&source, &[("x-sign", digest)], body, 0);
    assert_eq!(unstamped, Some(Reason::MissingHeader));
}
