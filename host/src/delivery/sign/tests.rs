//! Each scheme against what its inventor published, and against whatever may arrive.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ID_OF: &str = "dlv_01";
const SECONDS: i64 = 1_790_000_000;

fn scheme(json: Value) -> Scheme {
    serde_json::from_value(json).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// The headers of a request that `schemes` signed.
fn signed(schemes: &[Scheme], secrets: &[Secret], body: &[u8], seconds: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let stamp = seconds.to_string();
    // These two are on every request.
    put(&mut headers, ID, ID_OF);
    put(&mut headers, TIMESTAMP, &stamp);
    let signed = Signed { id: ID_OF, stamp: &stamp, body };
    set(&mut headers, schemes, secrets, &signed, at(seconds));
    headers
}

/// Every scheme there is, with a secret and what its receiver has.
fn all() -> Vec<(Scheme, Secret, Key)> {
    let symmetric = Secret::from_key(vec![7; 32]).unwrap();
    let pair = Secret::from_seed([9; 32]);
    let text = "It's a Secret to Everybody";
    let mut all = vec![
        (scheme(json!({"scheme": "standard"})), symmetric.clone(), symmetric.reveal()),
        (
            scheme(json!({"scheme": "standard", "header_prefix": "svix"})),
            symmetric.clone(),
            symmetric.reveal(),
        ),
        (
            scheme(json!({"scheme": "standard_asymmetric"})),
            pair.clone(),
            pair.public_key().unwrap().to_string(),
        ),
    ];
    let own = [
        json!({"scheme": "github"}),
        json!({"scheme": "stripe"}),
        json!({"scheme": "hmac", "header": "x-sha1", "algorithm": "sha1", "name": "a"}),
        json!({"scheme": "hmac", "header": "x-slack-signature", "prefix": "v0=", "name": "slack",
            "content": "v0:{timestamp}:{body}", "timestamp_header": "x-slack-request-timestamp"}),
        json!({"scheme": "hmac", "header": "x-full", "algorithm": "sha512", "encoding": "base64",
            "content": "{id}.{timestamp}.{body}", "id_header": "x-id", "name": "full"}),
    ];
    for scheme in own.map(scheme) {
        let secret = Secret::named(scheme.name(), text).unwrap();
        all.push((scheme, secret, text.into()));
    }
    all.into_iter()
        .map(|(scheme, secret, text)| {
            let key = Key::parse(&scheme, &text).unwrap();
            (scheme, secret, key)
        })
        .collect()
}

// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
#[test]
fn githubs_example_is_signed_as_it_says() {
    let github = scheme(json!({"scheme": "github"}));
    let secret = Secret::named("github", "It's a Secret to Everybody").unwrap();
    let headers = signed(&[github], &[secret], b"Hello, World!", SECONDS);
    assert_eq!(
        headers["x-hub-signature-256"],
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    assert!(headers.get(SIGNATURE).is_none(), "only what is asked for signs");
}

// RFC 4231, test case 2, and RFC 2202, test case 2.
#[test]
fn hmac_is_that_of_its_rfcs() {
    let (key, data) = (b"Jefe", b"what do ya want for nothing?");
    for (algorithm, expected) in [
        (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (Algorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Algorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        assert_eq!(hex::encode(mac(algorithm, key, [&data[..]])), expected);
    }
}

#[test]
fn stripes_header_has_the_time_and_a_signature_for_each_secret() {
    let stripe = scheme(json!({"scheme": "stripe"}));
    let mut old = Secret::named("stripe", "old").unwrap();
    old.expires_at = Some(at(SECONDS + 1));
    let secrets = [Secret::named("stripe", "new").unwrap(), old];
    let schemes = [stripe];
    let headers = signed(&schemes, &secrets, b"{}", SECONDS);
    let value = headers["stripe-signature"].to_str().unwrap();
    assert!(value.starts_with("t=1790000000,v1="), "{value}");
    assert_eq!(value.matches(",v1=").count(), 2);
    for text in ["old", "new"] {
        let key = Key::parse(&schemes[0], text).unwrap();
        assert_eq!(check(&schemes[0], &key, &headers, b"{}", Some(TOLERANCE), at(SECONDS)), Ok(()));
    }
    let later = signed(&schemes, &secrets, b"{}", SECONDS + 1);
    assert_eq!(later["stripe-signature"].to_str().unwrap().matches(",v1=").count(), 1);
}

#[test]
fn all_schemes_at_once_each_verify() {
    let all = all();
    let schemes: Vec<_> = all.iter().map(|(scheme, ..)| scheme.clone()).collect();
    let secrets: Vec<_> = all.iter().map(|(_, secret, _)| secret.clone()).collect();
    let headers = signed(&schemes, &secrets, b"{\"n\":1}", SECONDS);
    for (scheme, _, key) in &all {
        let now = at(SECONDS + 10);
        let checked = check(scheme, key, &headers, b"{\"n\":1}", Some(TOLERANCE), now);
        assert_eq!(checked, Ok(()), "{scheme:?}");
        let late = check(scheme, key, &headers, b"{\"n\":1}", Some(TOLERANCE), at(SECONDS + 301));
        let timeless = matches!(scheme.name(), "github" | "a");
        assert_eq!(late.is_ok(), timeless, "{scheme:?}");
    }
    assert_eq!(headers["svix-id"], ID_OF);
    assert_eq!(headers["x-id"], ID_OF);
    assert_eq!(headers["x-slack-request-timestamp"], "1790000000");
}

#[test]
fn a_missing_or_odd_header_is_named() {
    for (scheme, _, key) in all() {
        let header = scheme.signature_header().into_owned();
        let mut headers = HeaderMap::new();
        let missing = check(&scheme, &key, &headers, b"", None, at(0)).unwrap_err();
        assert!(matches!(missing, VerifyError::Missing(_)), "{missing}");
        for name in
            [ID, TIMESTAMP, "svix-id", "svix-timestamp", "x-id", "x-slack-request-timestamp"]
        {
            put(&mut headers, name, "0");
        }
        put(&mut headers, &header, "!");
        let odd = check(&scheme, &key, &headers, b"", None, at(0)).unwrap_err();
        assert!(matches!(odd, VerifyError::Malformed(_) | VerifyError::NoMatch), "{odd}");
    }
}

#[test]
fn a_key_is_of_the_form_its_scheme_says() {
    let hex = scheme(json!({"scheme": "hmac", "header": "x", "key": "hex"}));
    assert_eq!(Key::parse(&hex, "0aff"), Ok(Key::Hmac(vec![10, 255])));
    assert_eq!(Key::parse(&hex, "xyz"), Err("is not hexadecimal".into()));
    let base64 = scheme(json!({"scheme": "hmac", "header": "x", "key": "base64"}));
    assert_eq!(Key::parse(&base64, "AAE="), Ok(Key::Hmac(vec![0, 1])));
    assert!(Key::parse(&scheme(json!({"scheme": "standard"})), "hunter2").is_err());
    let asymmetric = scheme(json!({"scheme": "standard_asymmetric"}));
    assert!(Key::parse(&asymmetric, "whsec_AAAA").is_err());
    let pair = Secret::from_seed([1; 32]);
    let public = Key::Public(pair.public_key().unwrap());
    assert_eq!(Key::parse(&asymmetric, &pair.reveal()), Ok(public.clone()));
    let wrong = check(&hex, &public, &HeaderMap::new(), b"", None, at(0));
    assert_eq!(wrong, Err(VerifyError::WrongKey("hmac".into())));
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_any_flipped_bit_does_not(
        which in 0usize..8,
        body in prop::collection::vec(any::<u8>(), 1..200),
        at_byte in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (scheme, secret, key) = all().swap_remove(which);
        let headers = signed(std::slice::from_ref(&scheme), &[secret], &body, SECONDS);
        let now = at(SECONDS);
        prop_assert_eq!(check(&scheme, &key, &headers, &body, Some(TOLERANCE), now), Ok(()));
        let mut flipped = body.clone();
        flipped[at_byte.index(body.len())] ^= 1 << bit;
        let refused = check(&scheme, &key, &headers, &flipped, Some(TOLERANCE), now);
        prop_assert_eq!(refused, Err(VerifyError::NoMatch));
    }

    #[test]
    fn hostile_headers_are_refused_without_a_panic(
        which in 0usize..8,
        value in prop::collection::vec(any::<u8>(), 0..80),
        stamp in "[ -~]{0,25}",
    ) {
        let (scheme, _, key) = all().swap_remove(which);
        let mut headers = HeaderMap::new();
        for name in [ID, TIMESTAMP, "svix-id", "svix-timestamp", "x-id", "x-slack-request-timestamp"] {
            put(&mut headers, name, &stamp);
        }
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let name = HeaderName::from_bytes(scheme.signature_header().as_bytes()).unwrap();
            headers.insert(name, value);
        }
        for tolerance in [None, Some(TOLERANCE)] {
            let checked = check(&scheme, &key, &headers, b"{}", tolerance, at(SECONDS));
            prop_assert!(checked.is_err());
        }
    }

    #[test]
    fn a_changed_signature_is_refused(
        which in 0usize..8,
        at_char in any::<prop::sample::Index>(),
        other in "[0-9a-f]",
    ) {
        let (scheme, secret, key) = all().swap_remove(which);
        let mut headers = signed(std::slice::from_ref(&scheme), &[secret], b"{}", SECONDS);
        let name = HeaderName::from_bytes(scheme.signature_header().as_bytes()).unwrap();
        let good = headers[&name].to_str().unwrap().to_owned();
        let mut bad = good.clone();
        let place = at_char.index(good.len());
        bad.replace_range(place..=place, &other);
        prop_assume!(bad != good);
        headers.insert(&name, HeaderValue::from_str(&bad).unwrap());
        let checked = check(&scheme, &key, &headers, b"{}", Some(TOLERANCE), at(SECONDS));
        prop_assert!(checked.is_err());
    }
}
