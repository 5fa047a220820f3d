//! How this machine can compile for WebAssembly.
//!
//! Owns trying the ways in order, the cheap ones first: a compiler that has the target's
//! std; rustup, asked to add it; a compiler that has std's source; Debian's packages.
//! What was found is remembered for the process. Never builds anything itself.

use crate::process::{output, run};
use crate::{BuildError, TARGET, apt};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The oldest compiler the SDK works with: 1.95.
const MINIMUM: u32 = 95;
/// How long rustup may take to add the target.
const RUSTUP: Duration = Duration::from_secs(60);
/// Debian's name for a compiler newer than the release's own, with std's source.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];

/// Where the target's std comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Std {
    /// It came with the compiler.
    Installed,
    /// It is compiled together with the plugin.
    Source,
}

/// A compiler and what goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) cargo: OsString,
    pub(crate) rustc: OsString,
    pub(crate) sysroot: PathBuf,
    pub(crate) std: Std,
    /// Only where the compiler brings none.
    pub(crate) linker: Option<PathBuf>,
}

/// The first toolchain that works.
pub(crate) fn find(progress: fn(&str)) -> Result<&'static Toolchain, BuildError> {
    // Leaked once a process, when found: a failure may be cured before the next call.
    static FOUND: Mutex<Option<&'static Toolchain>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(toolchain) = *found {
        return Ok(toolchain);
    }
    let toolchain: &'static Toolchain = Box::leak(Box::new(search(progress)?));
    *found = Some(toolchain);
    Ok(toolchain)
}

fn search(progress: fn(&str)) -> Result<Toolchain, BuildError> {
    let mut tried = Vec::new();
    if let Some(toolchain) = with_std(&mut tried) {
        return Ok(toolchain);
    }
    // Remembered, so that a machine without network waits for rustup once.
    match add_target(progress) {
        Ok(()) => match with_std(&mut tried) {
            Some(toolchain) => return Ok(toolchain),
            None => tried.push(format!(
                "rustup target add {TARGET}: added, but not for the compiler in use"
            )),
        },
        Err(reason) => tried.push(format!("rustup target add {TARGET}: {reason}")),
    }
    if let Some(toolchain) = with_source(&mut tried) {
        return Ok(toolchain);
    }
    match install_packages(progress) {
        Ok(()) => match with_source(&mut tried) {
            Some(toolchain) => return Ok(toolchain),
            None => {
                tried.push("Debian's packages: installed, but they don't work together".to_owned())
            }
        },
        Err(reason) => tried.push(format!("Debian's packages: {reason}")),
    }
    tried.dedup();
    Err(BuildError::NoToolchain(tried))
}

/// One pair of compiler and cargo.
struct Pair {
    rustc: OsString,
    cargo: OsString,
}

/// The compilers to look at: the one on the path, then the system's.
fn pairs() -> Vec<Pair> {
    let mut pairs = vec![Pair { rustc: "rustc".into(), cargo: "cargo".into() }];
    let system = Path::new("/usr/bin");
    if system.join("rustc").exists() && system.join("cargo").exists() {
        pairs.push(Pair { rustc: system.join("rustc").into(), cargo: system.join("cargo").into() });
    }
    pairs
}

fn with_std(tried: &mut Vec<String>) -> Option<Toolchain> {
    for pair in pairs() {
        let Some(sysroot) = sysroot(&pair, tried) else { continue };
        if has_std(&sysroot) {
            return Some(Toolchain {
                cargo: pair.cargo,
                rustc: pair.rustc,
                sysroot,
                std: Std::Installed,
                linker: None,
            });
        }
        tried.push(format!("{}: it has no std for {TARGET}", pair.rustc.to_string_lossy()));
    }
    None
}

fn with_source(tried: &mut Vec<String>) -> Option<Toolchain> {
    for pair in pairs() {
        let Some(sysroot) = sysroot(&pair, tried) else { continue };
        if !sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
            tried.push(format!("{}: it has no source of std", pair.rustc.to_string_lossy()));
            continue;
        }
        match linker() {
            Some(linker) => {
                let linker = Some(linker);
                return Some(Toolchain {
                    cargo: pair.cargo,
                    rustc: pair.rustc,
                    sysroot,
                    std: Std::Source,
                    linker,
                });
            }
            None => {
                tried.push("a linker for WebAssembly (rust-lld or wasm-ld): none found".to_owned())
            }
        }
    }
    None
}

/// The compiler's home, if it is there and new enough.
fn sysroot(pair: &Pair, tried: &mut Vec<String>) -> Option<PathBuf> {
    let name = pair.rustc.to_string_lossy();
    let Some(version) = output(&pair.rustc, &["--version"]) else {
        tried.push(format!("{name}: not found"));
        return None;
    };
    if minor(&version).is_none_or(|minor| minor < MINIMUM) {
        tried.push(format!("{name}: {version} is too old, 1.{MINIMUM} is needed"));
        return None;
    }
    output(&pair.rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

/// The 95 of `rustc 1.95.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

fn has_std(sysroot: &Path) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    libraries.read_dir().is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    })
}

fn add_target(progress: fn(&str)) -> Result<(), String> {
    if output("rustup", &["--version"]).is_none() {
        return Err("there is no rustup".to_owned());
    }
    progress("adding the WebAssembly target with rustup (once)");
    run(Command::new("rustup").args(["target", "add", TARGET]), RUSTUP)
}

/// `rust-lld` of any installed compiler, or LLVM's `wasm-ld`.
fn linker() -> Option<PathBuf> {
    let mut sysroots: Vec<PathBuf> = pairs()
        .iter()
        .filter_map(|pair| output(&pair.rustc, &["--print", "sysroot"]))
        .map(PathBuf::from)
        .collect();
    // The compiler in use may be one that brings no linker, beside others that do.
    if let Some(stable) = output("rustc", &["+stable", "--print", "sysroot"]) {
        sysroots.push(PathBuf::from(stable));
    }
    let bundled = sysroots.iter().filter_map(|sysroot| {
        let targets = sysroot.join("lib/rustlib").read_dir().ok()?;
        targets
            .flatten()
            .map(|target| target.path().join("bin/rust-lld"))
            .find(|path| path.exists())
    });
    bundled.chain(on_path()).next()
}

/// `wasm-ld`, plain or with the newest version in its name.
fn on_path() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let names = std::iter::once("wasm-ld".to_owned())
        .chain((19..=40).rev().map(|version| format!("wasm-ld-{version}")));
    names
        .flat_map(|name| folders.iter().map(move |folder| folder.join(&name)))
        .find(|path| path.exists())
}

fn install_packages(progress: fn(&str)) -> Result<(), String> {
    let mut packages = PACKAGES.to_vec();
    if linker().is_none() {
        packages.push("lld");
    }
    progress("installing Debian's Rust compiler and the source of std (once)");
    apt::install(&packages)
}

/// The folders, one a registry, in which cargo unpacks what it downloads.
pub(crate) fn registries() -> Vec<PathBuf> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => env::home_dir().map(|home| home.join(".cargo")),
    };
    let Some(Ok(entries)) = home.map(|home| home.join("registry").join("src").read_dir()) else {
        return Vec::new();
    };
    let mut registries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // In the same order every time: cargo rebuilds when flags change.
    registries.sort();
    registries
}

#[cfg(test)]
mod tests {
    use super::{find, minor};

    #[test]
    fn versions_are_read() {
        assert_eq!(minor("rustc 1.95.0 (59807616e 2026-04-14)"), Some(95));
        assert_eq!(minor("rustc 1.96.0-nightly"), Some(96));
        assert_eq!(minor("clang 18"), None);
    }

    #[test]
    fn the_answer_is_remembered() {
        // A machine without any way is not this test's concern.
        if let Ok(first) = find(|_| {}) {
            assert!(
                find(|_| panic!("asked again")).is_ok_and(|second| std::ptr::eq(first, second))
            );
        }
    }
}
