//! How a repeated request is recognised: its keys, and the print of what must be the same.
//! Pure functions; the store remembers.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Publish;
use crate::{
    model::{Attribute, CloudContext, Timestamp},
    store::Idempotency,
};

/// The event's id and the request's key, in spaces of their own. A CloudEvent's id is its
/// source's: the two together name the event.
pub(super) fn keys(event: &Publish, window: Duration, now: Timestamp) -> Vec<Idempotency> {
    let id = match &event.context {
        // A source has no space in it.
        Some(context) => Some(format!("ce:{} {}", context.source, context.id)),
        None => event.id.as_ref().map(|id| format!("id:{id}")),
    };
    let key = event.idempotency_key.as_ref().map(|key| format!("key:{key}"));
    if id.is_none() && key.is_none() {
        return Vec::new();
    }
    let fingerprint = fingerprint(event);
    let expires_at = now.checked_add(window).unwrap_or(Timestamp::MAX);
    id.into_iter().chain(key).map(|key| Idempotency { key, fingerprint, expires_at }).collect()
}

/// The key of an event of a batch: the request's, and its place. No header has a line break in
/// it, so it is never another request's own.
pub fn key_in_batch(key: &str, index: usize) -> String {
    format!("{key}\n{index}")
}

/// A key as the producer knows it: without the space it is in, an event of a batch by its number.
pub(super) fn shown(key: &str) -> String {
    let given = key.split_once(':').map_or(key, |(_, given)| given);
    given.replace('\n', "#")
}

/// What must be the same for a request to be a repetition.
fn fingerprint(event: &Publish) -> [u8; 32] {
    let mut hash = Sha256::new();
    let occurred_at = event.occurred_at.map(|at| at.to_string()).unwrap_or_default();
    let version = event.schema_version.map(|v| v.to_string()).unwrap_or_default();
    let parts = [
        event.event_type.as_bytes(),
        event.subject.as_deref().unwrap_or_default().as_bytes(),
        event.id.as_deref().unwrap_or_default().as_bytes(),
        occurred_at.as_bytes(),
        version.as_bytes(),
        &event.payload,
    ];
    // Events without channels keep the print they had before there were any. Their order says
    // nothing.
    let mut channels: Vec<&[u8]> = event.channels.iter().map(String::as_bytes).collect();
    channels.sort_unstable();
    for part in parts.into_iter().chain(channels) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    // Said only where it is not what it always was, so that older prints stay the same.
    if let Some(content_type) = &event.content_type {
        hash.update(b"content type");
        hash.update((content_type.len() as u64).to_be_bytes());
        hash.update(content_type.as_bytes());
    }
    if let Some(context) = event.context.as_deref() {
        hash.update(b"context");
        // Texts in a fixed order: they always have a JSON form.
        hash.update(serde_json::to_vec(&essence(context)).unwrap_or_default());
    }
    hash.finalize().into()
}

/// What of a CloudEvent's attributes must be the same: not the trace it is sent in, which is
/// another for each try, and not whether a value came as a number or, in a header, as its text.
fn essence(context: &CloudContext) -> CloudContext {
    let said = context.extensions.iter().filter(|(name, _)| !TRACE.contains(&name.as_str()));
    let texts = said.map(|(name, value)| (name.clone(), Attribute::Text(value.text())));
    CloudContext { extensions: texts.collect(), ..context.clone() }
}

const TRACE: [&str; 2] = ["traceparent", "tracestate"];

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn publish(payload: &'static str) -> Publish {
        Publish {
            event_type: "order.created".into(),
            payload: Bytes::from_static(payload.as_bytes()),
            id: Some("7".into()),
            idempotency_key: None,
            subject: None,
            occurred_at: None,
            schema_version: None,
            channels: Vec::new(),
            trace: None,
            content_type: None,
            context: None,
        }
    }

    #[test]
    fn a_print_tells_requests_apart_by_every_part() {
        let same = fingerprint(&publish("{}"));
        assert_eq!(same, fingerprint(&publish("{}")));
        assert_ne!(same, fingerprint(&publish("{ }")));
        assert_ne!(same, fingerprint(&Publish { subject: Some("x".into()), ..publish("{}") }));
        assert_ne!(same, fingerprint(&Publish { schema_version: Some(1), ..publish("{}") }));
        assert_ne!(same, fingerprint(&Publish { channels: vec!["eu".into()], ..publish("{}") }));
        let text = Publish { content_type: Some("text/plain".into()), ..publish("{}") };
        assert_ne!(same, fingerprint(&text));
        let shifted = Publish {
            event_type: "order.create".into(),
            subject: Some("d".into()),
            ..publish("{}")
        };
        assert_ne!(same, fingerprint(&shifted), "parts do not run into each other");
    }

    #[test]
    fn a_cloudevents_id_is_its_sources() {
        let of = |source: &str, id: &str| {
            let context = CloudContext {
                id: id.into(),
                source: source.into(),
                dataschema: None,
                extensions: Default::default(),
            };
            let event = Publish { context: Some(context.into()), ..publish("{}") };
            keys(&event, Duration::from_secs(60), Timestamp::UNIX_EPOCH)[0].key.clone()
        };
        assert_eq!(of("/a", "7"), "ce:/a 7");
        assert_ne!(of("/a", "b 7"), of("/a/b", "7"));
    }

    #[test]
    fn a_repetition_may_be_spelt_otherwise_where_it_says_the_same() {
        let channels = |all: [&str; 2]| {
            let channels = all.iter().map(|&name| name.to_owned()).collect();
            fingerprint(&Publish { channels, ..publish("{}") })
        };
        assert_eq!(channels(["a", "b"]), channels(["b", "a"]));
        assert_ne!(channels(["a", "b"]), channels(["a", "c"]));
        let extended = |name: &str, value: Attribute| {
            let context = CloudContext {
                id: "7".into(),
                source: "/a".into(),
                dataschema: None,
                extensions: [(name.to_owned(), value)].into(),
            };
            fingerprint(&Publish { context: Some(context.into()), ..publish("{}") })
        };
        let text = |text: &str| Attribute::Text(text.to_owned());
        assert_eq!(extended("n", Attribute::Integer(5)), extended("n", text("5")));
        assert_eq!(extended("n", Attribute::Boolean(true)), extended("n", text("true")));
        assert_ne!(extended("n", text("5")), extended("n", text("6")));
        assert_eq!(extended("traceparent", text("00-a")), extended("traceparent", text("00-b")));
    }

    #[test]
    fn the_key_of_an_event_in_a_batch_is_no_other_requests() {
        let key = key_in_batch("k", 1);
        assert!(key.bytes().any(|byte| !(b' '..=b'~').contains(&byte)), "{key:?}");
        assert_eq!(shown(&format!("key:{key}")), "k#1");
        assert_ne!(key_in_batch("k", 11), key_in_batch("k1", 1));
    }

    #[test]
    fn ids_and_keys_have_spaces_of_their_own() {
        let both = Publish { idempotency_key: Some("7".into()), ..publish("{}") };
        let keys = keys(&both, Duration::from_secs(60), Timestamp::UNIX_EPOCH);
        let texts: Vec<_> = keys.iter().map(|k| k.key.as_str()).collect();
        assert_eq!(texts, ["id:7", "key:7"]);
        assert_eq!(keys[0].expires_at, Timestamp::from_second(60).unwrap());
    }
}
