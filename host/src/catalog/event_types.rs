//! Event types and their schemas.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Catalog, CatalogError, EventTypeEntry, LifecycleChange, Result, refused, state::closest,
};
use crate::{
    model::{Compatibility, EventType, EventTypeName, Lifecycle, SchemaMode, SchemaVersion},
    schema::{Finding, Validator},
    store::StoreError,
};

/// Changes to an event type; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct EventTypeChange {
    /// For people; some none removes it.
    pub description: Option<Option<String>>,
    /// What a violation of its schema leads to.
    pub mode: Option<SchemaMode>,
    /// What its payloads may be.
    pub content_types: Option<Vec<String>>,
    /// What a new version must be to the last.
    pub compatibility: Option<Compatibility>,
    /// How it ends.
    pub lifecycle: LifecycleChange,
    /// Whether it takes no more events, from now on.
    pub archived: Option<bool>,
}

impl Catalog {
    pub(super) async fn load_event_types(&self) -> Result<()> {
        for event_type in self.store.event_types().await.map_err(refused)? {
            let schemas = self.store.schemas(&event_type.name).await.map_err(refused)?;
            let validators = schemas
                .iter()
                .map(|version| {
                    Validator::compile_stored(&version.schema, &event_type.name).map(Arc::new)
                })
                .collect::<std::result::Result<_, _>>()
                .map_err(CatalogError::Schema)?;
            let lifecycles = schemas.iter().map(|version| version.lifecycle).collect();
            self.put_event_type(event_type, validators, lifecycles);
        }
        Ok(())
    }

    fn put_event_type(
        &self,
        event_type: EventType,
        validators: Vec<Arc<Validator>>,
        lifecycles: Vec<Lifecycle>,
    ) {
        let name = event_type.name.clone();
        let entry = Arc::new(EventTypeEntry {
            event_type,
            validators,
            lifecycles,
            cost: super::Cost::default(),
        });
        self.write().event_types.insert(name, entry);
    }

    /// An event type by name.
    pub fn event_type(&self, name: &EventTypeName) -> Option<Arc<EventTypeEntry>> {
        self.read().event_types.get(name).cloned()
    }

    /// The known event type that `name` most likely was meant to be.
    pub fn closest_event_type(&self, name: &str) -> Option<EventTypeName> {
        if name.len() > EventTypeName::MAX_BYTES {
            return None;
        }
        // Nobody who changes the catalog waits for the comparing, and so nobody else.
        let known: Vec<EventTypeName> = self.read().event_types.keys().cloned().collect();
        let found = closest(name, known.iter().map(EventTypeName::as_str))?;
        known.iter().find(|known| known.as_str() == found).cloned()
    }

    /// How many there are.
    pub fn event_type_count(&self) -> usize {
        self.read().event_types.len()
    }

    /// All of them by name, with violations counted up to now.
    pub async fn event_types(&self) -> Result<Vec<EventType>> {
        self.store.event_types().await.map_err(refused)
    }

    /// Adds an event type, with its first schema if there is one.
    pub async fn create_event_type(
        &self,
        name: EventTypeName,
        description: Option<String>,
        mode: SchemaMode,
        content_types: Vec<String>,
        compatibility: Compatibility,
        schema: Option<Value>,
    ) -> Result<EventType> {
        let validator = match &schema {
            Some(schema) => Some(self.compile(schema).await?),
            None => None,
        };
        let _changing = self.changing.lock().await;
        let event_type = EventType {
            name,
            description,
            mode,
            content_types,
            latest_version: u32::from(schema.is_some()),
            violations: 0,
            created_at: self.clock.now(),
            compatibility,
            lifecycle: Lifecycle::default(),
            archived_at: None,
        };
        self.store.create_event_type(&event_type, schema.as_ref()).await.map_err(refused)?;
        let lifecycles = validator.iter().map(|_| Lifecycle::default()).collect();
        self.put_event_type(event_type.clone(), validator.into_iter().collect(), lifecycles);
        Ok(event_type)
    }

    /// Changes what can be changed, if the event type is still what the caller takes it for: all
    /// of it, or nothing.
    pub async fn change_event_type(
        &self,
        name: &EventTypeName,
        expected: impl FnOnce(&EventType) -> bool + Send,
        change: EventTypeChange,
    ) -> Result<EventType> {
        let _changing = self.changing.lock().await;
        let entry = self.event_type(name).ok_or(CatalogError::NotFound)?;
        if !expected(&entry.event_type) {
            return Err(CatalogError::Changed);
        }
        // Read first, for its count: nothing may fail between the change and memory.
        let before = self.store.event_type(name).await.map_err(refused)?;
        let archived_at = match change.archived {
            Some(true) => before.archived_at.or_else(|| Some(self.clock.now())),
            Some(false) => None,
            None => before.archived_at,
        };
        let changed = EventType {
            description: change.description.unwrap_or(before.description),
            mode: change.mode.unwrap_or(before.mode),
            content_types: change.content_types.unwrap_or(before.content_types),
            compatibility: change.compatibility.unwrap_or(before.compatibility),
            lifecycle: self.lifecycle(before.lifecycle, change.lifecycle)?,
            archived_at,
            ..before
        };
        self.store.change_event_type(&changed).await.map_err(refused)?;
        self.replace_event_type(EventTypeEntry {
            event_type: changed.clone(),
            validators: entry.validators.clone(),
            lifecycles: entry.lifecycles.clone(),
            cost: entry.cost.clone(),
        });
        Ok(changed)
    }

    /// Removes an event type and its schemas, if it is still what the caller takes it for;
    /// refused while events of it are stored.
    pub async fn delete_event_type(
        &self,
        name: &EventTypeName,
        expected: impl FnOnce(&EventType) -> bool + Send,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let entry = self.event_type(name).ok_or(CatalogError::NotFound)?;
        if !expected(&entry.event_type) {
            return Err(CatalogError::Changed);
        }
        self.store.delete_event_type(name).await.map_err(|error| match error {
            StoreError::InUse(_) => CatalogError::InUse("stored events of this type".to_owned()),
            other => refused(other),
        })?;
        self.write().event_types.remove(name);
        Ok(())
    }

    /// Adds the next version of an event type's schema. Refused if `accept` does not take what
    /// stands between it and the last, as far as the type's mode or `mode` asks.
    pub async fn add_schema(
        &self,
        name: &EventTypeName,
        schema: Value,
        mode: Option<Compatibility>,
        accept: impl Fn(&Finding) -> bool + Send,
    ) -> Result<SchemaVersion> {
        let validator = self.compile(&schema).await?;
        let (_changing, entry) = loop {
            let entry = self.event_type(name).ok_or(CatalogError::NotFound)?;
            let mode = mode.unwrap_or(entry.event_type.compatibility);
            if mode != Compatibility::None {
                let (_, found) = self.compare_schema(name, &schema, mode).await?;
                if !found.iter().all(&accept) {
                    return Err(CatalogError::Incompatible(mode, found));
                }
            }
            // A comparison may take seconds: other changes do not wait for it. What it was made
            // for must still be so.
            let changing = self.changing.lock().await;
            let now = self.event_type(name).ok_or(CatalogError::NotFound)?;
            let (before, after) = (&entry.event_type, &now.event_type);
            if (before.latest_version, before.compatibility, before.created_at)
                == (after.latest_version, after.compatibility, after.created_at)
            {
                break (changing, now);
            }
        };
        let now = self.clock.now();
        let version = self.store.add_schema(name, &schema, now).await.map_err(refused)?;
        let mut validators = entry.validators.clone();
        validators.push(validator);
        let event_type = EventType { latest_version: version, ..entry.event_type.clone() };
        let mut lifecycles = entry.lifecycles.clone();
        lifecycles.push(Lifecycle::default());
        self.put_event_type(event_type, validators, lifecycles);
        Ok(SchemaVersion { version, schema, created_at: now, lifecycle: Lifecycle::default() })
    }

    /// All versions of an event type's schema, oldest first.
    pub async fn schemas(&self, name: &EventTypeName) -> Result<Vec<SchemaVersion>> {
        if self.event_type(name).is_none() {
            return Err(CatalogError::NotFound);
        }
        self.store.schemas(name).await.map_err(refused)
    }

    /// Compiles a schema, in the workshop.
    pub async fn compile(&self, schema: &Value) -> Result<Arc<Validator>> {
        let schema = schema.clone();
        let compiled = self.workshop.run(move |_| Validator::compile(&schema)).await?;
        compiled.map(Arc::new).map_err(CatalogError::Schema)
    }
}
