//! The same small work by guests of three languages.
//!
//! Owns which plugins stand for a language. What a guest does beyond deciding about one event
//! of 2 KB is its own business: the figure is of whole runs.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    belt::payload,
    plugins::Guests,
    report::{Goal, Report},
    server::Places,
};

/// A language and the plugin that stands for it.
#[derive(Debug)]
pub struct Guest {
    language: &'static str,
    /// The flag that names another component.
    pub flag: &'static str,
    /// The component, if it is not the one below.
    pub given: Option<PathBuf>,
    /// The built plugin.
    plugin: &'static str,
    config: Value,
}

/// The plugins of `plugins/` that stand for their languages. The first is the one that the
/// others are compared with.
pub fn guests() -> [Guest; 3] {
    let guest =
        |language, flag, plugin, config| Guest { language, flag, given: None, plugin, config };
    // The first two do much the same: a message for a chat of a push. The third is a filter.
    [
        guest("Rust", "--rust", "slack-message", json!({})),
        guest("JavaScript", "--javascript", "discord-message", json!({})),
        guest("Python", "--python", "quiet-hours", json!({})),
    ]
}

/// A push as GitHub tells of it, as far as the plugins read it: about 2 KB.
fn push() -> Value {
    let mut push = payload(1_700);
    push["repository"]["html_url"] = json!("https://git.example/octo/hello");
    push["compare"] = json!("https://git.example/octo/hello/compare/a...b");
    push["sender"] = json!({"login": "mona", "type": "User", "html_url": "https://git.example/mona",
        "avatar_url": "https://git.example/mona.png"});
    push["pusher"] = json!({"name": "mona"});
    push["head_commit"] = push["commits"][0].clone();
    push["head_commit"]["timestamp"] = json!("2026-01-02T03:04:05Z");
    if let Some(commits) = push["commits"].as_array_mut() {
        for commit in commits {
            commit["url"] = json!("https://git.example/octo/hello/commit/0");
        }
    }
    push
}

/// A run of each language's guest beside Rust's.
pub async fn run(places: &Places, guests: &[Guest], report: &mut Report) {
    let payload = push();
    let mut rust = None;
    for guest in guests {
        let Guest { language, flag, plugin, config, .. } = guest;
        let built = places.plugins.join(format!("{plugin}.wasm"));
        let path = guest.given.as_ref().unwrap_or(&built);
        let wasm = match std::fs::read(path) {
            Ok(wasm) => wasm,
            Err(error) => {
                eprintln!(
                    "{language} is not measured: {}: {error}; name its component by {flag} FILE",
                    path.display()
                );
                continue;
            }
        };
        // Each in a runtime of its own: the engine class is made when first needed.
        let runtime = Guests::new(places);
        let pipeline = runtime.pipeline_of(plugin, wasm, config).await;
        let (inside, around) = runtime.time(&pipeline, &payload).await;
        let beside = *rust.get_or_insert(inside);
        report.add(
            &format!("{language} guest at 2 KB"),
            inside,
            " µs",
            Goal::None,
            format!("{:.1} times the first; {around:.0} µs with the hand-over", inside / beside),
        );
    }
}
