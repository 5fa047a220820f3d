//! Passes events whose fields meet conditions.
//!
//! Reads single fields only, in the order of the conditions and no more than it takes to
//! decide, so that the server can learn which values lead to which verdict.

mod condition;
mod pattern;
mod value;

use condition::Condition;
use hookmill_sdk::prelude::*;

/// Which events pass.
#[derive(Config)]
struct FieldFilter {
    /// The condition an event has to meet.
    pass_if: Condition,
    /// The reason kept with an event that is dropped; otherwise the field that decided.
    reason: Option<String>,
}

/// Passes events whose fields meet conditions.
#[filter]
fn field_filter(event: &Event, config: FieldFilter) -> Result<Verdict> {
    config.pass_if.check("/pass_if")?;
    Ok(match config.pass_if.unmet(event)? {
        None => pass(),
        Some(decided) => drop(match config.reason {
            Some(reason) => reason,
            None => format!("{decided} does not meet its condition"),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::field_filter;
    use hookmill_sdk::prelude::*;
    use hookmill_sdk::testing;

    fn passes(condition: &Value) -> bool {
        let event = testing::event(json!({
            "total": 120.5, "count": 3, "big": 9007199254740993_u64, "status": "paid", "note": null,
            "tags": ["new", "eu"], "placed": "2026-03-01T12:00:00Z", "path": "a\"b\\c", "flag": true,
        }))
        .build();
        match testing::run(field_filter, &event, &json!({"pass_if": condition})) {
            Ok(verdict) => verdict == Verdict::Pass,
            Err(error) => panic!("{error} for {condition}"),
        }
    }

    #[test]
    fn recorded_cases() {
        testing::check_cases(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), field_filter);
    }

    #[test]
    fn conditions_that_hold() {
        for condition in [
            json!({"at": "/status", "equals": "paid"}),
            json!({"at": "/total", "equals": 120.50}),
            json!({"at": "/count", "equals": 3.0}),
            json!({"at": "/note", "equals": null}),
            json!({"at": "/path", "equals": "a\"b\\c"}),
            json!({"at": "/tags", "equals": ["new", "eu"]}),
            json!({"at": "/big", "not_equals": 9007199254740992_u64}),
            json!({"at": "/nowhere", "not_equals": 1}),
            json!({"at": "/status", "in": ["open", "paid"]}),
            json!({"at": "/flag", "in": [true]}),
            json!({"at": "/note", "exists": true}),
            json!({"at": "/nowhere", "exists": false}),
            json!({"at": "/count", "greater": 2, "less": 4}),
            json!({"at": "/count", "greater_or_equal": 3, "less_or_equal": 3}),
            json!({"at": "/placed", "greater": "2026-02-28"}),
            json!({"at": "/status", "matches": "p[a-c]?d"}),
            json!({"at": "/path", "matches": "a\"b*"}),
            json!({"at": "/status", "starts_with": "pa", "contains": "ai"}),
            json!({"at": "/tags", "contains": "eu"}),
            json!({"any": [{"at": "/nowhere", "exists": true}, {"at": "/flag", "equals": true}]}),
            json!({"not": {"at": "/status", "equals": "open"}}),
            json!({"all": []}),
        ] {
            assert!(passes(&condition), "{condition}");
        }
    }

    #[test]
    fn conditions_that_do_not_hold() {
        for condition in [
            json!({"at": "/status", "equals": "Paid"}),
            json!({"at": "/count", "equals": "3"}),
            json!({"at": "/big", "equals": 9007199254740992_u64}),
            json!({"at": "/nowhere", "equals": null}),
            json!({"at": "/status", "in": []}),
            json!({"at": "/nowhere", "greater": 0}),
            json!({"at": "/note", "greater": 0}),
            json!({"at": "/count", "greater": 3}),
            json!({"at": "/status", "starts_with": "pa", "contains": "x"}),
            json!({"at": "/tags", "contains": "e"}),
            json!({"any": []}),
            json!({"all": [{"at": "/flag", "equals": true}, {"not": {"all": []}}]}),
        ] {
            assert!(!passes(&condition), "{condition}");
        }
    }

    #[test]
    fn a_mistaken_condition_is_named_with_its_place() {
        let event = testing::event(json!({"total": "19.90"})).build();
        for (condition, message) in [
            (json!({}), "/pass_if is empty: expected `all`, `any`, `not`, or `at` with a test"),
            (json!({"at": "/a"}), "/pass_if has `at` but no test, such as `equals`"),
            (json!({"equals": 1}), "/pass_if has a test but no `at`"),
            (
                json!({"at": "total", "exists": true}),
                "/pass_if/at is not a JSON pointer: it must begin with `/`",
            ),
            (json!({"all": [{"not": {"any": [{}]}}]}), "/pass_if/all/0/not/any/0 is empty"),
            (
                json!({"all": [], "any": []}),
                "/pass_if mixes `all`, `any`, `not` and `at`: each needs its own braces",
            ),
            (
                json!({"at": "/a", "greater": true}),
                "/pass_if/greater is true, expected a number or a string",
            ),
            (json!({"at": "/a", "matches": "[a"}), "/pass_if/matches: `[` is never closed"),
            (json!({"at": "/a", "equal": 1}), "/pass_if/equal is not known"),
        ] {
            let answer = testing::run(field_filter, &event, &json!({"pass_if": condition}));
            let problem = answer.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(problem.starts_with(&format!("invalid-config: {message}")), "{problem}");
        }
    }
}
