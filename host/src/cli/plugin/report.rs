//! How the results of `plugin test` and `plugin run` look.

use serde_json::{Value, json};

use super::cases::Mismatch;
use crate::{
    cli::{delivery, output, style::Tint},
    model::{PipelineRun, StepReport},
};

/// ` ✓ passes a large order       31 k fuel   1.1 MiB   14 µs`.
pub(super) fn line(name: &str, width: usize, held: bool, run: &PipelineRun) -> String {
    let sign = if held { Tint::Good.paint('✓') } else { Tint::Bad.paint('✗') };
    let cost = run.steps.first().map(cost).unwrap_or_default();
    format!(" {sign} {name:<width$}  {cost}")
}

fn cost(step: &StepReport) -> String {
    format!(
        "{:>8} fuel {:>9} {:>8}",
        output::short_count(step.fuel),
        output::memory(step.memory_bytes),
        output::micros(step.duration_us)
    )
}

/// What differs, indented below the case's line.
pub(super) fn mismatch(mismatch: &Mismatch, step: Option<&StepReport>) -> String {
    let mut text =
        format!("     expected  {}\n     got       {}\n", mismatch.expected, mismatch.got);
    let step_json = step.and_then(|step| serde_json::to_value(step).ok()).unwrap_or_default();
    for line in delivery::frames(&step_json) {
        text += &format!("                 {line}\n");
    }
    for line in mismatch.diff.iter().flat_map(|diff| diff.lines()) {
        text += &format!("       {}\n", difference(line));
    }
    for line in delivery::notes(&step_json) {
        text += &format!("     {line}\n");
    }
    if let Some(hint) = &mismatch.hint {
        text += &format!("     hint: {hint}\n");
    }
    text.truncate(text.trim_end().len());
    text
}

/// A line of a difference in its colour.
pub(super) fn difference(line: &str) -> String {
    let tint = match line.chars().next() {
        Some('-') => Tint::Bad,
        Some('+') => Tint::Good,
        _ => Tint::Faint,
    };
    tint.paint(line)
}

/// A case's result as data.
pub(super) fn as_json(
    file: &str,
    name: &str,
    run: &PipelineRun,
    result: &Result<(), Mismatch>,
) -> Value {
    let mut value = json!({"file": file, "name": name, "passed": result.is_ok()});
    if let Some(step) = run.steps.first() {
        value["step"] = serde_json::to_value(step).unwrap_or_default();
    }
    if let Err(mismatch) = result {
        value["expected"] = mismatch.expected.clone().into();
        value["got"] = mismatch.got.clone().into();
        value["diff"] = mismatch.diff.clone().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::plugin::cases::tests::run,
        model::{FailureKind, Log, Outcome, StepVerdict},
    };

    #[test]
    fn a_mismatch_reads_from_top_to_bottom() {
        let found = Mismatch {
            expected: "drop \"below at_least\"".into(),
            got: "fault invalid-event: /total is the string \"19.90\", expected a number".into(),
            diff: None,
            hint: Some("read an Option".into()),
        };
        let verdict = StepVerdict::Fault {
            kind: FailureKind::InvalidEvent,
            message: "expected a number".into(),
            backtrace: vec!["shop::total".into(), "filter".into()],
        };
        let mut step = run(verdict, Outcome::Drop { reason: String::new() }).steps.remove(0);
        let note = |message: &str| Log { level: "warn".into(), message: message.into() };
        step.log = vec![note("odd"), note("expected a\nnumber")];
        insta::assert_snapshot!(mismatch(&found, Some(&step)), @r#"
             expected  drop "below at_least"
             got       fault invalid-event: /total is the string "19.90", expected a number
                         in shop::total
                         by filter
             warn: odd
             hint: read an Option
        "#);
    }
}
