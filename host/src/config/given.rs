//! A value somebody gave, where it came from, and what is wrong with it.

use std::{fmt, path::PathBuf};

use serde_json::Value;

use super::declare::Setting;

/// Where a setting's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file, and the line that begins it.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as it was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) setting: &'static Setting,
    /// Of a variable always a text; null for the default.
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    subject: String,
    what: String,
    origin: Option<Origin>,
}

impl Problem {
    /// Something that is no single setting's.
    pub(super) fn whole(what: String) -> Self {
        Self { subject: String::new(), what, origin: None }
    }

    /// Something at a place.
    pub(super) fn at(subject: &str, what: String, origin: Origin) -> Self {
        Self { subject: subject.to_owned(), what, origin: Some(origin) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // Nothing is named but the place.
            Some(origin) if self.subject.is_empty() => write!(f, "{origin} {}", self.what),
            Some(Origin::Default) => write!(f, "{} {}", self.subject, self.what),
            Some(origin) => write!(f, "{} {} ({origin})", self.subject, self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// The name that comes closest, if one is near enough to be meant.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |known: &&str| strsim::normalized_damerau_levenshtein(name, known);
    known.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|known| near(known) >= 0.6)
}
