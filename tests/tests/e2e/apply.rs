//! `hookmill apply` and `hookmill export`: a server as a file declares it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hookmill_tests::{ADMIN_KEY, Client, Server, binary, plugin, repository};
use serde_json::{Value, json};

const TOKEN: &str = "hunter2-of-the-warehouse";

/// A folder with a file to apply, and a server.
struct Bench {
    server: Server,
    folder: PathBuf,
}

impl Bench {
    async fn start() -> Self {
        let server = Server::start().await;
        let folder = server.folder().join("declared");
        std::fs::create_dir_all(folder.join("plugins")).expect("the folder can be used");
        Self { server, folder }
    }

    /// The example of the guide.
    async fn example() -> Self {
        let bench = Self::start().await;
        for file in ["hookmill.yaml", "order.schema.json"] {
            std::fs::copy(repository().join("examples").join(file), bench.folder.join(file))
                .expect("the folder can be used");
        }
        std::fs::write(bench.folder.join("plugins/redact.wasm"), plugin("redact"))
            .expect("the folder can be used");
        bench
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.join("hookmill.yaml"), text).expect("the folder can be used");
    }

    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.folder.join("hookmill.yaml"))
            .expect("the folder can be used");
        assert!(text.contains(from), "{from:?} is not in {text}");
        self.write(&text.replacen(from, to, 1));
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(self.server.url(), &self.folder, arguments)
    }

    fn apply(&self, flags: &[&str]) -> Output {
        self.run(&[&["apply", "-f", "hookmill.yaml"], flags].concat())
    }

    /// What a run says that must succeed.
    #[track_caller]
    fn applied(&self, flags: &[&str]) -> String {
        done(&self.apply(flags))
    }

    /// What a run says that must end with a code.
    #[track_caller]
    fn refused(&self, flags: &[&str], code: i32) -> String {
        let output = self.apply(flags);
        let said = all(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!said.contains(['\u{1b}', '\r', '\u{202e}']), "it writes over itself: {said:?}");
        said
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    async fn subscription(&self, application: &str, name: &str) -> Value {
        let output = self.run(&["--application", application, "--json", "subscriptions"]);
        let list: Value = serde_json::from_str(&done(&output)).expect("--json prints JSON");
        let found =
            list.as_array().expect("it is a list").iter().find(|shown| shown["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
    }
}

fn run(url: &str, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("HOOKMILL_URL", url)
        .env("HOOKMILL_KEY", ADMIN_KEY)
        .env("WAREHOUSE_TOKEN", TOKEN)
        .env("SHOP__WAREHOUSE__HEADER__TOKEN", TOKEN)
        .env("SHOP__PAYMENTS__SOURCE", TOKEN)
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it runs")
}

fn all(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains(TOKEN), "a secret is shown: {said}");
    assert!(!said.contains("hmk_app_"), "a key is shown: {said}");
    said
}

#[track_caller]
fn done(output: &Output) -> String {
    let said = all(output);
    assert!(output.status.success(), "{:?}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_example_is_applied_once_and_then_changes_nothing() {
    let guide = std::fs::read_to_string(repository().join("docs/declarative.md")).unwrap();
    let example = std::fs::read_to_string(repository().join("examples/hookmill.yaml")).unwrap();
    assert!(guide.contains(&example), "the guide shows another file than examples/hookmill.yaml");

    let bench = Bench::example().await;
    let said = bench.refused(&[], 2);
    assert!(said.contains("nothing was changed") && said.contains("--yes"), "{said}");
    let plan = bench.applied(&["--dry-run"]);
    assert!(guide.contains(plan.trim_end()), "the guide shows another plan than\n{plan}");
    assert_eq!(bench.applied(&["--yes"]), plan);
    let again = bench.applied(&["--yes"]);
    assert_eq!(again, "0 to create, 0 to change, 0 to delete, 5 as declared\n");
    assert_eq!(bench.applied(&["--check"]), again);
    // A plan needs no secret, so that CI needs none.
    bench.edit("WAREHOUSE_TOKEN", "NOBODY_SET_THIS");
    bench.edit("- name: warehouse", "- name: warehouse2");
    assert!(bench.refused(&["--check"], 2).contains("+ subscription shop/warehouse2"));

    let warehouse = bench.subscription("shop", "warehouse").await;
    assert_eq!(warehouse["policy"], json!({"concurrency": 4, "timeout_seconds": 10.0}));
    assert_eq!(warehouse["header_secrets"], json!(["token"]));
    // The key works, and only its owner can read it.
    let file = bench.folder.join("shop-backend.key");
    let key = std::fs::read_to_string(&file).unwrap();
    let event =
        json!({"type": "order.created", "payload": {"id": 7, "total": 1.5, "currency": "EUR"}});
    bench.client().with_key(Some(key.trim())).post("/v1/events", &event).await.expect(202);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_and_mended() {
    let bench = Bench::example().await;
    bench.applied(&["--yes"]);
    let id = bench.subscription("shop", "warehouse").await["id"].as_str().unwrap().to_owned();
    let policy = ["--application", "shop", "subscription", "policy", &id, "--concurrency", "32"];
    done(&bench.run(&policy));
    bench
        .client()
        .patch("/v1/event-types/order.created", &json!({"mode": "warn"}))
        .await
        .expect(200);
    let said = bench.refused(&["--check"], 2);
    for part in [
        "~ event type order.created",
        "    mode  \"warn\" -> \"enforce\"",
        "~ subscription shop/warehouse\n    policy.concurrency  32 -> 4\n",
        "0 to create, 2 to change, 0 to delete, 3 as declared",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let plan: Value = serde_json::from_str(&bench.applied(&["--dry-run", "--json"])).unwrap();
    assert_eq!(
        plan["changes"][1]["fields"],
        json!([{"at": "policy.concurrency", "old": 32, "new": 4}])
    );
    bench.applied(&["--yes"]);
    bench.applied(&["--check"]);
    // What is not of its field's form may be a secret that slipped.
    let good = std::fs::read_to_string(bench.folder.join("hookmill.yaml")).unwrap();
    bench.edit("timeout_seconds: 10", &format!("sining: [{{ secret: {TOKEN} }}]"));
    let said = bench.refused(&["--check"], 2);
    assert!(said.contains("-> \"(not as this hookmill knows it)\""), "{said}");
    bench.write(&good);
    // A changed schema becomes a version; a changed key another key.
    let schema = bench.folder.join("order.schema.json");
    let mut changed: Value = serde_json::from_slice(&std::fs::read(&schema).unwrap()).unwrap();
    changed["properties"]["note"] = json!({"type": "string"});
    std::fs::write(&schema, changed.to_string()).unwrap();
    bench.edit("scopes: [publish]", "scopes: [read, publish]");
    bench.edit("compatibility: backward", "compatibility: none");
    let old = std::fs::read_to_string(bench.folder.join("shop-backend.key")).unwrap();
    let plan = bench.applied(&["--yes"]);
    assert!(plan.contains("schema.properties.note  (none) ->"), "{plan}");
    let shown = bench.client().get("/v1/event-types/order.created").await.expect(200);
    assert_eq!(shown["schema"], changed);
    let new = std::fs::read_to_string(bench.folder.join("shop-backend.key")).unwrap();
    assert_eq!(bench.client().with_key(Some(old.trim())).get("/v1/events").await.status, 401);
    assert_eq!(bench.client().with_key(Some(new.trim())).get("/v1/events").await.status, 200);
    bench.applied(&["--check"]);
    let again = bench.applied(&["--yes", "--refresh-secrets"]);
    assert!(again.contains("header_secrets  \"(secret)\""), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_it_is_written_the_second_run_changes_nothing() {
    let bench = Bench::start().await;
    let schema = r#"{"type": "object", "properties": {"n": {"maximum": 10.0}}}"#;
    std::fs::write(bench.folder.join("n.json"), schema).unwrap();
    bench.write(
        "version: 01\nevent_types:\n- name: n\n  content_types: [Application/JSON, application/json]\n  \
         schema_file: n.json\n  deprecated: true\n  sunset_at: 2027-01-01T01:00:00+01:00\n\
         - {name: old, archived: true, deprecated: false, description: null}\n\
         sources:\n- name: payments\n  kind: hmac\n  secret: {env: WAREHOUSE_TOKEN}\n  \
         hmac: {header: x-signature}\n  event_type: {fixed: n, pointers: []}\n  delivery_id: null\n\
         subscriptions:\n- name: a\n  endpoint: https://A.example\n  event_types: [n]\n  filter: null\n  \
         auth: null\n  headers: {}\n  channels: []\n  \
         policy: {timeout_seconds: 5, retry: null, rate_limit: {per_second: 1}}\n\
         - name: b\n  endpoint: https://b.example\n  event_types: [n]\n  filter: {gt: {/n: 1.0}}\n  \
         auth: {basic: {username: u, password: {env: WAREHOUSE_TOKEN}}}\n\
         keys:\n- {name: \"k \u{202e}\", scopes: [publish, read, read], expires_at: null, secret_file: k}\n"
    );
    let plan = bench.applied(&["--yes"]);
    assert!(plan.contains("6 to create") && plan.contains("k \\u{202e}"), "{plan}");
    let same = bench.applied(&["--check"]);
    assert_eq!(same, "0 to create, 0 to change, 0 to delete, 6 as declared\n");
    // The same number, written otherwise, is no new version.
    std::fs::write(bench.folder.join("n.json"), schema.replace("10.0", "10")).unwrap();
    assert_eq!(bench.applied(&["--yes"]), same);
    let versions = bench.client().get("/v1/event-types/n/versions").await.expect(200);
    assert_eq!(versions["data"].as_array().unwrap().len(), 1);
    // One that is there twice would take turns with itself.
    bench.edit("- name: b", "- name: a\n  application: default");
    let said = bench.refused(&["--check"], 2);
    assert!(said.contains("a subscription a is there twice"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_declared_changed_and_pruned() {
    let bench = Bench::start().await;
    bench.client().event_type("payment").await;
    let file = "version: 1\nsources:\n  - name: payments\n    kind: basic\n    username: them\n    \
        secret: { env: WAREHOUSE_TOKEN }\n    event_type: { fixed: payment }\n";
    bench.write(file);
    assert!(bench.applied(&["--yes"]).contains("+ source default/payments\n"));
    bench.applied(&["--check"]);
    let source = async || bench.client().get("/v1/sources").await.expect(200)["data"][0].clone();
    let first = source().await;
    let path = first["path"].as_str().unwrap().to_owned();
    let secret = first["secrets"][0]["id"].as_str().unwrap().to_owned();
    let password = format!("Basic {}", STANDARD.encode(format!("them:{TOKEN}")));
    let sent = async || {
        let headers = [("content-type", "application/json"), ("authorization", password.as_str())];
        bench.client().with_key(None).send("POST", &path, &headers, r#"{"a": 1}"#).await.status
    };
    assert_eq!(sent().await, 200);

    bench.edit("username: them", "username: them\n    subject: /a");
    let plan = bench.applied(&["--yes"]);
    assert!(plan.contains("~ source default/payments\n    subject  (none) -> \"/a\"\n"), "{plan}");
    assert_eq!(source().await["subject"], "/a");
    assert_eq!(source().await["secrets"], first["secrets"], "its secret stays");
    // One that has none is given what the file says.
    let id = first["id"].as_str().unwrap();
    bench.client().delete(&format!("/v1/sources/{id}/secrets/{secret}")).await.expect(204);
    assert_eq!(sent().await, 401);
    assert!(bench.applied(&["--yes"]).contains("secret  (none) -> \"(secret)\""));
    assert_eq!(sent().await, 200);
    bench.applied(&["--check"]);

    bench.edit("kind: basic", "kind: stripe");
    let said = bench.refused(&["--yes"], 2);
    assert!(said.contains("line 4") && said.contains("cannot become \"stripe\""), "{said}");
    bench.write("version: 1\nsources:\n");
    assert!(bench.applied(&["--prune", "--yes"]).starts_with("- source default/payments\n"));
    assert_ne!(sent().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_file_is_refused_also_where_it_would_not_be_sent() {
    let bench = Bench::start().await;
    let (kept, plain) = ("{ env: WAREHOUSE_TOKEN }", "hunter2-of-the-warehouse");
    bench.write(
        "version: 1\nevent_types:\n- name: n\nsubscriptions:\n- name: a\n  endpoint: https://a.example\n  \
         event_types: [n]\nsources:\n- name: b\n  kind: github\n  secret: { env: WAREHOUSE_TOKEN }\n",
    );
    bench.applied(&["--yes"]);
    bench.applied(&["--check"]);
    for (from, to) in [
        (kept, plain),
        ("event_types: [n]", "event_types: [n]\n  secret: hunter2-of-the-warehouse"),
    ] {
        bench.edit(from, to);
        let said = bench.refused(&["--check"], 2);
        assert!(said.contains("must not be in the file"), "{said}");
        bench.edit(to, from);
    }
    bench.applied(&["--check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_narrows_by_null_is_applied_and_a_time_is_the_same_to_the_millisecond() {
    let bench = Bench::start().await;
    let (wide, narrow) = ("filter: {exact: {/a: 1}}", "filter: {exact: {/a: 1, /b: null}}");
    let (any, none) = ("schema: {properties: {a: {}}}", "schema: {properties: {a: {const: null}}}");
    bench.write(&format!(
        "version: 1\nevent_types:\n- name: n\n  {any}\n  deprecated: true\n  \
         sunset_at: 2030-01-01T00:00:00.123456Z\n\
         sources:\n- name: payments\n  kind: github\n  secret: {{env: WAREHOUSE_TOKEN}}\n  \
         event_type: {{fixed: n}}\n  repetitions: content\n\
         subscriptions:\n- name: a\n  endpoint: https://a.example\n  event_types: [n]\n  {wide}\n\
         keys:\n- {{name: k, scopes: [publish], expires_at: 2030-01-01T00:00:00.123456Z, secret_file: k}}\n"
    ));
    bench.applied(&["--yes"]);
    let same = "0 to create, 0 to change, 0 to delete, 4 as declared\n";
    assert_eq!(bench.applied(&["--check"]), same);
    for (from, to) in [(wide, narrow), (narrow, wide), (any, none), (none, any)] {
        bench.edit(from, to);
        assert!(bench.refused(&["--check"], 2).contains("1 to change"));
        bench.applied(&["--yes"]);
        assert_eq!(bench.applied(&["--check"]), same);
    }
    // Null is what is usual for the kind.
    bench.edit("repetitions: content", "repetitions: null");
    assert!(bench.applied(&["--yes"]).contains("repetitions  \"content\" -> (none)"));
    assert_eq!(bench.applied(&["--check"]), same);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filters_numbers_keep_every_digit_there_and_back() {
    const LONG: &str = "12345678901234567890123";
    const NEXT: &str = "12345678901234567890124";
    let bench = Bench::start().await;
    bench.client().event_type("n").await;
    bench.write(&format!(
        "version: 1\nsubscriptions:\n- name: a\n  endpoint: https://a.example\n  \
         event_types: [n]\n  filter:\n    any:\n    - exact: {{/m: {LONG}}}\n    \
         - gt: {{/c: 12345678901234567890.5}}\n"
    ));
    bench.applied(&["--yes"]);
    bench.applied(&["--check"]);
    let id = bench.subscription("default", "a").await["id"].as_str().unwrap().to_owned();
    let matches = |data: &str| {
        let data = format!("{{{data}}}");
        let asked = ["subscription", "match", &id, "--type", "n", "--data", &data];
        done(&bench.run(&asked)).starts_with("matches")
    };
    assert!(matches(&format!("\"m\": {LONG}")) && !matches(&format!("\"m\": {NEXT}")));
    assert!(matches("\"c\": 12345678901234567890.6"));
    assert!(!matches("\"c\": 12345678901234567890.5"));
    // The last digit is a change, shown to that digit.
    bench.edit(LONG, NEXT);
    let said = bench.refused(&["--check"], 2);
    assert!(said.contains(&format!("{{\"/m\":{LONG}}}")), "{said}");
    assert!(said.contains(&format!("{{\"/m\":{NEXT}}}")), "{said}");
    let plan = bench.applied(&["--dry-run", "--json"]);
    assert!(plan.contains(&format!("\"/m\": {NEXT}")), "{plan}");
    bench.applied(&["--yes"]);
    assert!(matches(&format!("\"m\": {NEXT}")) && !matches(&format!("\"m\": {LONG}")));
    for flags in
        [&["export", "-o", "hookmill.yaml"][..], &["export", "--json", "-o", "hookmill.yaml"]]
    {
        done(&bench.run(flags));
        let file = std::fs::read_to_string(bench.folder.join("hookmill.yaml")).unwrap();
        assert!(file.contains(NEXT) && file.contains(" 12345678901234567890.5\n"), "{file}");
        bench.applied(&["--check"]);
    }
    // What no event can have is refused, with its line in a file.
    let beyond = "{\"filter\": {\"lt\": {\"/m\": 1e400}}}";
    let json = [("content-type", "application/json")];
    let path = format!("/v1/subscriptions/{id}");
    let refused = bench.client().send("PATCH", &path, &json, beyond).await;
    assert_eq!(refused.expect(422)["errors"][0]["at"], "/filter/lt/~1m");
    let file = std::fs::read_to_string(bench.folder.join("hookmill.yaml")).unwrap();
    bench.write(&file.replace(" 12345678901234567890.5\n", " 1e400\n"));
    let said = bench.refused(&["--check"], 2);
    assert!(said.contains("line ") && said.contains("1e400"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_refused_with_its_line_where_nothing_is_deprecated() {
    let bench = Bench::start().await;
    let file = "version: 1\nevent_types:\n- name: n\n  sunset_at: 2030-01-01T00:00:00Z\n";
    bench.write(file);
    let refused = || {
        let said = bench.refused(&["--check"], 2);
        assert!(said.contains("line 4: `sunset_at` of an event type n"), "{said}");
        assert!(said.contains("hint: write `deprecated: true`"), "{said}");
    };
    refused();
    bench.client().event_type("n").await;
    refused();
    bench.write(&format!("{file}  deprecated: false\n"));
    refused();
    // It is deprecated already.
    let deprecated = json!({"deprecated": true});
    bench.client().patch("/v1/event-types/n", &deprecated).await.expect(200);
    refused();
    bench.write(file);
    bench.applied(&["--yes"]);
    bench.applied(&["--check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_that_was_cut_off_left_of_a_key_goes() {
    let bench = Bench::example().await;
    bench.edit("scopes: [publish]", "scopes: [publish, read]");
    bench.applied(&["--yes"]);
    let file = bench.folder.join("shop-backend.key");
    let broad = std::fs::read_to_string(&file).unwrap();
    // The next run makes the narrower key, and ends before it revokes this one.
    bench.edit("scopes: [publish, read]", "scopes: [publish]");
    let narrow = json!({"name": "shop backend", "application": "shop", "scopes": ["publish"]});
    let admin = bench.client();
    let made = admin.post("/v1/keys", &narrow).await.expect(201);
    let status = async |key: &str| admin.with_key(Some(key.trim())).get("/v1/events").await.status;
    assert_eq!(status(&broad).await, 200);
    for flags in [&["--check"][..], &["--check", "--prune"]] {
        let said = bench.refused(flags, 2);
        assert!(said.contains("~ key shop/shop backend\n    key_"), "{said}");
        assert!(said.contains("[\"read\",\"publish\"] -> (none)"), "{said}");
    }
    let said = all(&bench.run(&["export"]));
    assert!(said.contains("left out: 1 keys that have a newer one of their name"), "{said}");
    bench.applied(&["--yes"]);
    assert_eq!(status(&broad).await, 401);
    // It publishes, and does not read: it is the one that was made.
    assert_eq!(status(made["key"].as_str().unwrap()).await, 403);
    bench.applied(&["--check", "--prune"]);
    // One that was rotated has its grace.
    let path = format!("/v1/keys/{}/rotate", made["id"].as_str().unwrap());
    admin.post(&path, &json!({"grace_seconds": 3600})).await.expect(201);
    bench.applied(&["--check", "--prune"]);
    assert_eq!(status(made["key"].as_str().unwrap()).await, 403);
    // A key was made, and the run ended before it was kept.
    std::fs::write(bench.folder.join("shop-backend.key.new"), "").unwrap();
    let plan = bench.applied(&["--yes"]);
    assert!(plan.contains("secret_file  (none) -> \"(made again: a run was cut off)\""), "{plan}");
    assert_eq!(status(&std::fs::read_to_string(&file).unwrap()).await, 403);
    bench.applied(&["--check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_made_again() {
    let bench = Bench::example().await;
    bench.applied(&["--yes"]);
    let admin = bench.client();
    let keys = admin.get("/v1/keys?application=shop").await.expect(200);
    let id = keys["data"][0]["id"].as_str().unwrap();
    // Without grace the old one has expired at once; its successor goes.
    let rotated = admin.post(&format!("/v1/keys/{id}/rotate"), &json!({"grace_seconds": 0})).await;
    let next = rotated.expect(201)["id"].as_str().unwrap().to_owned();
    admin.delete(&format!("/v1/keys/{next}")).await.expect(204);
    let exported = done(&bench.run(&["export", "--json"]));
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["keys"], json!([]));
    assert!(bench.refused(&["--check"], 2).contains("+ key shop/shop backend"));
    bench.applied(&["--yes"]);
    let key = std::fs::read_to_string(bench.folder.join("shop-backend.key")).unwrap();
    let event =
        json!({"type": "order.created", "payload": {"id": 7, "total": 1, "currency": "EUR"}});
    admin.with_key(Some(key.trim())).post("/v1/events", &event).await.expect(202);
    bench.applied(&["--check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_export_no_tenant_gets_anothers_secret_or_file() {
    let bench = Bench::start().await;
    let admin = bench.client();
    // In this order each of them once took the name of another.
    for (application, name) in [
        ("shop", "billing"),
        ("rival", "billing"),
        ("shop", "a-b"),
        ("shop", "a.b"),
        ("shop-a", "b"),
    ] {
        admin.post("/v1/applications", &json!({"name": application})).await;
        let endpoint = format!("https://{application}.example/hooks");
        let body = json!({"name": name, "endpoint": endpoint, "event_types": ["x"],
            "auth": {"bearer": {"token": TOKEN}}});
        let headers = [("content-type", "application/json"), ("hookmill-application", application)];
        admin.send("POST", "/v1/subscriptions", &headers, body.to_string()).await.expect(201);
    }
    for (application, name) in
        [("rival", "a b"), ("rival", "a/b"), ("rival", "A b"), ("shop", "a-b"), ("shop-a", "b")]
    {
        let key = json!({"name": name, "application": application, "scopes": ["read"]});
        admin.post("/v1/keys", &key).await.expect(201);
    }
    let names = |exported: &Value| -> Vec<String> {
        let at = |section: &str, pointer: &str| -> Vec<String> {
            let list = exported[section].as_array().unwrap();
            list.iter()
                .map(|item| item.pointer(pointer).unwrap().as_str().unwrap().to_owned())
                .collect()
        };
        let mut all = at("subscriptions", "/auth/bearer/token/env");
        all.extend(at("keys", "/secret_file").iter().map(|file| file.to_lowercase()));
        all
    };
    let export = |flags: &[&str]| -> Value {
        serde_json::from_str(&done(&bench.run(&[flags, &["export", "--json"]].concat()))).unwrap()
    };
    let all = names(&export(&[]));
    let each: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), each.len()), (10, 10), "{all:?}");
    assert!(all.contains(&"SHOP__BILLING__AUTH__TOKEN".to_owned()), "{all:?}");
    // What a tenant's are called does not depend on the others.
    let own = names(&export(&["--application", "shop-a"]));
    assert!(own.iter().all(|name| all.contains(name)), "{own:?} of {all:?}");
    bench.write(&export(&[]).to_string());
    let plan = bench.applied(&["--check", "--json"]);
    assert!(plan.contains("\"changes\": []"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_deletes_what_is_not_declared_of_the_files_kinds_only() {
    let bench = Bench::example().await;
    bench.applied(&["--yes"]);
    let endpoint = "https://other.example/hooks";
    for (application, name) in [("shop", "old"), ("default", "elsewhere")] {
        let flags = [
            "--application",
            application,
            "subscribe",
            endpoint,
            "--to",
            "order.*",
            "--name",
            name,
        ];
        bench.run(&flags);
    }
    let unnamed = ["--application", "shop", "subscribe", endpoint, "--to", "order.*"];
    done(&bench.run(&unnamed));
    bench.client().event_type("order.lost").await;
    bench.applied(&["--check"]);
    let plan = bench.applied(&["--prune", "--yes"]);
    let deleted: Vec<&str> = plan.lines().filter(|line| line.starts_with('-')).collect();
    assert_eq!(deleted, ["- subscription shop/old", "- event type order.lost"]);
    bench.subscription("default", "elsewhere").await;
    assert!(
        bench.applied(&["--prune", "--yes"]).starts_with("0 to create, 0 to change, 0 to delete")
    );
    // Everything goes, users before what they use.
    bench.write("version: 1\napplications:\n- name: shop\nevent_types:\nsubscriptions:\nkeys:\n");
    let plan = bench.applied(&["--prune", "--yes"]);
    let deleted: Vec<&str> = plan.lines().filter(|line| line.starts_with('-')).collect();
    let expected =
        ["- subscription shop/warehouse", "- event type order.created", "- key shop/shop backend"];
    assert_eq!(deleted, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_half_way_says_what_is_left_and_the_next_run_goes_on() {
    let bench = Bench::example().await;
    bench.edit("[order.*]", "[or*er]");
    let said = bench.refused(&["--yes"], 4);
    for part in [
        "done: + plugin redact@0.1.0 (shared)",
        "/event_types/0",
        "declared in hookmill.yaml, line 20",
        "not done: + subscription shop/warehouse",
        "not done: + key shop/shop backend",
        "3 of 5 changes are done",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    bench.edit("[or*er]", "[order.*]");
    let plan = bench.applied(&["--yes"]);
    assert!(plan.contains("2 to create, 0 to change, 0 to delete, 3 as declared"), "{plan}");
    bench.applied(&["--check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_are_refused_with_line_and_field_before_anything_is_done() {
    let bench = Bench::example().await;
    let good = std::fs::read_to_string(bench.folder.join("hookmill.yaml")).unwrap();
    for (from, to, parts) in [
        ("pipeline:", "pipelin:", &["line 26", "no field `pipelin`", "did you mean pipeline?"][..]),
        ("keys:", "key:", &["no section key", "did you mean keys?"]),
        (
            "{ env: WAREHOUSE_TOKEN }",
            "hunter2-of-the-warehouse",
            &["must not be in the file", "header_secrets"],
        ),
        ("WAREHOUSE_TOKEN", "NOBODY_SET_THIS", &["NOBODY_SET_THIS, which is not set", "line 30"]),
        ("application: shop", "application: shopp", &["no application shopp", "line 21"]),
        ("order.schema.json", "no.schema.json", &["no.schema.json"]),
        ("version: 0.1.0", "version: 0.3.0", &["the component is redact@0.1.0, not redact@0.3.0"]),
        ("    component: plugins/redact.wasm\n", "", &["`component` is not given"]),
        ("scopes: [publish]\n", "scopes: [publish]\n    - x", &["line"]),
        // A secret in the wrong place is not repeated: `all` looks for it.
        (
            "policy:",
            "auth: { bearer: hunter2-of-the-warehouse }\n    policy:",
            &["line 32", "`auth.bearer` of a subscription warehouse"],
        ),
        (
            "timeout_seconds: 10",
            "signing: { scheme: github, secret: hunter2-of-the-warehouse }",
            &["line 32", "`policy.signing.secret`"],
        ),
        (
            "\n      token: { env: WAREHOUSE_TOKEN }",
            " hunter2-of-the-warehouse",
            &["`header_secrets`"],
        ),
        // What is read ends.
        ("order.schema.json", "/dev/zero", &["cannot read /dev/zero: it has more than"]),
        ("plugins/redact.wasm", "/dev/zero", &["cannot read /dev/zero: it has more than"]),
        // Names are names.
        (
            "name: shop\n",
            "name: \"a\\e[2K\\r+ application ok\"\n",
            &["line 4", "`name` of an application"],
        ),
        ("name: order.created", "name: a/../../keys", &["line 7", "`name` of an event type"]),
        // What would never be as declared.
        (
            "mode: enforce",
            "mode: null",
            &["line 9", "`mode` of an event type order.created cannot be null"],
        ),
        (
            "keys:\n",
            "keys:\n  - name: other\n    application: shop\n    scopes: [read]\n    secret_file: ./shop-backend.key\n",
            &["line 44", "`secret_file`", "first in line 40"],
        ),
        (
            "scopes: [publish]",
            "scopes: [publish]\n    expires_at: 2020-01-01T00:00:00Z",
            &["line 40", "`expires_at`", "has passed"],
        ),
        (
            "keys:\n",
            "sources:\n  - name: payments\n    application: shop\n    kind: basic\n    username: a\nkeys:\n",
            &["line 37", "needs `secret`"],
        ),
    ] {
        bench.write(&good.replacen(from, to, 1));
        let said = bench.refused(&["--yes"], 2);
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
    let types = bench.client().get("/v1/event-types").await.expect(200);
    assert_eq!(types["data"], json!([]));
    // A name is one subscription's.
    bench.write(&good);
    bench.applied(&["--yes"]);
    let taken = bench.run(&[
        "--application",
        "shop",
        "subscribe",
        "https://x.example/h",
        "--to",
        "a",
        "--name",
        "warehouse",
    ]);
    assert!(all(&taken).contains("/name"), "{}", all(&taken));
    std::fs::write(bench.folder.join("plugins/redact.wasm"), plugin("cloudevents")).unwrap();
    assert!(bench.refused(&["--yes"], 2).contains("other bytes as redact@0.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_applied_to_an_empty_server_exports_as_the_same_text() {
    let bench = Bench::example().await;
    bench.applied(&["--yes"]);
    let unnamed = [
        "--application",
        "shop",
        "subscribe",
        "https://x.example/h",
        "--to",
        "order.*",
        "--name",
        "signed",
        "--description",
        "its own: text # of \"many\"",
    ];
    done(&bench.run(&unnamed));
    bench.run(&["--application", "shop", "subscribe", "https://x.example/h", "--to", "order.*"]);
    let admin = bench.client();
    let id = bench.subscription("shop", "signed").await["id"].as_str().unwrap().to_owned();
    let limits = json!({"events": {"per_second": 5.0, "burst": 9}, "subscriptions": 7});
    admin.put("/v1/applications/shop/limits", &limits).await.expect(200);
    let size = json!({"max_payload_bytes": 1000});
    admin.put("/v1/event-types/order.created/limits", &size).await.expect(200);
    let ended = json!({"deprecated": true, "sunset_at": "2030-01-01T00:00:00Z"});
    admin.patch("/v1/event-types/order.created", &ended).await.expect(200);
    let source = json!({"name": "payments", "kind": "basic", "username": "them", "secret": TOKEN,
        "event_type": {"fixed": "order.created"}, "subject": "/id"});
    let shop =
        json!({"name": "manager", "application": "shop", "scopes": ["manage", "publish", "read"]});
    let made = admin.post("/v1/keys", &shop).await.expect(201);
    let shop = admin.with_key(made["key"].as_str());
    shop.post("/v1/sources", &source).await.expect(201);
    shop.post(&format!("/v1/subscriptions/{id}/pause"), &json!({})).await.expect(200);
    let left_out = String::from_utf8(bench.run(&["export"]).stderr).unwrap();
    assert!(left_out.contains("left out: the plugins' components; --components"), "{left_out}");
    let export = ["export", "-o", "hookmill.yaml", "--components", "plugins"];
    let said = all(&bench.run(&export));
    for part in [
        "1 subscriptions have no name",
        "left out: secrets, events, admin keys, limits of keys\n",
        "left out: that 1 subscriptions are paused or disabled\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("components;"), "{said}");
    let first = std::fs::read_to_string(bench.folder.join("hookmill.yaml")).unwrap();
    assert!(first.contains("SHOP__WAREHOUSE__HEADER__TOKEN") && !first.contains(TOKEN), "{first}");
    let same = bench.applied(&["--check"]);
    assert!(same.starts_with("0 to create, 0 to change"), "{same}");

    let other = Bench::start().await;
    let apply = ["apply", "-f", "hookmill.yaml", "--yes"];
    done(&run(other.server.url(), &bench.folder, &apply));
    done(&run(other.server.url(), &bench.folder, &["apply", "-f", "hookmill.yaml", "--check"]));
    done(&run(
        other.server.url(),
        &bench.folder,
        &["export", "-o", "second.yaml", "--components", "plugins"],
    ));
    let second = std::fs::read_to_string(bench.folder.join("second.yaml")).unwrap();
    assert_eq!(first, second);
    let there = other.client();
    let own = async |path: &str| there.get(path).await.expect(200)["own"].clone();
    assert_eq!(own("/v1/applications/shop/limits").await, limits);
    assert_eq!(own("/v1/event-types/order.created/limits").await, size);
    let shown = there.get("/v1/event-types/order.created").await.expect(200);
    assert!(shown["deprecated_at"].is_string(), "{shown}");
}
