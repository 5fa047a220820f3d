//! What a transform costs when it parses, changes and rewrites the whole payload.

use hookmill_sdk::prelude::*;

/// What to change.
#[derive(Config)]
struct Replace {
    /// The pointer of a value, replaced by null.
    at: String,
}

/// Replaces one value, by parsing and rewriting everything.
#[transform]
fn reshape_raw(event: &Event, config: Replace) -> Result<Outcome> {
    let mut payload = event.value()?;
    match payload.pointer_mut(&config.at) {
        Some(value) => *value = Value::Null,
        None => return Ok(drop("there is nothing to replace")),
    }
    deliver_json(&payload)
}
