//! A request that was caught on its way and is sent again is the event that it was.

use hookmill_tests::{Receiver, Server};
use serde_json::json;

use super::{
    changed, fresh, now, owned,
    parties::{SECRET, github_headers, parties, shopify_headers, slack_headers},
    post,
};

#[tokio::test]
async fn a_caught_request_under_another_id_is_no_second_event() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.subscribe(&receiver.url("/hook"), &["**"], &json!([])).await;
    let source = parties().remove(0).source(&client).await;
    let body = r#"{"action":"opened","issue":{"number":1}}"#;
    let caught = github_headers(SECRET, 0, fresh(), body.as_bytes());
    let taken = post(&client, &source, &caught, body).await.expect(200);
    assert_eq!(taken["repeated"], false);
    let renamed = changed(&caught, "x-github-delivery", |_| "another".into());
    let retyped = changed(&renamed, "x-github-event", |_| "push".into());
    for headers in [&caught, &renamed, &retyped] {
        let again = post(&client, &source, headers, body).await.expect(200);
        assert_eq!((&again["id"], &again["repeated"]), (&taken["id"], &json!(true)));
    }
    // That is on disk, as the event is.
    server.kill().await;
    server.restart().await;
    let client = server.client();
    let again = post(&client, &source, &renamed, body).await.expect(200);
    assert_eq!((&again["id"], &again["repeated"]), (&taken["id"], &json!(true)));
    // Another body is another event, also of the same id's source; and whoever says so in the
    // source's settings has every id as an event again.
    let other = r#"{"action":"opened","issue":{"number":2}}"#;
    let headers = github_headers(SECRET, 0, fresh(), other.as_bytes());
    assert_eq!(post(&client, &source, &headers, other).await.expect(200)["repeated"], false);
    let path = format!("/v1/sources/{source}");
    let shown = client.patch(&path, &json!({"repetitions": "id"})).await.expect(200);
    assert_eq!(shown["repetitions"], "id");
    let third = changed(&renamed, "x-github-delivery", |_| "third".into());
    let again = post(&client, &source, &third, body).await.expect(200);
    assert_eq!(again["repeated"], false);
    let shown = client.patch(&path, &json!({"repetitions": null})).await.expect(200);
    assert_eq!(shown["repetitions"], json!(null));
    let wrong = client.patch(&path, &json!({"repetitions": "never"})).await;
    assert_eq!(wrong.status, 400, "{}", String::from_utf8_lossy(&wrong.body));
    receiver.wait("/hook", 3).await;
    let events = client.get("/v1/events").await.expect(200);
    assert_eq!(events["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn one_body_of_two_types_is_two_events_where_the_third_party_sends_such() {
    let server = Server::start().await;
    let client = server.client();
    let shopify = parties().into_iter().find(|party| party.kind == "shopify").unwrap();
    let source = shopify.source(&client).await;
    let (id, body) = (fresh(), r#"{"id":1,"total_price":"19.90"}"#);
    let created = shopify_headers(shopify.secret, 0, id, body.as_bytes());
    let paid = changed(&created, "x-shopify-topic", |_| "orders/paid".into());
    let paid = changed(&paid, "x-shopify-webhook-id", |_| "other".into());
    let renamed = changed(&created, "x-shopify-webhook-id", |_| "third".into());
    let mut ids = Vec::new();
    for (headers, repeated) in [(&created, false), (&paid, false), (&renamed, true)] {
        let taken = post(&client, &source, headers, body).await.expect(200);
        assert_eq!(taken["repeated"], repeated);
        ids.push(taken["id"].clone());
    }
    assert!(ids[0] == ids[2] && ids[0] != ids[1]);
}

#[tokio::test]
async fn what_has_no_id_is_told_by_its_signed_time_and_body() {
    let server = Server::start().await;
    let client = server.client();
    let slack = parties().into_iter().find(|party| party.kind == "slack").unwrap();
    let source = slack.source(&client).await;
    let (then, body) = (now(), r#"{"type":"block_actions","user":"u"}"#);
    let caught = slack_headers(slack.secret, then, 0, body.as_bytes());
    let first = post(&client, &source, &caught, body).await.expect(200);
    let again = post(&client, &source, &caught, body).await.expect(200);
    assert_eq!((&again["id"], &again["repeated"]), (&first["id"], &json!(true)));
    let later = slack_headers(slack.secret, then + 1, 0, body.as_bytes());
    let later = post(&client, &source, &later, body).await.expect(200);
    assert_eq!(later["repeated"], false);

    // Who cannot sign may say the same twice, unless the source is told otherwise.
    let made = json!({"name": "old", "kind": "basic", "username": "u", "secret": "s",
        "event_type": {"fixed": "old.thing"}, "unknown_event_types": "create"});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let headers = owned(&[("authorization", "Basic dTpz"), ("content-type", "application/json")]);
    for _ in 0..2 {
        assert_eq!(post(&client, id, &headers, "{}").await.expect(200)["repeated"], false);
    }
    let change = json!({"repetitions": "content"});
    client.patch(&format!("/v1/sources/{id}"), &change).await.expect(200);
    assert_eq!(post(&client, id, &headers, "{}").await.expect(200)["repeated"], false);
    assert_eq!(post(&client, id, &headers, "{}").await.expect(200)["repeated"], true);
}
