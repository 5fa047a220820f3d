//! The index against its plain definition: every rule evaluated for every event.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::EventTypeName;

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/a", "/b", "/c/d", "/c/0", "/big", "type", "subject", "occurred_at"])
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "1.5",
        "-2",
        "10",
        "\"\"",
        "\"a\"",
        "\"ab\"",
        "\"abc\"",
        "\"b\"",
        "\"ü\"",
        "\"üb\"",
        "\"a.b\"",
        "\"2026-01-01T00:00:00Z\"",
        "\"2026-01-01T01:00:00+01:00\"",
        "\"2027-01-01T00:00:00Z\"",
        "12345678901234567890123",
        "12345678901234567890124",
    ])
}

fn leaf() -> impl Strategy<Value = String> {
    let ordered = prop::sample::select(vec!["lt", "lte", "gt", "gte"]);
    let scalar = value()
        .prop_filter("bounds are numbers or texts", |v| !["null", "true", "false"].contains(v));
    let text = prop::sample::select(vec!["a", "ab", "b", "ü", "2026"]);
    prop_oneof![
        3 => (key(), value()).prop_map(|(k, v)| format!(r#"{{"exact":{{"{k}":{v}}}}}"#)),
        1 => (key(), value(), value()).prop_map(|(k, v, w)| format!(r#"{{"in":{{"{k}":[{v},{w}]}}}}"#)),
        2 => (ordered, key(), scalar).prop_map(|(o, k, v)| format!(r#"{{"{o}":{{"{k}":{v}}}}}"#)),
        1 => (prop::bool::ANY, key(), text).prop_map(|(end, k, v)| {
            format!(r#"{{"{}":{{"{k}":"{v}"}}}}"#, if end { "suffix" } else { "prefix" })
        }),
        1 => (key(), any::<bool>()).prop_map(|(k, is)| format!(r#"{{"exists":{{"{k}":{is}}}}}"#)),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|all| format!(r#"{{"all":[{}]}}"#, all.join(","))),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|any| format!(r#"{{"any":[{}]}}"#, any.join(","))),
            inner.prop_map(|inner| format!(r#"{{"not":{inner}}}"#)),
        ]
    })
}

/// Filters that mostly say what must not be.
fn negative() -> impl Strategy<Value = String> {
    prop::collection::vec((leaf(), any::<bool>()), 1..12).prop_map(|leaves| {
        let parts: Vec<String> = leaves
            .into_iter()
            .map(|(leaf, inner)| match inner {
                true => format!(r#"{{"not":{leaf}}}"#),
                false => format!(r#"{{"not":{{"any":[{leaf},{{"exact":{{"/z":1}}}}]}}}}"#),
            })
            .collect();
        format!(r#"{{"all":[{}]}}"#, parts.join(","))
    })
}

fn channels() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::sample::select(vec!["eu", "us", "vip"]).prop_map(str::to_owned),
        0..3,
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let any_filter = prop_oneof![filter(), negative()];
    (channels(), prop::option::weighted(0.8, any_filter)).prop_map(|(channels, filter)| Rule {
        channels,
        filter: filter.map(|text| Arc::new(Filter::compile(&text).unwrap())),
    })
}

fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    let pattern =
        prop::sample::select(vec!["a", "a.b", "a.*", "**"]).prop_map(|p| p.parse().unwrap());
    prop::collection::vec(pattern, 1..3)
}

#[derive(Debug, Clone)]
struct Sample {
    event_type: EventTypeName,
    subject: Option<&'static str>,
    channels: Vec<String>,
    text: String,
}

fn event() -> impl Strategy<Value = Sample> {
    let name =
        prop::sample::select(vec!["a", "a.b", "a.c", "x"]).prop_map(|name| name.parse().unwrap());
    let subject = prop::option::of(prop::sample::select(vec!["a", "ab", "x"]));
    let payload =
        (value(), value(), value(), any::<bool>(), value()).prop_map(|(a, b, c, list, big)| {
            let inner = if list { format!("[{c}]") } else { format!(r#"{{"d":{c}}}"#) };
            format!(r#"{{"a":{a},"b":{b},"c":{inner},"big":{big}}}"#)
        });
    (name, subject, channels(), prop_oneof![9 => payload, 1 => Just("<xml/>".to_owned())]).prop_map(
        |(event_type, subject, channels, text)| Sample { event_type, subject, channels, text },
    )
}

impl Sample {
    fn with<R>(&self, run: impl FnOnce(&Facts<'_>) -> R) -> R {
        let payload: Option<Value> = serde_json::from_str(&self.text).ok();
        run(&Facts {
            event_type: &self.event_type,
            schema_version: 1,
            id: None,
            subject: self.subject,
            occurred_at: "2026-06-01T00:00:00Z".parse().unwrap(),
            channels: &self.channels,
            payload: payload.as_ref(),
            text: self.text.as_bytes(),
        })
    }
}

proptest! {
    /// The index finds what evaluating every rule finds, also after removals.
    #[test]
    fn finds_what_every_rule_by_itself_admits(
        rules in prop::collection::vec((patterns(), rule()), 0..40),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..15),
        events in prop::collection::vec(event(), 1..15),
    ) {
        let mut routes = Routes::default();
        let mut listeners: Vec<(usize, &(Vec<Pattern>, Rule))> = rules.iter().enumerate().collect();
        for (id, (patterns, rule)) in &listeners {
            routes.insert(patterns, rule, *id);
        }
        for choice in removed {
            if !listeners.is_empty() {
                let (id, (patterns, _)) = listeners.swap_remove(choice.index(listeners.len()));
                routes.remove(patterns, id);
            }
        }
        for event in events {
            event.with(|facts| {
                let listens = |(patterns, rule): &(Vec<Pattern>, Rule)| {
                    patterns.iter().any(|p| p.matches(facts.event_type)) && rule.admits(facts)
                };
                let expected: BTreeSet<usize> =
                    listeners.iter().filter(|(_, it)| listens(it)).map(|(id, _)| *id).collect();
                prop_assert_eq!(routes.find(facts), expected);
                for filter in listeners.iter().filter_map(|(_, (_, rule))| rule.filter.as_ref()) {
                    prop_assert_eq!(filter.explain(facts).passes, filter.passes(facts));
                }
                Ok(())
            })?;
        }
    }
}

fn of(filter: &Value) -> Rule {
    let filter = Filter::compile(&filter.to_string()).unwrap();
    Rule { channels: Vec::new(), filter: Some(Arc::new(filter)) }
}

#[test]
fn an_emptied_index_holds_nothing() {
    let mut routes = Routes::default();
    let patterns = ["a.*".parse().unwrap(), "b".parse().unwrap()];
    let filters = [
        json!({"exact": {"/a": 1}}),
        json!({"in": {"/a": [1, 2]}}),
        json!({"prefix": {"/a": "x"}}),
        json!({"suffix": {"/b": "x"}}),
        json!({"gt": {"/a": 1}}),
        json!({"lt": {"/a": "2026-01-01T00:00:00Z"}}),
        json!({"exists": {"/c": true}}),
        json!({"not": {"exact": {"/a": 1}}}),
        json!({"not": {"any": [{"exact": {"/a": 1}}, {"exists": {"/c/d": false}}]}}),
        json!({"any": [{"exists": {"/a": false}}, {"not": {"in": {"/a": [1, 2]}}}]}),
    ];
    for (id, filter) in filters.iter().enumerate() {
        routes.insert(&patterns, &of(filter), id);
    }
    let on_a_channel = Rule { channels: vec!["eu".into()], filter: None };
    routes.insert(&patterns, &on_a_channel, 99);
    for id in (0..filters.len()).chain([99]) {
        routes.remove(&patterns, id);
    }
    assert!(routes.numbers.is_empty() && routes.rules.iter().all(Option::is_none));
    assert!(routes.groups.is_empty() && routes.group_numbers.is_empty());
    assert!(routes.places.is_empty() && routes.atoms.is_empty());
}

/// How many rules are evaluated for an event, and which it goes to.
fn asked(routes: &Routes<usize>, text: &str) -> (usize, BTreeSet<usize>) {
    let event = Sample {
        event_type: "a".parse().unwrap(),
        subject: None,
        channels: vec![],
        text: text.into(),
    };
    event.with(|facts| {
        let reached = routes.meet(facts).map_or(0, |meeting| meeting.reached.iter().count());
        (reached, routes.find(facts))
    })
}

#[test]
fn a_value_that_all_share_is_not_what_they_stand_under() {
    let mut routes = Routes::default();
    let patterns = ["a".parse().unwrap()];
    for id in 0..1_000 {
        let filter = json!({"exact": {"/status": "paid", "/customer": id}});
        routes.insert(&patterns, &of(&filter), id);
    }
    let (reached, found) = asked(&routes, r#"{"status":"paid","customer":7}"#);
    assert!(reached <= 3, "{reached} of 1000 rules would be evaluated");
    assert_eq!(found, BTreeSet::from([7]));
}

#[test]
fn what_must_not_be_is_asked_only_where_it_is() {
    let mut routes = Routes::default();
    let patterns = ["a".parse().unwrap()];
    for id in 0..1_000 {
        let values = (0..60).map(|at| json!({"exact": {"/customer": id * 60 + at}}));
        let filter = json!({"not": {"any": values.collect::<Vec<_>>()}});
        routes.insert(&patterns, &of(&filter), id);
    }
    // Each of these fails only where both of its parts are so: one of them is enough to stand
    // under, and the one that is shared by all is not taken.
    for id in 1_000..2_000 {
        let both = json!({"exact": {"/status": "paid", "/customer": id * 60}});
        routes.insert(&patterns, &of(&json!({"not": both})), id);
    }
    let (reached, found) = asked(&routes, r#"{"status":"paid","customer":-1}"#);
    assert!(reached <= 3, "{reached} of 2000 rules would be evaluated");
    assert_eq!(found.len(), 2_000);
    let (reached, found) = asked(&routes, r#"{"status":"paid","customer":61}"#);
    assert!(reached <= 4, "{reached} of 2000 rules would be evaluated");
    assert_eq!((found.len(), found.contains(&1)), (1_999, false));
    let (_, found) = asked(&routes, r#"{"status":"paid","customer":120000}"#);
    assert!(found.len() == 2_000, "no rule says anything of this one");
}
