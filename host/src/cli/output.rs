//! How commands speak: failures with exit codes, tables, numbers for people.
//!
//! Owns the wording's form (`error:`, `hint:`) and the exit codes. Never decides what is said.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Why a command ends in another code than 0. The numbers are what scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// The thing failed, or the answer is no.
    Failed = 1,
    /// The command line or a file it names cannot be used.
    Usage = 2,
    /// No server answers.
    Unreachable = 3,
    /// The server refused.
    Refused = 4,
}

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    title: String,
    lines: Vec<String>,
    hint: Option<String>,
    /// The last part of the problem's type, if a server refused with one.
    problem: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, title: impl Into<String>) -> Self {
        Self { exit, title: title.into(), lines: Vec::new(), hint: None, problem: None }
    }

    /// Exit code 1.
    pub(super) fn failed(title: impl Into<String>) -> Self {
        Self::new(Exit::Failed, title)
    }

    /// Exit code 2.
    pub(super) fn usage(title: impl Into<String>) -> Self {
        Self::new(Exit::Usage, title)
    }

    /// Adds a line below the title.
    pub(super) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Says what to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Notes the type of the problem that the server refused with.
    pub(super) fn problem(mut self, url: &str) -> Self {
        self.problem = url.rsplit('/').next().map(Into::into);
        self
    }

    /// Exit code 2 too, of a check: what was looked at is not as it should be.
    pub(super) fn drift(title: impl Into<String>) -> Self {
        Self::new(Exit::Usage, title)
    }

    /// Whether the server refused because it takes an admin key.
    pub(super) fn needs_admin(&self) -> bool {
        self.problem.as_deref() == Some("admin-needed")
    }

    /// Whether the same may succeed later: no server answers, or it takes nobody now.
    pub(super) fn may_pass(&self) -> bool {
        let passing = ["not-ready", "overloaded", "too-many-tails", "rate-limited", "internal"];
        let problem = self.problem.as_deref();
        self.exit == Exit::Unreachable || problem.is_some_and(|problem| passing.contains(&problem))
    }

    /// What it is, without the lines below.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Whether the server refused a payload because of its event type's schema.
    pub(super) fn is_violation(&self) -> bool {
        self.problem.as_deref() == Some("schema-violation")
    }

    /// The first detail, or else the title.
    pub(super) fn first_line(&self) -> String {
        self.lines.first().unwrap_or(&self.title).clone()
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// The text for stderr.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if !self.title.is_empty() {
            text = format!("error: {}\n", self.title);
        }
        for line in &self.lines {
            text += &format!("  {line}\n");
        }
        if let Some(hint) = &self.hint {
            text += &format!("hint: {hint}\n");
        }
        text
    }

    /// Prints it and gives the process's exit code.
    pub(super) fn report(&self) -> ExitCode {
        eprint!("{}", self.text());
        ExitCode::from(self.exit as u8)
    }
}

/// Prints a line of data to stdout. A reader that has gone (`| head`) has had enough: the
/// process then ends quietly.
pub(super) fn data(line: impl Display) {
    let mut stdout = io::stdout().lock();
    written(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
}

/// Prints bytes to stdout and nothing else.
pub(super) fn bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

fn written(result: io::Result<()>) {
    if let Err(error) = result {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        if !quiet {
            eprintln!("error: cannot write to stdout: {error}");
        }
        std::process::exit(i32::from(!quiet));
    }
}

/// Prints JSON to stdout, indented.
pub(super) fn json(value: &Value) {
    data(format_args!("{value:#}"));
}

/// Says something beside the data, to stderr.
pub(super) fn say(line: impl Display) {
    eprintln!("{line}");
}

/// Prints rows under headers, or says that there are none.
pub(super) fn table<const N: usize>(headers: [&str; N], rows: Vec<[String; N]>) {
    if rows.is_empty() {
        say("none");
        return;
    }
    data(grid(headers, rows));
}

/// Rows under headers as text.
pub(super) fn grid<const N: usize>(headers: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(headers);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A field as text; empty if it is absent or null.
pub(super) fn field(value: &Value, name: &str) -> String {
    plain(&value[name])
}

/// A JSON value for people: strings without quotes, arrays joined by commas.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A text that may be anybody's, on one line of a terminal: what would move the cursor, hide
/// something or turn the direction of writing is shown as its number.
pub(super) fn printable(text: &str) -> String {
    let is_plain = |c: char| {
        !c.is_control()
            && !matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    shown
}

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `31 k`, `1.2 M`: for fuel.
pub(super) fn short_count(number: u64) -> String {
    match number {
        0..=9_999 => number.to_string(),
        10_000..=999_999 => format!("{} k", number / 1000),
        _ => format!("{:.1} M", number as f64 / 1e6),
    }
}

/// `61 KB`, `1.1 MB`: for files.
pub(super) fn file_size(bytes: u64) -> String {
    match bytes {
        0..=999 => format!("{bytes} B"),
        1_000..=999_999 => format!("{} KB", (bytes + 500) / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// `64 KiB`, `1.1 MiB`: for memory.
pub(super) fn memory(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{} KiB", bytes >> 10)
    } else {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    }
}

/// `14 µs`, `1.2 ms`, `190 ms`, `15.0 s`.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..=999 => format!("{micros} µs"),
        1_000..=9_999 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..=999_999 => format!("{} ms", micros / 1000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A span of time in its two largest units: `4 m 51 s`.
pub(super) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|&(_, size)| seconds >= size).unwrap_or(units.len() - 1);
    let (name, size) = units[first];
    let mut text = format!("{} {name}", seconds / size);
    if let Some((name, next)) = units.get(first + 1) {
        let rest = seconds % size / next;
        if rest > 0 {
            text += &format!(" {rest} {name}");
        }
    }
    text
}

/// The time of day of a timestamp as the API writes it: `03:14:07Z`.
pub(super) fn time_of_day(timestamp: &str) -> String {
    match timestamp.parse::<Timestamp>() {
        Ok(at) => at.strftime("%H:%M:%SZ").to_string(),
        Err(_) => timestamp.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(count)[..]);
        assert_eq!(["31 k", "950", "2.5 M"], [31_400, 950, 2_500_000].map(short_count)[..]);
        assert_eq!(["61 KB", "12.0 MB"], [61_234, 12_000_000].map(file_size)[..]);
        assert_eq!(["64 KiB", "1.1 MiB"], [65_536, 1_179_648].map(memory)[..]);
        assert_eq!(
            ["14 µs", "1.5 ms", "190 ms", "15.0 s"],
            [14, 1_500, 190_000, 15_000_000].map(micros)[..]
        );
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [0, 20, 291, 3_600, 90_061].map(|s| span(SignedDuration::from_secs(s)));
        assert_eq!(spans, ["0 s", "20 s", "4 m 51 s", "1 h", "1 d 1 h"]);
    }

    #[test]
    fn a_failure_is_title_lines_and_hint() {
        let failure = Failure::usage("no").line("/a  is wrong").hint("write b");
        assert_eq!(failure.text(), "error: no\n  /a  is wrong\nhint: write b\n");
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn a_text_cannot_write_over_what_is_beside_it() {
        assert_eq!(printable("a\u{1b}[2K\r+ ok"), "a\\u{1b}[2K\\r+ ok");
        assert_eq!(printable("a\n\u{202e}b\u{9b}c\u{200b}"), "a\\n\\u{202e}b\\u{9b}c\\u{200b}");
        assert_eq!(printable("Größe → 大 …"), "Größe → 大 …");
    }

    #[test]
    fn times_of_day_are_taken_out_of_timestamps() {
        assert_eq!(time_of_day("2026-11-02T03:14:07.123Z"), "03:14:07Z");
    }
}
