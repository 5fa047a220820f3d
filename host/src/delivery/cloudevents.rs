//! Makes a CloudEvent of a message: CloudEvents 1.0, its HTTP binding and its JSON format.
//!
//! Owns the attributes and both content modes. What it makes depends on the event and the
//! message alone, so that every attempt sends the same bytes. Never signs, never sends.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{Attribute, CloudEvents, Event, PayloadForm, media};

const ENVELOPE: &str = "application/cloudevents+json";
/// What the HTTP binding does not let into a header as it is; what is beyond ASCII never is.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// What may stand in a path's segment; an application's name has nothing that matters else.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A CloudEvent's attributes, as the JSON format names them, and its data.
#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<&'a str>,
    #[serde(flatten)]
    extensions: &'a BTreeMap<String, Attribute>,
    #[serde(flatten)]
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Json { data: &'a RawValue },
    Text { data: &'a str },
    Binary { data_base64: String },
}

/// Puts the message into the form; answers the body to send. A message that is a CloudEvent
/// already, because a plugin made it one, stays as it is.
pub(super) fn put(
    form: &PayloadForm,
    event: &Event,
    headers: &mut HeaderMap,
    body: Bytes,
) -> Bytes {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or(media::JSON).to_owned();
    let done = media::essence(&content_type).starts_with("application/cloudevents");
    match form {
        PayloadForm::CloudeventsStructured(given) if !done => {
            let structured = structured(given, event, &content_type, &body);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(ENVELOPE));
            structured
        }
        PayloadForm::CloudeventsBinary(given) if !done => {
            for (name, value) in attributes(given, event) {
                let value = utf8_percent_encode(&value, IN_HEADER).to_string();
                // Encoded, it is visible ASCII: nothing is left out here.
                if let (Ok(name), Ok(value)) =
                    (HeaderName::try_from(name), HeaderValue::try_from(value))
                {
                    headers.insert(name, value);
                }
            }
            body
        }
        _ => body,
    }
}

fn source(given: &CloudEvents, event: &Event) -> String {
    let own = || event.context.as_ref().map(|context| context.source.clone());
    given.source.clone().or_else(own).unwrap_or_else(|| {
        let name = utf8_percent_encode(&event.application_name, IN_PATH);
        format!("/applications/{name}")
    })
}

/// An event that came as a CloudEvent keeps its id, unless the subscription gives it another
/// source: an id is its source's.
fn id(given: &CloudEvents, event: &Event) -> String {
    match &event.context {
        Some(context) if given.source.is_none() => context.id.clone(),
        _ => event.id.to_string(),
    }
}

fn attributes(given: &CloudEvents, event: &Event) -> Vec<(String, String)> {
    let mut all = vec![
        ("specversion", "1.0".to_owned()),
        ("id", id(given, event)),
        ("source", source(given, event)),
        ("type", event.event_type.to_string()),
        ("time", event.occurred_at.to_string()),
    ];
    all.extend(subject(event).map(|subject| ("subject", subject.to_owned())));
    all.extend(dataschema(event).map(|schema| ("dataschema", schema.to_owned())));
    let extended = extensions(event).iter().map(|(name, value)| (name.as_str(), value.text()));
    all.into_iter().chain(extended).map(|(name, value)| (format!("ce-{name}"), value)).collect()
}

fn dataschema(event: &Event) -> Option<&str> {
    event.context.as_ref()?.dataschema.as_deref()
}

fn extensions(event: &Event) -> &BTreeMap<String, Attribute> {
    static NONE: BTreeMap<String, Attribute> = BTreeMap::new();
    event.context.as_ref().map_or(&NONE, |context| &context.extensions)
}

/// An attribute is never empty.
fn subject(event: &Event) -> Option<&str> {
    event.subject.as_deref().filter(|subject| !subject.is_empty())
}

fn structured(given: &CloudEvents, event: &Event, content_type: &str, body: &Bytes) -> Bytes {
    let envelope = Envelope {
        specversion: "1.0",
        id: id(given, event),
        source: &source(given, event),
        r#type: event.event_type.as_str(),
        subject: subject(event),
        time: event.occurred_at.to_string(),
        datacontenttype: content_type,
        dataschema: dataschema(event),
        extensions: extensions(event),
        data: data(content_type, body),
    };
    // Texts and a checked JSON value always have a JSON form; were it not so, the message
    // itself is the next best thing to send.
    serde_json::to_vec(&envelope).map_or_else(|_| body.clone(), Bytes::from)
}

/// JSON stays JSON, byte for byte; other text is a string; the rest is base64.
fn data<'a>(content_type: &str, body: &'a [u8]) -> Data<'a> {
    let is_json = media::is_json(content_type);
    let json = is_json.then(|| serde_json::from_slice::<&RawValue>(body).ok()).flatten();
    let text = media::is_text(content_type).then(|| str::from_utf8(body).ok()).flatten();
    match (json, text) {
        (Some(data), _) => Data::Json { data },
        (None, Some(data)) => Data::Text { data },
        (None, None) => Data::Binary { data_base64: STANDARD.encode(body) },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{ApplicationId, CloudContext, EventId, Timestamp, media::JSON};

    fn event(subject: Option<&str>) -> Event {
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        Event {
            id: EventId::new(at),
            application: ApplicationId::new(at),
            application_name: "my shop".into(),
            event_type: "order.created".parse().unwrap(),
            schema_version: 1,
            subject: subject.map(Into::into),
            occurred_at: at,
            accepted_at: at,
            trace: None,
            content_type: None,
            context: None,
            channels: vec![],
            payload: Bytes::new(),
        }
    }

    fn sent(form: Value, event: &Event, content_type: &str, body: &[u8]) -> (HeaderMap, Bytes) {
        let form: PayloadForm = serde_json::from_value(form).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let body = put(&form, event, &mut headers, Bytes::copy_from_slice(body));
        (headers, body)
    }

    #[test]
    fn a_structured_event_has_the_payload_byte_for_byte() {
        let (event, form) = (event(Some("42")), json!({"form": "cloudevents_structured"}));
        let payload = br#"{ "b" : 1.10, "a":12345678901234567890123, "a":"\u00e9" }"#;
        let (headers, body) = sent(form.clone(), &event, JSON, payload);
        assert_eq!(headers[CONTENT_TYPE], ENVELOPE);
        let text = str::from_utf8(&body).unwrap();
        assert!(text.contains(str::from_utf8(payload).unwrap()), "{text}");
        let read: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["specversion"], "1.0");
        assert_eq!(read["id"], event.id.to_string());
        assert_eq!(read["source"], "/applications/my%20shop");
        assert_eq!(read["type"], "order.created");
        assert_eq!(read["subject"], "42");
        assert_eq!(read["time"], "2026-09-21T14:13:20Z");
        assert_eq!(read["datacontenttype"], JSON);
        assert_eq!(sent(form, &event, JSON, payload).1, body, "and the same every time");
    }

    #[test]
    fn what_is_not_json_is_a_string_or_base64() {
        let form = || json!({"form": "cloudevents_structured", "source": "urn:x"});
        let read = |content_type, body: &[u8]| -> Value {
            serde_json::from_slice(&sent(form(), &event(None), content_type, body).1).unwrap()
        };
        assert_eq!(read("text/plain; charset=utf-8", b"hi")["data"], "hi");
        assert_eq!(read("application/xml", "<ä/>".as_bytes())["data"], "<ä/>");
        assert_eq!(read("text/xml; charset=iso-8859-1", b"<\xe4/>")["data_base64"], "POQvPg==");
        assert_eq!(read("application/octet-stream", b"\0")["data_base64"], "AA==");
        assert_eq!(read(JSON, b"{no json")["data_base64"], STANDARD.encode("{no json"));
        assert_eq!(read("application/vnd.x+json", b"[1]")["data"], json!([1]));
        let plain = read(JSON, b"1");
        assert_eq!(plain["source"], "urn:x");
        assert!(plain.get("subject").is_none());
    }

    #[test]
    fn a_binary_event_is_the_payload_with_headers() {
        let event = event(Some("Ä \"1\" 5%"));
        let (headers, body) = sent(json!({"form": "cloudevents_binary"}), &event, JSON, b"{}");
        assert_eq!(body, "{}");
        assert_eq!(headers[CONTENT_TYPE], JSON);
        assert_eq!(headers["ce-specversion"], "1.0");
        assert_eq!(headers["ce-type"], "order.created");
        assert_eq!(headers["ce-source"], "/applications/my%2520shop");
        assert_eq!(headers["ce-subject"], "%C3%84%20%221%22%205%25");
    }

    #[test]
    fn an_event_that_came_as_a_cloudevent_goes_on_as_the_same() {
        let context: CloudContext = serde_json::from_value(json!({
            "id": "7", "source": "/shop", "dataschema": "urn:s",
            "extensions": {"tier": "göld", "retries": 3, "vip": true}
        }))
        .unwrap();
        let event = Event { context: Some(std::sync::Arc::new(context)), ..event(None) };
        let (_, body) = sent(json!({"form": "cloudevents_structured"}), &event, JSON, b"1");
        let read: Value = serde_json::from_slice(&body).unwrap();
        let named =
            ["id", "source", "dataschema", "tier", "retries", "vip"].map(|name| &read[name]);
        assert_eq!(json!(named), json!(["7", "/shop", "urn:s", "göld", 3, true]));
        let (headers, _) = sent(json!({"form": "cloudevents_binary"}), &event, JSON, b"1");
        for (name, value) in [("ce-id", "7"), ("ce-tier", "g%C3%B6ld"), ("ce-vip", "true")] {
            assert_eq!(headers[name], value);
        }
        // An id is unique within its source only.
        let form = json!({"form": "cloudevents_binary", "source": "/other"});
        assert_eq!(sent(form, &event, JSON, b"1").0["ce-id"], event.id.to_string().as_str());
    }

    #[test]
    fn a_cloudevent_that_a_plugin_made_is_not_wrapped_again() {
        for form in ["cloudevents_structured", "cloudevents_binary", "raw"] {
            let (headers, body) = sent(json!({"form": form}), &event(None), ENVELOPE, b"{}");
            assert_eq!((headers.len(), &body[..]), (1, &b"{}"[..]), "{form}");
        }
    }

    proptest! {
        #[test]
        fn any_subject_survives_a_header(subject in "\\PC{1,40}") {
            let event = event(Some(&subject));
            let (headers, _) = sent(json!({"form": "cloudevents_binary"}), &event, JSON, b"1");
            let value = headers["ce-subject"].to_str().unwrap();
            let decoded = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
            prop_assert_eq!(&*decoded, &*subject);
        }
    }
}
