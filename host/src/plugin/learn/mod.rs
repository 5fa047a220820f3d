//! Learned verdicts: what filters came to, by what they read, so that an event which looks the
//! same to a filter needs no run.
//!
//! Owns the trees of all filters (one for each component and config) and the bound of them
//! together. Exact: a verdict is only taken over if the run would have come to it in the same
//! way. Never runs anything.

mod pointers;
mod trace;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

pub(super) use trace::{Fact, Patience, Trace};
pub(super) use tree::Leaf;

use super::{
    host::{Seen, many_room},
    settings::Limits,
};
use crate::model::{PipelineRun, ResolvedStep, Sha256};
use pointers::Pointers;
use trace::Question;
use tree::{End, Refused, Room, Step, Tree};

/// Most bytes of one tree.
const MAX_TREE_BYTES: usize = 256 << 10;
/// What a tree takes before it holds anything, its places in the maps included.
const EMPTY_TREE_BYTES: usize = size_of::<Plant>() + 256;
/// A full tree that answered less often than once for so many paths it learned is given up.
const PATHS_PER_HIT: u64 = 8;

/// Parts that the trees are kept in.
const SHARDS: usize = 16;

/// All trees.
#[derive(Debug)]
pub(super) struct Learned {
    /// Tells this from others of the process, whose trees a step may keep.
    number: u64,
    max_bytes: usize,
    /// Of all trees that are in the map.
    bytes: AtomicUsize,
    /// Counts what is learned; says which trees were used least recently. Look-ups only read it:
    /// thousands at once would wait for one another to count.
    clock: AtomicU64,
    pointers: Pointers,
    /// By a part of the config, so that look-ups at once seldom meet at one lock.
    shards: [RwLock<Shard>; SHARDS],
}

/// The trees of some configs.
type Shard = HashMap<Sha256, Configs>;

/// The trees of a component, by config.
type Configs = HashMap<Arc<str>, Arc<Plant>>;

/// One tree and how it does.
#[derive(Debug)]
struct Plant {
    /// Of the [`Learned`] it belongs to.
    owner: u64,
    /// Look-ups that found a leaf.
    hits: AtomicU64,
    /// When it was last asked.
    used: AtomicU64,
    /// Whether it was found useless: nothing is looked up or learned any more.
    given_up: AtomicBool,
    /// Whether it was taken from the map: its bytes count no more. Changes with the state locked.
    gone: AtomicBool,
    /// What a run of this plugin may use: fuel, and fuel for each byte.
    fuel: u64,
    fuel_per_byte: u64,
    config_bytes: usize,
    state: RwLock<State>,
    /// What the first who asked calls the plugin.
    name: String,
    version: String,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// Paths learned since the tree was last empty.
    paths: u64,
}

/// What a pipeline of one step would come to.
#[derive(Debug)]
pub(super) enum Known {
    /// All of it.
    Dropped(Arc<PipelineRun>),
    /// The step's part.
    Leaf(Arc<Leaf>),
}

/// Who wants to know, of what.
#[derive(Debug, Clone, Copy)]
struct Asker<'a> {
    clock: u64,
    step: &'a ResolvedStep,
    seen: &'a Seen,
    patience: Patience,
}

/// Numbers for [`Learned::number`].
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Plant {
    fn ask<T>(&self, by: &Asker<'_>, take: impl FnOnce(&End) -> T) -> Option<T> {
        self.used.store(by.clock, Relaxed);
        if self.given_up.load(Relaxed) {
            return None;
        }
        let payload = by.seen.document.bytes().len();
        let input = (payload + by.step.config.len()) as u64;
        let room = Room {
            fuel: self.fuel.saturating_add(self.fuel_per_byte.saturating_mul(input)),
            many: many_room(payload),
        };
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let ask = |question: &Question| trace::answer(by.seen, question, by.patience);
        let found = take(state.tree.look_up(room, ask)?);
        drop(state);
        self.hits.fetch_add(1, Relaxed);
        Some(found)
    }

    fn is_named(&self, step: &ResolvedStep) -> bool {
        self.name == step.name && self.version == step.version
    }
}

impl Learned {
    /// Trees of at most `max_bytes` together; 0 learns nothing.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            number: NUMBER.fetch_add(1, Relaxed),
            max_bytes,
            bytes: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            pointers: Pointers::default(),
            shards: Default::default(),
        }
    }

    /// Whether anything is learned at all.
    pub(super) const fn is_on(&self) -> bool {
        self.max_bytes > 0
    }

    /// What a run over `seen` would come to, if that is known.
    pub(super) fn look_up(
        &self,
        step: &ResolvedStep,
        seen: &Seen,
        patience: Patience,
    ) -> Option<Arc<Leaf>> {
        self.find(step, seen, patience, |end, _| Arc::clone(end.leaf()))
    }

    /// What a pipeline that begins with `step` would come to if it ends there, or else the step.
    pub(super) fn look_up_first(
        &self,
        step: &ResolvedStep,
        seen: &Seen,
        patience: Patience,
    ) -> Option<Known> {
        self.find(step, seen, patience, |end, is_named| {
            let dropped = if is_named { end.dropped(step) } else { None };
            match dropped {
                Some(run) => Known::Dropped(Arc::clone(run)),
                None => Known::Leaf(Arc::clone(end.leaf())),
            }
        })
    }

    /// Finds an end. `take` is told whether all that share it call the plugin the same.
    fn find<T>(
        &self,
        step: &ResolvedStep,
        seen: &Seen,
        patience: Patience,
        take: impl Fn(&End, bool) -> T,
    ) -> Option<T> {
        let by = Asker { clock: self.clock.load(Relaxed), step, seen, patience };
        // Of ten thousand steps each has a tree of its own somewhere in memory: the way there
        // takes longer than what is done there, so the step keeps it.
        let kept = step.kept.with(|plant: &Plant| {
            let is_mine = plant.owner == self.number && !plant.gone.load(Relaxed);
            is_mine.then(|| plant.ask(&by, |end| take(end, true)))
        });
        if let Some(Some(found)) = kept {
            return found;
        }
        let plant = self.plant(step)?;
        let is_named = plant.is_named(step);
        let found = plant.ask(&by, |end| take(end, is_named));
        if is_named {
            step.kept.keep(plant);
        }
        found
    }

    /// Remembers what a run came to: one that ended by itself, with a verdict, and that is
    /// allowed to be learned.
    pub(super) fn learn(
        &self,
        of: &ResolvedStep,
        limits: &Limits,
        seen: &Seen,
        trace: &Trace,
        leaf: Leaf,
    ) {
        let input = seen.document.bytes().len() + of.config.len();
        // With no fuel left it is not known how much the run needed.
        if !self.is_on() || leaf.fuel >= limits.fuel_for(input) {
            return;
        }
        let Some(questions) = trace.questions(&leaf.reads, |pointer| self.pointers.name(pointer))
        else {
            return;
        };
        let answer = |question: Question| {
            let answer = trace::answer(seen, &question, Patience::Enough)?;
            Some((question, answer))
        };
        let Some(path) = questions.into_iter().map(answer).collect::<Option<Vec<_>>>() else {
            return;
        };
        let leaf = Leaf { many: trace.most_at_once(), ..leaf };
        self.clock.fetch_add(1, Relaxed);
        self.add(of, limits, &path, &leaf);
        if self.bytes.load(Relaxed) > self.max_bytes {
            self.make_room();
        }
    }

    /// Forgets what the runs of a component came to.
    pub(super) fn forget(&self, sha256: &Sha256) {
        for shard in &self.shards {
            let mut trees = shard.write().unwrap_or_else(PoisonError::into_inner);
            for (_, plant) in trees.remove(sha256).into_iter().flatten() {
                self.remove(&plant);
            }
        }
    }

    /// The bytes of all trees, and their number.
    pub(super) fn size(&self) -> (usize, usize) {
        let count = |shard: &RwLock<Shard>| {
            let trees = shard.read().unwrap_or_else(PoisonError::into_inner);
            trees.values().map(HashMap::len).sum::<usize>()
        };
        (self.bytes.load(Relaxed), self.shards.iter().map(count).sum())
    }

    fn shard(&self, config: &str) -> &RwLock<Shard> {
        // Configs of one plugin differ where their values are, often near the end.
        let tail = config.as_bytes().iter().rev().take(16);
        let mixed = tail.fold(config.len(), |sum, &byte| sum.wrapping_mul(31) ^ usize::from(byte));
        &self.shards[(mixed ^ (mixed >> 4)) % SHARDS]
    }

    fn plant(&self, of: &ResolvedStep) -> Option<Arc<Plant>> {
        let shard = self.shard(&of.config);
        let trees = shard.read().unwrap_or_else(PoisonError::into_inner);
        trees.get(&of.sha256)?.get(&*of.config).map(Arc::clone)
    }

    fn plant_or_new(&self, of: &ResolvedStep, limits: &Limits) -> Arc<Plant> {
        if let Some(plant) = self.plant(of) {
            return plant;
        }
        let shard = self.shard(&of.config);
        let mut trees = shard.write().unwrap_or_else(PoisonError::into_inner);
        let configs = trees.entry(of.sha256).or_default();
        let plant = configs.entry(Arc::clone(&of.config)).or_insert_with(|| {
            self.bytes.fetch_add(EMPTY_TREE_BYTES + of.config.len(), Relaxed);
            Arc::new(Plant {
                owner: self.number,
                hits: AtomicU64::new(0),
                used: AtomicU64::new(self.clock.load(Relaxed)),
                given_up: AtomicBool::new(false),
                gone: AtomicBool::new(false),
                fuel: limits.fuel,
                fuel_per_byte: limits.fuel_per_byte,
                config_bytes: of.config.len(),
                state: RwLock::default(),
                name: of.name.clone(),
                version: of.version.clone(),
            })
        });
        Arc::clone(plant)
    }

    fn add(&self, of: &ResolvedStep, limits: &Limits, path: &[Step], leaf: &Leaf) {
        let plant = self.plant_or_new(of, limits);
        if plant.given_up.load(Relaxed) {
            return;
        }
        let most = MAX_TREE_BYTES.min(self.max_bytes / 4);
        let mut state = plant.state.write().unwrap_or_else(PoisonError::into_inner);
        if plant.gone.load(Relaxed) {
            return;
        }
        let before = state.tree.bytes();
        let mut learned = state.tree.learn(path, leaf, most);
        if learned == Err(Refused::Full) {
            // Values drift, and what was true of yesterday's is only in the way. But where
            // nearly every event is new, learning costs and gives nothing.
            let is_useful = plant.hits.swap(0, Relaxed) >= state.paths / PATHS_PER_HIT;
            plant.given_up.store(!is_useful, Relaxed);
            (state.tree, state.paths) = (Tree::default(), 0);
            if is_useful {
                learned = state.tree.learn(path, leaf, most);
            }
        }
        if learned == Err(Refused::Contradiction) {
            tracing::error!(
                component = %of.sha256,
                "a filter came to different ends over events that look the same to it; nothing \
                 is learned of it any more. This is a fault of the server: please report it"
            );
            plant.given_up.store(true, Relaxed);
            state.tree = Tree::default();
        }
        state.paths += u64::from(learned.is_ok());
        let after = state.tree.bytes();
        // Both under the tree's lock, so that the sum is right when the tree is taken away.
        self.bytes.fetch_add(after, Relaxed);
        self.bytes.fetch_sub(before, Relaxed);
    }

    /// Takes away the trees used least recently, until an eighth of all is free.
    fn make_room(&self) {
        let mut by_use: Vec<(u64, Sha256, Arc<str>)> = Vec::new();
        for shard in &self.shards {
            let trees = shard.read().unwrap_or_else(PoisonError::into_inner);
            by_use.extend(trees.iter().flat_map(|(sha256, configs)| {
                configs
                    .iter()
                    .map(|(config, plant)| (plant.used.load(Relaxed), *sha256, Arc::clone(config)))
            }));
        }
        by_use.sort_unstable();
        for (_, sha256, config) in by_use {
            if self.bytes.load(Relaxed) <= self.max_bytes / 8 * 7 {
                break;
            }
            let mut trees = self.shard(&config).write().unwrap_or_else(PoisonError::into_inner);
            if let Some(configs) = trees.get_mut(&sha256) {
                if let Some(plant) = configs.remove(&config) {
                    self.remove(&plant);
                }
                if configs.is_empty() {
                    trees.remove(&sha256);
                }
            }
        }
    }

    /// A tree that was taken from the map counts no more.
    fn remove(&self, plant: &Plant) {
        let mut state = plant.state.write().unwrap_or_else(PoisonError::into_inner);
        plant.gone.store(true, Relaxed);
        let bytes = EMPTY_TREE_BYTES + plant.config_bytes + state.tree.bytes();
        // A step may keep the plant for as long as it likes.
        state.tree = Tree::default();
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}
