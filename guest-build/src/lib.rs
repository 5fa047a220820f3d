//! Compiles plugins to WebAssembly, finding the tools by itself.
//!
//! Owns the question "how can this machine compile guests?", for each language, and the flags
//! plugins are built with. `cargo xtask plugins` and `hookmill plugin build` both go through
//! [`build`] for Rust and [`component`] for JavaScript and Python. Never skips silently: it
//! builds, or says which command to run. Never turns a core module into a component: the
//! server does that.

mod apt;
mod artifact;
mod error;
mod fresh;
mod javascript;
mod language;
mod process;
mod project;
mod python;
mod toolchain;

pub use artifact::Module;
pub use error::BuildError;
pub use language::Language;
pub use project::Component;

use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use toolchain::{Std, Toolchain};

/// The one target plugins are compiled for: no WASI, no imports but the interface.
const TARGET: &str = "wasm32-unknown-unknown";

/// Told what is about to take a while.
pub type Progress = fn(&str);

/// Makes the component of a plugin in JavaScript or Python, unless the one in its build folder
/// is of the same sources. Installs what the project's own files name into the project.
pub fn component(folder: &Path, progress: Progress) -> Result<Component, BuildError> {
    match Language::of(folder) {
        Some(Language::JavaScript) => javascript::build(folder, progress),
        Some(Language::Python) => python::build(folder, progress),
        Some(Language::Rust) | None => {
            Err(BuildError::NoSource(folder.to_path_buf(), "package.json or plugin.py"))
        }
    }
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// The package's or the workspace's `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// One package of the workspace; the whole workspace if `None`.
    pub package: Option<String>,
    /// Where cargo keeps its work. Sharing one between plugins saves compiling their
    /// dependencies, and perhaps std, again.
    pub target_dir: PathBuf,
    /// Told what is about to take a while.
    pub progress: Progress,
}

impl Options {
    /// The whole workspace or package at `manifest_path`, with progress on stderr.
    pub fn new(manifest_path: impl Into<PathBuf>, target_dir: impl Into<PathBuf>) -> Self {
        Options {
            manifest_path: manifest_path.into(),
            package: None,
            target_dir: target_dir.into(),
            progress: |message| eprintln!("{message}"),
        }
    }
}

/// Builds the plugins, in the release profile, and returns their core modules in the
/// order cargo finished them. What is up to date is cargo's business: it isn't rebuilt.
///
/// The first call in a process may have to fetch a toolchain; which one was found is
/// remembered for the next.
pub fn build(options: &Options) -> Result<Vec<Module>, BuildError> {
    let manifest_path = std::path::absolute(&options.manifest_path)?;
    let target_dir = std::path::absolute(&options.target_dir)?;
    let root = manifest_path.parent().unwrap_or(&manifest_path).to_path_buf();
    if !manifest_path.is_file() {
        return Err(BuildError::NoManifest(manifest_path));
    }
    let toolchain = toolchain::find(options.progress)?;

    let mut command = Command::new(&toolchain.cargo);
    command.args(["build", "--release", "--target", TARGET]);
    // The compiler's own messages go to stderr as always; stdout lists the artifacts.
    command.arg("--message-format=json-render-diagnostics");
    command.arg("--manifest-path").arg(&manifest_path);
    command.arg("--target-dir").arg(&target_dir);
    match &options.package {
        Some(package) => command.args(["--package", package]),
        None => command.arg("--workspace"),
    };
    // From the workspace's folder, so that its .cargo/config.toml counts.
    command.current_dir(&root);
    prepare(&mut command, toolchain, &root);
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).stdout(Stdio::piped());

    let output = command.output().map_err(|error| BuildError::Start("cargo", error))?;
    if !output.status.success() {
        return Err(BuildError::Compile(output.status.code()));
    }
    let modules = artifact::modules(&String::from_utf8_lossy(&output.stdout))?;
    if modules.is_empty() {
        return Err(BuildError::NoModule(manifest_path));
    }
    Ok(modules)
}

/// Environment and flags. A caller started by cargo has that cargo's settings in its
/// environment; they must not leak into this build.
fn prepare(command: &mut Command, toolchain: &Toolchain, root: &std::path::Path) {
    for name in
        ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WORKSPACE_WRAPPER"]
    {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, root).join("\u{1f}"));
    if let Std::Source = toolchain.std {
        command.arg("-Zbuild-std=std,panic_abort");
        command.env("RUSTC_BOOTSTRAP", "1");
        command.env("RUSTC", &toolchain.rustc);
        // Paths to another toolchain's libraries, if cargo started the caller.
        command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
        if let Some(linker) = &toolchain.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

fn flags(toolchain: &Toolchain, root: &std::path::Path) -> Vec<String> {
    let mut flags = vec![
        // The default of 1 MiB is zeroed memory that every run would have to map.
        "-Clink-arg=-zstack-size=65536".to_owned(),
    ];
    // Messages of panics name source files: the same on every machine, and short. Of
    // several that fit, the compiler takes the last.
    let mut remap = |from: PathBuf, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    if let Some(beside) = root.parent().filter(|beside| beside.parent().is_some()) {
        remap(beside.to_path_buf(), "..");
    }
    remap(root.to_path_buf(), ".");
    for registry in toolchain::registries() {
        remap(registry, "crates");
    }
    remap(toolchain.sysroot.join("lib/rustlib/src/rust"), "rust");
    if let Ok(real) = toolchain.sysroot.join("lib/rustlib/src/rust/library").canonicalize() {
        remap(real, "rust/library");
    }
    flags
}
