//! Removes or masks fields, named by JSON pointers with `*` for every element or member.
//!
//! Answers with edits: the server changes its own copy, and what isn't named is sent as
//! it was. Where a rule could be read two ways, more is hidden, not less.

mod mask;
mod places;

use hookmill_sdk::prelude::*;
use places::Place;
use std::collections::BTreeSet;

/// What to hide.
#[derive(Config)]
struct Redact {
    /// The fields to hide. Of two rules for the same field, the first counts.
    fields: Vec<Rule>,
}

/// One field, or several by `*`, and how to hide it.
#[derive(Config)]
struct Rule {
    /// A JSON pointer; `*` as a token stands for every element or member.
    at: String,
    /// How.
    #[serde(default)]
    action: Action,
    /// For `mask`: the text put in the value's place.
    text: Option<String>,
    /// For `keep_last`: how many characters stay readable.
    characters: Option<u32>,
    /// For `hash`: the secret that keys the hash, so that nobody can try values.
    secret: Option<String>,
}

/// How a value is hidden.
#[derive(Clone, Copy, Config, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Put a fixed text in its place.
    #[default]
    Mask,
    /// Take it out.
    Remove,
    /// Mask all but its last characters.
    KeepLast,
    /// Put a keyed hash in its place: equal values stay equal.
    Hash,
}

/// Removes or masks fields.
#[transform]
fn redact(event: &Event, config: Redact) -> Result<Outcome> {
    for (index, rule) in config.fields.iter().enumerate() {
        check(rule)
            .map_err(|problem| Error::invalid_config(format!("/fields/{index}{problem}")))?;
    }
    let places = places::find(event, &config.fields)?;

    let mut edits = edit();
    let removed = places.iter().filter(|place| place.rule.action == Action::Remove);
    // What is inside something removed, or already masked, is gone with it.
    let mut gone: BTreeSet<&str> = removed.clone().map(|place| place.pointer.as_str()).collect();
    for place in places.iter().filter(|place| place.rule.action != Action::Remove) {
        if places::covered(&gone, &place.pointer) {
            continue;
        }
        if let Some(value) = mask::masked(place.rule, &place.text)? {
            edits = edits.set(place.pointer.as_str(), value);
            gone.insert(&place.pointer);
        }
    }
    // Last elements first, so that the indexes of the others still hold.
    let mut removed: Vec<&Place<'_>> = removed.collect();
    removed.sort_by(|left, right| places::order(&right.pointer, &left.pointer));
    removed.dedup_by(|left, right| left.pointer == right.pointer);
    for place in removed {
        edits = edits.remove(place.pointer.as_str());
    }
    edits.build()
}

/// What the schema can't say.
fn check(rule: &Rule) -> Result<(), &'static str> {
    if !rule.at.starts_with('/') || !hookmill_sdk::pointer::is_valid(&rule.at) {
        return Err("/at is not a JSON pointer: it must begin with `/`");
    }
    if rule.action == Action::Hash && rule.secret.as_deref().is_none_or(str::is_empty) {
        return Err("/secret is missing: `hash` needs one");
    }
    for (given, action, problem) in [
        (rule.text.is_some(), Action::Mask, "/text belongs to `mask`"),
        (rule.characters.is_some(), Action::KeepLast, "/characters belongs to `keep_last`"),
        (rule.secret.is_some(), Action::Hash, "/secret belongs to `hash`"),
    ] {
        if given && rule.action != action {
            return Err(problem);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::redact;
    use hookmill_sdk::prelude::*;
    use hookmill_sdk::testing::{self, Sent};

    fn redacted(payload: Value, fields: &Value) -> Value {
        let event = testing::event(payload).build();
        let outcome = testing::run(redact, &event, &json!({"fields": fields}));
        match outcome.and_then(|outcome| testing::apply(&event, outcome)) {
            Ok(Sent::Payload { payload, .. }) => payload,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn recorded_cases() {
        testing::check_cases(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), redact);
    }

    #[test]
    fn several_elements_of_one_array_can_go() {
        let fields = json!([
            {"at": "/list/0", "action": "remove"},
            {"at": "/list/2", "action": "remove"},
            {"at": "/list/10", "action": "remove"},
            {"at": "/list/1"},
        ]);
        let list: Vec<u8> = (0..12).collect();
        let expected = json!({"list": ["[redacted]", 3, 4, 5, 6, 7, 8, 9, 11]});
        assert_eq!(redacted(json!({"list": list}), &fields), expected);
    }

    #[test]
    fn rules_that_overlap_hide_the_most() {
        let payload = json!({"a": {"b": "x", "c": "y"}, "d": [{"e": 1}, {"e": 2}]});
        let fields = json!([
            {"at": "/a/b", "action": "keep_last"},
            {"at": "/a"},
            {"at": "/a/c", "action": "remove"},
            {"at": "/d/*/e"},
            {"at": "/d/0", "action": "remove"},
            {"at": "/d/*/e", "action": "remove"},
        ]);
        assert_eq!(redacted(payload, &fields), json!({"a": "[redacted]", "d": [{}]}));
    }

    #[test]
    fn nothing_named_is_nothing_changed() {
        let event = testing::event(json!({"a": 1})).build();
        let outcome = testing::run(
            redact,
            &event,
            &json!({"fields": [{"at": "/b"}, {"at": "/a/*"}, {"at": "/c/*/d"}]}),
        );
        assert_eq!(outcome, Ok(pass()));
    }
}
