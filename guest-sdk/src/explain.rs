//! Turns serde's errors into sentences that name the place: `/total is the string
//! "19.90", expected a number`.
//!
//! Owns that wording. All of it is off the hot path and none of it is generic, so it
//! costs a plugin that meets no mistake nothing but a few kilobytes.

use crate::pointer;

/// The longest piece of an author's or producer's text that is quoted.
const QUOTED: usize = 64;

/// Says what is wrong with the JSON `text` found at `base`; `None` if nothing was there.
#[cold]
pub(crate) fn sentence(base: &str, text: Option<&str>, error: &serde_json::Error) -> String {
    let full = error.to_string();
    let Some(text) = text else {
        let expected = full.split_once(", expected ").map(|(_, expected)| expected);
        return match expected {
            Some(expected) => {
                format!(
                    "there is nothing at {}, expected {}",
                    named(base),
                    plain(without_place(expected))
                )
            }
            None => format!("there is nothing at {}", named(base)),
        };
    };
    if !error.is_data() {
        return format!("{} is not valid JSON: {full}", named(base));
    }
    let message = without_place(&full);
    let place = place(
        text,
        offset(text, error.line(), error.column()),
        message.starts_with("missing field"),
    );
    let place = format!("{base}{place}");

    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) =
            message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return format!("{} is {}, expected {}", named(&place), what(found), plain(expected));
        }
    }
    // serde would take an array for a struct, were it long enough.
    if message.starts_with("invalid length ") && message.contains(", expected struct ") {
        return format!("{} is an array, expected an object", named(&place));
    }
    if let Some(field) = message.strip_prefix("missing field `") {
        return format!("{place}/{} is missing", field.trim_end_matches('`'));
    }
    if message.starts_with("unknown field `") {
        return match message.split_once(", expected ") {
            Some((_, expected)) => format!("{} is not known: expected {expected}", named(&place)),
            None => format!("{} is not known", named(&place)),
        };
    }
    if place.is_empty() { message.to_owned() } else { format!("{place}: {message}") }
}

/// The place, in a sentence. The whole document has an empty pointer, which can't be read.
fn named(pointer: &str) -> &str {
    if pointer.is_empty() { "it" } else { pointer }
}

/// The message without serde_json's ` at line 1 column 7`.
fn without_place(message: &str) -> &str {
    match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => message,
    }
}

/// What was found, from serde's words: `string "x"` → `the string "x"`.
fn what(found: &str) -> String {
    let Some((kind, value)) = found.split_once(' ') else {
        return match found {
            "map" => "an object".to_owned(),
            "sequence" => "an array".to_owned(),
            other => other.to_owned(),
        };
    };
    let value = value.trim_matches('`');
    match kind {
        "string" => format!("the string {}", cut(value)),
        "integer" | "floating" => format!("the number {}", value.trim_start_matches("point `")),
        "boolean" => value.to_owned(),
        _ => found.to_owned(),
    }
}

/// What was expected, from Rust's names to JSON's.
fn plain(expected: &str) -> &str {
    match expected {
        "f64" | "f32" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        expected if expected.starts_with("struct ") => "an object",
        expected if expected.starts_with("enum ") || expected.ends_with(" enum") => {
            "one of its variants"
        }
        expected => expected,
    }
}

/// At most the first characters of a quoted text, with its end marked.
fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…\"", &text[..end]),
        None => text.to_owned(),
    }
}

/// serde_json counts lines and bytes within the line, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column).min(text.len())
}

/// A container the walk is in, and where in it.
enum Level {
    Object { key: String },
    Array { index: usize },
}

/// The pointer of the value that `text[..offset]` has just read or was about to read.
/// `container`: of the innermost container instead.
fn place(text: &str, offset: usize, container: bool) -> String {
    let bytes = &text.as_bytes()[..offset];
    let mut levels: Vec<Level> = Vec::new();
    let mut wants_key = false;
    let mut at = 0;
    let mut closed = false;
    while at < bytes.len() {
        let byte = bytes[at];
        closed = matches!(byte, b'}' | b']') || (closed && byte.is_ascii_whitespace());
        match byte {
            b'{' => {
                levels.push(Level::Object { key: String::new() });
                wants_key = true;
            }
            b'[' => levels.push(Level::Array { index: 0 }),
            b'}' | b']' => {
                levels.pop();
            }
            b',' => match levels.last_mut() {
                Some(Level::Array { index }) => *index += 1,
                Some(Level::Object { .. }) => wants_key = true,
                None => {}
            },
            b'"' => {
                let end = string_end(bytes, at);
                if wants_key && let Some(Level::Object { key }) = levels.last_mut() {
                    // A key with an escape that doesn't parse would have been a syntax error.
                    *key = serde_json::from_slice(&bytes[at..end]).unwrap_or_default();
                    wants_key = false;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    // A missing field is noticed at its object's end, read or not yet read.
    if container && !closed {
        levels.pop();
    }
    let mut pointer = String::new();
    for level in &levels {
        match level {
            Level::Object { key } => pointer::push(&mut pointer, key),
            Level::Array { index } => pointer::push_index(&mut pointer, *index),
        }
    }
    pointer
}

/// Just past the closing quote of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
