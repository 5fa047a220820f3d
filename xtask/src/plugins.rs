//! `cargo xtask plugins`: builds the plugins workspace to WebAssembly.
//!
//! Owns where the modules end up, `build/plugins/<name>.wasm`, for the demo, the tests
//! and the benchmarks. Leaves finding a toolchain to `hookmill-guest-build`, and what
//! needs rebuilding to cargo.

use std::{fs, io, path::Path};

use hookmill_guest_build::{Options, build};

use crate::shell::root;

/// Builds every plugin.
pub(crate) fn run() -> Result<(), String> {
    let plugins = root().join("plugins");
    let modules = build(&Options::new(plugins.join("Cargo.toml"), plugins.join("target")))
        .map_err(|error| error.to_string())?;
    let folder = root().join("build/plugins");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for module in modules {
        let path = folder.join(format!("{}.wasm", module.package));
        copy(&module.path, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("{:>7} bytes  build/plugins/{}.wasm", module.size, module.package);
    }
    Ok(())
}

/// Copies a module unless it is there already, so that whoever goes by the time of the
/// copy isn't misled. Written beside and renamed: a reader sees all of it or none.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let module = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == module) {
        return Ok(());
    }
    let beside = to.with_extension("wasm.new");
    fs::write(&beside, module)?;
    fs::rename(&beside, to)
}
