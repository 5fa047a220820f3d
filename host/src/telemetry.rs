//! Logs, metrics and traces: how they leave the process. What is measured is said where it
//! happens.

pub mod catalogue;
mod otlp;
mod process;
pub mod trace;

use std::{io::IsTerminal, sync::OnceLock};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

pub use self::otlp::{Exporter, OtlpSettings};
use crate::config::LogFormat;

/// What is logged if nothing else is said.
const FILTER: &str = "info,sqlx=warn,hyper=warn,wasmtime=warn,rustls_platform_verifier=off";

static LOGGED: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// What is logged: as `RUST_LOG` says, or else the setting.
fn wanted(setting: Option<&str>) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(setting.unwrap_or(FILTER)))
}

/// Why a text is no filter of log lines.
pub fn filter_error(text: &str) -> Option<String> {
    EnvFilter::try_new(text).err().map(|error| error.to_string())
}

/// Changes what is logged from now on.
pub fn filter(setting: Option<&str>) {
    if let Some(Err(error)) = LOGGED.get().map(|logged| logged.reload(wanted(setting))) {
        tracing::warn!(%error, "the log's filter cannot be changed");
    }
}

/// Sends log lines to standard error. `RUST_LOG` says which, or else the setting.
pub fn log(format: LogFormat, setting: Option<&str>) {
    let (filter, handle) = reload::Layer::new(wanted(setting));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours)).try_init()
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init()
        }
    };
    if started.is_ok() {
        // The first one's stays, as its log does.
        let _again = LOGGED.set(handle);
    }
    // A second server in one process (tests) keeps the first one's log.
    if let Err(error) = started {
        tracing::debug!(%error, "logging was set up before");
    }
}

/// Collects metrics in this process, to be rendered for Prometheus.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in catalogue::METRICS {
        if let catalogue::Kind::Histogram(bounds) = metric.kind {
            let matcher = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, bounds)?;
        }
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if let Err(error) = metrics::set_global_recorder(recorder) {
        tracing::debug!(%error, "metrics were set up before");
    }
    catalogue::describe();
    metrics::gauge!("hookmill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    Ok(handle)
}

/// Everything that was recorded, in Prometheus' text format.
pub fn render(recorded: &PrometheusHandle) -> String {
    process::observe();
    recorded.run_upkeep();
    recorded.render()
}
