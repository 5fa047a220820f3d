//! A decision tree: what the runs of one filter with one config asked, and what they came to.
//!
//! A guest is deterministic: after the same answers it asks the same question next, or comes to
//! the same end. So a node is a question, its edges are answers, and a leaf is an end. Owns
//! the bounds of one tree; never asks an event itself.

use std::sync::{Arc, OnceLock};

use super::trace::{Answer, Question};
use crate::model::{Log, Outcome, PipelineRun, ResolvedStep, StepReport, StepVerdict};

/// Most nodes of a tree.
pub(super) const MAX_NODES: usize = 4_096;
/// Most answers to one question.
pub(super) const MAX_EDGES: usize = 1_024;
/// Most bytes of a leaf.
const MAX_LEAF_BYTES: usize = 8 << 10;
/// What a plugin's name and version take, about.
const NAMES: usize = 128;
/// How many of the newest nodes are looked at for a leaf that is already there.
const SAME_LEAF_WITHIN: usize = 16;

/// What a run came to, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Leaf {
    /// `Pass` or `Drop`.
    pub(in crate::plugin) verdict: StepVerdict,
    pub(in crate::plugin) fuel: u64,
    pub(in crate::plugin) memory_bytes: u64,
    pub(in crate::plugin) reads: Vec<String>,
    pub(in crate::plugin) log: Vec<Log>,
    /// The most that the answers of one `get-many` came to.
    pub(in crate::plugin) many: usize,
}

/// What a run over a certain event may use. A run that uses more ends in a fault, so what was
/// learned from a larger event holds only as far as there is room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) fuel: u64,
    /// For the answers of one `get-many`.
    pub(super) many: usize,
}

impl Room {
    /// Whether the run a leaf stands for would have come to its end here too.
    const fn fits(self, end: &End) -> bool {
        // Fuel that is used up exactly is a trap or not depending on where in the code.
        end.fuel < self.fuel && end.many <= self.many
    }
}

impl Leaf {
    fn bytes(&self) -> usize {
        let reads: usize = self.reads.iter().map(|read| read.len() + size_of::<String>()).sum();
        let log: usize =
            self.log.iter().map(|log| log.level.len() + log.message.len() + size_of::<Log>()).sum();
        let own = size_of::<Self>() + reads + log;
        match &self.verdict {
            // The run that is made of it holds all of it once more.
            StepVerdict::Drop { reason } => {
                2 * own + 3 * reason.len() + size_of::<PipelineRun>() + NAMES
            }
            _ => own,
        }
    }

    /// Of a run that ended by itself, with this verdict.
    pub(in crate::plugin) fn of(report: &StepReport, verdict: &StepVerdict) -> Self {
        Self {
            verdict: verdict.clone(),
            fuel: report.fuel,
            memory_bytes: report.memory_bytes,
            reads: report.reads.clone(),
            log: report.log.clone(),
            many: 0,
        }
    }

    /// What the run would have reported for this step.
    pub(in crate::plugin) fn report(&self, step: &ResolvedStep) -> StepReport {
        StepReport {
            plugin: step.name.clone(),
            version: step.version.clone(),
            verdict: self.verdict.clone(),
            fuel: self.fuel,
            duration_us: 0,
            memory_bytes: self.memory_bytes,
            shared: false,
            learned: true,
            read_all: false,
            reads: self.reads.clone(),
            log: self.log.clone(),
        }
    }
}

#[derive(Debug)]
enum Node {
    Ask {
        question: Question,
        /// In the order of their answers.
        edges: Vec<Edge>,
    },
    End(End),
}

/// An end. What nearly every look-up needs stands here, beside the questions.
#[derive(Debug)]
pub(super) struct End {
    fuel: u64,
    many: usize,
    /// The run of a pipeline of this one step if it drops the event: that is the same for every
    /// event, and made once.
    dropped: OnceLock<Arc<PipelineRun>>,
    leaf: Arc<Leaf>,
}

impl End {
    fn new(leaf: &Leaf) -> Self {
        let (fuel, many) = (leaf.fuel, leaf.many);
        Self { fuel, many, dropped: OnceLock::new(), leaf: Arc::new(leaf.clone()) }
    }

    pub(super) const fn leaf(&self) -> &Arc<Leaf> {
        &self.leaf
    }

    /// The run of a pipeline of this step alone, if it drops the event. All who ask have the same
    /// names for the plugin.
    pub(super) fn dropped(&self, step: &ResolvedStep) -> Option<&Arc<PipelineRun>> {
        if let Some(run) = self.dropped.get() {
            return Some(run);
        }
        let StepVerdict::Drop { reason } = &self.leaf.verdict else { return None };
        Some(self.dropped.get_or_init(|| {
            let outcome = Outcome::Drop { reason: reason.clone() };
            Arc::new(PipelineRun { outcome, steps: vec![self.leaf.report(step)] })
        }))
    }
}

#[derive(Debug)]
struct Edge {
    answer: Answer,
    /// There are at most [`MAX_NODES`].
    to: u32,
}

/// A question and its answer: a part of a path.
pub(super) type Step = (Question, Answer);

/// Why a path was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The tree would grow beyond its bounds.
    Full,
    /// The path or its end is such that it isn't worth its memory.
    TooLarge,
    /// After the same answers, runs asked differently or came to different ends: something
    /// that the plugin saw is no question.
    Contradiction,
}

/// A tree and its size.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// None until something is learned.
    root: Option<usize>,
    bytes: usize,
}

impl Tree {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Follows the answers to a leaf that fits.
    pub(super) fn look_up(
        &self,
        room: Room,
        mut ask: impl FnMut(&Question) -> Option<Answer>,
    ) -> Option<&End> {
        let mut at = self.root?;
        loop {
            match &self.nodes[at] {
                Node::End(end) => return room.fits(end).then_some(end),
                Node::Ask { question, edges } => {
                    let answer = ask(question)?;
                    at = edges[find(edges, &answer).ok()?].to as usize;
                }
            }
        }
    }

    /// Adds a path, unless the tree would become larger than `max_bytes`.
    pub(super) fn learn(
        &mut self,
        path: &[Step],
        leaf: &Leaf,
        max_bytes: usize,
    ) -> Result<(), Refused> {
        let leaf_bytes = leaf.bytes();
        if leaf_bytes > MAX_LEAF_BYTES {
            return Err(Refused::TooLarge);
        }
        let (known, here) = self.follow(path)?;
        if let Some(end) = here.filter(|_| known == path.len()) {
            // Somebody learned it meanwhile, or it did not fit the event.
            let same = matches!(&self.nodes[end], Node::End(there) if *there.leaf == *leaf);
            return if same { Ok(()) } else { Err(Refused::Contradiction) };
        }
        // Rather too much than too little: not all of it need be new.
        let new = size_of::<Node>() + leaf_bytes + path[known..].iter().map(cost).sum::<usize>();
        let count = path.len() - known + 1;
        if self.bytes + new > max_bytes || self.nodes.len() + count > MAX_NODES {
            return Err(Refused::Full);
        }
        // From the end to where the path leaves the tree, so that each edge has its aim.
        let mut to = self.end(leaf);
        let unasked = if here.is_some() { known + 1 } else { known };
        for (question, answer) in path[unasked..].iter().rev() {
            let node = self.push(Node::Ask { question: question.clone(), edges: Vec::new() });
            self.connect(node, answer, to);
            to = node;
        }
        match here {
            Some(node) => self.connect(node, &path[known].1, to),
            None => self.root = Some(to),
        }
        Ok(())
    }

    /// How many of a path's answers have an edge, and the node behind the last of them. There
    /// is one, unless the tree is empty.
    fn follow(&self, path: &[Step]) -> Result<(usize, Option<usize>), Refused> {
        let Some(mut at) = self.root else { return Ok((0, None)) };
        for (known, (question, answer)) in path.iter().enumerate() {
            match &self.nodes[at] {
                Node::Ask { question: asked, edges } if asked == question => {
                    match find(edges, answer) {
                        Ok(edge) => at = edges[edge].to as usize,
                        Err(_) if edges.len() >= MAX_EDGES => return Err(Refused::Full),
                        Err(_) => return Ok((known, Some(at))),
                    }
                }
                _ => return Err(Refused::Contradiction),
            }
        }
        Ok((path.len(), Some(at)))
    }

    fn push(&mut self, node: Node) -> usize {
        self.bytes += size_of::<Node>();
        match &node {
            Node::Ask { question: Question::Pointer(pointer), .. } => self.bytes += pointer.len(),
            Node::Ask { .. } => {}
            Node::End(end) => self.bytes += end.leaf.bytes(),
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Lets an answer that leads nowhere yet lead from one node to another.
    fn connect(&mut self, from: usize, answer: &Answer, to: usize) {
        if let Node::Ask { edges, .. } = &mut self.nodes[from]
            && let Err(place) = find(edges, answer)
        {
            self.bytes += size_of::<Edge>();
            edges.insert(place, Edge { answer: *answer, to: to as u32 });
        }
    }

    /// The node of a leaf. Many answers lead to the same end, so one that is among the newest
    /// nodes is used again.
    fn end(&mut self, leaf: &Leaf) -> usize {
        let newest = self.nodes.len().saturating_sub(SAME_LEAF_WITHIN)..self.nodes.len();
        let same =
            |&at: &usize| matches!(&self.nodes[at], Node::End(there) if *there.leaf == *leaf);
        match newest.rev().find(same) {
            Some(at) => at,
            None => self.push(Node::End(End::new(leaf))),
        }
    }
}

/// The edge of an answer, or where it would be.
fn find(edges: &[Edge], answer: &Answer) -> Result<usize, usize> {
    edges.binary_search_by(|edge| edge.answer.compare(answer))
}

/// What a step of a path takes.
fn cost((question, _): &Step) -> usize {
    let pointer = if let Question::Pointer(pointer) = question { pointer.len() } else { 0 };
    size_of::<Node>() + pointer + size_of::<Edge>()
}
