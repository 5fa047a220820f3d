//! Versions out of service for an application: its deliveries through them wait, held.

use std::{collections::HashMap, sync::Arc};

use super::{Catalog, CatalogError, Result, refused, rollout::SERVER};
use crate::model::{ApplicationId, ChangeAction, PluginChange, Quarantine, Sha256, SubscriptionId};

impl Catalog {
    pub(super) async fn load_quarantines(&self) -> Result<()> {
        let all = self.store.quarantines().await.map_err(refused)?;
        let by_key = |q: Quarantine| ((q.application, q.sha256), Arc::new(q));
        self.write().quarantines = all.into_iter().map(by_key).collect::<HashMap<_, _>>();
        Ok(())
    }

    /// The quarantine of a version for an application, if it is in one.
    pub fn quarantine_of(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
    ) -> Option<Arc<Quarantine>> {
        self.read().quarantines.get(&(application, *sha256)).cloned()
    }

    /// How many versions are out of service.
    pub fn quarantine_count(&self) -> usize {
        self.read().quarantines.len()
    }

    /// Takes a version out of service for an application, unless it was brought back since that
    /// was concluded. Answers whether it did.
    pub async fn quarantine(&self, quarantine: Quarantine) -> Result<bool> {
        let _changing = self.changing.lock().await;
        let key = (quarantine.application, quarantine.sha256);
        let forgiven = self.read().released.get(&key).is_some_and(|&at| quarantine.at < at);
        if forgiven || self.quarantine_of(key.0, &key.1).is_some() {
            return Ok(false);
        }
        let change = self.quarantine_change(&quarantine, ChangeAction::Quarantine, SERVER);
        self.store.quarantine(&quarantine, &change).await.map_err(refused)?;
        self.write().quarantines.insert(key, Arc::new(quarantine));
        Ok(true)
    }

    /// Brings a version back into service: what waited for it is due.
    pub async fn release(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
        by: &str,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.release_now(application, sha256, by).await
    }

    async fn release_now(
        &self,
        application: ApplicationId,
        sha256: &Sha256,
        by: &str,
    ) -> Result<()> {
        let quarantine = self.quarantine_of(application, sha256).ok_or(CatalogError::NotFound)?;
        let change = self.quarantine_change(&quarantine, ChangeAction::Release, by);
        self.store.release_quarantine(application, sha256, &change).await.map_err(refused)?;
        let waiting: Vec<SubscriptionId> = {
            let mut state = self.write();
            let held = |id: &SubscriptionId| state.held_back(*id);
            let waiting = state.subscriptions.keys().copied().filter(held).collect();
            state.quarantines.remove(&(application, *sha256));
            state.released.insert((application, *sha256), change.at);
            waiting
        };
        for id in waiting {
            self.resume_if_possible(id).await?;
        }
        Ok(())
    }

    /// Brings a version back into service for everybody: whoever makes it live, or tries it,
    /// says that it may run.
    pub(super) async fn release_everywhere(&self, sha256: &Sha256, by: &str) -> Result<()> {
        let found: Vec<ApplicationId> = {
            let state = self.read();
            let keys = state.quarantines.keys().filter(|(_, known)| known == sha256);
            keys.map(|(application, _)| *application).collect()
        };
        for application in found {
            self.release_now(application, sha256, by).await?;
        }
        Ok(())
    }

    fn quarantine_change(
        &self,
        quarantine: &Quarantine,
        action: ChangeAction,
        by: &str,
    ) -> PluginChange {
        let application = quarantine.application;
        let owner = {
            let state = self.read();
            let mut versions = state.plugins.iter().map(|entry| &entry.version);
            versions
                .find(|v| {
                    v.name == quarantine.name
                        && v.sha256 == quarantine.sha256
                        && v.application.is_none_or(|owner| owner == application)
                })
                .map_or(Some(application), |v| v.application)
        };
        PluginChange {
            application: owner,
            name: quarantine.name.clone(),
            action,
            from: Some(quarantine.version.clone()),
            to: None,
            by: by.to_owned(),
            forced: false,
            note: Some(quarantine.reason.clone()),
            at: self.clock.now(),
        }
    }
}
