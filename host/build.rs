//! Embeds the guest SDK's source in the binary, for `hookmill plugin new`.
//!
//! The list of files is made here, so that a new one is never forgotten.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by environment")]
fn main() -> Result<(), Box<dyn Error>> {
    let sdk = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../guest-sdk");
    println!("cargo::rerun-if-changed={}", sdk.display());
    // The SDK's wit folder is a link to this one.
    println!("cargo::rerun-if-changed={}", sdk.join("../wit").display());
    let mut files = Vec::new();
    walk(&sdk, "", &mut files)
        .map_err(|error| format!("cannot read the guest SDK in {}: {error}", sdk.display()))?;
    files.sort();
    let mut table = String::from("&[\n");
    for name in files {
        let path = sdk.join(&name).canonicalize()?;
        writeln!(table, "    ({name:?}, include_str!({path:?})),")?;
    }
    table.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("sdk.rs"), table)?;
    Ok(())
}

/// Collects the files that a plugin is built from: no tests, no build products.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || matches!(&*name, "target" | "tests" | "Cargo.lock") {
            continue;
        }
        // Follows links, as `DirEntry::file_type` would not.
        if fs::metadata(entry.path())?.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else if name.ends_with(".rs")
            || name.ends_with(".wit")
            || name.ends_with(".toml")
            || name.ends_with(".md")
        {
            files.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}
