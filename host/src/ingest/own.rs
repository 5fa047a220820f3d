//! The server's own events: published by no producer, checked by no schema of anybody's.

use bytes::Bytes;
use serde_json::Value;

use super::{Checked, Ingest, Publish, Rejected, Turn};
use crate::model::{Application, EventId, EventTypeName, Lifecycle, SubscriptionId};

/// An event of the server's own.
#[derive(Debug, Clone)]
pub struct OwnEvent {
    /// Its type, a reserved one.
    pub event_type: &'static str,
    /// What it is about.
    pub subject: Option<String>,
    /// A JSON text.
    pub payload: Bytes,
}

impl Ingest {
    /// Publishes an event of the server's own for those of an application's subscriptions that
    /// name it and pass `wanted`. Nothing is stored if there are none.
    pub async fn publish_own(
        &self,
        application: &Application,
        event: OwnEvent,
        wanted: impl Fn(SubscriptionId) -> bool,
    ) -> Result<Option<EventId>, Rejected> {
        let unknown = |_| Rejected::UnknownEventType {
            name: event.event_type.to_owned(),
            did_you_mean: None,
        };
        let event_type: EventTypeName = event.event_type.parse().map_err(unknown)?;
        let checked = Checked {
            event_type,
            schema_version: 1,
            violations: Vec::new(),
            accepted_at: self.shared.clock.now(),
            lifecycle: Lifecycle::default(),
        };
        let publish = Publish {
            event_type: event.event_type.to_owned(),
            payload: event.payload,
            id: None,
            idempotency_key: None,
            subject: event.subject,
            occurred_at: None,
            schema_version: None,
            channels: Vec::new(),
            trace: None,
            content_type: None,
            context: None,
        };
        let payload: Option<Value> = serde_json::from_slice(&publish.payload).ok();
        let mut matches = {
            let facts = checked.facts(&publish, payload.as_ref());
            self.shared.catalog.matching(application.id, &facts)
        };
        drop(payload);
        matches.retain(|found| wanted(found.subscription));
        if matches.is_empty() {
            return Ok(None);
        }
        let turn = &mut Turn::alone(checked.accepted_at);
        let (receipt, _) =
            self.persist(application, checked, publish, (Vec::new(), turn), &matches).await?;
        Ok(Some(receipt.id))
    }

    /// How many events wait for their transaction.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}
