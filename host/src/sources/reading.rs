//! What a verified request says: its payload, event type, id and subject.
//!
//! Owns the rule by which a third party's name becomes an event type. Never changes a payload.

use std::cell::OnceCell;

use bytes::Bytes;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;

use super::{
    pointers::{Found, look_up},
    refusal::{Reason, Refusal},
    verify::{once, standard_id},
};
use crate::model::{EventTypeName, IdRule, Source, SourceKind, SourceSettings, TypeRule};

/// Longest id and subject, in bytes.
const MAX_TEXT: usize = 255;
/// Where Slack says that it only asks, and what it wants to hear.
const ASKED: &str = "/type";
const CHALLENGE: &str = "/challenge";

/// What a request comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) event_type: String,
    pub(super) delivery_id: Option<String>,
    pub(super) subject: Option<String>,
}

/// The JSON text in a body: the body itself, or what forms of GitHub and Slack have in their
/// field `payload`.
fn payload(kind: SourceKind, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refusal> {
    let refuse = |why: String| Err(Refusal::new(Reason::ContentType, why));
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| encoding != "identity") {
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

/// What the source's pointers lead to, looked up only if something asks for it.
struct Fields<'a> {
    text: &'a [u8],
    wanted: Vec<&'a str>,
    found: OnceCell<Found<'a>>,
}

impl<'a> Fields<'a> {
    /// Of all pointers, so that the text is read once whichever are asked for.
    fn new(source: &'a Source, id: Option<&'a IdRule>, text: &'a [u8]) -> Self {
        let settings = &source.settings;
        let own = [&settings.event_type.suffix, &settings.subject].into_iter().flatten();
        let ids = id.map_or(&[][..], |rule| rule.pointers.as_slice());
        let mut wanted: Vec<&str> =
            own.chain(&settings.event_type.pointers).chain(ids).map(String::as_str).collect();
        if settings.kind == SourceKind::Slack {
            wanted.extend([ASKED, CHALLENGE]);
        }
        Self { text, wanted, found: OnceCell::new() }
    }

    /// The string or number at a pointer; none if there is no such thing.
    fn scalar(&self, pointer: &str) -> Result<Option<String>, Refusal> {
        if self.found.get().is_none() {
            let found = look_up(self.text, self.wanted.iter().copied()).map_err(|error| {
                Refusal::new(Reason::Malformed, format!("the body is not JSON: {error}"))
            })?;
            // Whatever is set first stays, and it is the same.
            let _set = self.found.set(found);
        }
        Ok(self.found.get().and_then(|found| found.get(pointer)).cloned())
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

    /// What Slack wants back when a URL is given to it.
    fn challenge(&self) -> Option<String> {
        let asked = self.scalar(ASKED).ok()? == Some("url_verification".into());
        let challenge = if asked { self.scalar(CHALLENGE).ok()? } else { None };
        challenge.filter(|text| is_short(text))
    }
}

/// What a verified request is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The payload of an event to be.
    Payload(Bytes),
    /// A question whether the URL is right; the answer to it.
    Challenge(String),
}

/// Reads what a verified request says, its id first: that names it though the rest fails.
pub(super) fn read(
    source: &Source,
    headers: &HeaderMap,
    body: Bytes,
    reading: &mut Reading,
) -> Result<Said, Refusal> {
    let settings = &source.settings;
    let payload = payload(settings.kind, headers, body)?;
    let id = id_rule(settings, headers);
    let fields = Fields::new(source, id.as_ref().map(|(rule, _)| rule), &payload);
    if settings.kind == SourceKind::Slack
        && let Some(challenge) = fields.challenge()
    {
        return Ok(Said::Challenge(challenge));
    }
    if let Some((rule, needed)) = &id {
        reading.delivery_id = delivery_id(rule, *needed, headers, &fields)?;
    }
    reading.event_type = event_type(&settings.event_type, headers, &fields)?;
    if let Some(pointer) = &settings.subject {
        reading.subject = fields.scalar(pointer)?.filter(|text| is_short(text));
    }
    drop(fields);
    Ok(Said::Payload(payload))
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

/// Where the id is, and whether there must be one.
fn id_rule(settings: &SourceSettings, headers: &HeaderMap) -> Option<(IdRule, bool)> {
    let signed = || IdRule { header: Some(standard_id(headers).into()), pointers: Vec::new() };
    let standard = settings.kind == SourceKind::StandardWebhooks;
    settings.delivery_id().or_else(|| standard.then(|| (signed(), true)))
}

fn delivery_id(
    rule: &IdRule,
    needed: bool,
    headers: &HeaderMap,
    fields: &Fields<'_>,
) -> Result<Option<String>, Refusal> {
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
    use super::{super::tests::source, *};

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
    fn a_form_is_unwrapped_byte_for_byte() {
        let form = b"x=1&payload=%7B%22a%22%3A+%22%2B%c3%A9%22%7D&payload=2";
        assert_eq!(form_payload(form).unwrap(), "{\"a\": \"+é\"}");
        assert_eq!(form_payload(b"token=1"), None);
    }

    #[test]
    fn only_slack_gets_its_challenge_back() {
        let asked = r#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
        let said = |kind, body: &'static str| {
            let (source, headers) = (source(kind, &[]), HeaderMap::new());
            read(&source, &headers, body.into(), &mut Reading::default())
        };
        assert_eq!(said(SourceKind::Slack, asked), Ok(Said::Challenge("3eZbrw1aB".into())));
        assert_ne!(said(SourceKind::Stripe, asked), Ok(Said::Challenge("3eZbrw1aB".into())));
        let event = r#"{"type":"x","challenge":"a"}"#;
        assert_eq!(said(SourceKind::Slack, event), Ok(Said::Payload(event.into())));
    }

    #[test]
    fn what_is_no_json_is_malformed_where_something_in_it_is_asked_for() {
        let mut reading = Reading::default();
        let headers = HeaderMap::new();
        let refused = read(&source(SourceKind::Slack, &[]), &headers, "{".into(), &mut reading);
        assert_eq!(refused.unwrap_err().reason, Reason::Malformed);
    }
}
