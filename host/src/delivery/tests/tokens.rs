//! Access tokens over a scripted network: kept, shared, renewed, refused.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::http::{HeaderMap, Method, header::AUTHORIZATION};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::subscription;
use crate::{
    clock::Clock,
    delivery::{
        auth::Authorizer,
        http::{Exchange, Request, Transport},
    },
    model::{AttemptOutcome, Subscription, Timings},
};

/// Answers in turn; the last one stays.
pub(in crate::delivery) struct Scripted {
    answers: Mutex<VecDeque<(u16, String)>>,
    sent: Mutex<Vec<Request>>,
    /// Requests wait here if it is shut.
    gate: Semaphore,
}

/// A 200 with a body.
pub(in crate::delivery) fn body(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

/// A POST without a body.
pub(in crate::delivery) fn request(url: &str) -> Request {
    Request {
        url: url.parse().unwrap(),
        method: Method::POST,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(5),
        client_cert: None,
    }
}

impl Scripted {
    pub(in crate::delivery) fn new(answers: impl IntoIterator<Item = (u16, String)>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect());
        Self { answers, sent: Mutex::default(), gate: Semaphore::new(Semaphore::MAX_PERMITS) }
    }

    pub(in crate::delivery) fn sent(&self) -> Vec<Request> {
        self.sent.lock().unwrap().clone()
    }

    /// The tokens that came to the endpoint, in order; `-` for each fetch of one.
    fn story(&self) -> String {
        let sent = self.sent();
        let told = sent.iter().map(|request| match request.url.path() {
            "/token" => "-",
            _ => request.headers[AUTHORIZATION].to_str().unwrap(),
        });
        told.collect::<Vec<_>>().join(" ").replace("Bearer ", "")
    }
}

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, request: Request) -> Exchange {
        self.sent.lock().unwrap().push(request);
        let _open = self.gate.acquire().await.unwrap();
        let mut answers = self.answers.lock().unwrap();
        let last = answers.len() == 1;
        let (status, body) =
            if last { answers[0].clone() } else { answers.pop_front().unwrap_or_default() };
        let succeeded = (200..300).contains(&status);
        Exchange {
            outcome: if succeeded { AttemptOutcome::Succeeded } else { AttemptOutcome::HttpStatus },
            status: Some(status),
            error: (!succeeded).then(|| format!("the endpoint answered {status}")),
            retry_after: (status == 503).then_some(Duration::from_secs(7)),
            directive: None,
            headers: HeaderMap::new(),
            body: Some(body),
            timings: Timings::default(),
        }
    }
}

fn token(name: &str, seconds: u32) -> (u16, String) {
    body(&format!(r#"{{"access_token":"{name}","token_type":"bearer","expires_in":{seconds}}}"#))
}

fn done() -> (u16, String) {
    body("thanks")
}

fn with_oauth2(change: &str) -> Subscription {
    let mut subscription = subscription("https://shop.example/hook");
    let mut oauth2 = serde_json::json!({"token_url": "https://login.example/token",
        "client_id": "a:b", "client_secret": "s3cret/+", "scopes": ["one", "two"]});
    let change: serde_json::Map<_, _> = serde_json::from_str(change).unwrap();
    oauth2.as_object_mut().unwrap().extend(change);
    let auth = serde_json::json!({ "oauth2": oauth2 });
    subscription.credentials.auth = Some(serde_json::from_value(auth).unwrap());
    subscription
}

async fn attempt(
    authorizer: &Authorizer,
    network: &Scripted,
    subscription: &Subscription,
) -> Exchange {
    authorizer.send(network, subscription, request(subscription.endpoint.as_str())).await
}

#[tokio::test(start_paused = true)]
async fn a_token_is_used_until_shortly_before_its_end() {
    let network = Scripted::new([token("a", 3600), done(), done(), token("b", 3600), done()]);
    let (authorizer, subscription) = (Authorizer::new(Clock::system()), with_oauth2("{}"));
    attempt(&authorizer, &network, &subscription).await;
    tokio::time::advance(Duration::from_secs(3600 - 61)).await;
    attempt(&authorizer, &network, &subscription).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    attempt(&authorizer, &network, &subscription).await;
    assert_eq!(network.story(), "- a a - b");
}

#[tokio::test]
async fn the_token_request_is_the_one_of_the_specification() {
    let network = Scripted::new([token("a", 3600), done()]);
    let authorizer = Authorizer::new(Clock::system());
    attempt(&authorizer, &network, &with_oauth2("{}")).await;
    let asked = network.sent().remove(0);
    assert_eq!(asked.body, "grant_type=client_credentials&scope=one+two");
    // `a%3Ab:s3cret%2F%2B`: both are form-encoded before they are joined.
    assert_eq!(asked.headers[AUTHORIZATION], "Basic YSUzQWI6czNjcmV0JTJGJTJC");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");

    let network = Scripted::new([token("a", 3600), done()]);
    let in_body = r#"{"token_endpoint_auth_method": "client_secret_post", "audience": "shop"}"#;
    attempt(&authorizer, &network, &with_oauth2(in_body)).await;
    let asked = network.sent().remove(0);
    assert!(!asked.headers.contains_key(AUTHORIZATION));
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&scope=one+two&audience=shop&client_id=a%3Ab&client_secret=s3cret%2F%2B"
    );
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_only_if_it_was_not_new() {
    let refused = || (401, String::new());
    let network = Scripted::new([
        token("a", 3600),
        done(),
        refused(),
        token("b", 3600),
        refused(),
        refused(),
        token("c", 3600),
        done(),
    ]);
    let (authorizer, subscription) = (Authorizer::new(Clock::system()), with_oauth2("{}"));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(attempt(&authorizer, &network, &subscription).await.status);
    }
    assert_eq!(network.story(), "- a a - b b - c");
    assert_eq!(statuses, [Some(200), Some(401), Some(200)]);

    let network = Scripted::new([token("d", 3600), refused()]);
    let other = with_oauth2(r#"{"client_id": "other"}"#);
    assert_eq!(attempt(&authorizer, &network, &other).await.status, Some(401));
    assert_eq!(network.story(), "- d");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_failure_names_the_endpoint_and_no_secret() {
    let echo = r#"{"error":"s3cret/+ is wrong","access_token":"x"}"#.to_owned();
    for (answer, message) in [
        (
            (401, r#"{"error":"invalid_client","error_description":"s3cret"}"#.to_owned()),
            "the endpoint answered 401 (invalid_client)",
        ),
        ((400, echo), "the endpoint answered 400"),
        ((503, "busy".to_owned()), "the endpoint answered 503"),
        (body("<html>"), "its answer is not what RFC 6749 says"),
        (body("{}"), "its answer has no access_token"),
        (token(r"a\nb", 60), "its token cannot be sent in a header"),
        (
            body(r#"{"access_token":"a","token_type":"mac"}"#),
            "it gives tokens of another type than Bearer",
        ),
    ] {
        let status = answer.0;
        let network = Scripted::new([answer]);
        let authorizer = Authorizer::new(Clock::system());
        let exchange = attempt(&authorizer, &network, &with_oauth2("{}")).await;
        assert_eq!(exchange.outcome, AttemptOutcome::Auth);
        let expected = format!("no access token from login.example: {message}");
        assert_eq!(exchange.error.unwrap(), expected);
        assert_eq!(exchange.retry_after.is_some(), status == 503);
        assert_eq!((network.story().as_str(), exchange.status, exchange.body), ("-", None, None));
    }
}

#[tokio::test]
async fn those_who_wait_for_a_token_share_it_and_its_failure() {
    for (answer, expected) in [(token("a", 3600), 200), ((500, String::new()), 0)] {
        let network = Arc::new(Scripted::new([answer, done()]));
        let authorizer = Arc::new(Authorizer::new(Clock::system()));
        // All ask while the first answer is held back.
        network.gate.forget_permits(Semaphore::MAX_PERMITS);
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let (authorizer, network) = (Arc::clone(&authorizer), Arc::clone(&network));
                // Two subscriptions with the same client share its tokens.
                let subscription = with_oauth2("{}");
                tokio::spawn(
                    async move { attempt(&authorizer, &network, &subscription).await.status },
                )
            })
            .collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        network.gate.add_permits(Semaphore::MAX_PERMITS);
        for attempt in waiting {
            assert_eq!(attempt.await.unwrap().unwrap_or_default(), expected);
        }
        let fetches = network.story().matches('-').count();
        assert_eq!(fetches, 1);
    }
}
