//! Comparing JSON texts without parsing what need not be parsed.
//!
//! Owns equality and order between a field's text and a setting's. Both are JSON texts;
//! most comparisons are settled by their bytes.

use hookmill_sdk::prelude::*;
use hookmill_sdk::serde_json::{self, Number};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Whether two JSON texts are the same value; `1`, `1.0` and `1e0` are.
pub(crate) fn equal(left: &str, right: &str) -> Result<bool> {
    if left == right {
        return Ok(true);
    }
    let (Some(first), Some(second)) = (left.bytes().next(), right.bytes().next()) else {
        return Ok(false);
    };
    // Different kinds are never equal, and most fields are settled here or by a string.
    Ok(match (first, second) {
        (b'"', b'"') => string(left)? == string(right)?,
        (b'{', b'{') | (b'[', b'[') => {
            same(&serde_json::from_str(left)?, &serde_json::from_str(right)?)
        }
        (b'-' | b'0'..=b'9', b'-' | b'0'..=b'9') => same_number(&number(left)?, &number(right)?),
        _ => false,
    })
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => same_number(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

/// Whole numbers are compared exactly, whatever their size; others as doubles.
fn same_number(left: &Number, right: &Number) -> bool {
    compare_numbers(left, right) == Some(Ordering::Equal)
}

fn compare_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (left.as_i128(), right.as_i128()) {
        return Some(left.cmp(&right));
    }
    left.as_f64()?.partial_cmp(&right.as_f64()?)
}

fn number(text: &str) -> Result<Number> {
    Ok(serde_json::from_str(text)?)
}

/// A string's characters. One without escapes is used where it is.
pub(crate) fn string(text: &str) -> Result<Cow<'_, str>> {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => Ok(Cow::Owned(serde_json::from_str(text)?)),
    }
}

/// How a field compares with a limit of the same kind: numbers by size, strings letter
/// by letter, which is right for dates in RFC 3339. Another kind is the event's mistake.
pub(crate) fn compare(at: &str, text: &str, limit: &str) -> Result<Option<Ordering>> {
    if limit.starts_with('"') {
        if !text.starts_with('"') {
            return Err(unexpected(at, text, "a string"));
        }
        return Ok(Some(string(text)?.cmp(&string(limit)?)));
    }
    if !text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return Err(unexpected(at, text, "a number"));
    }
    Ok(compare_numbers(&number(text)?, &number(limit)?))
}

/// A field of a kind the test can't work on.
#[cold]
pub(crate) fn unexpected(at: &str, text: &str, expected: &str) -> Error {
    Error::invalid_event(format!("{at} is {}, expected {expected}", named(text)))
}

/// A JSON text in a sentence.
pub(crate) fn named(text: &str) -> String {
    match text.bytes().next() {
        Some(b'"') if text.len() <= 64 => format!("the string {text}"),
        Some(b'"') => "a long string".to_owned(),
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b'-' | b'0'..=b'9') => format!("the number {text}"),
        _ => text.to_owned(),
    }
}
