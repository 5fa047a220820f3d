//! Write Hookmill plugins in Rust: a plugin is one function of an event and a
//! configuration.
//!
//! ```
//! use hookmill_sdk::prelude::*;
//!
//! /// Passes orders at or above a total.
//! #[derive(Config)]
//! struct BigOrders {
//!     /// Smallest total that is passed, in the order's own currency.
//!     at_least: f64,
//! }
//!
//! #[filter]
//! fn big_orders(event: &Event, config: BigOrders) -> Result<Verdict> {
//!     let total: f64 = event.get("/total")?;
//!     Ok(if total >= config.at_least { pass() } else { drop("below at_least") })
//! }
//!
//! let event = hookmill_sdk::testing::event(serde_json::json!({"total": 20})).build();
//! assert_eq!(big_orders(&event, BigOrders { at_least: 10.0 }), Ok(pass()));
//! ```
//!
//! Compiled for `wasm32-unknown-unknown` it is a plugin. Compiled for anything else it
//! is an ordinary library whose events come from [`testing`]: `cargo test` needs no
//! WebAssembly.
//!
//! This crate owns what stands between an author's function and the interface in
//! `wit/`. It never does I/O, and keeps nothing from one run to the next.

// Lets the macros' output, which says `::hookmill_sdk`, work in this crate's own tests.
#[cfg(test)]
extern crate self as hookmill_sdk;

mod answer;
mod config;
mod error;
mod event;
mod explain;
pub mod log;
pub mod pointer;

#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod allocator;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use answer::{
    Drop, Edit, Edits, Message, Outcome, Pass, Verdict, deliver, deliver_json, drop, edit, pass,
};
pub use config::{Config, NoConfig};
pub use error::{Error, Fault, Result};
pub use event::{Event, Fields};
/// Makes a struct or an enum a configuration: see [`Config`](trait@Config).
pub use hookmill_sdk_macros::Config;
pub use hookmill_sdk_macros::{filter, transform};
/// serde, for types of your own that are read from events: derive with
/// `#[derive(serde::Deserialize)] #[serde(crate = "hookmill_sdk::serde")]`.
pub use serde;
/// JSON values and the `json!` macro.
pub use serde_json;

/// Everything a plugin needs, in one `use`.
pub mod prelude {
    pub use crate::log;
    pub use crate::{
        Config, Error, Event, Message, Outcome, Result, Verdict, deliver, deliver_json, drop, edit,
        filter, pass, transform,
    };
    pub use serde_json::{Value, json};
}

/// What the macros' output refers to. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::guest::{filter, manifest, run_filter, run_transform, transform};
    pub use schemars;
    pub use serde;
}
