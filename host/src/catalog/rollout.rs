//! Candidates tried on live events: canaries and shadows. Which events a canary takes is said
//! in [`super::Match`]; what is made of the comparison is decided elsewhere.

use std::sync::Arc;

use super::{Catalog, CatalogError, Change, Result, refused, state::PluginEntry};
use crate::model::{
    ApplicationId, ChangeAction, Pipeline, PipelineId, PluginChange, Rollout, RolloutMode, Sha256,
    Subscription,
};

/// The candidates that concern a subscription.
pub(super) struct Candidates {
    /// With their shares, the smallest first.
    pub(super) canaries: Vec<(u16, PluginEntry)>,
    pub(super) shadows: Vec<PluginEntry>,
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy)]
enum Ended<'a> {
    /// By request of this key's owner.
    By(&'a str),
    /// By the server, for this reason.
    Stopped(&'a str),
}

impl Catalog {
    pub(super) async fn load_rollouts(&self) -> Result<()> {
        let rollouts = self.store.rollouts().await.map_err(refused)?;
        self.write().rollouts = rollouts.into_iter().map(Arc::new).collect();
        Ok(())
    }

    /// The rollout of a plugin, if there is one.
    pub fn rollout(&self, owner: Option<ApplicationId>, name: &str) -> Option<Arc<Rollout>> {
        let state = self.read();
        state.rollouts.iter().find(|r| r.application == owner && r.name == name).cloned()
    }

    /// All rollouts, each with the components of its candidate and of the live version.
    pub fn rollouts(&self) -> Vec<(Arc<Rollout>, Sha256, Sha256)> {
        let state = self.read();
        let components = |rollout: &Rollout| {
            let mut versions = state.plugins.iter().map(|entry| &entry.version);
            let mine = |v: &Arc<crate::model::PluginVersion>| {
                v.application == rollout.application && v.name == rollout.name
            };
            let candidate = versions.clone().find(|v| mine(v) && v.version == rollout.version)?;
            let live = versions.find(|v| mine(v) && v.live)?;
            Some((candidate.sha256, live.sha256))
        };
        let rollouts = state.rollouts.iter();
        rollouts
            .filter_map(|rollout| {
                components(rollout).map(|(candidate, live)| (rollout.clone(), candidate, live))
            })
            .collect()
    }

    /// Starts trying a candidate, in place of the one tried before, if that is still what the
    /// caller takes it for. Refused if a saved config does not satisfy its schema.
    pub async fn start_rollout(
        &self,
        rollout: Rollout,
        expected: impl FnOnce(Option<&Rollout>) -> bool + Send,
        by: &str,
    ) -> Result<Arc<Rollout>> {
        let _changing = self.changing.lock().await;
        let (owner, name) = (rollout.application, rollout.name.as_str());
        if !expected(self.rollout(owner, name).as_deref()) {
            return Err(CatalogError::Changed);
        }
        let candidate =
            self.version_entry(owner, name, &rollout.version).ok_or(CatalogError::NotFound)?;
        if candidate.version.live {
            return Err(CatalogError::CandidateIsLive(format!("{name}@{}", rollout.version)));
        }
        self.ensure_loaded(candidate.version.sha256).await?;
        // The same check as for a promotion: a candidate is there to be promoted.
        self.follow(&candidate, false).await?;
        let change = PluginChange {
            application: owner,
            name: name.to_owned(),
            action: match rollout.mode {
                RolloutMode::Canary => ChangeAction::CanaryStart,
                RolloutMode::Shadow => ChangeAction::ShadowStart,
            },
            from: self.versions(owner, name).iter().find(|v| v.live).map(|v| v.version.clone()),
            to: Some(rollout.version.clone()),
            by: by.to_owned(),
            forced: false,
            note: None,
            at: self.clock.now(),
        };
        self.store.start_rollout(&rollout, &change).await.map_err(refused)?;
        let rollout = Arc::new(rollout);
        {
            let mut state = self.write();
            state.rollouts.retain(|r| r.application != owner || r.name != rollout.name);
            state.rollouts.push(rollout.clone());
        }
        self.release_everywhere(&candidate.version.sha256, by).await?;
        self.resolve_followers(&candidate).await?;
        self.tell(Change::Rollouts);
        Ok(rollout)
    }

    /// Ends a rollout by request of the owner of the key `by`, if it is still what they take it
    /// for: every event is the live version's again.
    pub async fn end_rollout(
        &self,
        owner: Option<ApplicationId>,
        name: &str,
        expected: impl FnOnce(Option<&Rollout>) -> bool + Send,
        by: &str,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let rollout = self.rollout(owner, name).ok_or(CatalogError::NotFound)?;
        if !expected(Some(&rollout)) {
            return Err(CatalogError::Changed);
        }
        self.end(&rollout, Ended::By(by)).await
    }

    /// Ends exactly this rollout, for the reason given: the plugin may have another by now.
    pub async fn stop_rollout(&self, rollout: &Rollout, why: &str) -> Result<()> {
        let _changing = self.changing.lock().await;
        let now = self.rollout(rollout.application, &rollout.name);
        if now.is_none_or(|now| *now != *rollout) {
            return Err(CatalogError::NotFound);
        }
        self.end(rollout, Ended::Stopped(why)).await
    }

    async fn end(&self, rollout: &Rollout, ended: Ended<'_>) -> Result<()> {
        let (owner, name) = (rollout.application, rollout.name.as_str());
        let (by, note) = match ended {
            Ended::By(by) => (by, None),
            Ended::Stopped(why) => (SERVER, Some(why.to_owned())),
        };
        let change = PluginChange {
            application: owner,
            name: name.to_owned(),
            action: match (rollout.mode, ended) {
                (RolloutMode::Canary, Ended::By(_)) => ChangeAction::CanaryEnd,
                (RolloutMode::Canary, Ended::Stopped(_)) => ChangeAction::CanaryStop,
                (RolloutMode::Shadow, _) => ChangeAction::ShadowEnd,
            },
            from: Some(rollout.version.clone()),
            to: self.versions(owner, name).iter().find(|v| v.live).map(|v| v.version.clone()),
            by: by.to_owned(),
            forced: false,
            note,
            at: self.clock.now(),
        };
        self.store.end_rollout(&change).await.map_err(refused)?;
        self.write().rollouts.retain(|r| r.application != owner || r.name != name);
        self.tell(Change::Rollouts);
        match self.version_entry(owner, name, &rollout.version) {
            Some(candidate) => self.resolve_followers(&candidate).await,
            // Its rollout prevents that it is deleted; a database may come from elsewhere.
            None => Ok(()),
        }
    }

    /// Resolves anew every subscription that follows a plugin.
    async fn resolve_followers(&self, of: &PluginEntry) -> Result<()> {
        let mut entries = Vec::new();
        for subscription in self.followers(&of.version) {
            entries.push(self.resolved(&subscription, &[], false).await?);
        }
        self.put_entries(entries).await
    }

    /// The candidates for a subscription's steps, but not of plugins whose live version is
    /// about to be replaced: that ends their rollout.
    pub(super) fn candidates(
        &self,
        subscription: &Subscription,
        next: &[PluginEntry],
    ) -> Candidates {
        let mut candidates = Candidates { canaries: Vec::new(), shadows: Vec::new() };
        for (rollout, ..) in self.rollouts() {
            let replaced = |entry: &PluginEntry| {
                entry.version.application == rollout.application
                    && entry.version.name == rollout.name
            };
            let Some(entry) =
                self.version_entry(rollout.application, &rollout.name, &rollout.version)
            else {
                continue;
            };
            let state = self.read();
            let uses = |step| state.follows(subscription, step, &entry.version);
            if next.iter().any(replaced) || !subscription.pipeline.iter().any(uses) {
                continue;
            }
            match rollout.mode {
                RolloutMode::Canary => candidates.canaries.push((rollout.share, entry)),
                RolloutMode::Shadow => candidates.shadows.push(entry),
            }
        }
        candidates.canaries.sort_by_key(|(share, _)| *share);
        candidates
    }

    /// What runs beside a pipeline of an application, to be compared with it.
    pub fn shadow(
        &self,
        application: ApplicationId,
        pipeline: PipelineId,
    ) -> Option<Arc<Pipeline>> {
        self.read().shadow(application, pipeline)
    }
}

/// What the history calls the server's own doing.
pub(super) const SERVER: &str = "server";
