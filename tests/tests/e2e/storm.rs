//! Everything at once: subscriptions are changed, paused, disabled, deleted and replayed in an
//! order that a seed decides, while events flow and the server is killed. Then the books are
//! checked. `STORM_SEED` repeats a run's choices.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    process::Command,
    time::Duration,
};

use hookmill_tests::{Client, Receiver, Reply, Server, binary};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

const ROUNDS: u64 = 6;
const STEPS: u64 = 60;
/// Those that are changed, but neither disabled nor deleted: they must get every event.
const LASTING: [&str; 3] = ["/strict", "/subject", "/plain"];

/// Numbers that follow from a seed: `SplitMix64`.
struct Seed(u64);

impl Seed {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// What is there to be disturbed.
struct Storm {
    seed: Seed,
    receiver: Receiver,
    lasting: Vec<String>,
    passing: Vec<String>,
    replays: Vec<String>,
}

impl Storm {
    fn replies(&mut self) -> Vec<Reply> {
        let statuses = [503, 500, 429, 400];
        let mut all: Vec<_> = (0..40)
            .map(|_| match self.seed.below(3) {
                0 => Reply::status(statuses[self.seed.below(4) as usize]),
                _ => Reply::status(200),
            })
            .collect();
        all.push(Reply::status(200));
        all
    }

    async fn subscribe(&self, client: &Client, path: &str, policy: &Value) -> Option<String> {
        let mut policy = policy.clone();
        policy["retry"] = json!({"schedule": vec![0; 50]});
        let body = json!({"endpoint": self.receiver.url(path), "event_types": ["tick"],
            "policy": policy});
        let made = send(client, "POST", "/v1/subscriptions", &body).await?;
        Some(made["id"].as_str().expect("an id").to_owned())
    }

    /// One request, whatever comes of it; none of them may be answered by a 5xx.
    async fn disturb(&mut self, client: &Client) {
        let any = self.seed.below(self.passing.len() as u64) as usize;
        let passing = self.passing[any].clone();
        let lasting = self.lasting[self.seed.below(3) as usize].clone();
        let either = if self.seed.below(2) == 0 { &passing } else { &lasting };
        let path = format!("/v1/subscriptions/{either}");
        let nothing = Value::Null;
        match self.seed.below(12) {
            0 => drop(send(client, "POST", &format!("{path}/pause"), &nothing).await),
            1 | 2 => drop(send(client, "POST", &format!("{path}/resume"), &nothing).await),
            3 => {
                let path = format!("/v1/subscriptions/{passing}/disable");
                drop(send(client, "POST", &path, &nothing).await);
            }
            4 => {
                let path = format!("/v1/subscriptions/{passing}/enable");
                drop(send(client, "POST", &path, &nothing).await);
            }
            5 | 6 => {
                let rate = json!({"per_second": 200 + self.seed.below(800), "burst": 5});
                let mut policy = json!({"retry": {"schedule": vec![0; 50]},
                    "concurrency": 1 + self.seed.below(8)});
                if self.seed.below(2) == 0 {
                    policy["rate_limit"] = rate;
                }
                let index = self.lasting.iter().position(|id| id == either);
                policy["ordering"] = json!(match index {
                    Some(index) => ["strict", "by_subject", "none"][index],
                    None => ["strict", "by_subject", "none"][self.seed.below(3) as usize],
                });
                drop(send(client, "PATCH", &path, &json!({"policy": policy})).await);
            }
            7 => {
                let path = format!("/v1/subscriptions/{passing}");
                if send(client, "DELETE", &path, &nothing).await.is_some() {
                    let policy = [json!({}), json!({"ordering": "strict"})];
                    let policy = &policy[self.seed.below(2) as usize];
                    let fresh = self.subscribe(client, "/passing", policy).await;
                    self.passing.extend(fresh);
                    if self.passing.len() > 1 {
                        self.passing.remove(any);
                    }
                }
            }
            8 | 9 => {
                let modes = ["original", "rerun", "missing"];
                let mode = modes[self.seed.below(3) as usize];
                let mut body = json!({"mode": mode, "subscription_ids": [passing]});
                if mode == "missing" {
                    body["since"] = json!("2026-01-01T00:00:00Z");
                } else {
                    body["states"] = json!(["dead", "pending"]);
                }
                let made = send(client, "POST", "/v1/replays", &body).await;
                self.replays.extend(made.and_then(|m| Some(m["id"].as_str()?.to_owned())));
            }
            10 if !self.replays.is_empty() => {
                let replay = &self.replays[self.seed.below(self.replays.len() as u64) as usize];
                let what = ["pause", "resume", "cancel"][self.seed.below(3) as usize];
                drop(send(client, "POST", &format!("/v1/replays/{replay}/{what}"), &nothing).await);
            }
            _ => {
                let list = format!("/v1/deliveries?limit=5&subscription_id={passing}");
                let found = send(client, "GET", &list, &nothing).await.unwrap_or_default();
                if let Some(id) = found["data"][0]["id"].as_str() {
                    let path = format!("/v1/deliveries/{id}/retry");
                    drop(send(client, "POST", &path, &nothing).await);
                }
            }
        }
    }
}

/// The answer if it is a 2xx; nothing of a refusal, or if the server is gone.
async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Option<Value> {
    let headers = [("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = if body.is_empty() { &headers[..0] } else { &headers[..] };
    let asked = client.try_send(method, path, headers, body);
    let answer = timeout(Duration::from_secs(20), asked).await.expect("an answer in time").ok()?;
    assert!(answer.status < 500, "{method} {path}: {:#}", answer.json());
    (answer.status < 300).then(|| answer.json())
}

/// Publishes one event after another until the server is gone; answers the next number, and
/// the ids of those it was given a 2xx for.
async fn produce(client: Client, mut number: u64, least: u64) -> (u64, BTreeMap<u64, String>) {
    let mut acknowledged = BTreeMap::new();
    for _ in 0..least {
        let body = json!({"type": "tick", "subject": format!("s{}", number % 3),
            "payload": {"n": number}});
        number += 1;
        match send(&client, "POST", "/v1/events", &body).await {
            Some(answer) => {
                acknowledged
                    .insert(number - 1, answer["id"].as_str().expect("it is a text").to_owned());
            }
            None => break,
        }
    }
    (number, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_changes_and_kills_nothing_is_lost_and_order_is_kept() {
    let seed = std::env::var("STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("STORM_SEED={seed}");
    let mut server = Server::start_with(&[("BREAKER_PERCENT", "0")]).await;
    let mut client = server.client();
    client.event_type("tick").await;
    let mut storm = Storm {
        seed: Seed(seed),
        receiver: Receiver::start().await,
        lasting: vec![],
        passing: vec![],
        replays: vec![],
    };
    for (path, ordering) in LASTING.into_iter().zip(["strict", "by_subject", "none"]) {
        let id = storm.subscribe(&client, path, &json!({"ordering": ordering})).await;
        storm.lasting.extend(id);
    }
    for _ in 0..3 {
        let id = storm.subscribe(&client, "/passing", &json!({})).await;
        storm.passing.extend(id);
    }
    let (mut next, mut acknowledged) = (0, BTreeMap::new());
    for _ in 0..ROUNDS {
        for path in LASTING.into_iter().chain(["/passing"]) {
            let replies = storm.replies();
            storm.receiver.reply(path, replies);
        }
        let mut producer = JoinSet::new();
        producer.spawn(produce(client.clone(), next, 400));
        for _ in 0..storm.seed.below(STEPS) + STEPS / 2 {
            storm.disturb(&client).await;
        }
        server.kill().await;
        let (number, more) = producer.join_next().await.expect("one").expect("no panic");
        next = number;
        acknowledged.extend(more);
        server.restart().await;
        client = server.client();
    }
    for id in storm.lasting.iter().chain(&storm.passing) {
        for what in ["resume", "enable"] {
            send(&client, "POST", &format!("/v1/subscriptions/{id}/{what}"), &Value::Null).await;
        }
    }
    for replay in &storm.replays {
        send(&client, "POST", &format!("/v1/replays/{replay}/cancel"), &Value::Null).await;
    }
    for state in ["held", "pending", "delivering"] {
        let path = format!("/v1/deliveries?state={state}");
        client.wait_for(&path, |list| list["data"] == json!([])).await;
    }
    for path in LASTING {
        let arrived = storm.receiver.at(path);
        let mut bodies: HashMap<&str, HashSet<&[u8]>> = HashMap::new();
        let mut first: Vec<u64> = Vec::new();
        let mut seen = HashSet::new();
        for request in &arrived {
            bodies.entry(request.header("webhook-id")).or_default().insert(&request.body);
            let number = request.json()["n"].as_u64().expect("a number");
            if seen.insert(number) {
                first.push(number);
            }
        }
        let lost: Vec<_> = acknowledged.keys().filter(|n| !seen.contains(n)).collect();
        assert!(lost.is_empty(), "{path}: lost {lost:?}");
        assert!(bodies.values().all(|bodies| bodies.len() == 1), "{path}: the same bytes");
        let keys = if path == "/strict" { 1 } else { 3 };
        for key in (0..keys).filter(|_| path != "/plain") {
            let of_key: Vec<_> = first.iter().filter(|n| *n % keys == key).collect();
            assert!(of_key.is_sorted(), "{path}: out of order: {of_key:?}");
        }
        println!("{path}: {} requests for {} events", arrived.len(), seen.len());
    }
    println!("{} acknowledged", acknowledged.len());
    assert!(server.stop().await.success());
    let mut check = Command::new(binary());
    check.arg("check").arg("--database").arg(server.folder().join("hookmill.db"));
    let checked = check.output().expect("check runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
}
