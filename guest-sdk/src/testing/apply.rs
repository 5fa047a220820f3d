//! What the server would send for an answer.
//!
//! Owns applying edits to a payload and the server's checks of an answer. Never decides
//! whether that is what a test wanted.

use crate::{Edit, Error, Event, Message, Outcome, Result, Verdict, pointer};
use serde_json::Value;

/// What would be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// The payload, after this many edits, with these headers.
    Payload {
        /// The payload after the edits.
        payload: Value,
        /// Names and values of added headers, in the order of their first mention.
        headers: Vec<(String, String)>,
        /// How many edits there were; 0 is a pass.
        edits: usize,
    },
    /// A message in the payload's place.
    Message(Message),
    /// Nothing, for this reason.
    Dropped(String),
}

/// A plugin's answer of either kind.
pub trait Answer {
    /// What the server would send for it; an error if the server would refuse it.
    fn sent(self, event: &Event) -> Result<Sent>;
}

impl Answer for Verdict {
    fn sent(self, event: &Event) -> Result<Sent> {
        match self {
            Verdict::Pass => apply(event, Outcome::Edit(Vec::new())),
            Verdict::Drop(reason) => Ok(Sent::Dropped(reason)),
        }
    }
}

impl Answer for Outcome {
    fn sent(self, event: &Event) -> Result<Sent> {
        apply(event, self)
    }
}

/// What the server would send for a transform's answer; an error if it would refuse it
/// as `bad-output`.
pub fn apply(event: &Event, outcome: Outcome) -> Result<Sent> {
    match outcome {
        Outcome::Drop(reason) => Ok(Sent::Dropped(reason)),
        Outcome::Deliver(message) => {
            if message.content_type.is_empty() || !visible(&message.content_type) {
                return Err(bad(format!(
                    "the content type {:?} is not visible ASCII",
                    message.content_type
                )));
            }
            for (name, value) in &message.headers {
                check_header(name, value)?;
            }
            Ok(Sent::Message(message))
        }
        Outcome::Edit(list) => {
            let edits = list.len();
            let mut payload = event.value()?;
            let mut headers: Vec<(String, String)> = Vec::new();
            for edit in list {
                match edit {
                    Edit::Set { pointer, json } => set(&mut payload, &pointer, &json)?,
                    Edit::Remove(pointer) => remove(&mut payload, &pointer)?,
                    Edit::SetHeader { name, value } => {
                        check_header(&name, &value)?;
                        match headers.iter_mut().find(|(earlier, _)| *earlier == name) {
                            Some((_, earlier)) => *earlier = value,
                            None => headers.push((name, value)),
                        }
                    }
                }
            }
            Ok(Sent::Payload { payload, headers, edits })
        }
    }
}

fn bad(message: impl std::fmt::Display) -> Error {
    Error::failed(format!("bad-output: {message}"))
}

fn visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Headers the server sets itself, or that would change how the request is read.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn check_header(name: &str, value: &str) -> Result<()> {
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name.is_empty() || !name.bytes().all(letters) {
        return Err(bad(format!(
            "the header name {name:?} is not lower-case letters, digits and hyphens"
        )));
    }
    if RESERVED.contains(&name) || name.starts_with("webhook-") {
        return Err(bad(format!("the header {name} is the server's own")));
    }
    if !visible(value) {
        return Err(bad(format!("the value of the header {name} is not visible ASCII")));
    }
    Ok(())
}

/// A pointer's parent and last token; `None` for the whole document.
fn split(at: &str) -> Result<Option<(&str, String)>> {
    if let Some(complaint) = pointer::complaint(at) {
        return Err(bad(complaint.message().to_owned()));
    }
    Ok(at.rsplit_once('/').map(|(parent, token)| (parent, pointer::unescape(token).into_owned())))
}

fn set(payload: &mut Value, at: &str, json: &str) -> Result<()> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| bad(format!("the value set at {at:?} is not JSON: {error}")))?;
    let Some((parent, token)) = split(at)? else {
        *payload = value;
        return Ok(());
    };
    match payload.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.insert(token, value);
            Ok(())
        }
        Some(Value::Array(elements)) => {
            let length = elements.len();
            let index = if token == "-" { length } else { index(&token).unwrap_or(usize::MAX) };
            match elements.get_mut(index) {
                Some(element) => *element = value,
                None if index == length => elements.push(value),
                None => return Err(bad(format!("there is no element {at} to set"))),
            }
            Ok(())
        }
        _ => Err(bad(format!("nothing can be set at {at}: its parent is no object or array"))),
    }
}

fn remove(payload: &mut Value, at: &str) -> Result<()> {
    let Some((parent, token)) = split(at)? else {
        *payload = Value::Null;
        return Ok(());
    };
    match payload.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&token);
        }
        Some(Value::Array(elements)) => {
            if let Some(index) = index(&token).filter(|&index| index < elements.len()) {
                elements.remove(index);
            }
        }
        _ => {}
    }
    Ok(())
}

fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0');
    if plain && token.bytes().all(|byte| byte.is_ascii_digit()) { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Sent, apply};
    use crate::testing::event;
    use crate::{Edits, Result, deliver, edit};
    use serde_json::json;

    fn sent(edits: Edits) -> Result<Sent> {
        apply(&event(json!({"a": {"b": 1}, "list": [1, 2]})).build(), edits.build()?)
    }

    #[test]
    fn edits_apply_in_order() {
        let edits = edit()
            .set("/a/c", "x")
            .remove("/a/b")
            .set("/list/-", 3)
            .remove("/list/0")
            .remove("/nowhere/at/all")
            .header("x-a", "1")
            .header("x-a", "2");
        let expected = Sent::Payload {
            payload: json!({"a": {"c": "x"}, "list": [2, 3]}),
            headers: vec![("x-a".to_owned(), "2".to_owned())],
            edits: 7,
        };
        assert_eq!(sent(edits), Ok(expected));
    }

    #[test]
    fn what_the_server_would_refuse_is_refused() {
        for (edits, part) in [
            (edit().set("/x/y", 1), "its parent is no object"),
            (edit().set("/list/7", 1), "no element /list/7"),
            (edit().set_text("/x", "{"), "is not JSON"),
            (edit().header("webhook-id", "1"), "the server's own"),
            (edit().header("X-Upper", "1"), "lower-case"),
            (edit().header("x-line", "a\nb"), "visible ASCII"),
        ] {
            let error = sent(edits).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(part), "{error}");
        }
        let event = event(json!({})).build();
        assert!(apply(&event, deliver(crate::Message::new("", "x"))).is_err());
    }
}
