//! The demo's subscriptions: the same events through different pipelines.
//!
//! Owns what each subscription is for. A pipeline whose plugins were not uploaded is left out.

use std::path::Path;

use serde_json::{Value, json};

use super::receiver::Receiver;
use crate::cli::{
    client::Client,
    output::{self, Failure, field},
};

/// A subscription of the demo.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// `sub_…`
    pub(super) id: String,
    /// What it is for.
    pub(super) name: &'static str,
    /// Its plugins, `a → b`.
    pub(super) pipeline: String,
    /// Whether it must get every payload byte for byte.
    pub(super) verbatim: bool,
}

struct Plan {
    name: &'static str,
    event_types: &'static [&'static str],
    steps: Vec<(&'static str, Value)>,
}

fn plans() -> Vec<Plan> {
    vec![
        Plan { name: "archive", event_types: &["github.**"], steps: vec![] },
        Plan {
            name: "chat",
            event_types: &["github.pull_request", "github.release"],
            steps: vec![
                (
                    "field-filter",
                    json!({"pass_if": {"at": "/action", "in": ["opened", "closed", "published"]}}),
                ),
                ("slack-message", json!({})),
            ],
        },
        Plan {
            name: "partner",
            event_types: &["github.**"],
            steps: vec![
                (
                    "redact",
                    json!({"fields": [
                        {"at": "/pusher/email"},
                        {"at": "/commits/*/author/email"},
                        {"at": "/commits/*/committer/email"},
                        {"at": "/head_commit/author/email"},
                        {"at": "/head_commit/committer/email"},
                        {"at": "/repository/owner/email"},
                    ]}),
                ),
                ("cloudevents", json!({"source": "/github", "type_prefix": "com."})),
            ],
        },
        Plan {
            name: "build",
            event_types: &["github.push"],
            steps: vec![(
                "reshape",
                json!({"template": {
                    "repository": {"$": "/repository/full_name"},
                    "ref": {"$": "/ref"},
                    "commit": {"$": "/after"},
                    "by": {"$": "/pusher/name"},
                }}),
            )],
        },
        Plan {
            name: "bugs",
            event_types: &["github.issues"],
            steps: vec![(
                "field-filter",
                json!({"pass_if": {"at": "/issue/labels/0/name", "equals": "bug"}}),
            )],
        },
    ]
}

/// Whether a file is one of the plugins that the subscriptions use: `redact.wasm`.
pub(super) fn uses(file: &Path) -> bool {
    let wasm = file.extension().is_some_and(|extension| extension == "wasm");
    wasm && plans()
        .iter()
        .flat_map(|plan| &plan.steps)
        .any(|(plugin, _)| file.file_stem().is_some_and(|stem| stem == *plugin))
}

/// Makes the subscriptions and tells the receiver their secrets.
pub(super) async fn subscribe(
    client: &Client,
    receiver: &Receiver,
    plugins: &[String],
) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    for plan in plans() {
        let missing = plan.steps.iter().find(|(plugin, _)| !plugins.iter().any(|p| p == plugin));
        if let Some((plugin, _)) = missing {
            output::say(format_args!("left out {}: {plugin} was not uploaded", plan.name));
            continue;
        }
        let route = routes.len();
        // `dead` at once: in the demo a plugin's failure should be seen, not repeated.
        let pipeline: Vec<Value> = plan
            .steps
            .iter()
            .map(|(plugin, config)| json!({"plugin": plugin, "config": config, "on_error": "dead"}))
            .collect();
        let body = json!({
            "endpoint": receiver.endpoint(route),
            "event_types": plan.event_types,
            "pipeline": pipeline,
            "description": plan.name,
        });
        let made = client.post(&["subscriptions"], &body).await?;
        let secret = field(&made, "secret").parse().map_err(|error| {
            Failure::failed(format!("the server's secret cannot be used: {error}"))
        })?;
        receiver.trust(route, secret);
        let names: Vec<&str> = plan.steps.iter().map(|&(plugin, _)| plugin).collect();
        routes.push(Route {
            id: field(&made, "id"),
            name: plan.name,
            pipeline: names.join(" → "),
            verbatim: plan.steps.is_empty(),
        });
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Pattern, PluginRef};

    #[test]
    fn only_what_is_used_is_uploaded() {
        assert!(uses(Path::new("x/redact.wasm")));
        assert!(!uses(Path::new("x/other.wasm")) && !uses(Path::new("x/redact.txt")));
    }

    #[test]
    fn there_are_enough_pipelines_and_all_are_well_formed() {
        let plans = plans();
        assert!(plans.len() >= 4);
        for plan in plans {
            for pattern in plan.event_types {
                pattern.parse::<Pattern>().unwrap();
            }
            for (plugin, config) in plan.steps {
                plugin.parse::<PluginRef>().unwrap();
                assert!(config.is_object());
            }
        }
    }
}
