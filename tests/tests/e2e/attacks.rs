//! What somebody would try who wants more than is theirs, or wants a server to stand still.

use std::time::Duration;

use hookmill_tests::{ADMIN_KEY, Answer, Client, PATIENCE, Receiver, Server, plugin};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// `acme:open sesame`, as a source of the kind `basic` is shown it.
const SESAME: &str = "Basic YWNtZTpvcGVuIHNlc2FtZQ==";

async fn post(client: &Client, source: &Value, body: &str) -> Answer {
    let headers = [("authorization", SESAME), ("content-type", "application/json")];
    let path = source["path"].as_str().expect("it has a path");
    client.with_key(None).send("POST", path, &headers, body.to_owned()).await
}

/// A source that makes event types of what is at `/t`.
fn creating(name: &str) -> Value {
    json!({"name": name, "kind": "basic", "username": "acme", "secret": "open sesame",
        "event_type": {"pointers": ["/t"], "prefix": "acme"}, "delivery_id": {"pointers": ["/id"]},
        "unknown_event_types": "create"})
}

async fn key(admin: &Client, body: Value) -> (Client, Value) {
    let made = admin.post("/v1/keys", &body).await.expect(201);
    (admin.with_key(made["key"].as_str()), made)
}

#[tokio::test]
async fn many_dear_signatures_do_not_keep_others_waiting() {
    let server = Server::start().await;
    let client = server.client();
    let made = json!({"name": "clerk", "kind": "standard_webhooks",
        "secret": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="});
    let made = client.post("/v1/sources", &made).await.expect(201);
    let path = made["path"].as_str().unwrap();
    let one = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let signatures = vec![one; 600].join(" ");
    let now = jiff::Timestamp::now().as_second().to_string();
    let body = "x".repeat(1_000_000);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, path, body) = (client.with_key(None), path.to_owned(), body.clone());
        let (now, signatures) = (now.clone(), signatures.clone());
        sending.spawn(async move {
            let headers = [
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", now.as_str()),
                ("webhook-signature", signatures.as_str()),
            ];
            client.send("POST", &path, &headers, body).await.problem()
        });
    }
    let others = async {
        loop {
            let well = timeout(Duration::from_secs(5), client.get("/healthz")).await;
            well.expect("others are answered meanwhile").expect(200);
        }
    };
    let all = async {
        while let Some(refused) = sending.join_next().await {
            assert_eq!(refused.unwrap(), "unverified-request");
        }
    };
    tokio::select! {
        () = others => {}
        done = timeout(PATIENCE, all) => done.expect("each is answered in time"),
    }
}

#[tokio::test]
async fn pointers_and_secrets_that_would_cost_or_mean_nothing_are_refused() {
    let server = Server::start().await;
    let client = server.client();
    let deep = format!("{}/b", "/a".repeat(120));
    for (pointer, good) in [("/a/b~1c/~0", true), (deep.as_str(), false), ("/a~2", false)] {
        let mut source = creating("a");
        source["subject"] = pointer.into();
        let answer = client.post("/v1/sources", &source).await;
        assert_eq!(answer.status, if good { 201 } else { 422 }, "{pointer}");
        assert!(good || answer.json()["errors"][0]["at"] == "/subject");
    }
    for secret in [" ", " \n", "sesame\n", "\tsesame"] {
        let mut source = creating("b");
        source["secret"] = secret.into();
        let answer = client.post("/v1/sources", &source).await;
        assert_eq!(answer.json()["errors"][0]["at"], "/secret", "{secret:?}");
    }
    // Compressed, however the header with that is put.
    let made = client.get("/v1/sources").await.expect(200)["data"][0].clone();
    let headers = [
        ("authorization", SESAME),
        ("content-type", "application/json"),
        ("content-encoding", "identity"),
        ("content-encoding", "gzip"),
    ];
    let path = made["path"].as_str().unwrap();
    let answer = client.with_key(None).send("POST", path, &headers, "{}").await;
    assert_eq!(answer.problem(), "wrong-content-type");
}

#[tokio::test]
async fn a_source_makes_event_types_of_its_own_prefix_and_of_events_only() {
    let server = Server::start().await;
    let client = server.client();
    let mut anything = creating("anything");
    anything["event_type"] = json!({"pointers": ["/t"]});
    let refused = client.post("/v1/sources", &anything).await;
    assert_eq!(refused.json()["errors"][0]["at"], "/event_type/prefix");
    let source = client.post("/v1/sources", &creating("secretive")).await.expect(201);
    let exists = async |name: &str| client.get(&format!("/v1/event-types/{name}")).await.status;

    // What cannot be an event makes no type.
    let twice = r#"{"t":"odd","id":1,"a":1,"a":2}"#;
    assert_eq!(post(&client, &source, twice).await.problem(), "malformed-payload");
    assert_eq!(exists("acme.odd").await, 404);
    let taken = post(&client, &source, r#"{"t":"made","id":1}"#).await.expect(200);
    assert_eq!((&taken["type"], &taken["repeated"]), (&json!("acme.made"), &json!(false)));
    // Nor does what is repeated under another name; it is what it was.
    let again = post(&client, &source, r#"{"t":"other","id":1}"#).await.expect(200);
    assert_eq!((&again["type"], &again["id"]), (&json!("acme.made"), &taken["id"]));
    assert_eq!((&again["repeated"], exists("acme.other").await), (&json!(true), 404));

    // Everybody sees the type; whose source made it, only the audit log says.
    let made = client.get("/v1/event-types/acme.made").await.expect(200);
    assert!(!made.to_string().contains("secretive"), "{made}");
    let log = client.get("/v1/audit?action=create_event_type&resource_id=acme.made").await;
    let entry = log.expect(200)["data"][0].clone();
    assert_eq!((&entry["actor"], &entry["outcome"]), (&source["id"], &json!("done")));
    assert_eq!(
        (&entry["actor_name"], &entry["after"]["name"]),
        (&json!("secretive"), &json!("acme.made"))
    );
}

#[tokio::test]
async fn one_tenants_source_does_not_use_up_what_another_may_create() {
    let mut server = Server::start().await;
    let client = server.client();
    client.post("/v1/applications", &json!({"name": "rival"})).await.expect(201);
    let greedy = client.post("/v1/sources", &creating("greedy")).await.expect(201);
    for n in 0..500 {
        if n == 250 {
            // What was made before a restart counts, too.
            server.kill().await;
            server.restart().await;
        }
        let body = format!(r#"{{"t":"t{n}","id":{n}}}"#);
        post(&server.client(), &greedy, &body).await.expect(200);
    }
    let client = server.client();
    let one_more = post(&client, &greedy, r#"{"t":"more","id":501}"#).await;
    assert_eq!(one_more.problem(), "unknown-event-type");
    // A change of it does not begin the count anew.
    let path = format!("/v1/sources/{}", greedy["id"].as_str().unwrap());
    client.patch(&path, &json!({"tolerance_seconds": 60})).await.expect(200);
    let one_more = post(&client, &greedy, r#"{"t":"more","id":502}"#).await;
    assert_eq!(one_more.problem(), "unknown-event-type");
    let rivals = [("hookmill-application", "rival"), ("content-type", "application/json")];
    let rival = client.send("POST", "/v1/sources", &rivals, creating("modest").to_string()).await;
    post(&client, &rival.expect(201), r#"{"t":"push","id":1}"#).await.expect(200);
}

#[tokio::test]
async fn changes_of_a_source_at_the_same_moment_are_both_made() {
    let server = Server::start().await;
    let client = server.client();
    let made = client.post("/v1/sources", &creating("a")).await.expect(201);
    let path = format!("/v1/sources/{}", made["id"].as_str().unwrap());
    for n in 1..40 {
        let subject = format!("/{n}");
        let (time, place) = (json!({"tolerance_seconds": n}), json!({"subject": subject}));
        let (one, other) = tokio::join!(client.patch(&path, &time), client.patch(&path, &place));
        assert_eq!((one.status, other.status), (200, 200));
        let now = client.get(&path).await.expect(200);
        assert_eq!((&now["tolerance_seconds"], &now["subject"]), (&json!(n), &json!(subject)));
    }
    let secrets = format!("{path}/secrets");
    let mut adding = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (client, path) = (server.client(), secrets.clone());
        adding.spawn(async move { client.post(&path, &json!({})).await.status });
    }
    let added = adding.join_all().await;
    assert_eq!(added.iter().filter(|&&status| status == 201).count(), 4, "{added:?}");
    assert_eq!(client.get(&path).await.expect(200)["secrets"].as_array().unwrap().len(), 5);
}

/// A tail of which nothing is read until its end.
async fn tail(server: &Server, key: &str) -> (u16, TcpStream) {
    let address = server.url().strip_prefix("http://").expect("it begins so");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "GET /v1/tail HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it is read");
    let mut head = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time").expect("a status");
    let status = std::str::from_utf8(&head[9..]).expect("figures").parse().expect("a number");
    (status, stream)
}

#[tokio::test]
async fn a_revoked_keys_tails_give_up_their_places_though_nothing_happens() {
    let server = Server::start().await;
    let admin = server.client();
    let body = json!({"name": "t", "application": "default", "scopes": ["read"]});
    let (_, made) = key(&admin, body).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let (status, stream) = tail(&server, made["key"].as_str().unwrap()).await;
        assert_eq!(status, 200);
        open.push(stream);
    }
    assert_eq!(tail(&server, ADMIN_KEY).await.0, 429);
    admin.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap())).await.expect(204);
    for mut stream in open {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, (&mut stream).take(1 << 16).read_to_end(&mut rest)).await;
        ended.expect("it ends by itself").expect("it is read");
    }
    assert_eq!(tail(&server, ADMIN_KEY).await.0, 200);
}

#[tokio::test]
async fn who_is_let_in_for_a_while_lets_nobody_in_for_longer() {
    let server = Server::start().await;
    let admin = server.client();
    let end = "2100-01-01T00:00:00Z";
    let all = json!(["read", "publish", "manage"]);
    let (brief, _) = key(&admin, json!({"name": "brief", "scopes": all, "expires_at": end})).await;
    let (_, made) = key(&brief, json!({"name": "a", "scopes": ["read"]})).await;
    assert_eq!(made["expires_at"], end);
    let longer = json!({"name": "b", "scopes": ["read"], "expires_at": "2100-01-02T00:00:00Z"});
    let refused = brief.post("/v1/keys", &longer).await;
    assert_eq!(refused.json()["errors"][0]["at"], "/expires_at");
    let sooner = json!({"name": "c", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00Z"});
    key(&brief, sooner).await;
    // Nor in place of one that does not end.
    let (_, endless) = key(&admin, json!({"name": "d", "scopes": ["read"]})).await;
    let rotate = |made: &Value| format!("/v1/keys/{}/rotate", made["id"].as_str().unwrap());
    assert_eq!(brief.post(&rotate(&endless), &json!({})).await.problem(), "invalid-key");
    brief.post(&rotate(&made), &json!({})).await.expect(201);
    admin.post(&rotate(&endless), &json!({})).await.expect(201);
}

#[tokio::test]
async fn what_was_not_used_is_not_said_to_be() {
    let server = Server::start().await;
    let client = server.client();
    client.event_type("order.paid").await;
    let publish = async |id: &str| {
        let headers = [("idempotency-key", "once"), ("content-type", "application/json")];
        let body = json!({"type": "order.paid", "id": id, "payload": {}});
        client.send("POST", "/v1/events", &headers, body.to_string()).await
    };
    publish("first").await.expect(202);
    let refused = publish("second").await;
    assert_eq!(refused.problem(), "idempotency-conflict");
    let said = refused.json().to_string();
    assert!(said.contains("once") && !said.contains("second"), "{said}");
    for path in ["/v1/audit?application=nope", "/v1/keys?application=nope"] {
        let refused = client.get(path).await;
        assert_eq!((refused.status, refused.problem().as_str()), (404, "unknown-application"));
    }
}

#[tokio::test]
async fn metrics_name_no_tenants_plugin() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let admin = server.client();
    admin.post("/v1/applications", &json!({"name": "shop"})).await.expect(201);
    admin.event_type("order.paid").await;
    let scopes = json!(["read", "publish", "manage"]);
    let (shop, _) =
        key(&admin, json!({"name": "s", "application": "shop", "scopes": scopes})).await;
    shop.upload(plugin("redact")).await.expect(201);
    let pipeline =
        json!([{"plugin": "redact", "config": {"fields": [{"at": "/a", "action": "remove"}]}}]);
    shop.subscribe(&receiver.url("/hook"), &["order.*"], &pipeline).await;
    shop.publish("order.paid", &json!({"a": 1})).await;
    receiver.wait("/hook", 1).await;
    let metrics = admin.with_key(None).get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let together = r#"hookmill_plugin_version_runs_total{plugin="(private)",version=""} 1"#;
    assert!(metrics.contains(together) && !metrics.contains("redact"), "{metrics}");
}

#[tokio::test]
async fn a_new_portal_token_has_no_rate_of_its_own() {
    let server = Server::start_with(&[("KEY_REQUESTS_PER_SECOND", "0.01")]).await;
    let admin = server.client();
    let issue = async || {
        // An admin key's requests for the platform are not counted, those for an application are:
        // each token is made with another key.
        let body = json!({"name": "m", "application": "default", "scopes": ["manage"]});
        let (maker, _) = key(&admin, body).await;
        let made = maker.post("/v1/portal-tokens", &json!({})).await.expect(201);
        admin.with_key(made["token"].as_str())
    };
    issue().await.get("/v1/subscriptions").await.expect(200);
    let answers = issue().await.get("/v1/subscriptions").await;
    assert_eq!(answers.problem(), "rate-limited");
}

#[tokio::test]
async fn few_tenants_do_not_take_every_tail() {
    let server = Server::start().await;
    let admin = server.client();
    let mut open = Vec::new();
    for (name, most) in [("a", 16), ("b", 16), ("c", 1), ("d", 1)] {
        admin.post("/v1/applications", &json!({"name": name})).await.expect(201);
        let body = json!({"name": "t", "application": name, "scopes": ["read"]});
        let (_, made) = key(&admin, body).await;
        let text = made["key"].as_str().unwrap();
        for _ in 0..most {
            let (status, stream) = tail(&server, text).await;
            assert_eq!(status, 200, "{name}");
            open.push(stream);
        }
        assert_eq!(tail(&server, text).await.0, 429, "{name}");
    }
}
