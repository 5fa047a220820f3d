//! Secrets: nowhere in clear on the disk, only for who has the master key, and still of use.

use std::{
    path::Path,
    process::{Command, Output},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hookmill_tests::{ADMIN_KEY, Receiver, Server, binary, leaks};
use serde_json::{Value, json};
use sqlx::{
    Connection, SqlSafeStr, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// A signing secret made of a text that can be looked for.
fn whsec(text: &str) -> String {
    format!("whsec_{}", STANDARD.encode(text))
}

fn hookmill(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .env("NO_COLOR", "1")
        .output()
        .expect("it runs")
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{err}");
    err
}

const SIGNING: [&str; 3] = [
    "signing-secret-the-first-of-three",
    "signing-secret-the-second-of-three",
    "signing-secret-the-third-of-three",
];

/// All that was given to a server and must not be found: names and bytes.
fn wanted(more: &[(&'static str, &str)]) -> Vec<(&'static str, Vec<u8>)> {
    let given = [
        ("header secret", "header-secret-of-the-shop"),
        ("replaced header secret", "header-secret-of-before"),
        ("bearer token", "bearer-token-of-the-shop"),
        ("password", "password-of-the-shop"),
        ("client secret", "client-secret-of-the-shop"),
        ("access token", "access-token-of-the-shop"),
    ];
    let signing = SIGNING.map(|text| ("signing secret", text));
    let all = given.into_iter().chain(signing).chain(more.iter().copied());
    all.map(|(name, text)| (name, text.as_bytes().to_vec())).collect()
}

/// Gives a server every kind of secret, and uses each; answers the private key that it has.
async fn give_all(server: &Server, receiver: &Receiver) -> String {
    let client = server.client();
    client.event_type("tick").await;
    client.event_type("never").await;
    let token = json!({"access_token": "access-token-of-the-shop", "expires_in": 3600});
    receiver.reply("/token", [hookmill_tests::Reply::status(200).body(token.to_string())]);
    let subscribe = |path: &str, more: Value| {
        let mut body = json!({"endpoint": receiver.url(path), "event_types": ["tick"]});
        let more = more.as_object().expect("more is an object").clone();
        body.as_object_mut().expect("the body is an object").extend(more);
        let client = client.clone();
        async move { client.post("/v1/subscriptions", &body).await.expect(201) }
    };
    let headers = json!({"x-key": "Key {{secret:shop}}"});
    let before = json!({"shop": "header-secret-of-before"});
    let first = json!({"secret": whsec(SIGNING[0]), "headers": headers, "header_secrets": before,
        "auth": {"bearer": {"token": "bearer-token-of-the-shop"}}});
    let made = subscribe("/bearer", first).await;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().expect("it has an id"));
    let after = json!({"header_secrets": {"shop": "header-secret-of-the-shop"}});
    let shown = client.patch(&path, &after).await.expect(200);
    assert_eq!(shown["header_secrets"], json!(["shop"]));
    assert_eq!(shown["auth"], json!({"bearer": {}}));
    let second = json!({"secret": whsec(SIGNING[1])});
    client.post(&format!("{path}/rotate-secret"), &second).await.expect(200);
    let third = json!({"secret": whsec(SIGNING[2])});
    client.post(&format!("{path}/secrets"), &third).await.expect(201);
    let basic = json!({"basic": {"username": "shop", "password": "password-of-the-shop"}});
    subscribe("/basic", json!({ "auth": basic })).await;
    let oauth2 = json!({"token_url": receiver.url("/token"), "client_id": "shop",
        "client_secret": "client-secret-of-the-shop", "scopes": ["hooks"]});
    subscribe("/oauth2", json!({"auth": {"oauth2": oauth2}})).await;
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let names = vec!["client.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate can be made");
    let mtls = json!({"endpoint": "https://127.0.0.1:1/", "event_types": ["never"],
        "auth": {"mtls": {"certificate": certificate.pem(), "private_key": key.serialize_pem()}}});
    let made = client.post("/v1/subscriptions", &mtls).await.expect(201);
    assert_eq!(made["auth"]["mtls"], json!({"certificate": certificate.pem()}));
    client.publish("tick", &json!({"n": 1})).await;
    let pem = key.serialize_pem();
    // A line from the middle: the first is the same for all keys of this kind.
    pem.lines().nth(2).expect("a key has lines").to_owned()
}

/// Whether all that a delivery carries arrives.
async fn all_arrive(receiver: &Receiver, count: usize) {
    let bearer = receiver.wait("/bearer", count).await.remove(count - 1);
    assert_eq!(bearer.header("authorization"), "Bearer bearer-token-of-the-shop");
    assert_eq!(bearer.header("x-key"), "Key header-secret-of-the-shop");
    for secret in SIGNING {
        assert!(bearer.verifies(&whsec(secret)), "{secret}");
    }
    let basic = receiver.wait("/basic", count).await.remove(count - 1);
    let pair = STANDARD.encode("shop:password-of-the-shop");
    assert_eq!(basic.header("authorization"), format!("Basic {pair}"));
    let oauth2 = receiver.wait("/oauth2", count).await.remove(count - 1);
    assert_eq!(oauth2.header("authorization"), "Bearer access-token-of-the-shop");
}

#[tokio::test]
async fn no_secret_is_in_clear_in_any_file_nor_in_an_answer() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let private_key = give_all(&server, &receiver).await;
    all_arrive(&receiver, 1).await;
    let wanted = wanted(&[("private key", private_key.as_str())]);
    let client = server.client();
    let mut answers = String::new();
    for path in ["subscriptions", "events", "deliveries"] {
        let list = client.get(&format!("/v1/{path}")).await.expect(200);
        for item in list["data"].as_array().unwrap() {
            let one = format!("/v1/{path}/{}", item["id"].as_str().unwrap());
            answers.push_str(&client.get(&one).await.expect(200).to_string());
        }
        answers.push_str(&list.to_string());
    }
    answers.push_str(&String::from_utf8_lossy(&client.get("/metrics").await.body));
    let shown = tempfile::tempdir().unwrap();
    std::fs::write(shown.path().join("answers"), answers).unwrap();
    assert_eq!(leaks(shown.path(), &wanted), [""; 0]);

    // What a power cut leaves behind, its log included, and what an orderly end does.
    server.kill().await;
    assert_eq!(leaks(server.folder(), &wanted), [""; 0]);
    server.restart().await;
    server.client().publish("tick", &json!({"n": 2})).await;
    all_arrive(&receiver, 2).await;
    server.stop().await;
    assert_eq!(leaks(server.folder(), &wanted), [""; 0]);
    let key = std::fs::read_to_string(server.folder().join("hookmill.db.key")).unwrap();
    let key = STANDARD.decode(key.trim()).unwrap();
    assert_eq!(leaks(server.folder(), &[("the master key", key)]), [""; 0]);
}

#[tokio::test]
async fn without_the_right_master_key_the_server_says_what_to_do_and_changes_nothing() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    give_all(&server, &receiver).await;
    all_arrive(&receiver, 1).await;
    server.stop().await;
    let folder = server.folder().to_path_buf();
    let serve = |more: &[&str]| {
        let common = ["serve", "--listen", "127.0.0.1:0", "--database", "hookmill.db"];
        said(&hookmill(&folder, &[&common, more].concat()), 1)
    };
    let (key, hidden) = (folder.join("hookmill.db.key"), folder.join("elsewhere.key"));
    std::fs::rename(&key, &hidden).unwrap();
    let error = serve(&[]);
    assert!(error.contains("hookmill.db.key is not there"), "{error}");
    assert!(error.contains("master_key_file or HOOKMILL_MASTER_KEY"), "{error}");
    assert!(!key.exists(), "no other key is made in its place");
    said(&hookmill(&folder, &["master-key", "generate", "wrong.key"]), 0);
    let error = serve(&["--master-key-file", "wrong.key"]);
    assert!(error.contains("but wrong.key has master key"), "{error}");
    std::fs::write(folder.join("bad.key"), "not-a-key-but-a-password").unwrap();
    let error = serve(&["--master-key-file", "bad.key"]);
    assert!(error.contains("bad.key is no master key") && !error.contains("a-password"), "{error}");
    let error = serve(&["--master-key-file", "none.key"]);
    assert!(error.contains("none.key cannot be read"), "{error}");
    std::fs::rename(&hidden, &key).unwrap();
    server.restart().await;
    server.client().publish("tick", &json!({"n": 2})).await;
    all_arrive(&receiver, 2).await;
}

#[tokio::test]
async fn a_rotated_master_key_opens_all_and_the_last_one_nothing() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    let private_key = give_all(&server, &receiver).await;
    all_arrive(&receiver, 1).await;
    let folder = server.folder().to_path_buf();
    let rotate = ["master-key", "rotate", "--database", "hookmill.db"];
    let error = said(&hookmill(&folder, &rotate), 1);
    assert!(error.contains("another server has hookmill.db open"), "{error}");
    server.stop().await;

    let key = folder.join("hookmill.db.key");
    let read = || std::fs::read_to_string(&key).unwrap();
    let first = read();
    let told = said(&hookmill(&folder, &rotate), 0);
    assert!(told.contains("the secrets of 4 subscriptions and 0 sources are sealed"), "{told}");
    assert_ne!(read(), first);
    assert!(!folder.join("hookmill.db.key.new").exists());
    assert_eq!(leaks(&folder, &wanted(&[("private key", &private_key)])), [""; 0]);
    server.restart().await;
    server.client().publish("tick", &json!({"n": 2})).await;
    all_arrive(&receiver, 2).await;
    server.stop().await;

    std::fs::write(folder.join("first.key"), first).unwrap();
    let common = ["serve", "--listen", "127.0.0.1:0", "--database", "hookmill.db"];
    let old = ["--master-key-file", "first.key"];
    let error = said(&hookmill(&folder, &[&common[..], &old].concat()), 1);
    assert!(error.contains("but first.key has master key"), "{error}");

    // Into a file elsewhere, from where the server takes it.
    let away = [&rotate[..], &["--new-key-file", "away.key"]].concat();
    let told = said(&hookmill(&folder, &away), 0);
    assert!(told.contains("start the server with --master-key-file away.key"), "{told}");
    std::fs::rename(folder.join("away.key"), &key).unwrap();
    server.restart().await;
    server.client().publish("tick", &json!({"n": 3})).await;
    all_arrive(&receiver, 3).await;
}

/// A database as it was before secrets were sealed, with one that was deleted.
async fn plain_database(path: &Path, endpoint: &str) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut connection =
        SqliteConnection::connect_with(&options).await.expect("the database is made");
    let migrations = [
        include_str!("../../../host/migrations/0001_start.sql"),
        include_str!("../../../host/migrations/0002_plugin_platform.sql"),
        include_str!("../../../host/migrations/0003_policy.sql"),
    ];
    let migrations = migrations.into_iter().zip(1..).map(|(sql, version)| {
        Migration::new(version, "old".into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
        .run(&mut connection)
        .await
        .expect("the database is made");
    sqlx::query("INSERT INTO applications (id, name, created_at) VALUES (?, 'default', 0)")
        .bind([1_u8; 16].as_slice())
        .execute(&mut connection)
        .await
        .expect("the database is made");
    sqlx::query("INSERT INTO installation (name, value) VALUES ('key', ?)")
        .bind(&b"installation-key-of-32-bytes-..."[..])
        .execute(&mut connection)
        .await
        .expect("the database is made");
    for (id, secret) in [(2_u8, SIGNING[0]), (3, SIGNING[1])] {
        let secrets = json!([{"secret": whsec(secret)}]).to_string();
        sqlx::query(
            "INSERT INTO subscriptions (id, application_id, endpoint, event_types, pipeline,
                 headers, state, secrets, created_at, updated_at)
             VALUES (?, ?, ?, '[\"tick\"]', '[]', '{}', 'active', ?, 0, 0)",
        )
        .bind([id; 16].as_slice())
        .bind([1_u8; 16].as_slice())
        .bind(endpoint)
        .bind(secrets)
        .execute(&mut connection)
        .await
        .expect("the database is made");
    }
    sqlx::query("DELETE FROM subscriptions WHERE id = ?")
        .bind([3_u8; 16].as_slice())
        .execute(&mut connection)
        .await
        .expect("the database is made");
    connection.close().await.expect("the database is made");
}

#[tokio::test]
async fn an_old_database_is_sealed_at_its_first_start_and_keeps_its_subscriptions() {
    let mut server = Server::start().await;
    let receiver = Receiver::start().await;
    server.stop().await;
    let folder = server.folder().to_path_buf();
    for name in ["hookmill.db", "hookmill.db.key"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    plain_database(&folder.join("hookmill.db"), &receiver.url("/old")).await;
    let wanted = [
        ("signing secret", SIGNING[0].as_bytes().to_vec()),
        ("deleted secret", SIGNING[1].as_bytes().to_vec()),
        ("installation key", b"installation-key-of-32-bytes-...".to_vec()),
    ];
    assert_eq!(leaks(&folder, &wanted).len(), 3, "they were in clear");

    server.restart().await;
    assert_eq!(leaks(&folder, &wanted), [""; 0]);
    let client = server.client();
    client.event_type("tick").await;
    client.publish("tick", &json!({"n": 1})).await;
    assert!(receiver.wait("/old", 1).await[0].verifies(&whsec(SIGNING[0])));
    server.kill().await;
    server.restart().await;
    server.client().publish("tick", &json!({"n": 2})).await;
    assert!(receiver.wait("/old", 2).await[1].verifies(&whsec(SIGNING[0])));
}

#[tokio::test]
async fn access_tokens_are_fetched_kept_and_replaced() {
    use hookmill_tests::Reply;

    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let client = server.client();
    client.event_type("tick").await;
    let token = |name: &str, seconds: u32| {
        let answer = json!({"access_token": name, "token_type": "Bearer", "expires_in": seconds});
        Reply::status(200).body(answer.to_string())
    };
    let refused = Reply::status(401).body(r#"{"error":"invalid_client"}"#);
    receiver.reply("/token", [token("one", 0), token("two", 3600), token("three", 0), refused]);
    // The second is kept until the endpoint has had enough of it.
    receiver.reply("/hook", [200, 200, 401, 200].map(Reply::status));
    let oauth2 = json!({"token_url": receiver.url("/token"), "client_id": "shop",
        "client_secret": "client-secret-of-the-shop", "scopes": ["hooks", "more"]});
    let body = json!({"endpoint": receiver.url("/hook"), "event_types": ["tick"],
        "auth": {"oauth2": oauth2}, "policy": {"retry": {"schedule": [0]}}});
    let made = client.post("/v1/subscriptions", &body).await.expect(201);
    assert_eq!(made["auth"]["oauth2"]["client_id"], "shop");
    assert_eq!(made["auth"]["oauth2"].get("client_secret"), None);
    for n in 0..3 {
        let event = client.publish("tick", &json!({ "n": n })).await;
        client.delivery_in(event["id"].as_str().unwrap(), &["succeeded"]).await;
    }
    let sent = receiver.at("/hook");
    let used: Vec<_> = sent.iter().map(|r| r.header("authorization")).collect();
    assert_eq!(used, ["Bearer one", "Bearer two", "Bearer two", "Bearer three"]);
    let asked = receiver.at("/token");
    assert_eq!(asked[0].body, "grant_type=client_credentials&scope=hooks+more");
    let pair = STANDARD.encode("shop:client-secret-of-the-shop");
    assert_eq!(asked[0].header("authorization"), format!("Basic {pair}"));

    let event = client.publish("tick", &json!({"n": 3})).await;
    let dead = client.delivery_in(event["id"].as_str().unwrap(), &["dead"]).await;
    let attempt = &dead["attempts"][0];
    assert_eq!(attempt["outcome"], "auth");
    let error = attempt["error"].as_str().unwrap();
    let expected = "no access token from 127.0.0.1: the endpoint answered 401 Unauthorized \
                    (invalid_client)";
    assert_eq!(error, expected);
    assert_eq!(receiver.at("/hook").len(), 4, "nothing is sent without a token");
}

#[tokio::test]
async fn a_token_endpoint_is_guarded_like_any_other() {
    let server = Server::start().await;
    let client = server.client();
    let body = json!({"endpoint": "https://shop.example/", "event_types": ["tick"],
        "auth": {"oauth2": {"token_url": "http://169.254.169.254/token", "client_id": "a",
            "client_secret": "client-secret-of-the-shop"}}});
    let refused = client.post("/v1/subscriptions", &body).await;
    assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid-subscription"));
    assert_eq!(refused.json()["errors"][0]["at"], "/auth/oauth2/token_url");
    assert!(!String::from_utf8_lossy(&refused.body).contains("client-secret-of-the-shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_added_and_removed_by_commands() {
    let server = Server::start().await;
    let receiver = Receiver::start().await;
    let folder = server.folder().to_path_buf();
    server.client().event_type("tick").await;
    let run = |arguments: &[&str]| {
        let all = [&["--url", server.url()], arguments].concat();
        let output = hookmill(&folder, &all);
        said(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::write(folder.join("own"), whsec(SIGNING[0]) + "\n").unwrap();
    std::fs::write(folder.join("token"), "bearer-token-of-the-shop\n").unwrap();
    std::fs::write(folder.join("key"), "header-secret-of-the-shop").unwrap();
    let endpoint = receiver.url("/cli");
    let made = run(&[
        "subscribe",
        &endpoint,
        "--to",
        "tick",
        "--secret",
        "@own",
        "--bearer",
        "@token",
        "--header",
        "x-key: {{secret:shop}}",
        "--header-secret",
        "shop=@key",
        "--json",
    ]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let id = made["id"].as_str().unwrap();
    let added: Value =
        serde_json::from_str(&run(&["subscription", "add-secret", id, "--json"])).unwrap();
    let listed = run(&["subscription", "secrets", id]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    run(&["send", "tick", "--data", "1"]);
    let both = receiver.wait("/cli", 1).await.remove(0);
    assert!(both.verifies(&whsec(SIGNING[0])));
    assert!(both.verifies(added["secret"].as_str().unwrap()));
    assert_eq!(both.header("authorization"), "Bearer bearer-token-of-the-shop");
    assert_eq!(both.header("x-key"), "header-secret-of-the-shop");

    let first = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    run(&["subscription", "remove-secret", id, first]);
    run(&["subscription", "auth", id, "--remove"]);
    run(&["send", "tick", "--data", "2"]);
    let one = receiver.wait("/cli", 2).await.remove(1);
    assert!(!one.verifies(&whsec(SIGNING[0])));
    assert!(one.verifies(added["secret"].as_str().unwrap()));
    assert_eq!(one.header("authorization"), "");
    let last = added["fingerprint"].as_str().unwrap();
    let url = ["--url", server.url()];
    let kept =
        hookmill(&folder, &[&url[..], &["subscription", "remove-secret", id, last]].concat());
    assert!(said(&kept, 4).contains("is the only one that does not expire"));
    let used = ["subscription", "header-secret", id, "--remove", "shop"];
    let kept = hookmill(&folder, &[&url[..], &used].concat());
    assert!(said(&kept, 4).contains("is in use by the header x-key"));
}
