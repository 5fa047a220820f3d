//! SIGHUP: the configuration and the certificate are read again.
//!
//! Owns which values that run can be exchanged. An invalid configuration changes nothing.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    admission_settings, backlog_limits, delivery_settings, rates_settings, retention_settings,
    supervisor, tls::Tls, watch_settings,
};
use crate::{
    api::{Api, ApiLimits},
    config::{Config, SETTINGS, Sources},
    delivery::Guard,
    limits::Admission,
    operational::BacklogLimits,
    retention::Retention,
    telemetry,
};

/// Catches SIGHUP from now on: one that is not caught ends the process.
pub(super) fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| {
            tracing::warn!(%error, "SIGHUP cannot be caught; changes need a restart");
        })
        .ok()
}

/// What a new configuration reaches.
pub(super) struct Reload {
    pub(super) sources: Sources,
    /// As it was at the start: what a restart would change is told against it.
    pub(super) started: Config,
    /// As it is now.
    pub(super) current: Arc<ArcSwap<Config>>,
    pub(super) api: Arc<Api>,
    pub(super) admission: Admission,
    pub(super) backlog: Arc<ArcSwap<BacklogLimits>>,
    pub(super) retention: Arc<Retention>,
    /// Where deliveries may go.
    pub(super) guard: Guard,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Reload {
    /// Reads everything again at each SIGHUP.
    pub(super) async fn run(self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            supervisor::tell(&supervisor::reloading());
            self.apply();
            supervisor::tell(supervisor::READY);
        }
    }

    fn apply(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        let config = match self.sources.load() {
            Ok(config) => config,
            Err(error) => {
                for problem in error.problems() {
                    tracing::error!("the configuration is not used: {problem}");
                }
                return;
            }
        };
        let changed = changes(&self.current.load(), &config, true);
        let restart = changes(&self.started, &config, false);
        if changed.contains(&"log_filter") {
            telemetry::filter(config.log_filter.as_deref());
        }
        self.take_over(&config);
        self.current.store(Arc::new(config));
        match changed.as_slice() {
            [] => tracing::info!("the configuration was read again; nothing changes"),
            some => {
                tracing::info!("the configuration was read again; changed: {}", some.join(", "))
            }
        }
        if !restart.is_empty() {
            tracing::warn!("needs a restart: {}", restart.join(", "));
        }
    }
}

impl Reload {
    /// Gives each part what it holds to from now on.
    fn take_over(&self, config: &Config) {
        let api = &self.api;
        api.limits.store(Arc::new(limits(config)));
        api.rates.set_defaults(rates_settings(config));
        api.ingest.set_idempotency_window(Duration::from_secs(config.idempotency_seconds));
        api.dispatcher.set(&delivery_settings(config));
        api.watch.set(watch_settings(config));
        self.guard.set(config.allow_networks.clone());
        self.admission.set(admission_settings(config));
        self.backlog.store(Arc::new(backlog_limits(config)));
        self.retention.set(retention_settings(config));
    }
}

/// What the API takes.
pub(super) fn limits(config: &Config) -> ApiLimits {
    ApiLimits {
        max_body: config.max_body_bytes,
        max_upload: config.max_upload_bytes,
        max_batch: config.max_batch_events,
        max_batch_body: config.max_batch_bytes,
        idempotency: Duration::from_secs(config.idempotency_seconds),
    }
}

/// Settings that differ, of those that can change in a server that runs, or of the others.
fn changes(before: &Config, after: &Config, live: bool) -> Vec<&'static str> {
    let values = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (old, new) = (values(before), values(after));
    let differs = |name: &str| match name {
        // It is not shown as it is.
        "master_key" => before.master_key != after.master_key,
        name => old[name] != new[name],
    };
    let of_kind = SETTINGS.iter().filter(|setting| setting.facts.is_live == live);
    of_kind.map(|setting| setting.name).filter(|name| differs(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretText;

    #[test]
    fn what_changed_is_told_apart_by_whether_it_needs_a_restart() {
        let before = Config::default();
        let after = Config {
            max_body_bytes: 2_048,
            breaker_percent: 7,
            max_in_flight: 7,
            master_key: Some(SecretText::new("k".into())),
            ..Config::default()
        };
        assert_eq!(changes(&before, &after, true), ["max_body_bytes", "breaker_percent"]);
        assert_eq!(changes(&before, &after, false), ["master_key", "max_in_flight"]);
        let other = Config { master_key: Some(SecretText::new("l".into())), ..after.clone() };
        assert_eq!(changes(&after, &other, false), ["master_key"]);
    }
}
