//! `hookmill plugin bench`: what a plugin's recorded cases cost, against its limits.
//!
//! Owns the figures and how they are shown. Never says what a case should come to: that is
//! `plugin test`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    cases::Case,
    flame,
    lab::{self, Lab},
};
use crate::{
    cli::{
        Global,
        output::{self, Failure},
        style::Tint,
    },
    model::FailureKind,
    plugin::{Effort, LiveEvent, Measured, Profile},
};

/// Shares of a limit, in percent, from which on they are red.
const NEAR: f64 = 80.0;

/// Measure a plugin's recorded cases against its limits
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin bench big-orders\n  hookmill plugin bench --profile big-orders.svg    where the fuel goes, as a flame graph\n  hookmill plugin bench --json | jq '.cases[].fuel.percent'"
)]
pub(in crate::cli) struct Bench {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Measure this component or core module instead of building the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Only cases with this in their name or their file's
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Most runs of each case
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    runs: usize,
    /// Most seconds for each case
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// Draw a flame graph of the fuel, by function
    #[arg(long, value_name = "FILE.svg", num_args = 0..=1, default_missing_value = "profile.svg")]
    profile: Option<PathBuf>,
    /// Write the profile's stacks as text, for other tools
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,
    /// Samples of each case's run in a profile
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    samples: u64,
}

/// Something used, and what of it there is.
#[derive(Debug, Clone, Copy)]
struct Share {
    used: f64,
    limit: f64,
}

impl Share {
    fn percent(self) -> f64 {
        if self.limit > 0.0 { self.used / self.limit * 100.0 } else { 0.0 }
    }

    /// `12 %`; near the limit red, with a sign for those who see no red.
    fn cell(self) -> Cell {
        let percent = self.percent();
        if percent >= NEAR {
            return Cell { text: format!("{percent:.0} % !"), tint: Tint::Bad };
        }
        let digits = if percent < 0.995 { 2 } else { usize::from(percent < 9.95) };
        Cell { text: format!("{percent:.digits$} %"), tint: Tint::Plain }
    }

    fn as_json(self) -> Value {
        let whole = |n: f64| if n.fract() == 0.0 { json!(n as u64) } else { json!(n) };
        json!({
            "used": whole(self.used),
            "limit": whole(self.limit),
            "percent": (self.percent() * 100.0).round() / 100.0,
        })
    }
}

/// A case's figures.
struct Figures {
    runs: usize,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    fuel: Share,
    memory: Share,
    time: Share,
    output: Share,
}

impl Figures {
    fn of(measured: &Measured) -> Self {
        let times = &measured.times;
        let total: Duration = times.iter().sum();
        // The smallest time that so many of the runs did not take longer than.
        let within = |percent: usize| {
            let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(at).copied().unwrap_or_default()
        };
        let (p50, p99) = (within(50), within(99));
        let share = |used: u64, limit: u64| Share { used: used as f64, limit: limit as f64 };
        let limits = &measured.limits;
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        Self {
            runs: times.len(),
            per_second: times.len() as f64 / total.as_secs_f64().max(1e-9),
            p50,
            p99,
            fuel: share(measured.fuel, measured.fuel_limit),
            memory: share(measured.memory_bytes, limits.memory_bytes as u64),
            time: Share { used: micros(p99), limit: micros(limits.wall) },
            output: share(measured.output_bytes as u64, limits.output_bytes as u64),
        }
    }

    fn row(&self, name: &str) -> Vec<Cell> {
        let plain = |text: String| Cell { text, tint: Tint::Plain };
        vec![
            plain(name.to_owned()),
            plain(output::count(self.per_second.round() as u64)),
            plain(time(self.p50)),
            plain(time(self.p99)),
            plain(output::short_count(self.fuel.used as u64)),
            self.fuel.cell(),
            plain(output::memory(self.memory.used as u64)),
            self.memory.cell(),
            self.time.cell(),
            self.output.cell(),
        ]
    }
}

impl Bench {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let time = Duration::try_from_secs_f64(self.seconds)
            .map_err(|error| Failure::usage(format!("--seconds {}: {error}", self.seconds)))?;
        let effort = Effort { runs: self.runs.max(1), time };
        let cases = lab::cases(&self.folder, self.case.as_deref())?;
        let wasm = lab::component(&self.folder, self.component.as_deref())?;
        let lab = Lab::start(wasm).await?;
        let mut measured = Vec::new();
        for (_, case) in &cases {
            measured.push((case.name.as_str(), measure(&lab, case, effort).await?));
        }
        let profile = match self.profile.is_some() || self.folded.is_some() {
            true => Some(self.take_profile(&lab, &cases).await?),
            false => None,
        };
        if global.json {
            output::json(&as_json(&lab, &measured, profile.as_ref()));
        } else {
            output::data(table(&lab, &measured));
            for (name, measured) in &measured {
                // What a plugin says itself is an answer; where it was stopped, the figures end.
                if let Some((kind, words)) = &measured.failure
                    && !is_answer(*kind)
                {
                    let kind = kind.as_str();
                    output::say(format_args!(
                        "{name}: measured up to where it failed, {kind}: {words}"
                    ));
                }
            }
            if let Some(profile) = &profile {
                output::data(flame::list(profile));
            }
        }
        let title = title(&lab);
        if let (Some(file), Some(profile)) = (&self.profile, &profile) {
            flame::write_svg(file, &title, profile)?;
        }
        if let (Some(file), Some(profile)) = (&self.folded, &profile) {
            flame::write_folded(file, &title, profile)?;
        }
        Ok(())
    }

    async fn take_profile(&self, lab: &Lab, cases: &[(PathBuf, Case)]) -> Result<Profile, Failure> {
        let mut all = Profile::default();
        for (_, case) in cases {
            let event = LiveEvent::new(Arc::new(lab::event(case)?));
            let (runtime, sha256) = (&lab.engine.runtime, &lab.inspected.sha256);
            let found = runtime.profile(sha256, &event, &lab::config(case), self.samples).await;
            all.add(found.ok_or_else(lost)?);
        }
        Ok(all)
    }
}

async fn measure(lab: &Lab, case: &Case, effort: Effort) -> Result<Measured, Failure> {
    let event = LiveEvent::new(Arc::new(lab::event(case)?));
    let (runtime, sha256) = (&lab.engine.runtime, &lab.inspected.sha256);
    let found = runtime.measure(sha256, &event, &lab::config(case), effort).await;
    found.ok_or_else(lost)
}

const fn is_answer(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::InvalidEvent | FailureKind::InvalidConfig | FailureKind::Failed)
}

fn lost() -> Failure {
    Failure::failed("the plugin engine lost the run")
}

fn title(lab: &Lab) -> String {
    format!("{} {}", lab.inspected.manifest.name, lab.inspected.manifest.version)
}

/// The plugin's class, which decides its limits.
fn class(lab: &Lab) -> &'static str {
    lab.engine.runtime.class(&lab.inspected.sha256).map_or("", crate::plugin::Class::as_str)
}

fn as_json(lab: &Lab, measured: &[(&str, Measured)], profile: Option<&Profile>) -> Value {
    let cases = measured.iter().map(|(name, measured)| {
        let figures = Figures::of(measured);
        let failure = measured
            .failure
            .as_ref()
            .map(|(kind, message)| json!({"kind": kind, "message": message}));
        json!({
            "name": name,
            "runs": figures.runs,
            "runs_per_second": figures.per_second.round() as u64,
            "p50_us": figures.p50.as_nanos() as f64 / 1e3,
            "p99_us": figures.p99.as_nanos() as f64 / 1e3,
            "fuel": figures.fuel.as_json(),
            "memory": figures.memory.as_json(),
            "time_us": figures.time.as_json(),
            "output": figures.output.as_json(),
            "failure": failure,
        })
    });
    let functions = |profile: &Profile| -> Value {
        let functions = profile.by_function().into_iter();
        functions.map(|(name, fuel)| json!({"name": name, "fuel": fuel})).collect()
    };
    json!({
        "name": lab.inspected.manifest.name,
        "version": lab.inspected.manifest.version,
        "sha256": lab.inspected.sha256,
        "class": class(lab),
        "cases": cases.collect::<Vec<_>>(),
        "profile": profile.map(|profile| json!({
            "samples": profile.samples, "fuel": profile.fuel, "functions": functions(profile),
        })),
    })
}

/// A piece of a row.
struct Cell {
    text: String,
    tint: Tint,
}

const HEADERS: [&str; 10] =
    ["CASE", "RUNS/S", "P50", "P99", "FUEL", "OF LIMIT", "MEMORY", "OF LIMIT", "TIME", "OUTPUT"];

fn table(lab: &Lab, measured: &[(&str, Measured)]) -> String {
    let heads = HEADERS.iter().map(|head| Cell { text: (*head).into(), tint: Tint::Faint });
    let mut rows = vec![heads.collect::<Vec<_>>()];
    rows.extend(measured.iter().map(|(name, measured)| Figures::of(measured).row(name)));
    let size = output::file_size(lab.inspected.component.len() as u64);
    format!("{}  {}  {size}\n{}", title(lab), class(lab), aligned(&rows))
}

/// The first column to the left, the others to the right. Colours take no room.
fn aligned(rows: &[Vec<Cell>]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADERS.len()).map(width).collect();
    let line = |row: &Vec<Cell>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let room = " ".repeat(width - cell.text.chars().count());
            let text = cell.tint.paint(&cell.text);
            if at == 0 { format!("{text}{room}") } else { format!("{room}{text}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `9.4 µs`, then as everywhere.
fn time(time: Duration) -> String {
    match time.as_nanos() {
        nanos @ 0..=9_949 => format!("{:.1} µs", nanos as f64 / 1e3),
        nanos => output::micros(u64::try_from(nanos / 1_000).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Limits;

    fn measured(fuel: u64, micros: impl IntoIterator<Item = u64>) -> Measured {
        Measured {
            times: micros.into_iter().map(Duration::from_micros).collect(),
            fuel,
            fuel_limit: 10_000,
            memory_bytes: 1 << 20,
            output_bytes: 100,
            limits: Limits::LEAN,
            failure: None,
        }
    }

    #[test]
    fn percentiles_and_shares_are_what_they_say() {
        let figures = Figures::of(&measured(500, 1..=200));
        assert_eq!((figures.p50.as_micros(), figures.p99.as_micros()), (100, 198));
        assert_eq!(figures.per_second.round(), 9950.0);
        assert_eq!((figures.fuel.percent(), figures.memory.percent()), (5.0, 6.25));
        assert_eq!(figures.time.as_json(), json!({"used": 198, "limit": 50_000, "percent": 0.4}));
    }

    #[test]
    fn what_is_near_its_limit_is_marked() {
        let rows = [
            Figures::of(&measured(500, [9])).row("a small one"),
            Figures::of(&measured(8_000, [12, 1_500])).row("a large one"),
        ];
        insta::assert_snapshot!(aligned(&rows), @r"
        a small one  111,111  9.0 µs  9.0 µs   500   5.0 %  1.0 MiB  6.2 %  0.02 %  0.01 %
        a large one    1,323   12 µs  1.5 ms  8000  80 % !  1.0 MiB  6.2 %   3.0 %  0.01 %
        ");
    }
}
