//! What the catalog holds in memory, and the look-ups over it. Plain data: no I/O, no locks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{EventTypeEntry, Match};
use crate::{
    model::{
        Application, ApplicationId, EventTypeName, Pipeline, PipelineId, PluginRef, PluginVersion,
        Quarantine, ResolvedStep, Rollout, Sha256, Step, Subscription, SubscriptionId,
        SubscriptionState, Timestamp,
    },
    routing::{Filter, Routes, Rule},
    schema::Validator,
};

/// A plugin version with its config's schema compiled.
#[derive(Debug, Clone)]
pub(super) struct PluginEntry {
    pub(super) version: Arc<PluginVersion>,
    pub(super) config: Arc<Validator>,
}

/// A subscription with its pipelines resolved.
#[derive(Debug, Clone)]
pub(super) struct SubscriptionEntry {
    pub(super) subscription: Arc<Subscription>,
    /// Which events of the types it listens to it takes.
    pub(super) rule: Rule,
    pub(super) pipeline: Option<Arc<Pipeline>>,
    /// What events with a place below the number run through instead; the lowest first.
    pub(super) canaries: Arc<[(u16, PipelineId)]>,
    /// What runs beside the pipeline, to be compared.
    pub(super) shadow: Option<Arc<Pipeline>>,
}

/// What tells pipelines apart.
pub(super) type Content = (Vec<ResolvedStep>, Option<Arc<str>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) applications: BTreeMap<ApplicationId, Arc<Application>>,
    pub(super) event_types: BTreeMap<EventTypeName, Arc<EventTypeEntry>>,
    pub(super) plugins: Vec<PluginEntry>,
    /// Candidates tried on live events, at most one for each plugin.
    pub(super) rollouts: Vec<Arc<Rollout>>,
    /// What runs beside a pipeline of an application, to be compared.
    shadows: HashMap<(ApplicationId, PipelineId), Arc<Pipeline>>,
    pub(super) quarantines: HashMap<(ApplicationId, Sha256), Arc<Quarantine>>,
    /// When a version was last brought back into service: failures from before are forgiven.
    pub(super) released: HashMap<(ApplicationId, Sha256), Timestamp>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, SubscriptionEntry>,
    /// Pipelines that deliveries may name, current ones and older.
    pub(super) pipelines: HashMap<PipelineId, Arc<Pipeline>>,
    by_steps: HashMap<Content, PipelineId>,
    /// Shared with whoever is matching an event: a change waits for none of them, but makes its
    /// own copy while one is under way.
    routes: HashMap<ApplicationId, Arc<Routes<SubscriptionId>>>,
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

    /// Whether a step runs `next` once it is live: it pins no version, and the name means this
    /// plugin to the application. Its own stands before a shared one.
    pub(super) fn follows(
        &self,
        subscription: &Subscription,
        step: &Step,
        next: &PluginVersion,
    ) -> bool {
        let application = subscription.application;
        step.plugin.version.is_none()
            && step.plugin.name == next.name
            && match next.application {
                Some(owner) => owner == application,
                None => self
                    .plugin(application, &step.plugin)
                    .is_none_or(|entry| entry.version.application.is_none()),
            }
    }

    /// Adds or replaces a subscription, and what it listens to.
    pub(super) fn put_subscription(&mut self, entry: SubscriptionEntry) {
        self.remove_subscription(entry.subscription.id);
        let subscription = &entry.subscription;
        if subscription.state != SubscriptionState::Disabled {
            let routes = self.routes.entry(subscription.application).or_default();
            let routes = Arc::make_mut(routes);
            routes.insert(&subscription.event_types, &entry.rule, subscription.id);
        }
        for pipeline in entry.pipeline.iter().chain(&entry.shadow) {
            self.put_pipeline(pipeline.clone());
        }
        self.shadows.extend(shadow_of(&entry));
        self.subscriptions.insert(subscription.id, entry);
    }

    /// After rollouts began or ended, and every subscription they concern was put again.
    pub(super) fn gather_shadows(&mut self) {
        self.shadows = self.subscriptions.values().filter_map(shadow_of).collect();
    }

    pub(super) fn shadow(
        &self,
        application: ApplicationId,
        pipeline: PipelineId,
    ) -> Option<Arc<Pipeline>> {
        if self.shadows.is_empty() {
            return None;
        }
        self.shadows.get(&(application, pipeline)).cloned()
    }

    pub(super) fn put_pipeline(&mut self, pipeline: Arc<Pipeline>) {
        let content = (pipeline.steps.clone(), pipeline.contract.clone());
        self.by_steps.insert(content, pipeline.id);
        self.pipelines.insert(pipeline.id, pipeline);
    }

    pub(super) fn pipeline_of(&self, content: &Content) -> Option<Arc<Pipeline>> {
        self.pipelines.get(self.by_steps.get(content)?).cloned()
    }

    /// Why a pipeline may not run for an application: one of its versions is quarantined.
    pub(super) fn quarantined(
        &self,
        application: ApplicationId,
        pipeline: &Pipeline,
    ) -> Option<&Arc<Quarantine>> {
        if self.quarantines.is_empty() {
            return None;
        }
        pipeline.steps.iter().find_map(|step| self.quarantines.get(&(application, step.sha256)))
    }

    /// Whether a subscription's deliveries wait for a version to come back into service.
    pub(super) fn held_back(&self, id: SubscriptionId) -> bool {
        self.subscriptions.get(&id).is_some_and(|entry| {
            let pipeline = entry.pipeline.as_deref();
            pipeline.is_some_and(|p| self.quarantined(entry.subscription.application, p).is_some())
        })
    }

    /// They are read again when a delivery names them.
    pub(super) fn forget_pipelines(&mut self) {
        self.by_steps.clear();
        self.pipelines.clear();
    }

    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) {
        let Some(entry) = self.subscriptions.remove(&id) else { return };
        if let Some(routes) = self.routes.get_mut(&entry.subscription.application) {
            Arc::make_mut(routes).remove(&entry.subscription.event_types, id);
        }
    }

    /// The index of an application's subscriptions, as it is now.
    pub(super) fn routes(&self, application: ApplicationId) -> Option<Arc<Routes<SubscriptionId>>> {
        self.routes.get(&application).cloned()
    }

    /// What an event for these subscriptions matches, those left out that were disabled or
    /// deleted since they were found.
    pub(super) fn matches(&self, found: &BTreeSet<SubscriptionId>) -> Vec<Match> {
        found
            .iter()
            .filter_map(|id| self.subscriptions.get(id))
            .filter(|entry| entry.subscription.state != SubscriptionState::Disabled)
            .map(|entry| Match {
                subscription: entry.subscription.id,
                pipeline: entry.pipeline.as_ref().map(|p| p.id),
                canaries: entry.canaries.clone(),
                ordering: entry.subscription.policy.ordering,
                held: entry.subscription.state == SubscriptionState::Paused,
            })
            .collect()
    }
}

/// What a subscription asks of events. A filter that was accepted once and cannot be read any
/// more passes nothing: what it kept back must not go out.
pub(super) fn rule_of(subscription: &Subscription) -> Rule {
    let filter = subscription.filter.as_ref().map(|text| {
        let compiled = Filter::compile(text.as_str()).or_else(|error| {
            tracing::error!(subscription = %subscription.id, at = %error.at, %error, "a stored filter cannot be used; it passes nothing until it is replaced");
            Filter::compile(NOTHING)
        });
        compiled.map(Arc::new)
    });
    // `NOTHING` is a filter: a test reads it.
    Rule { channels: subscription.channels.clone(), filter: filter.and_then(Result::ok) }
}

/// Every event has a type.
const NOTHING: &str = r#"{"exists":{"type":false}}"#;

fn shadow_of(entry: &SubscriptionEntry) -> Option<((ApplicationId, PipelineId), Arc<Pipeline>)> {
    let key = (entry.subscription.application, entry.pipeline.as_ref()?.id);
    Some((key, entry.shadow.clone()?))
}

/// The one of `known` that `given` most likely was meant to be, if any is near enough.
///
/// `given` is a stranger's, and comparing takes time with the square of its length: what is longer
/// than any name is near none, and only the few that have nearly the same letters are compared.
pub(super) fn closest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.6;
    const FEW: usize = 32;
    if given.len() > EventTypeName::MAX_BYTES {
        return None;
    }
    let letters = letters_of(given);
    let mut near: Vec<(usize, &str)> = known
        .map(|name| (at_least(&letters, &letters_of(name)), name))
        .filter(|(edits, name)| {
            let longest = given.chars().count().max(name.chars().count());
            *edits as f64 <= (1.0 - NEAR_ENOUGH) * longest as f64
        })
        .collect();
    if near.len() > FEW {
        near.select_nth_unstable(FEW);
        near.truncate(FEW);
    }
    near.into_iter()
        .map(|(_, name)| (strsim::normalized_damerau_levenshtein(given, name), name))
        .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// How often each letter stands in a text; letters may share a place.
type Letters = [u8; 64];

fn letters_of(text: &str) -> Letters {
    let mut letters = [0; 64];
    for letter in text.chars() {
        let count: &mut u8 = &mut letters[letter as usize % 64];
        *count = count.saturating_add(1);
    }
    letters
}

/// How many edits at least make one text of the other: each brings one letter at most, and takes
/// one at most.
fn at_least(one: &Letters, other: &Letters) -> usize {
    let surplus = |a: &Letters, b: &Letters| -> usize {
        a.iter().zip(b).map(|(a, b)| usize::from(a.saturating_sub(*b))).sum()
    };
    surplus(one, other).max(surplus(other, one))
}

#[cfg(test)]
mod tests {
    use super::{EventTypeName, Filter, NOTHING, at_least, closest, letters_of};

    #[test]
    fn what_stands_for_a_broken_filter_is_one() {
        Filter::compile(NOTHING).unwrap();
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["order.created", "order.paid", "push"];
        assert_eq!(closest("order.craeted", known.into_iter()), Some("order.created"));
        assert_eq!(closest("pusj", known.into_iter()), Some("push"));
        assert_eq!(closest("invoice.sent", known.into_iter()), None);
        // The nearest in letters is not the nearest in their order.
        let known = ["detaerc.redro", "order.deleted", "order.created"];
        assert_eq!(closest("order.craeted", known.into_iter()), Some("order.created"));
        assert_eq!(closest("größe", ["grosse", "größen"].into_iter()), Some("größen"));
    }

    #[test]
    fn looking_for_what_was_meant_is_bounded_in_length_and_number() {
        let known = ["x".repeat(EventTypeName::MAX_BYTES)];
        let of = |length| closest(&"x".repeat(length), known.iter().map(String::as_str));
        assert!(of(EventTypeName::MAX_BYTES).is_some());
        assert!(of(EventTypeName::MAX_BYTES + 1).is_none());
        // However many are near, a few are compared.
        let many: Vec<String> = (0..20_000).map(|i| format!("order.created{i:05}")).collect();
        assert!(closest("order.craeted00007", many.iter().map(String::as_str)).is_some());
    }

    #[test]
    fn the_letters_never_say_further_than_it_is() {
        let texts = ["", "a", "ab", "ba", "abc", "acb", "xyz", "order.created", "order.craeted"];
        for (one, other) in texts.iter().flat_map(|a| texts.iter().map(move |b| (*a, *b))) {
            let least = at_least(&letters_of(one), &letters_of(other));
            assert!(least <= strsim::damerau_levenshtein(one, other), "{one} {other}");
        }
    }
}
