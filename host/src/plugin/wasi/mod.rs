//! WASI 0.2 with nothing in it, for guests whose tools cannot do without.
//!
//! Owns which of its interfaces a component may name and what stands behind them: no files,
//! network, environment or arguments; a clock that stands still at the event's time; random
//! numbers that follow from the event's id; output that becomes notes. What has no meaning here
//! is a trap that says so. Nothing waits: a pollable is always ready, so no guest can hold a
//! thread. A run stays a pure function of event and config.

mod install;
mod state;

use wasmtime::{
    bail,
    component::{Component, Linker, LinkerInstance, ResourceType, types::ComponentItem},
};

pub(super) use state::{State, Stream};

use super::host::Guest;

/// The packages a component may import from.
const PACKAGES: [&str; 7] = ["cli", "io", "clocks", "random", "filesystem", "sockets", "http"];

/// A resource nobody ever has: files, sockets, terminals.
#[derive(Debug, Clone, Copy)]
struct Absent;

/// The interface that an import names, without its version: `io/streams`.
fn interface(import: &str) -> Option<&str> {
    let (interface, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    let (package, _) = interface.split_once('/')?;
    (PACKAGES.contains(&package) && version.starts_with("0.2.")).then_some(interface)
}

/// Whether a component may import this.
pub(super) fn is_allowed(import: &str) -> bool {
    interface(import).is_some()
}

/// The linker for a component: `base`, and what the component imports of WASI.
pub(super) fn linker(
    base: &Linker<Guest>,
    component: &Component,
) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = base.clone();
    let engine = component.engine();
    for (import, item) in component.component_type().imports(engine) {
        let Some(interface) = interface(import) else { continue };
        let ComponentItem::ComponentInstance(instance) = item.ty else {
            bail!("{import} is not an instance");
        };
        let mut defined = linker.instance(import)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(_) => {
                    defined.resource(name, resource(name), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => {
                    let is_there = install::function(&mut defined, interface, name)?;
                    if !is_there {
                        absent(&mut defined, import, name)?;
                    }
                }
                // Other types are only names for what the functions take and give.
                _ => {}
            }
        }
    }
    Ok(linker)
}

/// The host's type behind a resource. Interfaces use each other's under the same names, except
/// `wasi:http`, to which an error is an `io-error`.
fn resource(name: &str) -> ResourceType {
    match name {
        "error" | "io-error" => ResourceType::host::<install::IoError>(),
        "pollable" => ResourceType::host::<install::Pollable>(),
        "input-stream" => ResourceType::host::<install::Input>(),
        "output-stream" => ResourceType::host::<install::Output>(),
        _ => ResourceType::host::<Absent>(),
    }
}

/// A function that only says it is not there.
fn absent(
    defined: &mut LinkerInstance<'_, Guest>,
    import: &str,
    name: &str,
) -> wasmtime::Result<()> {
    let called = format!("{import} {name}");
    defined.func_new(name, move |_, _, _, _| {
        bail!("{called} is not there for plugins: they have no files, network or processes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_packages_of_one_version_are_allowed() {
        for good in ["wasi:io/streams@0.2.0", "wasi:http/types@0.2.12", "wasi:sockets/tcp@0.2.3"] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "wasi:io/streams@0.3.0",
            "wasi:io/streams",
            "wasi:nn/tensor@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi_snapshot_preview1",
            "wasix:io/streams@0.2.0",
            "acme:io/streams@0.2.0",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }
}
