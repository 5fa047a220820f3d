//! A million deliveries that wait: what they cost in memory, at the start and to get rid of.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hookmill::{
    model::{Application, DeliveryId, Event, EventId, SubscriptionId},
    store::{Belt, Lease, NewDelivery, NewEvent, Resources, Store, sqlite::SqliteStore},
};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    belt::payload,
    report::{Goal, Report},
    server::{Places, Server},
    wire::Receiver,
};

/// Deliveries that wait; `BENCH_BACKLOG` says otherwise.
const PENDING: usize = 1_000_000;
const SUBSCRIPTIONS: usize = 10;
const PAYLOAD: usize = 512;
/// Events in a transaction of the generator.
const BATCH: usize = 2_000;

/// Memory, time to restart and rate of draining, each beside that of an empty database.
pub async fn run(places: &Places, report: &mut Report) {
    let pending: usize =
        std::env::var("BENCH_BACKLOG").ok().and_then(|text| text.parse().ok()).unwrap_or(PENDING);
    let receiver = Receiver::start().await;
    let mut server = Server::start(places).await;
    server.event_type("push", None).await;
    for _ in 0..SUBSCRIPTIONS {
        server.subscribe(&receiver.url(), "push", &json!([])).await;
    }
    let empty = server.restart().await;
    let idle = server.process.resident();
    server.stop().await;
    let filling = Instant::now();
    fill(&server.folder().join("hookmill.db"), pending).await;
    let filled = filling.elapsed();
    let size = std::fs::metadata(server.folder().join("hookmill.db")).map_or(0, |meta| meta.len());

    let before = Instant::now();
    let ready = server.begin().await;
    let draining = async {
        let mut last = before;
        for part in 1..=20 {
            last = receiver.wait(pending * part / 20).await;
        }
        last
    };
    let watching = async {
        let mut most = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while receiver.count() < pending {
            ticks.tick().await;
            most = most.max(server.process.resident());
        }
        most
    };
    let (last, most) = tokio::join!(draining, watching);
    let first_tenth = receiver.wait(pending / 10).await - before;
    let took = (last - before).as_secs_f64();
    let name = format!("backlog of {pending}");
    report.add(
        &format!("{name}: restart to ready"),
        ready.as_secs_f64(),
        " s",
        Goal::AtMost(1.0),
        format!(
            "{:.3} s with an empty database; the file has {:.0} MB, written in {:.0} s",
            empty.as_secs_f64(),
            size as f64 / 1e6,
            filled.as_secs_f64()
        ),
    );
    report.add(
        &format!("{name}: memory while draining"),
        most as f64 / 1e6,
        " MB",
        Goal::AtMost(300.0),
        format!("resident at most; {:.0} MB idle", idle as f64 / 1e6),
    );
    report.add(
        &format!("{name}: drained"),
        pending as f64 / took,
        "/s",
        Goal::None,
        format!(
            "in {took:.0} s to {SUBSCRIPTIONS} subscriptions; the first tenth at {:.0}/s",
            pending as f64 / 10.0 / first_tenth.as_secs_f64()
        ),
    );
}

/// Writes events with one pending delivery each, as the server would have.
async fn fill(database: &Path, pending: usize) {
    let store = SqliteStore::open(database).await.expect("the server is down");
    let application = store.applications().await.expect("it can be read").remove(0);
    let subscriptions: Vec<SubscriptionId> =
        store.subscriptions().await.expect("it can be read").iter().map(|s| s.id).collect();
    let payload: Bytes = payload(PAYLOAD).to_string().into();
    let now = Timestamp::now();
    let lease = Lease { owner: 1, until: now };
    for start in (0..pending).step_by(BATCH) {
        let batch: Vec<NewEvent> = (start..pending.min(start + BATCH))
            .map(|n| {
                let subscription = subscriptions[n % subscriptions.len()];
                waiting(&application, subscription, now, payload.clone())
            })
            .collect();
        store.append(&batch, lease).await.expect("the disk has room");
    }
    store.close().await;
}

fn waiting(
    application: &Application,
    subscription: SubscriptionId,
    now: Timestamp,
    payload: Bytes,
) -> NewEvent {
    let event = Event {
        id: EventId::new(now),
        application: application.id,
        application_name: application.name.as_str().into(),
        event_type: "push".parse().expect("a name"),
        schema_version: 0,
        subject: None,
        occurred_at: now,
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        channels: vec![],
        payload,
    };
    NewEvent {
        event: Arc::new(event),
        producer_id: None,
        violations: Vec::new(),
        idempotency: Vec::new(),
        deliveries: vec![NewDelivery {
            id: DeliveryId::new(now),
            subscription,
            pipeline: None,
            order: None,
            held: false,
            leased: false,
        }],
        most_stored: None,
    }
}
