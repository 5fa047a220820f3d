//! What a run costs when the plugin does nothing: the fixed cost of the platform.

use hookmill_sdk::prelude::*;

/// Passes every event without looking at it.
#[filter]
fn empty_filter(_event: &Event) -> Result<Verdict> {
    Ok(pass())
}
