//! Event types that third parties name, made by the sources that may do so.
//!
//! Owns how many those are, and that the audit log says who made them. Never makes one of what
//! was not verified, nor of what is no event.

use std::sync::Arc;

use super::{NotTaken, Sources, refusal::Reason, refusal::Refusal};
use crate::{
    catalog::CatalogError,
    ingest::Rejected,
    model::{
        AuditEntry, AuditId, ChangeOutcome, Compatibility, EventTypeName, SchemaMode, Source, media,
    },
    store::StoreError,
};

/// Most event types that one source creates in its life.
const MAX_OF_ONE: u32 = 500;
/// With so many event types, whoever made them, no source creates more.
const MAX_OF_ALL: usize = 5_000;

impl Sources {
    /// Creates an event type that a third party named, unless there are too many.
    pub(super) async fn create_type(
        &self,
        source: &Source,
        name: EventTypeName,
    ) -> Result<(), NotTaken> {
        let unusable =
            |why: String| NotTaken::Unusable(Refusal::new(Reason::UnknownEventType, why));
        let failed = |error: StoreError| NotTaken::Rejected(Rejected::Store(error));
        // Held to the end, so that two at once are counted as two.
        let _changing = self.changing.lock().await;
        let Some(now) = self.source(source.id) else { return Err(NotTaken::Unverified) };
        if self.catalog.event_type(&name).is_some() {
            // Another request was faster.
            return Ok(());
        }
        let made = now.settings.created_event_types;
        if made >= MAX_OF_ONE {
            let why =
                format!("the source has created {MAX_OF_ONE} event types; it creates no more");
            return Err(unusable(why));
        }
        if self.catalog.event_type_count() >= MAX_OF_ALL {
            let why = format!("there are {MAX_OF_ALL} event types; sources create no more");
            return Err(unusable(why));
        }
        let mut entry = self.entry(source, &name);
        self.store.begin_audit(&entry).await.map_err(failed)?;
        let created = self.catalog.create_event_type(
            name,
            // Every application reads it: it says nothing of whose source that was.
            Some("Created by a source.".to_owned()),
            SchemaMode::Enforce,
            vec![media::JSON.to_owned()],
            Compatibility::default(),
            None,
        );
        match created.await {
            Ok(event_type) => {
                entry.after = serde_json::to_value(&event_type).ok();
                entry.outcome = ChangeOutcome::Done;
                self.store.end_audit(&entry).await.map_err(failed)?;
                let mut counted = Source::clone(&now);
                counted.settings.created_event_types = made + 1;
                self.store.put_source(&counted).await.map_err(failed)?;
                self.put(&Arc::new(counted));
                Ok(())
            }
            Err(error) => {
                self.store.drop_audit(entry.id).await.map_err(failed)?;
                match error {
                    // Somebody with a key was faster.
                    CatalogError::Exists => Ok(()),
                    CatalogError::Store(error) => Err(failed(error)),
                    other => Err(unusable(other.to_string())),
                }
            }
        }
    }

    fn entry(&self, source: &Source, name: &EventTypeName) -> AuditEntry {
        let at = self.clock.now();
        AuditEntry {
            id: AuditId::new(at),
            at,
            actor: source.id.to_string().into(),
            actor_name: source.name.as_str().into(),
            action: "create_event_type".to_owned(),
            resource: "event_type".to_owned(),
            resource_id: Some(name.to_string()),
            application: Some(source.application),
            request_id: String::new(),
            outcome: ChangeOutcome::Unknown,
            before: None,
            after: None,
        }
    }
}
