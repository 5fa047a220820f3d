//! Known pairs, and random ones against instances.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn backward(old: &Value, new: &Value) -> Vec<Finding> {
    compare(old, new, Compatibility::Backward)
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
    assert!(compare(old, new, Compatibility::Backward).is_empty());
    let found = compare(old, new, Compatibility::Full);
    assert_eq!(found.iter().map(|f| f.direction).collect::<Vec<_>>(), [Direction::Forward]);
    assert!(compare(old, new, Compatibility::None).is_empty());
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
