//! Matching by filters: what an event costs among many subscriptions that filter, by the index and
//! by asking every filter. And the same of filters that only say what must not be.

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
    rule_of(&filter)
}

/// Subscriptions that only say what must not be, and how much each says.
const NEGATIVE: usize = 1_000;
const CONDITIONS: usize = 60;

/// A filter of `not` alone, whose values are its own: those it does not want.
fn unwanted(number: usize) -> Rule {
    let values = (0..CONDITIONS).map(|at| {
        let value = number * CONDITIONS + at;
        match at % 3 {
            0 => json!({"exact": {"/repository/id": 1_000 + value}}),
            1 => json!({"prefix": {"/repository/full_name": format!("team-{value}/")}}),
            _ => json!({"gt": {"/total": 1_000_000 + value}}),
        }
    });
    rule_of(&json!({"not": {"any": values.collect::<Vec<_>>()}}))
}

/// The dearest there are: one thing that every event says, and then what it must not, the last
/// of which it does. Nothing but a look at all of it tells that they do not match.
fn dear(number: usize) -> Rule {
    let mut all = vec![json!({"exists": {"/ref": true}})];
    all.extend(
        (0..CONDITIONS).map(
            |at| json!({"not": {"exact": {"/repository/id": 1_000 + number * CONDITIONS + at}}}),
        ),
    );
    all.push(json!({"not": {"exists": {"/repository": true}}}));
    rule_of(&json!({ "all": all }))
}

fn rule_of(filter: &Value) -> Rule {
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
    for size in SIZES {
        let goal = if size == 10_000 { Goal::AtMost(0.05) } else { Goal::None };
        let rules: Vec<Rule> = (0..size).map(rule).collect();
        compare(report, &format!("match, {size} filters"), &rules, &facts, goal);
    }
    let rules: Vec<Rule> = (0..NEGATIVE).map(unwanted).collect();
    let figure = format!("match, {NEGATIVE} filters of {CONDITIONS} `not`");
    compare(report, &figure, &rules, &facts, Goal::AtMost(0.05));
    let rules: Vec<Rule> = (0..NEGATIVE).map(dear).collect();
    let figure = format!("match, {NEGATIVE} filters of {CONDITIONS} conditions, all to be asked");
    compare(report, &figure, &rules, &facts, Goal::None);
}

fn compare(report: &mut Report, figure: &str, rules: &[Rule], facts: &Facts<'_>, goal: Goal) {
    let patterns: [Pattern; 1] = ["push".parse().expect("it is a pattern")];
    let mut routes = Routes::default();
    for (number, rule) in rules.iter().enumerate() {
        routes.insert(&patterns, rule, number);
    }
    let naive = || rules.iter().filter(|rule| rule.admits(facts)).count();
    let found = routes.find(facts).len();
    assert_eq!(found, naive(), "the index and the floor agree");
    let ours = each(EVENTS, || {
        black_box(routes.find(facts));
    });
    let floor = each(EVENTS.min(2_000_000 / rules.len()).clamp(20, 200), || {
        black_box(naive());
    });
    let how = format!("{ours:.1} µs by the index, {floor:.1} µs asking all; {found} match");
    report.add(figure, ours / floor, "", goal, how);
}
