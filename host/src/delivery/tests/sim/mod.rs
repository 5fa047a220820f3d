//! The whole engine under a virtual clock, a scripted network and a seeded random: days in a
//! moment. What it must never do is in `invariants`; what happens to it, in `plan`.
//!
//! A failing seed prints itself. To repeat one: `SIM_SEED=42 cargo test -p hookmill
//! --lib sim -- --nocapture`. More of them: `SIM_SEEDS=1000000`.

mod bugs;
mod invariants;
mod network;
mod plan;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use self::{bugs::Bug, plan::Plan, world::World};

/// Seeds of a run that says nothing else; `cargo xtask test` asks for ten times as many.
const SEEDS: u64 = 1_000;
/// Most seeds in which a planted bug must show itself.
const BUG_SEEDS: u64 = 400;

/// Runs a seed; the invariant that was broken, with the last things that happened.
fn simulate(seed: u64, bug: Option<Bug>) -> Result<world::Figures, String> {
    World::new(Plan::new(seed), bug).run()
}

#[expect(clippy::disallowed_methods, reason = "which seeds to run is the caller's to say")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_repeated_or_hurried_in_thousands_of_simulated_days() {
    if let Some(seed) = asked("SIM_SEED") {
        let plan = format!("{:#?}", Plan::new(seed));
        println!("{plan}");
        simulate(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        return;
    }
    let seeds = asked("SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let totals = thread::scope(|scope| {
        let threads: Vec<_> = (0..thread::available_parallelism().map_or(2, usize::from))
            .map(|_| scope.spawn(|| run_until(&next, seeds)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a seed failed"))
            .fold(world::Figures::default(), |total, figures| total.plus(figures))
    });
    println!(
        "{seeds} seeds: {} simulated days, {} lives of the server, {} deliveries, {} attempts",
        totals.hours / 24,
        totals.lives,
        totals.deliveries,
        totals.attempts
    );
    assert!(totals.attempts > totals.deliveries, "the network was too kind: {totals:?}");
}

fn run_until(next: &AtomicU64, seeds: u64) -> world::Figures {
    let mut total = world::Figures::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            return total;
        }
        match simulate(seed, None) {
            Ok(figures) => total = total.plus(figures),
            Err(broken) => panic!("SIM_SEED={seed} repeats this: {broken}"),
        }
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..20 {
        assert_eq!(simulate(seed, None), simulate(seed, None), "seed {seed}");
    }
}

#[test]
fn a_bug_in_any_invariant_shows_itself() {
    for bug in Bug::ALL {
        let breaks = |seed| simulate(seed, Some(bug)).err().filter(|b| b.starts_with(bug.breaks()));
        let found = (0..BUG_SEEDS).find_map(|seed| Some((seed, breaks(seed)?)));
        let Some((seed, broken)) = found else {
            panic!("{bug:?} did not break {:?} in {BUG_SEEDS} seeds", bug.breaks());
        };
        println!("{bug:?}: seed {seed}: {}", broken.lines().next().unwrap_or_default());
    }
}
