//! Changes a JSON text in place: what lies outside a change stays byte for byte as it was.
//!
//! Splices text and index together, so that many changes cost one scan. Owns the meaning of
//! `set` and `remove`; never reformats.

use super::{Document, child, children, key_is, pointer, scan};
use scan::{Malformed, Node};

/// Most changes to one payload.
const MAX_EDITS: usize = 1_000;
/// Bytes that all changes to one payload may move about together. Fixed, not timed: whether
/// an edit applies must not depend on the machine.
const MAX_WORK: usize = 256 << 20;

/// Why a change does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::plugin) enum EditError {
    #[error("the pointer {0:?} is malformed")]
    Pointer(String),
    #[error("there is nothing at the parent of {0:?}")]
    NoParent(String),
    #[error("{0:?} has a parent that is neither object nor array")]
    NotAContainer(String),
    #[error("{0:?} is not an element of the array, nor `-` for a new one at its end")]
    NoElement(String),
    #[error("the value for {0:?} is {1}")]
    Value(String, String),
    #[error("the whole payload cannot be removed; drop the event instead")]
    RemoveAll,
    #[error("the payload is {0}")]
    Payload(String),
    #[error("too many changes for one payload")]
    TooMany,
    #[error("the payload grows beyond {0} bytes")]
    TooLarge(usize),
}

/// A payload under change.
pub(in crate::plugin) struct Editor {
    text: String,
    nodes: Vec<Node>,
    max_bytes: usize,
    edits: usize,
    work: usize,
}

impl Editor {
    /// Starts from a document. The result may not become larger than `max_bytes`, unless it
    /// is already.
    pub(in crate::plugin) fn new(document: &Document, max_bytes: usize) -> Result<Self, EditError> {
        let nodes = document.index().map_err(|m| EditError::Payload(m.to_string()))?.to_vec();
        let text = document.text().to_owned();
        Ok(Self { max_bytes: max_bytes.max(text.len()), text, nodes, edits: 0, work: 0 })
    }

    /// The changed text.
    pub(in crate::plugin) fn finish(self) -> String {
        self.text
    }

    /// Replaces the value at a pointer, or adds it to its parent.
    pub(in crate::plugin) fn set(&mut self, pointer: &str, value: &str) -> Result<(), EditError> {
        self.count()?;
        let value = value.trim_matches([' ', '\t', '\n', '\r']);
        let bad = |m: Malformed| EditError::Value(pointer.into(), m.to_string());
        let new = scan::scan(value).map_err(bad)?;
        let Some((parent, token)) = self.parent(pointer)? else {
            // Everything is replaced, and with it the index.
            value.clone_into(&mut self.text);
            self.nodes = new;
            return self.room(0);
        };
        let parent = parent.ok_or_else(|| EditError::NoParent(pointer.into()))?;
        match self.text.as_bytes()[self.nodes[parent].start as usize] {
            b'{' => match child(&self.nodes, self.text.as_bytes(), parent, &token) {
                Some(node) => self.replace(node, value, &new)?,
                None => {
                    let key = serde_json::Value::from(token).to_string();
                    self.append(parent, Some(&key), value, &new)?;
                }
            },
            b'[' => {
                let count = children(&self.nodes, parent).count();
                let index = if token == "-" { Some(count) } else { pointer::index(&token) };
                match index {
                    Some(index) if index == count => self.append(parent, None, value, &new)?,
                    Some(index) if index < count => {
                        let node = children(&self.nodes, parent).nth(index);
                        let node = node.ok_or_else(|| EditError::NoElement(pointer.into()))?;
                        self.replace(node, value, &new)?;
                    }
                    _ => return Err(EditError::NoElement(pointer.into())),
                }
            }
            _ => return Err(EditError::NotAContainer(pointer.into())),
        }
        // Nesting is bounded by value and by document, not by their sum: look again when a
        // deep one was put into a deep place.
        if value.starts_with(['{', '[']) { self.check_depth(pointer) } else { Ok(()) }
    }

    /// Removes the value at a pointer; fine if there is none.
    pub(in crate::plugin) fn remove(&mut self, pointer: &str) -> Result<(), EditError> {
        self.count()?;
        let Some((parent, token)) = self.parent(pointer)? else {
            return Err(EditError::RemoveAll);
        };
        if let Some(parent) = parent
            && let Some(node) = child(&self.nodes, self.text.as_bytes(), parent, &token)
        {
            self.cut(parent, node)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), EditError> {
        self.edits += 1;
        self.work = self.work.saturating_add(self.text.len());
        if self.edits > MAX_EDITS || self.work > MAX_WORK {
            Err(EditError::TooMany)
        } else {
            Ok(())
        }
    }

    /// Whether the text may grow by `more`.
    fn room(&self, more: usize) -> Result<(), EditError> {
        if self.text.len() + more > self.max_bytes {
            Err(EditError::TooLarge(self.max_bytes))
        } else {
            Ok(())
        }
    }

    /// The node a pointer's last token is a child of, if it exists, and that token, unescaped.
    /// None for the pointer to everything.
    ///
    /// On the way it removes earlier members with the same key: readers that take the first
    /// of them would otherwise still see what a change was meant to take away.
    fn parent(&mut self, pointer: &str) -> Result<Option<(Option<usize>, String)>, EditError> {
        let tokens = pointer::tokens(pointer).ok_or_else(|| EditError::Pointer(pointer.into()))?;
        let mut tokens: Vec<_> = tokens.collect();
        let Some(last) = tokens.pop() else {
            return Ok(None);
        };
        let mut at = 0;
        for token in &tokens {
            self.forget_shadowed(at, token)?;
            match child(&self.nodes, self.text.as_bytes(), at, token) {
                Some(child) => at = child,
                None => return Ok(Some((None, last.into_owned()))),
            }
        }
        self.forget_shadowed(at, &last)?;
        Ok(Some((Some(at), last.into_owned())))
    }

    /// Cuts all members of an object that have the key `token` but the last.
    fn forget_shadowed(&mut self, object: usize, token: &str) -> Result<(), EditError> {
        let mut same: Vec<usize> = children(&self.nodes, object)
            .filter(|&c| key_is(&self.nodes[c], self.text.as_bytes(), token))
            .collect();
        same.pop();
        if same.is_empty() {
            return Ok(());
        }
        // One new text for all of them: there may be many.
        let mut kept = String::with_capacity(self.text.len());
        let mut from = 0;
        for node in same {
            let node = self.nodes[node];
            // A later sibling exists: the one that wins.
            let next = self.nodes[node.next as usize];
            kept.push_str(&self.text[from..node.key as usize]);
            from = next.key as usize;
        }
        kept.push_str(&self.text[from..]);
        self.work = self.work.saturating_add(2 * self.text.len());
        self.nodes = scan::scan(&kept).map_err(|m| EditError::Payload(m.to_string()))?;
        self.text = kept;
        Ok(())
    }

    fn replace(&mut self, at: usize, value: &str, new: &[Node]) -> Result<(), EditError> {
        self.room(value.len())?;
        let old = self.nodes[at];
        let (from, to) = (old.start as usize, old.end as usize);
        self.text.replace_range(from..to, value);
        let mut new = moved(new, old.start, at as u32);
        if old.has_key()
            && let Some(root) = new.first_mut()
        {
            (root.key, root.key_end) = (old.key, old.key_end);
        }
        let bytes = value.len() as i64 - (to - from) as i64;
        let count = new.len() as i64 - (i64::from(old.next) - at as i64);
        self.stretch(at, |node| node.next as usize > at, old.next as usize, bytes, count);
        self.nodes.splice(at..old.next as usize, new);
        Ok(())
    }

    fn append(
        &mut self,
        parent: usize,
        key: Option<&str>,
        value: &str,
        new: &[Node],
    ) -> Result<(), EditError> {
        let last = children(&self.nodes, parent).last();
        let position = match last {
            Some(last) => self.nodes[last].end,
            None => self.nodes[parent].start + 1,
        };
        let mut inserted = String::new();
        if last.is_some() {
            inserted.push(',');
        }
        let key_at = position + inserted.len() as u32;
        let mut key_end = key_at;
        if let Some(key) = key {
            inserted.push_str(key);
            key_end = key_at + key.len() as u32;
            inserted.push(':');
        }
        let value_at = position + inserted.len() as u32;
        inserted.push_str(value);
        self.room(inserted.len())?;
        self.text.insert_str(position as usize, &inserted);

        let at = self.nodes[parent].next as usize;
        let mut new = moved(new, value_at, at as u32);
        if key.is_some()
            && let Some(root) = new.first_mut()
        {
            (root.key, root.key_end) = (key_at, key_end);
        }
        let (bytes, count) = (inserted.len() as i64, new.len() as i64);
        self.stretch(parent + 1, |node| node.next as usize > parent, at, bytes, count);
        self.nodes.splice(at..at, new);
        Ok(())
    }

    fn cut(&mut self, parent: usize, at: usize) -> Result<(), EditError> {
        let node = self.nodes[at];
        let after = node.next as usize;
        let before = children(&self.nodes, parent).take_while(|&c| c < at).last();
        // With the comma and the space that belong to it: up to the next sibling, or else
        // from the end of the one before.
        let (from, to) = if after < self.nodes[parent].next as usize {
            (node.key, self.nodes[after].key)
        } else if let Some(before) = before {
            (self.nodes[before].end, node.end)
        } else {
            (node.key, node.end)
        };
        self.text.replace_range(from as usize..to as usize, "");
        let (bytes, count) = (-i64::from(to - from), -((after - at) as i64));
        self.stretch(at, |node| node.next as usize > at, after, bytes, count);
        self.nodes.drain(at..after);
        Ok(())
    }

    /// Moves the index along with the text: of the nodes before `upto`, those that
    /// `contains` names grow by `bytes` and `count`; those from `from` on move by as much.
    fn stretch(
        &mut self,
        upto: usize,
        contains: impl Fn(&Node) -> bool,
        from: usize,
        bytes: i64,
        count: i64,
    ) {
        // Never below zero or beyond u32: texts and indices are bounded by `max_bytes`.
        let by = |value: u32, delta: i64| (i64::from(value) + delta) as u32;
        for node in self.nodes[..upto].iter_mut().filter(|node| contains(node)) {
            node.end = by(node.end, bytes);
            node.next = by(node.next, count);
        }
        for node in &mut self.nodes[from..] {
            node.start = by(node.start, bytes);
            node.end = by(node.end, bytes);
            node.key = by(node.key, bytes);
            node.key_end = by(node.key_end, bytes);
            node.next = by(node.next, count);
        }
    }

    fn check_depth(&self, pointer: &str) -> Result<(), EditError> {
        let mut open: Vec<u32> = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            while open.last().is_some_and(|&end| end as usize <= at) {
                open.pop();
            }
            if matches!(self.text.as_bytes()[node.start as usize], b'{' | b'[') {
                open.push(node.next);
                if open.len() > scan::MAX_DEPTH as usize {
                    let deep = Malformed::TooDeep.to_string();
                    return Err(EditError::Value(pointer.into(), deep));
                }
            }
        }
        Ok(())
    }
}

/// Nodes of a text of its own, as they are once it stands at `position` and they at `index`.
fn moved(nodes: &[Node], position: u32, index: u32) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    for node in &mut nodes {
        node.start += position;
        node.end += position;
        node.key += position;
        node.key_end += position;
        node.next += index;
    }
    nodes
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
