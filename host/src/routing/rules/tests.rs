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

fn channels() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::sample::select(vec!["eu", "us", "vip"]).prop_map(str::to_owned),
        0..3,
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    (channels(), prop::option::weighted(0.8, filter())).prop_map(|(channels, filter)| Rule {
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
            routes.insert(patterns, rule.clone(), *id);
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
    ];
    for (id, filter) in filters.iter().enumerate() {
        routes.insert(&patterns, of(filter), id);
    }
    routes.insert(&patterns, Rule { channels: vec!["eu".into()], filter: None }, 99);
    for id in (0..filters.len()).chain([99]) {
        routes.remove(&patterns, id);
    }
    assert!(routes.rules.is_empty() && routes.groups.is_empty() && routes.numbers.is_empty());
    assert_eq!(routes.fields.free.len(), routes.fields.list.len());
}

#[test]
fn a_value_that_all_share_is_not_what_they_stand_under() {
    let mut routes = Routes::default();
    let patterns = ["a".parse().unwrap()];
    for id in 0..1_000 {
        routes.insert(&patterns, of(&json!({"exact": {"/status": "paid", "/customer": id}})), id);
    }
    let event = Sample {
        event_type: "a".parse().unwrap(),
        subject: None,
        channels: vec![],
        text: r#"{"status":"paid","customer":7}"#.into(),
    };
    event.with(|facts| {
        let memo = Memo::new(facts, &routes.fields.list);
        let mut candidates = BTreeSet::new();
        for group in routes.groups.values() {
            group.access.find(&memo, &mut candidates);
        }
        assert!(candidates.len() <= 3, "{} of 1000 rules would be evaluated", candidates.len());
        assert_eq!(routes.find(facts), BTreeSet::from([7]));
    });
}
