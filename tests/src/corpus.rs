//! GitHub's own webhook payloads, from the npm package that the demo sends too.

use std::{process::Command, sync::OnceLock};

use serde_json::{Value, json};

use crate::{Client, tools::repository};

/// An event type, as `github.issues`, and a payload.
pub type GithubEvent = (String, Value);

/// Every example of api.github.com, fetched if need be.
pub fn github_events() -> &'static [GithubEvent] {
    static EVENTS: OnceLock<Vec<GithubEvent>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let folder = repository().join("build/npm");
        let file = folder.join("node_modules/@octokit/webhooks-examples/api.github.com/index.json");
        if !file.exists() {
            std::fs::create_dir_all(&folder).expect("the build folder can be written");
            for name in ["package.json", "package-lock.json"] {
                std::fs::copy(repository().join("demo").join(name), folder.join(name))
                    .expect("the demo's packages are listed");
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
            assert!(npm.status().is_ok_and(|status| status.success()), "npm ci fails");
        }
        let text = std::fs::read(&file).expect("the examples are there");
        let named: Vec<Value> = serde_json::from_slice(&text).expect("they are a list");
        let examples = named.iter().flat_map(|one| {
            let name = format!("github.{}", one["name"].as_str().expect("each has a name"));
            let examples = one["examples"].as_array().expect("each has examples");
            examples.iter().map(move |payload| (name.clone(), payload.clone()))
        });
        examples.collect()
    })
}

/// Records all of them.
pub async fn record_github_events(client: &Client) {
    let mut names: Vec<&str> = github_events().iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        client.event_type(name).await;
    }
    for some in github_events().chunks(100) {
        let events: Vec<_> =
            some.iter().map(|(name, payload)| json!({"type": name, "payload": payload})).collect();
        let answer = client.post("/v1/events/batch", &json!({"events": events})).await.expect(200);
        assert_eq!(answer["accepted"], some.len());
    }
}
