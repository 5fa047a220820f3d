//! GitHub events as Slack messages, for an incoming webhook.
//!
//! Understands the event types `github.push`, `github.pull_request`, `github.issues` and
//! `github.release`, whose payloads are GitHub's own; reads only the fields it shows.

mod github;
mod slack;

use hookmill_sdk::prelude::*;

/// What is announced, and how.
#[derive(Config, Debug)]
struct SlackMessage {
    /// How many commits of a push are listed.
    #[serde(default = "max_commits")]
    max_commits: usize,
    /// Announce only pushes to these branches; all if not given.
    branches: Option<Vec<String>>,
    /// What becomes of events this plugin has no words for.
    #[serde(default)]
    others: Others,
}

fn max_commits() -> usize {
    5
}

/// What becomes of events without words of their own.
#[derive(Clone, Copy, Config, Debug, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Others {
    /// They are dropped.
    #[default]
    Drop,
    /// Their type, repository and sender are announced.
    Announce,
}

/// Turns GitHub events into Slack messages.
#[transform(event_types = ["github.*"])]
fn slack_message(event: &Event, config: SlackMessage) -> Result<Outcome> {
    let event_type = event.event_type();
    let message = match event_type.as_str() {
        "github.push" => github::push(event, &config)?,
        "github.pull_request" => github::pull_request(event)?,
        "github.issues" => github::issues(event)?,
        "github.release" => github::release(event)?,
        _ => github::Said::No("there is no message for this event type"),
    };
    match message {
        github::Said::Yes(text) => deliver_json(&text.into_body()),
        github::Said::No(_) if config.others == Others::Announce => {
            deliver_json(&github::anything(event, &event_type)?.into_body())
        }
        github::Said::No(reason) => Ok(drop(reason)),
        github::Said::Never(reason) => Ok(drop(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::slack_message;
    use hookmill_sdk::prelude::*;
    use hookmill_sdk::testing;

    #[test]
    fn recorded_cases() {
        testing::check_cases(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), slack_message);
    }

    #[test]
    fn a_huge_push_stays_within_slacks_bounds() {
        let commit = json!({
            "id": "0123456789abcdef", "url": "https://github.example/c", "message": "<&>".repeat(2000),
            "author": {"name": "Ada"},
        });
        let event = testing::event(json!({
            "ref": "refs/heads/main", "compare": "https://github.example/compare",
            "commits": vec![commit; 200], "sender": {"login": "ada"},
            "repository": {"full_name": "acme/shop", "html_url": "https://github.example/acme/shop"},
        }))
        .event_type("github.push")
        .build();
        let outcome = testing::run(slack_message, &event, &json!({"max_commits": 200}));
        let Ok(Outcome::Deliver(message)) = outcome else { panic!("{outcome:?}") };
        let body: Value = hookmill_sdk::serde_json::from_slice(&message.body).unwrap_or_default();
        let text = body["blocks"][0]["text"]["text"].as_str().unwrap_or_default();
        assert!((2000..=3000).contains(&text.chars().count()), "{}", text.chars().count());
        assert!(text.contains("200 commits"), "{text}");
        assert!(text.ends_with("more"), "{text}");
    }
}
