//! What the catalog holds in memory, and the look-ups over it. Plain data: no I/O, no locks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{EventTypeEntry, Match};
use crate::{
    model::{
        Application, ApplicationId, EventTypeName, Pipeline, PipelineId, PluginRef, PluginVersion,
        ResolvedStep, Subscription, SubscriptionId, SubscriptionState,
    },
    routing::Index,
    schema::Validator,
};

/// A plugin version with its config's schema compiled.
#[derive(Debug, Clone)]
pub(super) struct PluginEntry {
    pub(super) version: Arc<PluginVersion>,
    pub(super) config: Arc<Validator>,
}

/// A subscription with its pipeline resolved.
#[derive(Debug, Clone)]
pub(super) struct SubscriptionEntry {
    pub(super) subscription: Arc<Subscription>,
    pub(super) pipeline: Option<Arc<Pipeline>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) applications: BTreeMap<ApplicationId, Arc<Application>>,
    pub(super) event_types: BTreeMap<EventTypeName, Arc<EventTypeEntry>>,
    pub(super) plugins: Vec<PluginEntry>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, SubscriptionEntry>,
    /// Pipelines that deliveries may name, current ones and older.
    pub(super) pipelines: HashMap<PipelineId, Arc<Pipeline>>,
    by_steps: HashMap<Vec<ResolvedStep>, PipelineId>,
    routes: HashMap<ApplicationId, Index<SubscriptionId>>,
}

impl State {
    /// What a reference means to an application: its own plugin before a shared one.
    pub(super) fn plugin(
        &self,
        application: ApplicationId,
        wanted: &PluginRef,
    ) -> Option<&PluginEntry> {
        [Some(application), None].into_iter().find_map(|owner| {
            self.plugins.iter().find(|entry| {
                let version = &entry.version;
                version.application == owner
                    && version.name == wanted.name
                    && match &wanted.version {
                        Some(pinned) => *pinned == version.version,
                        None => version.live,
                    }
            })
        })
    }

    /// Adds or replaces a subscription, and what it listens to.
    pub(super) fn put_subscription(&mut self, entry: SubscriptionEntry) {
        self.remove_subscription(entry.subscription.id);
        let subscription = &entry.subscription;
        if subscription.state != SubscriptionState::Disabled {
            let index = self.routes.entry(subscription.application).or_default();
            for pattern in &subscription.event_types {
                index.insert(pattern, subscription.id);
            }
        }
        if let Some(pipeline) = &entry.pipeline {
            self.put_pipeline(pipeline.clone());
        }
        self.subscriptions.insert(subscription.id, entry);
    }

    pub(super) fn put_pipeline(&mut self, pipeline: Arc<Pipeline>) {
        self.by_steps.insert(pipeline.steps.clone(), pipeline.id);
        self.pipelines.insert(pipeline.id, pipeline);
    }

    pub(super) fn pipeline_of(&self, steps: &[ResolvedStep]) -> Option<Arc<Pipeline>> {
        self.pipelines.get(self.by_steps.get(steps)?).cloned()
    }

    /// They are read again when a delivery names them.
    pub(super) fn forget_pipelines(&mut self) {
        self.by_steps.clear();
        self.pipelines.clear();
    }

    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) {
        let Some(entry) = self.subscriptions.remove(&id) else { return };
        if let Some(index) = self.routes.get_mut(&entry.subscription.application) {
            for pattern in &entry.subscription.event_types {
                index.remove(pattern, id);
            }
        }
    }

    pub(super) fn matching(&self, application: ApplicationId, name: &EventTypeName) -> Vec<Match> {
        let Some(index) = self.routes.get(&application) else { return Vec::new() };
        index
            .find(name)
            .into_iter()
            .filter_map(|id| self.subscriptions.get(&id))
            .map(|entry| Match {
                subscription: entry.subscription.id,
                pipeline: entry.pipeline.as_ref().map(|p| p.id),
                held: entry.subscription.state == SubscriptionState::Paused,
            })
            .collect()
    }
}

/// The one of `known` that `given` most likely was meant to be, if any is near enough.
pub(super) fn closest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.6;
    known
        .map(|name| (strsim::normalized_damerau_levenshtein(given, name), name))
        .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["order.created", "order.paid", "push"];
        assert_eq!(closest("order.craeted", known.into_iter()), Some("order.created"));
        assert_eq!(closest("pusj", known.into_iter()), Some("push"));
        assert_eq!(closest("invoice.sent", known.into_iter()), None);
    }
}
