//! Learned verdicts: what filters came to, by what they read, so that an event which looks the
//! same to a filter needs no run.
//!
//! Owns the trees of all filters (one for each component and config) and the bound of them
//! together. Exact: a verdict is only taken over if the run would have come to it in the same
//! way. Never runs anything.

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
pub(super) use tree::{End, Leaf};

use super::{
    host::{Seen, many_room},
    settings::Limits,
};
use crate::model::Sha256;
use trace::Question;
use tree::{Refused, Room, Step, Tree};

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
    max_bytes: usize,
    /// Of all trees that are in the map.
    bytes: AtomicUsize,
    /// Counts what is learned; says which trees were used least recently. Look-ups only read it:
    /// thousands at once would wait for one another to count.
    clock: AtomicU64,
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
    /// What a run of this plugin may use.
    limits: Limits,
    config_bytes: usize,
    /// Look-ups that found a leaf.
    hits: AtomicU64,
    /// When it was last asked.
    used: AtomicU64,
    /// Whether it was found useless: nothing is looked up or learned any more.
    given_up: AtomicBool,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// Paths learned since the tree was last empty.
    paths: u64,
    /// Whether it was taken from the map: its bytes count no more.
    gone: bool,
}

/// What the runs of a step are known by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) sha256: &'a Sha256,
    pub(super) config: &'a Arc<str>,
}

impl Learned {
    /// Trees of at most `max_bytes` together; 0 learns nothing.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
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
        of: Subject<'_>,
        seen: &Seen,
        patience: Patience,
    ) -> Option<Arc<End>> {
        let plant = self.plant(of)?;
        plant.used.store(self.clock.load(Relaxed), Relaxed);
        if plant.given_up.load(Relaxed) {
            return None;
        }
        let input = seen.document.bytes().len() + of.config.len();
        let room = Room {
            fuel: plant.limits.fuel_for(input),
            many: many_room(seen.document.bytes().len()),
        };
        let state = plant.state.read().unwrap_or_else(PoisonError::into_inner);
        let end = state.tree.look_up(room, |question| trace::answer(seen, question, patience))?;
        drop(state);
        plant.hits.fetch_add(1, Relaxed);
        Some(end)
    }

    /// Remembers what a run came to: one that ended by itself, with a verdict, and that is
    /// allowed to be learned.
    pub(super) fn learn(
        &self,
        of: Subject<'_>,
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
        let Some(questions) = trace.questions(&leaf.reads) else { return };
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

    fn plant(&self, of: Subject<'_>) -> Option<Arc<Plant>> {
        let shard = self.shard(of.config);
        let trees = shard.read().unwrap_or_else(PoisonError::into_inner);
        trees.get(of.sha256)?.get(&**of.config).map(Arc::clone)
    }

    fn plant_or_new(&self, of: Subject<'_>, limits: &Limits) -> Arc<Plant> {
        if let Some(plant) = self.plant(of) {
            return plant;
        }
        let shard = self.shard(of.config);
        let mut trees = shard.write().unwrap_or_else(PoisonError::into_inner);
        let configs = trees.entry(*of.sha256).or_default();
        let plant = configs.entry(Arc::clone(of.config)).or_insert_with(|| {
            self.bytes.fetch_add(EMPTY_TREE_BYTES + of.config.len(), Relaxed);
            Arc::new(Plant {
                limits: *limits,
                config_bytes: of.config.len(),
                hits: AtomicU64::new(0),
                used: AtomicU64::new(self.clock.load(Relaxed)),
                given_up: AtomicBool::new(false),
                state: RwLock::default(),
            })
        });
        Arc::clone(plant)
    }

    fn add(&self, of: Subject<'_>, limits: &Limits, path: &[Step], leaf: &Leaf) {
        let plant = self.plant_or_new(of, limits);
        if plant.given_up.load(Relaxed) {
            return;
        }
        let most = MAX_TREE_BYTES.min(self.max_bytes / 4);
        let mut state = plant.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.gone {
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
        state.gone = true;
        let bytes = EMPTY_TREE_BYTES + plant.config_bytes + state.tree.bytes();
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}
