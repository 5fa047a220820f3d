//! The events that the demo sends, and the schemas they are checked against.
//!
//! Owns reading the two npm packages of GitHub's webhook payloads and the demo's own small
//! set, which has the same form. Never changes a payload: it is sent as it is spelt.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::cli::{input, output::Failure};

/// Hookmill's own events, in the packages' form.
const OWN: &str = include_str!("own.json");

/// What the demo sends.
#[derive(Debug)]
pub(super) struct Corpus {
    /// JSON Schemas by event type.
    pub(super) schemas: BTreeMap<String, Value>,
    /// The events.
    pub(super) events: Vec<Event>,
}

/// One event.
#[derive(Debug)]
pub(super) struct Event {
    /// Its type.
    pub(super) event_type: String,
    /// Its JSON text.
    pub(super) payload: Box<RawValue>,
}

/// One event name's examples.
#[derive(Deserialize)]
struct Examples {
    name: String,
    examples: Vec<Box<RawValue>>,
}

/// GitHub's own payloads and schemas.
pub(super) fn octokit(payloads: &Path, schemas: &Path) -> Result<Corpus, Failure> {
    let file = ["api.github.com/index.json", "index.json"].map(|name| payloads.join(name));
    let file = file.iter().find(|file| file.is_file()).ok_or_else(|| {
        Failure::usage(format!("there is no api.github.com/index.json in {}", payloads.display()))
    })?;
    let text = input::text(file)?;
    let schema = input::json_file(schemas)?;
    corpus(&text, &schema, &file.display().to_string())
}

/// The demo's own events.
pub(super) fn own() -> Result<Corpus, Failure> {
    #[derive(Deserialize)]
    struct Own<'a> {
        #[serde(borrow)]
        payloads: &'a RawValue,
        schemas: Value,
    }
    let own: Own<'_> = serde_json::from_str(OWN)
        .map_err(|error| Failure::failed(format!("the demo's own events are broken: {error}")))?;
    corpus(own.payloads.get(), &own.schemas, "the demo's own events")
}

fn corpus(payloads: &str, schema: &Value, source: &str) -> Result<Corpus, Failure> {
    let named: Vec<Examples> = serde_json::from_str(payloads)
        .map_err(|error| Failure::usage(format!("{source} is not as expected: {error}")))?;
    let schemas = schemas(schema).map_err(|what| Failure::usage(format!("the schemas: {what}")))?;
    let events = named.into_iter().flat_map(|Examples { name, examples }| {
        let event_type = event_type(&name);
        examples.into_iter().map(move |payload| Event { event_type: event_type.clone(), payload })
    });
    Ok(Corpus { schemas, events: events.collect() })
}

fn event_type(name: &str) -> String {
    format!("github.{name}")
}

/// One schema for each event name: the top level's `oneOf` names a definition for each, as
/// `issues_event` (all actions of it, joined by `oneOf`) or `push$event` (the only one).
fn schemas(schema: &Value) -> Result<BTreeMap<String, Value>, String> {
    let definitions = schema["definitions"].as_object().ok_or("there are no definitions")?;
    let variants = schema["oneOf"].as_array().ok_or("there is no oneOf")?;
    let mut schemas = BTreeMap::new();
    for variant in variants {
        let reference = variant["$ref"].as_str().ok_or("a variant of oneOf is no $ref")?;
        let root = definition(reference).ok_or_else(|| format!("{reference} is elsewhere"))?;
        let name = root.strip_suffix("_event").or_else(|| root.strip_suffix("$event"));
        let name = name.ok_or_else(|| format!("{root} is not named as an event"))?;
        let mut own = Map::new();
        for reached in reachable(root, definitions)? {
            own.insert(reached.to_owned(), definitions[reached].clone());
        }
        let own = json!({
            "$schema": schema["$schema"],
            "$ref": reference,
            "definitions": own,
        });
        schemas.insert(event_type(name), own);
    }
    Ok(schemas)
}

fn definition(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/definitions/")
}

/// The definitions that `root` refers to, through others too, itself included.
fn reachable<'a>(
    root: &'a str,
    definitions: &'a Map<String, Value>,
) -> Result<BTreeSet<&'a str>, String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(name) = open.pop() {
        if !found.insert(name) {
            continue;
        }
        let schema = definitions.get(name).ok_or_else(|| format!("{name} is not defined"))?;
        references(schema, &mut open)?;
    }
    Ok(found)
}

fn references<'a>(schema: &'a Value, into: &mut Vec<&'a str>) -> Result<(), String> {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match (key.as_str(), value) {
                    ("$ref", Value::String(reference)) => into.push(
                        definition(reference).ok_or_else(|| format!("{reference} is elsewhere"))?,
                    ),
                    _ => references(value, into)?,
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| references(item, into)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_brings_what_it_reaches_and_no_more() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema",
            "oneOf": [{"$ref": "#/definitions/a_event"}, {"$ref": "#/definitions/b$event"}],
            "definitions": {
                "a_event": {"oneOf": [{"$ref": "#/definitions/a$made"}]},
                "a$made": {"properties": {"user": {"$ref": "#/definitions/user"}}},
                "b$event": {"type": "object"},
                "user": {"properties": {"friend": {"$ref": "#/definitions/user"}}},
            },
        });
        let schemas = schemas(&schema).unwrap();
        assert_eq!(schemas.keys().collect::<Vec<_>>(), ["github.a", "github.b"]);
        let a: Vec<_> = schemas["github.a"]["definitions"].as_object().unwrap().keys().collect();
        assert_eq!(a, ["a$made", "a_event", "user"]);
        assert_eq!(schemas["github.b"]["$ref"], "#/definitions/b$event");
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_refused() {
        let schema = json!({"oneOf": [{"$ref": "#/definitions/a_event"}],
            "definitions": {"a_event": {"$ref": "https://example.org/x"}}});
        assert!(schemas(&schema).unwrap_err().contains("elsewhere"));
    }

    #[test]
    fn our_own_events_have_types_and_some_are_refused() {
        let corpus = own().unwrap();
        let rejected = corpus.events.iter().filter(|event| {
            let schema = jsonschema::validator_for(&corpus.schemas[&event.event_type]).unwrap();
            !schema.is_valid(&serde_json::from_str(event.payload.get()).unwrap())
        });
        assert_eq!(rejected.count(), 1, "one event shows what a violation looks like");
        assert!(corpus.events.len() >= 8);
    }
}
