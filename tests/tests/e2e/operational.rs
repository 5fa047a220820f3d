//! Hookmill's own events: who hears of what, and that it ends there.

use hookmill_tests::{Act, Client, Receiver, Reply, Server, Version};
use serde_json::{Value, json};

/// A subscription that gives up after its first attempt.
async fn impatient(client: &Client, endpoint: &str, patterns: &[&str]) -> String {
    let body = json!({"endpoint": endpoint, "event_types": patterns,
        "policy": {"retry": {"schedule": [0]}}});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    made["id"].as_str().expect("an id").to_owned()
}

/// Publishes a `tick` and waits until its delivery is dead; answers the delivery.
async fn dead(client: &Client) -> Value {
    let event = client.publish("tick", &json!({})).await;
    client.delivery_in(event["id"].as_str().expect("an id"), &["dead"]).await
}

/// The application of whoever runs the server, with a subscription to everything of its own.
async fn operator(client: &Client, endpoint: &str) {
    client.post("/v1/applications", &json!({"name": "hookmill-operator"})).await.expect(201);
    let headers =
        [("content-type", "application/json"), ("hookmill-application", "hookmill-operator")];
    let body = json!({"endpoint": endpoint, "event_types": ["hookmill.**"]}).to_string();
    client.send("POST", "/v1/subscriptions", &headers, body).await.expect(201);
}

#[tokio::test]
async fn a_dead_delivery_is_told_to_its_owner_and_the_operator_and_nobody_else() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    client.event_type("tick").await;
    receiver.reply("/bad", [Reply::status(500)]);
    let bad = impatient(&client, &receiver.url("/bad"), &["tick"]).await;
    let (_, secret) = client.subscribe(&receiver.url("/own"), &["hookmill.**"], &json!([])).await;
    operator(&client, &receiver.url("/operator")).await;
    // Another tenant, and one who asks for everything.
    client.post("/v1/applications", &json!({"name": "other"})).await.expect(201);
    let other = [("content-type", "application/json"), ("hookmill-application", "other")];
    let body =
        json!({"endpoint": receiver.url("/other"), "event_types": ["hookmill.**"]}).to_string();
    client.send("POST", "/v1/subscriptions", &other, body).await.expect(201);
    client.subscribe(&receiver.url("/all"), &["**"], &json!([])).await;

    let event = client.publish("tick", &json!({})).await;
    let arrived = receiver.wait("/own", 1).await.remove(0);
    assert_eq!(arrived.header("hookmill-event-type"), "hookmill.delivery.dead");
    assert!(arrived.verifies(&secret));
    let told = arrived.json();
    assert_eq!(told["event_id"], event["id"]);
    assert_eq!(told["subscription_id"], bad);
    assert_eq!((&told["application"], &told["event_type"]), (&json!("default"), &json!("tick")));
    let reason = told["reason"].as_str().expect("a reason");
    assert!(reason.contains("500 Internal Server Error"), "{reason}");
    let same = receiver.wait("/operator", 1).await.remove(0).json();
    assert_eq!(same["delivery_id"], told["delivery_id"]);
    // The event itself came to who asked for everything; what it led to did not.
    assert_eq!(receiver.wait("/all", 1).await.len(), 1);
    assert_eq!((receiver.at("/all").len(), receiver.at("/other").len()), (1, 0));

    // It satisfies the schema that is answered for its type.
    let kind = client.get("/v1/event-types/hookmill.delivery.dead").await.expect(200);
    for field in kind["schema"]["required"].as_array().expect("a list") {
        assert!(told.get(field.as_str().expect("a name")).is_some(), "{field}");
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_not_told_of() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    client.event_type("tick").await;
    for path in ["/bad", "/operator"] {
        receiver.reply(path, [Reply::status(500)]);
    }
    impatient(&client, &receiver.url("/bad"), &["tick"]).await;
    impatient(&client, &receiver.url("/operator"), &["hookmill.**"]).await;
    impatient(&client, &receiver.url("/operator"), &["hookmill.delivery.dead"]).await;
    for round in 1..=3 {
        dead(&client).await;
        // Both subscriptions' deliveries of it die. Were that told of, more would come.
        let all = "/v1/deliveries?state=dead&limit=100";
        let done = |list: &Value| list["data"].as_array().is_some_and(|l| l.len() == 3 * round);
        client.wait_for(all, done).await;
    }
    let events = client.get("/v1/events?event_type=hookmill.delivery.dead").await.expect(200);
    assert_eq!(events["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(receiver.at("/operator").len(), 6);
}

#[tokio::test]
async fn a_storm_is_told_of_ten_times() {
    // An endpoint that fails so often would be left alone for a while.
    let server = Server::start_with(&[("BREAKER_PERCENT", "0")]).await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    receiver.reply("/bad", [Reply::status(500)]);
    impatient(&client, &receiver.url("/bad"), &["tick"]).await;
    client.subscribe(&receiver.url("/own"), &["hookmill.delivery.dead"], &json!([])).await;
    for _ in 0..25 {
        dead(&client).await;
    }
    let suppressed = "hookmill_notices_suppressed_total{kind=\"delivery_dead\"} 15";
    let deadline = tokio::time::Instant::now() + hookmill_tests::PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&client.get("/metrics").await.body).into_owned();
        if text.contains(suppressed) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.wait("/own", 10).await.len(), 10);
}

#[tokio::test]
async fn a_gone_endpoint_and_a_quarantine_are_told_of() {
    let server = Server::start_with(&[("QUARANTINE_FAILURES", "3")]).await;
    let (receiver, client) = (Receiver::start().await, server.client());
    for kind in ["tick", "leave"] {
        client.event_type(kind).await;
    }
    client.subscribe(&receiver.url("/own"), &["hookmill.*.*"], &json!([])).await;
    receiver.reply("/gone", [Reply::status(410)]);
    // Listens to its own end, and does not hear of it.
    let leaving = impatient(&client, &receiver.url("/gone"), &["leave", "hookmill.**"]).await;
    client.publish("leave", &json!({})).await;
    let named = |arrived: &[hookmill_tests::Received], kind: &str| {
        arrived.iter().find(|one| one.header("hookmill-event-type") == kind).map(|one| one.json())
    };
    let disabled = "hookmill.subscription.disabled";
    let arrived = receiver.wait_until("/own", |all| named(all, disabled).is_some()).await;
    let told = named(&arrived, disabled).expect("it was waited for");
    assert_eq!(told["subscription_id"], leaving);
    assert_eq!(told["endpoint"], receiver.url("/gone"));
    assert_eq!(told["reason"], "the endpoint answered 410 Gone");
    assert_eq!(receiver.at("/gone").len(), 1);

    client.upload(Version::new("mark", "1.0.0", Act::Trap).module()).await.expect(201);
    let pipeline = json!([{"plugin": "mark", "on_error": "dead"}]);
    client.subscribe(&receiver.url("/q"), &["tick"], &pipeline).await;
    for _ in 0..3 {
        dead(&client).await;
    }
    let quarantined = "hookmill.plugin.quarantined";
    let arrived = receiver.wait_until("/own", |all| named(all, quarantined).is_some()).await;
    let told = named(&arrived, quarantined).expect("it was waited for");
    assert_eq!((&told["plugin"], &told["version"]), (&json!("mark"), &json!("1.0.0")));
    assert_eq!(told["reason"], "3 runs in a row failed");
}

#[tokio::test]
async fn a_high_backlog_is_told_to_the_operator() {
    let server = Server::start_with(&[("BACKLOG_HIGH", "5")]).await;
    let (receiver, client) = (Receiver::start().await, server.client());
    client.event_type("tick").await;
    operator(&client, &receiver.url("/operator")).await;
    receiver.reply("/bad", [Reply::status(500)]);
    client.subscribe(&receiver.url("/bad"), &["tick"], &json!([])).await;
    for _ in 0..8 {
        client.publish("tick", &json!({})).await;
    }
    let told = receiver.wait("/operator", 1).await.remove(0);
    assert_eq!(told.header("hookmill-event-type"), "hookmill.backlog.high");
    let told = told.json();
    assert!(told["pending"].as_u64().is_some_and(|pending| pending > 5), "{told}");
    assert_eq!((&told["limit"], &told["application"]), (&json!(5), &Value::Null));
}

#[tokio::test]
async fn the_servers_own_types_are_nobody_elses() {
    let server = Server::start().await;
    let client = server.client();
    let event = json!({"type": "hookmill.delivery.dead", "payload": {}});
    for (path, body) in [
        ("/v1/events", event.clone()),
        ("/v1/event-types", json!({"name": "hookmill.delivery.dead"})),
        ("/v1/event-types", json!({"name": "hookmill"})),
    ] {
        let refused = client.post(path, &body).await;
        assert_eq!((refused.status, refused.problem()), (400, "reserved-event-type".to_owned()));
    }
    client.event_type("hookmills.own").await;
}
