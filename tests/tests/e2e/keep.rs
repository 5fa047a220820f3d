//! Keeping data, and not for ever: backups, what is made of them, and retention.

use hookmill_tests::{
    Receiver, Reply, Server,
    hardship::{Circumstances, Hardship, beside, hookmill, said},
};
use serde_json::json;
use tempfile::TempDir;

/// A little less than a second.
const SOON: &str = "0.00001";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_at_work_is_whole_and_makes_a_server_again() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.subscribe(&receiver.url("/b"), &["tick"], &json!([])).await;
    let mut before = Vec::new();
    for n in 0..30 {
        before.push(client.publish("tick", &json!({"n": n})).await["id"].clone());
    }
    let writer = server.client();
    let stopping = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = stopping.clone();
    let writing = tokio::spawn(async move {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            writer.publish("tick", &json!({"n": "meanwhile"})).await;
        }
    });
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("copy.db");
    let copy = file.to_str().unwrap();
    let (url, key) = (server.url().to_owned(), hookmill_tests::ADMIN_KEY);
    let backup = ["backup", copy, "--url", &url, "--key", key];
    let made = hookmill(&backup).await;
    assert!(made.status.success(), "{}", said(&made));
    stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    writing.await.unwrap();
    let again = hookmill(&backup).await;
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).contains("is there already"));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing else is left");

    let checked = hookmill(&["check", "--database", copy]).await;
    assert!(checked.status.success(), "{}", said(&checked));
    let place = TempDir::new().unwrap();
    let database = beside(place.path(), "");
    let restore = ["restore", copy, "--database", database.to_str().unwrap()];
    let restored = hookmill(&restore).await;
    assert!(restored.status.success(), "{}", said(&restored));
    assert_eq!(hookmill(&restore).await.status.code(), Some(2), "it overwrites nothing");

    // The key that the secrets in it are sealed under is no part of a backup.
    let keyless = Hardship::begin(place.path(), &Circumstances::default()).await;
    assert!(keyless.is_err_and(|said| said.contains("no master key is given")));
    std::fs::copy(beside(server.folder(), ".key"), beside(place.path(), ".key")).unwrap();
    let second = Hardship::begin(place.path(), &Circumstances::default()).await.unwrap();
    for id in &before {
        let id = id.as_str().unwrap();
        second.client().get(&format!("/v1/events/{id}")).await.expect(200);
    }
    second.kill().await;

    let direct = elsewhere.path().join("direct.db");
    let database = beside(server.folder(), "");
    let direct = ["backup", direct.to_str().unwrap(), "--database", database.to_str().unwrap()];
    let refused = hookmill(&direct).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("another server has"), "{}", said(&refused));
    server.kill().await;
    let done = hookmill(&direct).await;
    assert!(done.status.success(), "{}", said(&done));
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored() {
    let mut server = Server::start().await;
    server.client().event_type("tick").await;
    for n in 0..30 {
        server.client().publish("tick", &json!({"n": n})).await;
    }
    assert!(server.stop().await.success());
    let database = beside(server.folder(), "");
    let mut bytes = std::fs::read(&database).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x11);
    let damaged = server.folder().join("damaged.db");
    std::fs::write(&damaged, bytes).unwrap();
    let place = server.folder().join("new.db");
    let restore = ["restore", damaged.to_str().unwrap(), "--database", place.to_str().unwrap()];
    let refused = hookmill(&restore).await;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(!place.exists());
    let nothing = server.folder().join("text.db");
    std::fs::write(&nothing, "this is no database, but it is long enough to look at".repeat(200))
        .unwrap();
    let checked = hookmill(&["check", "--database", nothing.to_str().unwrap()]).await;
    assert_eq!(checked.status.code(), Some(1));
    assert!(said(&checked).contains("not a database"), "{}", said(&checked));
}

#[tokio::test]
async fn what_is_old_and_over_goes_and_what_is_not_over_stays() {
    let server = Server::start_with(&[("RETAIN_EVENTS_DAYS", SOON)]).await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.event_type("tock").await;
    client.subscribe(&receiver.url("/ok"), &["tick"], &json!([])).await;
    receiver.reply("/no", [Reply::status(500)]);
    client.subscribe(&receiver.url("/no"), &["tock"], &json!([])).await;
    let failing = client.publish("tock", &json!({})).await["id"].as_str().unwrap().to_owned();
    let over = client.publish("tick", &json!({})).await["id"].as_str().unwrap().to_owned();
    receiver.wait("/ok", 1).await;
    client.wait_for(&format!("/v1/events/{over}"), |event| event["status"] == 404).await;
    let deliveries = client.get("/v1/deliveries").await.expect(200);
    assert_eq!(deliveries["data"].as_array().map(Vec::len), Some(1));
    client.get(&format!("/v1/events/{failing}")).await.expect(200);
    let metrics = client.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    for line in ["purged_rows_total{what=\"events\"} 1", "purged_rows_total{what=\"attempts\"} 1"] {
        assert!(metrics.contains(&format!("hookmill_{line}")), "{metrics}");
    }
}

#[tokio::test]
async fn an_event_without_its_payload_says_so_and_is_not_sent_again() {
    let server = Server::start_with(&[("RETAIN_PAYLOAD_DAYS", SOON)]).await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    client.subscribe(&receiver.url("/p"), &["tick"], &json!([])).await;
    let id = client.publish("tick", &json!({"n": 1})).await["id"].as_str().unwrap().to_owned();
    let delivery = client.delivery_in(&id, &["succeeded"]).await;
    let path = format!("/v1/events/{id}");
    let event = client.wait_for(&path, |event| event["payload_expired"] == true).await;
    assert_eq!(
        (&event["payload"], &event["delivery_states"]),
        (&json!(null), &json!({"succeeded": 1}))
    );
    let delivery = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
    let shown = client.get(&delivery).await.expect(200);
    assert_eq!(
        (&shown["sent"], shown["attempts"].as_array().map(Vec::len)),
        (&json!(null), Some(1))
    );
    for (method, path) in [
        ("GET", format!("{path}/payload")),
        ("POST", format!("{delivery}/retry")),
        ("GET", format!("{delivery}/inputs")),
    ] {
        let refused = client.send(method, &path, &[], "").await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (410, "payload-expired"),
            "{path}"
        );
    }
    assert_eq!(receiver.at("/p").len(), 1);
}
