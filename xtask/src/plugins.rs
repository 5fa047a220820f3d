//! `cargo xtask plugins`: builds every plugin in `plugins/` to WebAssembly.
//!
//! Owns where the modules and components end up, `build/plugins/<name>.wasm`, for the demo,
//! the tests and the benchmarks. Leaves finding tools to `hookmill-guest-build`, and what needs
//! rebuilding to cargo and to the digest each project keeps of its sources.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hookmill_guest_build::{Options, build, component};

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
        eprintln!("{:>8} bytes  build/plugins/{}.wasm", module.size, module.package);
    }
    for project in with_engines()? {
        let name = project.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let made = component(&project, |step| eprintln!("{step}"))
            .map_err(|error| format!("{}: {error}", project.display()))?;
        let path = folder.join(format!("{name}.wasm"));
        copy(&made.path, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("{:>8} bytes  build/plugins/{name}.wasm", made.size);
    }
    Ok(())
}

/// The folders of plugins with a language engine inside, a folder for each language.
pub(crate) fn with_engines() -> Result<Vec<PathBuf>, String> {
    let mut projects = Vec::new();
    for language in ["js", "python"] {
        let folder = root().join("plugins").join(language);
        let entries = fs::read_dir(&folder)
            .map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
        projects
            .extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_dir()));
    }
    projects.sort();
    Ok(projects)
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
