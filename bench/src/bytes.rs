//! What an event takes on disk once it is delivered.

use serde_json::json;

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::{KEY, Places, Server},
    wire::{Receiver, load, request},
};

const EVENTS: usize = 20_000;
const PAYLOAD: usize = 2048;

/// Bytes of the database file for each delivered event of 2 KB.
pub async fn run(places: &Places, report: &mut Report) {
    for subscriptions in [1, 5] {
        let receiver = Receiver::start().await;
        let mut server = Server::start(places).await;
        server.event_type("push", None).await;
        for _ in 0..subscriptions {
            server.subscribe(&receiver.url(), "push", &json!([])).await;
        }
        server.stop().await;
        let empty = size(&server);
        server.begin().await;
        let event = json!({"type": "push", "payload": payload(PAYLOAD)});
        let bytes =
            request(server.process.address, "/v1/events", KEY, event.to_string().as_bytes());
        load(server.process.address, 64, EVENTS, bytes).await;
        receiver.wait(EVENTS * subscriptions).await;
        // What is under way is recorded, and the log is folded into the file.
        server.stop().await;
        let each = (size(&server) - empty) as f64 / EVENTS as f64;
        let rest = each - event["payload"].to_string().len() as f64;
        report.add(
            &format!("database bytes per event, {subscriptions} deliveries"),
            each,
            " B",
            Goal::None,
            format!(
                "{rest:.0} beside the payload, {:.0} for each delivery with its attempt and its share of the event",
                rest / subscriptions as f64
            ),
        );
    }
}

fn size(server: &Server) -> u64 {
    std::fs::metadata(server.folder().join("hookmill.db")).expect("it is there").len()
}
