//! Logs, metrics and traces: how they leave the process. What is measured is said where it
//! happens.

pub mod catalogue;
mod otlp;
mod process;
pub mod trace;

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use self::otlp::{Exporter, OtlpSettings};
use crate::config::LogFormat;

/// Sends log lines to standard error. `RUST_LOG` says which; `info` if it says nothing.
pub fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("info,sqlx=warn,hyper=warn,wasmtime=warn,rustls_platform_verifier=off")
    });
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
