//! Carries out what was concluded: failures into the store, versions out of service,
//! canaries back.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::board::Notice;
use crate::{
    catalog::{Catalog, CatalogError},
    model::{self, PluginFailure, Quarantine},
    notices::Notices,
    store::SharedStore,
};

/// Failures kept of each version and application.
const KEPT: u32 = 50;
/// Most notices taken at once.
const BATCH: usize = 64;

/// Ends when the last sender of notices is gone.
pub(super) async fn keep(
    mut notices: mpsc::Receiver<Notice>,
    store: SharedStore,
    catalog: Arc<Catalog>,
    operator: Notices,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while notices.recv_many(&mut batch, BATCH).await > 0 {
        let mut failures: Vec<PluginFailure> = Vec::new();
        for notice in batch.drain(..) {
            match notice {
                Notice::Failure(failure) => failures.push(*failure),
                Notice::Quarantine(found) => quarantine(&catalog, *found, &operator).await,
                Notice::StopCanary { rollout, why } => {
                    // Several runs may have said so before the first was heard.
                    let name = &rollout.name;
                    match catalog.stop_rollout(&rollout, &why).await {
                        Ok(()) => tracing::warn!(plugin = %name, %why, "a canary went back"),
                        Err(CatalogError::NotFound) => {}
                        Err(error) => {
                            tracing::error!(plugin = %name, %error, "a canary cannot go back");
                        }
                    }
                }
            }
        }
        if failures.is_empty() {
            continue;
        }
        // What the failures are for can be had again by running the events again.
        if let Err(error) = store.add_failures(&failures, KEPT).await {
            tracing::warn!(%error, failures = failures.len(), "failures of plugins were not kept");
        }
    }
}

async fn quarantine(catalog: &Catalog, found: Quarantine, operator: &Notices) {
    let application = found.application;
    let (name, version, reason) = (found.name.clone(), found.version.clone(), found.reason.clone());
    match catalog.quarantine(found).await {
        Ok(false) => {}
        Ok(true) => {
            tracing::warn!(plugin = %name, %version, %reason, "a plugin is quarantined");
            operator.tell(model::Notice::PluginQuarantined {
                application,
                plugin: name,
                version,
                reason,
            });
        }
        Err(error) => {
            tracing::error!(plugin = %name, %version, %error, "a plugin cannot be quarantined");
        }
    }
}
