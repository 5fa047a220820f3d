//! The rules that look at one file at a time, and the one about the README.

use super::{Violation, source::Source};

/// A rule.
pub(super) type Rule = fn(&Source) -> Vec<Violation>;

/// All of them.
pub(super) const FILE_RULES: &[Rule] = &[
    sql,
    clocks_and_environment,
    allow,
    length,
    header,
    routes,
    unbounded,
    unfinished,
    places,
    lock_file,
    ci,
];

/// The longest file that one wants to read.
const MAX_LINES: usize = 800;

fn each(file: &Source, lines: impl Iterator<Item = usize>, message: &str) -> Vec<Violation> {
    lines.map(|line| Violation::new(&file.path, line, message)).collect()
}

fn in_server(file: &Source) -> bool {
    file.is_rust() && file.path.starts_with("host/src/")
}

/// The store is the seam for another database: SQL elsewhere would cut through it.
fn sql(file: &Source) -> Vec<Violation> {
    if !in_server(file) || file.path.starts_with("host/src/store/") {
        return Vec::new();
    }
    let message = "SQL belongs under host/src/store/: add an operation to the Store trait";
    let statement = |text: &str| {
        let text = text.trim_start();
        ["SELECT ", "INSERT INTO ", "INSERT OR ", "DELETE FROM ", "CREATE TABLE "]
            .iter()
            .any(|start| text.starts_with(start))
            || (text.starts_with("UPDATE ") && text.contains(" SET "))
    };
    let statements = file.strings.iter().filter(|(_, text)| statement(text)).map(|(line, _)| *line);
    each(file, statements.chain(Source::lines_with(&file.product, "sqlx::")), message)
}

/// One place reads the time and one the settings, so that tests can drive both.
fn clocks_and_environment(file: &Source) -> Vec<Violation> {
    // Where clippy's ban has been lifted with a reason, it has been thought about.
    if !in_server(file)
        || file.path.starts_with("host/src/cli/")
        || file.code.contains("expect(clippy::disallowed_methods")
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    if file.path != "host/src/clock.rs" {
        for needle in ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"] {
            let message = "only clock.rs reads the time: take a Clock, or the time itself";
            found.extend(each(file, Source::lines_with(&file.product, needle), message));
        }
    }
    if file.path != "host/src/config/environment.rs" {
        let message =
            "only config/environment.rs reads the environment: take the setting from Config";
        found.extend(each(file, Source::lines_with(&file.product, "env::var"), message));
    }
    found
}

/// An `expect` that is no longer needed is reported; an `allow` stays for ever.
fn allow(file: &Source) -> Vec<Violation> {
    // The SDK and its macros' output meet lints that differ by compiler and target.
    if !file.is_rust() || file.path.starts_with("guest-sdk/") {
        return Vec::new();
    }
    let message = "write #[expect(…, reason = \"…\")]: it is reported when it is no longer needed";
    let lines = file.code.lines().enumerate().filter(|(_, line)| {
        let line = line.replace(' ', "");
        line.contains("#[allow(") || line.contains("#![allow(")
    });
    each(file, lines.map(|(index, _)| index + 1), message)
}

fn length(file: &Source) -> Vec<Violation> {
    let lines = file.text.lines().count();
    let generated = file.path.ends_with(".json") || file.path.ends_with("CHANGELOG.md");
    if generated || lines <= MAX_LINES {
        return Vec::new();
    }
    let message = format!("has {lines} lines, more than {MAX_LINES}: split it by what it owns");
    vec![Violation::new(&file.path, 0, message)]
}

/// Whoever opens a file should know in a line what it is for.
fn header(file: &Source) -> Vec<Violation> {
    let module =
        file.is_rust() && (file.path.contains("/src/") || file.path.ends_with("/build.rs"));
    if !module || file.text.starts_with("//!") {
        return Vec::new();
    }
    let message = "a module begins with `//!`: what it owns, what it never does";
    vec![Violation::new(&file.path, 1, message)]
}

/// Every route is in /openapi.json, with a sentence.
fn routes(file: &Source) -> Vec<Violation> {
    if !in_server(file) || !file.path.starts_with("host/src/api/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, (line, text)) in file.product.lines().zip(file.text.lines()).enumerate() {
        // The document and its rendering cannot describe themselves.
        let itself = text.contains("\"/openapi.json\"") || text.contains("\"/docs");
        if line.contains(".route(") && !itself {
            let message = "a route is declared with routes!(…), so that /openapi.json has it";
            found.push(Violation::new(&file.path, index + 1, message));
        }
    }
    let lines: Vec<&str> = file.text.lines().collect();
    for line in Source::lines_with(&file.product, "utoipa::path(") {
        if !is_documented(&lines, line - 1) {
            let message = "a route has a doc comment: it is its summary in /openapi.json";
            found.push(Violation::new(&file.path, line, message));
        }
    }
    found
}

/// Whether the item that the attribute at `index` belongs to has a doc comment.
fn is_documented(lines: &[&str], index: usize) -> bool {
    let is_doc = |line: &&&str| line.trim_start().starts_with("///");
    let above = lines[..index].iter().rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[")
    });
    let below = lines[index..].iter().take_while(|line| !line.contains("fn "));
    above.chain(below).any(|line| is_doc(&line))
}

/// A queue without a bound turns a slow consumer into a full memory.
fn unbounded(file: &Source) -> Vec<Violation> {
    if !file.is_rust() {
        return Vec::new();
    }
    let message = "a queue has a bound: without one a slow consumer fills the memory";
    let needles = [
        "unbounded_channel",
        "mpsc::unbounded(",
        "crossbeam_channel::unbounded",
        "mpsc::channel()",
    ];
    let lines = needles.iter().flat_map(|needle| Source::lines_with(&file.product, needle));
    each(file, lines, message)
}

/// What is not finished is an issue, not a note in the source.
fn unfinished(file: &Source) -> Vec<Violation> {
    let message = "finish it, or file an issue: the source has no notes of what is missing";
    let mut found = Vec::new();
    for needle in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        let lines = file.text.lines().enumerate().filter(|(_, line)| has_word(line, needle));
        found.extend(each(file, lines.map(|(index, _)| index + 1), message));
    }
    for needle in [concat!("todo", "!("), concat!("unimplemented", "!(")] {
        found.extend(each(file, Source::lines_with(&file.code, needle), message));
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        outside(line[..at].chars().next_back()) && outside(line[at + word.len()..].chars().next())
    })
}

/// The source is the same wherever it is checked out.
fn places(file: &Source) -> Vec<Violation> {
    let message = "names a place on one machine: use a path from the root, or a made-up one";
    let mut found = Vec::new();
    for needle in [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")] {
        let lines = file.text.lines().enumerate().filter(|(_, line)| {
            line.match_indices(needle).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| {
                    !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '~' | '}' | '*' | '>')
                })
            })
        });
        found.extend(each(file, lines.map(|(index, _)| index + 1), message));
    }
    found
}

/// A lock file pins contents; where they are fetched is each user's setting.
fn lock_file(file: &Source) -> Vec<Violation> {
    if !file.path.ends_with("package-lock.json") {
        return Vec::new();
    }
    let message = "names a registry's host: npm install --package-lock-only --omit-lockfile-registry-resolved";
    // A package of the project's own is named by its folder.
    each(file, Source::lines_with(&file.text, "\"resolved\": \"http"), message)
}

/// CI runs what the README says, and nothing else.
fn ci(file: &Source) -> Vec<Violation> {
    if file.path != ".ci/run" {
        return Vec::new();
    }
    let commands: Vec<&str> = file
        .text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| !line.starts_with("set ") && !line.starts_with("cd "))
        .collect();
    if commands == ["exec cargo xtask test"] {
        return Vec::new();
    }
    vec![Violation::new(
        &file.path,
        0,
        "calls `cargo xtask test`, the README's command, and nothing else",
    )]
}

/// The README names the commands, as they are.
pub(super) fn readme(files: &[Source]) -> Vec<Violation> {
    let readme = files.iter().find(|file| file.path == "README.md");
    let Some(readme) = readme else {
        return vec![Violation::new("README.md", 0, "is missing")];
    };
    let commands = ["cargo xtask demo", "cargo xtask test", "cargo xtask bench"];
    let missing = commands.iter().filter(|command| !readme.text.contains(**command));
    missing
        .map(|command| Violation::new("README.md", 0, format!("does not name `{command}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path.into(), text.into())).into_iter().map(|v| v.line).collect()
    }

    #[test]
    fn sql_is_found_outside_the_store() {
        let text = "use sqlx::query;\nlet a = \"SELECT 1\";\nlet b = \"UPDATE x SET y\";\nlet c = \"DELETE\";";
        assert_eq!(lines(sql, "host/src/api/events.rs", text), [2, 3, 1]);
        assert_eq!(lines(sql, "host/src/store/sqlite/mod.rs", text), [0; 0]);
    }

    #[test]
    fn clocks_and_the_environment_are_found_outside_their_place() {
        let text = "a(SystemTime::now());\nb(Instant::now());\nc(std::env::var(\"X\"));";
        assert_eq!(lines(clocks_and_environment, "host/src/ingest.rs", text), [1, 2, 3]);
        assert_eq!(lines(clocks_and_environment, "host/src/clock.rs", text), [3]);
        assert_eq!(lines(clocks_and_environment, "host/src/config/environment.rs", text), [1, 2]);
        assert_eq!(lines(clocks_and_environment, "host/src/cli/demo.rs", text), [0; 0]);
        let thought = format!("#[expect(clippy::disallowed_methods, reason = \"x\")]\n{text}");
        assert_eq!(lines(clocks_and_environment, "host/src/plugin/run.rs", &thought), [0; 0]);
    }

    #[test]
    fn allow_attributes_are_found() {
        let text = "#[allow(dead_code)]\nfn a() {}\n#![ allow(x)]\nlet s = \"#[allow(y)]\";";
        assert_eq!(lines(allow, "host/src/a.rs", text), [1, 3]);
        assert_eq!(lines(allow, "guest-sdk/src/guest.rs", text), [0; 0]);
    }

    #[test]
    fn long_files_are_found() {
        let text = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(lines(length, "docs/a.md", &text), [0]);
        assert_eq!(lines(length, "demo/package-lock.json", &text), [0; 0]);
        assert_eq!(lines(length, "docs/a.md", &text[2..]), [0; 0]);
    }

    #[test]
    fn modules_without_a_header_are_found() {
        assert_eq!(lines(header, "host/src/a.rs", "use b;"), [1]);
        assert_eq!(lines(header, "host/src/a.rs", "//! Owns a."), [0; 0]);
        assert_eq!(lines(header, "tests/crash.rs", "use b;"), [0; 0]);
    }

    #[test]
    fn routes_that_openapi_would_not_have_are_found() {
        let text = "router.route(\"/v1/x\", get(x))\n.route(\"/openapi.json\", get(y))\n.routes(routes!(z))";
        assert_eq!(lines(routes, "host/src/api/mod.rs", text), [1]);
        assert_eq!(lines(routes, "host/src/cli/demo/receiver.rs", text), [0; 0]);
    }

    #[test]
    fn routes_without_a_sentence_are_found() {
        let bare = "use a;\n\n#[utoipa::path(\n    get,\n)]\nasync fn list() {}\n";
        assert_eq!(lines(routes, "host/src/api/a.rs", bare), [3]);
        for told in [
            "/// Lists.\n#[utoipa::path(get)]\nfn a() {}",
            "#[utoipa::path(\nget)]\n/// Lists.\nfn a() {}",
        ] {
            assert_eq!(lines(routes, "host/src/api/a.rs", told), [0; 0], "{told}");
        }
    }

    #[test]
    fn unbounded_queues_are_found() {
        let text = "let (a, b) = mpsc::unbounded_channel();\nlet (c, d) = mpsc::channel();\nmpsc::channel(8);";
        assert_eq!(lines(unbounded, "host/src/a.rs", text), [1, 2]);
    }

    #[test]
    fn notes_of_what_is_missing_are_found() {
        let text =
            format!("// {}: later\nMASTODON\n{}()", concat!("TO", "DO"), concat!("todo", "!"));
        assert_eq!(lines(unfinished, "host/src/a.rs", &text), [1, 3]);
    }

    #[test]
    fn places_on_one_machine_are_found() {
        let text =
            format!("see {}x\nhttps://a.example{}y", concat!("/wo", "rk/"), concat!("/ho", "me/"));
        assert_eq!(lines(places, "docs/a.md", &text), [1]);
    }

    #[test]
    fn lock_files_with_hosts_are_found() {
        let text = "{\n\"resolved\": \"https://registry.example/x\"}";
        assert_eq!(lines(lock_file, "demo/package-lock.json", text), [2]);
    }

    #[test]
    fn ci_that_does_more_or_less_is_found() {
        let good = "#!/usr/bin/env bash\nset -e\ncd x\nexec cargo xtask test\n";
        assert_eq!(lines(ci, ".ci/run", good), [0; 0]);
        assert_eq!(lines(ci, ".ci/run", &good.replace("test", "tidy")), [0]);
    }

    #[test]
    fn a_readme_that_keeps_silent_is_found() {
        let readme = |text: &str| readme(&[Source::new("README.md".into(), text.into())]).len();
        assert_eq!(readme("cargo xtask demo, cargo xtask test, cargo xtask bench"), 0);
        assert_eq!(readme("cargo xtask demo"), 2);
        assert_eq!(super::readme(&[]).len(), 1);
    }
}
