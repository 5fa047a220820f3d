//! The floors: the least any server doing the same would have to do, each in a process of
//! its own like the server it is compared with.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

/// What a floor process is told on its command line.
pub async fn run(mut arguments: impl Iterator<Item = String>) {
    let which = arguments.next().unwrap_or_default();
    let target = arguments.next().unwrap_or_default();
    match which.as_str() {
        "parse" => serve(Router::new().route("/v1/events", post(parse))).await,
        "forward" => {
            let state = Arc::new((client(), target));
            serve(Router::new().route("/v1/events", post(forward)).with_state(state)).await;
        }
        "post" => {
            let count = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let concurrency = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
            let file = arguments.next().unwrap_or_default();
            let body = std::fs::read(file).expect("the body's file is there");
            post_all(&target, count, concurrency, body.into()).await;
        }
        other => panic!("there is no floor {other:?}"),
    }
}

async fn serve(router: Router) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    println!("listening on http://{address}");
    axum::serve(listener, router).await.expect("the floor serves");
}

/// Parses the JSON and answers: no check, no disk.
async fn parse(body: Bytes) -> (StatusCode, axum::Json<Value>) {
    match serde_json::from_slice::<Value>(&body) {
        Ok(event) => (
            StatusCode::ACCEPTED,
            axum::Json(json!({
                "id": "evt_01jd8xq3m5e7r9t0v2w4y6z8ab", "type": event["type"],
                "schema_version": 1, "deliveries": 0
            })),
        ),
        Err(_) => (StatusCode::BAD_REQUEST, axum::Json(Value::Null)),
    }
}

fn client() -> reqwest::Client {
    // Fails only if one was installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client can be made")
}

/// Sends the same body on at once and keeps nothing.
async fn forward(
    State(state): State<Arc<(reqwest::Client, String)>>,
    body: Bytes,
) -> (StatusCode, axum::Json<Value>) {
    let (client, target) = &*state;
    let sent =
        client.post(target).header("content-type", "application/json").body(body).send().await;
    match sent {
        Ok(response) if response.status().is_success() => {
            (StatusCode::ACCEPTED, axum::Json(json!({"id": "evt_01jd8xq3m5e7r9t0v2w4y6z8ab"})))
        }
        _ => (StatusCode::BAD_GATEWAY, axum::Json(Value::Null)),
    }
}

/// A bare reqwest loop. Prints `go` when it starts, for the clock of whoever waits.
async fn post_all(target: &str, count: usize, concurrency: usize, body: Bytes) {
    let client = client();
    let places = Arc::new(Semaphore::new(concurrency));
    println!("go");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let request =
            client.post(target).header("content-type", "application/json").body(body.clone());
        tasks.spawn(async move {
            let response = request.send().await.expect("the receiver answers");
            assert!(response.status().is_success());
            drop(place);
        });
        while tasks.try_join_next().is_some() {}
    }
    tasks.join_all().await;
}
