//! Sources in a file: inbound endpoints, their secrets aside as those of subscriptions.

use serde_json::{Value, json};

use super::{
    build::Builder,
    compare::Difference,
    document::Item,
    kind::Kind,
    plan::{Action, What},
    secrets,
};
use crate::{cli::output::Failure, model::SourceKind};

/// Plans one source.
pub(super) async fn plan(builder: &mut Builder<'_>, item: &Item) -> Result<(), Failure> {
    let document = builder.document;
    let application = builder.application_of(item).to_owned();
    let Some(shown) = builder.find(Kind::Source, &application, item.name()).await? else {
        let body = builder.whole(item)?;
        if !body.contains_key("secret") && is_made_by_server(body.get("kind")) {
            let what = format!(
                "a new source {} needs `secret`: the server would make one that nobody sees",
                item.name()
            );
            return Err(document
                .wrong(item.line(""), &what, None)
                .hint("write secret: {env: NAME} or {file: PATH}"));
        }
        let call = What::Post(vec!["sources".into()], body.into());
        builder.push(item, Action::Create, Vec::new(), vec![call]);
        return Ok(());
    };
    if let Some(kind) = item.fields.get("kind").filter(|kind| **kind != shown["kind"]) {
        let what = format!(
            "the source {} is of kind {}, which cannot become {kind}",
            item.name(),
            shown["kind"]
        );
        return Err(document
            .wrong(item.line("kind"), &what, None)
            .hint("give the new one another name, or delete this one first"));
    }
    let path = vec!["sources".to_owned(), shown["id"].as_str().unwrap_or_default().to_owned()];
    let (mut found, patch) = builder.patch(item, &shown)?;
    let mut calls = Vec::new();
    if !found.is_empty() {
        calls.push(What::Patch(path.clone(), patch.into()));
    }
    // One that it has stays: only `hookmill source add-secret` knows what of the old one.
    if item.fields.contains_key("secret") && shown["secrets"].as_array().is_some_and(Vec::is_empty)
    {
        let secret = secrets::resolved(document, item, "secret", builder.wanted.look)?;
        let (at, new) = ("secret".to_owned(), json!("(secret)"));
        found.push(Difference { at, old: Value::Null, new });
        calls
            .push(What::Post([path, vec!["secrets".into()]].concat(), json!({ "secret": secret })));
    }
    if !calls.is_empty() {
        builder.push(item, Action::Change, found, calls);
    }
    Ok(())
}

/// Whether the server would make a secret for a source of this kind.
pub(super) fn is_made_by_server(kind: Option<&Value>) -> bool {
    let kind = kind.and_then(|kind| serde_json::from_value::<SourceKind>(kind.clone()).ok());
    kind.is_some_and(SourceKind::takes_our_secret)
}
