//! Every way an endpoint can fail, by the name its failure gets.

use hookmill_tests::{
    Authority, Client, Fault, Faulty, NameServer, Receiver, Reply, Server, TlsEndpoint,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// One attempt, over in a second and a half.
fn once() -> Value {
    json!({"timeout_seconds": 1.5, "connect_timeout_seconds": 1.0, "retry": {"schedule": [0]}})
}

/// Sends one event to `url`; answers the delivery when it is over.
async fn deliver(client: &Client, url: &str, policy: &Value) -> Value {
    let types = client.get("/v1/event-types/tick").await;
    if types.status == 404 {
        client.event_type("tick").await;
    }
    let body = json!({"endpoint": url, "event_types": ["tick"], "policy": policy});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    let event = client.publish("tick", &json!({"n": 1})).await;
    let event = event["id"].as_str().expect("an id").to_owned();
    let delivery = client.delivery_in(&event, &["succeeded", "dead"]).await;
    // The next event is not for this one.
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"));
    client.delete(&path).await;
    delivery
}

/// Delivers to a faulty endpoint once; answers the attempt.
async fn attempt(fault: Fault) -> Value {
    let server = Server::start().await;
    let endpoint = Faulty::start([fault]).await;
    deliver(&server.client(), &endpoint.url(), &once()).await["attempts"][0].clone()
}

#[track_caller]
fn is(attempt: &Value, outcome: &str, words: &str) {
    assert_eq!(attempt["outcome"], outcome, "{attempt:#}");
    let error = attempt["error"].as_str().unwrap_or_default();
    assert!(error.contains(words), "{attempt:#}");
}

#[tokio::test]
async fn nobody_listening_is_refused() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let delivery = deliver(&server.client(), &url, &once()).await;
    is(&delivery["attempts"][0], "refused", "refused");
    assert_eq!(delivery["attempts"][0]["connect_us"], Value::Null);
}

#[tokio::test]
async fn a_reset_before_an_answer_is_a_reset() {
    is(&attempt(Fault::Reset).await, "reset", "");
}

#[tokio::test]
async fn a_reset_in_the_body_is_a_reset() {
    let attempt = attempt(Fault::ResetInBody).await;
    is(&attempt, "reset", "reset");
    assert_eq!((&attempt["status"], &attempt["response_body"]), (&json!(200), &json!("half")));
}

#[tokio::test]
async fn an_end_in_the_body_is_a_reset() {
    is(&attempt(Fault::CloseInBody).await, "reset", "end of file");
}

#[tokio::test]
async fn silence_is_a_timeout_that_says_what_was_waited_for() {
    let attempt = attempt(Fault::Silent).await;
    is(&attempt, "timeout", "not over within 1.5s: waiting for the first byte");
    assert!(attempt["connect_us"].is_u64() && attempt["first_byte_us"].is_null(), "{attempt}");
}

#[tokio::test]
async fn silence_within_the_head_is_a_timeout() {
    is(&attempt(Fault::SilentInHead).await, "timeout", "waiting for the first byte");
}

#[tokio::test]
async fn silence_after_the_head_is_a_timeout() {
    let attempt = attempt(Fault::SilentAfterHead).await;
    is(&attempt, "timeout", "not over within 1.5s: reading the response's body");
    assert_eq!(attempt["status"], 200);
}

#[tokio::test]
async fn a_head_of_one_byte_a_second_is_a_timeout() {
    is(&attempt(Fault::DripHead).await, "timeout", "waiting for the first byte");
}

#[tokio::test]
async fn a_body_of_one_byte_a_second_is_a_timeout() {
    let attempt = attempt(Fault::DripBody).await;
    is(&attempt, "timeout", "reading the response's body");
    assert!(attempt["response_body"].as_str().unwrap().len() < 5);
}

#[tokio::test]
async fn a_body_of_ten_gigabytes_is_cut_off_and_its_status_counts() {
    let server = Server::start().await;
    let endpoint = Faulty::start([Fault::Huge]).await;
    let delivery = deliver(&server.client(), &endpoint.url(), &once()).await;
    is(&delivery["attempts"][0], "succeeded", "");
    let kept = delivery["attempts"][0]["response_body"].as_str().unwrap().len();
    assert_eq!(kept, 16 * 1024);
    // The rest is what fits into the buffers of two sockets.
    assert!(endpoint.sent() < 32 << 20, "{} bytes were read", endpoint.sent());
}

#[tokio::test]
async fn a_head_without_end_is_oversized() {
    is(&attempt(Fault::EndlessHead).await, "oversized", "too large");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    is(&attempt(Fault::Garbage).await, "protocol", "");
}

#[tokio::test]
async fn bad_certificates_are_tls_failures_and_a_good_one_is_none() {
    let authority = Authority::make();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    authority.write(&file);
    let server = Server::start_with(&[("ENDPOINT_CA_FILE", file.to_str().unwrap())]).await;
    let client = server.client();
    for (endpoint, words) in [
        (TlsEndpoint::self_signed().await, "invalid peer certificate"),
        (TlsEndpoint::expired(&authority).await, "expired"),
        (TlsEndpoint::of_another_host(&authority).await, "elsewhere.example"),
    ] {
        let delivery = deliver(&client, endpoint.url(), &once()).await;
        is(&delivery["attempts"][0], "tls", words);
    }
    let good = TlsEndpoint::good(&authority).await;
    let first = deliver(&client, good.url(), &once()).await["attempts"][0].clone();
    is(&first, "succeeded", "");
    assert!(first["connect_us"].is_u64() && first["tls_us"].is_u64(), "{first:#}");
    assert!(first["dns_us"].is_null(), "an address needs no resolving: {first:#}");
    let again = deliver(&client, good.url(), &once()).await["attempts"][0].clone();
    is(&again, "succeeded", "");
    assert!(again["connect_us"].is_null() && again["tls_us"].is_null(), "{again:#}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connect_timeout() {
    let server = Server::start().await;
    // Takes the connection, by the kernel's hand, and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let delivery = deliver(&server.client(), &url, &once()).await;
    is(
        &delivery["attempts"][0],
        "connect_timeout",
        "no connection within 1s: in the TLS handshake",
    );
}

#[tokio::test]
async fn a_redirect_to_a_metadata_service_is_not_followed() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let metadata = "http://169.254.169.254/latest/meta-data/";
    receiver.reply("/r", [Reply::status(307).header("location", metadata)]);
    let delivery = deliver(&server.client(), &receiver.url("/r"), &once()).await;
    is(&delivery["attempts"][0], "redirect", "not followed");
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1));
}

const CLOSING: &str = "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_name_that_changes_between_look_ups_is_judged_each_time() {
    let names = NameServer::start([&[[127, 0, 0, 1]], &[[169, 254, 169, 254]]]).await;
    let server = Server::start_with(&[("DNS_SERVERS", &names.address())]).await;
    let endpoint = Faulty::start([Fault::Say(CLOSING)]).await;
    let url = format!("http://rebinding.example:{}/", endpoint.address().port());
    let mut policy = once();
    policy["retry"] = json!({"schedule": [0, 0]});
    let delivery = deliver(&server.client(), &url, &policy).await;
    is(&delivery["attempts"][0], "http_status", "503");
    assert!(delivery["attempts"][0]["dns_us"].is_u64(), "{delivery:#}");
    is(&delivery["attempts"][1], "blocked_address", "169.254.169.254 is not a public address");
    // Asked once for each connection: what is connected to is what was judged.
    assert_eq!((names.asked(), endpoint.connections()), (2, 1));
}

#[tokio::test]
async fn of_several_addresses_only_a_permitted_one_is_connected_to() {
    let names = NameServer::start([&[[10, 0, 0, 1], [127, 0, 0, 1], [192, 168, 0, 1]]]).await;
    let server = Server::start_with(&[("DNS_SERVERS", &names.address())]).await;
    let endpoint = Faulty::start([Fault::Say("HTTP/1.1 204 X\r\nconnection: close\r\n\r\n")]).await;
    let url = format!("http://several.example:{}/", endpoint.address().port());
    let delivery = deliver(&server.client(), &url, &once()).await;
    is(&delivery["attempts"][0], "succeeded", "");
}

#[tokio::test]
async fn a_name_that_is_none_is_a_dns_failure() {
    let names = NameServer::start([&[]]).await;
    let server = Server::start_with(&[("DNS_SERVERS", &names.address())]).await;
    let delivery = deliver(&server.client(), "http://nobody.example/", &once()).await;
    is(&delivery["attempts"][0], "dns", "");
}

fn seconds_between(attempts: &Value, earlier: usize) -> f64 {
    let started = |at: usize| -> jiff::Timestamp {
        attempts[at]["started_at"].as_str().expect("a time").parse().expect("a time")
    };
    started(earlier + 1).duration_since(started(earlier)).as_secs_f64()
}

#[tokio::test]
async fn a_storm_of_429_is_waited_out_in_seconds_and_until_a_date() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let date = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4))
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let busy = Reply::status(429);
    receiver.reply(
        "/busy",
        [
            busy.clone().header("retry-after", "1"),
            busy.clone().header("retry-after", "1"),
            busy.header("retry-after", &date),
            Reply::status(200),
        ],
    );
    let mut policy = once();
    policy["retry"] = json!({"schedule": [0, 0, 0, 0]});
    let delivery = deliver(&server.client(), &receiver.url("/busy"), &policy).await;
    let attempts = &delivery["attempts"];
    assert_eq!(delivery["state"], "succeeded", "{delivery:#}");
    for earlier in 0..2 {
        is(&attempts[earlier], "http_status", "429 Too Many Requests");
        assert!(seconds_between(attempts, earlier) >= 1.0, "{attempts:#}");
    }
    let last: jiff::Timestamp = attempts[3]["started_at"].as_str().unwrap().parse().unwrap();
    let last = last.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let day = |text: &str| text[..16].to_owned();
    assert!(day(&last) != day(&date) || last[17..] >= date[17..], "{last} is before {date}");
}

#[tokio::test]
async fn a_flapping_endpoint_gets_everything_in_the_end() {
    let server = Server::start().await;
    let fine = Fault::Say("HTTP/1.1 200 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let flapping = [Fault::Say(CLOSING), fine.clone(), Fault::Reset, Fault::Silent, fine.clone()];
    let endpoint = Faulty::start(flapping.into_iter().cycle().take(10)).await;
    let policy = json!({"timeout_seconds": 0.5, "retry": {"schedule": [0, 0, 0]}});
    let outcomes = async |client: &Client| {
        let delivery = deliver(client, &endpoint.url(), &policy).await;
        let attempts = delivery["attempts"].as_array().cloned().unwrap_or_default();
        attempts.iter().map(|one| one["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let client = server.client();
    for _ in 0..2 {
        assert_eq!(outcomes(&client).await, ["http_status", "succeeded"]);
        assert_eq!(outcomes(&client).await, ["reset", "timeout", "succeeded"]);
    }
}

#[tokio::test]
async fn an_endpoint_can_ask_for_no_more_of_a_message_or_of_anything() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    receiver.reply("/abort", [Reply::status(422).header("webhook-delivery", "abort-message")]);
    let policy = json!({"retry": {"schedule": [0, 0, 0]}});
    let delivery = deliver(&client, &receiver.url("/abort"), &policy).await;
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1));
    let reason = "the endpoint answered 422 Unprocessable Entity, and asked for no more attempts";
    assert_eq!(delivery["reason"], reason);

    receiver.reply("/disable", [Reply::status(200).header("webhook-delivery", "disable")]);
    let body = json!({"endpoint": receiver.url("/disable"), "event_types": ["tick"]});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    let event = client.publish("tick", &json!({})).await;
    client.delivery_in(event["id"].as_str().unwrap(), &["succeeded"]).await;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    client.wait_for(&path, |subscription| subscription["state"] == "disabled").await;
}

#[tokio::test]
async fn a_policy_chooses_the_method_and_its_time_within_the_servers_bounds() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let client = server.client();
    let endpoint = Faulty::start([Fault::Say("HTTP/1.1 204 X\r\n\r\n")]).await;
    let put = json!({"method": "put", "retry": {"schedule": [0]}});
    let delivery = deliver(&client, &endpoint.url(), &put).await;
    assert_eq!(delivery["state"], "succeeded");
    let body = json!({"endpoint": receiver.url("/"), "event_types": ["tick"],
                      "policy": {"timeout_seconds": 61, "connect_timeout_seconds": 0}});
    let refused = client.post("/v1/subscriptions", &body).await.expect(422);
    let places: Vec<_> = refused["errors"].as_array().unwrap().iter().map(|e| &e["at"]).collect();
    assert_eq!(places, ["/policy/connect_timeout_seconds", "/policy/timeout_seconds"]);
}
