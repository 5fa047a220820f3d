//! A plan: what would be created, changed and deleted, and the requests that do it.
//!
//! Owns how it is shown. Never sends anything.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{compare::Difference, kind::Kind};
use crate::cli::output;

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Change,
    Delete,
}

impl Action {
    const fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Delete => '-',
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }
}

/// One resource that is not as declared.
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) kind: Kind,
    /// With its application: `shop/warehouse`.
    pub(super) name: String,
    /// The line it is declared in.
    pub(super) line: Option<u64>,
    pub(super) differences: Vec<Difference>,
    /// What does it, in order. There may be secrets in it.
    pub(super) calls: Vec<Call>,
}

impl Change {
    /// `+ subscription shop/warehouse`, on one line whatever the name is.
    pub(super) fn title(&self) -> String {
        let name = output::printable(&self.name);
        format!("{} {} {name}", self.action.sign(), self.kind.word())
    }
}

/// A request for an application, or for none.
pub(super) struct Call {
    pub(super) application: Option<String>,
    pub(super) what: What,
}

/// What a request does.
pub(super) enum What {
    Post(Vec<String>, Value),
    Patch(Vec<String>, Value),
    Put(Vec<String>, Value),
    Delete {
        path: Vec<String>,
        shared: bool,
    },
    Upload {
        wasm: Vec<u8>,
        shared: bool,
        live: bool,
    },
    GoLive {
        plugin: String,
        version: String,
        shared: bool,
    },
    /// Makes a key and writes its secret to a file.
    MakeKey {
        body: Value,
        file: PathBuf,
    },
}

/// Everything that is not as declared, in the order in which it is mended.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// How many resources are as declared.
    pub(super) unchanged: usize,
}

impl Plan {
    fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// Prints it for people.
    pub(super) fn show(&self) {
        for change in &self.changes {
            output::data(change.title());
            for difference in &change.differences {
                output::data(format_args!("    {}", difference.line()));
            }
        }
        output::data(self.summary());
    }

    /// `2 to create, 1 to change, 0 to delete, 5 as declared`
    pub(super) fn summary(&self) -> String {
        let counts = [Action::Create, Action::Change, Action::Delete]
            .map(|action| format!("{} to {}, ", self.count(action), action.word()));
        format!("{}{} as declared", counts.concat(), self.unchanged)
    }

    /// It as data.
    pub(super) fn json(&self, applied: bool) -> Value {
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|change| {
                let fields: Vec<Value> = change
                    .differences
                    .iter()
                    .map(|found| json!({"at": found.at, "old": found.old, "new": found.new}))
                    .collect();
                json!({"action": change.action.word(), "kind": change.kind.word(),
                    "name": change.name, "fields": fields})
            })
            .collect();
        json!({"changes": changes, "unchanged": self.unchanged, "applied": applied})
    }
}
