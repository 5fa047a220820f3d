//! How a repeated request is recognised: its keys, and the print of what must be the same.
//! Pure functions; the store remembers.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Publish;
use crate::{model::Timestamp, store::Idempotency};

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
    // Events without channels keep the print they had before there were any.
    let channels = event.channels.iter().map(String::as_bytes);
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
        // Texts and numbers in a fixed order: they always have a JSON form.
        hash.update(serde_json::to_vec(context).unwrap_or_default());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::CloudContext;

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
    fn ids_and_keys_have_spaces_of_their_own() {
        let both = Publish { idempotency_key: Some("7".into()), ..publish("{}") };
        let keys = keys(&both, Duration::from_secs(60), Timestamp::UNIX_EPOCH);
        let texts: Vec<_> = keys.iter().map(|k| k.key.as_str()).collect();
        assert_eq!(texts, ["id:7", "key:7"]);
        assert_eq!(keys[0].expires_at, Timestamp::from_second(60).unwrap());
    }
}
