//! Run a plugin's function natively, as `cargo test` does: no WebAssembly, no server.
//!
//! ```
//! use hookmill_sdk::{prelude::*, testing};
//!
//! /// Drops test orders.
//! #[filter]
//! fn no_tests(event: &Event) -> Result<Verdict> {
//!     Ok(if event.get("/test")? { drop("a test order") } else { pass() })
//! }
//!
//! let event = testing::event(json!({"test": true})).event_type("order.created").build();
//! assert_eq!(no_tests(&event), Ok(drop("a test order")));
//! ```
//!
//! Owns an event in memory, the captured log, the server's way of applying an answer,
//! and the recorded cases in `tests/*.json`. It imitates the server closely enough to
//! find mistakes early; `hookmill plugin test` is the real thing.

mod apply;
mod cases;
mod source;

pub use apply::{Answer, Sent, apply};
pub use cases::{Plugin, check_cases};
pub use source::{EventBuilder, event, event_text};

pub(crate) use source::Source;

use crate::log::Level;
use crate::{Config, Event, Result};
use serde_json::Value;
use std::cell::RefCell;

thread_local! {
    static NOTES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// The notes this thread's plugins have logged since the last call.
pub fn logs() -> Vec<(Level, String)> {
    NOTES.with_borrow_mut(std::mem::take)
}

pub(crate) fn capture(level: Level, message: &str) {
    NOTES.with_borrow_mut(|notes| notes.push((level, message.to_owned())));
}

/// Runs a plugin's function with a configuration written as JSON, read as the server's
/// run would read it.
///
/// ```
/// # use hookmill_sdk::{prelude::*, testing};
/// # #[derive(Config)]
/// # struct BigOrders { at_least: f64 }
/// # #[filter]
/// # fn big_orders(event: &Event, config: BigOrders) -> Result<Verdict> {
/// #     let total: f64 = event.get("/total")?;
/// #     Ok(if total >= config.at_least { pass() } else { drop("below at_least") })
/// # }
/// let event = testing::event(json!({"total": 5})).build();
/// let answer = testing::run(big_orders, &event, &json!({"at_least": "ten"}));
/// assert!(answer.is_err_and(|error| error.message().starts_with("/at_least is the string")));
/// ```
#[allow(clippy::needless_pass_by_value, reason = "a function's name reads best as it is")]
pub fn run<M, P: Plugin<M>>(plugin: P, event: &Event, config: &Value) -> Result<P::Answer> {
    plugin.run(event, &config.to_string())
}

/// The JSON Schema of a configuration, as the manifest will show it.
pub fn schema<C: Config>() -> Value {
    serde_json::from_str(&C::schema()).unwrap_or_default()
}
