//! Reads what the command line names: JSON texts, files, times.
//!
//! Owns the forms that arguments may take. Never speaks to the server.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::output::Failure;
use crate::clock::Clock;

/// Most bytes of a file or of stdin: more than any request may have, which a device that never
/// ends is not read beyond.
const MAX_INPUT: usize = 128 << 20;

/// Most bytes of a secret's file: certificates and keys are a few thousand.
const MAX_SECRET: usize = 1 << 20;

/// A file's text; `-` is stdin.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    text_within(path, MAX_INPUT)
}

/// The same, of a file that should have at most so many bytes: no more of it is read.
pub(super) fn text_within(path: &Path, most: usize) -> Result<String, Failure> {
    String::from_utf8(bytes_within(path, most)?).map_err(|_| unreadable(path, "it is not UTF-8"))
}

/// A file's bytes; `-` is stdin.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    bytes_within(path, MAX_INPUT)
}

/// The same, of a file that should have at most so many bytes: no more of it is read.
pub(super) fn bytes_within(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    // One more tells that there are more.
    let limit = most as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(path, error))?;
    if bytes.len() > most {
        return Err(unreadable(path, format_args!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Failure {
    if path == Path::new("-") {
        return Failure::usage(format!("cannot read stdin: {why}"));
    }
    Failure::usage(format!("cannot read {}: {why}", path.display()))
}

/// A file as JSON.
pub(super) fn json_file(path: &Path) -> Result<Value, Failure> {
    json_within(path, MAX_INPUT)
}

/// The same, of a file that should have at most so many bytes.
pub(super) fn json_within(path: &Path, most: usize) -> Result<Value, Failure> {
    parse(&text_within(path, most)?, &path.display().to_string())
}

/// An argument as JSON: a JSON text, or `@` and the name of a file with one.
pub(super) fn json_argument(argument: &str) -> Result<Value, Failure> {
    match argument.strip_prefix('@') {
        Some(path) => json_file(&PathBuf::from(path)),
        None => parse(argument, argument),
    }
}

/// A secret: `@` and the name of a file with it, `-` for stdin, or else the text itself. A
/// file's last line break is not part of it.
pub(super) fn secret(argument: &str) -> Result<String, Failure> {
    let path = if argument == "-" { Some(argument) } else { argument.strip_prefix('@') };
    let Some(path) = path else { return Ok(argument.to_owned()) };
    let mut text = text_within(Path::new(path), MAX_SECRET)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// JSON text, blaming `source` for what is wrong with it.
pub(super) fn parse(text: &str, source: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("{source} is not JSON: {error}")))
}

/// A moment: RFC 3339, or how long ago (`90s`, `1h`, `2d`). A parser for clap.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
    let ago = match days {
        Some(days) => SignedDuration::try_from_hours(days.saturating_mul(24)),
        None => text.parse::<SignedDuration>().ok(),
    };
    ago.and_then(|ago| Clock::system().now().checked_sub(ago.abs()).ok()).ok_or_else(|| {
        "write a time (2026-11-02T03:00:00Z) or how long ago it is (90s, 30m, 1h, 2d)".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_durations_ago() {
        assert_eq!(moment("2026-11-02T03:00:00Z").unwrap().to_string(), "2026-11-02T03:00:00Z");
        for (text, hours) in [("90m", 1), ("1h", 1), ("2d", 48)] {
            let then = moment(text).unwrap();
            let ago = Clock::system().now().duration_since(then);
            assert_eq!(ago.as_hours(), hours, "{text}");
        }
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn a_secret_is_a_files_text_without_its_last_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " a b \r\n").unwrap();
        assert_eq!(secret(&format!("@{}", file.path().display())).unwrap(), " a b ");
        assert_eq!(secret("whsec_a").unwrap(), "whsec_a");
        assert!(secret("@/does/not/exist").is_err());
    }

    #[test]
    fn what_never_ends_is_read_to_its_bound() {
        for read in [bytes(Path::new("/dev/zero")).map(drop), secret("@/dev/zero").map(drop)] {
            let said = read.unwrap_err().text();
            assert!(said.contains("cannot read /dev/zero: it has more than"), "{said}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1234").unwrap();
        assert_eq!(text_within(file.path(), 4).unwrap(), "1234");
        assert!(text_within(file.path(), 3).unwrap_err().text().contains("more than 3 bytes"));
        std::fs::write(file.path(), b"\xff").unwrap();
        assert!(text(file.path()).unwrap_err().text().contains("it is not UTF-8"));
    }

    #[test]
    fn arguments_are_json_or_name_a_file() {
        assert_eq!(json_argument("{\"a\":1}").unwrap()["a"], 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[2]").unwrap();
        assert_eq!(json_argument(&format!("@{}", file.path().display())).unwrap()[0], 2);
        assert!(json_argument("{").unwrap_err().text().contains("{ is not JSON"));
    }
}
