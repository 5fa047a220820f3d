//! A plugin's folder: finding it, compiling it, making a component of the result.
//!
//! Owns what `build`, `test` and `push` share. Never decides how a guest is compiled: that is
//! `hookmill-guest-build`'s.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hookmill_guest_build::Language;
use wit_component::ComponentEncoder;

use crate::cli::output::{self, Failure};

/// What building a plugin made.
pub(super) struct Built {
    /// The component's bytes.
    pub(super) component: Vec<u8>,
    /// Where it was written.
    pub(super) path: PathBuf,
}

/// Makes a component of the plugin in `folder`, beside the other output of its language's tools.
pub(super) fn build(folder: &Path) -> Result<Built, Failure> {
    match Language::of(folder) {
        Some(Language::Rust) => build_rust(folder),
        Some(Language::JavaScript | Language::Python) => build_with_engine(folder),
        None => Err(Failure::usage(format!(
            "there is no plugin in {}: no Cargo.toml, package.json or plugin.py",
            folder.display()
        ))
        .hint(
            "name the plugin's folder, or start one: hookmill plugin new NAME --lang rust|js|python --kind filter",
        )),
    }
}

/// JavaScript and Python: the component has the language's engine inside.
fn build_with_engine(folder: &Path) -> Result<Built, Failure> {
    let made = hookmill_guest_build::component(folder, |step| output::say(step))
        .map_err(|error| Failure::failed(error.to_string()))?;
    let component = fs::read(&made.path).map_err(|error| {
        Failure::failed(format!("cannot read {}: {error}", made.path.display()))
    })?;
    if made.is_new {
        say_built(&made.path, component.len());
    }
    Ok(Built { component, path: made.path })
}

fn build_rust(folder: &Path) -> Result<Built, Failure> {
    let manifest = folder.join("Cargo.toml");
    let package = package_name(&manifest)?;
    let mut options = hookmill_guest_build::Options::new(&manifest, target_folder(folder));
    options.package = Some(package.clone());
    let modules = hookmill_guest_build::build(&options)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let module = modules.iter().find(|module| module.package == package).ok_or_else(|| {
        Failure::failed(format!("{package} was built, but made no WebAssembly module"))
            .hint("its Cargo.toml needs [lib] crate-type = [\"cdylib\"]")
    })?;
    let core = fs::read(&module.path).map_err(|error| {
        Failure::failed(format!("cannot read {}: {error}", module.path.display()))
    })?;
    let component = component(&core)?;
    let path = module.path.with_extension("component.wasm");
    fs::write(&path, &component)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    say_built(&path, component.len());
    Ok(Built { component, path })
}

fn say_built(path: &Path, size: usize) {
    output::say(format_args!("built {}  {}", path.display(), output::file_size(size as u64)));
}

/// Makes a component of a core module that carries the world it was written for.
fn component(core: &[u8]) -> Result<Vec<u8>, Failure> {
    let encode = || ComponentEncoder::default().module(core)?.validate(true).encode();
    encode().map_err(|error| {
        Failure::failed(format!("the module cannot be made a component: {error:#}"))
            .hint("a plugin exports one function with #[filter] or #[transform] from hookmill_sdk")
    })
}

/// Where cargo works: the workspace's own folder if the plugin is part of one.
fn target_folder(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let workspace = folder.ancestors().find(|ancestor| {
        fs::read_to_string(ancestor.join("Cargo.toml"))
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
    });
    workspace.unwrap_or(&folder).join("target")
}

/// The `name` in a manifest's `[package]`.
fn package_name(manifest: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(manifest)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", manifest.display())))?;
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| *line == "[package]");
    let name = lines.take_while(|line| !line.starts_with('[')).find_map(|line| {
        let value = line.strip_prefix("name")?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches('"').to_owned())
    });
    name.ok_or_else(|| Failure::usage(format!("{} names no package", manifest.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_found_in_its_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        fs::write(
            &manifest,
            "[workspace]\n\n[package]\nversion = \"1\"\nname = \"a-b\"\n[lib]\nname = \"x\"\n",
        )
        .unwrap();
        assert_eq!(package_name(&manifest).unwrap(), "a-b");
        fs::write(&manifest, "[workspace]\n").unwrap();
        assert!(package_name(&manifest).is_err());
        assert_eq!(target_folder(&folder.path().join("member")), folder.path().join("target"));
    }

    #[test]
    fn a_folder_without_a_plugin_is_wrong_usage() {
        let folder = tempfile::tempdir().unwrap();
        let failure = build(folder.path()).err().unwrap();
        assert!(failure.text().contains("no Cargo.toml"), "{}", failure.text());
    }

    #[test]
    fn what_exports_nothing_is_no_plugin() {
        assert!(component(b"\0asm").is_err());
    }
}
