//! Where two JSON texts differ, as a bounded list of pointers.

use serde_json::Value;

use super::report::{Change, PointerChange};

/// Most places listed.
const MAX_CHANGES: usize = 20;
/// Longest value and pointer shown, in bytes.
pub(super) const MAX_VALUE: usize = 200;

/// The places where `after` is not `before`, and whether there are more than are listed.
/// Nothing if one of them is not JSON, or if they are the same JSON.
pub(super) fn json(before: &[u8], after: &[u8]) -> (Vec<PointerChange>, bool) {
    let parsed = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    let (Some(before), Some(after)) = (parsed(before), parsed(after)) else {
        return (Vec::new(), false);
    };
    let mut found = Vec::new();
    walk(&mut String::new(), Some(&before), Some(&after), &mut found);
    let more = found.len() > MAX_CHANGES;
    found.truncate(MAX_CHANGES);
    (found, more)
}

/// Looks at one place. The depth is that of the parser, which refuses deep nesting.
fn walk(
    at: &mut String,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<PointerChange>,
) {
    // One more than is shown tells that there are more.
    if found.len() > MAX_CHANGES || before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for (key, value) in before {
                step(at, &escaped(key), Some(value), after.get(key), found);
            }
            for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                step(at, &escaped(key), None, Some(value), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                step(at, &index.to_string(), before.get(index), after.get(index), found);
            }
        }
        _ => found.push(PointerChange {
            at: cut(at, MAX_VALUE),
            change: Change { before: before.map(shown), after: after.map(shown) },
        }),
    }
}

fn step(
    at: &mut String,
    token: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<PointerChange>,
) {
    let length = at.len();
    at.push('/');
    at.push_str(token);
    walk(at, before, after, found);
    at.truncate(length);
}

/// A key as a pointer's token (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn shown(value: &Value) -> String {
    cut(&value.to_string(), MAX_VALUE)
}

/// The text, or its beginning and `…`.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let (found, more) = json(before.as_bytes(), after.as_bytes());
        assert!(!more);
        found.into_iter().map(|p| (p.at, p.change.before, p.change.after)).collect()
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn changes_removals_and_additions_have_their_pointers() {
        assert_eq!(
            places(r#"{"a":{"b/c":1,"d":[1,2]},"e":"x"}"#, r#"{"a":{"b/c":2,"d":[1]},"f":null}"#),
            [
                ("/a/b~1c".to_owned(), text("1"), text("2")),
                ("/a/d/1".to_owned(), text("2"), None),
                ("/e".to_owned(), text("\"x\""), None),
                ("/f".to_owned(), None, text("null")),
            ]
        );
        assert_eq!(places("1", "[1]"), [(String::new(), text("1"), text("[1]"))]);
    }

    #[test]
    fn another_spelling_is_no_place_and_neither_is_what_is_not_json() {
        assert_eq!(places(r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#), []);
        assert_eq!(places("{", "{}"), []);
    }

    #[test]
    fn the_list_and_its_texts_are_bounded() {
        let long = "ü".repeat(10_000);
        let object = |value: &str| {
            let members: Vec<_> =
                (0..1_000).map(|n| format!("\"{n}{long}\":\"{value}\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        let (found, more) = json(object(&long).as_bytes(), object("short").as_bytes());
        assert!(more);
        assert_eq!(found.len(), MAX_CHANGES);
        let longest = found.iter().map(|p| p.at.len() + p.change.before.as_ref().unwrap().len());
        assert!(longest.max().unwrap() <= 2 * (MAX_VALUE + 3));
    }
}
