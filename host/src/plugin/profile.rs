//! What a plugin costs, for its author: the same run many times over, and where its fuel goes.
//!
//! A profile needs no timer. Fuel is counted instruction by instruction, so a run that is
//! given less of it stops at a place that is always the same; the stack there is one sample.
//! Owns these experiments; never part of a delivery.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    LiveEvent, Runtime,
    engine::Ticker,
    host::{Seen, types},
    message,
    run::{Answer, Plugin, Run},
    settings::Limits,
};
use crate::{
    clock::Stopwatch,
    model::{FailureKind, Sha256},
};

/// Runs before those that are counted: caches fill, memory is mapped.
const WARM_UP: usize = 20;
/// Most times that are kept: enough for a percentile, little memory.
const MAX_TIMES: usize = 1_000_000;

/// How long a measurement goes on: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Runs.
    pub runs: usize,
    /// Time.
    pub time: Duration,
}

/// What runs of a plugin over one event cost.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Times of the runs, shortest first.
    pub times: Vec<Duration>,
    /// Fuel of a run, always the same.
    pub fuel: u64,
    /// What it may use.
    pub fuel_limit: u64,
    /// Linear memory at the end of a run, which is the most it had.
    pub memory_bytes: u64,
    /// What it answered, in bytes, as the limit of output counts them.
    pub output_bytes: usize,
    /// The limits of its class.
    pub limits: Limits,
    /// How it ended, if not well.
    pub failure: Option<(FailureKind, String)>,
}

/// Where the fuel of a run goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Fuel by stack: the functions, outermost first.
    pub stacks: BTreeMap<Vec<String>, u64>,
    /// Runs that were stopped and looked at.
    pub samples: u64,
    /// Fuel of the whole run.
    pub fuel: u64,
}

impl Runtime {
    /// Runs a loaded plugin over an event many times, on one thread. None if it is not loaded.
    pub async fn measure(
        &self,
        sha256: &Sha256,
        event: &Arc<LiveEvent>,
        config: &str,
        effort: Effort,
    ) -> Option<Measured> {
        self.experiment(sha256, event, config, move |runs| runs.measure(effort)).await
    }

    /// Samples where a loaded plugin's fuel goes, at most `samples` times over the run. None if
    /// it is not loaded.
    pub async fn profile(
        &self,
        sha256: &Sha256,
        event: &Arc<LiveEvent>,
        config: &str,
        samples: u64,
    ) -> Option<Profile> {
        self.experiment(sha256, event, config, move |runs| runs.profile(samples)).await
    }

    async fn experiment<T: Send + 'static>(
        &self,
        sha256: &Sha256,
        event: &Arc<LiveEvent>,
        config: &str,
        work: impl FnOnce(&Experiment<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let plugin = self.core.plugin(sha256)?;
        let (core, seen) = (Arc::clone(&self.core), Arc::clone(&event.seen));
        let config = config.to_owned();
        let job = move || {
            let ticker = &core.ticker;
            work(&Experiment { plugin: &plugin, ticker, seen: &seen, config: &config })
        };
        self.workers.run(job).await
    }

    /// Bytes of a loaded plugin's machine code, if it could be kept on disk.
    pub fn compiled_size(&self, sha256: &Sha256) -> Option<u64> {
        self.cache.size(sha256, self.class(sha256)?)
    }
}

/// A plugin, an event and a config.
struct Experiment<'a> {
    plugin: &'a Plugin,
    ticker: &'a Ticker,
    seen: &'a Arc<Seen>,
    config: &'a str,
}

impl Experiment<'_> {
    fn run(&self) -> Run<Answer> {
        self.plugin.ask(self.ticker, self.seen, self.config)
    }

    fn measure(&self, effort: Effort) -> Measured {
        let first = self.run();
        for _ in 0..WARM_UP.min(effort.runs) {
            self.run();
        }
        let all = Stopwatch::start();
        let mut times = Vec::new();
        while times.is_empty()
            || (times.len() < effort.runs.min(MAX_TIMES) && all.elapsed() < effort.time)
        {
            let one = Stopwatch::start();
            let run = self.run();
            times.push(one.elapsed());
            drop(run);
        }
        times.sort_unstable();
        let (output_bytes, failure) = match first.result {
            Ok(answer) => (size(&answer), None),
            Err(failure) => (0, Some(failure)),
        };
        Measured {
            times,
            fuel: first.fuel,
            fuel_limit: self.plugin.fuel_for(self.seen, self.config),
            memory_bytes: first.memory_bytes,
            output_bytes,
            limits: *self.plugin.limits(),
            failure,
        }
    }

    fn profile(&self, samples: u64) -> Profile {
        let fuel = self.run().fuel;
        let mut profile = Profile { fuel, ..Profile::default() };
        let samples = samples.clamp(1, fuel.max(1));
        let mut before = 0;
        for sample in 1..=samples {
            // In 128 bits: fuel may be anything.
            let budget = u128::from(fuel) * u128::from(sample) / u128::from(samples);
            let budget = u64::try_from(budget).unwrap_or(fuel);
            // The last one would not stop if it were given all.
            let within = budget.saturating_sub(1);
            let run = self.plugin.ask_within(self.ticker, self.seen, self.config, within);
            let weight = budget - before;
            before = budget;
            let out_of_fuel = matches!(run.result, Err((FailureKind::OutOfFuel, _)));
            // The last few instructions are not always looked at before the run is over.
            let stack = match out_of_fuel {
                true => run.backtrace.into_iter().rev().collect(),
                false => vec!["(the end of the run)".to_owned()],
            };
            *profile.stacks.entry(stack).or_default() += weight;
            profile.samples += 1;
        }
        profile
    }
}

/// What an answer counts against the limit of output.
fn size(answer: &Answer) -> usize {
    match answer {
        Answer::Verdict(types::Verdict::Pass) => 0,
        Answer::Verdict(types::Verdict::Drop(reason))
        | Answer::Outcome(types::Outcome::Drop(reason)) => reason.len(),
        Answer::Outcome(types::Outcome::Deliver(message)) => message::message_size(message),
        Answer::Outcome(types::Outcome::Edit(edits)) => message::edits_size(edits),
    }
}

impl Profile {
    /// Adds another run's.
    pub fn add(&mut self, other: Self) {
        for (stack, fuel) in other.stacks {
            *self.stacks.entry(stack).or_default() += fuel;
        }
        self.samples += other.samples;
        self.fuel += other.fuel;
    }

    /// A line for each stack, its functions joined by semicolons and the fuel behind it: what
    /// tools for flame graphs read. `root` is put below everything.
    pub fn folded(&self, root: &str) -> Vec<String> {
        let line = |(stack, fuel): (&Vec<String>, &u64)| {
            let mut line = root.replace(';', ":");
            for name in stack {
                line.push(';');
                line += &name.replace(';', ":");
            }
            format!("{line} {fuel}")
        };
        self.stacks.iter().map(line).collect()
    }

    /// Fuel by function, its own and not its callees', most first.
    pub fn by_function(&self) -> Vec<(&str, u64)> {
        let mut functions: BTreeMap<&str, u64> = BTreeMap::new();
        for (stack, fuel) in &self.stacks {
            let name = stack.last().map_or("(unknown)", String::as_str);
            *functions.entry(name).or_default() += fuel;
        }
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tests::{Lab, event, guest::filter};

    /// A guest that burns three times as much fuel in one function as in the other.
    fn burner() -> Vec<u8> {
        let items = "(func $burn (param $n i32) (loop $again \
                       (local.set $n (i32.sub (local.get $n) (i32.const 1))) \
                       (br_if $again (local.get $n)))) \
                     (func $large (call $burn (i32.const 30000))) \
                     (func $small (call $burn (i32.const 10000)))";
        filter("burner", items, "(call $large) (call $small)")
    }

    #[tokio::test]
    async fn a_profile_is_the_fuel_by_function_and_always_the_same() {
        let lab = Lab::new();
        let plugin = lab.upload(&burner()).await.unwrap();
        let event = event("{}");
        let profile = || lab.runtime.profile(&plugin.sha256, &event, "{}", 200);
        let first = profile().await.unwrap();
        assert_eq!(first, profile().await.unwrap());
        assert_eq!(first.stacks.values().sum::<u64>(), first.fuel);
        let fuel_of = |name: &str| -> f64 {
            let within = first.stacks.iter().filter(|(s, _)| s.iter().any(|n| n == name));
            within.map(|(_, &fuel)| fuel as f64).sum::<f64>() / first.fuel as f64
        };
        assert!((fuel_of("large") - 0.75).abs() < 0.02, "{first:?}");
        assert!((fuel_of("small") - 0.25).abs() < 0.02, "{first:?}");
        assert_eq!(first.by_function()[0].0, "burn");
        let folded = first.folded("burner 0.1.0");
        assert!(folded.iter().any(|line| line.starts_with("burner 0.1.0;main;large;burn ")));
    }

    #[tokio::test]
    async fn a_measurement_has_the_asked_number_of_runs_and_the_run_s_own_figures() {
        let lab = Lab::new();
        let plugin = lab.upload(&burner()).await.unwrap();
        let effort = Effort { runs: 30, time: Duration::from_secs(60) };
        let event = event("{}");
        let found = lab.runtime.measure(&plugin.sha256, &event, "{}", effort).await.unwrap();
        assert_eq!(found.times.len(), 30);
        assert!(found.times.is_sorted());
        assert_eq!(found.fuel_limit, found.limits.fuel_for(4));
        assert!(found.fuel > 40_000 && found.memory_bytes == 2 << 16, "{found:?}");
        assert!(lab.runtime.measure(&Sha256::of(b""), &event, "{}", effort).await.is_none());
        assert!(lab.runtime.compiled_size(&plugin.sha256).is_some_and(|size| size > 1_000));
    }
}
