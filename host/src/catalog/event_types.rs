//! Event types and their schemas.

use std::sync::Arc;

use serde_json::Value;

use super::{Catalog, CatalogError, EventTypeEntry, Result, refused, state::closest};
use crate::{
    model::{Compatibility, EventType, EventTypeName, Lifecycle, SchemaMode, SchemaVersion},
    schema::{Finding, Validator},
    store::StoreError,
};

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
        let state = self.read();
        let known = state.event_types.keys().map(EventTypeName::as_str);
        closest(name, known).and_then(|name| name.parse().ok())
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
        let validator = schema.as_ref().map(compile).transpose()?;
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

    /// Changes what can be changed, if the event type is still what the caller takes it for.
    pub async fn change_event_type(
        &self,
        name: &EventTypeName,
        expected: impl FnOnce(&EventType) -> bool + Send,
        description: Option<String>,
        mode: SchemaMode,
        content_types: Vec<String>,
    ) -> Result<EventType> {
        let _changing = self.changing.lock().await;
        let entry = self.event_type(name).ok_or(CatalogError::NotFound)?;
        if !expected(&entry.event_type) {
            return Err(CatalogError::Changed);
        }
        let changed = EventType { description, mode, content_types, ..entry.event_type.clone() };
        self.store.change_event_type(&changed).await.map_err(refused)?;
        let event_type = self.store.event_type(name).await.map_err(refused)?;
        self.put_event_type(event_type.clone(), entry.validators.clone(), entry.lifecycles.clone());
        Ok(event_type)
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
        let validator = compile(&schema)?;
        let _changing = self.changing.lock().await;
        let entry = self.event_type(name).ok_or(CatalogError::NotFound)?;
        let mode = mode.unwrap_or(entry.event_type.compatibility);
        if mode != Compatibility::None {
            let (_, found) = self.compare_schema(name, &schema, mode).await?;
            if !found.iter().all(accept) {
                return Err(CatalogError::Incompatible(mode, found));
            }
        }
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
}

fn compile(schema: &Value) -> Result<Arc<Validator>> {
    Validator::compile(schema).map(Arc::new).map_err(CatalogError::Schema)
}
