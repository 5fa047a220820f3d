//! Looks at an upload before anything of it is compiled: what it is, which world it was built
//! for, what it imports; and at what it says about itself afterwards.
//!
//! Every refusal says what was found, what was expected and what to do. Never compiles, never
//! runs.

use bytes::Bytes;

use super::{
    Rejection, compile,
    host::types,
    measure::Needs,
    settings::{Class, PluginSettings},
    wasi,
};
use crate::model::{Manifest, PluginKind, PluginRef};

/// The package of the interface, and the version of it that this server speaks. Within it,
/// patch versions only add.
const PACKAGE: &str = "hookmill:plugin";
const SPOKEN: (u64, u64) = (0, 1);
const INTERFACES: [&str; 2] = ["types", "log"];

const MAX_SUMMARY: usize = 256;
const MAX_SCHEMA: usize = 64 << 10;
const MAX_EVENT_TYPES: usize = 64;

/// An upload that is worth compiling.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) component: Bytes,
    pub(super) class: Class,
    pub(super) kind: PluginKind,
    pub(super) interface: String,
}

fn reject<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection { code, detail: detail.into() })
}

/// Checks an upload; a core module becomes a component.
pub(super) fn examine(settings: &PluginSettings, upload: &Bytes) -> Result<Examined, Rejection> {
    let limit = settings.max_upload_bytes();
    if upload.len() > limit {
        return reject(
            "too-large",
            format!("the upload has {} bytes; the limit is {limit}", upload.len()),
        );
    }
    if compile::is_precompiled(upload) {
        return reject(
            "precompiled",
            "this is machine code compiled ahead of time; upload the WebAssembly component it was \
             compiled from",
        );
    }
    let component = if wasmparser::Parser::is_component(upload) {
        upload.clone()
    } else if wasmparser::Parser::is_core_wasm(upload) {
        componentize(settings, upload)?
    } else {
        return reject("not-wasm", not_wasm(upload));
    };
    let needs = Needs::of(&component)?;
    let interface = interface(&needs.imports)?;
    let kind = kind(&needs.exports)?;
    let class = needs.class(settings)?;
    Ok(Examined { component, class, kind, interface })
}

fn not_wasm(upload: &[u8]) -> String {
    let found = match upload {
        [] => "the upload is empty".into(),
        [b'(', ..] => "this looks like WebAssembly text".into(),
        [0, b'a', b's', b'm', ..] => "this is WebAssembly of an unknown version".into(),
        [b'P', b'K', ..] => "this is a zip archive".into(),
        [0x1f, 0x8b, ..] => "this is compressed with gzip".into(),
        other => {
            let start = &other[..other.len().min(4)];
            format!("this starts with the bytes {start:02x?}")
        }
    };
    format!(
        "{found}; expected a WebAssembly component (.wasm), or a core module built with the \
         Hookmill SDK or wit-bindgen"
    )
}

/// Makes the component a core module describes.
fn componentize(settings: &PluginSettings, module: &[u8]) -> Result<Bytes, Rejection> {
    let needs = Needs::of(module)?;
    // The encoder's work grows with the module: the limits come first.
    needs.class(settings)?;
    for import in &needs.imports {
        if (import.starts_with("wasi") && !wasi::is_allowed(import)) || import == "env" {
            return reject("forbidden-import", forbidden(import));
        }
    }
    if !has_world(module) {
        return reject(
            "unknown-world",
            format!(
                "this is a core module without a description of its world (the custom section \
                 `component-type` that wit-bindgen writes); build it against a world of {PACKAGE}, \
                 with the Hookmill SDK or wit-bindgen"
            ),
        );
    }
    let encode =
        || wit_component::ComponentEncoder::default().module(module)?.validate(true).encode();
    // A panic of the encoder is this module's fault, not the server's.
    match std::panic::catch_unwind(encode) {
        Ok(Ok(component)) => Ok(component.into()),
        Ok(Err(error)) => reject(
            "unknown-world",
            format!("the core module does not fit the world it describes: {error:#}"),
        ),
        Err(_) => reject("unknown-world", "no component can be made from this core module"),
    }
}

fn has_world(module: &[u8]) -> bool {
    wasmparser::Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(wasmparser::Payload::CustomSection(section))
            if section.name().starts_with("component-type"))
    })
}

fn forbidden(import: &str) -> String {
    let hint = if import.starts_with("wasi_") {
        "a core module cannot import WASI. In Rust build for wasm32-unknown-unknown; other tools \
         make a component of it, with their adapter for wasi_snapshot_preview1"
    } else if import.starts_with("wasi") {
        "of WASI there are the packages cli, io, clocks, random, filesystem, sockets and http in \
         version 0.2, with nothing in them. With componentize-js disable the features random, \
         stdio, clocks, http and fetch-event; with componentize-py pass --stub-wasi"
    } else {
        "a plugin has nothing but the event and its log"
    };
    format!(
        "it imports {import}; allowed are {PACKAGE}/types@{0}.{1}, {PACKAGE}/log@{0}.{1} and \
         wasi:*@0.2: {hint}",
        SPOKEN.0, SPOKEN.1
    )
}

/// The version of the interface a component imports; beside it there is only an empty WASI.
fn interface(imports: &[String]) -> Result<String, Rejection> {
    let mut version: Option<&str> = None;
    for import in imports {
        let ours = import.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/'));
        let Some(ours) = ours else {
            if wasi::is_allowed(import) {
                continue;
            }
            return reject("forbidden-import", forbidden(import));
        };
        let (name, found) = ours.split_once('@').unwrap_or((ours, ""));
        if !is_spoken(found) {
            return reject(
                "unknown-interface",
                format!(
                    "it was built against version {found:?} of {PACKAGE}; this server speaks \
                     {}.{}.x",
                    SPOKEN.0, SPOKEN.1
                ),
            );
        }
        if !INTERFACES.contains(&name) {
            return reject("forbidden-import", forbidden(import));
        }
        if name == INTERFACES[0] {
            version = Some(found);
        }
    }
    match version {
        Some(version) => Ok(version.into()),
        None => reject(
            "unknown-world",
            format!(
                "it does not import {PACKAGE}/types, as every plugin does; expected the world \
                 `filter` or `transform` of {PACKAGE}@{}.{}",
                SPOKEN.0, SPOKEN.1
            ),
        ),
    }
}

fn is_spoken(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u64>().ok());
    let spoken = numbers.next() == Some(Some(SPOKEN.0)) && numbers.next() == Some(Some(SPOKEN.1));
    spoken && matches!(numbers.next(), Some(Some(_))) && numbers.next().is_none()
}

fn kind(exports: &[String]) -> Result<PluginKind, Rejection> {
    let has = |name| exports.iter().any(|export| export == name);
    match (has("filter"), has("transform"), has("describe")) {
        (true, false, true) => Ok(PluginKind::Filter),
        (false, true, true) => Ok(PluginKind::Transform),
        _ => {
            let found = match exports {
                [] => "no functions".into(),
                _ => exports.iter().take(10).cloned().collect::<Vec<_>>().join(", "),
            };
            reject(
                "unknown-world",
                format!(
                    "it exports {found}; expected `filter` and `describe` (world `filter`), or \
                     `transform` and `describe` (world `transform`)"
                ),
            )
        }
    }
}

/// Checks what a plugin says about itself.
pub(super) fn manifest(said: types::Manifest) -> Result<Manifest, Rejection> {
    let shown = |text: &str| text.chars().take(80).collect::<String>();
    let types::Manifest { name, version, summary, config_schema, event_types } = said;
    if !PluginRef::is_valid_name(&name) {
        return reject(
            "bad-manifest",
            format!(
                "{:?} is not a plugin name: lower-case letters, digits and hyphens between them, \
                 at most 64",
                shown(&name)
            ),
        );
    }
    if !PluginRef::is_valid_version(&version) {
        return reject(
            "bad-manifest",
            format!("{:?} is not a version such as 0.1.0", shown(&version)),
        );
    }
    if summary.len() > MAX_SUMMARY || summary.chars().any(char::is_control) {
        return reject(
            "bad-manifest",
            format!("the summary is not one line of at most {MAX_SUMMARY} bytes"),
        );
    }
    let config_schema = match serde_json::from_str(&config_schema) {
        _ if config_schema.len() > MAX_SCHEMA => {
            return reject(
                "bad-manifest",
                format!("the config schema is larger than {MAX_SCHEMA} bytes"),
            );
        }
        Ok(schema @ serde_json::Value::Object(_)) => schema,
        Ok(_) => {
            return reject("bad-manifest", "the config schema is not a JSON object; {} allows any");
        }
        Err(error) => {
            return reject("bad-manifest", format!("the config schema is not JSON: {error}"));
        }
    };
    if event_types.len() > MAX_EVENT_TYPES {
        return reject(
            "bad-manifest",
            format!("more than {MAX_EVENT_TYPES} event types; use patterns such as order.**"),
        );
    }
    let event_types = event_types.iter().map(|pattern| pattern.parse());
    match event_types.collect::<Result<_, crate::model::PatternError>>() {
        Ok(event_types) => Ok(Manifest { name, version, summary, config_schema, event_types }),
        Err(error) => reject("bad-manifest", error.to_string()),
    }
}
