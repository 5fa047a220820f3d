//! JSON pointers (RFC 6901): their form and their tokens.
//!
//! Never looks at a document.

use std::borrow::Cow;

/// Longest pointer that is looked at, in bytes. A longer one points at nothing.
pub(super) const MAX_BYTES: usize = 4096;

/// The tokens of a pointer, unescaped; none if it is malformed.
pub(super) fn tokens(pointer: &str) -> Option<impl Iterator<Item = Cow<'_, str>>> {
    let well_formed = pointer.len() <= MAX_BYTES
        && (pointer.is_empty() || pointer.starts_with('/'))
        && pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    // What stands before the first slash is nothing.
    well_formed.then(|| pointer.split('/').skip(1).map(unescape))
}

fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        // `~1` first, or `~01` would become `/`.
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

/// The array index a token stands for: digits without leading zeros.
pub(super) fn index(token: &str) -> Option<usize> {
    let strict = !token.is_empty()
        && token.bytes().all(|b| b.is_ascii_digit())
        && (token == "0" || !token.starts_with('0'));
    if strict { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pointer: &str) -> Option<Vec<String>> {
        tokens(pointer).map(|tokens| tokens.map(Cow::into_owned).collect())
    }

    #[test]
    fn pointers_are_split_and_unescaped() {
        assert_eq!(split(""), Some(vec![]));
        assert_eq!(split("/"), Some(vec![String::new()]));
        assert_eq!(split("/a~1b/m~0n/~01"), Some(vec!["a/b".into(), "m~n".into(), "~1".into()]));
        for malformed in ["a", "a/b", "/~", "/~2", "/a~", &format!("/{}", "x".repeat(MAX_BYTES))] {
            assert_eq!(split(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn indices_are_strict() {
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("12"), Some(12));
        for not in ["", "-", "+1", "01", "00", "1 ", "99999999999999999999999"] {
            assert_eq!(index(not), None, "{not:?}");
        }
    }
}
