//! What a backtest runs: for each subscription two pipelines, the one it has and the one it
//! would have. Subscriptions whose two pipelines are the same share their runs.
//!
//! Reads the catalog, once, at the start: what changes later does not change the job.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};

use super::{BacktestError, Request};
use crate::{
    catalog::Catalog,
    model::{
        Kept, OnError, Pattern, Pipeline, PipelineId, PluginVersion, ResolvedStep, Sha256,
        Subscription, SubscriptionId, SubscriptionState,
    },
    routing::{Facts, Rule},
    schema::Validator,
};

/// A subscription that a trial is for.
#[derive(Debug)]
pub(super) struct Listener {
    /// Its place in the plan's list.
    pub(super) index: usize,
    patterns: Vec<Pattern>,
    rule: Rule,
}

/// Two pipelines to run over the same events.
#[derive(Debug)]
pub(super) struct Trial {
    /// None if there is nothing but the payload itself.
    pub(super) baseline: Option<Arc<Pipeline>>,
    pub(super) candidate: Option<Arc<Pipeline>>,
    /// Indexes of the steps on trial; in the baseline the last may be missing.
    pub(super) tested: Vec<usize>,
    listeners: Vec<Listener>,
}

impl Trial {
    /// The subscriptions among its listeners that an event goes to.
    pub(super) fn listeners(&self, facts: &Facts<'_>) -> Vec<usize> {
        let listens = |listener: &&Listener| {
            listener.patterns.iter().any(|p| p.matches(facts.event_type))
                && listener.rule.admits(facts)
        };
        self.listeners.iter().filter(listens).map(|listener| listener.index).collect()
    }
}

/// All of a backtest.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) trials: Vec<Arc<Trial>>,
    pub(super) subscriptions: Vec<SubscriptionId>,
}

impl Plan {
    /// Whether any subscription looks into payloads to tell which events it takes.
    pub(super) fn looks_inside(&self) -> bool {
        let mut listeners = self.trials.iter().flat_map(|trial| &trial.listeners);
        listeners.any(|listener| listener.rule.filter.is_some())
    }

    /// The components that must be loaded.
    pub(super) fn components(&self) -> Vec<Sha256> {
        let pipelines =
            self.trials.iter().flat_map(|trial| [&trial.baseline, &trial.candidate]).flatten();
        let mut found: Vec<_> =
            pipelines.flat_map(|pipeline| &pipeline.steps).map(|step| step.sha256).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The one type of event that any of it is about, if there is only one.
    pub(super) fn only_type(&self) -> Option<Pattern> {
        let listeners = self.trials.iter().flat_map(|trial| &trial.listeners);
        let mut patterns = listeners.flat_map(|listener| &listener.patterns);
        let first = patterns.next().filter(|pattern| pattern.is_exact())?;
        patterns.all(|pattern| pattern == first).then(|| first.clone())
    }
}

/// What a subscription's messages must satisfy, if anything.
type Contract = Option<Arc<str>>;

/// The two lists of steps of a trial, and which of them are on trial.
type Steps = (Vec<ResolvedStep>, Vec<ResolvedStep>, Vec<usize>);

/// Makes the plan, or says what stands in its way.
pub(super) fn make(catalog: &Catalog, request: &Request) -> Result<Plan, BacktestError> {
    let maker = Maker::new(request)?;
    let mut plan = Plan::default();
    let mut broken = Vec::new();
    #[expect(clippy::mutable_key_type, reason = "what a step keeps is no part of its hash")]
    let mut trials: HashMap<(Steps, Contract), Vec<Listener>> = HashMap::new();
    let mut order = Vec::new();
    for subscription in maker.subscriptions(catalog)? {
        let now = catalog.current_pipeline(subscription.id);
        let contract = now.as_ref().and_then(|pipeline| pipeline.contract.clone());
        let steps = now.map(|pipeline| pipeline.steps.clone()).unwrap_or_default();
        let steps = match maker.steps(steps)? {
            Made::Trial(steps) => steps,
            Made::NotUsed => continue,
            Made::Broken => {
                broken.push(subscription.id);
                continue;
            }
        };
        let index = plan.subscriptions.len();
        plan.subscriptions.push(subscription.id);
        let Some(rule) = catalog.rule(subscription.id) else { continue };
        let listener = Listener { index, patterns: subscription.event_types.clone(), rule };
        let key = (steps, contract);
        if !trials.contains_key(&key) {
            order.push(key.clone());
        }
        trials.entry(key).or_default().push(listener);
    }
    if !broken.is_empty() {
        return Err(BacktestError::BreaksConfigs(broken));
    }
    if plan.subscriptions.is_empty() {
        return Err(BacktestError::NotUsed);
    }
    let mut pipelines = Pipelines::default();
    for key in order {
        let listeners = trials.remove(&key).unwrap_or_default();
        let ((baseline, candidate, tested), contract) = key;
        let baseline = pipelines.of(baseline, &contract);
        let candidate = pipelines.of(candidate, &contract);
        plan.trials.push(Arc::new(Trial { baseline, candidate, tested, listeners }));
    }
    Ok(plan)
}

/// Pipelines that no delivery has, each once, with numbers that no delivery's has.
#[derive(Default)]
struct Pipelines(HashMap<(Vec<ResolvedStep>, Contract), Arc<Pipeline>>);

impl Pipelines {
    fn of(&mut self, steps: Vec<ResolvedStep>, contract: &Contract) -> Option<Arc<Pipeline>> {
        if steps.is_empty() && contract.is_none() {
            return None;
        }
        let id = PipelineId(-2 - i64::try_from(self.0.len()).unwrap_or(0));
        let key = (steps, contract.clone());
        let known = self.0.entry(key).or_insert_with_key(|(steps, contract)| {
            Arc::new(Pipeline { id, steps: steps.clone(), contract: contract.clone() })
        });
        Some(Arc::clone(known))
    }
}

enum Made {
    Trial(Steps),
    NotUsed,
    /// The saved config of a step does not satisfy the candidate's schema.
    Broken,
}

struct Maker<'a> {
    request: &'a Request,
    name: &'a str,
    validator: Validator,
    /// The config that was given, as text.
    config: Option<Arc<str>>,
}

impl<'a> Maker<'a> {
    fn new(request: &'a Request) -> Result<Self, BacktestError> {
        let candidate = &request.candidate;
        let validator = Validator::compile(&candidate.manifest.config_schema)
            .map_err(|error| BacktestError::Schema(error.to_string()))?;
        let maker = Self { request, name: &candidate.name, validator, config: None };
        let config = match &request.config {
            Some(config) => Some(maker.checked(config)?),
            None => None,
        };
        Ok(Self { config, ..maker })
    }

    fn checked(&self, config: &Value) -> Result<Arc<str>, BacktestError> {
        let violations = self.validator.violations(config);
        if violations.is_empty() {
            return Ok(config.to_string().into());
        }
        let plugin = format!("{}@{}", self.name, self.request.candidate.version);
        Err(BacktestError::BadConfig { plugin, violations })
    }

    /// The subscriptions in question: the one named, or all that take events.
    fn subscriptions(&self, catalog: &Catalog) -> Result<Vec<Arc<Subscription>>, BacktestError> {
        let application = self.request.application;
        match self.request.subscription {
            Some(id) => catalog
                .subscription(id)
                .filter(|subscription| subscription.application == application)
                .map(|subscription| vec![subscription])
                .ok_or(BacktestError::UnknownSubscription(id)),
            None => {
                let mut all = catalog.subscriptions(application);
                all.retain(|subscription| subscription.state != SubscriptionState::Disabled);
                Ok(all)
            }
        }
    }

    /// What a pipeline of these steps is compared with.
    fn steps(&self, now: Vec<ResolvedStep>) -> Result<Made, BacktestError> {
        let used = now.iter().enumerate().filter(|(_, step)| step.name == self.name);
        let tested: Vec<usize> = used.map(|(index, _)| index).collect();
        if tested.is_empty() {
            return match self.request.subscription {
                Some(_) => self.added(now).map(Made::Trial),
                None => Ok(Made::NotUsed),
            };
        }
        let (mut baseline, mut candidate) = (now.clone(), now);
        for &index in &tested {
            if let Some(against) = &self.request.against {
                let step = &mut baseline[index];
                set_version(step, against);
                // Two versions are compared under one config; without `against`, two configs
                // of what runs now.
                step.config = self.config.clone().unwrap_or_else(|| Arc::clone(&step.config));
            }
            let step = &mut candidate[index];
            set_version(step, &self.request.candidate);
            match &self.config {
                Some(config) => step.config = Arc::clone(config),
                None if self.accepts(&step.config) => {}
                None => return Ok(Made::Broken),
            }
        }
        Ok(Made::Trial((baseline, candidate, tested)))
    }

    fn accepts(&self, config: &str) -> bool {
        serde_json::from_str(config).is_ok_and(|config| self.validator.accepts(&config))
    }

    /// The plugin as one step more, at the end.
    fn added(&self, now: Vec<ResolvedStep>) -> Result<Steps, BacktestError> {
        let config = match &self.config {
            Some(config) => Arc::clone(config),
            None => self.checked(&Value::Object(Map::new()))?,
        };
        let step = |version: &PluginVersion| ResolvedStep {
            name: version.name.clone(),
            version: version.version.clone(),
            sha256: version.sha256,
            config: Arc::clone(&config),
            on_error: OnError::default(),
            kept: Kept::default(),
        };
        let tested = vec![now.len()];
        let (mut baseline, mut candidate) = (now.clone(), now);
        baseline.extend(self.request.against.as_deref().map(step));
        candidate.push(step(&self.request.candidate));
        Ok((baseline, candidate, tested))
    }
}

fn set_version(step: &mut ResolvedStep, version: &PluginVersion) {
    step.version.clone_from(&version.version);
    step.sha256 = version.sha256;
}
