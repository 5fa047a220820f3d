//! The attributes `#[filter]` and `#[transform]` and the derive `Config`, as
//! `hookmill-sdk` re-exports them.
//!
//! Owns turning an author's function and struct into what the SDK's runtime
//! expects, and saying clearly what is wrong with one that cannot be turned.
//! Never holds logic that runs inside a plugin: that is in `hookmill-sdk`.

mod args;
mod config;
mod doc;
mod plugin;

use proc_macro::TokenStream;

/// Makes a function this package's filter.
///
/// The function takes `&Event` and, if it wants one, a configuration by value, and
/// returns `Result<Verdict>`. Optional arguments: `name`, `version` (both from
/// `Cargo.toml` unless given), `summary` (the doc comment unless given) and
/// `event_types`, a list of patterns such as `"order.*"`.
#[proc_macro_attribute]
pub fn filter(args: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(plugin::World::Filter, args.into(), item.into()).into()
}

/// Makes a function this package's transform.
///
/// Like `#[filter]`, but the function returns `Result<Outcome>`.
#[proc_macro_attribute]
pub fn transform(args: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(plugin::World::Transform, args.into(), item.into()).into()
}

/// Makes a struct or an enum a configuration: read from JSON with serde, described
/// to people by a JSON Schema, refusing fields it does not know.
///
/// The attributes `#[serde(...)]` and `#[schemars(...)]` work as in those crates.
#[proc_macro_derive(Config, attributes(serde, schemars))]
pub fn config(item: TokenStream) -> TokenStream {
    config::expand(item.into()).into()
}
