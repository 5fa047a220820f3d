//! What endpoints do, and what becomes of the delivery.

use super::{
    World,
    belt::{At, Row},
    endpoint::{Endpoint, Reply},
    hasty, secret, settings,
};
use crate::{
    clock::Clock,
    delivery::{DeliverySettings, Directory, Guard, sign},
    model::{AttemptOutcome, RetryPolicy, SubscriptionState},
    store::Next,
};

/// Delivers one event to a scripted endpoint.
async fn deliver(
    settings: DeliverySettings,
    script: impl IntoIterator<Item = Reply>,
) -> (Row, Endpoint) {
    let (world, endpoint) = (World::default(), Endpoint::start(script).await);
    let dispatcher = world.start(settings, 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let row = world.belt.done(world.publish(&dispatcher, subscription, None)).await;
    (row, endpoint)
}

#[tokio::test]
async fn a_delivery_arrives_signed_and_with_its_headers() {
    let (world, endpoint) =
        (World::default(), Endpoint::start([Reply::Body(200, "thanks".into())]).await);
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe_with(&endpoint.url, |subscription| {
        subscription.headers.insert("x-team".into(), "orders".into());
        subscription.headers.insert("webhook-id".into(), "forged".into());
    });
    let row = world.belt.done(world.publish(&dispatcher, subscription, None)).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    assert_eq!(row.last().status, Some(200));
    assert_eq!(row.last().response_body.as_deref(), Some("thanks"));
    assert!(row.last().timings.first_byte_us.unwrap() <= row.last().timings.total_us);
    let request = endpoint.requests().remove(0);
    assert_eq!(request.body, row.event.payload);
    let now = Clock::system().now();
    let verified = sign::verify(&secret(), &request.headers, &request.body, sign::TOLERANCE, now);
    assert_eq!(verified, Ok(()));
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("webhook-id"), row.id.to_string());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), concat!("Hookmill/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("hookmill-event-id"), row.event.id.to_string());
    assert_eq!(header("hookmill-event-type"), "order.created");
    assert_eq!(header("hookmill-attempt"), "1");
    assert_eq!(header("x-team"), "orders");
}

#[tokio::test]
async fn a_retry_sends_the_same_bytes_under_the_same_id() {
    let (row, endpoint) =
        deliver(settings(), [Reply::Status(500), Reply::Close, Reply::Status(204)]).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    let outcomes: Vec<_> =
        row.records.iter().map(|record| record.attempt.as_ref().unwrap().outcome).collect();
    let expected = [AttemptOutcome::HttpStatus, AttemptOutcome::Reset, AttemptOutcome::Succeeded];
    assert_eq!(outcomes, expected);
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    for (number, request) in (1..).zip(&requests) {
        assert_eq!(request.body, requests[0].body);
        assert_eq!(request.headers["webhook-id"], requests[0].headers["webhook-id"]);
        assert_eq!(request.headers["hookmill-attempt"], number.to_string());
    }
}

#[tokio::test]
async fn an_exhausted_schedule_is_the_end() {
    let (row, endpoint) = deliver(settings(), [Reply::Status(500)]).await;
    let why = "all 3 attempts failed, the last: the endpoint answered 500 Internal Server Error";
    assert_eq!(row.at, At::Final(Next::Dead(why.into())));
    assert_eq!(endpoint.requests().len(), 3);
}

#[tokio::test]
async fn gone_disables_the_subscription() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(410)]).await);
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let row = world.belt.done(world.publish(&dispatcher, subscription, None)).await;
    assert!(matches!(row.at, At::Final(Next::Dead(_))), "{row:?}");
    assert_eq!(row.last().outcome, AttemptOutcome::Gone);
    dispatcher.shutdown().await;
    assert_eq!(*world.directory.disabled.lock().unwrap(), [subscription]);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let world = World::default();
    let reply = Reply::With(429, "retry-after", "3600".into());
    let endpoint = Endpoint::start([reply, Reply::Status(200)]).await;
    let dispatcher = world.start(settings(), 1).await;
    let subscription = world.subscribe(&endpoint.url);
    let key = world.publish(&dispatcher, subscription, None);
    world.belt.until("an attempt", |state| state.rows[&key].attempts() == 1).await;
    let row = world.belt.row(key);
    let At::Pending(due) = row.at else { panic!("{row:?}") };
    let wait = due.duration_since(row.records[0].at).as_secs();
    assert!((3600..=3600 * 6 / 5).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let elsewhere = Endpoint::start([Reply::Status(200)]).await;
    let reply = Reply::With(302, "location", elsewhere.url.clone());
    let (row, _) = deliver(hasty(), [reply]).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Redirect);
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_in_time() {
    let (row, _) = deliver(hasty(), [Reply::Hang]).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Timeout);
    assert_eq!(
        row.last().error.as_deref(),
        Some("not over within 300ms: waiting for the first byte")
    );
    assert_eq!(row.last().status, None);
}

#[tokio::test]
async fn the_body_counts_towards_the_attempts_time() {
    let (row, _) = deliver(hasty(), [Reply::HangInBody]).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Timeout);
    assert_eq!(row.last().status, Some(200));
    assert_eq!(row.last().response_body.as_deref(), Some("half"));
    assert!(row.last().error.as_deref().unwrap().contains("reading the response's body"));
}

#[tokio::test]
async fn an_endless_body_is_cut_off_and_its_status_counts() {
    let (row, _) = deliver(settings(), [Reply::Endless]).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
    assert_eq!(row.last().response_body.as_ref().map(String::len), Some(16 * 1024));
}

#[tokio::test]
async fn what_is_not_http_is_named() {
    let (row, _) = deliver(hasty(), [Reply::Garbage]).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Protocol, "{:?}", row.last());
}

async fn deliver_to(url: &str, settings: DeliverySettings) -> Row {
    let world = World::default();
    let dispatcher = world.start(settings, 1).await;
    let subscription = world.subscribe(url);
    world.belt.done(world.publish(&dispatcher, subscription, None)).await
}

#[tokio::test]
async fn errors_never_show_the_endpoints_url() {
    for script in [Reply::Close, Reply::Garbage, Reply::HangInBody] {
        let (row, _) = deliver(hasty(), [script]).await;
        assert!(!row.last().error.as_deref().unwrap().contains("/hook"), "{:?}", row.last());
    }
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_a_dns_failure() {
    let patient = DeliverySettings { retry: RetryPolicy::Schedule(vec![0]), ..settings() };
    let row = deliver_to("http://no-such-host.invalid/", patient).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Dns, "{:?}", row.last());
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let row = deliver_to(&url, hasty()).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Refused, "{:?}", row.last());
}

#[tokio::test]
async fn plain_text_where_tls_is_expected_is_a_tls_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad\r\n\r\n")
            .await
            .unwrap();
    });
    let patient = DeliverySettings { retry: RetryPolicy::Schedule(vec![0]), ..settings() };
    let row = deliver_to(&url, patient).await;
    assert_eq!(row.last().outcome, AttemptOutcome::Tls, "{:?}", row.last());
}

#[tokio::test]
async fn a_blocked_address_is_never_connected_to() {
    let endpoint = Endpoint::start([Reply::Status(200)]).await;
    let strict = DeliverySettings { guard: Guard::default(), ..hasty() };
    let by_name = endpoint.url.replace("127.0.0.1", "localhost");
    for url in [&endpoint.url, &by_name] {
        let row = deliver_to(url, strict.clone()).await;
        assert_eq!(row.last().outcome, AttemptOutcome::BlockedAddress, "{:?}", row.last());
        assert!(row.last().error.as_deref().unwrap().contains("not a public address"));
    }
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_name_is_resolved_and_permitted_by_its_addresses() {
    let endpoint = Endpoint::start([Reply::Status(200)]).await;
    let row = deliver_to(&endpoint.url.replace("127.0.0.1", "localhost"), hasty()).await;
    assert_eq!(row.at, At::Final(Next::Succeeded), "{row:?}");
}

#[tokio::test]
async fn what_is_paused_is_held_and_what_is_deleted_is_cancelled() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let dispatcher = world.start(settings(), 1).await;
    let paused = world.subscribe_with(&endpoint.url, |s| s.state = SubscriptionState::Paused);
    let row = world.belt.done(world.publish(&dispatcher, paused, None)).await;
    assert_eq!(row.at, At::Final(Next::Held("its subscription is paused".into())));
    let deleted = world.subscribe(&endpoint.url);
    world.directory.remove(deleted);
    let row = world.belt.done(world.publish(&dispatcher, deleted, None)).await;
    assert_eq!(row.at, At::Final(Next::Cancelled));
    assert!(row.records[0].attempt.is_none() && endpoint.requests().is_empty());
}

#[tokio::test]
async fn what_is_resumed_before_it_is_recorded_as_held_is_delivered() {
    let (world, endpoint) = (World::default(), Endpoint::start([Reply::Status(200)]).await);
    let dispatcher = world.start(settings(), 1).await;
    world.belt.state.lock().unwrap().record_failures = 1;
    let id = world.subscribe_with(&endpoint.url, |s| s.state = SubscriptionState::Paused);
    let key = world.publish(&dispatcher, id, None);
    world.belt.until("the failure", |state| state.record_failures == 0).await;
    let mut resumed = (*world.directory.subscription(id).unwrap()).clone();
    resumed.state = SubscriptionState::Active;
    world.directory.put(resumed);
    let row = world.belt.done(key).await;
    assert_eq!(row.at, At::Final(Next::Succeeded));
}
