//! Plugins in a file: versions with their components, and which is live.

use serde_json::Value;

use super::{
    build::Builder,
    compare::Difference,
    document::Item,
    kind::Kind,
    plan::{Action, What},
};
use crate::{
    cli::{input, output::Failure, plugin},
    model::Sha256,
};

/// `shop/redact@1.2.0`, `redact@1.2.0 (shared)`
pub(super) fn title(item: &Item, name: &str) -> String {
    let version = item.text("version").unwrap_or_default();
    if item.flag("shared", false) {
        format!("{}@{version} (shared)", item.name())
    } else {
        format!("{name}@{version}")
    }
}

/// Plans one version.
pub(super) async fn plan(builder: &mut Builder<'_>, item: &Item) -> Result<(), Failure> {
    let (name, version) = (item.name(), item.text("version").unwrap_or_default());
    let (shared, live) = (item.flag("shared", false), item.flag("live", true));
    let application = builder.application_of(item).to_owned();
    let plugins = builder.list(Kind::Plugin, &application).await?;
    let is_there = plugins
        .iter()
        .any(|shown| shown["name"] == name && shown["application"].is_null() == shared);
    let versions =
        if is_there { builder.versions(&application, name, shared).await? } else { Vec::new() };
    check_one_live(builder, item)?;
    let Some(shown) = versions.iter().find(|shown| shown["version"] == version) else {
        let wasm = component(builder, item)?.ok_or_else(|| {
            let what =
                format!("the server has no {name}@{version}, and its `component` is not given");
            builder.document.wrong(item.line("version"), &what, None)
        })?;
        let manifest = plugin::manifest(wasm.clone()).await?;
        if (manifest.name.as_str(), manifest.version.as_str()) != (name, version) {
            let what = format!(
                "the component is {}@{}, not {name}@{version}",
                manifest.name, manifest.version
            );
            return Err(builder.document.wrong(item.line("component"), &what, None));
        }
        builder.push(item, Action::Create, Vec::new(), vec![What::Upload { wasm, shared, live }]);
        return Ok(());
    };
    if let Some(wasm) = component(builder, item)?
        && shown["sha256"].as_str() != Some(&digest(&wasm))
    {
        let what = format!("the server has other bytes as {name}@{version}");
        return Err(builder
            .document
            .wrong(item.line("component"), &what, None)
            .line("A version never changes: raise it and build again."));
    }
    if live && shown["live"] == false {
        let (plugin, version) = (name.to_owned(), version.to_owned());
        let found = Difference { at: "live".into(), old: false.into(), new: true.into() };
        builder.push(
            item,
            Action::Change,
            vec![found],
            vec![What::GoLive { plugin, version, shared }],
        );
    }
    Ok(())
}

/// Two live versions would take turns, run by run.
fn check_one_live(builder: &Builder<'_>, item: &Item) -> Result<(), Failure> {
    let is_rival = |other: &&Item| {
        other.kind == Kind::Plugin
            && other.name() == item.name()
            && other.fields.get("version") != item.fields.get("version")
            && builder.document.owner_of(other) == builder.document.owner_of(item)
            && other.flag("live", true)
    };
    match builder.document.items.iter().find(is_rival) {
        Some(other) if item.flag("live", true) => {
            let what = format!(
                "two versions of {} would be live; write `live: false` at one",
                item.name()
            );
            Err(builder.document.wrong(other.line("live"), &what, None))
        }
        _ => Ok(()),
    }
}

fn component(builder: &Builder<'_>, item: &Item) -> Result<Option<Vec<u8>>, Failure> {
    item.text("component").map(|path| input::bytes(&builder.document.beside(path))).transpose()
}

/// The digest a server shows: that of the component, which is made of a core module.
fn digest(wasm: &[u8]) -> String {
    let encoded =
        || wit_component::ComponentEncoder::default().module(wasm)?.validate(true).encode();
    let component = if wasmparser::Parser::is_core_wasm(wasm) { encoded().ok() } else { None };
    Sha256::of(component.as_deref().unwrap_or(wasm)).to_string()
}

/// Whether a listed plugin is the platform's.
pub(super) fn is_shared(shown: &Value) -> bool {
    shown["application"].is_null()
}
