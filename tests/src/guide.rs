//! Reads a tutorial as a person would, block by block, and compares what commands print with
//! what it shows.
//!
//! | in the page | means |
//! |---|---|
//! | ` ```console ` with `$ ` lines | commands, each followed by what it prints |
//! | ` ```console ` without | what the command that listens prints next |
//! | ` ```LANGUAGE FILE ` | the file has this in it; if there is no such file, it is written |
//! | ` ```diff FILE ` | the file is changed so |
//! | a heading `### ` that names a language | blocks up to the next heading are for that language only |
//! | `…` within a line; alone on a line | any text; any lines, also none |
//!
//! Space between words may be of any length. Times, sizes, fuel, shares, ratios and moments
//! may be any; a number of four digits and more is shown as an example. Never runs a command.

/// A block of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Commands.
    Commands(Vec<Command>),
    /// What is printed by the command that listens.
    Heard(Vec<String>),
    /// A file and text that is in it.
    File(String, String),
    /// A file and how it changes: what is there, and what is there afterwards.
    Change(String, String, String),
}

/// A command and what it prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// As typed.
    pub text: String,
    /// Its lines.
    pub prints: Vec<String>,
}

/// The blocks of a page that are for `language`, one of `languages`.
///
/// # Panics
/// If a block has a form that is not one of those above: nothing in a tutorial goes unchecked.
pub fn blocks(page: &str, language: &str, languages: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut only: Option<&str> = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim();
            only = languages.iter().copied().find(|name| heading.starts_with(name));
        }
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if only.is_none_or(|only| only == language) {
            blocks.push(block(info, &text));
        }
    }
    blocks
}

fn block(info: &str, lines: &[&str]) -> Block {
    let text = |keep: &dyn Fn(&&str) -> bool, from: usize| -> String {
        lines.iter().copied().filter(keep).flat_map(|line| [&line[from..], "\n"]).collect()
    };
    match info.split_once(' ') {
        Some(("diff", file)) => Block::Change(
            file.into(),
            text(&|line| !line.starts_with('+'), 1),
            text(&|line| !line.starts_with('-'), 1),
        ),
        Some((_, file)) => Block::File(file.into(), text(&|_| true, 0)),
        None if info == "console" => console(lines),
        None => panic!("a block of {info:?} names no file:\n{}", lines.join("\n")),
    }
}

fn console(lines: &[&str]) -> Block {
    let mut commands: Vec<Command> = Vec::new();
    let mut heard = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(text), _) => commands.push(Command { text: text.into(), prints: vec![] }),
            (None, Some(command)) => command.prints.push((*line).into()),
            (None, None) => heard.push((*line).into()),
        }
    }
    if commands.is_empty() { Block::Heard(heard) } else { Block::Commands(commands) }
}

/// Whether what was printed is what the page shows.
pub fn matches(shown: &[String], printed: &str) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| plain(line, "…")).collect();
    let printed = printed.trim_end().lines().map(|line| plain(line, "NUMBER"));
    let printed: Vec<String> = printed.collect();
    lines_match(&shown, &printed)
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others)),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    match shown.split_once('…') {
        None => shown == printed,
        Some((start, rest)) => printed.strip_prefix(start).is_some_and(|printed| {
            let mut ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
            ends.any(|at| line_matches(rest, &printed[at..]))
        }),
    }
}

/// A line with one space between words, and one word for whatever is measured; a large number
/// is `number`.
fn plain<'a>(line: &'a str, number: &'a str) -> String {
    let mut words = line.split_whitespace().peekable();
    let mut plain: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        if is_moment(word) {
            plain.push("MOMENT");
        } else if word.strip_prefix('×').is_some_and(is_number) {
            plain.push("RATIO");
        } else if is_number(word) {
            let is_large = words.next_if(|next| ["k", "M"].contains(next)).is_some();
            let unit = words.peek().and_then(|next| measure(next));
            if let Some(unit) = unit {
                words.next();
                plain.push(unit);
            } else {
                let digits = word.chars().filter(char::is_ascii_digit).count();
                plain.push(if is_large || digits >= 4 { number } else { word });
            }
        } else {
            plain.push(word);
        }
    }
    plain.join(" ")
}

/// What a number before this word measures.
fn measure(unit: &str) -> Option<&'static str> {
    match unit {
        "µs" | "ms" | "s" => Some("TIME"),
        "B" | "KB" | "MB" | "KiB" | "MiB" => Some("SIZE"),
        "fuel" => Some("FUEL"),
        "%" => Some("SHARE"),
        _ => None,
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '.')
}

/// `2026-11-23T19:47:08.582Z` or `19:47:08Z`.
fn is_moment(word: &str) -> bool {
    word.strip_suffix('Z').is_some_and(|rest| {
        rest.contains(':') && rest.chars().all(|c| c.is_ascii_digit() || "-T:.".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Page
```console
$ one a
printed
$ two
```
### Rust
```rust src/lib.rs
fn a() {}
```
```diff Cargo.toml
 [package]
-version = \"1\"
+version = \"2\"
```
### Python
```python a.py
a
```
## Then
```console
heard
```
";

    fn strings(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_page_is_read_block_by_block_for_one_language() {
        let found = blocks(PAGE, "Rust", &["Rust", "Python"]);
        let command =
            |text: &str, prints: &[&str]| Command { text: text.into(), prints: strings(prints) };
        assert_eq!(
            found,
            [
                Block::Commands(vec![command("one a", &["printed"]), command("two", &[])]),
                Block::File("src/lib.rs".into(), "fn a() {}\n".into()),
                Block::Change(
                    "Cargo.toml".into(),
                    "[package]\nversion = \"1\"\n".into(),
                    "[package]\nversion = \"2\"\n".into()
                ),
                Block::Heard(strings(&["heard"])),
            ]
        );
        assert_eq!(blocks(PAGE, "Python", &["Rust", "Python"]).len(), 3);
    }

    #[test]
    fn what_is_measured_may_differ_and_nothing_else() {
        let shown = strings(&[
            "…",
            " ✓ drops   1899 fuel   128 KiB   911 µs",
            "id_…  3 of 3  ×1.44  19:47:08Z",
            "sent …",
            "…",
        ]);
        let rest = "id_77 3 of 3 ×2 00:00:00Z\nsent\u{20}now\n";
        for start in ["✓ drops 1.5 M fuel 9 MiB 1.1 ms\n", "x\n\ny\n✓ drops 1 fuel 1 B 1 s\n"] {
            assert!(matches(&shown, &format!("{start}{rest}")), "{start}");
            assert!(matches(&shown, &format!("{start}{rest}more\nand more")), "{start}");
        }
        assert!(!matches(&shown, rest));
        assert!(!matches(&strings(&["1 of 2"]), "2 of 2"));
        assert!(!matches(&strings(&["a"]), "a\nb"));
        assert!(!matches(&strings(&["a", "b"]), "a"));
    }
}
