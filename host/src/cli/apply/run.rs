//! Carries a plan out, one change after another.
//!
//! Stops at the first that fails, and says what was done and what was not: nothing is undone,
//! and the next run goes on from there.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    digits::Exact,
    document::Document,
    plan::{Call, Plan, What},
};
use crate::cli::{
    client::Client,
    output::{self, Failure},
};

/// Does everything in a plan.
pub(super) async fn all(client: &Client, document: &Document, plan: &Plan) -> Result<(), Failure> {
    for (place, change) in plan.changes.iter().enumerate() {
        for call in &change.calls {
            if let Err(failure) = one(client, call).await {
                let failure = match change.line {
                    Some(line) => failure.line(format!("declared in {}", document.place(line))),
                    None => failure,
                };
                let rest = &plan.changes[place..];
                let failure = rest.iter().fold(failure, |failure, change| {
                    failure.line(format!("not done: {}", change.title()))
                });
                return Err(failure.hint(format!(
                    "{place} of {} changes are done; mend this and run it again to go on",
                    plan.changes.len()
                )));
            }
        }
        output::say(format_args!("done: {}", change.title()));
    }
    Ok(())
}

async fn one(client: &Client, call: &Call) -> Result<(), Failure> {
    let client = &client.acting_for(call.application.as_deref());
    let shared = |shared: bool| ("shared", shared.then(|| "true".to_owned()));
    match &call.what {
        What::Post(path, body) => {
            client.post_text(&parts(path), Exact(body).to_string()).await.map(drop)
        }
        What::Patch(path, body) => {
            client.patch_text(&parts(path), Exact(body).to_string()).await.map(drop)
        }
        What::Put(path, body) => client.put(&parts(path), &[], body).await.map(drop),
        What::Delete { path, shared: is_shared } => {
            client.delete(&parts(path), &[shared(*is_shared)]).await
        }
        What::Upload { wasm, shared: is_shared, live } => {
            let query = [shared(*is_shared), ("live", Some(live.to_string()))];
            client.upload(&["plugins"], &query, wasm.clone()).await.map(drop)
        }
        What::GoLive { plugin, version, shared: is_shared } => {
            let body = serde_json::json!({ "version": version });
            client.put(&["plugins", plugin, "live"], &[shared(*is_shared)], &body).await.map(drop)
        }
        What::MakeKey { body, file } => make_key(client, body, file).await,
    }
}

fn parts(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// Where a key is written before its file is replaced.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The file is there before the key is: a key that cannot be kept is not made.
async fn make_key(client: &Client, body: &Value, file: &Path) -> Result<(), Failure> {
    let beside = beside(file);
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot write the key to {}: {error}", file.display()))
    };
    let mut written = private(&beside).map_err(failed)?;
    let made = client.post(&["keys"], body).await;
    let kept = match &made {
        Ok(made) => writeln!(written, "{}", made["key"].as_str().unwrap_or_default())
            .and_then(|()| written.sync_all())
            .and_then(|()| std::fs::rename(&beside, file)),
        Err(_) => std::fs::remove_file(&beside),
    };
    made?;
    kept.map_err(failed)
}

/// A new file that only its owner reads.
fn private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;

    // What an earlier run left may be anybody's, and a link may lead anywhere.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)
}
