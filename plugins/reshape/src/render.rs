//! The new document, written as text.
//!
//! Owns reading what the template refers to, in one call, and writing it. Never parses a
//! value it only copies.

use crate::reference::Reference;
use crate::template::{Missing, Node, Piece};
use hookmill_sdk::prelude::*;
use hookmill_sdk::serde_json;

/// The document's JSON text.
pub(crate) fn document(event: &Event, template: &Node) -> Result<Vec<u8>> {
    let mut pointers = Vec::new();
    collect(template, &mut pointers);
    let texts = event.texts(&pointers)?;
    let mut writer = Writer { event, texts: texts.into_iter(), body: Vec::with_capacity(1024) };
    writer.node(template)?;
    Ok(writer.body)
}

/// The template's pointers, in the order in which they will be written.
fn collect<'a>(node: &'a Node, pointers: &mut Vec<&'a str>) {
    let mut add = |reference: &'a Reference| {
        if let Reference::Payload(pointer) = reference {
            pointers.push(pointer);
        }
    };
    match node {
        Node::Literal(_) => {}
        Node::Value { reference, .. } => add(reference),
        Node::Text(pieces) => {
            for piece in pieces {
                if let Piece::Insert { reference, .. } = piece {
                    add(reference);
                }
            }
        }
        Node::List(list) => list.iter().for_each(|node| collect(node, pointers)),
        Node::Object(members) => members.iter().for_each(|(_, node)| collect(node, pointers)),
    }
}

struct Writer<'a> {
    event: &'a Event,
    /// The texts of the template's pointers, in its order.
    texts: std::vec::IntoIter<Option<String>>,
    body: Vec<u8>,
}

impl Writer<'_> {
    fn node(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Literal(json) => self.body.extend_from_slice(json.as_bytes()),
            Node::Text(pieces) => self.text(pieces)?,
            Node::List(list) => {
                self.body.push(b'[');
                let start = self.body.len();
                for node in list {
                    self.item(start, None, node)?;
                }
                self.body.push(b']');
            }
            Node::Object(members) => {
                self.body.push(b'{');
                let start = self.body.len();
                for (key, node) in members {
                    self.item(start, Some(key), node)?;
                }
                self.body.push(b'}');
            }
            Node::Value { reference, missing } => {
                // At the top there is nothing to leave out: a document has to be one.
                match (self.read(reference)?, missing) {
                    (Some(json), _) => self.body.extend_from_slice(json.as_bytes()),
                    (None, Missing::Default(json)) => self.body.extend_from_slice(json.as_bytes()),
                    (None, Missing::Fault | Missing::Omit) => return Err(nothing(reference)),
                }
            }
        }
        Ok(())
    }

    /// One element or member, with its comma; or nothing, if it is left out.
    fn item(&mut self, start: usize, key: Option<&String>, node: &Node) -> Result<()> {
        let value = match node {
            Node::Value { reference, missing: Missing::Omit } => match self.read(reference)? {
                None => return Ok(()),
                value => value,
            },
            _ => None,
        };
        if self.body.len() > start {
            self.body.push(b',');
        }
        if let Some(key) = key {
            serde_json::to_writer(&mut self.body, key)?;
            self.body.push(b':');
        }
        match value {
            Some(json) => {
                self.body.extend_from_slice(json.as_bytes());
                Ok(())
            }
            None => self.node(node),
        }
    }

    fn text(&mut self, pieces: &[Piece]) -> Result<()> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Insert { reference, default } => match (self.read(reference)?, default) {
                    // A string's characters; any other value's JSON text.
                    (Some(json), _) if json.starts_with('"') => {
                        text.push_str(&serde_json::from_str::<String>(&json)?);
                    }
                    (Some(json), _) => text.push_str(&json),
                    (None, Some(default)) => text.push_str(default),
                    (None, None) => return Err(nothing(reference)),
                },
            }
        }
        serde_json::to_writer(&mut self.body, &text)?;
        Ok(())
    }

    fn read(&mut self, reference: &Reference) -> Result<Option<String>> {
        match reference {
            Reference::Payload(_) => Ok(self.texts.next().flatten()),
            Reference::Fact(fact) => fact.json(self.event),
        }
    }
}

fn nothing(reference: &Reference) -> Error {
    Error::invalid_event(format!("there is nothing at {}", reference.spelling()))
}
