//! `hookmill plugin replay`: a delivery's plugin run again, on the author's machine.
//!
//! Runs are pure, so the same inputs give the same bytes anywhere: whatever differs here has a
//! cause. Owns the command and what it prints; what counts as a difference is in
//! [`super::compare`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    compare::{self, Difference},
    inputs::Inputs,
    lab::{self, Engine},
    report,
};
use crate::{
    cli::{
        Global, delivery,
        output::{self, Failure},
        style::Tint,
    },
    model::{Kept, Outcome, Pipeline, PipelineId, PipelineRun, ResolvedStep},
    plugin::{Inspected, LiveEvent},
};

/// A run's wall clock here: how busy this machine is, is not the question.
const WALL: Duration = Duration::from_secs(60);

/// Repeat a delivery's plugin run on this machine and compare
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin replay dlv_01jd…                              is it the same here?\n  hookmill plugin replay dlv_01jd… --component .                does the code here cure it?\n  hookmill plugin replay dlv_01jd… --save failure.json          to keep, or to send to the author\n  hookmill plugin replay failure.json --component fixed.wasm    needs no server\n\nExit codes: 0 the same, 1 another result."
)]
pub(in crate::cli) struct Replay {
    /// The delivery, or a file that --save wrote
    #[arg(value_name = "dlv_…|FILE")]
    delivery: String,
    /// Run this component, core module or plugin's folder in place of a step's
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The step it replaces, if its own name does not say it
    #[arg(long, value_name = "NAME", requires = "component")]
    plugin: Option<String>,
    /// Write inputs and components to this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl Replay {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let file = PathBuf::from(&self.delivery);
        let mut inputs = if file.is_file() {
            Inputs::read(&file)?
        } else {
            Inputs::fetch(&global.client()?, &self.delivery).await?
        };
        if inputs.pipeline.is_empty() {
            let id = &inputs.delivery_id;
            return Err(Failure::failed(format!(
                "{id} went through no plugins: nothing to repeat"
            )));
        }
        let engine = Engine::start(Some(WALL))?;
        let replacement = match &self.component {
            Some(file) => {
                Some(self.replacement(&engine, &inputs, lab::file_or_folder(file)?).await?)
            }
            None => None,
        };
        let replaced = replacement.as_ref().map(|(step, _)| *step);
        for step in 0..inputs.pipeline.len() {
            if replaced != Some(step) {
                let component = inputs.component(|| global.client(), step).await?;
                let loaded = engine.runtime.load(inputs.pipeline[step].sha256, component).await;
                loaded.map_err(|rejection| lab::refused(&rejection))?;
            }
        }
        if let Some(file) = &self.save {
            inputs.save(file)?;
            output::say(format_args!("wrote {}", file.display()));
        }
        let pipeline = pipeline(&inputs, replacement.as_ref());
        let event = LiveEvent::new(Arc::new(inputs.event()?));
        let run = engine.runtime.run(&event, &pipeline).await;
        let differences =
            inputs.run.as_ref().map(|run_then| compare::all(run_then, &run, replaced));
        if global.json {
            output::json(&as_json(&run, &inputs, differences.as_deref()));
        } else {
            print(&inputs, &run, replacement.as_ref(), differences.as_deref());
        }
        match differences {
            Some(all) if all.iter().any(|one| one.counts) => Err(Failure::failed("another result")),
            _ => Ok(()),
        }
    }

    /// Which step the given component replaces.
    async fn replacement(
        &self,
        engine: &Engine,
        inputs: &Inputs,
        wasm: Vec<u8>,
    ) -> Result<(usize, Inspected), Failure> {
        let inspected = engine.load(wasm).await?;
        let name = self.plugin.as_ref().unwrap_or(&inspected.manifest.name);
        let mut steps =
            (0..inputs.pipeline.len()).filter(|&at| inputs.pipeline[at].plugin == *name);
        match (steps.next(), steps.next(), &self.plugin) {
            (Some(step), None, _) => Ok((step, inspected)),
            (None, _, None) if inputs.pipeline.len() == 1 => Ok((0, inspected)),
            (None, ..) => {
                let names: Vec<&str> = inputs.pipeline.iter().map(|step| &*step.plugin).collect();
                Err(Failure::usage(format!("no step of this delivery is called {name}"))
                    .hint(format!("--plugin names one of: {}", names.join(", "))))
            }
            (Some(_), Some(_), _) => Err(Failure::usage(format!(
                "several steps of this delivery are called {name}: none can be replaced alone"
            ))),
        }
    }
}

/// The pipeline as it was. A replaced step keeps its name: it stands in the words of failures.
fn pipeline(inputs: &Inputs, replacement: Option<&(usize, Inspected)>) -> Arc<Pipeline> {
    let steps = inputs.pipeline.iter().enumerate().map(|(at, step)| ResolvedStep {
        name: step.plugin.clone(),
        version: step.version.clone(),
        sha256: match replacement {
            Some((replaced, inspected)) if *replaced == at => inspected.sha256,
            _ => step.sha256,
        },
        config: step.config.as_str().into(),
        on_error: step.on_error,
        kept: Kept::default(),
    });
    let contract = inputs.output_schema.clone();
    Arc::new(Pipeline { id: PipelineId(0), steps: steps.collect(), contract })
}

/// What a run came to, in a line.
fn outcome(run: &PipelineRun) -> String {
    match &run.outcome {
        Outcome::Send(message) => format!(
            "send  {}  {}",
            message.content_type,
            output::file_size(message.body.len() as u64)
        ),
        Outcome::Drop { reason } => format!("drop  {reason:?}"),
        Outcome::Fail { reason, .. } => format!("fail  {reason}"),
    }
}

fn as_json(run: &PipelineRun, inputs: &Inputs, differences: Option<&[Difference]>) -> Value {
    let same = differences.map(|all| !all.iter().any(|one| one.counts));
    json!({
        "delivery_id": inputs.delivery_id,
        "same": same,
        "differences": differences,
        "outcome": outcome(run),
        "steps": run.steps,
        "recorded": inputs.run,
    })
}

fn print(
    inputs: &Inputs,
    run: &PipelineRun,
    replacement: Option<&(usize, Inspected)>,
    differences: Option<&[Difference]>,
) {
    output::data(format_args!("{}  {}", inputs.delivery_id, inputs.event.event_type));
    for (at, step) in run.steps.iter().enumerate() {
        let name = match replacement {
            Some((replaced, inspected)) if *replaced == at => {
                let manifest = &inspected.manifest;
                format!("{}@{} (the file's, {})", step.plugin, step.version, manifest.version)
            }
            _ => format!("{}@{}", step.plugin, step.version),
        };
        let json = serde_json::to_value(step).unwrap_or_default();
        output::data(format_args!("  {name}  {}", delivery::step_line(&json)));
        for line in delivery::frames(&json) {
            output::data(format_args!("    {line}"));
        }
        for line in delivery::notes(&json) {
            output::data(format_args!("    {line}"));
        }
    }
    output::data(format_args!("  {}", outcome(run)));
    let Some(differences) = differences else {
        output::say("no run of this delivery was recorded: there is nothing to compare with");
        return;
    };
    if inputs.run.as_ref().is_some_and(compare::ended_by_the_machine) {
        output::say(
            "the recorded run ended by the wall clock or for want of its component: that was the \
             server's moment, not the plugin's answer",
        );
    }
    for difference in differences {
        let Difference { what, recorded, here, diff, counts } = difference;
        let tint = if *counts { Tint::Bad } else { Tint::Faint };
        output::data(tint.paint(what));
        for line in diff.iter().flat_map(|diff| diff.lines()) {
            output::data(format_args!("    {}", report::difference(line)));
        }
        if diff.is_none() {
            output::data(format_args!("    recorded  {recorded}\n    here      {here}"));
        }
    }
    if !differences.iter().any(|one| one.counts) {
        output::data(Tint::Good.paint("same result"));
    }
}
