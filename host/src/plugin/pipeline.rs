//! Pipelines: the steps in order, what a failure leads to, and results that are shared.
//!
//! The steps run so far form a tree for each event: a path is a prefix of a pipeline, a node
//! what it came to. Equal prefixes meet in the same node, whoever asks, and run once. Owns
//! that tree; never instantiates anything itself.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{
    LiveEvent, contract,
    document::{Document, EditError, Editor},
    few::Few,
    host::{Seen, cut, types},
    learn::{Known, Leaf, Patience},
    message::{self, Failure, bad_output},
    run::{Answer, MAX_WORDS, Run},
    runtime::Core,
    settings::Limits,
};
use crate::model::{
    FailureKind, Message, OnError, Outcome, Pipeline, PipelineRun, ResolvedStep, Sha256,
    StepReport, StepVerdict,
};

/// What is sent if nothing more happens to it.
#[derive(Debug, Clone)]
struct Stage {
    /// The event as the next step sees it.
    seen: Arc<Seen>,
    content_type: Arc<str>,
    headers: Arc<Vec<(String, String)>>,
}

/// A prefix of pipelines over one event.
#[derive(Debug)]
pub(super) struct Node {
    /// Held while the step runs, so that whoever else wants it waits for the result.
    done: Mutex<Option<Arc<Done>>>,
    next: Mutex<Few<Key, Arc<Node>>>,
}

/// What distinguishes a step, beside the steps before it.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    sha256: Sha256,
    config: Arc<str>,
    on_error: OnError,
}

/// What a step came to.
#[derive(Debug)]
struct Done {
    report: StepReport,
    flow: Flow,
}

#[derive(Debug, Clone)]
enum Flow {
    On(Stage),
    End(Outcome),
}

impl Node {
    fn new() -> Self {
        Self { done: Mutex::default(), next: Mutex::default() }
    }

    /// The root: no step has run.
    pub(super) fn root() -> Self {
        Self::new()
    }

    fn child(&self, step: &ResolvedStep) -> Arc<Self> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = || (step.sha256, Arc::clone(&step.config));
        let found = next.get(mark, |key| {
            key.sha256 == step.sha256
                && key.on_error == step.on_error
                && (Arc::ptr_eq(&key.config, &step.config) || key.config == step.config)
        });
        if let Some(node) = found {
            return Arc::clone(node);
        }
        let key =
            Key { sha256: step.sha256, config: Arc::clone(&step.config), on_error: step.on_error };
        let node = Arc::new(Self::new());
        next.add(key, Arc::clone(&node), |key| (key.sha256, Arc::clone(&key.config)));
        node
    }
}

/// What a pipeline comes to if every step's verdict is known already. Takes next to no time:
/// it is called on threads that others wait for.
pub(super) fn learned(
    core: &Core,
    event: &LiveEvent,
    pipeline: &Pipeline,
) -> Option<Arc<PipelineRun>> {
    // A contract is checked over the whole message, which takes its time.
    if !core.learned.is_on() || pipeline.contract.is_some() {
        return None;
    }
    let run = all_known(core, event, pipeline)?;
    core.stats.learned(run.steps.len());
    if let Some(observer) = event.observer(core) {
        for (step, report) in pipeline.steps.iter().zip(&run.steps) {
            observer.ran(&event.event, step, report);
        }
    }
    Some(run)
}

fn all_known(core: &Core, event: &LiveEvent, pipeline: &Pipeline) -> Option<Arc<PipelineRun>> {
    let mut steps = Vec::new();
    for (i, step) in pipeline.steps.iter().enumerate() {
        // Only filters are learned, so each sees the event as it is.
        let leaf = if i == 0 {
            match core.learned.look_up_first(step, &event.seen, Patience::Little)? {
                Known::Dropped(run) => return Some(run),
                Known::Leaf(leaf) => leaf,
            }
        } else {
            core.learned.look_up(step, &event.seen, Patience::Little)?
        };
        steps.reserve_exact(pipeline.steps.len());
        steps.push(leaf.report(step));
        if let StepVerdict::Drop { reason } = &leaf.verdict {
            let outcome = Outcome::Drop { reason: reason.clone() };
            return Some(Arc::new(PipelineRun { outcome, steps }));
        }
    }
    // What the first step would see, without taking hold of what thousands share.
    let message = Message {
        content_type: event.event.content_type().to_owned(),
        headers: Vec::new(),
        body: event.event.payload.clone(),
    };
    Some(Arc::new(PipelineRun { outcome: Outcome::Send(message), steps }))
}

/// Runs a pipeline over an event, on the thread it is called on, and tells of it.
pub(super) fn run(core: &Core, event: &LiveEvent, pipeline: &Pipeline) -> PipelineRun {
    let run = through(core, event, pipeline);
    let Some(observer) = event.observer(core) else { return run };
    // Only now: what a step made may have been found unusable after it.
    for (step, report) in pipeline.steps.iter().zip(&run.steps).filter(|(_, r)| !r.shared) {
        observer.ran(&event.event, step, report);
    }
    if let Some((step, report)) = contract::breach(pipeline, &run).filter(|(_, r)| r.shared) {
        observer.broke_contract(&event.event, step, report);
    }
    run
}

fn through(core: &Core, event: &LiveEvent, pipeline: &Pipeline) -> PipelineRun {
    let mut stage = Stage::first(core, event);
    let mut steps = Vec::with_capacity(pipeline.steps.len());
    let mut node: Option<Arc<Node>> = None;
    for (i, step) in pipeline.steps.iter().enumerate() {
        let here = node.as_deref().unwrap_or(&event.root).child(step);
        let (done, shared) = here.done(core, step, &stage);
        let mut report = done.report.clone();
        report.shared = shared;
        let before = stage;
        let mut flow = done.flow.clone();
        // What a step makes of the message is the same with and without steps after it, or it
        // could not be shared. Whether the next step can read it is looked at only here.
        if i + 1 < pipeline.steps.len()
            && report.verdict == StepVerdict::Deliver
            && let Flow::On(stage) = &flow
            && let Err(failure) = readable(stage)
        {
            core.stats.fault(failure.0);
            flow = consequence(step, &failure, before);
            let (kind, message) = failure;
            report.verdict = StepVerdict::Fault { kind, message, backtrace: vec![] };
        }
        steps.push(report);
        match flow {
            Flow::End(outcome) => return PipelineRun { outcome, steps },
            Flow::On(next) => stage = next,
        }
        node = Some(here);
    }
    core.contracts.apply(pipeline, stage.message(), steps)
}

impl Node {
    /// The step's result, and whether it was there already.
    fn done(&self, core: &Core, step: &ResolvedStep, stage: &Stage) -> (Arc<Done>, bool) {
        let mut slot = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = &*slot {
            core.stats.shared();
            return (Arc::clone(done), true);
        }
        let done =
            Arc::new(known(core, step, stage).unwrap_or_else(|| run_step(core, step, stage)));
        let remembered = match done.report.verdict {
            StepVerdict::Fault { kind, .. } => is_repeatable(kind),
            _ => true,
        };
        if remembered {
            *slot = Some(Arc::clone(&done));
        }
        (done, false)
    }
}

/// The step's result, if earlier runs say what it is.
fn known(core: &Core, step: &ResolvedStep, stage: &Stage) -> Option<Done> {
    if !core.learned.is_on() {
        return None;
    }
    let leaf = core.learned.look_up(step, &stage.seen, Patience::Enough)?;
    core.stats.learned(1);
    let flow = match &leaf.verdict {
        StepVerdict::Drop { reason } => Flow::End(Outcome::Drop { reason: reason.clone() }),
        _ => Flow::On(stage.clone()),
    };
    Some(Done { report: leaf.report(step), flow })
}

fn run_step(core: &Core, step: &ResolvedStep, stage: &Stage) -> Done {
    let mut report = StepReport {
        plugin: step.name.clone(),
        version: step.version.clone(),
        verdict: StepVerdict::Pass,
        fuel: 0,
        duration_us: 0,
        memory_bytes: 0,
        shared: false,
        learned: false,
        read_all: false,
        reads: vec![],
        log: vec![],
    };
    let mut frames = vec![];
    let result = match core.plugin(&step.sha256) {
        None => {
            let words = format!("{}@{} is not loaded", step.name, step.version);
            Err((FailureKind::Unavailable, words))
        }
        Some(plugin) => {
            let Run {
                result,
                backtrace,
                fuel,
                duration_us,
                memory_bytes,
                reads,
                read_all,
                trace,
                log,
            } = plugin.ask(&core.ticker, &stage.seen, &step.config);
            frames = backtrace;
            core.stats.ran(fuel, duration_us);
            report = StepReport { fuel, duration_us, memory_bytes, reads, read_all, log, ..report };
            let result = result.and_then(|answer| stage.apply(answer, plugin.limits()));
            if core.learned.is_on()
                && plugin.is_learnable
                && let Ok((verdict, _)) = &result
            {
                let leaf = Leaf::of(&report, verdict);
                core.learned.learn(step, plugin.limits(), &stage.seen, &trace, leaf);
                // Unloaded meanwhile: what was just learned would stay.
                if core.plugin(&step.sha256).is_none() {
                    core.learned.forget(&step.sha256);
                }
            }
            result
        }
    };
    let flow = match result {
        Ok((verdict, flow)) => {
            report.verdict = verdict;
            flow
        }
        Err(failure) => {
            core.stats.fault(failure.0);
            let flow = consequence(step, &failure, stage.clone());
            let (kind, message) = failure;
            report.verdict = StepVerdict::Fault { kind, message, backtrace: frames };
            flow
        }
    };
    Done { report, flow }
}

/// Whether the same run would fail in the same way again. If not, it was the machine's
/// moment, not the plugin's answer.
const fn is_repeatable(kind: FailureKind) -> bool {
    !matches!(kind, FailureKind::Timeout | FailureKind::Unavailable)
}

/// What a failure leads to.
fn consequence(step: &ResolvedStep, (kind, words): &Failure, before: Stage) -> Flow {
    let on_error = match step.on_error {
        // Neither to let an unfiltered event out nor to lose one because a machine was slow.
        OnError::Pass | OnError::Drop if !is_repeatable(*kind) => OnError::Retry,
        on_error => on_error,
    };
    let (plugin, version, kind) = (&step.name, &step.version, kind.as_str());
    match on_error {
        OnError::Pass => Flow::On(before),
        OnError::Drop => Flow::End(Outcome::Drop {
            reason: format!("{plugin}@{version} failed: {kind}: {words}"),
        }),
        OnError::Retry | OnError::Dead => Flow::End(Outcome::Fail {
            on_error,
            reason: format!("{plugin}@{version}: {kind}: {words}"),
        }),
    }
}

/// Whether a step can be asked about what the step before it made.
fn readable(stage: &Stage) -> Result<(), Failure> {
    if !message::is_json(&stage.content_type) {
        let kind = &stage.content_type;
        return Err(bad_output(format!("the next step reads JSON, and this is {kind}")));
    }
    let check = stage.seen.document.check();
    check.map_err(|why| bad_output(format!("the next step reads JSON, and this is {why}")))
}

impl Stage {
    /// What is sent if no step changes anything.
    fn first(core: &Core, event: &LiveEvent) -> Self {
        Self {
            seen: Arc::clone(&event.seen),
            content_type: match &event.event.content_type {
                Some(content_type) => Arc::clone(content_type),
                None => Arc::clone(&core.json),
            },
            headers: Arc::clone(&core.no_headers),
        }
    }

    /// What an answer makes of the message.
    fn apply(&self, answer: Answer, limits: &Limits) -> Result<(StepVerdict, Flow), Failure> {
        Ok(match answer {
            Answer::Verdict(types::Verdict::Pass) => (StepVerdict::Pass, Flow::On(self.clone())),
            Answer::Verdict(types::Verdict::Drop(reason))
            | Answer::Outcome(types::Outcome::Drop(reason)) => dropped(reason),
            Answer::Outcome(types::Outcome::Deliver(message)) => {
                message::check_message(&message, limits)?;
                let mut headers = (*self.headers).clone();
                for header in message.headers {
                    message::set_header(&mut headers, header)?;
                }
                let next = Self {
                    seen: self.with_payload(Bytes::from(message.body)),
                    content_type: message.content_type.into(),
                    headers: Arc::new(headers),
                };
                (StepVerdict::Deliver, Flow::On(next))
            }
            Answer::Outcome(types::Outcome::Edit(edits)) => {
                message::check_edits(&edits, limits)?;
                let count = u32::try_from(edits.len()).unwrap_or(u32::MAX);
                (StepVerdict::Edit { edits: count }, Flow::On(self.edited(edits, limits)?))
            }
        })
    }

    fn edited(&self, edits: Vec<types::Edit>, limits: &Limits) -> Result<Self, Failure> {
        let refused = |error: EditError| match error {
            EditError::TooLarge(_) => (FailureKind::OutputTooLarge, error.to_string()),
            _ => bad_output(error.to_string()),
        };
        // Headers alone need no copy of the payload.
        let mut editor: Option<Editor> = None;
        let mut headers: Option<Vec<(String, String)>> = None;
        for edit in edits {
            if let types::Edit::SetHeader(header) = edit {
                let headers = headers.get_or_insert_with(|| (*self.headers).clone());
                message::set_header(headers, header)?;
                continue;
            }
            let editor = match &mut editor {
                Some(editor) => editor,
                None => {
                    let new = Editor::new(&self.seen.document, limits.output_bytes);
                    editor.insert(new.map_err(refused)?)
                }
            };
            match edit {
                types::Edit::Set(set) => editor.set(&set.pointer, &set.value),
                types::Edit::Remove(pointer) => editor.remove(&pointer),
                types::Edit::SetHeader(_) => Ok(()),
            }
            .map_err(refused)?;
        }
        Ok(Self {
            seen: match editor {
                Some(editor) => self.with_payload(Bytes::from(editor.finish())),
                None => Arc::clone(&self.seen),
            },
            content_type: Arc::clone(&self.content_type),
            headers: headers.map_or_else(|| Arc::clone(&self.headers), Arc::new),
        })
    }

    fn with_payload(&self, payload: Bytes) -> Arc<Seen> {
        let event = Arc::clone(&self.seen.event);
        Arc::new(Seen { event, document: Document::new(payload) })
    }

    fn message(&self) -> Message {
        Message {
            content_type: self.content_type.to_string(),
            headers: (*self.headers).clone(),
            body: self.seen.document.bytes().clone(),
        }
    }
}

fn dropped(mut reason: String) -> (StepVerdict, Flow) {
    cut(&mut reason, MAX_WORDS);
    let outcome = Outcome::Drop { reason: reason.clone() };
    (StepVerdict::Drop { reason }, Flow::End(outcome))
}
