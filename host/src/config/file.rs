//! Settings from a TOML file, each with its line.

use std::path::Path;

use serde_json::{Map, Number, Value};
use toml_edit::{ImDocument, Item, Value as TomlValue};

use super::{
    SETTINGS,
    given::{Given, Origin, Problem, closest},
};

/// The settings in a file. What is no setting is a problem, with the name that comes closest.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Vec<Given> {
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(path, &text, problems),
            Err(_) => {
                problems.push(Problem::whole(format!("{} is not UTF-8 text", path.display())));
                Vec::new()
            }
        },
        Err(error) => {
            problems.push(Problem::whole(format!("cannot read {}: {error}", path.display())));
            Vec::new()
        }
    }
}

fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Given> {
    let at = |offset: Option<usize>| Origin::File {
        path: path.to_owned(),
        line: offset.map_or(1, |offset| line_of(text, offset)),
    };
    let document = match ImDocument::parse(text) {
        Ok(document) => document,
        Err(error) => {
            // Not the library's own words as a whole: they show the line, which may be a key.
            let why = error.message().trim_end().replace('\n', ", ");
            let place = at(error.span().map(|span| span.start));
            problems.push(Problem::at("", format!("is no TOML: {why}"), place));
            return Vec::new();
        }
    };
    let mut given = Vec::new();
    for (name, item) in document.as_table() {
        let key = document.as_table().key(name).and_then(toml_edit::Key::span);
        let place = at(key.or_else(|| item.span()).map(|span| span.start));
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let near = closest(name, SETTINGS.iter().map(|setting| setting.name));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            problems.push(Problem::at(name, format!("is no setting{hint}"), place));
            continue;
        };
        given.push(Given { setting, value: value(item), origin: place });
    }
    given
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|&&byte| byte == b'\n').count() + 1
}

fn value(item: &Item) -> Value {
    match item {
        Item::Value(one) => plain(one),
        Item::Table(table) => {
            Value::Object(table.iter().map(|(key, item)| (key.to_owned(), value(item))).collect())
        }
        Item::ArrayOfTables(_) => Value::Array(vec![Value::Object(Map::new())]),
        Item::None => Value::Null,
    }
}

fn plain(value: &TomlValue) -> Value {
    match value {
        TomlValue::String(text) => Value::String(text.value().clone()),
        TomlValue::Integer(number) => Value::Number((*number.value()).into()),
        TomlValue::Float(number) => {
            // JSON has no such number; as a text it is refused as what it is.
            Number::from_f64(*number.value())
                .map_or_else(|| Value::String(number.value().to_string()), Value::Number)
        }
        TomlValue::Boolean(yes) => Value::Bool(*yes.value()),
        TomlValue::Datetime(time) => Value::String(time.value().to_string()),
        TomlValue::Array(all) => Value::Array(all.iter().map(plain).collect()),
        TomlValue::InlineTable(table) => {
            Value::Object(table.iter().map(|(key, one)| (key.to_owned(), plain(one))).collect())
        }
    }
}
