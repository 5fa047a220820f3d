//! What a verified request says: its payload, event type, id and subject.
//!
//! Owns the rule by which a third party's name becomes an event type. Never changes a payload.

use std::{borrow::Cow, cell::OnceCell, collections::HashMap};

use bytes::Bytes;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;
use serde_json::value::RawValue;

use super::{
    refusal::{Reason, Refusal},
    verify::{once, standard_id},
};
use crate::model::{EventTypeName, IdRule, Source, SourceKind, SourceSettings, TypeRule};

/// Longest id and subject, in bytes.
const MAX_TEXT: usize = 255;

/// What a request comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) event_type: String,
    pub(super) delivery_id: Option<String>,
    pub(super) subject: Option<String>,
}

/// The JSON text in a body: the body itself, or what forms of GitHub and Slack have in their
/// field `payload`.
pub(super) fn payload(
    kind: SourceKind,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Bytes, Refusal> {
    let refuse = |why: String| Err(Refusal::new(Reason::ContentType, why));
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return refuse("the body is compressed".into());
    }
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|given| given.split(';').next()).unwrap_or("application/json");
    let essence = essence.trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/json" => Ok(body),
        json if json.ends_with("+json") => Ok(body),
        "application/x-www-form-urlencoded"
            if matches!(kind, SourceKind::Github | SourceKind::Slack) =>
        {
            match form_payload(&body) {
                Some(payload) => Ok(payload),
                None => refuse("the form has no field payload".into()),
            }
        }
        _ => refuse(format!("a body of type {essence} is not taken")),
    }
}

fn form_payload(form: &[u8]) -> Option<Bytes> {
    let encoded =
        form.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"payload="))?;
    let spaced: Vec<u8> =
        encoded.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Some(percent_decode(&spaced).collect::<Vec<u8>>().into())
}

/// The members of a JSON object, looked at only if something asks for them.
struct Fields<'a> {
    text: &'a [u8],
    read: OnceCell<Object<'a>>,
}

type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

impl<'a> Fields<'a> {
    /// The string or number at a pointer; none if there is no such thing.
    fn scalar(&self, pointer: &str) -> Result<Option<String>, Refusal> {
        if self.read.get().is_none() {
            // Whatever is set first stays, and it is the same.
            let _set = self.read.set(self.object()?);
        }
        let Some(object) = self.read.get() else { return Ok(None) };
        let mut tokens = pointer.split('/').skip(1).map(unescaped);
        let Some(mut found) = tokens.next().and_then(|first| object.get(&*first).copied()) else {
            return Ok(None);
        };
        for token in tokens {
            let inner: Option<Object<'_>> = serde_json::from_str(found.get()).ok();
            match inner.and_then(|object| object.get(&*token).copied()) {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok(text_of(found))
    }

    fn object(&self) -> Result<Object<'a>, Refusal> {
        match serde_json::from_slice(self.text) {
            Ok(object) => Ok(object),
            // JSON of another kind has no members.
            Err(error) if error.is_data() => Ok(Object::new()),
            Err(error) => {
                Err(Refusal::new(Reason::Malformed, format!("the body is not JSON: {error}")))
            }
        }
    }

    fn first(&self, pointers: &[String]) -> Result<Option<String>, Refusal> {
        for pointer in pointers {
            let found = self.scalar(pointer)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn text_of(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'-' | b'0'..=b'9' => Some(text.to_owned()),
        _ => None,
    }
}

/// Reads what a verified request says, its id first: that names it though the rest fails.
pub(super) fn read(
    source: &Source,
    headers: &HeaderMap,
    payload: &[u8],
    reading: &mut Reading,
) -> Result<(), Refusal> {
    let fields = Fields { text: payload, read: OnceCell::new() };
    reading.delivery_id = delivery_id(&source.settings, headers, &fields)?;
    reading.event_type = event_type(&source.settings.event_type, headers, &fields)?;
    if let Some(pointer) = &source.settings.subject {
        reading.subject = fields.scalar(pointer)?.filter(|text| is_short(text));
    }
    Ok(())
}

/// What Slack wants back when a URL is given to it.
pub(super) fn challenge(kind: SourceKind, payload: &[u8]) -> Option<String> {
    if kind != SourceKind::Slack {
        return None;
    }
    let fields = Fields { text: payload, read: OnceCell::new() };
    let asked = fields.scalar("/type").ok()? == Some("url_verification".into());
    let challenge = if asked { fields.scalar("/challenge").ok()? } else { None };
    challenge.filter(|text| is_short(text))
}

fn is_short(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn header_text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    once(headers, name)?;
    Ok(headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned))
}

fn event_type(
    rule: &TypeRule,
    headers: &HeaderMap,
    fields: &Fields<'_>,
) -> Result<String, Refusal> {
    let refuse = |why: String| Refusal::new(Reason::NoEventType, why);
    if let Some(fixed) = &rule.fixed {
        return Ok(fixed.clone());
    }
    let given = match &rule.header {
        Some(name) => header_text(headers, name)?
            .ok_or_else(|| refuse(format!("the request has no readable {name} header")))?,
        None => fields.first(&rule.pointers)?.ok_or_else(|| {
            refuse(format!("the payload has no text at {}", rule.pointers.join(" or ")))
        })?,
    };
    let mut name = named(&given);
    if name.is_empty() {
        return Err(refuse(format!("{given:?} has nothing in it that an event type could have")));
    }
    if let Some(prefix) = &rule.prefix {
        name = format!("{prefix}.{name}");
    }
    if let Some(pointer) = &rule.suffix {
        let suffix = fields.scalar(pointer)?.map(|text| named(&text)).unwrap_or_default();
        if !suffix.is_empty() {
            name = format!("{name}.{suffix}");
        }
    }
    if let Err(why) = name.parse::<EventTypeName>() {
        return Err(refuse(format!("it would be {name:?}, but {why}")));
    }
    Ok(name)
}

/// A third party's name as an event type's segments: `/` and `:` part them like dots, whatever
/// else no segment may have becomes `_`, and empty segments are left out.
fn named(given: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let segments = given.split(['.', '/', ':']).filter(|segment| !segment.is_empty());
    segments.map(|segment| segment.chars().map(plain).collect()).collect::<Vec<String>>().join(".")
}

fn delivery_id(
    settings: &SourceSettings,
    headers: &HeaderMap,
    fields: &Fields<'_>,
) -> Result<Option<String>, Refusal> {
    let (rule, needed) = match settings.delivery_id() {
        Some(found) => found,
        None if settings.kind == SourceKind::StandardWebhooks => {
            (IdRule { header: Some(standard_id(headers).into()), pointers: Vec::new() }, true)
        }
        None => return Ok(None),
    };
    let (found, place) = match &rule.header {
        Some(name) => (header_text(headers, name)?, format!("in the header {name}")),
        None => (fields.first(&rule.pointers)?, format!("at {}", rule.pointers.join(" or "))),
    };
    match found {
        Some(id) if is_short(&id) => Ok(Some(id)),
        None if !needed => Ok(None),
        _ => Err(Refusal::new(
            Reason::NoDeliveryId,
            format!("the request has no id of 1 to {MAX_TEXT} printable characters {place}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Fields { text: text.as_bytes(), read: OnceCell::new() }
    }

    #[test]
    fn names_of_third_parties_become_event_types() {
        for (given, expected) in [
            ("push", "push"),
            ("orders/create", "orders.create"),
            ("charge.dispute.funds_withdrawn", "charge.dispute.funds_withdrawn"),
            ("urn:shop:order paid", "urn.shop.order_paid"),
            ("//a..b/", "a.b"),
            ("zahlung/geprüft", "zahlung.gepr_ft"),
            ("…", "_"),
            ("/.", ""),
        ] {
            assert_eq!(named(given), expected, "{given}");
        }
    }

    #[test]
    fn pointers_find_texts_and_numbers() {
        let fields = fields(r#"{"a":{"b/c":"x","d~":7.0,"e":{}},"f":["y"],"g":"\u00e9"}"#);
        let at = |pointer: &str| fields.scalar(pointer).unwrap();
        assert_eq!(at("/a/b~1c").as_deref(), Some("x"));
        assert_eq!(at("/a/d~0").as_deref(), Some("7.0"));
        assert_eq!(at("/g").as_deref(), Some("é"));
        for none in ["", "/", "/a", "/a/e", "/f/0", "/x/y"] {
            assert_eq!(at(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_json_without_members() {
        assert_eq!(fields("[1]").scalar("/a"), Ok(None));
        for bad in ["", "{", "{\"a\":1}}", "\u{feff}{}"] {
            assert_eq!(fields(bad).scalar("/a").unwrap_err().reason, Reason::Malformed, "{bad}");
        }
    }

    #[test]
    fn a_form_is_unwrapped_byte_for_byte() {
        let form = b"x=1&payload=%7B%22a%22%3A+%22%2B%c3%A9%22%7D&payload=2";
        assert_eq!(form_payload(form).unwrap(), "{\"a\": \"+é\"}");
        assert_eq!(form_payload(b"token=1"), None);
    }

    #[test]
    fn only_slack_gets_its_challenge_back() {
        let asked = br#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
        assert_eq!(challenge(SourceKind::Slack, asked).as_deref(), Some("3eZbrw1aB"));
        assert_eq!(challenge(SourceKind::Github, asked), None);
        assert_eq!(challenge(SourceKind::Slack, br#"{"type":"x","challenge":"a"}"#), None);
    }
}
