//! A delivery's exact inputs, as the server hands them out or as a file keeps them.
//!
//! Owns their form on this side. Never runs anything.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cli::{
        client::Client,
        input,
        output::{Exit, Failure},
    },
    model::{ApplicationId, Event, EventId, OnError, Sha256, Timestamp, media},
};

/// Everything a delivery's plugins were given, and what was recorded of their run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Inputs {
    pub(super) delivery_id: String,
    pub(super) event: EventInputs,
    pub(super) pipeline: Vec<StepInputs>,
    /// The schema of what is sent, as JSON text.
    #[serde(default)]
    pub(super) output_schema: Option<Arc<str>>,
    pub(super) run: Option<Recorded>,
    /// The components in base64, by their SHA-256: only in files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    components: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EventInputs {
    id: EventId,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    schema_version: u32,
    application: Arc<str>,
    pub(super) occurred_at: Timestamp,
    pub(super) subject: Option<String>,
    /// What the payload is, if not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<Arc<str>>,
    /// Its text, as the producer wrote it.
    pub(super) payload: String,
    /// Its bytes in base64, where they are no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepInputs {
    pub(super) plugin: String,
    pub(super) version: String,
    pub(super) sha256: Sha256,
    pub(super) config: String,
    pub(super) on_error: OnError,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recorded {
    /// `send`, `drop` or `fail`.
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<RecordedMessage>,
    /// As in a delivery's own view.
    pub(super) steps: Vec<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecordedMessage {
    pub(super) content_type: String,
    pub(super) headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl RecordedMessage {
    /// The very bytes.
    pub(super) fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => STANDARD.decode(encoded).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

impl EventInputs {
    /// Whether its payload is a JSON text.
    pub(super) fn is_json(&self) -> bool {
        self.content_type.as_deref().is_none_or(media::is_json)
    }
}

impl Inputs {
    /// Asks the server.
    pub(super) async fn fetch(client: &Client, delivery: &str) -> Result<Self, Failure> {
        let value = client.get(&["deliveries", delivery, "inputs"], &[]).await?;
        serde_json::from_value(value)
            .map_err(|error| Failure::failed(format!("the server's answer is not inputs: {error}")))
    }

    /// Reads a file that [`Self::save`] wrote.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        serde_json::from_str(&input::text(file)?).map_err(|error| {
            Failure::usage(format!("{} does not hold a delivery's inputs: {error}", file.display()))
                .hint("`hookmill plugin replay dlv_… --save FILE` writes such a file")
        })
    }

    /// Writes a file that needs no server any more.
    pub(super) fn save(&self, file: &Path) -> Result<(), Failure> {
        let written = serde_json::to_string_pretty(self)
            .map_err(std::io::Error::other)
            .and_then(|text| fs::write(file, text + "\n"));
        written
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))
    }

    /// The component of a step: from this file, or else from the server.
    pub(super) async fn component(
        &mut self,
        client: impl Fn() -> Result<Client, Failure>,
        step: usize,
    ) -> Result<Bytes, Failure> {
        let StepInputs { plugin, version, sha256, .. } = self.pipeline[step].clone();
        if let Some(encoded) = self.components.get(&sha256.to_string()) {
            let bytes = STANDARD.decode(encoded).map_err(|error| {
                Failure::usage(format!("the file's component {sha256} is not base64: {error}"))
            })?;
            return Ok(bytes.into());
        }
        let client = client()?;
        // An application's own plugin hides a shared one of its name, which may be the one.
        for shared in [None, Some("true".to_owned())] {
            let path = ["plugins", &plugin, "versions", &version, "component"];
            match client.download(&path, &[("shared", shared)]).await {
                Ok(bytes) if Sha256::of(&bytes) == sha256 => {
                    self.components.insert(sha256.to_string(), STANDARD.encode(&bytes));
                    return Ok(bytes);
                }
                Ok(_) => {}
                Err(failure) if failure.exit() == Exit::Refused => {}
                Err(failure) => return Err(failure),
            }
        }
        let short: String = sha256.to_string().chars().take(12).collect();
        Err(Failure::failed(format!(
            "the server no longer has the component of {plugin}@{version} (sha256:{short}…)"
        ))
        .hint(format!("give one in its place: --component FILE --plugin {plugin}")))
    }

    /// The event as the server's plugins saw it.
    pub(super) fn event(&self) -> Result<Event, Failure> {
        let EventInputs { id, event_type, schema_version, application, occurred_at, .. } =
            self.event.clone();
        let event_type = event_type
            .parse()
            .map_err(|why| Failure::failed(format!("the event's type cannot be one: {why}")))?;
        let payload = match &self.event.payload_base64 {
            None => Bytes::from(self.event.payload.clone()),
            Some(text) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| Failure::failed("the event's payload is not base64"))?,
        };
        Ok(Event {
            id,
            // Plugins see its name only.
            application: ApplicationId::from_bytes([0; 16]),
            application_name: application,
            event_type,
            schema_version,
            subject: self.event.subject.clone(),
            occurred_at,
            accepted_at: occurred_at,
            trace: None,
            content_type: self.event.content_type.clone(),
            context: None,
            channels: Vec::new(),
            payload,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::cli::plugin) fn inputs(run: &Value) -> Inputs {
        let step = |name: &str| {
            json!({"plugin": name, "version": "0.1.0", "sha256": Sha256::of(b"x"), "kind": null,
                   "config": "{}", "on_error": "retry"})
        };
        serde_json::from_value(json!({
            "delivery_id": "dlv_1", "subscription_id": "sub_1",
            "event": {"id": "evt_00000000000000000000000001", "type": "a.b", "schema_version": 1,
                      "application": "shop", "occurred_at": "2026-01-02T03:04:05Z",
                      "subject": null, "payload": "{ \"n\":1.00}"},
            "pipeline": [step("one"), step("two")],
            "run": run,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_saved_file_needs_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let mut saved = inputs(&Value::Null);
        saved.components.insert(Sha256::of(b"x").to_string(), STANDARD.encode(b"x"));
        saved.save(&file).unwrap();
        let mut read = Inputs::read(&file).unwrap();
        let none = || Err(Failure::failed("no server"));
        assert_eq!(&read.component(none, 1).await.unwrap()[..], b"x");
        let event = read.event().unwrap();
        assert_eq!((&event.payload[..], &*event.application_name), (&b"{ \"n\":1.00}"[..], "shop"));
        std::fs::write(&file, "{}").unwrap();
        assert!(Inputs::read(&file).unwrap_err().text().contains("--save FILE"));
    }
}
