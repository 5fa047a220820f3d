//! Trees against made-up guests, whose every answer can be had without a tree too.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{trace::Answer, *};
use crate::{
    model::{ApplicationId, Event, EventId, Kept, Log, OnError, StepVerdict, Timestamp},
    plugin::document::Document,
};

/// A guest that does anything, but always the same after the same answers.
#[derive(Debug, Clone, Copy)]
struct Guest(u64);

/// The values a made-up event has, by the number of the pointer.
type Values = Vec<Option<String>>;

const POINTERS: usize = 6;

impl Guest {
    /// What it asks of an event in order, and what it comes to.
    fn run(self, values: &Values) -> (Vec<Step>, Leaf) {
        let mut mood = DefaultHasher::new();
        self.0.hash(&mut mood);
        let mut path: Vec<Step> = Vec::new();
        for _ in 0..8 {
            let now = mood.finish();
            if now.is_multiple_of(5) {
                break;
            }
            let number = (now / 5) as usize % POINTERS;
            let question = question(number);
            if path.iter().all(|(asked, _)| *asked != question) {
                path.push((question, answer(&values[number])));
            }
            // The whole text, which the tree sees only the digest of if it is long.
            values[number].hash(&mut mood);
        }
        let end = mood.finish();
        let verdict = if end.is_multiple_of(2) {
            StepVerdict::Pass
        } else {
            StepVerdict::Drop { reason: format!("reason {}", end % 7) }
        };
        let leaf = Leaf { verdict, fuel: end % 1_000, many: end as usize % 900, ..leaf() };
        (path, leaf)
    }
}

fn leaf() -> Leaf {
    Leaf {
        verdict: StepVerdict::Pass,
        fuel: 1,
        memory_bytes: 65_536,
        reads: vec!["/0".into()],
        log: vec![],
        many: 0,
    }
}

fn question(number: usize) -> Question {
    Question::Pointer(format!("/{number}").into())
}

fn answer(value: &Option<String>) -> Answer {
    value.as_ref().map_or(Answer::NOTHING, |text| Answer::of(text.as_bytes()))
}

/// Values that are nearly equal: in spelling, in length, in the last byte of many.
fn value() -> impl Strategy<Value = Option<String>> {
    let long = |tail: &str| Some(format!("\"{}{tail}\"", "x".repeat(80)));
    let exact = |len: usize| Some("y".repeat(len));
    prop_oneof![
        Just(None),
        Just(Some("null".to_owned())),
        Just(Some("\"\"".to_owned())),
        Just(Some(String::new())),
        prop_oneof![Just("1"), Just("1.0"), Just("\"1\""), Just("-0"), Just("0")]
            .prop_map(|text| Some(text.to_owned())),
        prop_oneof![Just(long("a")), Just(long("b")), Just(exact(31)), Just(exact(32))],
        prop_oneof![Just(exact(33)), Just(exact(34))],
    ]
}

const AMPLE: Room = Room { fuel: u64::MAX, many: usize::MAX };

proptest! {
    #[test]
    fn a_tree_answers_as_the_guest_would(
        seed: u64,
        events in vec(vec(value(), POINTERS), 1..60),
        room in (0_u64..1_000, 0_usize..900),
    ) {
        let guest = Guest(seed);
        let mut tree = Tree::default();
        let ask = |values: &Values, question: &Question| {
            let number = (0..POINTERS).find(|&number| self::question(number) == *question)?;
            Some(answer(&values[number]))
        };
        for values in &events {
            let (path, end) = guest.run(values);
            match tree.look_up(AMPLE, |question| ask(values, question)) {
                Some(found) => prop_assert_eq!(&**found.leaf(), &end),
                None => prop_assert_eq!(tree.learn(&path, &end, 1 << 20), Ok(())),
            }
            // Learned once is known, and learning it again changes nothing.
            let (path, end) = guest.run(values);
            let size = tree.bytes();
            prop_assert_eq!(tree.learn(&path, &end, 1 << 20), Ok(()));
            prop_assert_eq!(tree.bytes(), size);
            let found = tree.look_up(AMPLE, |question| ask(values, question));
            prop_assert!(found.is_some());
        }
        let narrow = Room { fuel: room.0, many: room.1 };
        for values in &events {
            let (_, end) = guest.run(values);
            let fits = end.fuel < narrow.fuel && end.many <= narrow.many;
            let found = tree.look_up(narrow, |question| ask(values, question));
            prop_assert_eq!(found.map(|found| &**found.leaf()), fits.then_some(&end));
        }
    }

    #[test]
    fn a_small_tree_stays_small(
        seed: u64,
        max in 0_usize..8_000,
        events in vec(vec(value(), POINTERS), 1..60),
    ) {
        let mut tree = Tree::default();
        for values in &events {
            let (path, end) = Guest(seed).run(values);
            match tree.learn(&path, &end, max) {
                Ok(()) | Err(Refused::Full) => prop_assert!(tree.bytes() <= max),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

#[test]
fn a_tree_has_bounded_nodes_and_edges() {
    let mut tree = Tree::default();
    let path = |n: usize| vec![(question(0), Answer::of(n.to_string().as_bytes()))];
    for n in 0..tree::MAX_EDGES {
        assert_eq!(tree.learn(&path(n), &leaf(), usize::MAX), Ok(()));
    }
    assert_eq!(tree.learn(&path(tree::MAX_EDGES), &leaf(), usize::MAX), Err(Refused::Full));
    let mut tree = Tree::default();
    let path = |n: usize| {
        let halves = [n / 64, n % 64].map(|half| Answer::of(half.to_string().as_bytes()));
        vec![(question(0), halves[0]), (question(1), halves[1])]
    };
    let ends = |n: usize| Leaf { fuel: n as u64, ..leaf() };
    let full = (0..).find(|&n| tree.learn(&path(n), &ends(n), usize::MAX).is_err());
    assert!(full.is_some_and(|n| n < tree::MAX_NODES && n > tree::MAX_NODES / 2), "{full:?}");
}

#[test]
fn runs_that_contradict_each_other_are_found() {
    let path = [(question(0), Answer::of(b"1")), (question(1), Answer::of(b"2"))];
    let learned = || {
        let mut tree = Tree::default();
        tree.learn(&path, &leaf(), usize::MAX).unwrap();
        tree
    };
    let other = Leaf { fuel: 2, ..leaf() };
    assert_eq!(learned().learn(&path, &other, usize::MAX), Err(Refused::Contradiction));
    assert_eq!(learned().learn(&path[..1], &leaf(), usize::MAX), Err(Refused::Contradiction));
    let asks_more = [path.as_slice(), &[(question(2), Answer::NOTHING)]].concat();
    assert_eq!(learned().learn(&asks_more, &leaf(), usize::MAX), Err(Refused::Contradiction));
    let asks_else = [path[0].clone(), (question(2), Answer::of(b"2"))];
    assert_eq!(learned().learn(&asks_else, &leaf(), usize::MAX), Err(Refused::Contradiction));
}

fn seen(payload: &str) -> Seen {
    let (now, payload) = (Timestamp::UNIX_EPOCH, Bytes::copy_from_slice(payload.as_bytes()));
    let event = Event {
        id: EventId::new(now),
        application: ApplicationId::new(now),
        application_name: "default".into(),
        event_type: "order.created".parse().unwrap(),
        schema_version: 1,
        subject: None,
        occurred_at: now,
        accepted_at: now,
        trace: None,
        content_type: None,
        context: None,
        channels: vec![],
        payload: payload.clone(),
    };
    Seen { event: Arc::new(event), document: Document::new(payload) }
}

fn step(component: u8, config: &Arc<str>) -> ResolvedStep {
    ResolvedStep {
        name: "filter".into(),
        version: "1.0.0".into(),
        sha256: Sha256([component; 32]),
        config: Arc::clone(config),
        on_error: OnError::Dead,
        kept: Kept::default(),
    }
}

/// All trees, with what the tests do to them.
struct Trees(Learned);

impl Trees {
    fn learn(&self, component: u8, config: &Arc<str>, payload: &str) {
        let mut trace = Trace::default();
        trace.read(0);
        self.0.learn(&step(component, config), &Limits::LEAN, &seen(payload), &trace, leaf());
    }

    fn knows(&self, component: u8, config: &Arc<str>, payload: &str) -> bool {
        self.0.look_up(&step(component, config), &seen(payload), Patience::Enough).is_some()
    }

    /// The sum that is kept, against the trees.
    fn is_sound(&self) -> bool {
        let sum = |shard: &RwLock<Shard>| {
            let trees = shard.read().unwrap();
            let all = trees.values().flatten().map(|(config, plant)| {
                EMPTY_TREE_BYTES + config.len() + plant.state.read().unwrap().tree.bytes()
            });
            all.sum::<usize>()
        };
        self.0.shards.iter().map(sum).sum::<usize>() == self.0.bytes.load(Relaxed)
    }
}

#[test]
fn all_trees_together_are_bounded_and_the_unused_go_first() {
    const MAX: usize = 64 << 10;
    let trees = Trees(Learned::new(MAX));
    let favourite: Arc<str> = "favourite".into();
    trees.learn(1, &favourite, r#"{"0":"liked"}"#);
    for n in 0..1_000 {
        let config: Arc<str> = format!("config {n}").into();
        trees.learn(n as u8 % 3, &config, &format!(r#"{{"0":{n}}}"#));
        assert!(trees.0.size().0 <= MAX && trees.is_sound());
        assert!(trees.knows(n as u8 % 3, &config, &format!(r#"{{ "0": {n} }}"#)));
        assert!(trees.knows(1, &favourite, r#"{"0":"liked"}"#), "{n}");
    }
    let (_, count) = trees.0.size();
    assert!((10..1_000).contains(&count), "{count}");
    assert!(!trees.knows(0, &"config 0".into(), r#"{"0":0}"#));
}

#[test]
fn components_and_configs_are_kept_apart_and_forgotten() {
    let trees = Trees(Learned::new(1 << 20));
    let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
    trees.learn(1, &one, r#"{"0":1}"#);
    trees.learn(2, &one, r#"{"0":2}"#);
    trees.learn(2, &two, r#"{"0":3}"#);
    assert!(trees.knows(1, &one, r#"{"0":1}"#) && !trees.knows(1, &one, r#"{"0":2}"#));
    assert!(trees.knows(2, &one, r#"{"0":2}"#) && !trees.knows(2, &two, r#"{"0":2}"#));
    assert!(!trees.knows(1, &two, r#"{"0":3}"#));
    trees.0.forget(&Sha256([2; 32]));
    assert!(trees.knows(1, &one, r#"{"0":1}"#) && !trees.knows(2, &one, r#"{"0":2}"#));
    assert!(trees.is_sound());
    trees.0.forget(&Sha256([1; 32]));
    assert_eq!(trees.0.size(), (0, 0));
}

#[test]
fn where_every_value_is_new_learning_stops() {
    let trees = Trees(Learned::new(4 << 20));
    let config: Arc<str> = "{}".into();
    for n in 0..2 * tree::MAX_EDGES {
        trees.learn(1, &config, &format!(r#"{{"0":{n}}}"#));
    }
    assert!(!trees.knows(1, &config, &format!(r#"{{"0":{}}}"#, 2 * tree::MAX_EDGES - 1)));
    assert_eq!(trees.0.size(), (EMPTY_TREE_BYTES + config.len(), 1));
    assert!(trees.is_sound());
}

#[test]
fn where_values_only_drift_learning_goes_on() {
    let trees = Trees(Learned::new(4 << 20));
    let config: Arc<str> = "{}".into();
    for n in 0..3 * tree::MAX_EDGES {
        let payload = format!(r#"{{"0":{n}}}"#);
        trees.learn(1, &config, &payload);
        assert!(trees.knows(1, &config, &payload), "{n}");
    }
}

#[test]
fn a_large_payload_is_searched_only_with_patience() {
    let trees = Trees(Learned::new(1 << 20));
    let config: Arc<str> = "{}".into();
    let payload = format!(r#"{{"pad":"{}","0":1}}"#, "x".repeat(100_000));
    trees.learn(1, &config, &payload);
    let (seen, of) = (seen(&payload), step(1, &config));
    assert!(trees.0.look_up(&of, &seen, Patience::Little).is_none());
    assert!(trees.0.look_up(&of, &seen, Patience::Enough).is_some());
    assert!(trees.0.look_up(&of, &seen, Patience::Little).is_some(), "what was found is kept");
}

#[test]
fn notes_that_are_too_long_are_not_learned() {
    let mut tree = Tree::default();
    let log = vec![Log { level: "info".into(), message: "x".repeat(10_000) }];
    let long = Leaf { log, ..leaf() };
    let path = [(question(0), Answer::NOTHING)];
    assert_eq!(tree.learn(&path, &long, usize::MAX), Err(Refused::TooLarge));
}

#[test]
fn what_a_step_keeps_is_no_truer_than_what_is_there() {
    let (trees, others) = (Trees(Learned::new(1 << 20)), Trees(Learned::new(1 << 20)));
    let config: Arc<str> = "{}".into();
    let (of, event) = (step(1, &config), seen(r#"{"0":1}"#));
    let knows = |trees: &Trees, of: &ResolvedStep| {
        trees.0.find(of, &event, Patience::Enough, |_, is_named| is_named)
    };
    assert_eq!(knows(&trees, &of), None);
    trees.learn(1, &config, r#"{"0":1}"#);
    for _ in 0..3 {
        assert_eq!(knows(&trees, &of), Some(true));
        assert_eq!(knows(&others, &of), None, "what another runtime learned");
    }
    let renamed = ResolvedStep { name: "another".into(), ..of.clone() };
    assert_eq!(knows(&trees, &renamed), Some(false));
    assert_eq!(knows(&trees, &renamed), Some(false), "it keeps nothing that has other names");
    trees.0.forget(&of.sha256);
    assert_eq!(knows(&trees, &of), None, "what was forgotten");
    trees.learn(1, &config, r#"{"0":1}"#);
    assert_eq!(knows(&trees, &of), Some(true), "and learned again");
    assert!(trees.is_sound());
}
