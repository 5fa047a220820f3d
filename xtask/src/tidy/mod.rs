//! `cargo xtask tidy`: the house rules that neither compiler nor clippy can check.
//!
//! Owns walking the source tree and reporting. Each rule is a function of one file (or of
//! all), with a test that plants a violation.

mod docs;
mod layers;
mod rules;
mod source;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use source::Source;

use crate::shell;

/// A rule broken in a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// From the root, with `/`.
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong, why it matters, what to do instead.
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Folders of what is built, fetched or kept by git.
const SKIPPED: [&str; 6] = [".git", "target", "build", "node_modules", ".hookmill", ".venv"];
/// What people write.
const KINDS: [&str; 10] = ["rs", "md", "toml", "wit", "sql", "sh", "json", "js", "py", "yaml"];

/// Checks the whole tree.
pub(crate) fn run() -> Result<(), String> {
    let root = shell::root();
    let mut files = Vec::new();
    walk(&root, &root, &mut files).map_err(|error| format!("cannot read the tree: {error}"))?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    let violations = check(&files);
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            eprintln!("tidy: {} files follow the house rules", files.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} places break a house rule")),
    }
}

/// Every rule over every file.
fn check(files: &[Source]) -> Vec<Violation> {
    let mut found: Vec<Violation> = files
        .iter()
        .flat_map(|file| rules::FILE_RULES.iter().flat_map(|rule| rule(file)))
        .collect();
    found.extend(files.iter().flat_map(layers::check));
    found.extend(rules::readme(files));
    found.extend(docs::check(files));
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path: PathBuf = entry.path();
        let name = entry.file_name();
        // Links are not followed: what they point at is walked where it is.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(root, &path, files)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let wanted = extension.is_some_and(|extension| KINDS.contains(&extension))
            || path.ends_with(".ci/run");
        if !kind.is_file() || !wanted {
            continue;
        }
        // What is no text is nobody's handwriting.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
        files.push(Source::new(parts.join("/"), text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_file_and_line() {
        assert_eq!(Violation::new("a.rs", 3, "no").to_string(), "a.rs:3: no");
        assert_eq!(Violation::new("README.md", 0, "no").to_string(), "README.md: no");
    }

    #[test]
    fn the_walk_sees_this_file_and_nothing_built() {
        let (root, mut files) = (shell::root(), Vec::new());
        walk(&root, &root, &mut files).unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/tidy/mod.rs"));
        assert!(!files.iter().any(|file| file.path.contains("target/")));
    }
}
