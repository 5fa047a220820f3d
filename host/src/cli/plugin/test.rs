//! `hookmill plugin test`: runs a plugin's recorded cases in the server's own engine.
//!
//! What passes here passes on the server: same engine, same limits, same inspection.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use clap::Args;

use super::{
    cases::{self, Case},
    kept, project, report,
};
use crate::{
    cli::{
        Global, input,
        output::{self, Failure},
        scratch::{Scratch, random},
    },
    model::{
        ApplicationId, Event, EventId, OnError, Pipeline, PipelineId, PipelineRun, ResolvedStep,
        Timestamp,
    },
    plugin::{Compiler, Inspected, LiveEvent, PluginSettings, Runtime},
    schema::Validator,
};

/// Run a plugin's recorded cases in the server's own engine
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill plugin test big-orders\n  hookmill plugin test --json | jq '.[] | select(.passed | not)'"
)]
pub(in crate::cli) struct Test {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Test this component or core module instead of building the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

impl Test {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let files = cases::files(&self.folder)?;
        let cases = files.iter().map(|file| cases::read(file)).collect::<Result<Vec<_>, _>>()?;
        let wasm = match &self.component {
            Some(file) => input::bytes(file)?,
            None => project::build(&self.folder)?.component,
        };
        // The author's own code: it needs no child process around its compilation.
        let scratch = Scratch::new("test")?;
        let (folder, key) = match kept::open() {
            Some(kept) => (kept.folder, kept.key),
            None => (scratch.path().to_path_buf(), random()?),
        };
        let settings = PluginSettings::new(folder, key, Compiler::InProcess);
        let runtime = Runtime::start(settings)
            .map_err(|error| Failure::failed(format!("cannot start the plugin engine: {error}")))?;
        let inspected = runtime.inspect(Bytes::from(wasm)).await.map_err(|rejection| {
            Failure::failed(format!("the server would refuse it: {rejection}"))
        })?;
        let schema = Validator::compile(&inspected.manifest.config_schema).map_err(|error| {
            Failure::failed(format!("its config's schema cannot be used: {error}"))
        })?;

        let empty = serde_json::json!({});
        let width = cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0).max(28);
        let mut failed = 0;
        let mut results = Vec::new();
        for (case, file) in cases.iter().zip(&files) {
            let run = run(&runtime, &inspected, case).await?;
            let result = case.check(&run);
            failed += usize::from(result.is_err());
            if global.json {
                results.push(report::as_json(
                    &file.display().to_string(),
                    &case.name,
                    &run,
                    &result,
                ));
                continue;
            }
            output::data(report::line(&case.name, width, result.is_ok(), &run));
            if let Err(mismatch) = &result {
                let log = run.steps.first().map(|step| &step.log[..]).unwrap_or_default();
                output::data(report::mismatch(mismatch, log));
                // On the server such a step would not be saved: the first thing to look at.
                for violation in schema.violations(case.config.as_ref().unwrap_or(&empty)) {
                    output::data(format_args!(
                        "     hint: the config does not satisfy the plugin's schema: {}  {}",
                        violation.at, violation.message
                    ));
                }
            }
        }
        if global.json {
            output::json(&results.into());
        } else {
            let manifest = &inspected.manifest;
            output::say(format_args!(
                "{} {}: {} of {} cases hold",
                manifest.name,
                manifest.version,
                cases.len() - failed,
                cases.len()
            ));
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::failed(format!("{failed} of {} cases do not hold", cases.len()))),
        }
    }
}

async fn run(
    runtime: &Runtime,
    inspected: &Inspected,
    case: &Case,
) -> Result<Arc<PipelineRun>, Failure> {
    let event = LiveEvent::new(Arc::new(event(case)?));
    let config = case.config.as_ref().map_or_else(|| "{}".into(), ToString::to_string);
    let pipeline = Arc::new(Pipeline {
        id: PipelineId(0),
        steps: vec![ResolvedStep {
            name: inspected.manifest.name.clone(),
            version: inspected.manifest.version.clone(),
            sha256: inspected.sha256,
            config: config.into(),
            on_error: OnError::Dead,
        }],
    });
    Ok(runtime.run(&event, &pipeline).await)
}

/// What a case leaves open, the same as in the SDK's `testing` module: a case that quotes the
/// event's id or time holds in both.
const ID: EventId = EventId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const OCCURRED_AT: &str = "2026-01-02T03:04:05Z";

/// The case's event as the server would have accepted it.
fn event(case: &Case) -> Result<Event, Failure> {
    let recorded = &case.event;
    let wrong = |what: &str, why: &dyn std::fmt::Display| {
        Failure::usage(format!("case {:?}: {what}: {why}", case.name))
    };
    let occurred_at: Timestamp = recorded
        .occurred_at
        .as_deref()
        .unwrap_or(OCCURRED_AT)
        .parse()
        .map_err(|error| wrong("event.occurred_at", &error))?;
    Ok(Event {
        id: ID,
        application: ApplicationId::from_bytes([0; 16]),
        application_name: crate::model::Application::DEFAULT.into(),
        event_type: recorded.event_type.parse().map_err(|error| wrong("event.type", &error))?,
        schema_version: 0,
        subject: recorded.subject.clone(),
        occurred_at,
        accepted_at: occurred_at,
        payload: Bytes::from(recorded.payload.get().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_leaves_open_is_the_sdks() {
        let case = serde_json::json!({
            "name": "n", "event": {"type": "a.b", "payload": {}}, "expect": {"pass": true},
        });
        let event = event(&serde_json::from_str(&case.to_string()).unwrap()).unwrap();
        assert_eq!(event.id.to_string(), "evt_00000000000000000000000001");
        assert_eq!(event.occurred_at.to_string(), OCCURRED_AT);
        assert_eq!(&*event.application_name, "default");
    }
}
