//! JSON pointers (RFC 6901): the one way to name a place in an event.
//!
//! Owns their syntax: escaping a key, taking one apart. Never looks anything up:
//! that is the server's work, or the `testing` module's.

use crate::Error;
use std::borrow::Cow;
use std::fmt::Write;

/// Appends one reference token, escaped, with its slash.
///
/// ```
/// let mut pointer = String::from("/paths");
/// hookmill_sdk::pointer::push(&mut pointer, "a/b");
/// assert_eq!(pointer, "/paths/a~1b");
/// ```
pub fn push(pointer: &mut String, token: &str) {
    pointer.push('/');
    if !token.contains(['~', '/']) {
        pointer.push_str(token);
        return;
    }
    for character in token.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Appends an array index.
pub fn push_index(pointer: &mut String, index: usize) {
    // Writing to a String can't fail.
    let _ = write!(pointer, "/{index}");
}

/// The pointer's reference tokens, unescaped.
///
/// ```
/// let tokens: Vec<_> = hookmill_sdk::pointer::tokens("/a~1b/0").collect();
/// assert_eq!(tokens, ["a/b", "0"]);
/// ```
pub fn tokens(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    // Before the first slash there is nothing; the empty pointer has no tokens.
    pointer.split('/').skip(1).map(unescape)
}

/// One reference token as the key it names.
pub fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

/// Whether the text is a pointer: empty, or starting with `/`, with every `~`
/// followed by `0` or `1`.
pub fn is_valid(pointer: &str) -> bool {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return false;
    }
    let mut after_tilde = pointer.split('~').skip(1);
    after_tilde.all(|rest| rest.starts_with(['0', '1']))
}

/// An explanation if the text is no pointer. Off the hot path: the server answers
/// "nothing there" for a malformed pointer, so only a miss needs to ask.
pub(crate) fn complaint(pointer: &str) -> Option<Error> {
    if is_valid(pointer) {
        return None;
    }
    Some(Error::failed(if pointer.starts_with('/') {
        format!("`{pointer}` is not a JSON pointer: `~` is written `~0`, and `/` inside a key `~1`")
    } else {
        format!(
            "`{pointer}` is not a JSON pointer: it must begin with `/`; is `/{}` meant?",
            pointer.trim_start_matches("$.").replace('.', "/")
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::{complaint, is_valid, push, tokens};

    #[test]
    fn what_was_pushed_is_read_back() {
        for key in ["plain", "", "a/b", "m~n", "~1", "é", "~~//"] {
            let mut pointer = String::new();
            push(&mut pointer, key);
            assert!(is_valid(&pointer), "{pointer}");
            assert_eq!(tokens(&pointer).collect::<Vec<_>>(), [key]);
        }
        assert_eq!(tokens("").count(), 0);
    }

    #[test]
    fn a_malformed_pointer_is_explained() {
        let message = |pointer| complaint(pointer).map(|error| error.message().to_owned());
        assert_eq!(message(""), None);
        assert_eq!(message("/a/b"), None);
        assert_eq!(
            message("customer.email").as_deref(),
            Some(
                "`customer.email` is not a JSON pointer: it must begin with `/`; is `/customer/email` meant?"
            )
        );
        assert!(message("/a~2").is_some_and(|message| message.contains("`~0`")));
        assert!(message("/a~").is_some());
    }
}
