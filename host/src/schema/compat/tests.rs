//! Known pairs, and random ones against instances.

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::{Stop, Validator},
    *,
};

fn backward(old: &Value, new: &Value) -> Vec<Finding> {
    compare(old, new, Compatibility::Backward, &Stop::never())
}

fn accepted(old: &Value, new: &Value) {
    assert_eq!(backward(old, new), [], "{old} to {new}");
}

fn refused(old: &Value, new: &Value, at: &str, certain: bool) {
    let found = backward(old, new);
    let places: Vec<(&str, bool)> = found.iter().map(|f| (f.new.as_str(), f.certain)).collect();
    assert!(places.contains(&(at, certain)), "{old} to {new}: {found:#?}");
}

#[test]
fn what_is_looser_is_compatible() {
    accepted(&json!({"type": "integer"}), &json!({"type": "number"}));
    accepted(
        &json!({"type": "integer", "minimum": 3}),
        &json!({"type": "number", "exclusiveMinimum": 2}),
    );
    accepted(&json!({"required": ["a", "b"]}), &json!({"required": ["a"]}));
    accepted(&json!({"enum": ["a", "b"]}), &json!({"enum": ["b", "a", "c"]}));
    accepted(&json!({"const": 3}), &json!({"type": "integer", "maximum": 3}));
    accepted(
        &json!({"properties": {"a": {"type": "string", "maxLength": 3}}, "title": "x"}),
        &json!({"properties": {"a": {"type": ["string", "null"], "maxLength": 5}}, "title": "y"}),
    );
    accepted(
        &json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
        &json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "additionalProperties": false}),
    );
    accepted(&json!({"items": {"multipleOf": 6}}), &json!({"items": {"multipleOf": 3}}));
    accepted(&json!({"type": "string"}), &json!({"anyOf": [{"type": "string"}, {"type": "null"}]}));
    accepted(
        &json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        &json!({"type": ["string", "number"]}),
    );
    accepted(
        &json!({"allOf": [{"minimum": 1}, {"type": "integer"}]}),
        &json!({"type": "integer", "minimum": 0}),
    );
    accepted(
        &json!({"not": {"type": "null"}, "title": "a"}),
        &json!({"not": {"type": "null"}, "title": "b"}),
    );
    accepted(
        &json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "required": ["v"], "properties": {"next": {"$ref": "#/$defs/t"}, "v": {"type": "integer"}}}}}),
        &json!({"$ref": "#/$defs/u", "$defs": {"u": {"type": "object", "properties": {"next": {"$ref": "#/$defs/u"}, "v": {"type": "number"}}}}}),
    );
}

#[test]
fn what_is_stricter_breaks_where_it_is_said() {
    refused(&json!({}), &json!({"required": ["a"]}), "/required", true);
    refused(&json!({"type": "number"}), &json!({"type": "integer"}), "/type", true);
    refused(&json!({"enum": ["a", "b"]}), &json!({"enum": ["a"]}), "", true);
    refused(
        &json!({"type": "string"}),
        &json!({"type": "string", "minLength": 1}),
        "/minLength",
        true,
    );
    refused(&json!({"minimum": 1}), &json!({"exclusiveMinimum": 1}), "/exclusiveMinimum", true);
    refused(&json!({"pattern": "^a"}), &json!({"pattern": "^[a]"}), "/pattern", false);
    refused(&json!({"type": "string"}), &json!({"pattern": "^a"}), "/pattern", true);
    refused(
        &json!({"properties": {"a": {"type": "string"}}}),
        &json!({"properties": {"a": {"type": "integer"}}}),
        "/properties/a/type",
        true,
    );
    // A member that was free before is typed now.
    refused(
        &json!({"properties": {}}),
        &json!({"properties": {"b": {"type": "string"}}}),
        "/properties/b/type",
        true,
    );
    refused(&json!({}), &json!({"additionalProperties": false}), "/additionalProperties", true);
    refused(&json!({}), &json!({"not": {"type": "null"}}), "/not", false);
    refused(
        &json!({"type": "string"}),
        &json!({"oneOf": [{"type": "string"}, {"minLength": 2}]}),
        "/oneOf",
        false,
    );
    refused(
        &json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
        &json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}),
        "",
        false,
    );
}

#[test]
fn beside_a_reference_nothing_counts_in_older_drafts() {
    let draft = "http://json-schema.org/draft-07/schema#";
    let old = json!({"$schema": draft, "definitions": {"any": {}}, "properties": {"a": {"$ref": "#/definitions/any", "type": "string"}}});
    let new = json!({"$schema": draft, "properties": {"a": {"type": "string"}}});
    refused(&old, &new, "/properties/a/type", true);
}

#[test]
fn directions_are_told_apart() {
    let (old, new) = (&json!({"type": "integer"}), &json!({"type": "number"}));
    assert!(compare(old, new, Compatibility::Backward, &Stop::never()).is_empty());
    let found = compare(old, new, Compatibility::Full, &Stop::never());
    assert_eq!(found.iter().map(|f| f.direction).collect::<Vec<_>>(), [Direction::Forward]);
    assert!(compare(old, new, Compatibility::None, &Stop::never()).is_empty());
}

#[test]
fn a_circle_that_enters_nothing_proves_nothing() {
    // Each alternative leads back to the whole: that is no argument for it.
    let old = json!({"type": "integer", "anyOf": [{"minimum": 1}, {"maximum": 5}]});
    assert!(!backward(&old, &json!({"type": "integer", "minimum": 1})).is_empty());
    let deep = (0..120).fold(json!({"type": "string"}), |inner, _| json!({"items": inner}));
    let other = (0..120).fold(json!({"type": "integer"}), |inner, _| json!({"items": inner}));
    assert!(!backward(&deep, &other).is_empty());
}

/// Draft 4, and what else there is in it.
fn draft_4(members: Value) -> Value {
    let mut schema = json!({"$schema": "http://json-schema.org/draft-04/schema#"});
    if let (Some(schema), Value::Object(members)) = (schema.as_object_mut(), members) {
        schema.extend(members);
    }
    schema
}

#[test]
fn numbers_are_compared_to_the_last_digit() {
    refused(
        &json!({"minimum": 9_007_199_254_740_992_u64}),
        &json!({"minimum": 9_007_199_254_740_993_u64}),
        "/minimum",
        true,
    );
    refused(&json!({"maximum": i64::MAX}), &json!({"maximum": i64::MAX - 1}), "/maximum", true);
    accepted(&json!({"maximum": i64::MAX - 1}), &json!({"maximum": i64::MAX}));
    accepted(&json!({"type": "integer", "exclusiveMinimum": 0}), &json!({"minimum": 1}));
    accepted(&json!({"type": "integer", "maximum": 2.5}), &json!({"exclusiveMaximum": 3}));
    refused(
        &json!({"exclusiveMinimum": 0}),
        &json!({"type": "number", "minimum": 1}),
        "/minimum",
        true,
    );
    accepted(&json!({"multipleOf": 1}), &json!({"multipleOf": 0.5}));
    accepted(&json!({"multipleOf": 3}), &json!({"multipleOf": 1.0}));
    accepted(&json!({"type": "number", "multipleOf": 1}), &json!({"type": "integer"}));
}

#[test]
fn draft_4_has_no_const_and_its_integers_no_point() {
    refused(&draft_4(json!({"const": 1})), &draft_4(json!({"type": "integer"})), "/type", true);
    accepted(&draft_4(json!({"type": "string"})), &draft_4(json!({"const": 1, "type": "string"})));
    let whole = draft_4(json!({"enum": [1], "type": "integer"}));
    refused(&draft_4(json!({"enum": [1]})), &whole, "", true);
    let listed = draft_4(json!({"items": {"type": "integer"}}));
    refused(&draft_4(json!({"enum": [[1]]})), &listed, "", false);
    let multiple = draft_4(json!({"type": "number", "multipleOf": 1}));
    assert!(!backward(&multiple, &draft_4(json!({"type": "integer"}))).is_empty());
}

#[test]
fn nothing_is_certain_where_nothing_breaks() {
    for (old, new) in [
        (json!({"type": "integer", "exclusiveMinimum": 0}), json!({"minimum": 1})),
        (json!({"type": "string", "pattern": "^[A-Z]{3}$"}), json!({"minLength": 3})),
        (json!({"type": "string", "format": "uuid"}), json!({"minLength": 36})),
        (json!({"type": "number", "multipleOf": 1}), json!({"type": "integer"})),
        (json!({"maxItems": 1}), json!({"uniqueItems": true})),
        (json!({"required": ["a"]}), json!({"minProperties": 1})),
        (json!({"type": "string", "not": {"const": ""}}), json!({"minLength": 1})),
        (json!({"maxProperties": 0}), json!({"additionalProperties": false})),
        (json!({"prefixItems": [{}, {}], "items": false}), json!({"maxItems": 2})),
        (
            json!({"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": false}),
            json!({"additionalProperties": {"type": "string"}}),
        ),
        (
            json!({"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            json!({"properties": {"b": {"type": "string"}}}),
        ),
        (
            json!({"properties": {"a": {"$dynamicRef": "#m"}}, "$defs": {"m": {"$dynamicAnchor": "m", "type": "string"}}}),
            json!({"properties": {"a": {"type": "string"}}}),
        ),
        (
            json!({"$ref": "z", "$defs": {"a": {"$id": "z", "type": "string"}}}),
            json!({"type": "string"}),
        ),
        (json!({"type": "string"}), json!({"pattern": ""})),
    ] {
        let found = backward(&old, &new);
        assert!(found.iter().all(|finding| !finding.certain), "{old} to {new}: {found:#?}");
    }
}

#[test]
fn what_breaks_far_within_is_shown_there() {
    let order = |currency: Value| {
        json!({
            "type": "object",
            "required": ["id", "lines"],
            "additionalProperties": false,
            "properties": {
                "id": {"type": "string", "format": "uuid"},
                "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
            },
            "$defs": {"line": {
                "type": "object",
                "required": ["amount", "kind"],
                "properties": {
                    "amount": {"type": "integer", "minimum": 5, "multipleOf": 5},
                    "kind": {"enum": ["sale", "gift"]},
                    "currency": currency,
                },
            }},
        })
    };
    let (text, code) = (json!({"type": "string"}), json!({"type": "string", "maxLength": 3}));
    let at = "/$defs/line/properties/currency/maxLength";
    refused(&order(text), &order(code), at, true);
}

#[test]
fn each_part_is_compiled_once_and_work_is_bounded() {
    let consts: Map<String, Value> =
        (0..300).map(|n| (format!("p{n}"), json!({"const": n}))).collect();
    let texts: Vec<String> = (0..500).map(|n| format!("v{n}")).collect();
    let (old, new) =
        (json!({"properties": consts}), json!({"additionalProperties": {"not": {"enum": texts}}}));
    let stop = Stop::never();
    let run = |left: u64, stop: &Stop| {
        let mut comparison = Comparison::new(&old, &new, Direction::Backward, stop);
        comparison.left = left;
        comparison.check_all();
        let too_large = |finding: &Finding| finding.why.contains("too large");
        (comparison.known.compiled, comparison.found.iter().any(too_large))
    };
    // The 300 that are narrow, and one that is wide.
    assert_eq!(run(MAX_WORK, &stop), (301, false));
    let (compiled, too_large) = run(10_000, &stop);
    assert!(compiled < 301 && too_large, "{compiled}");
    // And when nobody waits any more.
    assert_eq!(run(MAX_WORK, &Stop::now()), (0, true));
}

fn schema() -> impl Strategy<Value = Value> {
    let small = -2..4_i64;
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({})),
        Just(json!(false)),
        prop::sample::select(vec![
            "string", "integer", "number", "object", "array", "null", "boolean"
        ])
        .prop_map(|t| json!({"type": t})),
        small.clone().prop_map(|n| json!({"minimum": n})),
        small.clone().prop_map(|n| json!({"exclusiveMinimum": n})),
        small.clone().prop_map(|n| json!({"maximum": n})),
        small.prop_map(|n| json!({"exclusiveMaximum": n, "type": "integer"})),
        (1..4_i64).prop_map(|n| json!({"multipleOf": n})),
        (0..3_u64).prop_map(|n| json!({"minLength": n})),
        (0..3_u64).prop_map(|n| json!({"maxLength": n, "minItems": n})),
        (0..3_u64).prop_map(|n| json!({"maxItems": n, "maxProperties": n})),
        prop::sample::select(vec!["^a", "b$"]).prop_map(|p| json!({"pattern": p})),
        prop::collection::vec(value(), 1..4).prop_map(|values| json!({"enum": values})),
        value().prop_map(|value| json!({"const": value})),
        Just(json!({"required": ["a"]})),
        Just(json!({"required": ["a", "b"], "type": "object"})),
        Just(json!({"uniqueItems": true})),
        Just(json!({"$ref": "#/$defs/x"})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let many = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"properties": {"a": a, "b": b}})),
            (inner.clone(), inner.clone()).prop_map(
                |(a, rest)| json!({"properties": {"a": a}, "additionalProperties": rest})
            ),
            (inner.clone(), inner.clone()).prop_map(
                |(a, rest)| json!({"patternProperties": {"^a": a}, "additionalProperties": rest})
            ),
            inner.clone().prop_map(|items| json!({"items": items})),
            (inner.clone(), inner.clone())
                .prop_map(|(first, rest)| json!({"prefixItems": [first], "items": rest})),
            many().prop_map(|all| json!({"allOf": all})),
            many().prop_map(|any| json!({"anyOf": any})),
            (many(), inner.clone())
                .prop_map(|(any, a)| json!({"anyOf": any, "properties": {"a": a}})),
            many().prop_map(|one| json!({"oneOf": one})),
            inner.clone().prop_map(|not| json!({"not": not})),
            (inner.clone(), inner.clone()).prop_map(|(i, t)| json!({"if": i, "then": t})),
            inner.clone().prop_map(|contains| json!({"contains": contains})),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| match (one, other) {
                (Value::Object(mut one), Value::Object(other)) => {
                    one.extend(other);
                    Value::Object(one)
                }
                (one, _) => one,
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    (schema(), schema()).prop_map(|(mut root, shared)| {
        // The shared one must not lead to itself without entering the instance.
        if let Some(members) = root.as_object_mut() {
            members.insert("$defs".into(), json!({"x": shared}));
        }
        root
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3..5_i64).prop_map(Value::from),
        Just(json!(1.5)),
        prop::sample::select(vec!["", "a", "ab", "b", "abc"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "ab"]), inner, 0..3)
                .prop_map(|members| members
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect::<Map<_, _>>()
                    .into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// What is found compatible is: no value that the old schema accepts is refused by the new.
    /// Half of the pairs are near one another, so that many are compatible.
    #[test]
    fn nothing_is_claimed_that_is_not_so(
        one in document(),
        other in document(),
        kind in 0..4,
        values in prop::collection::vec(value(), 40),
    ) {
        let new = match kind {
            0 => other,
            1 => json!({"anyOf": [one, other]}),
            2 => json!({"allOf": [one], "title": "the same"}),
            _ => {
                let (mut new, other) = (one.clone(), other);
                if let (Some(new), Some(other)) = (new.as_object_mut(), other.as_object()) {
                    if let Some((name, value)) = other.iter().next() {
                        new.insert(name.clone(), value.clone());
                    }
                    let first = new.keys().find(|name| *name != "$defs").cloned();
                    first.map(|name| new.remove(&name));
                }
                new
            }
        };
        if let (Ok(old), Ok(next)) = (Validator::compile(&one), Validator::compile(&new))
            && backward(&one, &new).is_empty()
        {
            for value in values.iter().filter(|value| old.accepts(value)) {
                prop_assert!(next.accepts(value), "{one}\n{new}\n{value}");
            }
        }
    }
}
