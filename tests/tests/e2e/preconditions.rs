//! Two people change the same thing: the second is told, and nothing is lost.

use hookmill_tests::{Answer, Client, Server};
use serde_json::{Value, json};

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("it is visible ASCII").to_owned()
}

async fn patch_if(client: &Client, path: &str, tag: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("if-match", tag)];
    client.send("PATCH", path, &headers, body.to_string()).await
}

#[tokio::test]
async fn the_second_editor_is_told_of_the_first() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let given = json!({"endpoint": "http://127.0.0.1:9/", "event_types": ["order.*"]});
    let id = client.post("/v1/subscriptions", &given).await.expect(201)["id"].clone();
    let subscription = format!("/v1/subscriptions/{}", id.as_str().unwrap());
    for path in [subscription.as_str(), "/v1/event-types/order.created"] {
        let seen = tag(&client.get(path).await);
        // Both send at once: whoever comes second changes something else than they saw.
        let (first, second) = (json!({"description": "first"}), json!({"description": "second"}));
        let (first, second) = tokio::join!(
            patch_if(&client, path, &seen, &first),
            patch_if(&client, path, &seen, &second)
        );
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{path}");
        let (done, refused) = if first.status == 200 { (first, second) } else { (second, first) };
        assert_eq!(refused.problem(), "precondition-failed");
        let now = client.get(path).await;
        assert_eq!(now.json()["description"], done.json()["description"]);
        assert_eq!(tag(&now), tag(&done), "the change itself answers the new tag");
        // Told, they look again and change that.
        let again = patch_if(&client, path, &tag(&now), &json!({"description": "both"})).await;
        assert_eq!(again.expect(200)["description"], "both");
        // What was seen is gone for a deletion, too.
        let stale = client.send("DELETE", path, &[("if-match", &seen)], "").await;
        assert_eq!(stale.status, 412);
        let current = client.send("DELETE", path, &[("if-match", &tag(&again))], "").await;
        assert_eq!(current.status, 204);
    }
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.created").await;
    let path = "/v1/event-types/order.created";
    let seen = tag(&client.get(path).await);
    let again = client.send("GET", path, &[("if-none-match", &seen)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(tag(&again), seen);
    // A schema is a change, an event is none.
    client.publish("order.created", &json!({"id": 7})).await;
    assert_eq!(client.send("GET", path, &[("if-none-match", &seen)], "").await.status, 304);
    client.post(&format!("{path}/versions"), &json!({"schema": {}})).await.expect(201);
    assert_eq!(client.send("GET", path, &[("if-none-match", &seen)], "").await.status, 200);
    let bad = client.send("GET", path, &[("if-none-match", "no tag")], "").await;
    assert_eq!(bad.problem(), "invalid-header");
    // Nobody has to ask.
    client.patch(path, &json!({"mode": "warn"})).await.expect(200);
}
