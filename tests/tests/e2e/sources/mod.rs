//! Sources: requests signed as each third party's documentation says are taken, and delivered on;
//! each tampered one is refused.

mod kept;
mod parties;
mod repeated;
mod taken;
mod tampered;

use std::sync::atomic::{AtomicU64, Ordering};

use hookmill_tests::{Answer, Client};

type Headers = Vec<(String, String)>;

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
