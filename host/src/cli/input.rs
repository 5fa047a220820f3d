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

/// A file's text; `-` is stdin.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        return match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Failure::usage(format!("cannot read stdin: {error}"))),
        };
    }
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

/// A file's bytes; `-` is stdin.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        return match std::io::stdin().read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(Failure::usage(format!("cannot read stdin: {error}"))),
        };
    }
    std::fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

/// A file as JSON.
pub(super) fn json_file(path: &Path) -> Result<Value, Failure> {
    parse(&text(path)?, &path.display().to_string())
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
    let mut text = text(Path::new(path))?;
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
    fn arguments_are_json_or_name_a_file() {
        assert_eq!(json_argument("{\"a\":1}").unwrap()["a"], 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[2]").unwrap();
        assert_eq!(json_argument(&format!("@{}", file.path().display())).unwrap()[0], 2);
        assert!(json_argument("{").unwrap_err().text().contains("{ is not JSON"));
    }
}
