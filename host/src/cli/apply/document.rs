//! The file: YAML or JSON, read within bounds, each field with its line.
//!
//! Owns its form: sections, items, what names an item. Never asks a server.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::{
    digits::Node,
    kind::{Kind, closest},
    run,
};
use crate::cli::{
    input,
    output::{Failure, printable},
};

/// Bytes of a file: a thousand event types with their schemas fit.
const MAX_FILE: usize = 4 << 20;
const MAX_DEPTH: usize = 64;
/// The form of the file that this command reads.
const VERSION: f64 = 1.0;

/// What the file declares, in its order.
#[derive(Debug)]
pub(super) struct Document {
    /// As the user named it.
    path: PathBuf,
    /// The application of items that name none.
    application: String,
    /// The sections that are there, be they empty.
    pub(super) sections: Vec<Kind>,
    pub(super) items: Vec<Item>,
}

/// One resource.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) fields: Map<String, Value>,
    line: u64,
    lines: BTreeMap<String, u64>,
}

impl Item {
    /// The line of a field, or of the item.
    pub(super) fn line(&self, field: &str) -> u64 {
        self.lines.get(field).copied().unwrap_or(self.line)
    }

    /// A field that is a text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }

    /// A field that is true or false; `default` if it is not there.
    pub(super) fn flag(&self, field: &str, default: bool) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or(default)
    }

    /// What names it; [`Document::read`] has checked that it is a text.
    pub(super) fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }
}

impl Document {
    /// Reads a file; `-` is stdin. Items that name no application are of `application`.
    pub(super) fn read(path: &Path, application: &str) -> Result<Self, Failure> {
        Self::parse(path, application, &input::text_within(path, MAX_FILE)?)
    }

    pub(super) fn parse(path: &Path, application: &str, text: &str) -> Result<Self, Failure> {
        let unusable = |why: String| Failure::usage(format!("{}: {why}", path.display()));
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_documents: 1, max_aliases: 1000 },
            with_snippet: false,
            strict_booleans: true,
        };
        let sections: Sections = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| unusable(error.to_string()))?;
        let mut document = Self {
            path: path.to_owned(),
            application: application.to_owned(),
            sections: Vec::new(),
            items: Vec::new(),
        };
        if let Some((name, line)) = sections.unknown {
            let known = Kind::ALL.into_iter().map(Kind::section).chain(["version"]);
            return Err(document.wrong(
                line,
                &format!("there is no section {name}"),
                closest(&name, known),
            ));
        }
        match sections.version {
            // `1`, `01` and `1.0` are one number.
            Some(Value::Number(number)) if number.as_f64() == Some(VERSION) => {}
            Some(other) => {
                return Err(unusable(format!(
                    "`version` is {other}; this hookmill reads version 1"
                )));
            }
            None => return Err(unusable("has no `version`; write `version: 1` at its top".into())),
        }
        // By kind, whatever order the sections have: what is needed comes before who needs it.
        for kind in Kind::ALL {
            let Some(list) = sections.lists.iter().find(|(found, _)| *found == kind) else {
                continue;
            };
            document.sections.push(kind);
            for fields in &list.1 {
                let item = document.item(kind, fields, text)?;
                document.items.push(item);
            }
        }
        document.check_unique()?;
        document.check_key_files()?;
        Ok(document)
    }

    fn item(&self, kind: Kind, given: &Spanned<Fields>, file: &str) -> Result<Item, Failure> {
        let mut item =
            Item { kind, fields: Map::new(), line: given.defined.line(), lines: BTreeMap::new() };
        for (name, line, given) in &given.value.0 {
            item.lines.insert(name.clone(), *line);
            let value = match given {
                Given::Plain(value) => value.clone(),
                Given::Exact(node) => Node::value(node, file).map_err(|line| {
                    let what =
                        format!("`{name}` of {} has a number that would be rounded", kind.noun());
                    self.wrong(line, &what, None).hint("write it as JSON does, such as 0.5 or 12")
                })?,
            };
            item.fields.insert(name.clone(), value);
        }
        for &needed in kind.named_by() {
            if item.text(needed).is_none_or(str::is_empty) {
                let what = match item.fields.get(needed) {
                    Some(found) => {
                        format!("`{needed}` of {} is {found}; it must be a text", kind.noun())
                    }
                    None => format!("{} has no `{needed}`", kind.noun()),
                };
                return Err(self.wrong(item.line(needed), &what, None));
            }
        }
        for field in ["name", "version", "application"] {
            if let Some(text) = item.text(field).filter(|text| !kind.takes(field, text)) {
                let what = format!("`{field}` of {} cannot be {text:?}", kind.noun());
                return Err(self.wrong(item.line(field), &what, None));
            }
        }
        for (field, value) in &item.fields {
            let is_right = match field.as_str() {
                "application" | "secret_file" | "schema_file" | "component" => value.is_string(),
                "shared" | "live" => value.is_boolean(),
                "limits" => value.is_object(),
                _ => true,
            };
            if !is_right {
                let what =
                    format!("`{field}` of {} {} cannot be {value}", kind.noun(), item.name());
                return Err(self.wrong(item.line(field), &what, None));
            }
        }
        Ok(item)
    }

    fn check_unique(&self) -> Result<(), Failure> {
        let mut seen: BTreeMap<(Kind, Option<&str>, Vec<&str>), &Item> = BTreeMap::new();
        for item in &self.items {
            let names = ["name", "version"].into_iter().filter_map(|field| item.text(field));
            let key = (item.kind, self.owner_of(item), names.collect());
            if let Some(first) = seen.insert(key, item) {
                let what = format!("{} {} is there twice", item.kind.noun(), item.name());
                return Err(self
                    .wrong(item.line, &what, None)
                    .line(format!("first in line {}", first.line)));
            }
        }
        Ok(())
    }

    /// Of two keys in one file, only the one that is written last could be used.
    fn check_key_files(&self) -> Result<(), Failure> {
        let mut seen: BTreeMap<String, &Item> = BTreeMap::new();
        for item in self.items.iter().filter(|item| item.kind == Kind::Key) {
            let path = self.beside(item.text("secret_file").unwrap_or_default());
            // A key is written beside its file first; some folders do not tell cases apart.
            for path in [path.clone(), run::beside(&path)] {
                let path = plain(&path).to_string_lossy().to_lowercase();
                if let Some(first) = seen.insert(path, item) {
                    let what =
                        format!("`secret_file` of a key {} is another key's too", item.name());
                    return Err(self
                        .wrong(item.line("secret_file"), &what, None)
                        .line(format!("first in line {}", first.line("secret_file"))));
                }
            }
        }
        Ok(())
    }

    /// The application that an item is of, if it is not the platform's.
    pub(super) fn owner_of<'a>(&'a self, item: &'a Item) -> Option<&'a str> {
        let is_platforms = item.kind.is_platforms() || item.flag("shared", false);
        (!is_platforms).then(|| self.application_of(item))
    }

    /// The application that requests for an item are made for.
    pub(super) fn application_of<'a>(&'a self, item: &'a Item) -> &'a str {
        item.text("application").unwrap_or(&self.application)
    }

    /// The application of items that name none.
    pub(super) fn default_application(&self) -> &str {
        &self.application
    }

    /// A mistake at a line.
    pub(super) fn wrong(&self, line: u64, what: &str, meant: Option<&str>) -> Failure {
        let what = printable(what);
        let failure = Failure::usage(format!("{}, line {line}: {what}", self.path.display()));
        match meant {
            Some(meant) => failure.hint(format!("did you mean {meant}?")),
            None => failure,
        }
    }

    /// Where something was declared, for people.
    pub(super) fn place(&self, line: u64) -> String {
        format!("{}, line {line}", self.path.display())
    }

    /// The file itself, for people.
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// A path in the file is relative to it.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A path without what does not lead anywhere: `./a` and `b/../a` are `a`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        let is_below = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if is_below => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The file's top.
#[derive(Default)]
struct Sections {
    version: Option<Value>,
    lists: Vec<(Kind, Vec<Spanned<Fields>>)>,
    unknown: Option<(String, u64)>,
}

impl<'de> Deserialize<'de> for Sections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Sections;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sections, such as `event_types:`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sections, A::Error> {
                let mut sections = Sections::default();
                while let Some(name) = map.next_key::<Spanned<String>>()? {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.section() == name.value);
                    if let Some(kind) = kind {
                        // A section with nothing in it is null.
                        let list: Option<Vec<Spanned<Fields>>> = map.next_value()?;
                        sections.lists.push((kind, list.unwrap_or_default()));
                    } else if name.value == "version" {
                        sections.version = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        let line = name.defined.line();
                        sections.unknown.get_or_insert((name.value, line));
                    }
                }
                Ok(sections)
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// An item's fields, each with its line.
struct Fields(Vec<(String, u64, Given)>);

/// A field's value.
enum Given {
    Plain(Value),
    /// A filter, of which every digit counts.
    Exact(Spanned<Node>),
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields, such as `name: order.created`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<Spanned<String>>()? {
                    let line = name.defined.line();
                    let given = if name.value == "filter" {
                        Given::Exact(map.next_value()?)
                    } else {
                        Given::Plain(map.next_value()?)
                    };
                    fields.push((name.value, line, given));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Document, Failure> {
        Document::parse(Path::new("a/h.yaml"), "default", text)
    }

    fn refused(text: &str) -> String {
        parsed(text).unwrap_err().text()
    }

    #[test]
    fn items_know_their_lines() {
        let text = "version: 1\nsubscriptions:\n  - name: warehouse\n    pipeline:\n      - plugin: redact\n\
            event_types:\n  - {name: order.created}\n";
        let document = parsed(text).unwrap();
        assert_eq!(document.sections, [Kind::EventType, Kind::Subscription]);
        let warehouse = &document.items[1];
        assert_eq!((warehouse.line("name"), warehouse.line("pipeline")), (3, 4));
        assert_eq!(warehouse.fields["pipeline"][0]["plugin"], "redact");
        assert_eq!(document.beside("s.json"), Path::new("a/s.json"));
        let json = r#"{"version": 1, "keys": [{"name": "a", "secret_file": "k"}]}"#;
        assert_eq!(parsed(json).unwrap().items[0].name(), "a");
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        for (text, parts) in [
            ("subscriptions: []\n", vec!["has no `version`"]),
            ("version: 2\n", vec!["`version` is 2"]),
            (
                "version: 1\nsubscription:\n  - name: a\n",
                vec!["line 2", "did you mean subscriptions?"],
            ),
            (
                "version: 1\nevent_types:\n  - mode: warn\n",
                vec!["line 3", "an event type has no `name`"],
            ),
            ("version: 1\nevent_types:\n  - name: [a]\n", vec!["line 3", "must be a text"]),
            ("version: 1\nevent_types:\n- name: a\n- name: a\n", vec!["line 4", "first in line 3"]),
            (
                "version: 1\nplugins:\n- name: a\n  version: 1.0.0\n  live: 3\n",
                vec!["line 5", "`live`"],
            ),
            ("version: 1\nevent_types: [\n", vec!["line"]),
            ("version: 1\nversion: 1\n", vec!["version"]),
            (
                "version: 1\nsubscriptions:\n- name: a\n  filter:\n    lt: {/a: +12345678901234567890123}\n",
                vec!["line 5", "`filter` of a subscription has a number that would be rounded"],
            ),
            (
                "version: 1\nsubscriptions:\n- name: a\n  filter:\n    lt: {/a: 1e400}\n",
                vec!["line 5", "1e400"],
            ),
        ] {
            let said = refused(text);
            for part in parts {
                assert!(said.contains(part), "{part:?} is not in {said}");
            }
        }
    }

    #[test]
    fn one_thing_is_declared_once_however_it_is_named() {
        let twice = "version: 1\nsubscriptions:\n- name: a\n- name: a\n  application: default\n";
        assert!(refused(twice).contains("there twice"), "{}", refused(twice));
        parsed(&twice.replace("application: default", "application: shop")).unwrap();
        let shared = "version: 1\nplugins:\n- {name: a, version: 1.0.0, shared: true}\n\
            - {name: a, version: 1.0.0, shared: true, application: shop}\n";
        assert!(refused(shared).contains("there twice"), "{}", refused(shared));
        let keys = |one: &str, other: &str| {
            format!(
                "version: 1\nkeys:\n- {{name: a, secret_file: {one}}}\n\
                 - {{name: b, secret_file: {other}}}\n"
            )
        };
        // The file is `a/h.yaml`.
        for (one, other) in
            [("k", "k"), ("k", "./k"), ("k", "x/../k"), ("K", "k"), ("../a/k", "k"), ("k", "k.new")]
        {
            let said = refused(&keys(one, other));
            assert!(said.contains("line 4") && said.contains("first in line 3"), "{said}");
        }
        parsed(&keys("k", "x/k")).unwrap();
    }

    #[test]
    fn names_are_names_and_cannot_write_over_the_line() {
        for (section, item) in [
            ("applications", "name: \"a\\e[2K\\r+ application ok\""),
            ("event_types", "name: a/../../keys"),
            ("plugins", "{name: \"..\", version: 1.0.0}"),
            ("plugins", "{name: a, version: a/b}"),
            ("sources", "name: A"),
            ("subscriptions", "{name: a, application: \"x/y\"}"),
            ("keys", "{name: \"a\\nb\", secret_file: k}"),
        ] {
            let said = refused(&format!("version: 1\n{section}:\n- {item}\n"));
            assert!(said.contains("line 3") && said.contains("cannot be"), "{said}");
            assert!(!said.trim_end().contains(['\u{1b}', '\r', '\n']), "{said}");
        }
        parsed("version: 01\nkeys:\n- {name: shop's \u{202e}backend, secret_file: k}\n").unwrap();
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut bomb =
            String::from("version: 1\nevent_types:\n- name: a\n  a0: &a0 [x, x, x, x]\n");
        for level in 1..12 {
            let many = format!("*a{}, ", level - 1).repeat(9);
            bomb += &format!("  a{level}: &a{level} [{many}]\n");
        }
        assert!(!refused(&bomb).is_empty());
        let deep = format!("version: 1\nkeys: {}{}\n", "[".repeat(500), "]".repeat(500));
        assert!(!refused(&deep).is_empty());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " ".repeat(MAX_FILE + 1)).unwrap();
        for path in [file.path(), Path::new("/dev/zero")] {
            let said = Document::read(path, "default").unwrap_err().text();
            assert!(said.contains("more than 4194304 bytes"), "{said}");
        }
    }
}
