//! What a delivery costs the processor, by how many subscriptions there are.

use serde_json::{Value, json};

use crate::{
    report::{Goal, Report},
    server::{Places, Server},
    wire::Receiver,
};

const SUBSCRIPTIONS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Events of each measurement, each for one subscription.
const EVENTS: usize = 20_000;
const BATCH: usize = 250;

/// Processor time a delivery with 10,000 subscriptions ÷ with 10.
pub async fn run(places: &Places, report: &mut Report) {
    let mut costs = Vec::new();
    for subscriptions in SUBSCRIPTIONS {
        costs.push(cost(places, subscriptions).await);
    }
    let shown: Vec<String> = SUBSCRIPTIONS
        .iter()
        .zip(&costs)
        .map(|(subscriptions, cost)| format!("{cost:.0} µs with {subscriptions}"))
        .collect();
    report.add(
        "processor time a delivery, 10,000 subscriptions ÷ 10",
        costs[costs.len() - 1] / costs[0],
        "",
        Goal::AtMost(1.5),
        format!("accepting and delivering {EVENTS} events: {}", shown.join(", ")),
    );
}

/// Microseconds of processor time for each event accepted and delivered.
async fn cost(places: &Places, subscriptions: usize) -> f64 {
    let receiver = Receiver::start().await;
    let server = Server::start(places).await;
    for n in 0..subscriptions {
        let name = format!("flat.n{n}");
        server.event_type(&name, None).await;
        server.subscribe(&receiver.url(), &name, &json!([])).await;
    }
    // Every subscription once before, so that what is made at its first use is there.
    let warm = subscriptions.max(1_000);
    publish(&server, subscriptions, warm).await;
    receiver.wait(warm).await;
    let before = server.process.cpu();
    publish(&server, subscriptions, EVENTS).await;
    receiver.wait(warm + EVENTS).await;
    // What is left to be recorded is little.
    let used = server.process.cpu() - before;
    used.as_secs_f64() * 1e6 / EVENTS as f64
}

async fn publish(server: &Server, subscriptions: usize, events: usize) {
    let numbers: Vec<usize> = (0..events).collect();
    for some in numbers.chunks(BATCH) {
        let events: Vec<Value> = some
            .iter()
            .map(|n| json!({"type": format!("flat.n{}", n % subscriptions), "payload": {"n": n}}))
            .collect();
        let answer = server.post("/v1/events/batch", &json!({"events": events})).await;
        assert_eq!(answer["accepted"], some.len());
    }
}
