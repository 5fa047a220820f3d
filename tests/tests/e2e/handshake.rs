//! Leave to send, when something changes while an endpoint is asked: an answer counts for what was
//! asked, and for nothing else.

use hookmill_tests::{Answer, Client, Gate, Receiver, Reply, Server};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const ORIGIN: &str = "events.shop.example";

fn permits() -> Reply {
    Reply::status(200).header("WebHook-Allowed-Origin", ORIGIN)
}

/// A server, a client for it, a receiver, and what lets `/late` answer: each time late.
async fn stage(late: Reply) -> (Server, Client, Receiver, Gate) {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let receiver = Receiver::start().await;
    let gate = Gate::default();
    receiver.reply("/late", [late.late(&gate)]);
    (server, client, receiver, gate)
}

fn subscription(receiver: &Receiver, path: &str) -> Value {
    json!({
        "endpoint": receiver.url(path), "event_types": ["tick"],
        "policy": {"handshake": {"origin": ORIGIN}},
    })
}

/// Begins to create a subscription whose endpoint is late to answer; answers the path it has once
/// that was asked.
async fn creating(client: &Client, receiver: &Receiver) -> (JoinHandle<Answer>, String) {
    let (maker, body) = (client.clone(), subscription(receiver, "/late"));
    let making = tokio::spawn(async move {
        let headers = [("content-type", "application/json"), ("idempotency-key", "the one")];
        maker.send("POST", "/v1/subscriptions", &headers, body.to_string()).await
    });
    receiver.wait("/late", 1).await;
    let list = client.get("/v1/subscriptions").await.expect(200);
    let id = list["data"][0]["id"].as_str().expect("it is made before its endpoint is asked");
    let path = format!("/v1/subscriptions/{id}");
    (making, path)
}

/// Posts to a subscription; answers once its endpoint, which is late, was asked for the `n`th time.
async fn posting(
    client: &Client,
    path: String,
    receiver: &Receiver,
    n: usize,
) -> JoinHandle<Answer> {
    let client = client.clone();
    let posting = tokio::spawn(async move { client.post(&path, &json!({})).await });
    receiver.wait("/late", n).await;
    posting
}

async fn state(client: &Client, path: &str) -> Value {
    client.get(path).await.expect(200)["state"].clone()
}

#[tokio::test]
async fn leave_that_comes_late_is_not_for_the_endpoint_that_was_set_meanwhile() {
    let (_server, client, receiver, gate) = stage(permits()).await;
    let (making, path) = creating(&client, &receiver).await;
    let waiting = client.get(&format!("{path}/handshake")).await.expect(200);
    assert_eq!((&waiting["allowed"], &waiting["waiting"]), (&json!(false), &json!(true)));

    // The other endpoint, which refuses, is asked itself.
    let other = json!({"endpoint": receiver.url("/refuses")});
    assert_eq!(client.patch(&path, &other).await.expect(200)["state"], "paused");
    assert_eq!(receiver.at("/refuses").len(), 1);
    gate.notify_one();
    assert_eq!(making.await.unwrap().expect(201)["state"], "paused");
    assert_eq!(state(&client, &path).await, "paused");
    let last = client.get(&format!("{path}/handshake")).await.expect(200);
    assert_eq!(last["endpoint"], receiver.url("/refuses"), "{last}");
    let event = client.publish("tick", &json!({"n": 1})).await;
    client.delivery_in(event["id"].as_str().unwrap(), &["held"]).await;
    assert_eq!(receiver.at("/refuses").len(), 1);

    // It still waits, and gets what was held once it permits.
    receiver.reply("/refuses", [permits()]);
    client.post(&format!("{path}/handshake"), &json!({})).await.expect(200);
    client.delivery_in(event["id"].as_str().unwrap(), &["succeeded"]).await;
    assert_eq!(receiver.at("/refuses").len(), 3);
}

#[tokio::test]
async fn who_resumes_or_enables_has_leave_of_the_endpoint_that_was_set_meanwhile() {
    let (_server, client, receiver, gate) = stage(permits()).await;
    let made = client.post("/v1/subscriptions", &subscription(&receiver, "/refuses")).await;
    let path = format!("/v1/subscriptions/{}", made.expect(201)["id"].as_str().unwrap());
    client.post(&format!("{path}/disable"), &json!({})).await.expect(200);
    let to = |path: &str| json!({"endpoint": receiver.url(path)});
    let elsewhere = [("/refuses", 409, "disabled"), ("/permits", 200, "active")];
    receiver.reply("/permits", [permits()]);
    for (n, (other, status, then)) in elsewhere.into_iter().enumerate() {
        client.patch(&path, &to("/late")).await.expect(200);
        let enabling = posting(&client, format!("{path}/enable"), &receiver, n + 1).await;
        assert_eq!(client.patch(&path, &to(other)).await.expect(200)["state"], "disabled");
        gate.notify_one();
        let enabled = enabling.await.unwrap();
        assert_eq!(enabled.status, status, "{}", enabled.json());
        assert_eq!(state(&client, &path).await, then);
    }

    // Paused by its owner, it waits for nobody: who resumes it has to ask.
    client.post(&format!("{path}/pause"), &json!({})).await.expect(200);
    client.patch(&path, &to("/late")).await.expect(200);
    let resuming = posting(&client, format!("{path}/resume"), &receiver, 3).await;
    client.patch(&path, &to("/refuses")).await.expect(200);
    gate.notify_one();
    assert_eq!(resuming.await.unwrap().problem(), "handshake-refused");
    assert_eq!(state(&client, &path).await, "paused");
}

#[tokio::test]
async fn who_asks_no_more_is_not_paused_by_a_late_refusal() {
    let (_server, client, receiver, gate) = stage(Reply::status(403)).await;
    let (making, path) = creating(&client, &receiver).await;
    assert_eq!(client.patch(&path, &json!({"policy": {}})).await.expect(200)["state"], "active");
    gate.notify_one();
    assert_eq!(making.await.unwrap().expect(201)["state"], "active");
    assert_eq!(state(&client, &path).await, "active");
}

#[tokio::test]
async fn who_was_disabled_while_it_was_asked_is_told_so() {
    let (_server, client, receiver, gate) = stage(permits()).await;
    let made = client.post("/v1/subscriptions", &subscription(&receiver, "/refuses")).await;
    let path = format!("/v1/subscriptions/{}", made.expect(201)["id"].as_str().unwrap());
    client.post(&format!("{path}/disable"), &json!({})).await.expect(200);
    client.patch(&path, &json!({"endpoint": receiver.url("/permits")})).await.expect(200);
    receiver.reply("/permits", [permits()]);
    client.post(&format!("{path}/enable"), &json!({})).await.expect(200);
    client.post(&format!("{path}/pause"), &json!({})).await.expect(200);
    client.patch(&path, &json!({"endpoint": receiver.url("/late")})).await.expect(200);
    let resuming = posting(&client, format!("{path}/resume"), &receiver, 1).await;
    client.post(&format!("{path}/disable"), &json!({})).await.expect(200);
    gate.notify_one();
    assert_eq!(resuming.await.unwrap().problem(), "subscription-inactive");
    assert_eq!(state(&client, &path).await, "disabled");
}

#[tokio::test]
async fn what_was_deleted_while_it_was_asked_was_made_and_is_gone() {
    let (_server, client, receiver, gate) = stage(permits()).await;
    let (making, path) = creating(&client, &receiver).await;
    assert_eq!(client.delete(&path).await.status, 204);
    gate.notify_one();
    let made = making.await.unwrap();
    assert!(made.expect(201)["secret"].as_str().unwrap().starts_with("whsec_"));
    // Under its key nothing is made again.
    let headers = [("content-type", "application/json"), ("idempotency-key", "the one")];
    let body = subscription(&receiver, "/late").to_string();
    let again = client.send("POST", "/v1/subscriptions", &headers, body).await;
    assert_eq!(again.expect(201), made.json());
    assert_eq!(client.get("/v1/subscriptions").await.expect(200)["data"], json!([]));

    for (n, what) in ["handshake", "resume"].into_iter().enumerate() {
        receiver.reply("/once", [Reply::status(403), permits().late(&gate)]);
        let body = subscription(&receiver, "/once");
        let made = client.post("/v1/subscriptions", &body).await.expect(201);
        let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
        let asking = {
            let (client, path) = (client.clone(), format!("{path}/{what}"));
            tokio::spawn(async move { client.post(&path, &json!({})).await })
        };
        receiver.wait("/once", 2 * (n + 1)).await;
        assert_eq!(client.delete(&path).await.status, 204);
        gate.notify_one();
        assert_eq!(asking.await.unwrap().problem(), "not-found", "{what}");
    }
}

#[tokio::test]
async fn who_is_paused_while_it_waits_for_leave_stays_so_when_leave_comes() {
    let (_server, client, receiver, gate) = stage(permits()).await;
    let (making, path) = creating(&client, &receiver).await;
    let pause = format!("{path}/pause");
    assert_eq!(client.post(&pause, &json!({})).await.expect(200)["state"], "paused");
    gate.notify_one();
    let made = making.await.expect("it ends").expect(201);
    assert_eq!(made["state"], "paused");
    let leave = client.get(&format!("{path}/handshake")).await.expect(200);
    assert_eq!((&leave["allowed"], &leave["waiting"]), (&json!(true), &json!(false)));
    // Nobody need be asked again.
    let resume = format!("{path}/resume");
    assert_eq!(client.post(&resume, &json!({})).await.expect(200)["state"], "active");
    assert_eq!(receiver.at("/late").len(), 1);
}
