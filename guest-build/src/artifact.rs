//! What cargo made, from its machine-readable messages.
//!
//! Owns picking the WebAssembly modules out of them. Reads just the few fields it needs
//! from cargo's one-message-a-line JSON, so that this crate has no dependencies.

use crate::BuildError;
use std::fs;
use std::path::PathBuf;

/// A core module, ready to be uploaded or made into a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Module {
    /// The cargo package's name: the plugin's, unless its attribute says otherwise.
    pub package: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// The modules among cargo's messages.
pub(crate) fn modules(messages: &str) -> Result<Vec<Module>, BuildError> {
    let mut modules = Vec::new();
    for message in
        messages.lines().filter(|line| line.starts_with(r#"{"reason":"compiler-artifact""#))
    {
        let Some(package) = string_after(message, r#""package_id":"#) else { continue };
        let Some(files) = after(message, r#""filenames":["#) else { continue };
        for path in strings(files).filter(|path| path.ends_with(".wasm")) {
            let path = PathBuf::from(path);
            let size = fs::metadata(&path)?.len();
            modules.push(Module { package: name(&package).to_owned(), path, size });
        }
    }
    Ok(modules)
}

/// The name in a package id: `path+file:///a/redact#0.1.0` or `…/a#redact@0.1.0`.
fn name(id: &str) -> &str {
    let (place, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _version)) => name,
        None => place.rsplit('/').next().unwrap_or(place),
    }
}

fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    text.find(marker).map(|at| &text[at + marker.len()..])
}

fn string_after(text: &str, marker: &str) -> Option<String> {
    after(text, marker).and_then(string).map(|(string, _rest)| string)
}

/// The strings of a JSON array whose `[` has been read.
fn strings(text: &str) -> impl Iterator<Item = String> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (string, after) = string(rest?)?;
        rest = after.strip_prefix(',');
        Some(string)
    })
}

/// The JSON string at the start of `text`, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut string = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((string, &body[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => string.push('\n'),
                't' => string.push('\t'),
                'u' => {
                    let digits: String =
                        characters.by_ref().take(4).map(|(_, digit)| digit).collect();
                    // Paths with characters beyond the basic plane are not escaped by cargo.
                    string.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => string.push(other),
            },
            other => string.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{modules, name, string, strings};

    #[test]
    fn names_come_from_both_kinds_of_package_id() {
        assert_eq!(name("path+file:///src/plugins/redact#0.1.0"), "redact");
        assert_eq!(name("path+file:///src/plugins/bench/a#bench-a@0.1.0"), "bench-a");
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(string(r#""a\\b\"c\u0041" rest"#), Some((r#"a\b"cA"#.to_owned(), " rest")));
        assert_eq!(strings(r#""a","b"],"c":["d"]"#).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(string("no string"), None);
        assert_eq!(string(r#""no end"#), None);
    }

    #[test]
    fn other_messages_and_files_are_passed_over() {
        let messages = concat!(
            r#"{"reason":"build-script-executed","package_id":"x"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p#a@1.0.0","filenames":["/p/liba.rlib"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert!(modules(messages).is_ok_and(|modules| modules.is_empty()));
    }

    #[test]
    fn a_module_is_found_with_its_size() -> Result<(), Box<dyn std::error::Error>> {
        let path =
            std::env::temp_dir().join(format!("hookmill-artifact-{}.wasm", std::process::id()));
        std::fs::write(&path, b"\0asm")?;
        let text = path.to_string_lossy().replace('\\', "\\\\");
        let message = format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///p/my-filter#0.1.0","filenames":["/p/lib.rlib","{text}"]}}"#
        );
        let found = modules(&message);
        std::fs::remove_file(&path)?;
        let found = found?;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].package.as_str(), found[0].size), ("my-filter", 4));
        Ok(())
    }
}
