//! The server's own engine on the author's machine: same inspection, same limits, same runs.
//!
//! Owns how a component is found, compiled and asked about a recorded case. Never speaks to a
//! server.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    cases::{self, Case},
    kept, project,
};
use crate::{
    cli::{
        input,
        output::Failure,
        scratch::{Scratch, random},
    },
    model::{
        ApplicationId, Event, EventId, Kept, OnError, Pipeline, PipelineId, PipelineRun,
        ResolvedStep, Sha256, Timestamp,
    },
    plugin::{Compiler, Inspected, Limits, LiveEvent, PluginSettings, Rejection, Runtime},
};

/// Functions kept of where a run was stopped: as deep as a profile can use.
const FRAMES: usize = 128;

/// An engine, with nothing in it.
pub(super) struct Engine {
    pub(super) runtime: Arc<Runtime>,
    /// Holds its compiled code, where the user has no folder to keep it in.
    _scratch: Scratch,
}

/// An engine with one plugin in it.
pub(super) struct Lab {
    pub(super) engine: Engine,
    pub(super) inspected: Inspected,
}

impl Engine {
    /// An engine with a server's own limits, which ends runs by another wall clock if told so.
    pub(super) fn start(wall: Option<Duration>) -> Result<Self, Failure> {
        let scratch = Scratch::new("engine")?;
        let (folder, key) = match kept::open() {
            Some(kept) => (kept.folder, kept.key),
            None => (scratch.path().to_path_buf(), random()?),
        };
        // The author's own code: it needs no child process around its compilation.
        let mut settings = PluginSettings::new(folder, key, Compiler::InProcess);
        settings.backtrace_frames = FRAMES;
        if let Some(wall) = wall {
            settings.lean = Limits { wall, ..settings.lean };
            settings.engine = Limits { wall, ..settings.engine };
        }
        let runtime = Runtime::start(settings)
            .map_err(|error| Failure::failed(format!("cannot start the plugin engine: {error}")))?;
        Ok(Self { runtime, _scratch: scratch })
    }

    /// Loads a component as a server would on upload.
    pub(super) async fn load(&self, wasm: impl Into<Bytes>) -> Result<Inspected, Failure> {
        self.runtime.inspect(wasm.into()).await.map_err(|rejection| refused(&rejection))
    }
}

/// What a server would say to an upload.
pub(super) fn refused(rejection: &Rejection) -> Failure {
    Failure::failed(format!("the server would refuse it: {rejection}"))
        .line(format!("problem  {}", rejection.code))
}

/// The component that is meant: the file's, or what the folder builds.
pub(super) fn component(folder: &Path, file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    match file {
        Some(file) => file_or_folder(file),
        None => Ok(project::build(folder)?.component),
    }
}

/// A component in a file, or the one that a plugin's folder builds.
pub(super) fn file_or_folder(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.is_dir() { Ok(project::build(path)?.component) } else { input::bytes(path) }
}

impl Lab {
    /// An engine with this component in it.
    pub(super) async fn start(wasm: Vec<u8>) -> Result<Self, Failure> {
        let engine = Engine::start(None)?;
        let inspected = engine.load(wasm).await?;
        Ok(Self { engine, inspected })
    }

    /// The same lab if it has this very component in it, or else another.
    pub(super) async fn reuse(old: Option<Self>, wasm: Vec<u8>) -> Result<Self, Failure> {
        match old {
            Some(lab) if lab.inspected.sha256 == Sha256::of(&wasm) => Ok(lab),
            _ => Self::start(wasm).await,
        }
    }

    /// What the plugin makes of a case's event.
    pub(super) async fn run(&self, case: &Case) -> Result<Arc<PipelineRun>, Failure> {
        let event = LiveEvent::new(Arc::new(event(case)?));
        let manifest = &self.inspected.manifest;
        let step = ResolvedStep {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: self.inspected.sha256,
            config: config(case).into(),
            on_error: OnError::Dead,
            kept: Kept::default(),
        };
        let pipeline = Arc::new(Pipeline { id: PipelineId(0), steps: vec![step], contract: None });
        Ok(self.engine.runtime.run(&event, &pipeline).await)
    }
}

/// The cases of a folder whose name or file has `part` in it, each with its file.
pub(super) fn cases(
    folder: &Path,
    part: Option<&str>,
) -> Result<Vec<(std::path::PathBuf, Case)>, Failure> {
    let mut all = Vec::new();
    for file in cases::files(folder)? {
        let case = cases::read(&file)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        if part.is_none_or(|part| case.name.contains(part) || stem.contains(part)) {
            all.push((file, case));
        }
    }
    match part {
        Some(part) if all.is_empty() => {
            Err(Failure::usage(format!("no case has {part:?} in its name or its file's")))
        }
        _ => Ok(all),
    }
}

/// The case's configuration as a step's text.
pub(super) fn config(case: &Case) -> String {
    case.config.as_ref().map_or_else(|| "{}".into(), ToString::to_string)
}

/// What a case leaves open, the same as in the SDK's `testing` module: a case that quotes the
/// event's id or time holds in both.
const ID: EventId = EventId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const OCCURRED_AT: &str = "2026-01-02T03:04:05Z";

/// The case's event as the server would have accepted it.
pub(super) fn event(case: &Case) -> Result<Event, Failure> {
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
        trace: None,
        content_type: None,
        context: None,
        channels: Vec::new(),
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

    #[test]
    fn cases_are_chosen_by_name_or_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        for (file, name) in [("large", "passes a large order"), ("small", "drops a small order")] {
            let event = serde_json::json!({"type": "a.b", "payload": {}});
            let case = serde_json::json!({"name": name, "event": event, "expect": {"pass": true}});
            let path = folder.path().join(format!("tests/{file}.json"));
            std::fs::write(path, case.to_string()).unwrap();
        }
        let names = |part: Option<&str>| -> Vec<String> {
            let found = cases(folder.path(), part).unwrap();
            found.into_iter().map(|(_, case)| case.name).collect()
        };
        assert_eq!(names(None).len(), 2);
        assert_eq!(names(Some("drops")), ["drops a small order"]);
        assert_eq!(names(Some("large")), ["passes a large order"]);
        assert!(cases(folder.path(), Some("none such")).is_err());
    }
}
