//! Every metric there is: its kind, labels, bounds and words.
//!
//! The one list that `/metrics`' help texts are made from, and that the documentation, the
//! dashboard and the alerts are checked against. What is measured is said where it happens.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As in `/metrics`.
    pub name: &'static str,
    /// What it counts how.
    pub kind: Kind,
    /// What tells its series apart. Each has few values, whatever tenants do.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by the bound they stay below.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The kind's name in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// From 100 µs to a minute: what happens while somebody waits.
const SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 15.0, 60.0,
];
/// From 10 µs to 10 seconds: a plugin's run.
const RUNS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 1.0, 10.0,
];
/// From a millisecond to three days: what may wait for retries.
const WAITS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0,
    7_200.0, 28_800.0, 86_400.0, 259_200.0,
];
/// How many at once.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), labels, help }
}

const VERSION: &[&str] = &["plugin", "version"];

/// Every metric, by what it is about.
pub const METRICS: &[Metric] = &[
    gauge("hookmill_build_info", &["version"], "1, with the server's version"),
    gauge(
        "hookmill_tls_certificate_expiry_timestamp_seconds",
        &[],
        "When the certificate of HTTPS ends to be good, in seconds since 1970; +Inf without one",
    ),
    counter(
        "hookmill_api_requests_total",
        &["method", "route", "status"],
        "Requests answered, by route as in /openapi.json",
    ),
    counter("hookmill_events_accepted_total", &[], "Events stored, repetitions not counted"),
    counter(
        "hookmill_events_rejected_total",
        &["reason"],
        "Events and batches refused, by code of the problem",
    ),
    counter(
        "hookmill_source_requests_total",
        &["kind", "outcome"],
        "Requests to sources: `accepted`, `repeated`, `dropped`, `ignored`, `challenge`, or why they were refused",
    ),
    histogram(
        "hookmill_accept_seconds",
        SECONDS,
        &[],
        "From the parsed request to the commit, accepted events only",
    ),
    histogram("hookmill_ingest_batch_size", SIZES, &[], "Events in one transaction"),
    gauge("hookmill_ingest_waiting", &[], "Events that wait for their transaction"),
    gauge("hookmill_publishing", &[], "Requests that publish at the moment"),
    gauge("hookmill_publishing_limit", &[], "How many requests may publish at once"),
    gauge("hookmill_bodies_bytes", &[], "Bytes of requests' bodies in memory"),
    counter("hookmill_publish_shed_total", &["reason"], "Requests to publish refused at the door"),
    counter("hookmill_rate_limited_total", &["limit", "of"], "What rate limits refused"),
    counter(
        "hookmill_quota_exceeded_total",
        &["quota"],
        "Creations and events that quotas refused",
    ),
    counter("hookmill_deliveries_created_total", &[], "Deliveries stored with their event"),
    counter(
        "hookmill_deliveries_total",
        &["state"],
        "Deliveries that moved, by the state they came to",
    ),
    gauge("hookmill_backlog_deliveries", &["state"], "Deliveries that are pending, held or dead"),
    gauge(
        "hookmill_backlog_oldest_seconds",
        &[],
        "How long the delivery that has been due longest has been so",
    ),
    histogram(
        "hookmill_queue_seconds",
        WAITS,
        &[],
        "From acceptance to the start of the first attempt, the schedule's wait left out",
    ),
    counter("hookmill_attempts_total", &["outcome"], "Attempts that ended, by outcome"),
    counter(
        "hookmill_responses_total",
        &["class"],
        "Attempts by class of the status they were answered with, none without an answer",
    ),
    histogram(
        "hookmill_attempt_seconds",
        SECONDS,
        &[],
        "How long an attempt took, plugin failures not counted",
    ),
    histogram("hookmill_delivery_seconds", WAITS, &[], "From acceptance to success"),
    gauge("hookmill_in_flight", &[], "Attempts under way"),
    gauge("hookmill_deliveries_ready", &[], "Deliveries in memory that wait for their turn"),
    counter(
        "hookmill_delivery_store_failures_total",
        &[],
        "Failures of the store while delivering, waited out and tried again",
    ),
    histogram(
        "hookmill_store_seconds",
        SECONDS,
        &["operation"],
        "How long a transaction took, its wait for the writer's turn included",
    ),
    histogram(
        "hookmill_store_batch_size",
        SIZES,
        &["operation"],
        "Events, deliveries or records in one transaction",
    ),
    gauge("hookmill_breakers", &["state"], "Endpoints whose breaker is open or half open"),
    counter("hookmill_purged_rows_total", &["what"], "What retention removed"),
    gauge("hookmill_purge_lag_seconds", &["what"], "How much too old the oldest is that should go"),
    gauge("hookmill_purge_kept", &["what"], "What is old enough to go, and kept for a reason"),
    histogram(
        "hookmill_purge_transaction_seconds",
        SECONDS,
        &[],
        "How long a step of retention held the writer",
    ),
    counter("hookmill_purge_failures_total", &[], "Steps of retention that failed"),
    counter("hookmill_notices_total", &["kind"], "What an operator should hear of, by kind"),
    counter(
        "hookmill_notices_suppressed_total",
        &["kind"],
        "Notices that became no event, too many of their kind having come before",
    ),
    counter(
        "hookmill_notices_lost_total",
        &[],
        "Notices that found no room in their queue, or could not be stored",
    ),
    counter("hookmill_spans_exported_total", &[], "Spans that the collector took"),
    counter("hookmill_spans_dropped_total", &[], "Spans that it did not take, or not in time"),
    histogram(
        "hookmill_pipeline_seconds",
        RUNS,
        &[],
        "How long a delivery waited for what its pipeline comes to, shared and learned included",
    ),
    histogram("hookmill_plugin_run_seconds", RUNS, &[], "How long a plugin ran"),
    counter("hookmill_plugin_runs_total", &[], "Runs of a plugin"),
    counter(
        "hookmill_plugin_shared_total",
        &[],
        "Results taken over from another subscription's run of the same",
    ),
    counter("hookmill_plugin_faults_total", &["kind"], "Runs without an answer"),
    counter(
        "hookmill_plugin_learned_total",
        &[],
        "Verdicts of filters that were known without a run",
    ),
    gauge("hookmill_plugin_learned_bytes", &[], "Memory of what was learned"),
    gauge(
        "hookmill_plugin_learned_trees",
        &[],
        "Filters with a config of which something was learned",
    ),
    counter("hookmill_plugin_fuel_total", &[], "Fuel used"),
    counter("hookmill_plugin_run_microseconds_total", &[], "Time spent in runs, in microseconds"),
    counter("hookmill_plugin_compiled_total", &[], "Plugins compiled"),
    counter("hookmill_plugin_cache_hits_total", &[], "Compiled plugins loaded from disk"),
    gauge("hookmill_plugins_loaded", &[], "Plugins in memory"),
    counter("hookmill_plugin_version_runs_total", VERSION, "Runs of a version"),
    counter(
        "hookmill_plugin_version_learned_total",
        VERSION,
        "Runs of a version that were known without a run",
    ),
    counter("hookmill_plugin_version_drops_total", VERSION, "Runs that dropped the event"),
    counter(
        "hookmill_plugin_version_faults_total",
        &["plugin", "version", "kind"],
        "Runs of a version without an answer",
    ),
    counter(
        "hookmill_plugin_version_exhausted_total",
        VERSION,
        "Runs of a version that ended at a limit",
    ),
    gauge(
        "hookmill_plugin_version_seconds",
        &["plugin", "version", "quantile"],
        "How long a version's runs took",
    ),
    gauge(
        "hookmill_plugins_quarantined",
        &[],
        "Versions out of service, each counted for each application",
    ),
    counter("hookmill_plugin_failures_unkept_total", &[], "Failures that came too fast to be kept"),
    gauge("process_resident_memory_bytes", &[], "Memory that the process has in use"),
    counter("process_cpu_seconds_total", &[], "Processor time used, in whole seconds"),
    gauge("process_open_fds", &[], "Files and connections that are open"),
    gauge("process_max_fds", &[], "How many may be open"),
    gauge("process_threads", &[], "Threads of the process"),
];

/// Tells the recorder what each metric is.
pub(super) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => {
                describe_counter!(metric.name, metric.help);
                // There from the start, so that the first one counted is a change.
                if metric.labels.is_empty() && !metric.name.starts_with("process_") {
                    metrics::counter!(metric.name).increment(0);
                }
            }
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) if metric.name.ends_with("_seconds") => {
                describe_histogram!(metric.name, Unit::Seconds, metric.help);
            }
            Kind::Histogram(_) => describe_histogram!(metric.name, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_metric_is_listed_once_and_documented_as_it_is() {
        let documented = include_str!("../../../docs/operations.md");
        let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, kind, labels, .. } in METRICS {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = labels.join(", ");
            let gap = if labels.is_empty() { "" } else { " " };
            let row = format!("\n| `{name}` | {} |{gap}{labels} |", kind.as_str());
            assert!(documented.contains(&row), "docs/operations.md has no row{row}");
        }
    }

    #[test]
    fn what_is_documented_is_listed() {
        let documented = include_str!("../../../docs/operations.md");
        let rows = documented.lines().filter_map(|line| line.strip_prefix("| `"));
        for name in rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name) {
            let is_metric = name.starts_with("hookmill_") || name.starts_with("process_");
            let is_listed = METRICS.iter().any(|metric| metric.name == name);
            assert!(!is_metric || is_listed, "{name} is not in the catalogue of metrics");
        }
    }

    #[test]
    fn bounds_ascend() {
        for metric in METRICS {
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
            }
        }
    }
}
