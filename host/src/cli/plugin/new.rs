//! `hookmill plugin new`: a folder with a plugin that builds and passes its tests as it is.
//!
//! Owns the template and the copies of the SDKs that travel in this binary: an SDK's version
//! is always the server's own.

use std::{fs, path::Path};

use clap::{Args, ValueEnum};

use crate::{
    cli::output::{self, Failure},
    model::PluginRef,
};

/// Files by path.
type Files = &'static [(&'static str, &'static str)];

/// The guest SDKs' files, collected by build.rs.
const RUST_SDK: Files = include!(concat!(env!("OUT_DIR"), "/guest-sdk.rs"));
const JAVASCRIPT_SDK: Files = include!(concat!(env!("OUT_DIR"), "/guest-sdk-js.rs"));
const PYTHON_SDK: Files = include!(concat!(env!("OUT_DIR"), "/guest-sdk-python.rs"));

/// The Rust SDK's crates take their common keys from a workspace; in a project, this one.
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

const RUST: Files = &[
    ("Cargo.toml", include_str!("template/rust/Cargo.toml.in")),
    ("README.md", include_str!("template/rust/README.md.in")),
    (".gitignore", "/target\n"),
    (".hookmill/Cargo.toml", SDK_WORKSPACE),
];

const JAVASCRIPT: Files = &[
    ("package.json", include_str!("template/js/package.json.in")),
    ("package-lock.json", include_str!("template/js/package-lock.json.in")),
    ("tsconfig.json", include_str!("template/js/tsconfig.json")),
    ("README.md", include_str!("template/js/README.md.in")),
    (".gitignore", "/node_modules\n/.hookmill/build\n"),
];

const PYTHON: Files = &[
    ("pyproject.toml", include_str!("template/python/pyproject.toml.in")),
    ("requirements.txt", include_str!("template/python/requirements.txt")),
    ("README.md", include_str!("template/python/README.md.in")),
    (".gitignore", "/.venv\n/.hookmill/build\n__pycache__\n"),
];

/// A plugin does the same in each language, so the cases are the same.
const FILTER_CASES: Files = &[
    ("tests/passes-a-large-order.json", include_str!("template/cases/filter-pass.json")),
    ("tests/drops-a-small-order.json", include_str!("template/cases/filter-drop.json")),
];

const TRANSFORM_CASES: Files = &[
    ("tests/hides-the-email.json", include_str!("template/cases/transform-edit.json")),
    ("tests/leaves-others-alone.json", include_str!("template/cases/transform-pass.json")),
];

/// Start a plugin in a new folder
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin new big-orders --lang rust --kind filter && cd big-orders\n  hookmill plugin new hide-email --lang python --kind transform"
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
    /// TypeScript or JavaScript, made a component by node
    Js,
    /// Made a component by python3
    Python,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Whether an event is delivered
    Filter,
    /// What is sent
    Transform,
}

impl Language {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "TypeScript",
            Self::Python => "Python",
        }
    }

    /// The files of every project, and the SDK's.
    const fn files(self) -> (Files, Files) {
        match self {
            Self::Rust => (RUST, RUST_SDK),
            Self::Js => (JAVASCRIPT, JAVASCRIPT_SDK),
            Self::Python => (PYTHON, PYTHON_SDK),
        }
    }

    /// Where the plugin itself is, and its text.
    const fn source(self, kind: Kind) -> (&'static str, &'static str) {
        match (self, kind) {
            (Self::Rust, Kind::Filter) => {
                ("src/lib.rs", include_str!("template/rust/filter.rs.in"))
            }
            (Self::Rust, Kind::Transform) => {
                ("src/lib.rs", include_str!("template/rust/transform.rs.in"))
            }
            (Self::Js, Kind::Filter) => ("plugin.ts", include_str!("template/js/filter.ts")),
            (Self::Js, Kind::Transform) => ("plugin.ts", include_str!("template/js/transform.ts")),
            (Self::Python, Kind::Filter) => {
                ("plugin.py", include_str!("template/python/filter.py.in"))
            }
            (Self::Python, Kind::Transform) => {
                ("plugin.py", include_str!("template/python/transform.py.in"))
            }
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Transform => "transform",
        }
    }

    const fn cases(self) -> Files {
        match self {
            Self::Filter => FILTER_CASES,
            Self::Transform => TRANSFORM_CASES,
        }
    }

    /// What the template's plugin does.
    const fn summary(self) -> &'static str {
        match self {
            Self::Filter => "Passes orders at or above a total.",
            Self::Transform => "Hides one field.",
        }
    }
}

impl New {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let folder = Path::new(&self.name);
        self.write(folder)?;
        output::say(format_args!(
            "{}/  a {} in {}\nhint: cd {} && hookmill plugin test",
            self.name,
            self.kind.as_str(),
            self.lang.as_str(),
            self.name
        ));
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        // The name becomes a function and a package: all begin with a letter.
        if !PluginRef::is_valid_name(&self.name) || !self.name.starts_with(char::is_alphabetic) {
            return Err(Failure::usage(format!("{:?} cannot name a plugin", self.name)).hint(
                "a letter, then lower-case letters, digits and hyphens, at most 64: big-orders",
            ));
        }
        if folder.exists() {
            return Err(Failure::usage(format!("{} exists", folder.display())));
        }
        let (project, sdk) = self.lang.files();
        let source = self.lang.source(self.kind);
        for (path, text) in project.iter().chain([&source]).chain(self.kind.cases()) {
            put(&folder.join(path), &self.fill(text))?;
        }
        for (path, text) in sdk {
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
            .replace("{{summary}}", self.kind.summary())
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

    fn new(name: &str, lang: Language, kind: Kind) -> New {
        New { name: name.into(), lang, kind }
    }

    #[test]
    fn a_project_is_written_whole_with_its_sdk() {
        let folder = tempfile::tempdir().unwrap();
        for (name, kind) in [("big-orders", Kind::Filter), ("hide", Kind::Transform)] {
            for (lang, files) in [
                (Language::Rust, &["Cargo.toml", ".hookmill/Cargo.toml"][..]),
                (Language::Js, &["package.json", "package-lock.json", "tsconfig.json"]),
                (Language::Python, &["pyproject.toml", "requirements.txt"]),
            ] {
                let project = folder.path().join(lang.as_str()).join(name);
                new(name, lang, kind).write(&project).unwrap();
                let (source, _) = lang.source(kind);
                let source = fs::read_to_string(project.join(source)).unwrap();
                assert!(source.contains("hookmill") && !source.contains("{{"), "{source}");
                for file in files.iter().chain(&[".gitignore", ".hookmill/sdk/wit/plugin.wit"]) {
                    let text = fs::read_to_string(project.join(file)).unwrap();
                    assert!(!text.contains("{{"), "{file}: {text}");
                }
                let cases = fs::read_dir(project.join("tests")).unwrap();
                let cases = cases.filter_map(Result::ok);
                assert!(
                    cases.map(|case| super::super::cases::read(&case.path())).all(|c| c.is_ok())
                );
            }
        }
    }

    #[test]
    fn names_become_rust_names() {
        let filled =
            new("big-orders", Language::Js, Kind::Filter).fill("{{name}} {{function}} {{Type}}");
        assert_eq!(filled, "big-orders big_orders BigOrders");
    }

    #[test]
    fn what_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let failure = new("a", Language::Rust, Kind::Filter).write(folder.path()).unwrap_err();
        assert!(failure.text().contains("exists"));
        for bad in ["Big", "", "1st", "a/b", "-a"] {
            assert!(
                new(bad, Language::Python, Kind::Filter).write(&folder.path().join("x")).is_err(),
                "{bad}"
            );
        }
    }
}
