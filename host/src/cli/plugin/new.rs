//! `hookmill plugin new`: a folder with a plugin that builds and passes its tests as it is.
//!
//! Owns the template and the copy of the SDK that travels in this binary: the SDK's version
//! is always the server's own.

use std::{fs, path::Path};

use clap::{Args, ValueEnum};

use crate::{
    cli::output::{self, Failure},
    model::PluginRef,
};

/// The guest SDK's files by path, collected by build.rs.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The SDK's crates take their common keys from a workspace; in a project, this one.
const SDK_WORKSPACE: &str = concat!(
    "# Written by `hookmill plugin new`: the SDK of this version of Hookmill.\n",
    "[workspace]\nresolver = \"3\"\nmembers = [\"sdk\", \"sdk/macros\"]\n\n",
    "[workspace.package]\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nedition = \"2024\"\nrust-version = \"",
    env!("CARGO_PKG_RUST_VERSION"),
    "\"\nlicense = \"",
    env!("CARGO_PKG_LICENSE"),
    "\"\nrepository = \"",
    env!("CARGO_PKG_REPOSITORY"),
    "\"\n\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n"
);

const COMMON: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "/target\n"),
];

const FILTER: &[(&str, &str)] = &[
    ("src/lib.rs", include_str!("template/filter.rs.in")),
    ("tests/passes-a-large-order.json", include_str!("template/filter-pass.json")),
    ("tests/drops-a-small-order.json", include_str!("template/filter-drop.json")),
];

const TRANSFORM: &[(&str, &str)] = &[
    ("src/lib.rs", include_str!("template/transform.rs.in")),
    ("tests/hides-the-email.json", include_str!("template/transform-edit.json")),
    ("tests/leaves-others-alone.json", include_str!("template/transform-pass.json")),
];

/// Start a plugin in a new folder
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill plugin new big-orders --lang rust --kind filter && cd big-orders"
)]
pub(in crate::cli) struct New {
    /// Its name: lower-case letters, digits and hyphens; also the folder's
    name: String,
    /// The language it is written in
    #[arg(long, default_value = "rust")]
    lang: Language,
    /// What it decides: whether an event is delivered, or what is sent
    #[arg(long, default_value = "filter")]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// Compiled by the Rust toolchain on this machine
    Rust,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Whether an event is delivered
    Filter,
    /// What is sent
    Transform,
}

impl New {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let folder = Path::new(&self.name);
        self.write(folder)?;
        output::say(format_args!(
            "{}/  a {} in Rust\nhint: cd {} && hookmill plugin test",
            self.name,
            match self.kind {
                Kind::Filter => "filter",
                Kind::Transform => "transform",
            },
            self.name
        ));
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        // The name becomes a Rust function and crate: both begin with a letter.
        if !PluginRef::is_valid_name(&self.name) || !self.name.starts_with(char::is_alphabetic) {
            return Err(Failure::usage(format!("{:?} cannot name a plugin", self.name)).hint(
                "a letter, then lower-case letters, digits and hyphens, at most 64: big-orders",
            ));
        }
        if folder.exists() {
            return Err(Failure::usage(format!("{} exists", folder.display())));
        }
        let own = match self.kind {
            Kind::Filter => FILTER,
            Kind::Transform => TRANSFORM,
        };
        match self.lang {
            Language::Rust => {}
        }
        for (path, text) in COMMON.iter().chain(own) {
            put(&folder.join(path), &self.fill(text))?;
        }
        put(&folder.join(".hookmill/Cargo.toml"), SDK_WORKSPACE)?;
        for (path, text) in SDK {
            put(&folder.join(".hookmill/sdk").join(path), text)?;
        }
        Ok(())
    }

    /// Puts the plugin's names where the template asks for them.
    fn fill(&self, template: &str) -> String {
        let mut type_name = String::new();
        for word in self.name.split('-') {
            let mut letters = word.chars();
            type_name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
            type_name.push_str(letters.as_str());
        }
        template
            .replace("{{name}}", &self.name)
            .replace("{{function}}", &self.name.replace('-', "_"))
            .replace("{{Type}}", &type_name)
    }
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    let written =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, kind: Kind) -> New {
        New { name: name.into(), lang: Language::Rust, kind }
    }

    #[test]
    fn a_project_is_written_whole_with_its_sdk() {
        let folder = tempfile::tempdir().unwrap();
        for (name, kind) in [("big-orders", Kind::Filter), ("hide", Kind::Transform)] {
            let project = folder.path().join(name);
            new(name, kind).write(&project).unwrap();
            let source = fs::read_to_string(project.join("src/lib.rs")).unwrap();
            assert!(source.contains("hookmill_sdk::prelude") && !source.contains("{{"), "{source}");
            for file in [
                "Cargo.toml",
                ".hookmill/Cargo.toml",
                ".hookmill/sdk/src/lib.rs",
                ".hookmill/sdk/wit/plugin.wit",
            ] {
                assert!(project.join(file).is_file(), "{file}");
            }
            let cases = fs::read_dir(project.join("tests")).unwrap();
            assert!(
                cases
                    .filter_map(Result::ok)
                    .all(|case| { super::super::cases::read(&case.path()).is_ok() })
            );
        }
    }

    #[test]
    fn names_become_rust_names() {
        let filled = new("big-orders", Kind::Filter).fill("{{name}} {{function}} {{Type}}");
        assert_eq!(filled, "big-orders big_orders BigOrders");
    }

    #[test]
    fn what_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let failure = new("a", Kind::Filter).write(folder.path()).unwrap_err();
        assert!(failure.text().contains("exists"));
        for bad in ["Big", "", "1st", "a/b", "-a"] {
            assert!(new(bad, Kind::Filter).write(&folder.path().join("x")).is_err(), "{bad}");
        }
    }
}
