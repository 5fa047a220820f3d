//! What is taken is what the documents say, and what one part of the server takes every other
//! takes alike.

use hookmill_tests::{ADMIN_KEY, Receiver, Server};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const CLOUD_EVENT: (&str, &str) = ("content-type", "application/cloudevents+json");

#[tokio::test]
async fn times_are_rfc_3339_wherever_they_come_in() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    for bad in ["20260101T000000Z", "2026-01-01T00:00Z", "2026-01-01T00:00:00Z[UTC]"] {
        let event = json!({"type": "tick", "payload": 1, "occurred_at": bad});
        let refused = client.post("/v1/events", &event).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid-field"));
        assert_eq!(refused.json()["errors"][0]["at"], "/occurred_at");
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "tick",
            "time": bad});
        let refused = client.send("POST", "/v1/events", &[CLOUD_EVENT], event.to_string()).await;
        assert_eq!(refused.json()["errors"][0]["at"], "/time", "{bad}");
        for path in ["/v1/events?since=", "/v1/deliveries?until=", "/v1/audit?since="] {
            let refused = client.get(&format!("{path}{bad}")).await;
            assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid-query"));
        }
        let query = format!("/v1/events?type=tick&occurred_at={bad}");
        assert_eq!(client.send("POST", &query, &[JSON], "1").await.problem(), "invalid-query");
    }
    let leap = json!({"type": "tick", "payload": 1, "occurred_at": "2016-12-31t23:59:60.5z"});
    let id = client.post("/v1/events", &leap).await.expect(202)["id"].clone();
    let path = format!("/v1/events/{}", id.as_str().unwrap_or_default());
    assert_eq!(client.get(&path).await.expect(200)["occurred_at"], "2016-12-31T23:59:59.5Z");
}

#[tokio::test]
async fn a_filter_sees_the_time_that_is_kept() {
    let server = Server::start().await;
    let client = server.client();
    let receiver = Receiver::start().await;
    client.event_type("tick").await;
    let after = json!({"gt": {"occurred_at": "2026-01-01T00:00:00.123Z"}});
    let made = json!({"endpoint": receiver.url("/t"), "event_types": ["tick"], "filter": after});
    let made = client.post("/v1/subscriptions", &made).await.expect(201);
    let path = format!("/v1/subscriptions/{}/match", made["id"].as_str().unwrap_or_default());
    for (time, matches) in
        [("2026-01-01T00:00:00.1239Z", false), ("2026-01-01T00:00:00.1241Z", true)]
    {
        let event = json!({"type": "tick", "payload": 1, "occurred_at": time});
        let published = client.post("/v1/events", &event).await.expect(202);
        assert_eq!(published["deliveries"], u8::from(matches), "{time}");
        for asked in [json!({"event": event}), json!({"event_id": published["id"]})] {
            let answer = client.post(&path, &asked).await.expect(200);
            assert_eq!(answer["matches"], matches, "{time} {asked}");
        }
    }
}

#[tokio::test]
async fn what_publishing_refuses_is_not_matched() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let made = json!({"endpoint": "http://127.0.0.1:9/t", "event_types": ["tick", "later"]});
    let made = client.post("/v1/subscriptions", &made).await.expect(201);
    let path = format!("/v1/subscriptions/{}/match", made["id"].as_str().unwrap_or_default());
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let too_deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    for (event, refused) in [
        (r#""type":"tick","payload":{"a":1,"a":2}"#.to_owned(), true),
        (r#""type":"tick","payload":1e400"#.to_owned(), true),
        (r#""type":"tick","payload":"\ud800""#.to_owned(), true),
        (r#""type":"tick","payload":1,"schema_version":9"#.to_owned(), true),
        (r#""type":"tick","payload":1,"schema_version":0"#.to_owned(), true),
        (r#""type":"tick","payload_text":"""#.to_owned(), true),
        (format!(r#""type":"tick","payload":{too_deep}"#), true),
        (format!(r#""type":"tick","payload":{deep}"#), false),
        (r#""type":"later","payload":1,"schema_version":2"#.to_owned(), false),
    ] {
        let answer =
            client.send("POST", &path, &[JSON], format!("{{\"event\":{{{event}}}}}")).await;
        assert_eq!(answer.status, if refused { 400 } else { 200 }, "{event}");
        if refused && !event.contains("payload_text") {
            let published =
                client.send("POST", "/v1/events", &[JSON], format!("{{{event}}}")).await;
            assert_eq!(published.problem(), answer.problem(), "{event}");
        }
    }
}

#[tokio::test]
async fn one_header_says_one_thing() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let body = json!({"type": "tick", "payload": 1}).to_string();
    let key = format!("Bearer {ADMIN_KEY}");
    for twice in [("content-type", "text/plain"), ("authorization", key.as_str())] {
        let refused = client.send("POST", "/v1/events", &[JSON, twice], body.clone()).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid-header"));
    }
    let utf16 = [("content-type", "application/json; charset=utf-16")];
    let refused = client.send("POST", "/v1/events", &utf16, body.clone()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (415, "wrong-content-type"));
    let refused = client.send("POST", "/v1/events?type=tick", &utf16, "1").await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "malformed-payload"));
    let utf8 = [("content-type", "application/json; charset=\"UTF-8\"")];
    client.send("POST", "/v1/events", &utf8, body).await.expect(202);
}

#[tokio::test]
async fn a_cloudevent_says_what_it_means() {
    let server = Server::start().await;
    let client = server.client();
    let any = json!({"name": "any", "content_types": ["*/*"], "schema": true});
    client.post("/v1/event-types", &any).await.expect(201);
    let send = async |id: &str, more: Value| {
        let mut event = json!({"specversion": "1.0", "id": id, "source": "/s", "type": "any"});
        event.as_object_mut().expect("an object").extend(more.as_object().expect("too").clone());
        client.send("POST", "/v1/events", &[CLOUD_EVENT], event.to_string()).await
    };
    let text = send("1", json!({"datacontenttype": "text/plain"})).await;
    assert_eq!((text.status, text.problem().as_str()), (400, "malformed-payload"));
    send("2", json!({"datacontenttype": "application/json"})).await.expect(202);
    send("3", json!({})).await.expect(202);
    client.post("/v1/event-types/any/versions", &json!({"schema": true})).await.expect(201);
    for (number, (version, meant)) in [("1", 1), ("+1", 2), ("01", 2), ("0", 2)].iter().enumerate()
    {
        let schema = format!("https://h.example/v1/event-types/any/versions/{version}");
        let answer = send(&format!("v{number}"), json!({"data": 1, "dataschema": schema})).await;
        assert_eq!(answer.expect(202)["schema_version"], *meant, "{version}");
    }
}

#[tokio::test]
async fn what_a_batch_refuses_says_when_to_come_back_and_a_form_feed_is_no_space() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let limits = json!({"events": {"per_second": 0.01, "burst": 1}});
    client.put("/v1/event-types/tick/limits", &limits).await.expect(200);
    let event = json!({"type": "tick", "payload": 1});
    let answer = client.post("/v1/events/batch", &json!([event, event])).await.expect(200);
    assert_eq!(answer["data"][1]["status"], 429);
    assert!(answer["data"][1]["problem"]["retry_after"].as_u64().is_some_and(|wait| wait > 1));

    let lines = [("content-type", "application/x-ndjson")];
    let answer = client.send("POST", "/v1/events/batch", &lines, format!("\x0c{event}\n")).await;
    assert_eq!(answer.expect(200)["data"][0]["status"], 400);
}

#[tokio::test]
async fn a_version_that_is_none_is_refused_whether_there_is_a_schema_or_not() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let event = json!({"type": "tick", "payload": 1, "schema_version": 0});
    let refused = client.post("/v1/events", &event).await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "unknown-schema-version"));
}
