//! What two fields cost when the plugin parses the whole payload to see them.

use hookmill_sdk::prelude::*;

/// Two places to look at.
#[derive(Config)]
struct Two {
    /// A pointer.
    first: String,
    /// Another pointer.
    second: String,
}

/// Passes events that have something at both pointers, parsing the whole payload.
#[filter]
fn raw_filter(event: &Event, config: Two) -> Result<Verdict> {
    let payload = event.value()?;
    let both =
        payload.pointer(&config.first).is_some() && payload.pointer(&config.second).is_some();
    Ok(if both { pass() } else { drop("a field is missing") })
}
