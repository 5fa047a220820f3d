//! Another version over recorded events: the differences that are there, and only those.

use std::process::{Command, Output};

use hookmill_tests::{
    ADMIN_KEY, Client, Hostile, Receiver, Server, binary, github_events, plugin,
    record_github_events,
};
use serde_json::{Value, json};

async fn upload(client: &Client, name: &str, live: bool) {
    let wasm = [("content-type", "application/wasm")];
    let path = format!("/v1/plugins?live={live}");
    client.send("POST", &path, &wasm, plugin(name)).await.expect(201);
}

/// A server with GitHub's events recorded, and both versions of `triage`, the first one live.
async fn recorded() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client();
    record_github_events(&client).await;
    upload(&client, "fixture-triage-1", true).await;
    upload(&client, "fixture-triage-2", false).await;
    (server, client)
}

/// Starts a backtest of `triage` and waits for its end.
async fn backtest(client: &Client, request: &Value) -> Value {
    for _ in 0..5 {
        let started = client.post("/v1/plugins/triage/backtests", request).await;
        let id = started.expect(202)["id"].as_str().expect("an id").to_owned();
        assert_eq!(started.headers["location"], format!("/v1/backtests/{id}"));
        let path = format!("/v1/backtests/{id}");
        let report = client.wait_for(&path, |report| report["state"] != "running").await;
        assert_eq!(report["state"], "done", "{report:#}");
        // Where a machine is too busy with other tests, it says so instead of guessing.
        if report["counts"]["undecided"] == 0 {
            return report;
        }
    }
    panic!("the wall clock ended runs in every one of five backtests");
}

fn action((_, payload): &(String, Value)) -> &str {
    payload["action"].as_str().unwrap_or_default()
}

/// How many events have one of these actions.
fn with(actions: &[&str]) -> usize {
    github_events().iter().filter(|event| actions.contains(&action(event))).count()
}

/// The event of a difference.
async fn event_of(client: &Client, difference: &Value) -> Value {
    let id = difference["event_id"].as_str().expect("an id");
    client.get(&format!("/v1/events/{id}")).await.expect(200)
}

#[tokio::test]
async fn it_sees_the_planted_differences_and_only_those() {
    let (_server, client) = recorded().await;
    let receiver = Receiver::start().await;
    let pipeline = json!([{"plugin": "triage", "on_error": "dead"}]);
    let (id, _) = client.subscribe(&receiver.url("/t"), &["github.**"], &pipeline).await;
    let report = backtest(&client, &json!({"version": "2.0.0", "last": 10_000})).await;

    let all = github_events().len();
    let planted = ["opened", "created", "deleted", "closed", "labeled", "unlabeled"];
    for action in planted.iter().chain(&["edited"]) {
        assert!(with(&[action]) > 0, "no event is {action}");
    }
    let expected = json!({
        "compared": all,
        "same": all - with(&planted),
        "changed": with(&["opened", "created"]),
        "newly_dropped": with(&["deleted"]),
        "newly_passed": with(&["labeled"]),
        "failed": with(&["closed"]),
        "fixed": with(&["unlabeled"]),
        "undecided": 0,
        "slower": with(&["edited"]),
    });
    assert_eq!(report["counts"], expected);
    assert_eq!(report["progress"], json!({"done": all, "total": all, "scanned": all}));
    assert_eq!(report["subscriptions"][0]["subscription_id"], id);
    assert_eq!(report["subscriptions"][0]["failed"], with(&["closed"]));
    let (median, max) = (&report["fuel"]["median_ratio"], &report["fuel"]["max_ratio"]);
    assert!(median.as_f64().unwrap() < 1.25 && max.as_f64().unwrap() > 1.25, "{median} {max}");

    let differences = report["differences"].as_array().unwrap();
    assert!(differences.len() >= 100, "{}", differences.len());
    for difference in differences {
        let event = event_of(&client, difference).await;
        let action = event["payload"]["action"].as_str().unwrap();
        let (before, after) = (&difference["baseline"], &difference["candidate"]);
        match (difference["kind"].as_str().unwrap(), action) {
            ("changed", "opened") => assert_eq!(
                difference["body"],
                json!([{"at": "/triaged", "before": null, "after": "true"}])
            ),
            ("changed", "created") => {
                let header = json!([{"name": "x-triage-version", "before": null, "after": "2"}]);
                assert_eq!(difference["headers"], header);
                assert_eq!(difference["body_differs"], false);
            }
            ("newly_dropped", "deleted") => {
                assert_eq!(
                    (&before["outcome"], &after["outcome"]),
                    (&json!("send"), &json!("drop"))
                );
                assert_eq!(after["reason"], "what is gone is not triaged");
            }
            ("newly_passed", "labeled") => assert_eq!(before["reason"], "labels are not triaged"),
            ("failed", "closed") => {
                let fault = json!({"plugin": "triage@2.0.0", "kind": "failed",
                    "message": "no queue for this"});
                assert_eq!(after["fault"], fault);
            }
            ("fixed", "unlabeled") => assert_eq!(before["fault"]["kind"], "invalid-event"),
            ("slower", "edited") => {
                assert!(after["fuel"].as_u64().unwrap() > before["fuel"].as_u64().unwrap());
            }
            other => panic!("{other:?} was not planted: {difference:#}"),
        }
    }
    // Nothing of it was delivered, or kept as a delivery.
    assert_eq!(client.get("/v1/deliveries").await.expect(200)["data"], json!([]));
    assert!(receiver.at("/t").is_empty());
}

#[tokio::test]
async fn it_tries_a_step_a_config_and_the_events_that_a_subscription_listens_to() {
    let (_server, client) = recorded().await;
    let triage = json!([{"plugin": "triage@1.0.0", "config": {"strict": true}}]);
    let (used, _) = client.subscribe("http://127.0.0.1:9/", &["github.issues"], &triage).await;
    let (bare, _) = client.subscribe("http://127.0.0.1:9/", &["github.**"], &json!([])).await;

    // One step more, where there is none.
    let request = json!({"version": "2.0.0", "subscription_id": bare, "last": 10_000});
    let report = backtest(&client, &request).await;
    let all = github_events().len();
    let (dropped, failed) = (with(&["deleted"]), with(&["closed"]));
    assert_eq!(report["counts"]["newly_dropped"], dropped);
    assert_eq!(report["counts"]["failed"], failed);
    assert_eq!(report["counts"]["changed"], all - dropped - failed);
    assert_eq!(report["fuel"]["median_ratio"], Value::Null);

    // A config that the version does not take is saved: told, unless another is given.
    let path = "/v1/plugins/triage/backtests";
    let breaks = client.post(path, &json!({"version": "2.0.0"})).await;
    assert_eq!((breaks.status, breaks.problem().as_str()), (409, "breaks-configs"));
    assert_eq!(breaks.json()["subscriptions"], json!([used]));
    let request = json!({"version": "1.0.0", "config": {"label": "x"}, "last": 5});
    let report = backtest(&client, &request).await;
    assert_eq!(report["progress"]["done"], 5);
    assert_eq!(report["progress"]["total"], 5);
    assert_eq!(report["subscriptions"].as_array().map(Vec::len), Some(1));
    for difference in report["differences"].as_array().unwrap() {
        assert_eq!(difference["event_type"], "github.issues");
        let header = json!([{"name": "x-triage", "before": "none", "after": "x"}]);
        assert_eq!(difference["headers"], header);
    }
    // Two versions, neither of them what the subscription runs.
    let request = json!({"version": "2.0.0", "against": "2.0.0", "config": {}, "last": 50});
    let report = backtest(&client, &request).await;
    assert_eq!(report["counts"]["same"], report["counts"]["compared"]);
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_in_words() {
    let (_server, client) = recorded().await;
    let path = "/v1/plugins/triage/backtests";
    let refused = |request: Value| {
        let client = client.clone();
        async move {
            let answer = client.post(path, &request).await;
            (answer.status, answer.problem(), answer.json())
        }
    };
    let (status, problem, _) = refused(json!({"version": "2.0.0"})).await;
    assert_eq!((status, problem.as_str()), (422, "plugin-not-used"));
    let (id, _) =
        client.subscribe("http://127.0.0.1:9/", &["**"], &json!([{"plugin": "triage"}])).await;
    for (request, status, problem) in [
        (json!({"version": "3.0.0"}), 404, "not-found"),
        (json!({"version": "2.0.0", "against": "0.0.1"}), 404, "not-found"),
        (json!({"version": "2.0.0", "subscription_id": id.replace("0", "1")}), 404, "not-found"),
        (json!({"version": "2.0.0", "last": 0}), 400, "invalid-field"),
        (json!({"version": "2.0.0", "last": 100_001}), 400, "invalid-field"),
        (json!({"version": "2.0.0", "config": {"strict": true}}), 422, "invalid-config"),
        (json!({"last": 5}), 400, "missing-field"),
    ] {
        let (found, slug, body) = refused(request).await;
        assert_eq!((found, slug.as_str()), (status, problem), "{body:#}");
    }
    let (_, _, body) = refused(json!({"version": "2.0.0", "config": {"label": 7}})).await;
    assert_eq!(body["errors"][0]["at"], "/config/label");
    let strange = client.get("/v1/backtests/bkt_01jd8xq3m5e7r9t0v2w4y6z8ab").await;
    assert_eq!((strange.status, strange.problem().as_str()), (404, "not-found"));
}

#[tokio::test]
async fn jobs_are_bounded_and_can_be_cancelled() {
    let server = Server::start().await;
    let client = server.client();
    record_github_events(&client).await;
    // Each run of it lasts until its fuel's end.
    client.upload(Hostile::EndlessLoop.module()).await.expect(201);
    let pipeline = json!([{"plugin": Hostile::EndlessLoop.name()}]);
    client.subscribe("http://127.0.0.1:9/", &["github.**"], &pipeline).await;
    let path = format!("/v1/plugins/{}/backtests", Hostile::EndlessLoop.name());
    let request = json!({"version": "0.1.0", "last": 100_000});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let started = client.post(&path, &request).await.expect(202);
        assert_eq!(started["state"], "running");
        ids.push(format!("/v1/backtests/{}", started["id"].as_str().unwrap()));
    }
    let third = client.post(&path, &request).await;
    assert_eq!((third.status, third.problem().as_str()), (429, "too-many-backtests"));
    client.wait_for(&ids[0], |report| report["progress"]["done"].as_u64() > Some(0)).await;
    for id in &ids {
        client.delete(id).await.expect(204);
        let report = client.get(id).await.expect(200);
        assert_eq!(report["state"], "cancelled");
        assert!(report["progress"]["done"].as_u64() < Some(github_events().len() as u64));
        client.delete(id).await.expect(204);
        assert_eq!(client.get(id).await.expect(200), report, "it stays as it was");
    }
    let listed = client.get("/v1/backtests").await.expect(200);
    let listed: Vec<_> = listed["data"].as_array().unwrap().iter().map(|b| &b["id"]).collect();
    assert_eq!(listed.len(), 2);
    assert!(ids[1].ends_with(listed[0].as_str().unwrap()), "newest first");
    // Another application sees none of it.
    client.post("/v1/applications", &json!({"name": "other"})).await.expect(201);
    let other = [("hookmill-application", "other")];
    assert_eq!(client.send("GET", &ids[0], &other, "").await.status, 404);
    assert_eq!(client.send("DELETE", &ids[0], &other, "").await.status, 404);
    // There is room again.
    let again = client.post(&path, &json!({"version": "0.1.0", "last": 1})).await.expect(202);
    let again = format!("/v1/backtests/{}", again["id"].as_str().unwrap());
    client.wait_for(&again, |report| report["state"] == "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_progress_and_differences_and_has_an_exit_code_for_ci() {
    let (server, client) = recorded().await;
    let pipeline = json!([{"plugin": "triage", "on_error": "dead"}]);
    client.subscribe("http://127.0.0.1:9/", &["github.**"], &pipeline).await;
    let url = server.url().to_owned();
    let run = |more: &[&str]| -> Output {
        Command::new(binary())
            .args(["plugin", "backtest", "triage"])
            .args(more)
            .envs([("HOOKMILL_URL", url.as_str()), ("HOOKMILL_KEY", ADMIN_KEY)])
            .output()
            .expect("it runs")
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Without --version it is the newest, which is not live.
    let output = run(&[]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(err.contains("triage@2.0.0"), "{err}");
    let all = github_events().len();
    for part in [
        format!("{all} events: "),
        format!("{} newly dropped", with(&["deleted"])),
        format!("{} failed", with(&["closed"])),
        "(--diff to see them)".to_owned(),
        "fuel ×".to_owned(),
    ] {
        assert!(out.contains(&part), "no {part:?} in\n{out}");
    }
    let shown = text(&run(&["--diff"]).stdout);
    for part in ["what is gone is not triaged", "/triaged  nothing → true", "triage@2.0.0: failed"]
    {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    for (kinds, code) in [("failed", 1), ("any", 1), ("changed,slower", 1)] {
        assert_eq!(run(&["--fail-on", kinds]).status.code(), Some(code), "{kinds}");
    }
    let same = ["--version", "1.0.0", "--fail-on", "changed,newly-dropped,newly-passed,failed"];
    assert_eq!(run(&same).status.code(), Some(0));
    assert_eq!(run(&["--fail-on", "nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["--version", "9.9.9"]).status.code(), Some(4));
    let report: Value = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    assert_eq!(report["state"], "done");
}
