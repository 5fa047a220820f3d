//! What can go wrong, and what to do about it.
//!
//! Owns the sentences: each names the cause, and the command that cures it if there is
//! one.

use std::path::PathBuf;
use std::{fmt, io};

/// Why there is no module or component.
#[derive(Debug)]
pub enum BuildError {
    /// There is no such `Cargo.toml`.
    NoManifest(PathBuf),
    /// No way to compile for WebAssembly was found; what was tried, in order.
    NoToolchain(Vec<String>),
    /// A program could not be started.
    Start(&'static str, io::Error),
    /// Cargo has reported errors; its exit code.
    Compile(Option<i32>),
    /// Cargo was content but made no module: no package is a `cdylib`.
    NoModule(PathBuf),
    /// A project in JavaScript or Python without its SDK.
    NoSdk(PathBuf),
    /// A project without the file that makes it one.
    NoSource(PathBuf, &'static str),
    /// A JavaScript project whose packages are not pinned.
    NoLock(PathBuf),
    /// A program that the language's tools need is missing or too old.
    NoTool {
        /// What was found instead.
        found: String,
        /// What is needed.
        needed: &'static str,
        /// What to do.
        install: &'static str,
    },
    /// A tool has said what is wrong, on stderr; what it was to do.
    Refused(&'static str),
    /// A file could not be read.
    Io(io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NoManifest(path) => write!(formatter, "there is no {}", path.display()),
            BuildError::NoToolchain(tried) => {
                formatter.write_str(
                    "no Rust compiler for WebAssembly was found. Run\n\n    rustup target add wasm32-unknown-unknown\n\nor, on Debian and its kin, as root\n\n    apt-get update && apt-get install rustc-web cargo-web rust-web-src rust-web-llvm\n\nTried:",
                )?;
                for attempt in tried {
                    write!(formatter, "\n  - {attempt}")?;
                }
                Ok(())
            }
            BuildError::Start(program, error) => {
                write!(formatter, "{program} could not be started: {error}")
            }
            BuildError::Compile(_) => {
                formatter.write_str("the plugin does not compile; the compiler's errors are above")
            }
            BuildError::NoModule(path) => write!(
                formatter,
                "{} builds no WebAssembly module: a plugin's Cargo.toml has\n\n    [lib]\n    crate-type = [\"cdylib\"]",
                path.display()
            ),
            BuildError::NoSdk(path) => write!(
                formatter,
                "there is no SDK in {}: start a project with `hookmill plugin new` and copy its folder .hookmill/sdk",
                path.display()
            ),
            BuildError::NoSource(folder, file) => {
                write!(formatter, "there is no {file} in {}", folder.display())
            }
            BuildError::NoLock(folder) => write!(
                formatter,
                "there is no package-lock.json in {}: run `npm install` there once, and commit it",
                folder.display()
            ),
            BuildError::NoTool { found, needed, install } => {
                write!(formatter, "{found}; needed is {needed}: {install}")
            }
            BuildError::Refused(what) => {
                write!(formatter, "{what} failed; the reason is above")
            }
            BuildError::Io(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Start(_, error) | BuildError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> Self {
        BuildError::Io(error)
    }
}
