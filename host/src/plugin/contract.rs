//! Output contracts: what a pipeline would send must satisfy its subscription's schema.
//!
//! Owns the compiled schemas. Never decides what is sent instead: nothing is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use super::{host::cut, message, run::MAX_WORDS};
use crate::{
    model::{
        FailureKind, Message, OnError, Outcome, Pipeline, PipelineRun, ResolvedStep, StepReport,
        StepVerdict,
    },
    schema::Validator,
};

/// Most compiled schemas kept; past this they are all forgotten and compiled again.
const KEPT: usize = 1_000;

/// The schemas of contracts, compiled.
#[derive(Default)]
pub(super) struct Contracts(Mutex<HashMap<Arc<str>, Arc<Validator>>>);

impl Contracts {
    /// What a message that is ready comes to: it is sent, or it breaks the contract.
    pub(super) fn apply(
        &self,
        pipeline: &Pipeline,
        message: Message,
        steps: Vec<StepReport>,
    ) -> PipelineRun {
        let Some(contract) = &pipeline.contract else {
            return PipelineRun { outcome: Outcome::Send(message), steps };
        };
        match self.broken(contract, &message) {
            None => PipelineRun { outcome: Outcome::Send(message), steps },
            Some(words) => broken(pipeline, &words, steps),
        }
    }

    /// Where a message does not satisfy its contract.
    fn broken(&self, contract: &Arc<str>, message: &Message) -> Option<String> {
        let validator = match self.validator(contract) {
            Ok(validator) => validator,
            Err(why) => return Some(format!("the output schema cannot be used: {why}")),
        };
        if !message::is_json(&message.content_type) {
            let kind = &message.content_type;
            return Some(format!("the output schema is for JSON, and this is {kind}"));
        }
        let body: Value = match serde_json::from_slice(&message.body) {
            Ok(body) => body,
            Err(error) => return Some(format!("what would be sent is not JSON: {error}")),
        };
        if validator.accepts(&body) {
            return None;
        }
        let found = validator.violations(&body);
        let lines = found.iter().map(|violation| {
            let at = if violation.at.is_empty() { "the whole" } else { &violation.at };
            format!("{at}: {}", violation.message)
        });
        let mut words = lines.collect::<Vec<_>>().join("; ");
        cut(&mut words, MAX_WORDS);
        Some(words)
    }

    fn validator(&self, contract: &Arc<str>) -> Result<Arc<Validator>, String> {
        if let Some(known) = self.lock().get(contract) {
            return Ok(Arc::clone(known));
        }
        let schema: Value = serde_json::from_str(contract).map_err(|error| error.to_string())?;
        let compiled = Arc::new(Validator::compile(&schema).map_err(|error| error.to_string())?);
        let mut known = self.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(Arc::clone(contract), Arc::clone(&compiled));
        Ok(compiled)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Validator>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The step that made the message answers for it: the last that changed it, or the last of
/// all. A step whose failures are passed over has nothing safe to send, so here `pass` is
/// `retry`.
fn broken(pipeline: &Pipeline, words: &str, mut steps: Vec<StepReport>) -> PipelineRun {
    let kind = FailureKind::ContractViolation;
    let changed = |report: &StepReport| {
        matches!(report.verdict, StepVerdict::Deliver | StepVerdict::Edit { .. })
    };
    let answers = steps.iter().rposition(changed).or_else(|| steps.len().checked_sub(1));
    let on_error = answers.and_then(|at| pipeline.steps.get(at)).map(|step| step.on_error);
    let who = match answers.and_then(|at| steps.get(at)) {
        Some(report) => format!("{}@{}", report.plugin, report.version),
        None => "the event".to_owned(),
    };
    if let Some(report) = answers.and_then(|at| steps.get_mut(at)) {
        report.verdict = StepVerdict::Fault { kind, message: words.to_owned(), backtrace: vec![] };
    }
    let reason = format!("{who}: {}: {words}", kind.as_str());
    let outcome = match on_error.unwrap_or_default() {
        OnError::Drop => Outcome::Drop { reason },
        OnError::Dead => Outcome::Fail { on_error: OnError::Dead, reason },
        OnError::Retry | OnError::Pass => Outcome::Fail { on_error: OnError::Retry, reason },
    };
    PipelineRun { outcome, steps }
}

/// The step of a run that broke the contract.
pub(super) fn breach<'a>(
    pipeline: &'a Pipeline,
    run: &'a PipelineRun,
) -> Option<(&'a ResolvedStep, &'a StepReport)> {
    pipeline.contract.as_ref()?;
    let breach = |report: &StepReport| {
        let kind = FailureKind::ContractViolation;
        matches!(&report.verdict, StepVerdict::Fault { kind: found, .. } if *found == kind)
    };
    pipeline.steps.iter().zip(&run.steps).find(|(_, report)| breach(report))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Kept, PipelineId, ResolvedStep, Sha256};

    fn pipeline(on_error: Option<OnError>) -> Pipeline {
        let step = on_error.map(|on_error| ResolvedStep {
            name: "reshape".into(),
            version: "1.0.0".into(),
            sha256: Sha256::of(b""),
            config: "{}".into(),
            on_error,
            kept: Kept::default(),
        });
        let contract = r#"{"type":"object","properties":{"total":{"type":"string"}}}"#;
        Pipeline {
            id: PipelineId(1),
            steps: step.into_iter().collect(),
            contract: Some(contract.into()),
        }
    }

    fn report() -> StepReport {
        serde_json::from_str(
            r#"{"plugin":"reshape","version":"1.0.0","verdict":"deliver","fuel":1,
                "duration_us":1,"memory_bytes":1}"#,
        )
        .unwrap()
    }

    fn message(content_type: &str, body: &'static str) -> Message {
        Message { content_type: content_type.into(), headers: vec![], body: Bytes::from(body) }
    }

    #[test]
    fn what_satisfies_the_contract_is_sent() {
        let sent = message("application/json", r#"{"total":"1"}"#);
        let run = Contracts::default().apply(&pipeline(None), sent.clone(), vec![]);
        assert_eq!(run.outcome, Outcome::Send(sent));
    }

    #[test]
    fn what_breaks_it_names_the_place_and_the_step() {
        let contracts = Contracts::default();
        let sent = message("application/json", r#"{"total":1}"#);
        let run = contracts.apply(&pipeline(Some(OnError::Dead)), sent.clone(), vec![report()]);
        let Outcome::Fail { on_error: OnError::Dead, reason } = &run.outcome else {
            panic!("{run:?}")
        };
        assert_eq!(
            reason,
            "reshape@1.0.0: contract-violation: /total: 1 is not of type \"string\""
        );
        assert!(matches!(
            run.steps[0].verdict,
            StepVerdict::Fault { kind: FailureKind::ContractViolation, .. }
        ));
        let passed = contracts.apply(&pipeline(Some(OnError::Pass)), sent.clone(), vec![report()]);
        assert!(matches!(passed.outcome, Outcome::Fail { on_error: OnError::Retry, .. }));
        let bare = contracts.apply(&pipeline(None), sent, vec![]);
        let Outcome::Fail { reason, .. } = bare.outcome else { panic!() };
        assert!(reason.starts_with("the event: contract-violation"), "{reason}");
    }

    #[test]
    fn what_is_no_json_breaks_it() {
        let contracts = Contracts::default();
        for sent in [message("text/plain", "hello"), message("application/json", "{")] {
            let run = contracts.apply(&pipeline(None), sent, vec![]);
            assert!(matches!(run.outcome, Outcome::Fail { .. }));
        }
    }
}
