//! Plugin versions, `live`, and what a move of it does to pipelines.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Catalog, CatalogError, Result, refused,
    state::{PluginEntry, SubscriptionEntry},
};
use crate::{
    model::{ApplicationId, PluginRef, PluginVersion, Sha256, Step, Subscription, SubscriptionId},
    schema::Validator,
};

impl Catalog {
    pub(super) async fn load_plugins(&self) -> Result<()> {
        let versions = self.store.plugins().await.map_err(refused)?;
        self.runtime.keep_only(&versions.iter().map(|version| version.sha256).collect());
        let entries = versions.into_iter().map(entry).collect::<Result<_>>()?;
        self.write().plugins = entries;
        Ok(())
    }

    /// Every version of every plugin the application sees: its own and shared ones, by name,
    /// newest first.
    pub fn plugins(&self, application: ApplicationId) -> Vec<Arc<PluginVersion>> {
        let sees = |owner: Option<ApplicationId>| owner.is_none_or(|id| id == application);
        let state = self.read();
        state.plugins.iter().map(|e| e.version.clone()).filter(|v| sees(v.application)).collect()
    }

    /// How many plugins there are, all applications' together, whatever their versions.
    pub fn plugin_count(&self) -> usize {
        let state = self.read();
        let names: std::collections::HashSet<_> =
            state.plugins.iter().map(|e| (e.version.application, &e.version.name)).collect();
        names.len()
    }

    /// The version a reference means to an application: pinned, or live.
    pub fn plugin(
        &self,
        application: ApplicationId,
        plugin: &PluginRef,
    ) -> Option<Arc<PluginVersion>> {
        self.read().plugin(application, plugin).map(|entry| entry.version.clone())
    }

    /// Makes a component runnable: from the cache, or from the store.
    pub async fn ensure_loaded(&self, sha256: Sha256) -> Result<()> {
        if self.runtime.is_loaded(&sha256) || self.runtime.load_cached(sha256).await {
            return Ok(());
        }
        let component = self.store.component(&sha256).await.map_err(refused)?;
        let loaded = self.runtime.load(sha256, component).await;
        loaded.map_err(|rejection| CatalogError::Unloadable(rejection.detail))
    }

    /// Adds a version; `live` in it says whether `live` moves to it (it always does for a
    /// first version). The same bytes again change nothing; other bytes under the same
    /// version: `Exists`.
    pub async fn add_plugin(
        &self,
        mut version: PluginVersion,
        component: Bytes,
    ) -> Result<Arc<PluginVersion>> {
        let _changing = self.changing.lock().await;
        let known = self.versions(version.application, &version.name);
        if let Some(same) = known.iter().find(|v| v.version == version.version) {
            return if same.sha256 == version.sha256 {
                Ok(same.clone())
            } else {
                Err(CatalogError::Exists)
            };
        }
        version.live |= known.is_empty();
        let added = entry(version)?;
        let version = added.version.clone();
        let followers = if version.live { self.follow(&added).await? } else { Vec::new() };
        self.store.add_plugin(&version, &component).await.map_err(refused)?;
        let mut state = self.write();
        state.plugins.push(added);
        state.plugins.sort_by(|a, b| {
            let (a, b) = (&a.version, &b.version);
            a.name.cmp(&b.name).then(b.created_at.cmp(&a.created_at))
        });
        drop(state);
        if version.live {
            self.now_live(&version, followers);
        }
        Ok(version)
    }

    /// Forgets an upload that was refused, unless a version has the same bytes.
    pub async fn forget_upload(&self, sha256: Sha256) {
        let _changing = self.changing.lock().await;
        if !self.read().plugins.iter().any(|entry| entry.version.sha256 == sha256) {
            self.runtime.unload(&sha256);
        }
    }

    /// Moves `live` of a plugin. Refused if a subscription's saved config does not satisfy
    /// the version's schema.
    pub async fn set_live(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: &str,
    ) -> Result<Arc<PluginVersion>> {
        let _changing = self.changing.lock().await;
        let wanted = self
            .read()
            .plugins
            .iter()
            .find(|e| {
                e.version.application == owner
                    && e.version.name == name
                    && e.version.version == version
            })
            .cloned()
            .ok_or(CatalogError::NotFound)?;
        self.ensure_loaded(wanted.version.sha256).await?;
        let followers = self.follow(&wanted).await?;
        self.store.set_live(owner, name, version).await.map_err(refused)?;
        self.now_live(&wanted.version, followers);
        self.versions(owner, name).into_iter().find(|v| v.live).ok_or(CatalogError::NotFound)
    }

    /// Removes one version, or all with none; refused while a subscription's pipeline uses it.
    pub async fn delete_plugin(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: Option<&str>,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let goes = |v: &PluginVersion| {
            v.application == owner
                && v.name == name
                && version.is_none_or(|wanted| v.version == wanted)
        };
        let users = self.users(|v| goes(v));
        if !users.is_empty() {
            return Err(CatalogError::InUse(super::list(&users)));
        }
        self.store.delete_plugin(owner, name, version).await.map_err(refused)?;
        self.write().plugins.retain(|entry| !goes(&entry.version));
        Ok(())
    }

    fn versions(&self, owner: Option<ApplicationId>, name: &str) -> Vec<Arc<PluginVersion>> {
        let state = self.read();
        let all = state.plugins.iter().map(|e| &e.version);
        all.filter(|v| v.application == owner && v.name == name).cloned().collect()
    }

    /// Subscriptions of whose pipeline a version is part.
    fn users(&self, goes: impl Fn(&PluginVersion) -> bool) -> Vec<SubscriptionId> {
        let state = self.read();
        let uses = |subscription: &Subscription, step: &Step| {
            state.plugin(subscription.application, &step.plugin).is_some_and(|e| goes(&e.version))
        };
        let subscriptions = state.subscriptions.values().map(|e| &e.subscription);
        subscriptions
            .filter(|subscription| {
                subscription.pipeline.iter().any(|step| uses(subscription, step))
            })
            .map(|subscription| subscription.id)
            .collect()
    }

    /// The subscriptions whose pipelines change when `next` goes live, with the pipelines they
    /// then have; or those whose config it would break.
    async fn follow(&self, next: &PluginEntry) -> Result<Vec<SubscriptionEntry>> {
        let affected: Vec<Arc<Subscription>> = {
            let state = self.read();
            let subscriptions = state.subscriptions.values().map(|e| &e.subscription);
            subscriptions
                .filter(|s| s.pipeline.iter().any(|step| follows(s, step, next)))
                .cloned()
                .collect()
        };
        let mut followers = Vec::with_capacity(affected.len());
        let mut broken = Vec::new();
        for subscription in affected {
            match self.resolve(&subscription, Some(next)).await {
                Ok(pipeline) => followers.push(SubscriptionEntry { subscription, pipeline }),
                Err(CatalogError::BadConfig { .. }) => broken.push(subscription.id),
                Err(other) => return Err(other),
            }
        }
        if broken.is_empty() { Ok(followers) } else { Err(CatalogError::BreaksConfigs(broken)) }
    }

    fn now_live(&self, version: &PluginVersion, followers: Vec<SubscriptionEntry>) {
        let mut state = self.write();
        for entry in &mut state.plugins {
            let other = &entry.version;
            if other.application == version.application && other.name == version.name {
                let live = other.version == version.version;
                if other.live != live {
                    entry.version = Arc::new(PluginVersion { live, ..(**other).clone() });
                }
            }
        }
        for follower in followers {
            state.put_subscription(follower);
        }
    }
}

/// Whether a step runs `next` once it is live.
pub(super) fn follows(subscription: &Subscription, step: &Step, next: &PluginEntry) -> bool {
    step.plugin.version.is_none()
        && step.plugin.name == next.version.name
        && next.version.application.is_none_or(|owner| owner == subscription.application)
}

fn entry(version: PluginVersion) -> Result<PluginEntry> {
    let config =
        Validator::compile(&version.manifest.config_schema).map_err(CatalogError::Schema)?;
    Ok(PluginEntry { version: Arc::new(version), config: Arc::new(config) })
}
