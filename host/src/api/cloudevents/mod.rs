//! CloudEvents 1.0 as they come in over HTTP: structured, one by one or many, and binary.
//!
//! Owns how attributes are spelt and what they become here. Never sends one; that is the
//! delivery's.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    envelope::{MAX_TEXT, payload_type},
    explain,
    extract::check_text,
    problem::{Code, FieldError, Problem},
};
use crate::{
    ingest::Publish,
    model::{Attribute, CloudContext, TraceContext, media, time},
    telemetry::trace,
};

/// The media type of one event with its attributes.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of a list of such.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What the headers of a binary event begin with.
pub const PREFIX: &str = "ce-";

const MAX_SOURCE: usize = 512;
/// More than the attributes there are and the extensions that are taken.
const MAX_MEMBERS: usize = 64;
/// What an event without data is stored as: no stored payload is empty.
const NO_DATA: &[u8] = b"null";

/// Where attributes stand, and so how a problem names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Structured,
    Binary,
}

impl Mode {
    fn place(self, attribute: &str) -> String {
        match self {
            Self::Structured => format!("/{}", explain::token(attribute)),
            Self::Binary => format!("{PREFIX}{attribute}"),
        }
    }

    fn refuse(self, attribute: &str, why: impl Into<String>) -> Problem {
        let code = match self {
            Self::Structured => Code::InvalidField,
            Self::Binary => Code::InvalidHeader,
        };
        let at = self.place(attribute);
        let shown: String = at.chars().take(64).collect();
        Problem::new(code, format!("{shown} is not what a CloudEvent has there"))
            .errors([FieldError::new(at, why)])
    }

    fn missing(self, attribute: &str) -> Problem {
        let code = match self {
            Self::Structured => Code::MissingField,
            Self::Binary => Code::InvalidHeader,
        };
        let at = self.place(attribute);
        Problem::new(code, format!("The CloudEvent has no {attribute}"))
            .detail("A CloudEvent has specversion, id, source and type.")
            .errors([FieldError::new(at, "missing attribute")])
    }
}

/// A CloudEvent's attributes, read but not yet looked at.
struct Attributes {
    mode: Mode,
    texts: BTreeMap<&'static str, String>,
    extensions: BTreeMap<String, Attribute>,
}

/// The attributes that the specification names.
const NAMED: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

impl Attributes {
    const fn new(mode: Mode) -> Self {
        Self { mode, texts: BTreeMap::new(), extensions: BTreeMap::new() }
    }

    fn extend(&mut self, name: &str, value: Attribute) -> Result<(), Problem> {
        if !CloudContext::is_name(name) || ["data", "data_base64"].contains(&name) {
            let most = CloudContext::MAX_NAME;
            let why = format!("an attribute's name is 1 to {most} lower-case letters and digits");
            return Err(self.mode.refuse(name, why));
        }
        if let Attribute::Text(text) = &value
            && text.chars().any(char::is_control)
        {
            return Err(self.mode.refuse(name, "must not contain control characters"));
        }
        self.extensions.insert(name.to_owned(), value);
        let bytes: usize =
            self.extensions.iter().map(|(name, value)| name.len() + value.text().len()).sum();
        let (most, room) = (CloudContext::MAX_EXTENSIONS, CloudContext::MAX_EXTENSION_BYTES);
        if self.extensions.len() > most || bytes > room {
            let why = format!("at most {most} extension attributes of together {room} bytes");
            return Err(self.mode.refuse(name, why));
        }
        Ok(())
    }

    fn required(&mut self, name: &'static str) -> Result<String, Problem> {
        self.texts.remove(name).ok_or_else(|| self.mode.missing(name))
    }

    fn short(&self, name: &str, text: &str, most: usize) -> Result<(), Problem> {
        check_text(name, text, most).map_err(|error| self.mode.refuse(name, error.message))
    }

    /// The event, its payload as `data` makes it of the content type.
    fn publish(
        mut self,
        key: Option<String>,
        data: impl FnOnce(Option<&str>) -> Result<Bytes, Problem>,
    ) -> Result<Publish, Problem> {
        let mode = self.mode;
        let version = self.required("specversion")?;
        if version != "1.0" {
            return Err(mode.refuse("specversion", "only version 1.0 is known here"));
        }
        let event_type = self.required("type")?;
        let (id, source) = (self.required("id")?, self.required("source")?);
        self.short("id", &id, MAX_TEXT)?;
        let visible = source.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        if source.is_empty() || source.len() > MAX_SOURCE || !visible {
            let why = format!("is not a URI reference of 1 to {MAX_SOURCE} bytes");
            return Err(mode.refuse("source", why));
        }
        let subject = self.texts.remove("subject");
        if let Some(subject) = &subject {
            self.short("subject", subject, MAX_TEXT)?;
        }
        let dataschema = self.texts.remove("dataschema");
        if let Some(schema) = &dataschema {
            self.short("dataschema", schema, MAX_SOURCE)?;
        }
        let time = self.texts.remove("time").map(|given| time::rfc3339(&given));
        let occurred_at =
            time.transpose().map_err(|error| mode.refuse("time", error.to_string()))?;
        let given = self.texts.remove("datacontenttype");
        if given.as_deref().is_some_and(|given| !media::is_media_type(given)) {
            let why = "is not a media type such as text/xml";
            return Err(mode.refuse("datacontenttype", why));
        }
        let text = |name: &str| self.extensions.get(name).map(Attribute::text);
        let traced = text("traceparent")
            .and_then(|parent| TraceContext::parse(&parent, text("tracestate").as_deref()));
        Ok(Publish {
            payload: data(given.as_deref())?,
            content_type: given.as_deref().and_then(payload_type),
            schema_version: dataschema
                .as_deref()
                .and_then(|schema| version_named(schema, &event_type)),
            context: Some(Arc::new(CloudContext {
                id: id.clone(),
                source,
                dataschema,
                extensions: self.extensions,
            })),
            event_type,
            id: Some(id),
            idempotency_key: key,
            subject,
            occurred_at,
            channels: Vec::new(),
            trace: traced.map(Arc::new).or_else(trace::current),
        })
    }
}

/// The schema version a `dataschema` names, if it is one of this server's own addresses.
fn version_named(schema: &str, event_type: &str) -> Option<u32> {
    let (before, version) = schema.rsplit_once("/versions/")?;
    let canonical = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
    let ours = before.ends_with(&format!("/v1/event-types/{event_type}"));
    if ours && canonical { version.parse().ok() } else { None }
}

/// The members of an object, unparsed.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvent, which is an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all: Vec<(String, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if all.len() == MAX_MEMBERS {
                        return Err(de::Error::custom("the CloudEvent has too many attributes"));
                    }
                    if all.iter().any(|(known, _)| *known == name) {
                        let name: String = name.chars().take(64).collect();
                        return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    all.push((name, value));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// An event in structured mode: `body` is the whole of it.
pub fn structured(body: &Bytes, key: Option<String>) -> Result<Publish, Problem> {
    let Members(members) = explain::json(body)?;
    let mut attributes = Attributes::new(Mode::Structured);
    let (mut data, mut base64) = (None, None);
    for (name, value) in members {
        let refuse = |why: &str| Mode::Structured.refuse(&name, why);
        // Null is as good as nothing, except as data.
        let is_null = value.get() == "null";
        if name == "data" {
            data = Some(value);
        } else if is_null {
            continue;
        } else if name == "data_base64" {
            let text: String =
                serde_json::from_str(value.get()).map_err(|_| refuse("must be a string"))?;
            base64 = Some(STANDARD.decode(text).map_err(|_| refuse("is not base64"))?);
        } else if let Some(named) = NAMED.iter().find(|named| **named == name) {
            let text = serde_json::from_str(value.get()).map_err(|_| refuse("must be a string"))?;
            attributes.texts.insert(named, text);
        } else {
            let value = serde_json::from_str(value.get())
                .map_err(|_| refuse("must be a string, a boolean or an integer of 32 bits"))?;
            attributes.extend(&name, value)?;
        }
    }
    attributes.publish(key, |content_type| match (data, base64) {
        (Some(_), Some(_)) => {
            let why = "stands beside data; an event has one of the two";
            Err(Mode::Structured.refuse("data_base64", why))
        }
        (None, Some(bytes)) => Ok(bytes.into()),
        (Some(data), None) if content_type.is_none_or(media::is_json) => {
            Ok(body.slice_ref(data.get().as_bytes()))
        }
        (Some(data), None) => {
            serde_json::from_str::<String>(data.get()).map(Bytes::from).map_err(|_| {
                let why =
                    "must be a string, as its datacontenttype is not JSON; bytes go in data_base64";
                Mode::Structured.refuse("data", why)
            })
        }
        (None, None) => Ok(no_data(content_type)),
    })
}

/// What an event without data has as its payload: nothing, which is refused, where `null` would
/// not be of its type.
fn no_data(content_type: Option<&str>) -> Bytes {
    Bytes::from_static(if content_type.is_none_or(media::is_json) { NO_DATA } else { b"" })
}

/// An event in binary mode: its attributes are headers, its data is the body.
pub fn binary(headers: &HeaderMap, body: Bytes, key: Option<String>) -> Result<Publish, Problem> {
    let mut attributes = Attributes::new(Mode::Binary);
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        let mut values = headers.get_all(name).iter();
        let (first, more) = (values.next(), values.next());
        let Some(value) = first.filter(|_| more.is_none()) else {
            return Err(Mode::Binary.refuse(attribute, "is there more than once"));
        };
        let text = decoded(value.as_bytes())
            .ok_or_else(|| Mode::Binary.refuse(attribute, "is not UTF-8, percent-encoded"))?;
        match NAMED.iter().find(|named| **named == attribute) {
            Some(&"datacontenttype") => {
                let why = "goes in the header Content-Type";
                return Err(Mode::Binary.refuse(attribute, why));
            }
            Some(named) => {
                attributes.texts.insert(named, text);
            }
            None => attributes.extend(attribute, Attribute::Text(text))?,
        }
    }
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        let text = value.to_str().unwrap_or_default().to_owned();
        attributes.texts.insert("datacontenttype", text);
    }
    attributes
        .publish(key, |content_type| Ok(if body.is_empty() { no_data(content_type) } else { body }))
}

/// A header's value: quotes around it go, then what is percent-encoded is decoded once.
fn decoded(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let bare = quoted.map(|inner| {
        let mut bare = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter();
        while let Some(&byte) = bytes.next() {
            bare.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
        }
        bare
    });
    let bytes = percent_encoding::percent_decode(bare.as_deref().unwrap_or(value));
    bytes.decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
