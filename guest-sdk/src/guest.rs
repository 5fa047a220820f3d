//! The plugin's side of the interface in `wit/`: generated bindings, and the glue
//! between them and the SDK's own types.
//!
//! Compiled for WebAssembly only. Owns everything that knows wit-bindgen exists. A run
//! that does nothing must cost almost nothing, so nothing here is set up in advance.
#![allow(unsafe_code, reason = "wit-bindgen's output speaks the canonical ABI in raw pointers")]

use crate::log::Level;
use crate::{Config, Edit, Error, Event, Fault, Message, Outcome, Result, Verdict};
use transform::hookmill::plugin::{log as host_log, types};

/// The world of transforms, and the types and imports both worlds share.
#[allow(missing_debug_implementations, clippy::all, reason = "generated")]
pub mod transform {
    wit_bindgen::generate!({
        path: "wit",
        world: "transform",
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        default_bindings_module: "hookmill_sdk::__private::transform",
    });
}

/// The world of filters.
#[allow(missing_debug_implementations, clippy::all, reason = "generated")]
pub mod filter {
    wit_bindgen::generate!({
        path: "wit",
        world: "filter",
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        default_bindings_module: "hookmill_sdk::__private::filter",
        with: {
            "hookmill:plugin/types@0.1.0": crate::guest::transform::hookmill::plugin::types,
            "hookmill:plugin/log@0.1.0": crate::guest::transform::hookmill::plugin::log,
        },
    });
}

/// Runs a filter once.
pub fn run_filter<C: Config>(
    event: &types::Event,
    config: &str,
    plugin: impl FnOnce(&Event, C) -> Result<Verdict>,
) -> Result<types::Verdict, types::Fault> {
    explain_panics();
    match C::read(config).and_then(|config| plugin(Event::lent(event), config)) {
        Ok(Verdict::Pass) => Ok(types::Verdict::Pass),
        Ok(Verdict::Drop(reason)) => Ok(types::Verdict::Drop(reason)),
        Err(error) => Err(fault(error)),
    }
}

/// Runs a transform once.
pub fn run_transform<C: Config>(
    event: &types::Event,
    config: &str,
    plugin: impl FnOnce(&Event, C) -> Result<Outcome>,
) -> Result<types::Outcome, types::Fault> {
    explain_panics();
    match C::read(config).and_then(|config| plugin(Event::lent(event), config)) {
        Ok(Outcome::Deliver(message)) => Ok(types::Outcome::Deliver(deliver(message))),
        Ok(Outcome::Edit(edits)) => Ok(types::Outcome::Edit(edits.into_iter().map(edit).collect())),
        Ok(Outcome::Drop(reason)) => Ok(types::Outcome::Drop(reason)),
        Err(error) => Err(fault(error)),
    }
}

/// What the plugin says about itself. The function's doc comment is the summary, or
/// else the configuration's.
pub fn manifest<C: Config>(
    name: &str,
    version: &str,
    summary: &str,
    event_types: &[&str],
) -> types::Manifest {
    explain_panics();
    types::Manifest {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: if summary.is_empty() { C::SUMMARY } else { summary }.to_owned(),
        config_schema: C::schema(),
        event_types: event_types.iter().map(|&pattern| pattern.to_owned()).collect(),
    }
}

/// Hands a note to the server.
pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    host_log::write(level, message);
}

/// Without this a panic is a bare trap; with it the log says what and where. The hook
/// is a function without state: setting it allocates nothing.
fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log(Level::Error, &panic.to_string());
    }));
}

fn deliver(message: Message) -> types::Message {
    types::Message {
        content_type: message.content_type,
        headers: message
            .headers
            .into_iter()
            .map(|(name, value)| types::Header { name, value })
            .collect(),
        body: message.body,
    }
}

fn edit(edit: Edit) -> types::Edit {
    match edit {
        Edit::Set { pointer, json } => types::Edit::Set(types::Assignment { pointer, value: json }),
        Edit::Remove(pointer) => types::Edit::Remove(pointer),
        Edit::SetHeader { name, value } => types::Edit::SetHeader(types::Header { name, value }),
    }
}

#[cold]
fn fault(error: Error) -> types::Fault {
    match error.fault() {
        Fault::InvalidEvent => types::Fault::InvalidEvent(error.into_message()),
        Fault::InvalidConfig => types::Fault::InvalidConfig(error.into_message()),
        Fault::Failed => types::Fault::Failed(error.into_message()),
    }
}
