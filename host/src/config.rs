//! Every setting: its default, unit, bound and environment name. The one place, with the
//! command line, that reads the environment.
//!
//! Sources, later ones winning: defaults, a TOML file, `HOOKMILL_*` variables, flags.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::LazyLock,
    time::Duration,
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};
use url::Url;

use crate::telemetry::OtlpSettings;

use crate::model::SecretText;

/// The settings of `hookmill serve`. In the environment each is `HOOKMILL_` and its name in
/// capitals, for example `HOOKMILL_MAX_BODY_BYTES`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database file; made if it is not there. Beside it: `-wal`, `-shm`, `-lock`.
    pub database: PathBuf,
    /// The folder for compiled plugins; `<database>-plugins` if none is given. It can be
    /// deleted at any time the server is down: what is missing is compiled again.
    pub plugin_cache: Option<PathBuf>,
    /// The admin key. Without one, one is made at the first start and shown once.
    pub admin_key: Option<String>,
    /// The key that the database's secrets are sealed under: base64 of 32 bytes. Without it
    /// and `master_key_file`, it is in the file `<database>.key`, made at the first start.
    pub master_key: Option<SecretText>,
    /// A file with that key.
    pub master_key_file: Option<PathBuf>,
    /// Networks that deliveries may go to although they are private, loopback or otherwise
    /// not public, for example `127.0.0.0/8`. A list, or a text with commas.
    #[serde(deserialize_with = "networks")]
    pub allow_networks: Vec<IpNet>,
    /// Largest request body in bytes, 1 KiB to 64 MiB.
    pub max_body_bytes: usize,
    /// Largest plugin upload in bytes, at most 64 MiB.
    pub max_upload_bytes: usize,
    /// Most events in one batch request, 1 to 10,000.
    pub max_batch_events: usize,
    /// Largest batch request in bytes, 1 KiB to 64 MiB.
    pub max_batch_bytes: usize,
    /// Most requests waiting for their transaction; more are answered 503.
    pub ingest_queue: usize,
    /// Most requests that publish at once; more are answered 503. While they go on to come,
    /// far fewer are let in, so that those are answered in time.
    pub max_publishing: usize,
    /// Most bytes of requests' bodies in memory at once; more are answered 503.
    pub max_bodies_bytes: usize,
    /// Events a second that an application may publish that has no limit of its own; 0 for any.
    pub application_events_per_second: f64,
    /// Requests a second, those that publish left out, that such an application may make.
    pub application_requests_per_second: f64,
    /// Most subscriptions of an application that has no limit of its own; 0 for any number.
    pub application_subscriptions: u32,
    /// Most versions of its own plugins that such an application may have.
    pub application_plugin_versions: u32,
    /// Events a second that may be published with one key; 0 for any.
    pub key_events_per_second: f64,
    /// Requests a second, those that publish left out, that may be made with one key.
    pub key_requests_per_second: f64,
    /// Events a second of one type that an application may publish, if the type has no limit
    /// of its own; 0 for any.
    pub event_type_events_per_second: f64,
    /// More pending deliveries than this, and no event is taken; 0 for never.
    pub max_pending_deliveries: u64,
    /// A larger database than this in bytes, and no event is taken; 0 for never.
    pub max_database_bytes: u64,
    /// How long an idempotency key is kept, in seconds; 24 hours.
    pub idempotency_seconds: u64,
    /// Days that events' payloads are kept, counted from the end of their last delivery; 0
    /// for ever.
    pub retain_payload_days: f64,
    /// Days that attempts are kept; 0 for ever.
    pub retain_attempts_days: f64,
    /// Days that events are kept, with their deliveries and all else that belongs to them; 0
    /// for ever.
    pub retain_events_days: f64,
    /// Days after which a delivery that has not ended is cancelled, so that its event can go;
    /// 0 for never.
    pub retain_unfinished_days: f64,
    /// Seconds an attempt may take as a whole, the response's body included.
    pub attempt_timeout_seconds: f64,
    /// Seconds connecting may take.
    pub connect_timeout_seconds: f64,
    /// Longest time limit of an attempt that a subscription's policy may ask for, in seconds.
    pub max_timeout_seconds: f64,
    /// A file of certificate authorities (PEM) that endpoints' certificates may be signed by,
    /// besides those the machine trusts.
    pub endpoint_ca_file: Option<PathBuf>,
    /// Name servers that are asked for endpoints' addresses instead of the machine's resolver,
    /// for example `10.0.0.2` or `10.0.0.2:5353`. A list, or a text with commas.
    #[serde(deserialize_with = "name_servers")]
    pub dns_servers: Vec<SocketAddr>,
    /// Most attempts under way at once, over all subscriptions.
    pub max_in_flight: usize,
    /// Most attempts under way at once for one subscription that says nothing else.
    pub subscription_concurrency: u32,
    /// Most attempts under way at once to one host, over all subscriptions; 0 for no bound.
    pub host_concurrency: u32,
    /// Seconds after which a delivery is not attempted any more, of a subscription that says
    /// nothing else; 0 for no such limit.
    pub max_age_seconds: u64,
    /// An endpoint is left alone for a while when this percentage of a minute's attempts
    /// failed; 0 for never.
    pub breaker_percent: u32,
    /// But not before it had so many attempts within the minute.
    pub breaker_minimum: u32,
    /// Seconds until an endpoint that was left alone is tried again; each time it fails,
    /// twice as long.
    pub breaker_open_seconds: u64,
    /// The longest time it is left alone, in seconds.
    pub breaker_longest_seconds: u64,
    /// Seconds of nothing but failures after which a subscription is disabled; 0 for never.
    pub disable_after_seconds: u64,
    /// Threads that run plugins; as many as the machine has cores if none is given.
    pub plugin_threads: Option<usize>,
    /// A plugin version is quarantined after so many failures in a row; 0 for never.
    pub quarantine_failures: u32,
    /// A plugin version is quarantined when this percentage of at least 100 runs within a
    /// minute failed; 0 for never.
    pub quarantine_percent: u32,
    /// Memory for learned verdicts of filters in bytes, at most 4 GiB; 0 learns nothing.
    pub plugin_learn_bytes: usize,
    /// More pending deliveries than this are told of; 0 for never.
    pub backlog_high: u64,
    /// The collector that traces are sent to, such as http://127.0.0.1:4318; none are sent if
    /// none is given.
    pub otlp_endpoint: Option<Url>,
    /// Headers of requests to the collector, each `name: value`. A list, or a text with commas.
    #[serde(deserialize_with = "texts")]
    pub otlp_headers: Vec<String>,
    /// The share of new traces that is recorded, 0 to 1. Whoever began a trace before decides
    /// for it.
    pub otlp_sample_ratio: f64,
    /// How long open requests are given to end when stopping, in seconds. Attempts under way
    /// then have their own time limits to end.
    pub shutdown_seconds: u64,
    /// `text` or `json`.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database: PathBuf::from("hookmill.db"),
            plugin_cache: None,
            admin_key: None,
            master_key: None,
            master_key_file: None,
            allow_networks: Vec::new(),
            max_body_bytes: 1 << 20,
            max_upload_bytes: 64 << 20,
            max_batch_events: 500,
            max_batch_bytes: 8 << 20,
            ingest_queue: 4_096,
            max_publishing: 256,
            max_bodies_bytes: 256 << 20,
            application_events_per_second: 0.0,
            application_requests_per_second: 0.0,
            application_subscriptions: 0,
            application_plugin_versions: 0,
            key_events_per_second: 0.0,
            key_requests_per_second: 0.0,
            event_type_events_per_second: 0.0,
            max_pending_deliveries: 0,
            max_database_bytes: 0,
            idempotency_seconds: 24 * 3600,
            retain_payload_days: 30.0,
            retain_attempts_days: 30.0,
            retain_events_days: 30.0,
            retain_unfinished_days: 0.0,
            attempt_timeout_seconds: 15.0,
            connect_timeout_seconds: 5.0,
            max_timeout_seconds: 60.0,
            endpoint_ca_file: None,
            dns_servers: Vec::new(),
            max_in_flight: 512,
            subscription_concurrency: 32,
            host_concurrency: 256,
            max_age_seconds: 0,
            breaker_percent: 50,
            breaker_minimum: 10,
            breaker_open_seconds: 30,
            breaker_longest_seconds: 600,
            disable_after_seconds: 5 * 24 * 3600,
            plugin_threads: None,
            quarantine_failures: 20,
            quarantine_percent: 50,
            plugin_learn_bytes: 32 << 20,
            backlog_high: 100_000,
            otlp_endpoint: None,
            otlp_headers: Vec::new(),
            otlp_sample_ratio: 1.0,
            shutdown_seconds: 20,
            log_format: LogFormat::default(),
        }
    }
}

/// What the settings' variables begin with.
const PREFIX: &str = "HOOKMILL_";
/// Variables of the client commands, and the one that names the file.
const NOT_SETTINGS: [&str; 5] = ["URL", "KEY", "APPLICATION", "SECRET", "CONFIG"];

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        text.parse()
            .map_err(|_| de::Error::custom(format!("{text} is no network such as 10.0.0.0/8")))
    };
    texts(deserializer)?.into_iter().map(network).collect()
}

fn name_servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let server = |text: String| {
        let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| (ip, 53).into()));
        address.map_err(|_| {
            de::Error::custom(format!("{text} is no name server's address such as 10.0.0.2"))
        })
    };
    texts(deserializer)?.into_iter().map(server).collect()
}

/// A list, or a text with commas, which is what fits into a variable.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    let mut texts = match Given::deserialize(deserializer)? {
        Given::List(texts) => texts,
        Given::Text(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
    };
    texts.retain(|text| !text.is_empty());
    Ok(texts)
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source cannot be read, names what is no setting, or gives a value of a wrong type.
    #[error("{0}")]
    Unusable(String),
    /// A setting is out of bounds.
    #[error("{setting} is {given}; {expected}")]
    OutOfBounds {
        /// The setting.
        setting: &'static str,
        /// As given.
        given: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl Config {
    /// From a TOML file, if one is named, and the environment; `flags` are applied last.
    pub fn load(
        file: Option<&std::path::Path>,
        flags: impl FnOnce(&mut Self),
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            // Said here, in words: the library would say it of itself.
            std::fs::metadata(file).map_err(|error| {
                ConfigError::Unusable(format!("cannot read {}: {error}", file.display()))
            })?;
            figment = figment.merge(Toml::file_exact(file));
        }
        Self::check_environment()?;
        let mut config: Self = figment
            .merge(Env::prefixed(PREFIX).only(&Self::names()))
            .extract()
            .map_err(|error| ConfigError::Unusable(error.to_string()))?;
        flags(&mut config);
        config.check()?;
        Ok(config)
    }

    /// Refuses a variable that looks like a setting and is none: a slip of the finger would
    /// otherwise be a default nobody wanted.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    fn check_environment() -> Result<(), ConfigError> {
        let known: Vec<String> = Self::names()
            .iter()
            .map(|name| name.to_uppercase())
            .chain(NOT_SETTINGS.map(str::to_owned))
            .collect();
        for (variable, _) in std::env::vars_os() {
            let Some(variable) = variable.to_str() else { continue };
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if !known.iter().any(|known| known == name) {
                let near = |known: &&String| strsim::jaro_winkler(name, known);
                let closest = known.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
                let hint = closest.map(|near| format!("; did you mean {PREFIX}{near}?"));
                let hint = hint.unwrap_or_default();
                return Err(ConfigError::Unusable(format!("{variable} is no setting{hint}")));
            }
        }
        Ok(())
    }

    /// The settings' names, as in a file.
    fn names() -> Vec<&'static str> {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
            defaults.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect()
        });
        NAMES.iter().map(String::as_str).collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bounds: [(&'static str, f64, f64, f64, &'static str); 31] = [
            ("otlp_sample_ratio", self.otlp_sample_ratio, 0.0, 1.0, "0 to 1 are allowed"),
            (
                "max_body_bytes",
                self.max_body_bytes as f64,
                1024.0,
                67_108_864.0,
                "1 KiB to 64 MiB are allowed",
            ),
            (
                "max_upload_bytes",
                self.max_upload_bytes as f64,
                1024.0,
                67_108_864.0,
                "1 KiB to 64 MiB are allowed",
            ),
            (
                "application_events_per_second",
                self.application_events_per_second,
                0.0,
                10_000.0,
                "0 to 10000 are allowed",
            ),
            (
                "application_requests_per_second",
                self.application_requests_per_second,
                0.0,
                10_000.0,
                "0 to 10000 are allowed",
            ),
            (
                "key_events_per_second",
                self.key_events_per_second,
                0.0,
                10_000.0,
                "0 to 10000 are allowed",
            ),
            (
                "key_requests_per_second",
                self.key_requests_per_second,
                0.0,
                10_000.0,
                "0 to 10000 are allowed",
            ),
            (
                "event_type_events_per_second",
                self.event_type_events_per_second,
                0.0,
                10_000.0,
                "0 to 10000 are allowed",
            ),
            ("max_publishing", self.max_publishing as f64, 1.0, 65_536.0, "1 to 65536 are allowed"),
            (
                "max_bodies_bytes",
                self.max_bodies_bytes as f64,
                1_048_576.0,
                68_719_476_736.0,
                "1 MiB to 64 GiB are allowed",
            ),
            (
                "idempotency_seconds",
                self.idempotency_seconds as f64,
                60.0,
                604_800.0,
                "1 minute to 7 days are allowed",
            ),
            (
                "shutdown_seconds",
                self.shutdown_seconds as f64,
                0.0,
                3_600.0,
                "0 to 3600 are allowed",
            ),
            (
                "max_batch_bytes",
                self.max_batch_bytes as f64,
                1024.0,
                67_108_864.0,
                "1 KiB to 64 MiB are allowed",
            ),
            (
                "max_batch_events",
                self.max_batch_events as f64,
                1.0,
                10_000.0,
                "1 to 10000 are allowed",
            ),
            (
                "ingest_queue",
                self.ingest_queue as f64,
                1.0,
                1_000_000.0,
                "1 to 1000000 are allowed",
            ),
            (
                "attempt_timeout_seconds",
                self.attempt_timeout_seconds,
                0.1,
                300.0,
                "0.1 to 300 are allowed",
            ),
            (
                "connect_timeout_seconds",
                self.connect_timeout_seconds,
                0.1,
                300.0,
                "0.1 to 300 are allowed",
            ),
            ("max_timeout_seconds", self.max_timeout_seconds, 0.1, 300.0, "0.1 to 300 are allowed"),
            ("max_in_flight", self.max_in_flight as f64, 1.0, 65_536.0, "1 to 65536 are allowed"),
            (
                "subscription_concurrency",
                f64::from(self.subscription_concurrency),
                1.0,
                1_024.0,
                "1 to 1024 are allowed",
            ),
            (
                "host_concurrency",
                f64::from(self.host_concurrency),
                0.0,
                65_536.0,
                "0 to 65536 are allowed",
            ),
            (
                "max_age_seconds",
                self.max_age_seconds as f64,
                0.0,
                31_536_000.0,
                "0 to 31536000, a year, are allowed",
            ),
            (
                "breaker_percent",
                f64::from(self.breaker_percent),
                0.0,
                100.0,
                "0 to 100 are allowed",
            ),
            (
                "breaker_minimum",
                f64::from(self.breaker_minimum),
                1.0,
                1_000_000.0,
                "1 to 1000000 are allowed",
            ),
            (
                "breaker_open_seconds",
                self.breaker_open_seconds as f64,
                1.0,
                86_400.0,
                "1 to 86400, a day, are allowed",
            ),
            (
                "breaker_longest_seconds",
                self.breaker_longest_seconds as f64,
                1.0,
                86_400.0,
                "1 to 86400, a day, are allowed",
            ),
            (
                "disable_after_seconds",
                self.disable_after_seconds as f64,
                0.0,
                31_536_000.0,
                "0 to 31536000, a year, are allowed",
            ),
            (
                "plugin_threads",
                self.plugin_threads.unwrap_or(1) as f64,
                1.0,
                256.0,
                "1 to 256 are allowed",
            ),
            (
                "quarantine_failures",
                f64::from(self.quarantine_failures),
                0.0,
                1_000_000.0,
                "0 to 1000000 are allowed",
            ),
            (
                "quarantine_percent",
                f64::from(self.quarantine_percent),
                0.0,
                100.0,
                "0 to 100 are allowed",
            ),
            (
                "plugin_learn_bytes",
                self.plugin_learn_bytes as f64,
                0.0,
                4_294_967_296.0,
                "0 to 4 GiB are allowed",
            ),
        ];
        for (setting, given, least, most, expected) in bounds {
            if !(least..=most).contains(&given) {
                return Err(ConfigError::OutOfBounds {
                    setting,
                    given: given.to_string(),
                    expected,
                });
            }
        }
        self.check_retention()?;
        if let Some(text) = self.otlp_headers.iter().find(|text| !text.contains(':')) {
            // What stands there may be a key.
            return Err(ConfigError::OutOfBounds {
                setting: "otlp_headers",
                given: format!("{} bytes without a colon", text.len()),
                expected: "`name: value` is expected",
            });
        }
        if self.admin_key.as_ref().is_some_and(|key| key.len() < 24) {
            return Err(ConfigError::OutOfBounds {
                setting: "admin_key",
                given: "too short".to_owned(),
                expected: "at least 24 characters are needed: it is all that stands before your server",
            });
        }
        if self.master_key.is_some() && self.master_key_file.is_some() {
            return Err(ConfigError::OutOfBounds {
                setting: "master_key",
                given: "given beside master_key_file".to_owned(),
                expected: "one of the two is allowed, so that it is clear which key is meant",
            });
        }
        Ok(())
    }

    fn check_retention(&self) -> Result<(), ConfigError> {
        for (setting, days) in [
            ("retain_payload_days", self.retain_payload_days),
            ("retain_attempts_days", self.retain_attempts_days),
            ("retain_events_days", self.retain_events_days),
            ("retain_unfinished_days", self.retain_unfinished_days),
        ] {
            if !(0.0..=36_500.0).contains(&days) {
                let expected = "0 to 36500 are allowed, parts of a day too; 0 is for ever";
                return Err(ConfigError::OutOfBounds {
                    setting,
                    given: days.to_string(),
                    expected,
                });
            }
        }
        Ok(())
    }

    /// A number of days as a time to keep things for; none for ever.
    pub fn days(days: f64) -> Option<Duration> {
        (days > 0.0).then(|| Duration::from_secs_f64(days * 86_400.0))
    }

    /// The folder for compiled plugins.
    pub fn plugin_cache(&self) -> PathBuf {
        self.plugin_cache.clone().unwrap_or_else(|| {
            let mut name = self.database.as_os_str().to_owned();
            name.push("-plugins");
            name.into()
        })
    }

    /// How long an attempt may take.
    pub fn attempt_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.attempt_timeout_seconds)
    }

    /// How long a subscription may let an attempt take.
    pub fn max_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.max_timeout_seconds)
    }

    /// Where spans go, if anywhere.
    pub fn otlp(&self) -> Option<OtlpSettings> {
        let header = |text: &String| {
            let (name, value) = text.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        Some(OtlpSettings {
            endpoint: self.otlp_endpoint.clone()?,
            headers: self.otlp_headers.iter().filter_map(header).collect(),
            ratio: self.otlp_sample_ratio,
        })
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connect_timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        Config::load(Some(file.path()), |_| {})
    }

    #[test]
    fn a_file_changes_defaults_and_flags_change_the_file() {
        let config = load("max_batch_events = 7\nallow_networks = [\"127.0.0.0/8\"]").unwrap();
        assert_eq!(config.max_batch_events, 7);
        assert_eq!(config.max_in_flight, Config::default().max_in_flight);
        let text = load("allow_networks = \"127.0.0.0/8, 10.0.0.0/8\"").unwrap();
        assert_eq!(text.allow_networks.len(), 2);
        let servers = load("dns_servers = \"10.0.0.2, 10.0.0.3:5353\"").unwrap().dns_servers;
        assert_eq!(servers, ["10.0.0.2:53", "10.0.0.3:5353"].map(|s| s.parse().unwrap()));
        assert!(load("dns_servers = [\"ns.example\"]").is_err());
        let flagged = Config::load(None, |config| config.max_in_flight = 3).unwrap();
        assert_eq!(flagged.max_in_flight, 3);
    }

    #[test]
    fn every_setting_is_in_the_documentation() {
        let documented = include_str!("../../docs/operations.md");
        for name in Config::names() {
            let variable = format!("`HOOKMILL_{}`", name.to_uppercase());
            assert!(documented.contains(&format!("| `{name}` |")), "{name}");
            assert!(documented.contains(&variable), "{variable}");
        }
    }

    #[test]
    fn what_is_no_setting_or_out_of_bounds_is_refused_by_name() {
        assert!(load("max_bodi = 1").unwrap_err().to_string().contains("max_bodi"));
        let error = load("max_in_flight = 0").unwrap_err().to_string();
        assert_eq!(error, "max_in_flight is 0; 1 to 65536 are allowed");
        assert!(load("admin_key = \"short\"").unwrap_err().to_string().contains("at least 24"));
        assert!(load("listen = \"nowhere\"").is_err());
    }
}
