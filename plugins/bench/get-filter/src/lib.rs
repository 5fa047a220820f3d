//! What two fields cost when the plugin asks the server for them.

use hookmill_sdk::prelude::*;

/// Two places to look at.
#[derive(Config)]
struct Two {
    /// A pointer.
    first: String,
    /// Another pointer.
    second: String,
}

/// Passes events that have something at both pointers, reading no more than them.
#[filter]
fn get_filter(event: &Event, config: Two) -> Result<Verdict> {
    let (first, second): (Option<Value>, Option<Value>) =
        event.get_many([&config.first, &config.second])?;
    let both = first.is_some() && second.is_some();
    Ok(if both { pass() } else { drop("a field is missing") })
}
