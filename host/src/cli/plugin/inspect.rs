//! `hookmill plugin inspect`: what a component is, without a server.
//!
//! Owns how it is shown. What a server would refuse is found by the server's own inspection.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::lab::{self, Engine};
use crate::{
    cli::{
        Global,
        output::{self, Failure},
    },
    model::Sha256,
    plugin::{Anatomy, Class, Inspected, Limits},
};

/// Show what a component is and whether a server would take it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill plugin inspect                    builds the folder's\n  hookmill plugin inspect big-orders.wasm\n  hookmill plugin inspect big-orders.wasm --json | jq .manifest.config_schema"
)]
pub(in crate::cli) struct Inspect {
    /// The component, the core module it is made from, or the plugin's folder
    #[arg(value_name = "FILE", default_value = ".")]
    file: PathBuf,
}

impl Inspect {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let wasm = lab::file_or_folder(&self.file)?;
        let engine = Engine::start(None)?;
        let inspected = engine.runtime.inspect(wasm.clone().into()).await;
        let bytes = inspected.as_ref().map_or(&wasm[..], |inspected| &inspected.component);
        let anatomy = Anatomy::of(bytes).ok();
        let (class, compiled) = match &inspected {
            Ok(found) => {
                let runtime = &engine.runtime;
                (runtime.class(&found.sha256), runtime.compiled_size(&found.sha256))
            }
            Err(_) => (None, None),
        };
        let facts = Facts {
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
            compiled,
            class: class.map(|class| (class, engine.runtime.limits(class))),
            anatomy,
        };
        if global.json {
            let mut value = facts.as_json(inspected.as_ref().ok());
            if let Err(rejection) = &inspected {
                value["refused"] = json!({"code": rejection.code, "detail": rejection.detail});
            }
            output::json(&value);
        } else {
            output::data(facts.text(inspected.as_ref().ok()));
        }
        inspected.map(drop).map_err(|rejection| lab::refused(&rejection))
    }
}

/// What is known of any component, also of one that a server would refuse.
struct Facts {
    sha256: Sha256,
    size: u64,
    compiled: Option<u64>,
    class: Option<(Class, Limits)>,
    anatomy: Option<Anatomy>,
}

impl Facts {
    fn as_json(&self, inspected: Option<&Inspected>) -> Value {
        json!({
            "sha256": self.sha256,
            "size": self.size,
            "compiled_size": self.compiled,
            "kind": inspected.map(|found| found.kind),
            "interface": inspected.map(|found| &found.interface),
            "manifest": inspected.map(|found| &found.manifest),
            "class": self.class.map(|(class, _)| class.as_str()),
            "limits": self.class.map(|(_, limits)| json!({
                "memory_bytes": limits.memory_bytes,
                "fuel": limits.fuel,
                "fuel_per_byte": limits.fuel_per_byte,
                "wall_ms": limits.wall.as_millis() as u64,
                "output_bytes": limits.output_bytes,
            })),
            "contents": self.anatomy,
        })
    }

    fn text(&self, inspected: Option<&Inspected>) -> String {
        let mut text = inspected.map(heading).unwrap_or_default();
        let mut row = |name: &str, value: String| text += &format!("  {name:<12} {value}\n");
        row("sha256", self.sha256.to_string());
        let compiled = self.compiled.map(|size| format!(", {} compiled", output::file_size(size)));
        row("size", output::file_size(self.size) + &compiled.unwrap_or_default());
        if let Some((class, limits)) = &self.class {
            row("class", format!("{}: {}", class.as_str(), describe(limits)));
        }
        if let Some(found) = &self.anatomy {
            for (name, list) in [("imports", &found.imports), ("exports", &found.exports)] {
                row(name, if list.is_empty() { "none".into() } else { list.join(", ") });
            }
            row("functions", functions(found));
            let memory = output::memory(found.memory_bytes);
            row(
                "memory",
                format!(
                    "{memory} at the start, in {}",
                    counted(found.memories, "memory", "memories")
                ),
            );
            let elements = output::count(found.table_elements);
            row(
                "tables",
                format!("{}, {elements} elements", counted(found.tables, "table", "tables")),
            );
        }
        if let Some(found) = inspected {
            let types: Vec<String> =
                found.manifest.event_types.iter().map(ToString::to_string).collect();
            row("event types", if types.is_empty() { "any".into() } else { types.join(", ") });
            text += &config(&found.manifest.config_schema);
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// `big-orders 0.1.0  filter of hookmill:plugin 0.1.0`, and the summary below.
fn heading(found: &Inspected) -> String {
    let manifest = &found.manifest;
    let kind = json!(found.kind);
    format!(
        "{} {}  {} of hookmill:plugin {}\n  {}\n",
        manifest.name,
        manifest.version,
        output::plain(&kind),
        found.interface,
        manifest.summary
    )
}

fn describe(limits: &Limits) -> String {
    format!(
        "{} of memory, {} fuel and {} for each byte of payload and config, {} ms, {} of output",
        output::memory(limits.memory_bytes as u64),
        output::short_count(limits.fuel),
        output::short_count(limits.fuel_per_byte),
        limits.wall.as_millis(),
        output::memory(limits.output_bytes as u64)
    )
}

fn functions(found: &Anatomy) -> String {
    let names = match found.named_functions {
        0 => "without names: backtraces and profiles will show numbers".into(),
        named if named >= found.functions => "with names".into(),
        named => format!("{} with names", output::count(named)),
    };
    format!(
        "{}, {names}; the largest has {}",
        output::count(found.functions),
        output::file_size(found.largest_function)
    )
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", output::count(number), if number == 1 { one } else { many })
}

/// A line for each property of a config's schema.
fn config(schema: &Value) -> String {
    let properties = schema["properties"].as_object();
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        return "  config       no fields; --json shows the schema\n".into();
    };
    let required = schema["required"].as_array();
    let width = properties.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::from("  config\n");
    for (name, property) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|n| n == name.as_str()));
        let mut about = kind(property);
        if is_required {
            about += ", required";
        } else if let Some(default) = property.get("default").filter(|value| !value.is_null()) {
            about += &format!(", else {default}");
        }
        let sentence = output::field(property, "description").replace('\n', " ");
        text += format!("    {name:<width$}  {about}  {sentence}").trim_end();
        text.push('\n');
    }
    text
}

/// What a property may be, in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or(reference).to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(output::plain).collect::<Vec<_>>().join(" or ");
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(forms) = schema[choice].as_array() {
            let mut kinds: Vec<String> = forms.iter().map(kind).filter(|k| k != "null").collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
    }
    if let Some(only) = schema.get("const") {
        return output::plain(only);
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names = names.iter().map(output::plain).filter(|name| name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_listed_field_by_field() {
        let schema = json!({
            "properties": {
                "at_least": {"type": "number", "description": "Smallest total."},
                "mode": {"enum": ["all", "any"], "default": "all"},
                "fields": {"type": "array", "items": {"$ref": "#/$defs/Field"}},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "size": {"type": ["integer", "null"], "description": "Two\nlines."},
                "x": {},
            },
            "required": ["at_least"],
        });
        insta::assert_snapshot!(config(&schema), @r#"
          config
            at_least  number, required  Smallest total.
            mode      all or any, else "all"
            fields    list of Field
            note      string
            size      integer  Two lines.
            x         anything
        "#);
        assert!(config(&json!({"type": "object"})).contains("no fields"));
    }

    #[test]
    fn missing_names_are_said_to_be_missing() {
        let mut found = Anatomy { functions: 1_200, largest_function: 900, ..Anatomy::default() };
        assert!(functions(&found).contains("without names"), "{}", functions(&found));
        found.named_functions = 1_100;
        assert_eq!(functions(&found), "1,200, 1,100 with names; the largest has 900 B");
    }
}
