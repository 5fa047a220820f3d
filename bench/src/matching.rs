//! Matching by filters: what an event costs among many subscriptions that filter, by the index and
//! by asking every filter.

use std::{hint::black_box, sync::Arc, time::Instant};

use hookmill::{
    model::{EventTypeName, Pattern, Timestamp},
    routing::{Facts, Filter, Routes, Rule},
};
use serde_json::{Value, json};

use crate::{
    belt::payload,
    report::{Goal, Report},
};

/// Subscriptions at each step.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Events of each measurement; fewer for the floor, which takes longer.
const EVENTS: usize = 2_000;

/// A subscription as customers set them up: one value that is its own, and some that others
/// share; every tenth asks for a range or a beginning instead.
fn rule(number: usize) -> Rule {
    let filter = match number % 10 {
        0 => json!({"all": [{"prefix": {"/repository/full_name": format!("team-{number}/")}},
            {"exists": {"/total": true}}]}),
        1 => json!({"all": [{"exact": {"/action": "opened"}}, {"gt": {"/total": number * 10}}]}),
        _ => json!({"all": [{"exact": {"/action": "opened", "/repository/id": number}},
            {"any": [{"gte": {"/total": 100}}, {"exact": {"/ref": "refs/heads/main"}}]}]}),
    };
    let filter = Filter::compile(&filter.to_string()).expect("the filter is one");
    Rule { channels: Vec::new(), filter: Some(Arc::new(filter)) }
}

/// Time for one event, in microseconds.
fn each(events: usize, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..events {
        run();
    }
    start.elapsed().as_secs_f64() * 1e6 / events as f64
}

/// The index against the floor at each size.
pub fn run(report: &mut Report) {
    let mut value = payload(2048);
    value["repository"]["id"] = json!(7);
    let text = value.to_string();
    let event_type: EventTypeName = "push".parse().expect("it is a name");
    let parsed: Value = serde_json::from_str(&text).expect("it is JSON");
    let facts = Facts {
        event_type: &event_type,
        schema_version: 1,
        id: None,
        subject: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        channels: &[],
        payload: Some(&parsed),
        text: text.as_bytes(),
    };
    let patterns: [Pattern; 1] = ["push".parse().expect("it is a pattern")];
    for size in SIZES {
        let rules: Vec<Rule> = (0..size).map(rule).collect();
        let mut routes = Routes::default();
        for (number, rule) in rules.iter().enumerate() {
            routes.insert(&patterns, rule.clone(), number);
        }
        let naive = || rules.iter().filter(|rule| rule.admits(&facts)).count();
        let found = routes.find(&facts).len();
        assert_eq!(found, naive(), "the index and the floor agree");
        let ours = each(EVENTS, || {
            black_box(routes.find(&facts));
        });
        let floor = each(EVENTS.min(2_000_000 / size).max(20), || {
            black_box(naive());
        });
        let goal = if size == 10_000 { Goal::AtMost(0.05) } else { Goal::None };
        let how = format!("{ours:.1} µs by the index, {floor:.1} µs asking all; {found} match");
        report.add(&format!("match, {size} filters"), ours / floor, "", goal, how);
    }
}
