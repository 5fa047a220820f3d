//! The host's own copy of a payload: the raw text and, once somebody asks, an index of its
//! values.
//!
//! Answers with slices of the text, exactly as the producer wrote them. Owns reading;
//! [`edit`] owns changing. Never builds a tree of values.

mod edit;
mod found;
mod pointer;
mod scan;
mod wide;

use std::{borrow::Cow, ops::Range, sync::OnceLock};

use bytes::Bytes;

pub(super) use edit::{EditError, Editor};

use found::Found;
use scan::{Malformed, Node};
use sha2::{Digest, Sha256};
use wide::Shortcuts;

/// The longest pointer whose place is kept.
const MAX_KNOWN_POINTER: usize = 256;

/// What is at a pointer, in a form that is quick to compare.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Nothing,
    /// Where its text is.
    Short(Range<usize>),
    /// The SHA-256 of its text.
    Long([u8; 32]),
}

/// A JSON text and its index.
#[derive(Debug)]
pub(super) struct Document {
    text: Bytes,
    index: OnceLock<Result<Vec<Node>, Malformed>>,
    /// What was found by [`Document::find`], once something was.
    known: OnceLock<Found>,
    shortcuts: Shortcuts,
}

impl Document {
    /// Takes a text; looks at it when first asked.
    pub(super) fn new(text: Bytes) -> Self {
        let (index, known) = (OnceLock::new(), OnceLock::new());
        Self { text, index, known, shortcuts: Shortcuts::default() }
    }

    /// Takes what is not JSON, whatever it looks like: there is nothing at any pointer.
    pub(super) fn opaque(bytes: Bytes) -> Self {
        Self { index: OnceLock::from(Err(Malformed::NotJson)), ..Self::new(bytes) }
    }

    pub(super) const fn bytes(&self) -> &Bytes {
        &self.text
    }

    /// The whole text; empty if it is not UTF-8, which accepted JSON always is.
    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Whether it is JSON, and not too deep.
    pub(super) fn check(&self) -> Result<(), String> {
        self.index().map(drop).map_err(|malformed| malformed.to_string())
    }

    fn index(&self) -> Result<&[Node], Malformed> {
        let index = self.index.get_or_init(|| match str::from_utf8(&self.text) {
            Ok(text) => scan::scan(text),
            Err(error) => Err(Malformed::Syntax(error.valid_up_to())),
        });
        index.as_deref().map_err(|&malformed| malformed)
    }

    /// The text of the value at a pointer. None if there is nothing, the pointer is
    /// malformed, or the document is not JSON.
    pub(super) fn get(&self, pointer: &str) -> Option<&str> {
        str::from_utf8(self.text.get(self.place(pointer)?)?).ok()
    }

    /// What an earlier [`Document::find`] found.
    pub(super) fn known(&self, pointer: &str) -> Option<Known> {
        self.known.get()?.get(pointer).cloned()
    }

    /// What is at a pointer; short if it has at most `short` bytes. Kept, so that thousands
    /// who want to know search once.
    pub(super) fn find(&self, pointer: &str, short: usize) -> Known {
        let found = match self.place(pointer) {
            None => Known::Nothing,
            Some(place) if place.len() <= short => Known::Short(place),
            Some(place) => Known::Long(Sha256::digest(&self.text[place]).into()),
        };
        if pointer.len() <= MAX_KNOWN_POINTER {
            self.known.get_or_init(Found::default).keep(pointer, &found);
        }
        found
    }

    fn place(&self, pointer: &str) -> Option<Range<usize>> {
        let nodes = self.index().ok()?;
        let mut at = 0;
        for token in pointer::tokens(pointer)? {
            at = self.shortcuts.child(nodes, &self.text, at, &token)?;
        }
        let node = nodes.get(at)?;
        Some(node.start as usize..node.end as usize)
    }
}

/// The children of a node, in order.
fn children(nodes: &[Node], parent: usize) -> impl Iterator<Item = usize> {
    let end = nodes[parent].next as usize;
    let mut at = parent + 1;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let child = at;
            at = nodes[child].next as usize;
            child
        })
    })
}

/// The child a token names; of members with the same key the last.
fn child(nodes: &[Node], text: &[u8], parent: usize, token: &str) -> Option<usize> {
    child_of(nodes, text, parent, token, &mut 0)
}

/// The same; adds to `walked` how many children it looked at.
fn child_of(
    nodes: &[Node],
    text: &[u8],
    parent: usize,
    token: &str,
    walked: &mut usize,
) -> Option<usize> {
    let mut children = children(nodes, parent).inspect(|_| *walked += 1);
    match text.get(nodes[parent].start as usize)? {
        b'{' => children.filter(|&c| key_is(&nodes[c], text, token)).last(),
        b'[' => children.nth(pointer::index(token)?),
        _ => None,
    }
}

/// A member's key, unescaped. None for what has no key, and for one that is no text: half of a
/// surrogate pair.
fn key_text<'a>(node: &Node, text: &'a [u8]) -> Option<Cow<'a, str>> {
    let quoted = node.has_key().then(|| &text[node.key as usize..node.key_end as usize])?;
    if quoted.contains(&b'\\') {
        serde_json::from_slice(quoted).ok().map(Cow::Owned)
    } else {
        str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed)
    }
}

/// Whether a member's key, unescaped, is `token`.
fn key_is(node: &Node, text: &[u8], token: &str) -> bool {
    if !node.has_key() {
        return false;
    }
    let quoted = &text[node.key as usize..node.key_end as usize];
    let inner = &quoted[1..quoted.len() - 1];
    if inner == token.as_bytes() {
        // The same bytes mean the same key, unless they hold an escape.
        return !inner.contains(&b'\\');
    }
    // An escape is never shorter than what it stands for.
    let Some(plain) = inner.iter().position(|&byte| byte == b'\\') else { return false };
    inner.len() > token.len()
        && token.as_bytes().starts_with(&inner[..plain])
        && serde_json::from_slice::<String>(quoted).is_ok_and(|key| key == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, pointer: &str) -> Option<String> {
        Document::new(Bytes::copy_from_slice(text.as_bytes())).get(pointer).map(Into::into)
    }

    #[test]
    fn values_come_exactly_as_written() {
        let text = r#" { "a" : 1.50e+0 , "b" : [ 1 ,  {"c": "\u00e9"} ] } "#;
        assert_eq!(get(text, "").as_deref(), Some(text.trim()));
        assert_eq!(get(text, "/a").as_deref(), Some("1.50e+0"));
        assert_eq!(get(text, "/b/1").as_deref(), Some(r#"{"c": "\u00e9"}"#));
        assert_eq!(get(text, "/b/1/c").as_deref(), Some(r#""\u00e9""#));
        for nothing in ["/c", "/b/2", "/b/01", "/b/-", "/a/b", "a", "/b/1/c/d"] {
            assert_eq!(get(text, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn keys_compare_unescaped_and_the_last_duplicate_wins() {
        let text = r#"{"a\/b":1,"\u0061":2,"a":3,"m~n":4,"a\u002Fb":5,"\\":6,"\\u0061":7}"#;
        assert_eq!(get(text, "/a~1b").as_deref(), Some("5"));
        assert_eq!(get(text, "/a").as_deref(), Some("3"));
        assert_eq!(get(text, "/m~0n").as_deref(), Some("4"));
        assert_eq!(get(text, "/\\").as_deref(), Some("6"));
        assert_eq!(get(text, "/\\u0061").as_deref(), Some("7"));
        assert_eq!(get(r#"{"a":1,"\u0061":2}"#, "/a").as_deref(), Some("2"));
    }

    #[test]
    fn what_is_not_json_holds_nothing() {
        let document = Document::new(Bytes::from_static(b"{\"a\":1"));
        assert!(document.check().is_err());
        assert_eq!(document.get("/a"), None);
        assert_eq!(Document::new(Bytes::from_static(b"\xff")).text(), "");
    }
}
