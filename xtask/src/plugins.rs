//! `cargo xtask plugins`: compiles plugins/ to build/plugins/NAME.wasm.

use std::fs;

use crate::shell;

/// Builds all of them.
pub fn run() -> Result<(), String> {
    let root = shell::root();
    let options = hookmill_guest_build::Options::new(
        root.join("plugins/Cargo.toml"),
        root.join("plugins/target"),
    );
    let modules = hookmill_guest_build::build(&options).map_err(|error| error.to_string())?;
    let folder = root.join("build/plugins");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for module in modules {
        let to = folder.join(format!("{}.wasm", module.package));
        fs::copy(&module.path, to).map_err(|error| error.to_string())?;
    }
    Ok(())
}
