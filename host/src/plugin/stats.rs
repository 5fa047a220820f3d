//! What the runtime counts, for metrics.
//!
//! Plain counters that only go up. Never decides anything.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use metrics::Histogram;

use crate::model::FailureKind;

/// How long runs take. Registered with the first: the recorder is installed by then.
static RUN_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| metrics::histogram!("hookmill_plugin_run_seconds"));

const KINDS: [FailureKind; FailureKind::ALL.len()] = FailureKind::ALL;

/// What was counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs of single steps.
    pub runs: u64,
    /// Times a result was there already, of a step or of a whole pipeline.
    pub shared: u64,
    /// Verdicts that were known without a run, of single steps.
    pub learned: u64,
    /// Memory of what was learned, in bytes.
    pub learned_bytes: u64,
    /// Filters with a config of which something was learned.
    pub learned_trees: u64,
    /// Fuel used by all runs.
    pub fuel: u64,
    /// Time all runs took, in microseconds.
    pub run_us: u64,
    /// Components compiled.
    pub compiled: u64,
    /// Components that were in the cache.
    pub cache_hits: u64,
    /// Plugins loaded now.
    pub loaded: u64,
    /// Failures, by name.
    pub faults: Vec<(FailureKind, u64)>,
}

#[derive(Default)]
pub(super) struct Counters {
    runs: AtomicU64,
    shared: AtomicU64,
    learned: AtomicU64,
    fuel: AtomicU64,
    run_us: AtomicU64,
    compiled: AtomicU64,
    cache_hits: AtomicU64,
    faults: [AtomicU64; KINDS.len()],
}

impl Counters {
    pub(super) fn ran(&self, fuel: u64, duration_us: u64) {
        self.runs.fetch_add(1, Relaxed);
        self.fuel.fetch_add(fuel, Relaxed);
        self.run_us.fetch_add(duration_us, Relaxed);
        RUN_SECONDS.record(duration_us as f64 / 1e6);
    }

    pub(super) fn shared(&self) {
        self.shared.fetch_add(1, Relaxed);
    }

    pub(super) fn learned(&self, steps: usize) {
        self.learned.fetch_add(steps as u64, Relaxed);
    }

    pub(super) fn compiled(&self) {
        self.compiled.fetch_add(1, Relaxed);
    }

    pub(super) fn cache_hit(&self) {
        self.cache_hits.fetch_add(1, Relaxed);
    }

    pub(super) fn fault(&self, kind: FailureKind) {
        if let Some(at) = KINDS.iter().position(|&known| known == kind) {
            self.faults[at].fetch_add(1, Relaxed);
        }
    }

    pub(super) fn read(
        &self,
        loaded: usize,
        (learned_bytes, learned_trees): (usize, usize),
    ) -> Stats {
        Stats {
            runs: self.runs.load(Relaxed),
            shared: self.shared.load(Relaxed),
            learned: self.learned.load(Relaxed),
            learned_bytes: learned_bytes as u64,
            learned_trees: learned_trees as u64,
            fuel: self.fuel.load(Relaxed),
            run_us: self.run_us.load(Relaxed),
            compiled: self.compiled.load(Relaxed),
            cache_hits: self.cache_hits.load(Relaxed),
            loaded: loaded as u64,
            faults: KINDS.iter().zip(&self.faults).map(|(&k, n)| (k, n.load(Relaxed))).collect(),
        }
    }
}
