//! How event types change: schemas that must fit the last, deprecation, archiving.

use std::sync::Arc;

use serde_json::Value;

use super::{Catalog, CatalogError, EventTypeEntry, Result, refused};
use crate::{
    model::{Compatibility, EventTypeName, Lifecycle, SchemaVersion},
    schema::{Finding, compare},
};

/// Changes to how a type or a version ends; what is none stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct LifecycleChange {
    /// Whether it is deprecated, from now on.
    pub deprecated: Option<bool>,
    /// When it is said to end.
    pub sunset_at: Option<Option<crate::model::Timestamp>>,
}

impl Catalog {
    /// What stands between the newest schema of a type and a new one. Nothing if it has none.
    pub async fn compare_schema(
        &self,
        name: &EventTypeName,
        schema: &Value,
        mode: Compatibility,
    ) -> Result<(u32, Vec<Finding>)> {
        let Some(last) = self.schemas(name).await?.pop() else { return Ok((0, Vec::new())) };
        let new = schema.clone();
        let compared = self.workshop.run(move |stop| compare(&last.schema, &new, mode, stop));
        let found = compared.await?;
        Ok((last.version, found))
    }

    /// How something ends after a change. Refused: an end for what is not deprecated.
    pub(super) fn lifecycle(
        &self,
        before: Lifecycle,
        change: LifecycleChange,
    ) -> Result<Lifecycle> {
        let deprecated_at = match change.deprecated {
            Some(true) => before.deprecated_at.or_else(|| Some(self.clock.now())),
            Some(false) => None,
            None => before.deprecated_at,
        };
        if deprecated_at.is_none() {
            // It does not end: what it had of an end goes, a new one cannot be meant.
            let is_given = matches!(change.sunset_at, Some(Some(_)));
            return if is_given {
                Err(CatalogError::NotDeprecated)
            } else {
                Ok(Lifecycle::default())
            };
        }
        let sunset_at = change.sunset_at.unwrap_or(before.sunset_at);
        Ok(Lifecycle { deprecated_at, sunset_at })
    }

    /// Changes how one version of a schema ends, if it is still what the caller takes it for.
    pub async fn change_schema_lifecycle(
        &self,
        name: &EventTypeName,
        version: u32,
        expected: impl FnOnce(&SchemaVersion) -> bool + Send,
        change: LifecycleChange,
    ) -> Result<SchemaVersion> {
        let _changing = self.changing.lock().await;
        let entry = self.event_type(name).ok_or(CatalogError::NotFound)?;
        let index = version.checked_sub(1).map_or(usize::MAX, |index| index as usize);
        let before = entry.lifecycles.get(index).copied().ok_or(CatalogError::NotFound)?;
        let mut all = self.schemas(name).await?.into_iter();
        let shown = all.find(|schema| schema.version == version).ok_or(CatalogError::NotFound)?;
        if !expected(&shown) {
            return Err(CatalogError::Changed);
        }
        let lifecycle = self.lifecycle(before, change)?;
        let saved = self.store.set_schema_lifecycle(name, version, lifecycle).await;
        saved.map_err(refused)?;
        let mut lifecycles = entry.lifecycles.clone();
        lifecycles[index] = lifecycle;
        self.replace_event_type(EventTypeEntry {
            event_type: entry.event_type.clone(),
            validators: entry.validators.clone(),
            lifecycles,
            cost: entry.cost.clone(),
        });
        Ok(SchemaVersion { lifecycle, ..shown })
    }

    pub(super) fn replace_event_type(&self, entry: EventTypeEntry) {
        let name = entry.event_type.name.clone();
        self.write().event_types.insert(name, Arc::new(entry));
    }
}
