//! What a plugin can answer, and the short words for it.
//!
//! Owns verdicts, outcomes, messages and edits. Never applies them: that is the
//! server's work, or the `testing` module's.

use crate::{Error, Result, pointer};
use serde::Serialize;

/// A filter's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Let the event through.
    Pass,
    /// Do not deliver it, for this reason (kept with the delivery).
    Drop(String),
}

/// A transform's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Send this instead of the payload.
    Deliver(Message),
    /// Send the payload with these changes, applied in order; none sends it as it is.
    Edit(Vec<Edit>),
    /// Do not deliver it, for this reason (kept with the delivery).
    Drop(String),
}

/// What [`pass`] makes, before it is known of which kind.
#[derive(Clone, Copy, Debug)]
pub struct Pass;

/// What [`drop`] makes, before it is known of which kind.
#[derive(Clone, Debug)]
pub struct Drop(String);

impl From<Pass> for Verdict {
    fn from(_: Pass) -> Self {
        Verdict::Pass
    }
}

impl From<Pass> for Outcome {
    fn from(_: Pass) -> Self {
        Outcome::Edit(Vec::new())
    }
}

impl From<Drop> for Verdict {
    fn from(drop: Drop) -> Self {
        Verdict::Drop(drop.0)
    }
}

impl From<Drop> for Outcome {
    fn from(drop: Drop) -> Self {
        Outcome::Drop(drop.0)
    }
}

/// Lets the event through; from a transform, as it is.
pub fn pass<A: From<Pass>>() -> A {
    A::from(Pass)
}

/// Does not deliver the event. The reason is kept and shown; keep it free of data from
/// the event, so that equal reasons can be counted.
pub fn drop<A: From<Drop>>(reason: impl Into<String>) -> A {
    A::from(Drop(reason.into()))
}

/// Sends a message instead of the payload.
pub fn deliver(message: Message) -> Outcome {
    Outcome::Deliver(message)
}

/// Sends a value as JSON instead of the payload.
pub fn deliver_json<T: Serialize + ?Sized>(value: &T) -> Result<Outcome> {
    Message::json(value).map(Outcome::Deliver)
}

/// Sends the payload with changes:
///
/// ```
/// # use hookmill_sdk::prelude::*;
/// # fn f() -> Result<Outcome> {
/// edit().set("/customer/email", "***").remove("/card").header("x-redacted", "yes").build()
/// # }
/// # assert!(f().is_ok());
/// ```
pub fn edit() -> Edits {
    Edits::default()
}

/// A complete replacement of what is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// The media type of the body, for example `application/json`.
    pub content_type: String,
    /// Names and values of headers to send beside the server's own.
    pub headers: Vec<(String, String)>,
    /// The bytes to send.
    pub body: Vec<u8>,
}

impl Message {
    /// A message of any media type.
    pub fn new(content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Message { content_type: content_type.into(), headers: Vec::new(), body: body.into() }
    }

    /// A value as `application/json`.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Message::new("application/json", serde_json::to_vec(value)?))
    }

    /// A text as `text/plain`.
    pub fn text(text: impl Into<String>) -> Self {
        Message::new("text/plain; charset=utf-8", text.into())
    }

    /// With a header: lower-case letters, digits and hyphens; visible ASCII.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// One change to the payload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Put a value where the pointer says, replacing what is there. The parent must
    /// exist; `-` as the last token appends to an array.
    Set {
        /// Where.
        pointer: String,
        /// What, as JSON text.
        json: String,
    },
    /// Remove the value at this pointer; nothing happens if there is none.
    Remove(String),
    /// Add a header to the request, replacing one of the same name.
    SetHeader {
        /// Lower-case letters, digits and hyphens.
        name: String,
        /// Visible ASCII.
        value: String,
    },
}

/// Changes being collected; [`edit`] begins, [`build`](Edits::build) ends.
#[derive(Clone, Debug, Default)]
#[must_use = "changes do nothing until they are built and returned"]
pub struct Edits {
    edits: Vec<Edit>,
    /// The first mistake, kept so that calls can be chained.
    mistake: Option<Error>,
}

impl Edits {
    /// Puts a value where the pointer says. The parent must exist; `-` as the last token
    /// appends to an array.
    pub fn set(self, pointer: impl Into<String>, value: impl Serialize) -> Self {
        match serde_json::to_string(&value) {
            Ok(json) => self.set_text(pointer, json),
            Err(error) => self.wrong(error.into()),
        }
    }

    /// Puts a JSON text, one that `Event::text` answered for example, where the pointer
    /// says. It must be valid JSON: the server refuses the whole answer otherwise.
    pub fn set_text(self, pointer: impl Into<String>, json: impl Into<String>) -> Self {
        self.push(pointer.into(), |pointer| Edit::Set { pointer, json: json.into() })
    }

    /// Removes the value at a pointer; nothing happens if there is none.
    pub fn remove(self, pointer: impl Into<String>) -> Self {
        self.push(pointer.into(), Edit::Remove)
    }

    /// Adds a header to the request, replacing one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.edits.push(Edit::SetHeader { name: name.into(), value: value.into() });
        self
    }

    /// How many changes there are so far.
    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The answer, or the first mistake: a malformed pointer, or a value that is no JSON.
    pub fn build(self) -> Result<Outcome> {
        match self.mistake {
            None => Ok(Outcome::Edit(self.edits)),
            Some(mistake) => Err(mistake),
        }
    }

    fn push(mut self, pointer: String, edit: impl FnOnce(String) -> Edit) -> Self {
        match pointer::complaint(&pointer) {
            None => self.edits.push(edit(pointer)),
            Some(complaint) => return self.wrong(complaint),
        }
        self
    }

    fn wrong(mut self, mistake: Error) -> Self {
        self.mistake.get_or_insert(mistake);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Edit, Outcome, Verdict, drop, edit, pass};

    #[test]
    fn the_short_words_fit_both_worlds() {
        assert_eq!(pass::<Verdict>(), Verdict::Pass);
        assert_eq!(pass::<Outcome>(), Outcome::Edit(Vec::new()));
        assert_eq!(drop::<Verdict>("no"), Verdict::Drop("no".to_owned()));
        assert_eq!(drop::<Outcome>("no"), Outcome::Drop("no".to_owned()));
    }

    #[test]
    fn edits_keep_their_order_and_the_first_mistake() {
        let outcome = edit().set("/a", 1).remove("/b").header("x-c", "d").build();
        assert_eq!(
            outcome,
            Ok(Outcome::Edit(vec![
                Edit::Set { pointer: "/a".to_owned(), json: "1".to_owned() },
                Edit::Remove("/b".to_owned()),
                Edit::SetHeader { name: "x-c".to_owned(), value: "d".to_owned() },
            ]))
        );
        let mistake = edit().set("a", 1).remove("b").build();
        assert!(
            mistake
                .is_err_and(|mistake| mistake.message().starts_with("`a` is not a JSON pointer"))
        );
    }
}
