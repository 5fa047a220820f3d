//! Plugin versions, `live`, and what a move of it does to pipelines.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Catalog, CatalogError, Change, Result, refused,
    state::{PluginEntry, SubscriptionEntry},
};
use crate::{
    model::{
        ApplicationId, ChangeAction, PluginChange, PluginRef, PluginVersion, Rollout, Sha256, Step,
        Subscription, SubscriptionId,
    },
    schema::Validator,
};

/// Most moves of `live` that a rollback looks back over.
const HISTORY: u32 = 1_000;

/// How `live` moves.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    /// Whether configs that the version refuses are accepted.
    pub force: bool,
    /// Whose doing it is.
    pub by: &'a str,
}

/// Whether a plugin's versions are what a change is meant for.
pub trait Versions: FnOnce(&[Arc<PluginVersion>]) -> bool + Send {}
impl<F: FnOnce(&[Arc<PluginVersion>]) -> bool + Send> Versions for F {}

impl Catalog {
    pub(super) async fn load_plugins(&self) -> Result<()> {
        let versions = self.store.plugins().await.map_err(refused)?;
        self.runtime.keep_only(&versions.iter().map(|version| version.sha256).collect());
        let entries = versions.into_iter().map(stored_entry).collect::<Result<_>>()?;
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

    /// Whether every application may use such a version.
    pub fn is_shared_plugin(&self, name: &str, version: &str) -> bool {
        let state = self.read();
        let mut shared = state.plugins.iter().filter(|e| e.version.application.is_none());
        shared.any(|e| e.version.name == name && e.version.version == version)
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
        by: &str,
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
        let moved = version.live.then(|| PluginChange {
            application: version.application,
            name: version.name.clone(),
            action: ChangeAction::Upload,
            from: known.iter().find(|v| v.live).map(|v| v.version.clone()),
            to: Some(version.version.clone()),
            by: by.to_owned(),
            forced: false,
            note: None,
            at: self.clock.now(),
        });
        let followers = if version.live { self.follow(&added, false).await? } else { Vec::new() };
        self.store.add_plugin(&version, &component, moved.as_ref()).await.map_err(refused)?;
        {
            let mut state = self.write();
            state.plugins.push(added);
            state.plugins.sort_by(|a, b| {
                let (a, b) = (&a.version, &b.version);
                a.name.cmp(&b.name).then(b.created_at.cmp(&a.created_at))
            });
        }
        if version.live {
            self.now_live(&version, followers).await?;
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

    /// Moves `live` of a plugin, and ends its rollout, if the plugin's versions are still what the
    /// caller takes them for. Refused if a subscription's saved config does not satisfy the
    /// version's schema, unless forced.
    pub async fn set_live(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: &str,
        expected: impl Versions,
        how: Move<'_>,
    ) -> Result<Arc<PluginVersion>> {
        let _changing = self.changing.lock().await;
        self.expect(owner, name, expected)?;
        self.move_live(owner, name, version, ChangeAction::Promote, how).await
    }

    /// Moves `live` back to the version that was live before, on the same condition.
    pub async fn roll_back(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        expected: impl Versions,
        how: Move<'_>,
    ) -> Result<Arc<PluginVersion>> {
        let _changing = self.changing.lock().await;
        self.expect(owner, name, expected)?;
        let history = self.store.plugin_history(owner, name, None, HISTORY).await;
        let mut moves = history.map_err(refused)?.items;
        moves.reverse();
        let there: Vec<String> =
            self.versions(owner, name).into_iter().map(|v| v.version.clone()).collect();
        let before = live_before(moves.iter().map(|(_, change)| change), &there)
            .ok_or(CatalogError::NothingBefore)?;
        self.move_live(owner, name, &before, ChangeAction::Rollback, how).await
    }

    async fn move_live(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: &str,
        action: ChangeAction,
        how: Move<'_>,
    ) -> Result<Arc<PluginVersion>> {
        let wanted = self.version_entry(owner, name, version).ok_or(CatalogError::NotFound)?;
        self.ensure_loaded(wanted.version.sha256).await?;
        let followers = self.follow(&wanted, how.force).await?;
        let change = PluginChange {
            application: owner,
            name: name.to_owned(),
            action,
            from: self.versions(owner, name).iter().find(|v| v.live).map(|v| v.version.clone()),
            to: Some(version.to_owned()),
            by: how.by.to_owned(),
            forced: how.force,
            note: None,
            at: self.clock.now(),
        };
        self.store.set_live(&change).await.map_err(refused)?;
        self.now_live(&wanted.version, followers).await?;
        self.release_everywhere(&wanted.version.sha256, how.by).await?;
        self.versions(owner, name).into_iter().find(|v| v.live).ok_or(CatalogError::NotFound)
    }

    /// A version of exactly this owner.
    pub(super) fn version_entry(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: &str,
    ) -> Option<PluginEntry> {
        let state = self.read();
        let is =
            |v: &PluginVersion| v.application == owner && v.name == name && v.version == version;
        state.plugins.iter().find(|entry| is(&entry.version)).cloned()
    }

    /// Removes one version, or all with none, if they are still what the caller takes them for;
    /// refused while a subscription's pipeline uses it, or a rollout tries it.
    pub async fn delete_plugin(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        version: Option<&str>,
        expected: impl Versions,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.expect(owner, name, expected)?;
        let goes = |v: &PluginVersion| {
            v.application == owner
                && v.name == name
                && version.is_none_or(|wanted| v.version == wanted)
        };
        let users = self.users(|v| goes(v));
        if !users.is_empty() {
            return Err(CatalogError::InUse(super::list(&users)));
        }
        let tried = |rollout: &Rollout| version.is_none_or(|wanted| rollout.version == wanted);
        if self.rollout(owner, name).is_some_and(|rollout| tried(&rollout)) {
            return Err(CatalogError::InUse("its rollout: end that first".into()));
        }
        self.store.delete_plugin(owner, name, version).await.map_err(refused)?;
        self.write().plugins.retain(|entry| !goes(&entry.version));
        Ok(())
    }

    /// Refuses a change that is meant for other versions than there are.
    pub(super) fn expect(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        expected: impl Versions,
    ) -> Result<()> {
        let versions = self.versions(owner, name);
        if versions.is_empty() {
            return Err(CatalogError::NotFound);
        }
        if expected(&versions) { Ok(()) } else { Err(CatalogError::Changed) }
    }

    /// The versions of exactly this owner's plugin.
    pub fn versions(&self, owner: Option<ApplicationId>, name: &str) -> Vec<Arc<PluginVersion>> {
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
    /// then have; or those whose config it would break, unless that is forced.
    pub(super) async fn follow(
        &self,
        next: &PluginEntry,
        force: bool,
    ) -> Result<Vec<SubscriptionEntry>> {
        let mut followers = Vec::new();
        let mut broken = Vec::new();
        for subscription in self.followers(&next.version) {
            match self.resolved(&subscription, std::slice::from_ref(next), !force).await {
                Ok(entry) => followers.push(entry),
                Err(CatalogError::BadConfig { .. }) => broken.push(subscription.id),
                Err(other) => return Err(other),
            }
        }
        if broken.is_empty() { Ok(followers) } else { Err(CatalogError::BreaksConfigs(broken)) }
    }

    /// The subscriptions with a step that follows the plugin's live version.
    pub(super) fn followers(&self, version: &PluginVersion) -> Vec<Arc<Subscription>> {
        let state = self.read();
        let subscriptions = state.subscriptions.values().map(|e| &e.subscription);
        let followers =
            subscriptions.filter(|s| s.pipeline.iter().any(|step| state.follows(s, step, version)));
        followers.cloned().collect()
    }

    async fn now_live(
        &self,
        version: &PluginVersion,
        followers: Vec<SubscriptionEntry>,
    ) -> Result<()> {
        {
            let mut state = self.write();
            state.rollouts.retain(|rollout| !is_of(rollout, version));
            for entry in &mut state.plugins {
                let other = &entry.version;
                if other.application == version.application && other.name == version.name {
                    let live = other.version == version.version;
                    if other.live != live {
                        entry.version = Arc::new(PluginVersion { live, ..(**other).clone() });
                    }
                }
            }
        }
        self.tell(Change::Rollouts);
        self.put_entries(followers).await
    }

    /// Replaces subscriptions' pipelines; what waited for a version to come back into service
    /// is due if it has.
    pub(super) async fn put_entries(&self, entries: Vec<SubscriptionEntry>) -> Result<()> {
        let mut waited = Vec::new();
        {
            let mut state = self.write();
            for entry in entries {
                let id = entry.subscription.id;
                if state.held_back(id) {
                    waited.push(id);
                }
                state.put_subscription(entry);
            }
            state.gather_shadows();
        }
        for id in waited {
            self.resume_if_possible(id).await?;
        }
        Ok(())
    }
}

/// Whether a rollout is one of the plugin that a version is of.
fn is_of(rollout: &Rollout, version: &PluginVersion) -> bool {
    rollout.application == version.application && rollout.name == version.name
}

/// Of a plugin's history, oldest first: the version that was live before the one that is,
/// of those that are there still. A rollback is no step forward to go back from.
fn live_before<'a>(
    history: impl Iterator<Item = &'a PluginChange>,
    there: &[String],
) -> Option<String> {
    let mut live: Vec<&String> = Vec::new();
    for change in history.filter(|change| change.action.moves_live()) {
        let Some(to) = &change.to else { continue };
        if live.is_empty() {
            live.extend(&change.from);
        }
        if change.action == ChangeAction::Rollback {
            live.pop();
            while live.last().is_some_and(|last| *last != to) {
                live.pop();
            }
            if live.is_empty() {
                live.push(to);
            }
        } else if live.last() != Some(&to) {
            live.push(to);
        }
    }
    let now = live.pop()?;
    live.into_iter().rev().find(|version| *version != now && there.contains(version)).cloned()
}

fn stored_entry(version: PluginVersion) -> Result<PluginEntry> {
    let config = Validator::compile_stored(&version.manifest.config_schema, &version.name)
        .map_err(CatalogError::Schema)?;
    Ok(PluginEntry { version: Arc::new(version), config: Arc::new(config) })
}

fn entry(version: PluginVersion) -> Result<PluginEntry> {
    let config =
        Validator::compile(&version.manifest.config_schema).map_err(CatalogError::Schema)?;
    Ok(PluginEntry { version: Arc::new(version), config: Arc::new(config) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn change(action: ChangeAction, from: Option<&str>, to: &str) -> PluginChange {
        PluginChange {
            application: None,
            name: "redact".into(),
            action,
            from: from.map(Into::into),
            to: Some(to.into()),
            by: "key".into(),
            forced: false,
            note: None,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_rollback_goes_back_step_by_step_and_not_in_circles() {
        use ChangeAction::{Promote, Rollback, Upload};
        let there = ["1", "2", "3"].map(String::from);
        let mut history = vec![
            change(Upload, None, "1"),
            change(Upload, Some("1"), "2"),
            change(Promote, Some("2"), "3"),
        ];
        let before = |history: &[PluginChange]| live_before(history.iter(), &there);
        assert_eq!(before(&history[..1]), None);
        assert_eq!(before(&history), Some("2".into()));
        history.push(change(Rollback, Some("3"), "2"));
        assert_eq!(before(&history), Some("1".into()));
        history.push(change(Rollback, Some("2"), "1"));
        assert_eq!(before(&history), None);
        history.push(change(Promote, Some("1"), "3"));
        assert_eq!(before(&history), Some("1".into()));
    }

    #[test]
    fn a_version_that_is_gone_is_passed_over_and_an_older_history_begins_with_what_was_live() {
        use ChangeAction::Promote;
        let history = [change(Promote, Some("1"), "2"), change(Promote, Some("2"), "3")];
        assert_eq!(live_before(history.iter(), &["1".into(), "3".into()]), Some("1".into()));
        assert_eq!(live_before(history.iter(), &["3".into()]), None);
    }
}
