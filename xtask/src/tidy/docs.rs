//! What is documented agrees with what there is: links lead somewhere, and metrics are listed.
//!
//! Never reads what a document says; whether it is true is for tests and people.

use std::collections::HashSet;

use super::{Violation, source::Source};

/// Where the metrics are listed.
const METRICS: &str = "docs/operations.md";

/// Every rule of this file.
pub(super) fn check(files: &[Source]) -> Vec<Violation> {
    let mut found = links(files);
    found.extend(metrics(files));
    found
}

/// Links between documents, with their headings.
fn links(files: &[Source]) -> Vec<Violation> {
    let documents = || files.iter().filter(|file| file.path.ends_with(".md"));
    let anchors: HashSet<String> = documents().flat_map(anchors).collect();
    let mut found = Vec::new();
    for file in documents() {
        for (line, target) in targets(&file.text) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() { file.path.clone() } else { beside(&file.path, path) };
            let leads = if anchor.is_empty() {
                let folder = format!("{path}/");
                files.iter().any(|f| f.path == path || f.path.starts_with(&folder))
                    || !path.contains('.')
            } else {
                anchors.contains(&format!("{path}#{anchor}"))
            };
            if !leads {
                let message = format!("links to {target}, which is not there");
                found.push(Violation::new(&file.path, line, message));
            }
        }
    }
    found
}

/// The targets of a document's links, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        for part in text.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((line, target.to_owned()));
            }
        }
    }
    found
}

/// The lines outside code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// A document's headings as links name them: `docs/a.md#the-heading`.
fn anchors(file: &Source) -> Vec<String> {
    let headings = prose(&file.text).filter(|(_, line)| line.starts_with('#'));
    let name = |line: &str| -> String {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(|(_, line)| format!("{}#{}", file.path, name(line))).collect()
}

/// The path that a link in a document names.
fn beside(document: &str, link: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "" | "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every metric of the server is in the table that operators read.
fn metrics(files: &[Source]) -> Vec<Violation> {
    let Some(table) = files.iter().find(|file| file.path == METRICS) else {
        return vec![Violation::new(METRICS, 0, "is missing")];
    };
    let is_metric = |text: &str| {
        text.starts_with("hookmill_") && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let server = files.iter().filter(|file| file.path.starts_with("host/src/"));
    let names = server.flat_map(|file| file.strings.iter().map(move |found| (file, found)));
    names
        // A setting's value may be called like one.
        .filter(|(file, _)| file.path != "host/src/config/settings.rs")
        .filter(|(_, (_, name))| is_metric(name) && !table.text.contains(&format!("\n| `{name}` ")))
        .map(|(file, (line, name))| {
            let message = format!("the metric {name} is not in the table of {METRICS}");
            Violation::new(&file.path, *line, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source::new(path.into(), text.into())
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let files = [
            file("README.md", "[a](docs/a.md#the-first-one) [b](plugins/b) [c](https://c.d/#e)"),
            file("docs/a.md", "# The *first* one\n[back](../README.md) [here](#the-first-one)"),
            file("plugins/b/src/lib.rs", ""),
        ];
        assert!(links(&files).is_empty());
        let bad = "[a](docs/c.md)\n[b](docs/a.md#second)\n```\n[c](code.md)\n```\n";
        let files = [file("README.md", bad), file("docs/a.md", "# First\n")];
        let lines: Vec<usize> = links(&files).iter().map(|violation| violation.line).collect();
        assert_eq!(lines, [1, 2]);
    }

    #[test]
    fn a_metric_that_is_not_listed_is_found() {
        let table = file(METRICS, "\n| `hookmill_a_total` | counter |\n");
        let code = "counter!(\"hookmill_a_total\");\ncounter!(\"hookmill_b_total\");";
        let found = metrics(&[table, file("host/src/a.rs", code)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }
}
