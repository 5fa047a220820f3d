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
    let field = json!({"pass_if": {"at": "/action", "equals": "opened"}});
    [
        guest("Rust", "--rust", "field-filter", field),
        guest("JavaScript", "--javascript", "javascript", json!({})),
        guest("Python", "--python", "python", json!({})),
    ]
}

/// A run of each language's guest beside Rust's.
pub async fn run(places: &Places, guests: &[Guest], report: &mut Report) {
    let payload = payload(2_048);
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
