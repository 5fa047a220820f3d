//! Embeds the guest SDKs' sources in the binary, for `hookmill plugin new`.
//!
//! The lists of files are made here, so that a new one is never forgotten.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// Each SDK's folder and the endings of its files.
const SDKS: [(&str, &[&str]); 3] = [
    ("guest-sdk", &[".rs", ".wit", ".toml", ".md"]),
    ("guest-sdk-js", &[".ts", ".wit", ".json", ".md"]),
    ("guest-sdk-python", &[".py", ".wit", ".typed", ".md"]),
];

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by environment")]
fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Each SDK's wit folder is a link to this one.
    println!("cargo::rerun-if-changed={}", root.join("wit").display());
    for (name, endings) in SDKS {
        let sdk = root.join(name);
        println!("cargo::rerun-if-changed={}", sdk.display());
        let mut files = Vec::new();
        walk(&sdk, "", endings, &mut files)
            .map_err(|error| format!("cannot read the guest SDK in {}: {error}", sdk.display()))?;
        files.sort();
        let mut table = String::from("&[\n");
        for file in files {
            let path = sdk.join(&file).canonicalize()?;
            writeln!(table, "    ({file:?}, include_str!({path:?})),")?;
        }
        table.push(']');
        fs::write(out.join(format!("{name}.rs")), table)?;
    }
    Ok(())
}

/// Collects the files that a plugin is built from: no tests, no build products.
fn walk(folder: &Path, prefix: &str, endings: &[&str], files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.')
            || matches!(&*name, "target" | "tests" | "__pycache__" | "Cargo.lock")
        {
            continue;
        }
        // Follows links, as `DirEntry::file_type` would not.
        if fs::metadata(entry.path())?.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), endings, files)?;
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            files.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}
